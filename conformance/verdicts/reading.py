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
from conformance.engines.model import Cell, Lifecycle, Older, check_axes
from conformance.engines.records import texts
from conformance.execution import held
from conformance.execution.held import Held, Plan
from conformance.exits import UserError
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
_NEEDS_NONE = (Lifecycle.DONE.value, "")
"""A run of `check` has its results, or not, and no lifecycle besides."""
_CONFORMS = Verdict.CONFORMS
_TEXTS = ("verdict", "outcome", "level", "code", "clause", "given", "step", "reason", "expected", "seen")
_FIELDS = {*_TEXTS, "accused", "attachments"}
"""What the result of a case that did not conform has."""
_texts_of = itemgetter(*_TEXTS)
_VERDICTS = {verdict.word: verdict for verdict in Verdict}
_SIDES = {"", *(side.value for side in Side)}
_NOBODY = {"side": "", "libraries": [], "why": ""}
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
    table: dict[Evidence, int] = {}
    letters, indices = [], []
    for case in found.plan.ids:
        line = found.results[case]
        if line.get("verdict") == _CONFORMS.word:
            letters.append(_CONFORMS.letter)
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
        is_sound = kinds == {str} and side in _SIDES and bool(side or not verdict.speaks_against)
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
        older = ", as those of older versions of this suite" if "clauses" in line else ""
        return f"{what} has no {min(missing)}{older}"
    accused, attachments = line["accused"], line["attachments"]
    if not (isinstance(accused, (dict, type(None))) and isinstance(attachments, dict)):
        return f"{what} has attachments, or an accused, that are no object"
    try:
        texts(what, **{name: line[name] for name in _TEXTS}, **attachments)
        return _mistake_in(accused, what) if accused else _mistake_of(line, what)
    except ValueError as error:
        return str(error)


def _mistake_of(line: dict[str, Any], what: str) -> str:
    if line["verdict"] in _VERDICTS:
        return f"{what} accuses nobody, and does not say that nobody is to be accused"
    return f"{what} has the verdict {reprlib.repr(line['verdict'])}, which nobody knows"


def _mistake_in(accused: dict[str, Any], what: str) -> str:
    return ""


# -- what a cell was


def axes(name: str) -> dict[str, str]:
    """The versions that a cell's name tells: ``cu13.0-py3.12-numpy2.4-…``."""
    matches = [(part, _PART.fullmatch(part)) for part in name.split("-")]
    if not all(match for _, match in matches):
        return {}
    return {_AXES.get(match[1], match[1]): match[2] for _, match in matches if match}


def _versions(environment: dict[str, Any]) -> dict[str, str]:
    if not environment:
        return {}
    found = {"suite": environment["suite"], "python": environment["python"]}
    driver = environment["driver"]
    if driver["available"]:
        found |= {"driver": driver["driver_version"] or "", "driver_cuda": driver["driver_cuda_version"]}
        found |= {"gpu": ", ".join(sorted({gpu["name"] for gpu in driver["gpus"]}))}
    for library in environment["libraries"]:
        if library["name"] != "reference":
            found |= library["versions"]
            first = next(iter(library["versions"].values()), "")
            found |= {library["name"]: first} if first else {}
    return found


def _absent(environment: dict[str, Any]) -> dict[str, str]:
    return {lib["name"]: lib["absent"] for lib in environment.get("libraries", ()) if lib["absent"]}


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
