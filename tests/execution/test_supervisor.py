"""What the supervisor does when its own helpers fail: a monitor that does not answer, a server or a pytest that dies."""

from __future__ import annotations

import errno
import json
import os
import signal
import tempfile
from pathlib import Path

import pytest
from libraries import install

from conformance.adapters.base import Device
from conformance.execution import folder, harness, journal, supervisor
from conformance.execution.ledger import Status
from conformance.execution.results import read_lines
from conformance.suite.catalogue import Case
from conformance.suite.outcomes import Outcome

ONCE = "Path('{flag}').exists() or (Path('{flag}').touch(), {deed})"
MONITOR = "os.getppid()"
SERVER = f"int(open(f'/proc/{{{MONITOR}}}/stat').read().rsplit(')', 1)[1].split()[1])"
CHILDREN = "map(int, open('/proc/{0}/task/{0}/children').read().split())"


def case(consumer: str, layout: str) -> Case:
    """A case that passes where nothing is done to it."""
    parameters = (("layout", layout), ("dtype", "uint8"))
    return Case("pointer.values", "reference", consumer, "dlpack", Device.HOST, parameters)


CASES = [case("deadly", "c-order"), *(case("reference", name) for name in ("c-order", "columns", "stepped", "rows"))]


def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, take: str, statuses: list[Status]) -> supervisor.Run:
    """Run the cases with a library that does this when it imports."""
    monkeypatch.setenv(
        "PYTHONPATH", str(install(tmp_path / "site", "deadly", take=f"from pathlib import Path; {take}"))
    )
    out = tmp_path / "out"
    out.mkdir()
    folder.prepare(CASES, {"libraries": []}, out)
    return supervisor.run(CASES, out, supervisor.Settings(1), statuses.append)


def told(tmp_path: Path) -> list[str]:
    """The troubles in the journal."""
    return [record["what"] for record in read_lines(tmp_path / "out" / journal.FILE) if record["event"] == "trouble"]


def test_a_worker_that_nobody_answers_is_killed_and_its_case_has_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second of three deadlines: the monitor has been stopped, so it cannot keep the first. All other cases run."""
    monkeypatch.setattr(supervisor, "patience", lambda invariant: 2.0)
    monkeypatch.setattr(supervisor, "REAP_SECONDS", 1.0)
    done = run(tmp_path, monkeypatch, f"os.kill({MONITOR}, signal.SIGSTOP); time.sleep(600)", [])
    first, *others = done.results
    assert first.outcome is Outcome.INCONCLUSIVE
    assert "its worker did not answer within 2 s, and had to be killed, twice" in first.reason
    assert {r.outcome for r in others} == {Outcome.PASS}
    assert len(told(tmp_path)) == 2


@pytest.mark.parametrize("victim", ["server", "pytest"])
def test_what_dies_of_the_runs_own_processes_is_started_again(
    victim: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every case has its own outcome in the end."""
    others = f"next(p for p in {CHILDREN.format(os.getpid())} if p != {SERVER})"
    deed = f"os.kill({SERVER if victim == 'server' else others}, signal.SIGKILL), time.sleep(600)"
    statuses: list[Status] = []
    done = run(tmp_path, monkeypatch, ONCE.format(flag=tmp_path / "done", deed=deed), statuses)
    assert {r.outcome for r in done.results} == {Outcome.PASS}, [r.reason for r in done.results]
    assert statuses[-1].done == len(CASES)
    starts = [r["case"] for r in read_lines(tmp_path / "out" / journal.FILE) if r["event"] == "start"]
    assert starts.count(CASES[0].id) == 2
    if victim == "server":
        assert "the server that forks processes ended with SIGKILL" in told(tmp_path)


def test_what_never_works_ends_with_everything_lost_and_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run ends after the first pass without a case. It is incomplete, and the output of its processes is kept."""
    monkeypatch.setattr(harness, "command", lambda processes, private: ["/bin/sh", "-c", "echo no such luck; exit 7"])
    done = run(tmp_path, monkeypatch, "pass", [])
    assert {r.outcome for r in done.results} == {Outcome.LOST}
    assert len(done.lost) == len(CASES)
    assert all(
        "pytest ended with exit code 7, and the last line of output was 'no such luck'" in r.reason
        for r in done.results
    )
    assert done.stopped.startswith("no process can begin a case: pytest ended with exit code 7")
    assert len(told(tmp_path)) == 1
    (stop,) = [record for record in read_lines(tmp_path / "out" / journal.FILE) if record["event"] == "stop"]
    assert stop["why"] == done.stopped
    assert "no such luck" in (tmp_path / "out" / folder.DIAGNOSTICS).read_text()
    assert json.loads((tmp_path / "out" / folder.RESULTS).read_text().splitlines()[0])["outcome"] == "lost"


def test_workers_that_end_before_they_have_started_are_found_out_in_the_first_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A startup module ends every process of xdist. Without the check xdist would restart the worker a thousand times."""
    prepared = harness._prepared

    def ending(private: Path) -> Path:
        code = prepared(private)
        (code / "sitecustomize.py").write_text("import os, sys\nif sys.argv[:1] == ['-c']: os._exit(3)\n")
        return code

    monkeypatch.setattr(harness, "_prepared", ending)
    done = run(tmp_path, monkeypatch, "pass", [])
    assert {r.outcome for r in done.results} == {Outcome.LOST}
    assert done.stopped.startswith("no process can begin a case: "), done.stopped
    assert len(told(tmp_path)) == 1


@pytest.mark.parametrize(("times", "number"), [(1, 9), (3, 9), (1, signal.SIGUSR1), (1, signal.SIGSEGV)])
def test_workers_that_a_signal_ends_before_they_have_started_are_replaced(
    times: int, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker loads no library, so every signal comes from another process, so the next pass may succeed. Here the first workers of xdist send it."""
    prepared = harness._prepared
    code = f"import os, sys\nif sys.argv[:1] == ['-c']:\n for n in range({times}):\n  try: os.close(os.open(f'{tmp_path}/{{n}}', os.O_CREAT | os.O_EXCL))\n  except OSError: continue\n  os.kill(os.getpid(), {int(number)})\n"

    def ending(private: Path) -> Path:
        folder = prepared(private)
        (folder / "sitecustomize.py").write_text(code)
        return folder

    monkeypatch.setattr(harness, "_prepared", ending)
    done = run(tmp_path, monkeypatch, "pass", [])
    assert {r.outcome for r in done.results} == {Outcome.PASS}
    assert len(told(tmp_path)) == times


def test_a_case_that_nobody_could_run_is_no_complete_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run continues with the other cases; its journal says that cases are left."""
    flag = tmp_path / "pytest-ended"
    others = f"next(p for p in {CHILDREN.format(os.getpid())} if p != {SERVER})"
    done = run(tmp_path, monkeypatch, f"Path('{flag}').touch(), os.kill({others}, signal.SIGKILL), time.sleep(600)", [])
    assert [r.outcome for r in done.results][:1] == [Outcome.LOST]
    (stop,) = [record for record in read_lines(tmp_path / "out" / journal.FILE) if record["event"] == "stop"]
    assert stop["why"] != journal.COMPLETE
    assert "left" in stop["why"]


def test_a_full_folder_for_temporary_files_is_told_as_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder for results has space."""

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(supervisor, "write_jobs", full)
    done = run(tmp_path, monkeypatch, "pass", [])
    assert done.stopped.startswith(
        f"temporary files cannot be written to {tempfile.gettempdir()}: No space left on device"
    )
    assert len(done.lost) == len(CASES)
    assert (tmp_path / "out" / folder.RESULTS).exists()


def test_a_monitor_that_is_ended_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker gets another monitor, and the pass continues."""
    deed = f"os.kill({MONITOR}, signal.SIGKILL), time.sleep(600)"
    done = run(tmp_path, monkeypatch, ONCE.format(flag=tmp_path / "done", deed=deed), [])
    assert {r.outcome for r in done.results} == {Outcome.PASS}, [r.reason for r in done.results]
    events = [record["event"] for record in read_lines(tmp_path / "out" / journal.FILE)]
    assert events.count("start") == len(CASES)
    assert told(tmp_path) == []


@pytest.mark.parametrize(("times", "outcome"), [(supervisor._FUTILE + 3, Outcome.PASS), (10**6, Outcome.LOST)])
def test_passes_that_somebody_ends_from_outside_are_not_futile(
    times: int, outcome: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many such passes may precede one with a result, but their number is limited."""
    starts = []
    start = harness.command

    def command(processes: int, suite: Path) -> list[str]:
        starts.append(processes)
        return ["/bin/sh", "-c", "kill -KILL $$"] if len(starts) <= times else start(processes, suite)

    monkeypatch.setattr(harness, "command", command)
    done = run(tmp_path, monkeypatch, "pass", [])
    assert {r.outcome for r in done.results} == {outcome}
