"""The command ``check`` as a whole: what it writes, what it accounts for, how it ends."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import jsonschema
import pytest
from conftest import Command
from libraries import install


def schema(name: str) -> dict[str, object]:
    """A schema as it is shipped."""
    text = resources.files("conformance.execution").joinpath("schemas", f"{name}.schema.json").read_text()
    loaded: dict[str, object] = json.loads(text)
    return loaded


def test_every_planned_case_is_reported_once_and_all_files_fit_their_schemas(conformance: Command) -> None:
    """plan, results and environment of a real run with NumPy."""
    done = conformance("check", "--between", "numpy", "--tier", "quick", "-n", "2")
    assert done.code in (0, 1), done.stderr
    planned, reported = [r["id"] for r in done.plan], [r["id"] for r in done.results]
    assert sorted(planned) == sorted(reported)
    assert len(set(planned)) == len(planned)
    for name in ("plan", "results"):
        validator = jsonschema.Draft202012Validator(schema(name))
        for record in done.lines(f"{name}.jsonl"):
            validator.validate(record)
    jsonschema.validate(json.loads((done.out / "environment.json").read_text()), schema("environment"))


def test_two_runs_plan_the_same_cases_and_find_the_same_outcomes(conformance: Command) -> None:
    """Nothing depends on time, order or chance."""
    first = conformance("check", "--between", "numpy", "--family", "pointer", "-n", "2").outcomes()
    second = conformance("check", "--between", "numpy", "--family", "pointer", "-n", "1").outcomes()
    assert first == second


def test_one_case_can_be_run_alone_by_its_id(conformance: Command) -> None:
    """The id is all that is needed."""
    case = "pointer.values/numpy-reference/dlpack/host/stepped/uint8"
    done = conformance("check", "--case", case, "--between", "numpy")
    assert (done.code, done.outcomes()) == (0, {case: "pass"})


@pytest.mark.parametrize(
    ("take", "outcome", "told"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "crash", "Segmentation fault"),
        ("os.abort()", "crash", "Aborted"),
        ("os._exit(3)", "crash", "no word"),
        ("time.sleep(600)", "hang", "no end after 2 s"),
    ],
)
def test_a_library_that_kills_its_process_costs_its_own_cases_only(
    conformance: Command, tmp_path: Path, take: str, outcome: str, told: str
) -> None:
    """Each death is one bad outcome with its reason; every other case still has its own."""
    path = install(tmp_path / "site", "deadly", take=f"if offer._source.view.ndim == 3: {take}")
    selection = ("--between", "deadly", "--family", "pointer", "--tier", "full", "-n", "2", "--deadline", "2")
    done = conformance("check", *selection, path=path)
    assert done.code == 1, done.stderr
    assert len(done.results) == len(done.plan)
    struck = [r for r in done.results if r["consumer"] == "deadly" and "cube" in r["parameters"].values()]
    assert struck
    assert {r["outcome"] for r in struck} == {outcome}
    assert all(told in r["reason"] for r in struck)
    spared = {r["outcome"] for r in done.results if r["consumer"] == "reference"}
    assert spared <= {"pass", "refused"}


def test_a_library_that_cannot_be_imported_is_absent_with_the_reason(conformance: Command, tmp_path: Path) -> None:
    """Everything else runs."""
    path = install(tmp_path / "site", "broken", load="raise OSError('libmissing.so.1: cannot open')")
    done = conformance("check", "--case", "pointer.values/reference-reference/dlpack/host/c-order/uint8", path=path)
    assert done.code == 0
    assert "libmissing.so.1: cannot open" in " ".join(done.stdout.split())
    libraries = json.loads((done.out / "environment.json").read_text())["libraries"]
    assert "libmissing.so.1" in next(lib for lib in libraries if lib["name"] == "broken")["absent"]


def test_a_library_that_dies_while_it_is_probed_is_absent_with_the_signal(conformance: Command, tmp_path: Path) -> None:
    """A probe runs in a process of its own."""
    path = install(tmp_path / "site", "dying", load="os.kill(os.getpid(), signal.SIGSEGV)")
    done = conformance("list", path=path)
    assert done.code == 0
    refused = conformance("check", "--between", "dying", path=path)
    assert (refused.code, "signal 11" in refused.stderr) == (2, True)


def test_a_violation_is_told_in_a_sentence_with_the_command_that_repeats_it(
    conformance: Command, tmp_path: Path
) -> None:
    """What was promised, by which clause, what was expected and seen, and how to run it again."""
    path = install(tmp_path / "site", "copying", take="offer = type(offer)(offer._source.copied())")
    done = conformance("check", "--between", "copying", "--family", "pointer", "--tier", "quick", path=path)
    assert done.code == 1
    for words in (
        "pointer.same-address: reference, copying → copying, DLPack on host",
        "Promised: The consumer's element 0 lies at the producer's address",
        "DLP-43",
        "expected element 0 at 0x",
        "python -m conformance check --case pointer.same-address/reference-copying/dlpack/host/c-order/float32",
    ):
        assert words in " ".join(done.stdout.split()), words


def test_what_looks_at_order_runs_after_the_rest_in_one_process(conformance: Command) -> None:
    """Nothing else of the run is on the GPU then; every case of both phases is accounted for."""
    selection = ("--between", "numpy", "--family", "pointer,ordering", "--tier", "quick", "-n", "2")
    done = conformance("check", *selection, CONFORMANCE_SIMULATE="1")
    assert [r["id"] for r in done.results] == [r["id"] for r in done.plan]
    families = {"pointer": "pytest-shared.log", "ordering": "pytest-exclusive.log"}
    assert {r["family"] for r in done.results} == families.keys()
    logs = {name: (done.out / "logs" / name).stat() for name in families.values()}
    assert logs["pytest-shared.log"].st_mtime <= logs["pytest-exclusive.log"].st_mtime
    exclusive = [line for line in (done.out / "logs" / "gw1.log").read_text().splitlines() if "case ordering." in line]
    assert exclusive == []
    assert "What waits at hand-over" in done.stdout
