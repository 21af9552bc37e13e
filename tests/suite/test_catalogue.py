"""The catalogue: the same in every process, whatever was imported first."""

from __future__ import annotations

import subprocess
import sys

import pytest

from conformance.adapters.base import Device
from conformance.checks import catalogue as catalogue_module
from conformance.checks.catalogue import Case, Invariant, invariant
from conformance.protocols.clauses import Level, NotBound, Role

TOLD = "from conformance.checks.catalogue import catalogue; print(*catalogue())"


@pytest.mark.parametrize("first", ["", "import conformance.suite.test_stream, conformance.suite.test_cai; "])
def test_the_order_of_invariants_does_not_depend_on_what_was_imported_before(first: str) -> None:
    """By family, and within one as they are defined: plans and pages are made in this order."""
    done = subprocess.run([sys.executable, "-c", first + TOLD], capture_output=True, text=True, check=True)
    names = done.stdout.split()
    families = list(dict.fromkeys(name.partition(".")[0] for name in names))
    assert names == sorted(names, key=lambda name: families.index(name.partition(".")[0]))
    assert families == sorted(families)


def test_an_id_names_every_library_that_takes_part() -> None:
    """One between producer and consumer stands between them, so that nobody takes the case for an exchange of the two."""
    case = Case("pointer.chain", "torch", "cupy", "dlpack", Device.CUDA, (("via", "cvcuda"), ("layout", "rows")))
    assert (case.id, case.libraries) == (
        "pointer.chain/torch-cvcuda-cupy/dlpack/cuda/rows",
        ("torch", "cvcuda", "cupy"),
    )
    assert Case.from_json(case.to_json()) == case


# -- what an invariant may hold against whom


def registered(**details: str) -> Invariant:
    """An invariant of this test's own, out of the catalogue again."""
    try:
        invariant("made.up", level=Level.MUST, cases=lambda environment: (), **details)(made_up)  # type: ignore[arg-type]
        return catalogue_module._registered["made.up"]
    finally:
        catalogue_module._registered.pop("made.up", None)


def made_up(exchange: object) -> None:
    """The first paragraph
    is the statement.

    The second one
    explains.
    """


def test_clauses_are_declared_for_the_side_that_they_are_held_against() -> None:
    """What it is mainly about first; all of them together, each once, are the clauses that it cites."""
    found = registered(producer="DLP-59 DLP-20", consumer="DLP-58 DLP-43", context="CUD-01 DLP-43", bugs="device-20")
    assert found.duties == {Role.PRODUCER: ("DLP-59", "DLP-20"), Role.CONSUMER: ("DLP-58", "DLP-43")}
    assert (found.context, found.bugs) == (("CUD-01", "DLP-43"), ("device-20",))
    assert found.clauses == ("DLP-59", "DLP-20", "DLP-58", "DLP-43", "CUD-01")


def test_the_docstring_is_statement_and_details() -> None:
    """On one line each."""
    found = registered(producer="DLP-59")
    assert (found.statement, found.details) == ("The first paragraph is the statement.", "The second one explains.")


@pytest.mark.parametrize("details", [{"producer": "DLP-58"}, {"consumer": "DLP-59"}])
def test_a_clause_that_does_not_bind_its_side_is_an_error_at_import(details: dict[str, str]) -> None:
    """With the name of the invariant."""
    with pytest.raises(NotBound, match=r"invariant made\.up: DLP-5[89] does not bind the (producer|consumer)"):
        registered(**details)


@pytest.mark.parametrize("details", [{"producer": "DLP-999"}, {"context": "DLP-999"}])
def test_an_unknown_clause_is_an_error_at_import(details: dict[str, str]) -> None:
    """Also one that only explains."""
    with pytest.raises(KeyError, match="DLP-999"):
        registered(**details)
