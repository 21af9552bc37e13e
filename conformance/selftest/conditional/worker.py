"""Worker process for conditional faults: ``python -m conformance.selftest.conditional.worker`` reads requests and answers each in a
line.
"""

from __future__ import annotations

import gc
import json
import os
import pickle
import subprocess
import sys
import tempfile
import traceback
from collections import defaultdict
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import IO, Any

from conformance.checks import children
from conformance.checks.catalogue import Case, catalogue
from conformance.checks.libraries import REFERENCE

from . import reach, trying, wrapped
from .reach import Reach
from .trying import Candidate, Tried

_STANDARD_ERROR = 2
_GROUP = 100
"""The number of a real library's cases that share a process while it is measured."""


class Lost(Exception):
    """The process has ended. The message says how."""


class Worker:
    """The worker process as its parent sees it. ``folder`` is for its temporary files."""

    def __init__(self, folder: str) -> None:
        reader, writer = os.pipe()
        try:
            self._process: subprocess.Popen[bytes] = children.start(
                __name__,
                folder=folder,
                stdin=subprocess.PIPE,
                output=_STANDARD_ERROR,
                answers=writer,
                variables={"TMPDIR": folder},
            )
        finally:
            os.close(writer)
        self._answers: IO[bytes] = os.fdopen(reader, "rb")

    def measure(self, cases: Sequence[Case], library: str, into: Path) -> dict[str, Any]:
        """Measure the levels that these cases reach with a library, write them to a file, and return the report on the flawless
        partners.
        """
        return self._ask({"measure": [case.to_json() for case in cases], "library": library, "into": str(into)})

    def load(self, parts: Sequence[Path], points: Sequence[Case]) -> None:
        """Load the measurements and the cases of the family ``combination``."""
        self._ask({"load": [str(part) for part in parts], "points": [case.to_json() for case in points]})

    def tried(self, names: Sequence[str]) -> list[Tried]:
        """Try these candidates."""
        return [Tried(**one) for one in self._ask({"try": list(names)})["tried"]]

    def end(self) -> None:
        """Kill the process and all that it has forked."""
        self._process.kill()
        self._process.wait()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            answer = self._answers.readline()
        except OSError:
            answer = b""
        if not answer.endswith(b"\n"):
            raise Lost(f"its process ended with exit code {self._process.wait()}")
        answer_data: dict[str, Any] = json.loads(answer)
        return answer_data


def _measure(cases: Sequence[Case], library: str, into: Path) -> dict[str, Any]:
    """Measure the cases in separate processes: a case must not affect later ones, and some end the process of a real library."""
    is_real = library != REFERENCE
    groups = [list(cases[at : at + _GROUP]) for at in range(0, len(cases), _GROUP)] if is_real else [list(cases)]
    parts = []
    while groups:
        group = groups.pop(0)
        status, number = _measured(group, library, into)
        if not status:
            parts.append(pickle.loads(into.read_bytes()))
        elif is_real:  # the library itself ends the process in this case
            groups.insert(0, group[:number] + group[number + 1 :])
        else:
            return {"lost": f"the flawless partners' process ended with status {status} in {group[number].id}"}
    found = reach.together(parts)
    into.write_bytes(pickle.dumps(found))
    return {"accused": found.accused, "cases": len(found.cases), "unplaced": found.unplaced}


def _measured(cases: Sequence[Case], library: str, into: Path) -> tuple[int, int]:
    """Return the exit status of the process that measures these cases, and the number of the last case that it began."""
    is_real = library != REFERENCE
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reader)
        try:
            make = partial(wrapped.noted, library) if is_real else reach.of_reference
            with nullcontext() if is_real else trying.impatient():
                begun = partial(_begun, writer)
                into.write_bytes(pickle.dumps(reach.measured(cases, make, begun, is_real=is_real)))
            os._exit(0)
        except Exception:  # noqa: BLE001 - printed, and the exit code shows it
            traceback.print_exc()
        finally:
            os._exit(1)
    os.close(writer)
    with os.fdopen(reader) as numbers:
        lines = numbers.read().split()
    return os.waitpid(pid, 0)[1], int(lines[-1]) if lines else 0


def _begun(writer: int, number: int) -> None:
    os.write(writer, f"{number}\n".encode())


def main() -> None:
    """Answer requests until the input ends."""
    children.die_with_parent()
    catalogue()  # loaded once, and not in each forked process
    known = Reach(())
    caught: dict[str, list[str]] = defaultdict(list)
    for line in sys.stdin:
        request = json.loads(line)
        if "measure" in request:
            cases = [Case.from_json(case) for case in request["measure"]]
            children.tell(_measure(cases, request["library"], Path(request["into"])))
        elif "load" in request:
            measured = reach.together([pickle.loads(Path(part).read_bytes()) for part in request["load"]])
            known = measured.with_points(Case.from_json(case) for case in request["points"])
            gc.collect()
            gc.freeze()  # the garbage collector need not scan the existing objects in every case
            children.tell({})
        else:
            children.tell({"tried": [asdict(_tried(name, known, caught)) for name in request["try"]]})


def _tried(name: str, known: Reach, caught: dict[str, list[str]]) -> Tried:
    candidate = Candidate.named(name)
    with tempfile.TemporaryDirectory(prefix="conformance-trial-") as folder:
        found = trying.tried(candidate, known, folder, caught[candidate.fault])
    invariant = found.caught_by.partition("/")[0]
    if invariant and invariant not in caught[candidate.fault]:
        caught[candidate.fault].append(invariant)
    return found


if __name__ == "__main__":
    main()
