"""A judgement for people: counts by kind, remarks that say the same put together, and one line at the end."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from conformance.exchanges import NUMBERS
from conformance.exits import Exit
from conformance.findings.model import Finding
from conformance.report.screen import Screen, many

from . import gate
from .model import place
from .remarks import Judgement, Kind, Remark

_FEW = 4
"""Cells and cases that are named; the others are counted."""
_MOST = 40
"""Groups of a kind that are shown; the others are counted, and in the JSON document."""
_QUIET = frozenset({Kind.STILL, Kind.FIXED, Kind.NEW_CASE})
"""Kinds that are shown only on request."""


@dataclass(frozen=True)
class Group:
    """Remarks of one kind about one finding; or that say the same of one invariant and the same libraries.

    ``title`` says which. ``sentence`` is that of the first remark: numbers and addresses do not keep like from like.
    """

    kind: Kind
    title: str
    sentence: str
    waiver: str
    cells: tuple[str, ...]
    cases: tuple[str, ...]


def grouped(remarks: Sequence[Remark], findings: Mapping[str, Finding]) -> list[Group]:
    """The remarks put together, in the order of the first of each group."""
    members: dict[tuple[Kind, str, str, str], list[Remark]] = defaultdict(list)
    for remark in remarks:
        title = _title(remark, findings)
        alike = "" if remark.findings else NUMBERS.sub("", remark.sentence) if title else remark.sentence
        members[remark.kind, title, alike, remark.waiver].append(remark)
    return [
        Group(kind, title, found[0].sentence, waiver, _names(f.cell for f in found), _names(f.case for f in found))
        for (kind, title, _, waiver), found in members.items()
    ]


def _title(remark: Remark, findings: Mapping[str, Finding]) -> str:
    if remark.findings:
        return "; ".join(f"{findings[id].sentence} [{id}]" for id in remark.findings if id in findings)
    where = place(remark.case) if remark.case else None
    return f"{where.invariant} {where.who}" if where else ""


def _names(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({name for name in names if name}))


def show(screen: Screen, found: Judgement, *, verbose: bool) -> None:
    """The whole judgement. What does not count for the exit code, save notes, only with ``verbose``."""
    titles = {cell.name: cell.title for cell in found.run.cells}
    _counts(screen, found)
    by_kind: dict[Kind, list[Remark]] = defaultdict(list)
    for remark in found.remarks:
        by_kind[remark.kind].append(remark)
    for kind, remarks in by_kind.items():
        if verbose or kind not in _QUIET:
            _kind(screen, kind, grouped(remarks, {one.id: one for one in found.findings}), titles)
    colour = "red" if found.exit else "green"
    screen.line(screen.paint(f"{gate.verdict(found)}; exit code {int(found.exit)}", colour, "bold"))


def _counts(screen: Screen, found: Judgement) -> None:
    rows = [(kind, n, waived) for kind, (n, waived) in gate.counts(found.remarks).items() if n]
    width = max((len(kind.word) for kind, _, _ in rows), default=0)
    baseline = f"with {found.baseline.called}" if found.baseline else "with no baseline"
    screen.line(
        screen.paint(f"{many(len(found.run.cells), 'cell')} of run {found.run.called} compared {baseline}", "bold")
    )
    for kind, count, waived in rows:
        told = f"  {kind.word:<{width}}  {count:>7}" + (f"  ({waived} waived)" if waived else "")
        counts = kind.exit and waived < count
        screen.line(
            screen.paint(told, *(("red",) if counts else ())) + (f"  exit code {int(kind.exit)}" if counts else "")
        )
    screen.line()


def _kind(screen: Screen, kind: Kind, groups: Sequence[Group], titles: Mapping[str, str]) -> None:
    screen.line(screen.paint(kind.word, "bold"))
    for group in groups[:_MOST]:
        _group(screen, group, titles)
    if len(groups) > _MOST:
        screen.line(f"  and {many(len(groups) - _MOST, 'more group')}; `--json FILE` has all of them")
    screen.line()


def _group(screen: Screen, group: Group, titles: Mapping[str, str]) -> None:
    symbol = "~" if group.waiver else "✗" if group.kind.exit is not Exit.OK else "·"
    colour = "yellow" if group.waiver else "red" if group.kind.exit is not Exit.OK else "dim"
    if group.title:
        first, *rest = _folded(group.title, screen)
        for line in (f"  {screen.paint(symbol, colour)} {first}", *(f"    {line}" for line in rest)):
            screen.line(line)
        screen.wrapped(group.sentence, "      ")
    else:
        first, *rest = _folded(group.sentence, screen)
        screen.line(f"  {screen.paint(symbol, colour)} {first}")
        for line in rest:
            screen.line(f"      {line}")
    if group.waiver:
        screen.wrapped(f"waived: {group.waiver}", "      ")
    if group.cells:
        cells = _few([titles.get(name, name) for name in group.cells])
        screen.wrapped(f"in {many(len(group.cells), 'cell')}: {cells}", "      ")
    if group.cases:
        screen.wrapped(f"{many(len(group.cases), 'case')}: {_few(group.cases)}", "      ")


def _folded(text: str, screen: Screen) -> list[str]:
    return textwrap.wrap(text, max(screen.width - 6, 40), break_long_words=False, break_on_hyphens=False) or [""]


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
    return ", ".join(names[:_FEW]) + more
