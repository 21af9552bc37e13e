"""Interrupted runs keep their results, and can be resumed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import Command, Finished, command_in, mark, marked
from libraries import install

from conformance.execution import check_folder
from conformance.execution.results import read_lines
from conformance.execution.run_folder import PLAN, prepare

PLAIN = "pointer.values/reference-reference/dlpack/host/c-order/float32"
SELECTION = ("--between", "numpy", "--family", "layout", "--device", "host", "-n", "2", "--canaries")
"""Cases that share a process, risky ones, and ones that end or hold up theirs."""
AT_ONCE = 4
GLANCE = 0.02
"""Seconds between two looks at the journal of a run."""


def interrupted(folder: Path, number: int, after: int) -> Path:
    """Start a run and send its supervisor this signal once so many results have been written; the run's folder."""
    process = subprocess.Popen(
        [sys.executable, "-m", "conformance", "check", *SELECTION],
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **mark(folder)},
    )  # fmt: skip
    out = folder / "conform-results"
    while process.poll() is None and _written(out) < after:
        time.sleep(GLANCE)
    assert process.poll() is None, "the run had ended before it could be interrupted"
    os.kill(process.pid, number)
    process.wait(30)
    _wait_for_the_end_of_its_processes(folder)
    return out


def ended(out: Path) -> list[str]:
    """Cases that have an end in the journal, in its order."""
    return [record["result"]["id"] for record in read_lines(out / "journal.jsonl") if record["event"] == "end"]


def repeated(done: Finished) -> set[str]:
    """The cases that were tried again, alone, after the rest: these have two ends in the journal."""
    attempts = {record["id"]: record["attempts"] for record in done.results if record["attempts"]}
    return {id for id, tries in attempts.items() if tries[0]["where"] == "in a shared process"}


def _written(out: Path) -> int:
    """Return the number of ends in the journal, without a decoding of its lines: the run needs the processor."""
    journal = out / "journal.jsonl"
    return journal.read_bytes().count(b'{"event": "end"') if (out / PLAN).exists() and journal.exists() else -1


def _wait_for_the_end_of_its_processes(folder: Path) -> None:
    """They end with their supervisor, however that ends, and with them all that libraries have started."""
    give_up = time.monotonic() + 30
    while left := marked(folder):
        assert time.monotonic() < give_up, f"{left} outlived the run"
        time.sleep(0.05)


def outcomes(done: Finished) -> list[tuple[str, str]]:
    """Case by case."""
    return [(record["id"], record["outcome"]) for record in done.results]


ASKED = ((signal.SIGTERM, 120), (signal.SIGINT, 30))
"""Signals that ask a run to stop, and the number of results after which they come."""


@pytest.mark.parametrize(
    ("kills", "asked"),
    [
        pytest.param(1, ASKED[:1], marks=pytest.mark.seconds(40)),
        pytest.param(5, ASKED, marks=[pytest.mark.seconds(90), pytest.mark.again]),
    ],
    ids=["few", "many"],
)
def test_an_interrupted_run_ends_as_if_nothing_had_happened(
    kills: int, asked: tuple[tuple[signal.Signals, int], ...], tmp_path: Path
) -> None:
    """The second run keeps the known results and runs the rest; together they are the whole plan. Random moments are other ones every time.

    A run waits most of its time for canaries that hang and leak, so several go on at once.
    """
    moments = [*((signal.SIGKILL, random.randrange(300)) for _ in range(kills)), *asked]
    folders = [tmp_path / f"{n} by {number.name} after {after}" for n, (number, after) in enumerate(moments)]
    for folder in (tmp_path / "undisturbed", *folders):
        folder.mkdir()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        left_alone = pool.submit(command_in(tmp_path / "undisturbed"), "check", *SELECTION)
        runs = [pool.submit(gone_on_with, folder, *moment) for folder, moment in zip(folders, moments)]
        undisturbed = outcomes(left_alone.result())
        for run in runs:
            known, done = run.result()
            assert outcomes(done) == undisturbed
            assert len(set(ended(done.out))) == len(undisturbed)
            assert {id for id, ends in Counter(ended(done.out)).items() if ends > 1} == repeated(done)
            assert not known or f"{known} of them from an earlier run" in done.stdout


def gone_on_with(folder: Path, number: signal.Signals, after: int) -> tuple[int, Finished]:
    """Interrupt a run and go on with it; the number of results that were known, and the run."""
    known = len(ended(interrupted(folder, number, after)))
    assert known >= after
    return known, command_in(folder)("check", "--resume", "conform-results", "-n", "2")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)])
def test_who_is_asked_to_stop_puts_down_what_is_known_and_says_how_to_go_on(
    number: int, code: int, conformance: Command, tmp_path: Path
) -> None:
    """Every planned case is in the results, those that were not run as lost; one sentence, no traceback."""
    process = subprocess.Popen(
        [sys.executable, "-m", "conformance", "check", *SELECTION],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    out = tmp_path / "conform-results"
    while _written(out) < 40:
        time.sleep(GLANCE)
    os.kill(process.pid, number)
    _, told = process.communicate(timeout=30)
    assert process.returncode == code
    assert "Traceback" not in told
    assert f"the run was stopped by {signal.Signals(number).name}" in told
    assert "`check --resume conform-results` runs the rest" in told
    planned = [record["id"] for record in read_lines(out / "plan.jsonl")]
    results = list(read_lines(out / "results.jsonl"))
    assert [r["id"] for r in results] == planned
    assert {r["id"] for r in results if r["outcome"] != "lost"} == set(ended(out))
    shown = conformance("report", "conform-results")
    assert (shown.code, f"{len(planned) - len(ended(out))} planned cases without a result" in shown.stdout) == (
        4,
        True,
    )


def test_a_run_ends_at_its_limit(conformance: Command) -> None:
    """Cases that it did not reach are lost, and a resumed run runs them."""
    stopped = conformance("check", *SELECTION, "--limit", "0.4")
    assert (stopped.code, "the run reached its limit of 0.4 s" in stopped.stderr) == (4, True)
    assert "lost" in stopped.outcomes().values()
    assert len(stopped.results) == len(stopped.plan)


def test_a_finished_run_has_nothing_left_to_do(conformance: Command) -> None:
    """Going on with it tells what it found, once more."""
    first = conformance("check", "--between", "reference", "--case", PLAIN)
    again = conformance("check", "--resume", "conform-results")
    assert (again.code, outcomes(again)) == (first.code, outcomes(first))


CASE = "pointer.same-address/numpy-copying/dlpack/host/c-order/float32"


def test_cases_that_only_tell_who_is_accused_are_not_run_again(conformance: Command, tmp_path: Path) -> None:
    """Trials are not in the plan, and their results are in the journal. So a resumed run accuses the same libraries."""
    copied = "source = offer._source; offer = type(offer)(getattr(source, 'copied', getattr(source, 'copy', None))())"
    path = install(tmp_path / "site", "copying", take=copied)
    first = conformance("check", "--between", "numpy,copying", "--case", CASE, path=path)
    trials = {id for id in ended(first.out) if id != CASE}
    assert trials == {CASE.replace("numpy-", "reference-"), CASE.replace("-copying", "-reference")}
    assert [record["accused"]["libraries"] for record in first.results] == [["copying"]]
    account, ends = (first.out / "results.jsonl").read_bytes(), ended(first.out)
    (first.out / "results.jsonl").unlink()
    again = conformance("check", "--resume", "conform-results", path=path)
    assert "1 of them from an earlier run" in " ".join(again.stdout.split())
    assert (first.out / "results.jsonl").read_bytes() == account
    assert ended(first.out) == ends


def test_without_its_journal_a_complete_run_has_nothing_left_to_do(conformance: Command, tmp_path: Path) -> None:
    """Its account is all that is needed, to show it and to go on with it."""
    done = conformance("check", "--between", "numpy", "--family", "pointer", "--device", "host", "--tier", "quick")
    account = (done.out / "results.jsonl").read_bytes()
    (done.out / "journal.jsonl").unlink()
    shown = conformance("report", "conform-results")
    assert (shown.code, "without an outcome" in shown.stdout) == (done.code, False)
    again = conformance("check", "--resume", "conform-results")
    assert (again.code, (done.out / "results.jsonl").read_bytes()) == (done.code, account)
    assert ended(done.out) == []


def test_a_run_killed_before_its_plan_is_written_leaves_none_not_the_one_from_before(
    conformance: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resumed run would run cases that the user did not select."""
    conformance("check", "--between", "reference", "--case", PLAIN)
    out = tmp_path / "conform-results"
    assert check_folder.left(out).cases

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("conformance.execution.run_folder.write_lines", killed)
    with pytest.raises(KeyboardInterrupt):
        prepare([], {}, out)
    refused = conformance("check", "--resume", "conform-results")
    assert (refused.code, refused.stderr.count("\n")) == (2, 1)
    assert (
        "conform-results holds no run that can be read (plan.jsonl is empty or missing); run without --resume"
        in refused.stderr
    )


def test_another_environment_is_refused(conformance: Command, tmp_path: Path) -> None:
    """Results of two environments are not put together; the difference is named."""
    conformance("check", "--between", "reference", "--case", PLAIN)
    file = tmp_path / "conform-results" / "environment.json"
    stored = json.loads(file.read_text())
    stored["python"] = "3.9.0"
    file.write_text(json.dumps(stored))
    refused = conformance("check", "--resume", "conform-results")
    assert refused.code == 2
    assert "but was 3.9.0" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--resume", "nowhere"), "nowhere holds no run that can be read"),
        (("--resume", "nowhere", "--family", "pointer"), "--family cannot be given with --resume"),
        (("--resume", "nowhere", "--out", "elsewhere"), "--out cannot be given with --resume"),
    ],
)
def test_a_mistake_is_one_sentence(arguments: tuple[str, ...], told: str, conformance: Command) -> None:
    """What, why, and what to do next."""
    refused = conformance("check", *arguments)
    assert (refused.code, told in refused.stderr, refused.stderr.count("\n")) == (2, True, 1)
