"""What journal, isolation and deadlines cost: ordinary cases by the suite and by plain ``pytest -n``, side by side.

``python tests/benchmarks/overhead.py [PROCESSES [ROUNDS]]``. Both run the same test functions over the same cases in as many processes, in
turns. Neither looks at the environment first.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import plain

from conformance import suite
from conformance.checks import children
from conformance.checks.catalogue import Case, Isolation, catalogue
from conformance.execution import environment, plan, run_folder, supervisor
from conformance.execution.hazards import isolation_of
from conformance.execution.results import write_lines

ROUNDS = 5


def ordinary() -> tuple[environment.Facts, list[Case]]:
    """Cases that share a process with others and need nothing of their own."""
    facts, known = environment.measure(), catalogue()
    cases = plan.make(known, facts.environment, plan.Selection())
    return facts, [
        case
        for case in cases
        if isolation_of(case, known[case.invariant]) is Isolation.SHARED and not known[case.invariant].exclusive
    ]


def by_suite(facts: environment.Facts, cases: list[Case], processes: int) -> float:
    """Seconds from the plan's first line to the last result's."""
    with tempfile.TemporaryDirectory() as out:
        started = time.perf_counter()
        run_folder.prepare(cases, facts.to_json(), Path(out))
        run = supervisor.run(cases, Path(out), supervisor.Settings(processes), lambda status: None)
        assert not run.lost
        return time.perf_counter() - started


def by_pytest(cases: list[Case], processes: int) -> float:
    """Seconds from pytest's start to its end; failures are results here too."""
    with tempfile.TemporaryDirectory() as out:
        started = time.perf_counter()
        write_lines(Path(out, "cases"), (case.to_json() for case in cases))
        done = subprocess.run(
            [
                sys.executable, "-m", "pytest", str(Path(suite.__file__).parent), "-c", os.devnull, "--rootdir", out,
                "-q", "--tb=no", "-p", "no:cacheprovider", "-p", "xdist.plugin", "-p", "plain",
                "-n", str(processes), "--dist", "worksteal",
            ],
            env={**children.environment(), plain.CASES: str(Path(out, "cases")), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
                 "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), children.environment().get("PYTHONPATH", "")])},
            capture_output=True, text=True, check=False, cwd=out,
        )  # fmt: skip
        assert done.returncode in (0, 1), done.stdout[-2000:] + done.stderr[-2000:]
        print("   ", done.stdout.strip().splitlines()[-1])
        return time.perf_counter() - started


def main() -> int:
    """A line for each round, and the ratio of the medians."""
    processes, rounds = (*(int(word) for word in sys.argv[1:]), *(2, ROUNDS)[len(sys.argv) - 1 :])
    os.environ.setdefault(plain.CASES, os.devnull)
    facts, cases = ordinary()
    print(f"{len(cases)} ordinary cases in {processes} processes")
    rows = []
    for _ in range(rounds):
        rows.append((by_suite(facts, cases, processes), by_pytest(cases, processes)))
        print(f"suite {rows[-1][0]:6.2f} s   plain pytest {rows[-1][1]:6.2f} s   ratio {rows[-1][0] / rows[-1][1]:.2f}")
    ours, plains = (statistics.median(column) for column in zip(*rows))
    print(f"medians: suite {ours:.2f} s, plain pytest {plains:.2f} s, ratio {ours / plains:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
