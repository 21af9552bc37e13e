"""Terminal output of a history: a line for each run, then flaky cases, then failing cases with the run since which they fail."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from conformance.console.screen import Screen, many
from conformance.runs.history import Entry, Streak, latest, streaks
from conformance.verdict import Verdict

from .waivers import Spot

_MOST = 30
"""Maximum number of lines of a list; the others are counted."""


def show(screen: Screen, entries: Sequence[Entry]) -> None:
    """Print the runs in the order in which they began, then flaky and failing cases."""
    runs = latest(entries)
    for one in runs:
        _run(screen, one)
    screen.line(many(len(runs), "run"))
    found = streaks(entries)
    flapping = sorted(((-s.flaps, spot, s) for spot, s in found.items() if s.flaps > 1), key=lambda row: row[:2])
    if flapping:
        screen.line()
        screen.line(screen.paint(f"flaky: {many(len(flapping), 'case')}", "bold"))
        for _, spot, streak in flapping[:_MOST]:
            screen.line(f"  {_told(spot, streak)}")
        _rest(screen, len(flapping))
    _steady(screen, {spot: streak for spot, streak in found.items() if streak.failing and streak.flaps <= 1})


def _run(screen: Screen, one: Entry) -> None:
    tested = [cell for cell in one.cells.values() if cell.planned]
    states: Counter[str] = Counter()
    for cell in tested:
        for state in cell.found.keys() - {Verdict.CONFORMS}:
            states[state.word] += sum(count for _, count in cell.found[state])
    told = ", ".join(f"{count} {word}" for word, count in sorted(states.items()))
    planned = sum(cell.planned for cell in tested)
    screen.line(
        f"{one.began or 'not started':<25}  {one.id:<12}  {one.digest[:12]}  suite {one.suite or '?'}  "
        f"{len(tested)}/{many(len(one.cells), 'cell')}, {many(planned, 'case')}" + (f": {told}" if told else "")
    )


def _told(spot: Spot, streak: Streak) -> str:
    how = "fails" if streak.failing else "passes"
    return f"{spot[1]} in {spot[0]}: {many(streak.flaps, 'change')}; {how} since {_since(streak)}"


def _since(streak: Streak) -> str:
    return f"run {streak.since} ({streak.began or 'no date'}), {many(streak.runs, 'run')}"


def _steady(screen: Screen, found: dict[Spot, Streak]) -> None:
    """Print the cases that fail and are not flaky, by the run since which they fail."""
    since: dict[str, list[Spot]] = defaultdict(list)
    for spot, streak in found.items():
        since[_since(streak)].append(spot)
    if not since:
        return
    screen.line()
    screen.line(screen.paint(f"failing: {many(len(found), 'case')}", "bold"))
    for told, spots in list(since.items())[:_MOST]:
        invariants = Counter(case.partition("/")[0] for _, case in spots)
        named = ", ".join(f"{name} {count}" for name, count in invariants.most_common(4))
        more = f" and {len(invariants) - 4} more" if len(invariants) > 4 else ""
        screen.line(f"  since {told}: {many(len(spots), 'case')}")
        screen.wrapped(named + more, "      ")
    _rest(screen, len(since))


def _rest(screen: Screen, count: int) -> None:
    if count > _MOST:
        screen.line(f"  and {count - _MOST} more")
