"""A process that tries faults: ``python -m conformance.selftest.worker`` reads jobs and answers with their trials, a line each.

An interpreter of its own, not a fork: a forked case whose interpreter has to end by itself leaves through the top of this one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import Any

from conformance.suite import children
from conformance.suite.catalogue import Case

from . import trials
from .stages import stages
from .trials import Trial

STOPPED = "the selftest was asked to stop"


@dataclass(frozen=True)
class Job:
    """One fault, or flawless partners, with some of the cases of a stage. Named, not carried: a process looks it up again."""

    stage: str
    fault: str
    cases: tuple[Case, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"stage": self.stage, "fault": self.fault, "cases": [case.to_json() for case in self.cases]}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Job:
        """The reverse of :meth:`to_json`."""
        return cls(data["stage"], data["fault"], tuple(Case.from_json(case) for case in data["cases"]))


class Worker:
    """The process, seen from outside. It is started when first needed, and again when it was lost.

    ``folder`` is for its temporary files: it may be killed, and then cleans nothing up.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._process: subprocess.Popen[str] | None = None
        self._ended = False

    def run(self, job: Job) -> list[Trial] | str:
        """The trials of a job, or why there are none."""
        if self._ended:
            return STOPPED
        process = self._process = self._process or _start(self._folder)
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(job.to_json()) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except OSError:
            answer = ""
        if not answer.endswith("\n"):
            self._process = None
            if self._ended:
                return STOPPED
            return f"its process ended with exit code {process.wait()}"
        return [Trial.from_json(trial) for trial in json.loads(answer)]

    def end(self) -> None:
        """Kill it; what it has forked ends with it."""
        self._ended = True
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def _start(folder: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [children.python(), "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=children.environment(TMPDIR=folder),
        cwd=children.folder(),
    )


def main() -> None:
    """Until there are no more jobs."""
    children.die_with_parent()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a fault prints is no answer
    known = {stage.name: stage for stage in stages()}
    for line in sys.stdin:
        job = Job.from_json(json.loads(line))
        stage = known[job.stage]
        fault = next((fault for fault in stage.faults if fault.name == job.fault), None)
        print(json.dumps([asdict(trial) for trial in trials.run(stage, fault, job.cases)]), file=answers, flush=True)


if __name__ == "__main__":
    main()
