"""Read runs: a run file, a folder of ``conform`` with its cells, or a folder of ``check`` as a run of one cell."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from hashlib import sha256
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from conformance import documents, files, shapes
from conformance.checks import call_table
from conformance.checks.libraries import REFERENCE
from conformance.engines import records
from conformance.engines.model import Cell, Lifecycle, check_axes
from conformance.execution import check_folder
from conformance.execution.check_folder import Held, Plan
from conformance.execution.results import BAD, Line
from conformance.exits import UserError
from conformance.files import Missing, Unreadable
from conformance.verdict import Verdict

from . import run_file
from .merge import canonical
from .model import Candidate, CellResult, Evidence, OwnTests, RunFile

_FEW = 8
"""Up to this number of cells, reading them in one process is faster than starting a pool."""
_NOTE = 4000
"""Maximum characters of a note; stacks can be long."""
_LAST = 4096
"""Trailing bytes of a journal that are searched for its last line. The last line of a finished run is short."""
_FIRST = 1 << 16
"""Number of leading bytes that contain the first line, which describes the run."""
_ID = 8
"""Digits of the id of a run of `check`, as many as `conform` draws."""
_NO_RECORD = (Lifecycle.NOT_RUN.value, "it left no record")
_NO_ADAPTER = (
    "the cell has no adapter of this name; if the axis {axis} stands for other libraries or none, "
    "set `libraries` of the axis in matrix.yaml"
)
_NEEDS_NONE = (Lifecycle.DONE.value, "")
"""Lifecycle of a run of `check`, which writes no cell record."""
_TEXTS = ("verdict", "outcome", "level", "code", "clause", "given", "step", "reason", "expected", "seen")
_texts_of = itemgetter(*_TEXTS)
_VERDICTS = {verdict.word: verdict for verdict in Verdict}
_BROKEN = frozenset(outcome.value for outcome in BAD)
_ENVIRONMENT = {
    "suite": str,
    "python": str,
    "driver": (
        {"available": True, "driver_version": (None, str), "driver_cuda_version": str, "gpus": [{"name": str}]},
        {"available": False},
    ),
    "libraries": [{"name": str, "versions": shapes.Each(str), "absent": (None, str)}],
}
"""Keys of ``environment.json`` that this module reads; another version of the suite may have written it."""
_NO_ACCUSATION: dict[str, Any] = {"side": "", "libraries": [], "why": ""}
"""The accusation of a case in which nothing failed."""


def load(path: Path) -> RunFile:
    """Read the run in a file or a folder. Raises UserError if there is none."""
    try:
        if files.is_there(path) and not files.is_folder(path):
            return run_file.read(path)
        if _is_there(path / records.RUN):
            return _of_conform(path)
        if _is_there(path / records.PLAN):
            return _of_check(path)
        what = "no run" if files.is_there(path) else "nothing"
    except (OSError, ValueError) as error:
        what = f"no readable run ({error})"
    raise UserError(
        f"{path} holds {what}; give a folder written by `conform` or `check`, or a run file written by `merge`"
    )


def _is_there(path: Path) -> bool:
    """Return whether the path exists, including a link without a target."""
    return os.path.lexists(path)


def _of_conform(folder: Path) -> RunFile:
    written = records.read_plan_of_cells(folder)
    run, suite = records.run_in(written, folder), written.get("suite")
    sources = [
        _Source(cell.name, cell.title, records.folder_of(folder, cell.name), _NO_RECORD, cell) for cell in run.cells
    ]
    read = _all(sources)
    if suite is None:
        raise UserError(
            f"{folder / records.RUN} does not name the suite that was run; give a folder written by `conform --out`"
        )
    return _put_together(run.id, suite, run.tier, read)


def _of_check(folder: Path) -> RunFile:
    name = os.fsencode(os.path.basename(os.path.realpath(folder))).decode("utf-8", "replace")
    (read,) = _all([_Source(name, name, folder, _NEEDS_NONE)])
    suite = read.cell.versions.get("suite", "")
    id = sha256(f"{read.plan} {read.began}".encode()).hexdigest()[
        :_ID
    ]  # the plan is the same in every run, so it alone is no id
    return _put_together(id, suite, "check", [read])


class _Source(NamedTuple):
    """A cell to be read."""

    name: str
    title: str
    folder: Path
    unrecorded: tuple[str, str]
    """Lifecycle and reason of a cell that left no record."""
    planned: Cell | None = None
    """The cell in the plan of its run. ``None`` for a run of ``check``, which has no plan of cells; then the record is used."""


class _Read(NamedTuple):
    """A cell as read. Indices refer to its own evidence. Its plan is in ``folder`` and named by its digest."""

    cell: CellResult
    evidence: tuple[Evidence, ...]
    plan: str
    folder: Path
    began: str


def _all(sources: list[_Source]) -> list[_Read]:
    """Read all cells. Raises UserError with one line for each cell that cannot be read."""
    if len(sources) <= _FEW:
        found = [_tried(source) for source in sources]
    else:
        with ProcessPoolExecutor(min(os.cpu_count() or 1, len(sources))) as pool:
            found = list(pool.map(_tried, sources, chunksize=4))
    mistakes = [one for one in found if isinstance(one, str)]
    if mistakes:
        raise UserError("\n".join(mistakes))
    return [one for one in found if isinstance(one, _Read)]


def _tried(source: _Source) -> _Read | str:
    """Return the cell, or the reason why it cannot be read."""
    try:
        return _read(source)
    except Unreadable as error:
        why: object = error.brief
    except ValueError as error:
        why = error
    return f"{source.folder} cannot be read as the results of a cell: {why}; run the cell again"


def _put_together(id: str, suite: str, tier: str, read: Iterable[_Read]) -> RunFile:
    plans: dict[str, int] = {"": 0}
    ids: list[tuple[str, ...]] = [()]
    evidence: dict[Evidence, int] = {}
    cells = []
    began = []
    for one in read:
        if one.plan not in plans:
            plans[one.plan] = len(ids)
            ids.append(check_folder.read_plan(one.folder, _loads, _plans).ids)
        own = [evidence.setdefault(e, len(evidence)) for e in one.evidence]
        indices = tuple(own[index] for index in one.cell.evidence)
        cells.append(replace(one.cell, plan=plans[one.plan], evidence=indices))
        began += [one.began] if one.began else []
    return canonical(RunFile(id, min(began, default=""), suite, tier, tuple(cells), tuple(ids), tuple(evidence)))


# -- one cell


def _read(source: _Source) -> _Read:
    record = _or_nothing(partial(records.record_in, source.folder))
    environment = _or_nothing(partial(documents.read, source.folder / records.ENVIRONMENT, _ENVIRONMENT))
    found = check_folder.read(source.folder, _loads, _plans)
    states, indices, evidence = _states(found)
    axes, holds = _planned(source, record)
    cell = CellResult(
        source.name, source.title, *_ending(source, record),
        axes=axes, holds=holds, versions=_versions(environment), libraries=_libraries(environment),
        absent=_absent(environment, holds),
        digests=dict(record.get("digests") or {}),
        candidates=tuple(Candidate(c["name"], c["version"], c["sha256"]) for c in record.get("candidates") or ()),
        own_tests=_own_tests(record.get("with_tests")),
        ended=_ended(source.folder, record), seconds=record.get("seconds", 0.0), states=states, evidence=indices, calls=_calls(found),
    )  # fmt: skip
    return _Read(cell, evidence, found.plan.digest, source.folder, _began(source.folder, record))


def _or_nothing(read: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return read()
    except Missing:
        return {}


def _ending(source: _Source, record: dict[str, Any]) -> tuple[str, str]:
    lifecycle, reason = source.unrecorded
    return (record.get("lifecycle", lifecycle), record.get("reason", "")) if record else (lifecycle, reason)


def _loads(line: bytes) -> Any:
    """Return the content of a line. Raises ValueError if it is not valid JSON."""
    try:
        return orjson.loads(line)
    except ValueError:  # orjson also refuses lone surrogates, which the json module accepts
        return documents.parsed(line)


_plans: dict[str, Plan] = {}
"""Plans by digest, because most cells share theirs."""


def _states(found: Held) -> tuple[str, tuple[int, ...], tuple[Evidence, ...]]:
    """Return a letter for each case, in the order of the plan, and the evidence of those that did not conform."""
    conforms, letter = Verdict.CONFORMS.word, Verdict.CONFORMS.letter
    table: dict[Evidence, int] = {}
    letters, indices = [], []
    for case in found.plan.ids:
        line = found.results[case]
        if line.get("verdict") == conforms:
            letters.append(letter)
            continue
        evidence = _evidence(line, case)
        letters.append(evidence.verdict.letter)
        indices.append(table.setdefault(evidence, len(table)))
    return "".join(letters), tuple(indices), tuple(table)


def _calls(found: Held) -> dict[str, str]:
    """Return the results of calls for the table of calls. Conforming cases have no evidence, so the table needs its own copy."""
    told = {}
    for case in found.plan.ids:
        at = call_table.place(case)
        if at is not None:
            told["/".join(at)] = _given(found.results[case])
    return told


def _given(line: Line) -> str:
    verdict, outcome, *_ = _texts_of(line)
    is_broken = _VERDICTS[verdict].speaks_against or outcome in _BROKEN
    given = call_table.given(outcome, (line.get("attachments") or {}).get(call_table.NOTE, ""), is_broken=is_broken)
    return given.value if given else ""


def _evidence(line: Line, case: str) -> Evidence:
    accused = line["accused"] or _NO_ACCUSATION
    verdict, *said = _texts_of(line)
    kind = _VERDICTS[verdict]
    if kind.speaks_against and not accused["side"]:
        raise ValueError(f"the result of {case} does not name the accused")
    told = kind not in (Verdict.REFUSED, Verdict.OBSERVED)
    notes = tuple(sorted((k, v[:_NOTE]) for k, v in line["attachments"].items())) if told else ()
    outcome, level, code, clause, given, step, reason, expected, seen = said
    return Evidence(
        kind, outcome, level, code, clause, given, step,
        accused["side"], tuple(accused["libraries"]), accused["why"], reason, expected, seen, notes,
    )  # fmt: skip


# -- what a cell was


def _planned(source: _Source, record: dict[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the planned version of each axis, and the libraries that the cell must hold, each with its axis."""
    if record:
        check_axes(record)
    told = source.planned or record
    axes, holds = (told.axes, told.holds) if isinstance(told, Cell) else (told.get("axes", {}), told.get("holds", {}))
    if record and (record["axes"], record["holds"]) != (axes, holds):
        raise ValueError(f"{records.CELL} and {records.RUN} disagree about the plan of the cell")
    return dict(axes), dict(holds)


def _versions(environment: dict[str, Any]) -> dict[str, str]:
    if not environment:
        return {}
    found = {"suite": environment["suite"], "python": environment["python"]}
    driver = environment["driver"]
    if driver["available"]:
        found |= {"driver": driver["driver_version"] or "", "driver_cuda": driver["driver_cuda_version"]}
        found |= {"gpu": ", ".join(sorted({gpu["name"] for gpu in driver["gpus"]}))}
    for library in environment["libraries"]:
        if library["name"] != REFERENCE:
            found |= library["versions"]
            first = next(iter(library["versions"].values()), "")
            found |= {library["name"]: first} if first else {}
    return found


def _libraries(environment: dict[str, Any]) -> dict[str, dict[str, str]]:
    found = {library["name"]: dict(library["versions"]) for library in environment.get("libraries", ())}
    return {name: versions for name, versions in found.items() if versions and name != REFERENCE}


def _absent(environment: dict[str, Any], holds: Mapping[str, str]) -> dict[str, str]:
    """Return the libraries that could not be used, with the reason. A planned library without an adapter is one of them."""
    if not environment:
        return {}
    found = {library["name"]: library["absent"] for library in environment["libraries"]}
    unknown = {name: _NO_ADAPTER.format(axis=axis) for name, axis in holds.items() if name not in found}
    return {**{name: why for name, why in found.items() if why}, **unknown}


def _own_tests(told: dict[str, Any] | None) -> OwnTests | None:
    if not told:
        return None
    ended = told["ended"]
    if ended == Lifecycle.DONE.value and told.get("exit") and not (told["failed"] or told["errors"]):
        ended = f"pytest ended with exit code {told['exit']}, although no test failed"
    return OwnTests(told["passed"], told["failed"], told["errors"], told["skipped"], ended)


def _began(folder: Path, record: dict[str, Any]) -> str:
    """Return when the cell first started, in UTC; empty if it never began."""
    starts = record.get("starts") or ()
    return str(starts[0]["at"]) if starts else _moments(folder)[0]


def _ended(folder: Path, record: dict[str, Any]) -> str:
    """Return when the last start of the cell ended, according to its journal."""
    starts = record.get("starts") or ()
    return _moments(folder)[1] or (str(starts[-1]["at"]) if starts else "")


def _moments(folder: Path) -> tuple[str, str]:
    """Return the times in the first and the last line of the journal."""
    try:
        with files.opened(folder / records.JOURNAL) as file:
            size = os.fstat(file).st_size
            first = os.pread(file, _FIRST, 0).split(b"\n")[0]
            last = os.pread(file, _LAST, max(0, size - _LAST)).splitlines()[-1:] or [b""]
    except Missing:
        return "", ""
    return _moment(first), _moment(last[0])


def _moment(line: bytes) -> str:
    """Return the time in a line, in UTC; empty if it has no valid time."""
    try:
        record = orjson.loads(line)
        return datetime.fromtimestamp(record["at"], timezone.utc).isoformat(timespec="seconds")
    except (KeyError, OverflowError, OSError, TypeError, ValueError):
        return ""
