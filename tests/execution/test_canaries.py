"""Canaries in a run: each has its built-in outcome, and the cases around them are not affected."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import Command, Finished, command_in, mark, marked

from conformance.adapters.base import Device
from conformance.checks.catalogue import Case, Needs, catalogue
from conformance.checks.outcomes import Outcome, Side
from conformance.execution import canaries
from conformance.execution.results import Accused, Result
from conformance.protocols.clauses import Level
from conformance.reports import check_findings

RUNS = 10
"""Seeds, each with one process and with four."""
AT_ONCE = 5
ORDINARY = ("--between", "numpy", "--device", "host", "--family", "pointer")
"""309 cases."""
BUILT_FOR = {i.id: i.canary.value for i in catalogue().values() if i.canary is not None}


def outcomes(done: Finished, *, of_canaries: bool) -> dict[str, str]:
    """Of the ordinary cases, or of the canaries."""
    return {r["id"]: r["outcome"] for r in done.results if (r["family"] == "canary") is of_canaries}


@pytest.mark.parametrize(
    "runs",
    [
        pytest.param(1, marks=pytest.mark.seconds(60)),
        pytest.param(RUNS, marks=[pytest.mark.seconds(150), pytest.mark.again]),
    ],
)
def test_each_canary_ends_as_built_and_each_ordinary_case_as_ever(runs: int, tmp_path: Path) -> None:
    """In random order among 300 ordinary cases, each seed in a run of its own: every planned case has its own outcome, once.

    A run waits most of its time for canaries that hang and leak, so several go on at once.
    """
    seeded = {tmp_path / f"{seed} on {n}": (str(seed), n) for seed in range(runs) for n in ("1", "4")}
    for folder in (tmp_path / "undisturbed", *seeded):
        folder.mkdir()

    def run(folder: Path) -> Finished:
        seed, processes = seeded[folder]
        return command_in(folder)("check", *ORDINARY, "--canaries", "--seed", seed, "-n", processes, **mark(folder))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        left_alone = pool.submit(command_in(tmp_path / "undisturbed"), "check", *ORDINARY, "-n", "2")
        disturbed = list(pool.map(run, seeded))
        undisturbed = outcomes(left_alone.result(), of_canaries=False)
        assert len(undisturbed) >= 300
        for folder, done in zip(seeded, disturbed):
            assert marked(folder) == [], "processes outlived the run"
            check_that_all_ended_as_planned(done, undisturbed)
            check_that_no_case_ran_in_a_process_that_was_lost(done)


def check_that_all_ended_as_planned(done: Finished, undisturbed: dict[str, str]) -> None:
    """Canaries have their built-in outcomes, and the other cases the same outcomes as without them."""
    assert done.code == 0, done.stdout[-2000:] + done.stderr
    assert Counter(r["id"] for r in done.results) == Counter(r["id"] for r in done.plan)
    assert outcomes(done, of_canaries=False) == undisturbed
    seen = {(id.partition("/")[0], outcome) for id, outcome in outcomes(done, of_canaries=True).items()}
    assert seen == {(id, outcome) for id, outcome in BUILT_FOR.items() if id in {name for name, _ in seen}}
    assert "canaries ended as expected" in done.stdout


def check_that_no_case_ran_in_a_process_that_was_lost(done: Finished) -> None:
    """After a crash, a hang or a lost context the next case is in another process."""
    lost: set[int] = set()
    for event in done.journal:
        if event["event"] == "end":
            assert event["process"] not in lost, event["result"]["id"]
            if event["result"]["outcome"] in ("crash", "hang", "poisoned"):
                lost.add(event["process"])
    assert lost


def test_every_way_to_end_has_its_canaries() -> None:
    """Pass, fail, refuse, crash in four ways, exit, hang in three, poison, flood, litter and leak; and the same for a GPU."""
    gpu = {i.id for i in catalogue().values() if i.canary is not None and i.needs is Needs.GPU}
    assert {BUILT_FOR[id] for id in BUILT_FOR.keys() - gpu} == {
        "pass", "fail", "refused", "crash", "hang", "poisoned", "inconclusive"
    }  # fmt: skip
    assert {BUILT_FOR[id] for id in gpu} == {"poisoned", "hang", "inconclusive"}


def test_a_canary_that_ends_otherwise_makes_the_run_void(conformance: Command, tmp_path: Path) -> None:
    """The run has its own exit code and a prominent message: here a canary that should abort does nothing."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text("import os\nos.abort = lambda: None\n")
    case = "canary.aborts/reference-reference/dlpack/host/company"
    done = conformance("check", "--between", "reference", "--case", case, path=site)
    assert done.code == 5
    assert "should have ended as crash" in done.stdout
    assert "this run is void" in done.stdout


def test_canaries_are_no_verdict_about_anybody() -> None:
    """A crash that was ordered is neither a violation nor a surprise."""
    case = Case("canary.crashes", "reference", "reference", "dlpack", Device.HOST)
    result = Result(case, Outcome.CRASH, Level.MUST, "crash", reason="SIGSEGV", accused=Accused(Side.UNKNOWN))
    assert canaries.without([result]) == ()
    assert list(check_findings.observations([result])) == []
    assert canaries.among([result]) == (result,)
    assert canaries.surprises([result]) == ()


def test_canaries_are_planned_and_listed_by_request_only(conformance: Command) -> None:
    """They are no invariants of any library."""
    assert "canary" not in conformance("list", "--cases", "--between", "numpy").stdout
    assert "canary" not in conformance("list", "--between", "numpy").stdout
    assert "canary.crashes" in conformance("list", "--family", "canary").stdout
