"""Where the seconds of a run go, from its journal: ``python tests/benchmarks/run_time.py DIR [TOP]``.

``DIR`` is the folder of a finished run. All times are wall time of the processes that run cases; ``share`` is of the time that all of them had.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conformance.checks.catalogue import catalogue
from conformance.execution import journal
from conformance.execution.results import read_lines

CHECKS = "checks"
NAMES = {
    CHECKS: "checks of cases, and all else",
    "start": "starts of children",
    "import": "imports in children",
    "cuda": "starts of CUDA (they wait for the driver)",
    "interpreters": "fresh interpreters, with their imports",
    "settle": "garbage collection and caches after cases",
}
_TOP = 15


@dataclass(frozen=True)
class Span:
    """A case on one process: its beginning and its end in seconds since the run began, and the seconds by purpose."""

    case: str
    lane: str
    isolation: str
    begun: float
    ended: float
    spent: dict[str, float]

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.begun

    @property
    def invariant(self) -> str:
        """The part of the id before the libraries."""
        return self.case.partition("/")[0]

    @property
    def is_exclusive(self) -> bool:
        """Whether it had the GPU to itself."""
        found = catalogue().get(self.invariant)
        return found is not None and found.exclusive


def spans(records: Iterable[dict[str, Any]]) -> tuple[list[Span], float]:
    """Return the cases in the order of their ends, and the seconds from the first event to the last."""
    begun: dict[str, dict[str, Any]] = {}
    found, first, last = [], None, 0.0
    for record in records:
        last = record["at"]
        first = last if first is None else first
        if record["event"] == "start":
            begun[record["worker"]] = record
        elif record["event"] == "end" and record.get("worker") in begun:
            start = begun.pop(record["worker"])
            found.append(
                Span(
                    start["case"], record["worker"], start.get("isolation", ""), start["at"] - first, last - first,
                    record.get("spent", {}),
                )
            )  # fmt: skip
    return found, last - (first or last)


def purposes(found: Iterable[Span]) -> dict[str, float]:
    """Return the seconds by purpose; what no purpose accounts for are the checks."""
    seconds: dict[str, float] = defaultdict(float)
    for span in found:
        for name, value in span.spent.items():
            seconds[name] += value
        seconds[CHECKS] += max(0.0, span.seconds - sum(span.spent.values()))
    return seconds


def _by(found: Iterable[Span], key: Any) -> dict[str, tuple[int, float]]:
    groups: dict[str, tuple[int, float]] = defaultdict(lambda: (0, 0.0))
    for span in found:
        many, seconds = groups[key(span)]
        groups[key(span)] = many + 1, seconds + span.seconds
    return dict(sorted(groups.items(), key=lambda item: -item[1][1]))


def _table(title: str, rows: dict[str, tuple[int, float]], whole: float) -> None:
    print(f"\n{title:<44}   cases  seconds   share")
    for name, (many, seconds) in rows.items():
        print(f"  {name:<42} {many:>7}  {seconds:>7.1f}  {seconds / whole:>6.1%}")


def main() -> int:
    """Print the tables."""
    folder, top = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else _TOP
    found, seconds = spans(read_lines(folder / journal.FILE))
    if not found:
        print(f"{folder / journal.FILE} has no case with a beginning and an end; run `check` first", file=sys.stderr)
        return 2
    lanes = sorted({span.lane for span in found})
    busy = sum(span.seconds for span in found)
    alone = [span for span in found if span.is_exclusive]
    print(
        f"{len(found)} runs of cases in {seconds:.1f} s, in {len(lanes)} processes; the first ended after {found[0].ended:.1f} s"
    )
    print(f"{len(alone)} of them had the GPU to themselves, in {sum(span.seconds for span in alone):.1f} s")
    print(
        "busy: "
        + ", ".join(f"{lane} {sum(s.seconds for s in found if s.lane == lane) / seconds:.0%}" for lane in lanes)
    )
    rows = {NAMES.get(name, name): (0, value) for name, value in purposes(found).items()}
    print(f"\n{'purpose':<44}          seconds   share")
    for name, (_, value) in sorted(rows.items(), key=lambda item: -item[1][1]):
        print(f"  {name:<42}          {value:>7.1f}  {value / busy:>6.1%}")
    _table("kind of process", _by(found, lambda span: span.isolation), busy)
    _table("family", _by(found, lambda span: span.invariant.partition(".")[0]), busy)
    _table("invariant", dict(list(_by(found, lambda span: span.invariant).items())[:top]), busy)
    slowest = sorted(found, key=lambda span: -span.seconds)[:top]
    print("\nslowest cases")
    for span in slowest:
        print(f"  {span.seconds:>7.1f} s  from {span.begun:>6.1f} s  {span.case}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
