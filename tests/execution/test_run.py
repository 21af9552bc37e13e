"""The command ``check`` as a whole: its files, its accounting and its exit codes."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import jsonschema
import pytest
from conftest import Command
from libraries import install

from conformance.ownership import owned


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
    case = "pointer.values/numpy-reference/dlpack/host/stepped/float32"
    done = conformance("check", "--case", case, "--between", "numpy")
    assert (done.code, done.outcomes()) == (0, {case: "pass"})


@pytest.mark.parametrize(
    ("take", "outcome", "told"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "crash", "SIGSEGV"),
        ("os.abort()", "crash", "SIGABRT"),
        ("os._exit(3)", "crash", "exit code 3"),
        ("time.sleep(600)", "hang", "timeout after 2 s"),
    ],
)
def test_a_library_that_kills_its_process_costs_its_own_cases_only(
    conformance: Command, tmp_path: Path, take: str, outcome: str, told: str
) -> None:
    """Each crash is one outcome with its reason; every other case still has its own."""
    path = install(tmp_path / "site", "deadly", take=f"if offer._source.view.ndim == 3: {take}")
    selection = ("--between", "deadly", "--family", "pointer", "--tier", "full", "-n", "2", "--deadline", "1")
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
    """All other cases run, but the run is not a success."""
    path = install(tmp_path / "site", "broken", load="raise OSError('libmissing.so.1: cannot open')")
    done = conformance("check", "--case", "pointer.values/reference-reference/dlpack/host/c-order/float32", path=path)
    assert done.code == 4
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


def test_a_violation_is_told_in_a_sentence_with_the_library_that_is_accused(
    conformance: Command, tmp_path: Path
) -> None:
    """The output has the failure and the id of the finding, which selects a report about it."""
    path = install(tmp_path / "site", "copying", take="offer = type(offer)(offer._source.copied())")
    done = conformance("check", "--between", "copying", "--family", "pointer", "--tier", "quick", path=path)
    assert done.code == 1
    told = " ".join(done.stdout.split())
    for words in ("copying copies an array that it can share", "copying/consumer/not-shared/dlpack"):
        assert words in told, words
    shared = [r for r in done.results if (r["code"], r["verdict"]) == ("not-shared", "violates")]
    assert {(r["clause"], r["role"], *r["accused"]["libraries"]) for r in shared} == {("DLP-43", "consumer", "copying")}
    assert all("element 0 at 0x" in record["expected"] for record in shared)


def test_what_looks_at_order_runs_after_the_rest_in_one_process(conformance: Command) -> None:
    """Nothing else of the run is on the GPU then, but cases on host memory go on. Every case of both phases is accounted for."""
    selection = ("--between", "numpy", "--family", "pointer,ordering", "--tier", "quick", "-n", "2")
    done = conformance("check", *selection, CONFORMANCE_SIMULATE="1")
    assert [r["id"] for r in done.results] == [r["id"] for r in done.plan]
    ends = [
        (e["result"]["family"], e["process"])
        for e in done.journal
        if e["event"] == "end" and e["result"]["device"] != "host"
    ]
    families = [family for family, _ in ends]
    assert families == sorted(families, key=["pointer", "ordering"].index)
    assert len({process for family, process in ends if family == "ordering"}) == 1
    assert "Synchronization at hand-over" in done.stdout


def test_the_journal_has_the_beginning_and_the_end_of_each_case(conformance: Command) -> None:
    """In that order, between the beginning and the end of the run, and it fits its schema."""
    done = conformance("check", "--between", "numpy", "--family", "pointer", "--tier", "quick", "-n", "2")
    validator = jsonschema.Draft202012Validator(schema("journal"))
    for event in done.journal:
        validator.validate(event)
    assert [e["event"] for e in done.journal][:: len(done.journal) - 1] == ["begin", "stop"]
    planned = sorted(record["id"] for record in done.plan)
    started = [e["case"] for e in done.journal if e["event"] == "start"]
    ended = [e["result"]["id"] for e in done.journal if e["event"] == "end"]
    assert (sorted(started), sorted(ended)) == (planned, planned)
    both = [e.get("case") or e["result"]["id"] for e in done.journal if e["event"] in ("start", "end")]
    assert all(both.index(case) < len(both) - 1 - both[::-1].index(case) for case in planned)


def test_another_seed_mixes_the_cases_in_another_order(conformance: Command) -> None:
    """And the same one in the same."""
    selection = ("--between", "numpy", "--family", "pointer", "--tier", "quick", "-n", "1")

    def order(*more: str) -> list[str]:
        return [e["case"] for e in conformance("check", *selection, *more).journal if e["event"] == "start"]

    first, again, other = order("--seed", "a"), order("--seed", "a"), order("--seed", "b")
    assert first == again
    assert first != other
    assert sorted(first) == sorted(other)


def test_results_can_be_shown_again(conformance: Command) -> None:
    """The same summary, save for the time that it took."""
    case = "pointer.values/numpy-numpy/dlpack/host/c-order/float32"
    first = conformance("check", "--between", "numpy", "--case", case)
    again = conformance("report", "conform-results")
    assert again.code == first.code == 0
    assert "1 case: 1 pass" in again.stdout
    assert again.stdout.splitlines()[-1] == first.stdout.splitlines()[-1]


def test_a_case_that_killed_its_process_is_alone_in_the_next_run(conformance: Command, tmp_path: Path) -> None:
    """The case shares no process in the next run. The outcome is the same."""
    path = install(tmp_path / "site", "deadly", take="os.abort()")
    case = "pointer.values/reference-deadly/dlpack/host/c-order/float32"
    kinds = []
    for _ in range(2):
        done = conformance("check", "--between", "deadly", "--case", case, path=path)
        assert done.outcomes() == {case: "crash"}
        kinds += [record["isolation"] for record in done.journal if record["event"] == "start"]
    assert kinds == ["shared", "child"]


def test_two_runs_cannot_write_to_one_folder(conformance: Command, tmp_path: Path) -> None:
    """The second says so and leaves the first alone."""
    out = tmp_path / "conform-results"
    out.mkdir()
    case = "pointer.values/reference-reference/dlpack/host/c-order/float32"
    with owned(out):
        refused = conformance("check", "--between", "reference", "--case", case)
    assert (refused.code, refused.stderr.count("\n")) == (2, 1)
    assert "another run is writing to conform-results" in refused.stderr
    assert not (out / "plan.jsonl").exists()


@pytest.mark.parametrize(("family", "tier"), [("pointer", "quick"), ("imports", "full")])
def test_a_library_that_is_slow_to_import_is_judged_as_any_other(
    family: str, tier: str, conformance: Command, tmp_path: Path
) -> None:
    """The import takes longer than the case's timeout, both in children and in fresh interpreters."""
    path = install(tmp_path / "site", "slow", load="time.sleep(4)")
    selection = ("--between", "slow,numpy", "--family", family, "--tier", tier, "-n", "2")
    done = conformance("check", *selection, "--deadline", "3", path=path)
    assert done.code == 0, done.stdout
    assert set(done.outcomes().values()) <= {"pass", "refused"}
