"""A library may do anything to its process on import without affecting the results of other libraries."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from conftest import Command
from libraries import install

from conformance.execution import answers
from conformance.exits import Exit

SMALL = ("--family", "pointer", "--tier", "quick", "--device", "host")
NOISES = {
    "bytes": "os.write(1, b'\\xff\\xfe\\n' * 9); os.write(2, b'\\xff\\xfe\\n' * 9)",
    "lines": "print('noise\\n' * 200_000); print('noise\\n' * 200_000, file=sys.stderr)",
    "replaced": "sys.stdout = sys.stderr = None",
    "closed": "sys.stdout.close(); sys.stderr.close()",
    "closed_descriptor": "os.closerange(1, 2)",
    "all_descriptors": "os.closerange(0, 256)",
    "json": 'print(\'{"name": "json", "available": true}\')',
}


@pytest.mark.parametrize(
    "noises",
    [
        ("bytes", "lines", "json"),
        ("replaced",),
        ("closed",),
        ("all_descriptors",),
        *(pytest.param((noise,), marks=pytest.mark.again) for noise in ("bytes", "lines", "json", "closed_descriptor")),
    ],
    ids=" and ".join,
)
def test_noise_at_the_import_of_an_adapter_costs_nobody_a_result(
    noises: tuple[str, ...], conformance: Command, tmp_path: Path
) -> None:
    """The server also preloads the library, and every planned case has an outcome. One run prints all that can be printed."""
    noise = "; ".join(NOISES[name] for name in noises)
    site = install(tmp_path / "site", "noisy", load=noise)
    module = site / "noisy_module.py"
    module.write_text(module.read_text() + f"\n{noise}\n")
    done = conformance("check", "--between", "noisy", *SMALL, path=site)
    assert "Traceback" not in done.stderr
    assert done.code in (Exit.OK, Exit.VIOLATIONS), done.stdout + done.stderr
    assert len(done.results) == len(done.plan)
    others = {record["outcome"] for record in done.results if "noisy" not in record["id"]}
    assert others <= {"pass", "refused"}


def test_a_library_that_ends_the_server_is_imported_where_it_ends_a_case_only(
    conformance: Command, tmp_path: Path
) -> None:
    """The next server preloads nothing."""
    site = install(tmp_path / "site", "deadly")
    (site / "deadly_library.py").write_text("import os; os._exit(0)\n")
    module = site / "deadly_module.py"
    module.write_text(module.read_text().replace("preload = ()", 'preload = ("deadly_library",)'))
    done = conformance("check", "--between", "deadly", *SMALL, path=site)
    assert done.code == Exit.OK, done.stdout + done.stderr
    assert {record["outcome"] for record in done.results} <= {"pass", "refused"}


# -- the file of answers


def test_answers_outlive_what_becomes_of_a_process(tmp_path: Path) -> None:
    """An unfinished line and foreign lines are not answers."""
    path = tmp_path / "answers"
    answers.prepare(path)
    assert answers.told(path) == []
    answers.say(path, {"checking": "one"})
    answers.say(path, {"name": "ü\ud800"})
    with open(path, "r+b") as file:
        end = path.read_bytes().index(b"\0")
        file.seek(end)
        file.write(b'[1]\nnonsense\n\xff\n{"name": "cut')
    assert answers.told(path) == [{"checking": "one"}, {"name": "ü\ud800"}]


def test_an_answer_that_is_too_long_is_an_error(tmp_path: Path) -> None:
    """Earlier answers stay."""
    path = tmp_path / "answers"
    answers.prepare(path)
    answers.say(path, {"checking": "one"})
    with pytest.raises(ValueError, match="does not fit"):
        answers.say(path, {"name": "x" * answers.MOST_BYTES})
    assert answers.told(path) == [{"checking": "one"}]
    assert os.path.getsize(path) == answers.MOST_BYTES
