"""Whether a candidate's metadata allows a cell."""

from __future__ import annotations

from email.parser import HeaderParser

import pytest

from conformance.engines.candidates.compatibility import misfits

HELD = {"numpy": "2.0.2", "cupy-cuda13x": "14.2.0", "stripes": "1.1rc1"}


def told(*lines: str, python: str = "3.12") -> list[str]:
    """What is wrong between this metadata and the cell."""
    return misfits(HeaderParser().parsestr("\n".join(lines) + "\n\n"), HELD, python)


@pytest.mark.parametrize(
    "lines",
    [
        (),
        ("Requires-Python: >=3.10",),
        ("Requires-Python: >=3.12.3",),
        ("Requires-Dist: NumPy>=2", "Requires-Dist: cupy_cuda13x"),
        ("Requires-Dist: torch; extra == 'torch'",),
        ("Requires-Dist: colorama; sys_platform == 'win32'",),
        ("Requires-Dist: tomli; python_version < '3.11'",),
        ("Requires-Dist: stripes>=1.1rc0",),
    ],
)
def test_what_it_requires_is_there(lines: tuple[str, ...]) -> None:
    """Extras and markers that do not concern the cell require nothing."""
    assert told(*lines) == []


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("Requires-Python: >=3.13", "requires Python >=3.13, and the cell has 3.12"),
        ("Requires-Python: some", "is not a valid specifier"),
        ("Requires-Dist: numpy>=2.1", "requires numpy>=2.1, and the cell has 2.0.2"),
        ("Requires-Dist: ml-dtypes", "requires ml-dtypes, which the cell does not contain"),
        ("Requires-Dist: tomli; python_version >= '3.12'", "requires tomli"),
        ("Requires-Dist: ???", "is not a valid requirement"),
    ],
)
def test_what_it_requires_and_the_cell_has_not_is_a_sentence(line: str, sentence: str) -> None:
    """One for each."""
    (found,) = told(line)
    assert sentence in found


def test_everything_that_is_missing_is_told() -> None:
    """At once."""
    assert len(told("Requires-Python: <3.12", "Requires-Dist: torch", "Requires-Dist: numpy<2")) == 3


def test_where_no_cell_is_named_this_interpreter_is_asked() -> None:
    """As for what is installed here."""
    assert told("Requires-Python: >=3.10", "Requires-Dist: x; sys_platform == 'nowhere'", python="") == []
    assert len(told("Requires-Python: <3.10", python="")) == 1
