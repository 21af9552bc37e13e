"""Signals to every kind of process of a run: no result may be lost, and no library may be accused for the signal.

As a command it starts runs until it has sent the given number of signals::

    cd tests && PYTHONPATH=.. python -m execution.killing --kills 200 --load 2
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from conftest import mark, marked
from libraries import install

import conformance
from conformance.execution.results import read_lines

PACKAGE = Path(conformance.__file__).parents[1]
LIBRARIES = ("one", "two", "three")
"""Make-believe libraries: three, so that fresh interpreters can try orders of imports."""
FAMILIES = "imports,lifetime,layout,threads"
FEW_FAMILIES = "imports,lifetime,illegal,threads"
"""Families of every kind of isolation, with a third of the cases."""
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)
PAUSE_SECONDS = (0.05, 0.6)
_AHEAD = 1
_GLANCE_SECONDS = 0.1
_MODULE = "launcher.py\0conformance.execution."


class Kind(Enum):
    """Role of a process in a run."""

    SUPERVISOR = "supervisor"
    SERVER = "server"
    MONITOR = "monitor"
    CHILD = "child"
    INTERPRETER = "fresh interpreter"
    PROBE = "probe"


@dataclass
class Account:
    """Results of the disturbed runs: number of signals by target, and differences from the undisturbed run."""

    sent: Counter[Kind] = field(default_factory=Counter)
    cases: int = 0
    undecided: int = 0
    wrong: list[str] = field(default_factory=list)
    """Cases that are lost, accuse a library, or changed their outcome to anything but *inconclusive*."""

    def compare(self, before: dict[str, dict[str, Any]], now: dict[str, dict[str, Any]]) -> None:
        """Add the results of one run, by case."""
        self.cases += len(before)
        for id, undisturbed in before.items():
            outcome = now[id]["outcome"] if id in now else "lost"
            if outcome == "inconclusive":
                self.undecided += 1
            elif outcome != undisturbed["outcome"] or now[id]["verdict"] != undisturbed["verdict"]:
                self.wrong.append(
                    f"{id}: {outcome} in place of {undisturbed['outcome']} ({now.get(id, {}).get('reason')})"
                )


def kinds(supervisor: int, processes: Sequence[int]) -> dict[int, Kind]:
    """Return the processes of a run by kind; processes of unknown kind, such as a debugger, are omitted."""
    parents = {process: _parent(process) for process in processes}
    found = {supervisor: Kind.SUPERVISOR}
    for process in sorted(processes):
        words = _words(process)
        if "conformance.programs." in words:
            found[process] = Kind.INTERPRETER
        elif f"{_MODULE}probe" in words:
            found[process] = Kind.PROBE
        elif f"{_MODULE}forkserver" in words:
            depth = _depth(process, supervisor, parents)
            if 1 <= depth <= 3:
                found[process] = (Kind.SERVER, Kind.MONITOR, Kind.CHILD)[depth - 1]
    return found


def _depth(process: int, supervisor: int, parents: dict[int, int]) -> int:
    """Return the number of generations between the processes; 0 if ``process`` is not a descendant."""
    depth = 0
    while process in parents and process != supervisor:
        process, depth = parents[process], depth + 1
    return depth if process == supervisor else 0


def _parent(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _words(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


class Runs:
    """Runs of one selection in one folder, each of which loses some of its processes."""

    def __init__(self, folder: Path, seed: int, processes: int = 2, families: str = FAMILIES) -> None:
        self._selection = ("--between", ",".join(LIBRARIES), "--family", families, "--device", "host")
        self._folder = folder
        self._random = random.Random(seed)
        self._number = 0
        self._processes = processes
        for name in LIBRARIES:
            site = install(folder / "site", name)
        self._environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(site), str(PACKAGE), *_path()))}
        self.seen: set[Kind] = set()
        """The kinds of process that a run has, left alone."""
        self.before = self._results(self._watched("undisturbed"))

    def disturbed(self, most: int, account: Account, only: frozenset[Kind] = frozenset(Kind)) -> None:
        """Start one run and send up to ``most`` signals at random. Resume it each time its supervisor is killed."""
        self._number += 1
        name, sent = f"run{self._number}", 0
        process = self._begun(name)
        out = self._folder / name
        while True:
            while process.poll() is None:
                if sent < most and self._kill(process, only, account):
                    sent += 1
                time.sleep(self._random.uniform(*PAUSE_SECONDS))
            if process.returncode in (0, 1, 4):
                break
            self._wait_for_the_end()
            planned = (out / "plan.jsonl").exists() and (out / "journal.jsonl").exists()
            process = self._begun(name, resumed=planned)
        account.compare(self.before, self._results(out))

    def _kill(self, supervisor: subprocess.Popen[bytes], only: frozenset[Kind], account: Account) -> bool:
        """Send a signal to the kind with the fewest signals, unless it is far ahead of kinds that are not running."""
        found = {p: kind for p, kind in kinds(supervisor.pid, marked(self._folder)).items() if kind in only}
        if not found or supervisor.poll() is not None:
            return False
        kind = min(set(found.values()), key=lambda each: (account.sent[each], each.value))
        if account.sent[kind] > _AHEAD + min(account.sent[each] for each in only):
            return False
        victim = self._random.choice([p for p, each in found.items() if each is kind])
        number = signal.SIGKILL if kind is Kind.SUPERVISOR else self._random.choice(SIGNALS)
        try:
            os.kill(victim, number)
        except ProcessLookupError:
            return False
        account.sent[kind] += 1
        return True

    def _begun(self, name: str, *, resumed: bool = False) -> subprocess.Popen[bytes]:
        how = ("--resume", name) if resumed else (*self._selection, "--out", name)
        return subprocess.Popen(
            [sys.executable, "-m", "conformance", "check", *how, "-n", str(self._processes)],
            cwd=self._folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**self._environment, **mark(self._folder)},
        )  # fmt: skip

    def _watched(self, name: str) -> Path:
        """A run that is left alone, while its processes are looked at."""
        process = self._begun(name)
        while process.poll() is None:
            self.seen.update(kinds(process.pid, marked(self._folder)).values())
            time.sleep(_GLANCE_SECONDS)
        return self._folder / name

    def _results(self, out: Path) -> dict[str, dict[str, Any]]:
        return {record["id"]: record for record in read_lines(out / "results.jsonl")}

    def _wait_for_the_end(self) -> None:
        while marked(self._folder):
            time.sleep(0.05)


def _path() -> list[str]:
    return [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]


def main() -> int:
    """Send the signals, print the result, and return 1 if anything is wrong."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--kills", type=int, default=200)
    asked.add_argument("--each", type=int, default=12, help="signals for each run, at most")
    asked.add_argument("--load", type=int, default=0, help="busy processes beside the runs")
    asked.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = asked.parse_args()
    print(f"seed {options.seed}", flush=True)
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(options.load)]
    account, runs_made = Account(), 0
    try:
        with tempfile.TemporaryDirectory() as folder:
            runs = Runs(Path(folder), options.seed)
            while (sent := account.sent.total()) < options.kills:
                runs.disturbed(min(options.each, options.kills - sent), account)
                runs_made += 1
                print(f"{account.sent.total()} signals in {runs_made} runs, {len(account.wrong)} wrong", flush=True)
    finally:
        for process in busy:
            process.kill()
    print(", ".join(f"{number} × {kind.value}" for kind, number in account.sent.most_common()))
    print(f"{account.cases} cases, {account.undecided} undecided", *account.wrong, sep="\n")
    return bool(account.wrong)


if __name__ == "__main__":
    sys.exit(main())
