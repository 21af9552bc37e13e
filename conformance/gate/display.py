"""Terminal output of a judgement: counts by kind, grouped remarks, and the verdict in the last line."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from conformance.console.screen import Screen, many
from conformance.console.wording import NUMBERS
from conformance.exits import Exit
from conformance.findings.model import Finding
from conformance.findings.presentation import DEATHS, status
from conformance.runs.model import Evidence, place
from conformance.runs.remarks import Judgement, Kind, Remark

from . import judgement

_FEW = 4
"""Maximum number of cells and cases that are named; the others are counted."""
_MOST = 40
"""Maximum number of groups of a kind that are shown. The JSON document has all of them."""
_HEAD = 8
"""Maximum width of the symbol and indent before a paragraph."""
_QUIET = frozenset({Kind.STILL, Kind.FIXED, Kind.NEW_CASE})
"""Kinds that are shown only with ``--verbose``."""


@dataclass(frozen=True)
class Group:
    """Remarks of one kind with the same findings; without findings, those with the same sentence, invariant and libraries.

    ``title`` names the invariant and libraries if there is no finding. ``sentence`` is that of the first remark. ``others`` counts remarks with
    another sentence. Sentences are compared without numbers and addresses.
    """

    kind: Kind
    findings: tuple[str, ...]
    title: str
    sentence: str
    others: int
    waiver: str
    cells: tuple[str, ...]
    cases: tuple[str, ...]
    ended: bool
    """Whether a case of the group ended its process."""


def grouped(remarks: Sequence[Remark], evidence: Sequence[Evidence]) -> list[Group]:
    """Group the remarks, in the order of the first of each group. The remarks refer to this evidence."""
    members: dict[tuple[Kind, tuple[str, ...], str, str, str], list[Remark]] = defaultdict(list)
    for remark in remarks:
        title = _title(remark)
        alike = "" if remark.findings else _core(remark) if title else remark.sentence
        members[remark.kind, remark.findings, title, alike, remark.waiver].append(remark)
    return [
        Group(
            kind, findings, title, of[0].sentence, sum(_core(one) != _core(of[0]) for one in of), waiver,
            _names(one.cell for one in of), _names(one.case for one in of),
            any(one.evidence is not None and evidence[one.evidence].outcome in DEATHS for one in of),
        )
        for (kind, findings, title, _, waiver), of in members.items()
    ]  # fmt: skip


def _core(remark: Remark) -> str:
    return NUMBERS.sub("", remark.sentence)


def _title(remark: Remark) -> str:
    if remark.findings or not remark.case:
        return ""
    where = place(remark.case)
    return f"{where.invariant} {where.who}"


def _names(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({name for name in names if name}))


def show(screen: Screen, found: Judgement, *, verbose: bool) -> None:
    """Print the judgement. Kinds without effect on the exit code need ``verbose``, except notes and new crashes."""
    told = _Titles({cell.name: cell.title for cell in found.run.cells}, {one.id: one for one in found.findings})
    _counts(screen, found)
    by_kind: dict[Kind, list[Remark]] = defaultdict(list)
    for remark in found.remarks:
        by_kind[remark.kind].append(remark)
    for kind, remarks in by_kind.items():
        groups = grouped(remarks, found.run.evidence)
        quiet = 0
        if kind in _QUIET and not verbose:
            loud = [group for group in groups if group.ended and kind is Kind.NEW_CASE]
            groups, quiet = loud, len(groups) - len(loud)
        if groups:
            _kind(screen, kind, groups, quiet, told)
    colour = "red" if found.exit else "green"
    screen.line(screen.paint(f"{judgement.verdict(found)}; exit code {int(found.exit)}", colour, "bold"))


@dataclass(frozen=True)
class _Titles:
    """Titles of cells and findings by id."""

    titles: Mapping[str, str]
    findings: Mapping[str, Finding]


def _counts(screen: Screen, found: Judgement) -> None:
    rows = [(kind, n, waived) for kind, (n, waived) in judgement.counts(found.remarks).items() if n]
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


def _kind(screen: Screen, kind: Kind, groups: Sequence[Group], quiet: int, told: _Titles) -> None:
    screen.line(screen.paint(kind.word, "bold"))
    for group in groups[:_MOST]:
        _group(screen, group, told)
    if len(groups) > _MOST:
        screen.line(f"  and {many(len(groups) - _MOST, 'more group')}; `--json FILE` has all of them")
    if quiet:
        screen.line(f"  and {many(quiet, 'more group')}; `--verbose` shows them")
    screen.line()


def _group(screen: Screen, group: Group, told: _Titles) -> None:
    symbol = "~" if group.waiver else "✗" if group.kind.exit is not Exit.OK else "·"
    colour = "yellow" if group.waiver else "red" if group.kind.exit is not Exit.OK else "dim"
    _about(screen, group, f"  {screen.paint(symbol, colour)} ", told.findings)
    if group.waiver:
        screen.wrapped(f"waived: {group.waiver}", "      ")
    if group.cells:
        cells = _few([told.titles.get(name, name) for name in group.cells])
        screen.wrapped(f"in {many(len(group.cells), 'cell')}: {cells}", "      ")
    if group.cases:
        screen.wrapped(f"{many(len(group.cases), 'case')}: {_few(group.cases)}", "      ")


def _about(screen: Screen, group: Group, head: str, findings: Mapping[str, Finding]) -> None:
    """Print each finding with its id and status, or else the invariant and libraries, and then the sentence."""
    for number, id in enumerate(group.findings):
        finding = findings.get(id)
        _headed(screen, "    and " if number else head, finding.sentence if finding else id)
        screen.wrapped(id, "      ", "dim")
        screen.wrapped(status(finding) if finding else "", "      ")
    if group.title:
        _headed(screen, head, group.title)
    if group.findings or group.title:
        more = f" ({many(group.others, 'remark')} worded differently)" if group.others else ""
        screen.wrapped(group.sentence + more, "      ")
    else:
        _headed(screen, head, group.sentence)


def _headed(screen: Screen, head: str, text: str) -> None:
    """Print a wrapped paragraph after this head."""
    width = max(screen.width - _HEAD, 40)
    first, *rest = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]
    screen.line(f"{head}{first}")
    for line in rest:
        screen.line(f"    {line}")


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
    return ", ".join(names[:_FEW]) + more
