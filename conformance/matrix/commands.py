"""Commands ``matrix`` and ``lock``, which read matrix.yaml and write locks/."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timezone
from pathlib import Path

from conformance.console.screen import Screen, many
from conformance.exits import Exit, UserError

from . import display, locks, uv
from .lockfile import Unresolvable
from .locks import Standing, State
from .mistakes import nearest
from .model import PYTHON_AXIS, Cell, Matrix
from .reading import read
from .selection import Selection, selections

LOCKS = "locks"


@dataclass(frozen=True)
class Plan:
    """Content of matrix.yaml, its tiers up to the requested one, and the state of each cell's lock file."""

    matrix: Matrix
    shown: tuple[Selection, ...]
    standings: dict[str, Standing]
    folder: Path

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Every cell of the selected tiers, once."""
        return tuple(dict.fromkeys(cell for selection in self.shown for cell in selection.cells))


def plan(path: Path, tier: str | None = None, names: Sequence[str] = ()) -> Plan:
    """Read the matrix and the lock files beside it.

    ``tier`` is the last tier to read; ``None`` reads the whole file. With ``names`` of cells or aliases, only the tiers that contain
    these cells are read.

    Raises:
        UserError: the tier does not exist, or the file has mistakes.
    """
    matrix = read(path)
    folder = path.parent / LOCKS
    known = [known.name for known in matrix.tiers]
    if tier is not None and tier not in known:
        raise UserError(f"--tier: there is no tier {tier}{nearest(tier, known)}")
    chosen = _until(selections(matrix, tier), names)
    as_of = locks.newest_date(folder)
    standings = {
        cell.name: locks.standing(matrix, cell, folder, as_of) for selection in chosen for cell in selection.cells
    }
    return Plan(matrix, chosen, standings, folder)


def _until(tiers: Iterable[Selection], names: Iterable[str]) -> tuple[Selection, ...]:
    """Return the tiers up to the first one with which all names are known."""
    taken, left = [], set(names)
    for selection in tiers:
        taken.append(selection)
        if left and not (left := left.difference(*((cell.name, cell.alias) for cell in selection.cells))):
            break
    return tuple(taken)


def show_matrix(path: Path, tier: str | None, form: str) -> Exit:
    """Print the plan, in one of the forms ``table``, ``json``, ``github``, ``names`` and ``rules``."""
    found = plan(path, tier)
    screen = Screen.of(sys.stdout)
    if form == "json":
        for line in json.dumps(display.as_json(found.matrix, found.shown, found.standings), indent=1).splitlines():
            screen.line(line)
    elif form == "github":
        screen.line(display.for_github(found.shown[-1], found.standings))
    elif form == "names":
        for cell in found.shown[-1].cells:
            screen.line(cell.name)
    elif form == "rules":
        display.show_rules(screen, found.matrix)
    else:
        display.show(screen, found.matrix, found.shown, found.standings)
    return Exit.OK


def check_locks(path: Path) -> Exit:
    """Check that every cell has a lock file that fits matrix.yaml, and that no lock file is unused. Contacts no package index."""
    found = plan(path)
    wrong = [
        f"{standing.cell.name}: {standing.state.value}, {standing.why}"
        for standing in found.standings.values()
        if standing.state in (State.STALE, State.MISSING)
    ]
    wrong += [f"{orphan.name}: no cell uses it" for orphan in locks.orphans(found.folder, found.cells)]
    if wrong:
        listed = "\n  ".join(wrong)
        raise UserError(f"the lock files do not fit {path}; `nox -s lock` updates them:\n  {listed}")
    print(f"{many(len(found.cells), 'cell')}: {display.counted(found.standings.values())}; the lock files fit {path}")
    return Exit.OK


@dataclass(frozen=True)
class Order:
    """Options of ``lock``."""

    upgrade: bool = False
    as_of: date | None = None
    dry_run: bool = False


def lock(path: Path, order: Order) -> Exit:
    """Create the lock files that are missing or stale, or all of them. Remove those that no cell uses."""
    found = plan(path)
    as_of = order.as_of or (None if order.upgrade else locks.newest_date(found.folder)) or today()
    _check_date(found.matrix, as_of)
    todo = [cell for cell in found.cells if _to_be_made(found, cell, order, as_of)]
    resolver = locks.Resolver(locks.find_uv(), found.matrix.source_only, _tell)
    if order.dry_run:
        _show_commands(resolver, found, todo, as_of)
        return Exit.OK
    for number, cell in enumerate(todo, 1):
        print(f"[{number}/{len(todo)}] {cell.name}", flush=True)
        made = resolver.lock(locks.wanted(found.matrix, cell, as_of), cell)
        locks.write(made, found.folder)
        if isinstance(made, Unresolvable):
            print(f"  ∅ unresolvable: {made.sentence}", flush=True)
    for orphan in locks.orphans(found.folder, found.cells):
        orphan.unlink()
        print(f"removed {orphan.name}: no cell uses it")
    return _finish(path, as_of)


def _to_be_made(found: Plan, cell: Cell, order: Order, as_of: date) -> bool:
    standing = locks.standing(found.matrix, cell, found.folder, as_of)
    return order.upgrade or standing.state in (State.STALE, State.MISSING)


def _finish(path: Path, as_of: date) -> Exit:
    found = plan(path)
    print(f"{many(len(found.cells), 'cell')} as of {as_of}: {display.counted(found.standings.values())}")
    return Exit.OK


def today() -> date:
    """Return the day in UTC. Uploads of this day are ignored, so that the same date always gives the same lock files."""
    return datetime.now(timezone.utc).date()


def _check_date(matrix: Matrix, as_of: date) -> None:
    """Raise UserError for a date before a listed release or in the future, because its lock files would miss packages."""
    if as_of > today():
        raise UserError(f"--as-of: {as_of} is in the future; give a day up to {today()}")
    for axis in matrix.axes:
        for value in axis.values:
            if axis.requires and value.released and value.released >= as_of:
                raise UserError(
                    f"{axis.name} {value.version} was released on {value.released}, but the lock files are as of {as_of}; "
                    "update them with `nox -s lock -- --upgrade`"
                )


def _tell(command: str) -> None:
    print(f"+ {command}", file=sys.stderr, flush=True)


def _show_commands(resolver: locks.Resolver, found: Plan, todo: Sequence[Cell], as_of: date) -> None:
    """Print the two commands of each cell: one for the cell, and one for the cell with the suite and the versions of the first."""
    for cell in todo:
        asked = locks.wanted(found.matrix, cell, as_of)
        for requirements, constraints in (
            (asked.requires, None),
            ((*asked.requires, *asked.suite), Path(f"{cell.name}.constraints")),
        ):
            command = uv.compile_command(
                resolver.binary, cell[PYTHON_AXIS], as_of, resolver.source_only, constraints
            )  # fmt: skip
            print(f"+ {uv.shown(command, requirements)}")
    print(f"{many(len(todo), 'cell')} to lock as of {as_of}; nothing was done")
