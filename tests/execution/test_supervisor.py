"""Supervisor with failed processes of the run itself: a monitor that does not answer, a server that ends."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from libraries import install

from conformance.adapters.base import Device
from conformance.checks import children
from conformance.checks.catalogue import Case, Tier
from conformance.checks.outcomes import Outcome
from conformance.execution import journal, run_folder, supervisor
from conformance.execution.ledger import Status
from conformance.execution.results import read_lines

ONCE = "Path('{flag}').exists() or (Path('{flag}').touch(), {deed})"
MONITOR = "os.getppid()"
SERVER = f"int(open(f'/proc/{{{MONITOR}}}/stat').read().rsplit(')', 1)[1].split()[1])"


def case(consumer: str, layout: str) -> Case:
    """A case that passes where nothing is done to it."""
    parameters = (("layout", layout), ("dtype", "uint8"))
    return Case("pointer.values", "reference", consumer, "dlpack", Device.HOST, parameters)


CASES = [case("deadly", "c-order"), *(case("reference", name) for name in ("c-order", "columns", "stepped", "rows"))]


def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, take: str, statuses: list[Status], cases: list[Case] = CASES
) -> supervisor.Run:
    """Run the cases with a library that does this when it imports."""
    monkeypatch.setenv(
        "PYTHONPATH", str(install(tmp_path / "site", "deadly", take=f"from pathlib import Path; {take}"))
    )
    out = tmp_path / "out"
    out.mkdir()
    run_folder.prepare(cases, {"libraries": []}, out)
    return supervisor.run(cases, out, supervisor.Settings(1), statuses.append)


def told(tmp_path: Path) -> list[str]:
    """The troubles in the journal."""
    return [record["what"] for record in read_lines(tmp_path / "out" / journal.FILE) if record["event"] == "trouble"]


def test_a_monitor_that_does_not_answer_is_killed_and_its_case_has_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second of three deadlines: the monitor has been stopped, so it cannot keep the first. All other cases run."""
    monkeypatch.setattr(supervisor, "patience", lambda invariant: 2.0)
    monkeypatch.setattr(supervisor, "REAP_SECONDS", 1.0)
    done = run(tmp_path, monkeypatch, f"os.kill({MONITOR}, signal.SIGSTOP); time.sleep(600)", [])
    first, *others = done.results
    assert first.outcome is Outcome.INCONCLUSIVE
    assert "its monitor did not answer within 2 s, and was killed, twice" in first.reason
    assert {r.outcome for r in others} == {Outcome.PASS}
    assert len(told(tmp_path)) == 2


def test_a_server_that_dies_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every case has its own outcome in the end."""
    deed = f"os.kill({SERVER}, signal.SIGKILL), time.sleep(600)"
    statuses: list[Status] = []
    done = run(tmp_path, monkeypatch, ONCE.format(flag=tmp_path / "done", deed=deed), statuses)
    assert {r.outcome for r in done.results} == {Outcome.PASS}, [r.reason for r in done.results]
    assert statuses[-1].done == len(CASES)
    starts = [r["case"] for r in read_lines(tmp_path / "out" / journal.FILE) if r["event"] == "start"]
    assert starts.count(CASES[0].id) == 2
    assert any(what.startswith("the fork server ended with SIGKILL") for what in told(tmp_path))


def ending(monkeypatch: pytest.MonkeyPatch, script: str, times: int = 10**6) -> list[str]:
    """Let a shell script stand in for the server's first starts; each start adds to the list."""
    starts: list[str] = []
    start = children.start

    def started(module: str, *arguments: str, **how: Any) -> subprocess.Popen[bytes]:
        starts.append(module)
        if len(starts) > times:
            return start(module, *arguments, **how)
        output = how["output"]
        return subprocess.Popen(["/bin/sh", "-c", script], stdout=output, stderr=output, start_new_session=True)

    monkeypatch.setattr(children, "start", started)
    return starts


def test_what_never_works_ends_with_everything_lost_and_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second start preloads nothing. The run is incomplete then, and the output of its processes is kept."""
    starts = ending(monkeypatch, "echo no such luck; exit 7")
    done = run(tmp_path, monkeypatch, "pass", [])
    assert {r.outcome for r in done.results} == {Outcome.LOST}
    assert len(done.lost) == len(CASES)
    reason = "the fork server ended with exit code 7, and the last line of output was 'no such luck'"
    assert all(reason in r.reason for r in done.results)
    assert done.stopped.startswith(f"no process can begin a case: {reason}")
    assert len(told(tmp_path)) == len(starts) == supervisor._FUTILE
    (stop,) = [record for record in read_lines(tmp_path / "out" / journal.FILE) if record["event"] == "stop"]
    assert stop["why"] == done.stopped
    assert "no such luck" in (tmp_path / "out" / run_folder.DIAGNOSTICS).read_text()
    assert json.loads((tmp_path / "out" / run_folder.RESULTS).read_text().splitlines()[0])["outcome"] == "lost"


def test_a_case_that_nobody_could_run_is_no_complete_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run continues with the other cases; its journal says that cases are left."""
    done = run(tmp_path, monkeypatch, f"os.kill({MONITOR}, signal.SIGKILL), time.sleep(600)", [])
    assert [r.outcome for r in done.results] == [Outcome.LOST] + [Outcome.PASS] * 4
    assert "no process could run" in done.results[0].reason
    (stop,) = [record for record in read_lines(tmp_path / "out" / journal.FILE) if record["event"] == "stop"]
    assert stop["why"] != journal.COMPLETE
    assert "left" in stop["why"]


def test_a_monitor_that_is_ended_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The case gets another monitor, and the pass continues."""
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
    starts = ending(monkeypatch, "kill -KILL $$", times)
    done = run(tmp_path, monkeypatch, "pass", [])
    assert {r.outcome for r in done.results} == {outcome}
    assert len(starts) == min(times + 1, supervisor._MOST_ENDED)


def test_one_server_and_its_monitors_serve_all_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Imports and starts of CUDA cost seconds, so a new stage does not repeat them."""
    starts = ending(monkeypatch, "", 0)
    done = run(
        tmp_path,
        monkeypatch,
        "pass",
        [],
        cases=[*CASES, replace(CASES[1], invariant="pointer.same-address", tier=Tier.QUICK)],
    )
    assert {r.outcome for r in done.results} == {Outcome.PASS}
    begun = [(r["case"], r["pid"]) for r in read_lines(tmp_path / "out" / journal.FILE) if r["event"] == "start"]
    assert begun[0][0].startswith("pointer.same-address")
    assert len({pid for _, pid in begun}) == len(starts) == 1
