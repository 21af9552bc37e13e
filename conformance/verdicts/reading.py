"""Reading runs: a run file, a folder of ``conform`` with its cells, or a folder of ``check`` as a run of one cell."""

from __future__ import annotations

import math
import os
import reprlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import datetime, timezone
from hashlib import sha256
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from conformance.engines import records
from conformance.engines.model import Cell, Lifecycle, check_axes
from conformance.engines.records import texts
from conformance.execution import held
from conformance.execution.held import Held, Plan
from conformance.exits import UserError
from conformance.suite.libraries import REFERENCE
from conformance.suite.outcomes import Side
from conformance.verdict import Verdict

from . import runfile
from .merging import canonical
from .model import Candidate, CellResult, Evidence, OwnTests, RunFile

_FEW = 8
"""Cells that are sooner read one after the other than by more processes."""
_NOTE = 4000
"""Characters of a note that are kept: stacks can be long."""
_LAST = 4096
"""Bytes of a journal in which its last line is looked for: it is short where the run came to its end."""
_ID = 8
"""Digits of the id of a run of `check`: as many as `conform` draws."""
_NO_RECORD = (Lifecycle.NOT_RUN.value, "it left no record")
_NO_ADAPTER = (
    "there is no adapter of this name in the cell; if the axis {axis} stands for other libraries, or for none, "
    "say so with `libraries` in matrix.yaml"
)
_NEEDS_NONE = (Lifecycle.DONE.value, "")
"""A run of `check` has its results, or not, and no lifecycle besides."""
_TEXTS = ("verdict", "outcome", "level", "code", "clause", "given", "step", "reason", "expected", "seen")
_FIELDS = {*_TEXTS, "accused", "attachments"}
"""What the result of a case that did not conform has."""
_texts_of = itemgetter(*_TEXTS)
_VERDICTS = {verdict.word: verdict for verdict in Verdict}
_SIDES = {"", *(side.value for side in Side)}
_NOBODY: dict[str, Any] = {"side": "", "libraries": [], "why": ""}
"""Where nothing failed."""


def load(path: Path) -> RunFile:
    """The run that a file or a folder holds. Raises UserError where there is none."""
    if path.is_file():
        return runfile.read(path)
    if (path / records.RUN).exists():
        return _of_conform(path)
    if (path / records.PLAN).exists():
        return _of_check(path)
    what = "no run" if path.exists() else "nothing"
    raise UserError(
        f"{path} holds {what}; give a folder that `conform` or `check` has made, or a run file that `merge` wrote"
    )


def _of_conform(folder: Path) -> RunFile:
    run = records.read_run(folder)
    read = _all([_Source(cell.name, cell.title, folder / cell.name, _NO_RECORD, cell) for cell in run.cells])
    suite = _json(folder / records.RUN).get("suite")
    if not isinstance(suite, str):
        raise UserError(
            f"{folder / records.RUN} does not say which suite was run; give a folder that `conform --out` has made"
        )
    return _put_together(run.id, suite, run.tier, read)


def _of_check(folder: Path) -> RunFile:
    name = folder.resolve().name
    (read,) = _all([_Source(name, name, folder, _NEEDS_NONE)])
    suite = read.cell.versions.get("suite", "")
    id = sha256(f"{read.plan} {read.began}".encode()).hexdigest()[:_ID]  # the same plan is run again and again
    return _put_together(id, suite, "check", [read])


class _Source(NamedTuple):
    """A cell that is to be read."""

    name: str
    title: str
    folder: Path
    unrecorded: tuple[str, str]
    """What became of it where it left no record, and why."""
    planned: Cell | None = None
    """As the plan of its run has it. Without such a plan its record is asked, and a run of ``check`` has none."""


class _Read(NamedTuple):
    """A cell as it was read: its evidence is its own, and its plan is named by its digest and is in ``folder``."""

    cell: CellResult
    evidence: tuple[Evidence, ...]
    plan: str
    folder: Path
    began: str


def _all(sources: list[_Source]) -> list[_Read]:
    """Each of them. Raises UserError with a line for every cell that cannot be read."""
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
    """The cell, or why there is none."""
    try:
        return _read(source)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        why = f"it has no {error}" if isinstance(error, KeyError) else error
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
            ids.append(held.read_plan(one.folder, _loads, _plans).ids)
        own = [evidence.setdefault(e, len(evidence)) for e in one.evidence]
        indices = tuple(own[index] for index in one.cell.evidence)
        cells.append(replace(one.cell, plan=plans[one.plan], evidence=indices))
        began += [one.began] if one.began else []
    return canonical(RunFile(id, min(began, default=""), suite, tier, tuple(cells), tuple(ids), tuple(evidence)))


# -- one cell


def _read(source: _Source) -> _Read:
    record = _json(source.folder / records.CELL)
    environment = _json(source.folder / records.ENVIRONMENT)
    found = held.read(source.folder, _loads, _plans)
    states, indices, evidence = _states(found)
    axes, holds = _planned(source, record)
    cell = CellResult(
        source.name, source.title, *_ending(source, record),
        axes=axes, holds=holds, versions=_versions(environment), libraries=_libraries(environment),
        absent=_absent(environment, holds),
        digests=dict(record.get("digests") or {}),
        candidates=tuple(Candidate(c["name"], c["version"], c["sha256"]) for c in record.get("candidates") or ()),
        own_tests=_own_tests(record.get("with_tests")),
        ended=_ended(source.folder, record), seconds=record.get("seconds", 0.0), states=states, evidence=indices,
    )  # fmt: skip
    _check(cell)
    return _Read(cell, evidence, found.plan.digest, source.folder, _began(source.folder, record))


def _ending(source: _Source, record: dict[str, Any]) -> tuple[str, str]:
    lifecycle, reason = source.unrecorded
    return (record.get("lifecycle", lifecycle), record.get("reason", "")) if record else (lifecycle, reason)


def _check(cell: CellResult) -> None:
    """Raise ValueError where something is not of its kind: what judges and reports goes by it."""
    texts(records.CELL, lifecycle=cell.lifecycle, reason=cell.reason)
    texts(f"{records.CELL}, among its axes,", **cell.axes)
    texts(f"{records.CELL}, among what it holds,", **cell.holds)
    texts(f"{records.CELL}, among its digests,", **cell.digests)
    texts(
        records.ENVIRONMENT,
        **cell.versions,
        **{f"reason why {name} is absent": why for name, why in cell.absent.items()},
    )
    for candidate in cell.candidates:
        texts("a candidate", **candidate.__dict__)
    if not (isinstance(cell.seconds, (int, float)) and math.isfinite(cell.seconds)):
        raise ValueError(f"{records.CELL} has {cell.seconds!r} as its seconds, which is no time")
    if cell.own_tests:
        counted = {**cell.own_tests.__dict__}
        texts("with_tests", ended=counted.pop("ended"))
        for name, count in counted.items():
            if not isinstance(count, (int, type(None))):
                raise ValueError(f"with_tests has {count!r} as its {name}, which is no number")


def _json(path: Path) -> dict[str, Any]:
    try:
        data: dict[str, Any] = records.parsed(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ValueError(f"{path.name} is no JSON ({error})") from error
    return data


def _loads(line: bytes) -> Any:
    """What a line says. Raises ValueError where it is no JSON."""
    try:
        return orjson.loads(line)
    except ValueError:  # it refuses halves of surrogate pairs, too
        return records.parsed(line)


_plans: dict[str, Plan] = {}
"""Plans by digest: most cells share theirs."""


def _states(found: Held) -> tuple[str, tuple[int, ...], tuple[Evidence, ...]]:
    """A letter a case, in the order of the plan, and the evidence of those that did not conform."""
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


def _evidence(line: dict[str, Any], case: str) -> Evidence:
    try:
        said, attachments, accused = _texts_of(line), line["attachments"], line["accused"] or _NOBODY
        verdict, side, libraries, why = _VERDICTS[said[0]], accused["side"], accused["libraries"], accused["why"]
        kinds = {*map(type, said), *map(type, attachments.values()), *map(type, libraries), type(side), type(why)}
        is_sound = kinds == {str} and type(libraries) is list and side in _SIDES
        is_sound = is_sound and bool(side or not verdict.speaks_against)
    except (KeyError, TypeError, AttributeError):
        is_sound = False
    if not is_sound:
        raise ValueError(_mistake(line, f"the result of {case}"))
    told = verdict not in (Verdict.REFUSED, Verdict.OBSERVED)
    notes = tuple(sorted((k, v[:_NOTE]) for k, v in attachments.items())) if told else ()
    _, outcome, level, code, clause, given, step, reason, expected, seen = said
    return Evidence(
        verdict, outcome, level, code, clause, given, step, side, tuple(libraries), why, reason, expected, seen, notes
    )


def _mistake(line: dict[str, Any], what: str) -> str:
    """What is wrong with a result: looked for only where something is."""
    missing = _FIELDS - line.keys()
    if missing:
        older = ", so an older version of this suite has made it" if "clauses" in line else ""
        return f"{what} has no {min(missing)}{older}"
    accused, attachments = line["accused"] or _NOBODY, line["attachments"]
    if not (isinstance(accused, dict) and isinstance(attachments, dict)):
        return f"{what} has attachments, or an accused, that are no object"
    if accused.keys() != _NOBODY.keys() or not isinstance(accused["libraries"], list):
        return f"{what} has an accused that is no side with a list of libraries, and why"
    numbered = {f"accused library {number}": name for number, name in enumerate(accused["libraries"], 1)}
    try:
        texts(what, **{name: line[name] for name in _TEXTS})
        texts(what, **attachments)
        texts(what, **{**numbered, "accused side": accused["side"], "why of its accused": accused["why"]})
    except ValueError as error:
        return str(error)
    if line["verdict"] not in _VERDICTS:
        return f"{what} has the verdict {reprlib.repr(line['verdict'])}, which nobody knows"
    return (
        f"{what} does not say who is accused of it"
        if not accused["side"]
        else f"{what} accuses a side that there is not"
    )


# -- what a cell was


def _planned(source: _Source, record: dict[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """The version of each axis that the cell was planned with, and the libraries that it has to hold, each with its axis."""
    if record:
        check_axes(record)
    told = source.planned or record
    axes, holds = (told.axes, told.holds) if isinstance(told, Cell) else (told.get("axes", {}), told.get("holds", {}))
    if record and (record["axes"], record["holds"]) != (axes, holds):
        raise ValueError(f"{records.CELL} says that it was planned otherwise than {records.RUN} does")
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
    """What could not be used, and why; also what the cell has to hold and nobody has looked for."""
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
        ended = f"pytest ended with exit code {told['exit']}, and no test had failed"
    return OwnTests(told["passed"], told["failed"], told["errors"], told["skipped"], ended)


def _began(folder: Path, record: dict[str, Any]) -> str:
    """When its first start was, in UTC; empty if it never began."""
    starts = record.get("starts") or ()
    return str(starts[0]["at"]) if starts else _moments(folder)[0]


def _ended(folder: Path, record: dict[str, Any]) -> str:
    """When its last start was over, as far as its journal tells."""
    starts = record.get("starts") or ()
    return _moments(folder)[1] or (str(starts[-1]["at"]) if starts else "")


def _moments(folder: Path) -> tuple[str, str]:
    """The times that the first and the last line of the journal carry."""
    try:
        with (folder / records.JOURNAL).open("rb") as file:
            first = file.readline()
            file.seek(max(0, file.seek(0, os.SEEK_END) - _LAST))
            last = file.read().splitlines()[-1:] or [b""]
    except FileNotFoundError:
        return "", ""
    return _moment(first), _moment(last[0])


def _moment(line: bytes) -> str:
    try:
        at = orjson.loads(line)["at"]
    except (KeyError, ValueError):
        return ""
    try:
        return datetime.fromtimestamp(at, timezone.utc).isoformat(timespec="seconds")
    except (OverflowError, OSError, ValueError, TypeError):
        raise ValueError(f"{records.JOURNAL} has the time {reprlib.repr(at)}, at which nothing can have been") from None
