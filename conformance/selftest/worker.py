"""Worker process for trials: ``python -m conformance.selftest.worker`` reads jobs and writes a line of trials for each.

It is a new interpreter and not a fork, because a forked case that tests the end of an interpreter leaves through the top of this one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import IO, Any

from conformance.checks import children
from conformance.checks.catalogue import Case

from . import trials
from .stages import stages
from .trials import Trial

_STANDARD_ERROR = 2
STOPPED = "the selftest was asked to stop"


@dataclass(frozen=True)
class Job:
    """One fault, or flawless partners, with some of the cases of a stage. It holds names only, which the worker looks up."""

    stage: str
    fault: str
    cases: tuple[Case, ...]

    def to_json(self) -> dict[str, Any]:
        return {"stage": self.stage, "fault": self.fault, "cases": [case.to_json() for case in self.cases]}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Job:
        return cls(data["stage"], data["fault"], tuple(Case.from_json(case) for case in data["cases"]))


class Worker:
    """The worker process as its parent sees it. It is started at first use, and again after it has died.

    ``folder`` has its temporary files, because the process may be killed and does not clean up.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: IO[bytes] | None = None
        self._ended = False

    def run(self, job: Job) -> list[Trial] | str:
        """Return the trials of a job, or the reason why there are none."""
        if self._ended:
            return STOPPED
        if self._process is None or self._answers is None:
            self._process, self._answers = _start(self._folder)
        process, answers = self._process, self._answers
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(job.to_json()).encode() + b"\n")
            process.stdin.flush()
            answer = answers.readline()
        except OSError:
            answer = b""
        if not answer.endswith(b"\n"):
            self._process = None
            answers.close()
            if self._ended:
                return STOPPED
            return f"its process ended with exit code {process.wait()}"
        return [Trial.from_json(trial) for trial in json.loads(answer)["trials"]]

    def end(self) -> None:
        """Kill the process and all that it has forked."""
        self._ended = True
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def _start(folder: str) -> tuple[subprocess.Popen[bytes], IO[bytes]]:
    """Start the process, and return it with the file of its answers."""
    reader, writer = os.pipe()
    try:
        process = children.start(
            __name__,
            folder=folder,
            stdin=subprocess.PIPE,
            output=_STANDARD_ERROR,
            answers=writer,
            variables={"TMPDIR": folder},
        )
    finally:
        os.close(writer)
    return process, os.fdopen(reader, "rb")


def main() -> None:
    """Run jobs until the input ends."""
    children.die_with_parent()
    known = {stage.name: stage for stage in stages()}
    for line in sys.stdin:
        job = Job.from_json(json.loads(line))
        stage = known[job.stage]
        fault = next((fault for fault in stage.faults if fault.name == job.fault), None)
        children.tell({"trials": [asdict(trial) for trial in trials.run(stage, fault, job.cases)]})


if __name__ == "__main__":
    main()
