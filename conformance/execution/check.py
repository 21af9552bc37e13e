"""Run a plan here: write it, drive pytest over it, follow the results, and account for every case."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conformance import suite
from conformance.adapters.base import Device
from conformance.protocols.clauses import Level
from conformance.suite import children
from conformance.suite.catalogue import Case, catalogue
from conformance.suite.libraries import REFERENCE
from conformance.suite.outcomes import Outcome

from . import controller, isolation, sharing, worker
from .environment import Facts
from .hazards import isolation_of
from .results import BAD, Result, read_lines, write_lines

PLAN_FILE = "plan.jsonl"
RESULTS_FILE = "results.jsonl"
ENVIRONMENT_FILE = "environment.json"
LOG_FOLDER = "logs"
EARLIER_FILE = "earlier" + worker.RESULTS_SUFFIX
"""In the folder of logs: what an interrupted run had found out before this one took over."""
REMAINING_FILE = "remaining.jsonl"
"""In the folder of logs: the part of the plan that this run has to do."""
_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Status:
    """How far a run has come: results so far by verdict, the number planned, the newest case's id."""

    planned: int
    verdicts: Counter[str]
    newest: str

    @property
    def done(self) -> int:
        """Results so far."""
        return sum(self.verdicts.values())


Progress = Callable[[Status], None]


@dataclass(frozen=True)
class Run:
    """A finished run. ``lost`` were planned and never reported."""

    results: tuple[Result, ...]
    lost: tuple[str, ...]
    seconds: float


def run(
    cases: list[Case], facts: Facts, out: Path, processes: int, progress: Progress, earlier: tuple[Result, ...] = ()
) -> Run:
    """Run the cases in ``out``, which is created; earlier files of a run in it are replaced.

    ``earlier`` are results that an interrupted run of the same cases has left: those cases are not run again.
    """
    started = time.monotonic()
    done = {result.case.id for result in earlier}
    remaining = [case for case in cases if case.id not in done]
    prepare(cases, remaining, facts, out, earlier)
    server = _server(remaining, out)
    planned = Counter(worker.phase_of(catalogue()[case.invariant]) for case in remaining)
    try:
        with _Gathering(out, len(cases), progress) as gathering:
            gathering.gather()
            for phase, most in ((worker.Phase.SHARED, processes), (worker.Phase.EXCLUSIVE, 1)):
                if planned[phase]:
                    with _among_runs(remaining, phase, gathering.waits):
                        _drive(out, min(most, planned[phase]), phase, gathering, server)
    finally:
        if server is not None:
            server.close()
    results = account(cases, out)
    return Run(results, tuple(r.case.id for r in results if r.outcome is Outcome.LOST), time.monotonic() - started)


def _among_runs(cases: list[Case], phase: worker.Phase, waiting: Callable[[], None]) -> AbstractContextManager[None]:
    """Other runs on this machine are waited for where one of them has to be alone on the GPUs."""
    if any(case.device is Device.CUDA for case in cases):
        return sharing.gpus(alone=phase is worker.Phase.EXCLUSIVE, waiting=waiting)
    return nullcontext()


def prepare(
    cases: list[Case], remaining: list[Case], facts: Facts, out: Path, earlier: tuple[Result, ...] = ()
) -> None:
    """Write plan and environment, and make room for results. What there was earlier is written before anything is deleted."""
    logs = out / LOG_FOLDER
    logs.mkdir(parents=True, exist_ok=True)
    kept = logs / EARLIER_FILE
    write_lines(kept, (result.to_json() for result in earlier))
    for old in (*logs.glob("*.log"), *logs.glob(f"*{worker.RESULTS_SUFFIX}"), out / RESULTS_FILE):
        if old != kept:
            old.unlink(missing_ok=True)
    write_lines(out / PLAN_FILE, (case.to_json() for case in cases))
    write_lines(logs / REMAINING_FILE, (case.to_json() for case in remaining))
    (out / ENVIRONMENT_FILE).write_text(
        json.dumps(facts.to_json(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )


def _server(cases: list[Case], out: Path) -> isolation.Server | None:
    """The isolation server, if any case needs it."""
    known = catalogue()
    if not any(isolation_of(case, known[case.invariant]).in_child for case in cases):
        return None
    names = dict.fromkeys(n for case in cases for n in (case.producer, case.consumer) if n != REFERENCE)
    return isolation.Server(tuple(names), out / LOG_FOLDER / "isolation.log")


def command(processes: int) -> list[str]:
    """The pytest command line: our plugins and xdist, nothing of the user's configuration."""
    return [
        children.python(), "-m", "pytest", str(Path(suite.__file__).parent),
        "-c", os.devnull, "--rootdir", str(Path(suite.__file__).parent), "--noconftest", "-q", "--capture=no",
        "-p", "no:cacheprovider", "-p", "xdist.plugin",
        "-p", worker.__name__, "-p", controller.__name__,
        "-n", str(processes), "--dist", "worksteal", "--max-worker-restart", "1000",
    ]  # fmt: skip


def _drive(
    out: Path, processes: int, phase: worker.Phase, gathering: _Gathering, server: isolation.Server | None
) -> None:
    """Run the cases of one phase to their end."""
    environment = {
        **children.environment(),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTEST_ADDOPTS": "",
        worker.PLAN: str((out / LOG_FOLDER / REMAINING_FILE).resolve()),
        worker.LOGS: str((out / LOG_FOLDER).resolve()),
        worker.PHASE: phase.value,
    }
    if phase is worker.Phase.EXCLUSIVE:
        environment.setdefault(children.QUEUES, children.MOST_QUEUES)
    if server is not None:
        environment[isolation.SOCKET] = server.path
    with (out / LOG_FOLDER / f"pytest-{phase.value}.log").open("w") as log:
        process = subprocess.Popen(
            command(processes),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=children.die_with_parent,
            env=environment,
            cwd=children.folder(),
        )
        try:
            while process.poll() is None:
                gathering.gather()
                time.sleep(_POLL_SECONDS)
            gathering.gather()
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()


class _Gathering:
    """Moves results from the processes' own files to the run's as they arise."""

    def __init__(self, out: Path, planned: int, progress: Progress) -> None:
        self._logs = out / LOG_FOLDER
        self._planned = planned
        self._progress = progress
        self._tails: dict[Path, int] = {}
        self._verdicts: Counter[str] = Counter()
        self._newest = ""
        self._results = (out / RESULTS_FILE).open("wb", buffering=0)

    def __enter__(self) -> _Gathering:
        return self

    def __exit__(self, *exception: object) -> None:
        self._results.close()

    def waits(self) -> None:
        """Say that another run has to end first."""
        self._progress(Status(self._planned, self._verdicts, "waiting for another run on this machine's GPUs"))

    def gather(self) -> None:
        """What is new, and how far that brings the run."""
        for file in sorted(self._logs.glob(f"*{worker.RESULTS_SUFFIX}")):
            fresh = _whole_lines(file, self._tails)
            self._results.write(fresh)
            records = [json.loads(line) for line in fresh.splitlines()]
            self._verdicts.update(record["verdict"] for record in records)
            self._newest = records[-1]["id"] if records else self._newest
        self._progress(Status(self._planned, self._verdicts, self._newest))


def _whole_lines(file: Path, tails: dict[Path, int]) -> bytes:
    """What was appended since last time, up to the last end of a line."""
    with file.open("rb") as opened:
        opened.seek(tails.get(file, 0))
        data = opened.read()
    whole = data[: data.rfind(b"\n") + 1]
    tails[file] = tails.get(file, 0) + len(whole)
    return whole


def account(cases: list[Case], out: Path) -> tuple[Result, ...]:
    """One result for each planned case; what never reported is ``lost``. Rewrites the results in the plan's order.

    A case can have two results if its worker died after it had written one: the death counts.
    """
    reported = _reported(out / RESULTS_FILE)
    results = tuple(reported.get(case.id) or _lost(case) for case in cases)
    write_lines(out / RESULTS_FILE, (result.to_json() for result in results))
    return results


def _reported(*files: Path) -> dict[str, Result]:
    """The result that counts of each case in these files."""
    reported: dict[str, Result] = {}
    for record in (record for file in files for record in read_lines(file)):
        result = Result.from_json(record)
        if result.case.id not in reported or result.outcome in BAD:
            reported[result.case.id] = result
    return reported


@dataclass(frozen=True)
class Unfinished:
    """What a run has left in its folder: the plan, the environment that it was made in, and what has an outcome."""

    cases: tuple[Case, ...]
    environment: dict[str, Any]
    results: tuple[Result, ...]


def unfinished(out: Path) -> Unfinished:
    """Read a run's folder; ``OSError`` if there is none, ``ValueError`` or ``KeyError`` if it cannot be read."""
    environment = json.loads((out / ENVIRONMENT_FILE).read_text(encoding="utf-8"))
    cases = tuple(Case.from_json(record) for record in read_lines(out / PLAN_FILE))
    files = sorted((out / LOG_FOLDER).glob(f"*{worker.RESULTS_SUFFIX}"))
    found = _reported(out / RESULTS_FILE, *files)
    decided = (found[case.id] for case in cases if case.id in found)
    return Unfinished(cases, environment, tuple(r for r in decided if r.outcome is not Outcome.LOST))


def _lost(case: Case) -> Result:
    return Result(case, Outcome.LOST, Level.MUST, reason="planned, but nothing was reported")
