"""Every kind of file that a command reads: a valid one of each, and the commands that read it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matrix.conftest import SMALL
from verdicts.test_waiver_file import GOOD
from wheels import make

from conformance import files
from conformance.adapters.base import Device, Protocol
from conformance.checks.catalogue import Case
from conformance.checks.libraries import Environment, Library, Side
from conformance.checks.outcomes import Outcome
from conformance.checks.outcomes import Side as Of
from conformance.cli import main
from conformance.engines import package_tests, records
from conformance.engines.candidates import requests
from conformance.engines.model import Bounds, Cell, Ending, Lifecycle
from conformance.engines.package_tests import Finish, OwnTests
from conformance.engines.records import Counts, Record, Run
from conformance.execution import journal, run_folder
from conformance.execution.environment import Facts
from conformance.execution.results import Accused, Result, write_lines
from conformance.exits import Exit, UserError
from conformance.findings import known
from conformance.images import source
from conformance.protocols.clauses import Level, Role
from conformance.runs import history, reader, run_file
from conformance.selftest import cli as selftest
from conformance.selftest.account import differences

CODES = frozenset(int(code) for code in Exit)
"""Valid exit codes of a command."""


@dataclass(frozen=True)
class Target:
    """A file in the folder of valid files, and the functions that read it and return an exit code."""

    file: str
    ways: Sequence[Callable[[], int]]


def command(*arguments: str) -> Callable[[], int]:
    """Return a call of a command in this process."""
    return lambda: main(list(arguments))


def directly(read: Callable[[], object]) -> Callable[[], int]:
    """Return a call of a reader for which no fast command exists; a user error becomes an exit code."""

    def way() -> int:
        try:
            read()
        except UserError:
            return Exit.USAGE
        return Exit.OK

    return way


# -- valid files


def case(consumer: str, layout: str, invariant: str = "pointer.values") -> Case:
    """Return a case on host memory."""
    return Case(invariant, "numpy", consumer, "dlpack", Device.HOST, (("layout", layout), ("dtype", "float32")))


CASES = [
    *(case("numpy", layout) for layout in ("c-order", "reversed-rows", "reversed-step")),
    *(case("reference", layout) for layout in ("c-order", "fortran", "permuted", "columns", "reversed-rows")),
]
TRIAL = Case("pointer.values", "reference", "numpy", "dlpack", Device.HOST, CASES[0].parameters)
_SIDE = Side(("float32",), ("c-order",), (Protocol.DLPACK,), (Protocol.DLPACK,))
FACTS = Facts(
    Environment(tuple(Library(name, {name: "1.0"}, sides={Device.HOST: _SIDE}) for name in ("reference", "numpy"))),
    {"available": False, "reason": "no driver"},
)


def results() -> list[Result]:
    """Return results of every kind."""
    accused = Accused(Of.CONSUMER, ("numpy",), "seen in the check")
    failed = Result(
        CASES[1], Outcome.FAIL, Level.MUST, "values-changed", "DLP-58", Role.CONSUMER, accused=accused, reason="other values",
        expected="1", seen="2", attachments={"stderr": "words"},
    )  # fmt: skip
    crashed = Result(CASES[2], Outcome.CRASH, Level.MUST, "crash", accused=accused, reason="SIGSEGV", duration=0.5)
    refused = Result(CASES[3], Outcome.REFUSED, Level.MUST, reason="BufferError: no")
    return [failed, crashed, refused, *(Result(one, Outcome.PASS, Level.MUST) for one in (CASES[0], *CASES[4:]))]


def of_check(out: Path, *, ended: bool = True) -> None:
    """Write the files of ``check``."""
    out.mkdir(parents=True)
    run_folder.prepare(CASES, FACTS.to_json(), out)
    told = results()
    lines = [{"event": "begin", "at": 1795353758.5, "plan": run_folder.digest(out), "planned": len(CASES), "known": 0, "processes": 1, "seed": ""}]  # fmt: skip
    for one in [*told, Result(TRIAL, Outcome.PASS, Level.MUST)]:
        lines.append({"event": "start", "at": 1795353759.5, "worker": "gw0", "pid": 5, "case": one.case.id})
        lines.append({"event": "end", "at": 1795353760.5, "result": one.to_json(), "process": 6})
    lines.append({"event": "stop", "at": 1795353761.5, "why": "complete"})
    write_lines(out / journal.FILE, lines)
    if ended:
        write_lines(out / run_folder.RESULTS, (one.to_json() for one in told))


def of_conform(out: Path) -> None:
    """Write the files of ``conform``: a cell with results, and one that has not begun."""
    cells = (
        Cell("one", axes={"python": "3.12", "numpy": "2.4"}, holds={"numpy": "numpy"}),
        Cell("two", problem="no lock"),
    )
    of_check(out / "one")
    run = Run("1", "smoke", "here", "it was asked for", "none", Bounds(), ("--device", "host"), cells)
    records.write(out / records.RUN, run.to_json())
    start = {"at": "2026-11-20T10:00:00+00:00", "seconds": 1.0, "lifecycle": "done", "reason": "complete"}
    tests = OwnTests(Finish.DONE, "complete", 0, 5, 0, 0, 0, 1.0)
    digests = {"suite": "5" * 64}
    record = Record(cells[0], Ending(Lifecycle.DONE, "complete", 1), {"engine": "here"}, 1.0, (start,), tests, digests)
    records.write(out / "one" / records.CELL, record.to_json())


LOCK = """\
# cell: cu13.0-py3.12
# as of: 2026-11-20
# requires: cuda-toolkit==13.0.*

numpy==2.4.0 \\
    --hash=sha256:{}

# the suite's own
pytest==9.0.0 \\
    --hash=sha256:{}
""".format("a" * 64, "b" * 64)
KNOWN = """\
- finding: numpy/consumer/values-differ/dlpack
  upstream: fixed
  reference: https://example.org/1
  note: "it is \\"mended\\""
  fixed_in: 2.5
  distribution: numpy
"""
JUNIT = """\
<?xml version="1.0" encoding="utf-8"?>
<testsuites><testsuite name="pytest" errors="0" tests="2"><testcase classname="a" name="test_a" time="0.1"/>
<testcase classname="a" name="test_b"><failure message="no">assert &quot;0&quot;</failure></testcase></testsuite></testsuites>
"""
SELFTEST = {
    "suite": "1",
    "device": "simulated",
    "faults": [{"stage": "s", "fault": "f", "trials": [{"invariant": "i", "failed": 1}]}],
}
RECIPES = [{"cell": "a", "python": "3.12", "cuda": "13", "lock": "one.txt"}]
WHEEL = "other-1-py3-none-any.whl"


def prepared(out: Path) -> Sequence[Target]:
    """Write valid files into an empty folder, and return them with their readers."""
    of_check(out / "check")
    of_check(out / "stopped", ended=False)
    of_conform(out / "cells")
    run_file.write(reader.load(out / "cells"), out / "run.json")
    run_file.write(reader.load(out / "cells"), out / "run.json.gz")
    history.append(out / "history.jsonl", reader.load(out / "cells"), {})
    history.append(out / "history.jsonl", reader.load(out / "check"), {})
    make(out, "other", "1", requires=["numpy>=2"], python=">=3.10")
    texts: Mapping[str, str] = {
        "waivers.yaml": GOOD,
        "matrix.yaml": SMALL,
        "locks/cu13.0-py3.12.txt": LOCK,
        "known.yaml": KNOWN,
        "junit.xml": JUNIT,
        "selftest.json": json.dumps(SELFTEST),
        "recipes.json": json.dumps(RECIPES),
    }
    for name, text in texts.items():
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text(text)
    return [*_of_runs(out), *_of_others(out)]


def _of_runs(out: Path) -> list[Target]:
    check, stopped, cells = str(out / "check"), str(out / "stopped"), str(out / "cells")
    id = CASES[1].id
    in_check = [
        command("report", check, "--verbose"),
        command("merge", check, "--out", "/dev/null"),
        command("repro", id, "--results", check, "--out", "/dev/null"),
        command("finding", "--results", check),
        command("gate", "--run", check, "--baseline", str(out / "run.json"), "--json", "/dev/null"),
        command("finding", "numpy/consumer/crash", "--results", check),
    ]
    in_stopped = [
        command("report", stopped),
        command("merge", stopped, "--out", "/dev/null"),
        command("gate", "--run", stopped, "--json", "/dev/null"),
        directly(lambda: Counts(Path(stopped)).update()),
        directly(lambda: records.ended(Path(stopped))),
    ]
    in_cells = [
        command("merge", cells, "--out", "/dev/null"),
        command("conform", "--resume", cells, "--dry-run"),
        command("gate", "--run", cells),
        command("waivers", "--propose", "--run", cells),
    ]
    in_file = [("run.json", str(out / "run.json")), ("run.json.gz", str(out / "run.json.gz"))]
    of_check = (run_folder.PLAN, run_folder.ENVIRONMENT, journal.FILE)
    return [
        *(Target(f"check/{name}", in_check) for name in (*of_check, run_folder.RESULTS)),
        *(Target(f"stopped/{name}", in_stopped) for name in of_check),
        *(
            Target(f"cells/{name}", in_cells)
            for name in (records.RUN, "one/cell.json", "one/environment.json", "one/results.jsonl", "one/plan.jsonl")
        ),
        *(
            Target(
                name,
                [
                    command("merge", path, str(out / "check"), "--out", "/dev/null"),
                    command("gate", "--run", path, "--json", "/dev/null"),
                    command("gate", "--run", check, "--baseline", path, "--verbose"),
                    command("publish", "--run", path, "--out", str(out / "page")),
                    command("waivers", "--propose", "--run", path),
                ],
            )
            for name, path in in_file
        ),
    ]


def _of_others(out: Path) -> list[Target]:
    run, waivers, matrix = str(out / "run.json"), str(out / "waivers.yaml"), str(out / "matrix.yaml")
    runs = str(out / "history.jsonl")
    today = ("--today", "2026-11-22")
    return [
        Target(
            "history.jsonl",
            [command("history", runs), command("publish", "--run", run, "--history", runs, "--out", str(out / "page"))],
        ),
        Target(
            "waivers.yaml",
            [
                command("waivers", "--waivers", waivers, *today),
                command("gate", "--run", run, "--waivers", waivers, *today),
            ],
        ),
        Target(
            "matrix.yaml", [command("matrix", "--matrix", matrix), command("matrix", "--matrix", matrix, "--rules")]
        ),
        Target(
            "locks/cu13.0-py3.12.txt",
            [command("lock", "--check", "--matrix", matrix), command("matrix", "--matrix", matrix)],
        ),
        Target("known.yaml", [directly(lambda: known.parsed(files.text(out / "known.yaml")))]),
        Target("junit.xml", [directly(lambda: package_tests.counted(out / "junit.xml"))]),
        Target("selftest.json", [directly(lambda: differences(*[selftest._read(out / "selftest.json")] * 2))]),
        Target("recipes.json", [directly(lambda: source.from_file(out / "recipes.json"))]),
        Target(WHEEL, [directly(lambda: requests.read([f"other={out / WHEEL}"]))]),
    ]
