"""Levels that each case reaches, measured by one run of every case with flawless partners that note what they know.

Until a conditional fault is wrong for the first time, it behaves as in that run. So a case that does not reach the condition in an
overridden method cannot show the fault, and is not tried.
"""

from __future__ import annotations

import gc
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from conformance.adapters.base import Adapter
from conformance.adapters.reference import ReferenceAdapter
from conformance.checks.catalogue import Case, Isolation, catalogue
from conformance.checks.libraries import REFERENCE
from conformance.checks.outcomes import Side
from conformance.execution.accusations import accused
from conformance.execution.results import ACCUSING, Result
from conformance.reference.exporter import Exporter
from conformance.reference.importer import Importer
from conformance.selftest.accusations import FAULTY, placed
from conformance.selftest.trials import Bench

from . import matching
from .generating import noting
from .levels import COUNT, FACTORS, FORK, PATH, Level, State

ORDER = frozenset({"capture", "crossing", "current", "devices", "flight", "ordering", "stream"})
"""Families about the order of streams and about two devices. Their arrays are all alike, and no fault of these trials concerns them."""
IN_FORK: Level = (FORK, "child")
_ISOLATED = (Isolation.CHILD, Isolation.EXIT, Isolation.FRESH)


@dataclass
class Reach:
    """The methods of each side with the states of their calls, and the cases in which each state was seen.

    ``accused`` are the failed cases of flawless partners: the id, and the message. ``unplaced`` counts the cases that are inconclusive because
    the suite does not know the partner as a library.
    """

    cases: tuple[Case, ...]
    points: tuple[tuple[int, Case], ...] = ()
    """Cases of the family ``combination`` with their numbers. Their parameters show what they reach, so they are not measured."""
    seen: dict[Side, dict[str, dict[State, set[int]]]] = field(default_factory=dict)
    forking: set[int] = field(default_factory=set)
    """Cases that fork. Their children cannot add to the notes of this process."""
    accused: list[tuple[str, str]] = field(default_factory=list)
    unplaced: int = 0

    def reaching(
        self,
        side: Side,
        methods: Iterable[str],
        condition: tuple[Level, ...],
        witness: Iterable[Level] = (),
        library: str = REFERENCE,
    ) -> list[int]:
        """Return the numbers of the cases that reach the condition in one of the methods: points by their parameters, then the others.

        Only points with ``library`` on this side count.

        A forked process repeats earlier work of its parent, so the parent has to reach the rest of the condition. A library remembers
        from case to case how often it has exchanged, and that it has refused. So every case reaches that.
        """
        is_forked = IN_FORK in condition
        remembered = {IN_FORK, *((COUNT, level) for level in FACTORS[COUNT])}
        if side is Side.CONSUMER:
            remembered.add((PATH, "after-refusal"))
        wanted = frozenset(condition) - remembered
        of_side = self.seen.get(side, {})
        found: set[int] = set()
        for method in methods:
            for state, cases in of_side.get(method, {}).items():
                if wanted <= state:
                    found |= cases
        if is_forked:
            found &= self.forking
        points = [(number, case) for number, case in self.points if library == _on(side, case)]
        return [*matching.best(points, condition, methods, witness), *sorted(found)]

    def with_points(self, points: Iterable[Case]) -> Reach:
        """Return a copy with these cases of the family ``combination`` after the others."""
        numbered = tuple(enumerate(points, len(self.cases)))
        return replace(self, cases=(*self.cases, *(case for _, case in numbered)), points=numbered)


def _on(side: Side, case: Case) -> str:
    """Return the library on this side of a case."""
    return case.producer if side is Side.PRODUCER else case.consumer


def together(parts: Sequence[Reach]) -> Reach:
    """Return the combined measurements of several groups of cases."""
    whole = Reach(tuple(case for part in parts for case in part.cases))
    begins = 0
    for part in parts:
        for side, methods in part.seen.items():
            for name, states in methods.items():
                of_method = whole.seen.setdefault(side, {}).setdefault(name, {})
                for state, cases in states.items():
                    of_method.setdefault(state, set()).update(begins + number for number in cases)
        whole.forking |= {begins + number for number in part.forking}
        whole.accused += part.accused
        whole.unplaced += part.unplaced
        begins += len(part.cases)
    return whole


_LARGE = ("layout.beyond-2gib",)
"""Invariants that copy gigabytes."""


def useful(cases: Iterable[Case]) -> Iterator[Case]:
    """Yield the cases that need no separate process and no gigabytes, and do not concern order."""
    for case in cases:
        invariant = catalogue()[case.invariant]
        if case.invariant in _LARGE:
            continue
        if invariant.family not in ORDER and invariant.isolation not in _ISOLATED:
            yield case


def partners(exporter: type[Exporter], importer: type[Importer]) -> dict[str, Adapter]:
    """Return the flawless reference, and a library with this exporter and this importer."""
    made = type("FaultyAdapter", (ReferenceAdapter,), {"name": FAULTY})()
    made.exporter_class, made.importer_class = exporter, importer
    return {REFERENCE: ReferenceAdapter(), FAULTY: made}


Note = Callable[[str, State], None]
"""Called with the name of a method and the state at its call."""


@dataclass(frozen=True)
class Noted:
    """Flawless partners that take notes, a function that resets them, and a function that assigns them a case."""

    partners: dict[str, Adapter]
    begin: Callable[[], None]
    placed: Callable[[Case], Case]


def of_reference(side: Side, note: Note) -> Noted:
    """Return the reference with notes, with itself on the other side."""
    exporter, importer = noting(note)
    life = exporter.life if side is Side.PRODUCER else importer.life  # type: ignore[attr-defined]
    made = partners(exporter, Importer) if side is Side.PRODUCER else partners(Exporter, importer)
    return Noted(made, life.begin, lambda case: placed(case, side, FAULTY, REFERENCE))


def measured(
    cases: Sequence[Case], make: Callable[[Side, Note], Noted], begun: Callable[[int], None], *, is_real: bool = False
) -> Reach:
    """Run every case with each side taking notes. Call this in a process that ends afterwards.

    ``begun`` is called with the number of each case before it runs. A real library violates some rules itself. Its failures show no fault, and
    are not wrong accusations.
    """
    reach = Reach(tuple(cases))
    at_work: list[int] = []
    os.register_at_fork(before=lambda: reach.forking.update(at_work))
    for side in (Side.PRODUCER, Side.CONSUMER):
        reach.seen[side] = _noted(reach, side, make, at_work, begun, is_real=is_real)
    return reach


def _noted(
    reach: Reach,
    side: Side,
    make: Callable[[Side, Note], Noted],
    at_work: list[int],
    begun: Callable[[int], None],
    *,
    is_real: bool,
) -> dict[str, dict[State, set[int]]]:
    """Return the states of each method on one side. ``at_work`` gets the number of the current case."""
    noted: dict[str, dict[State, set[int]]] = defaultdict(lambda: defaultdict(set))
    now: set[tuple[str, State]] = set()
    flawless = make(side, lambda name, state: now.add((name, state)))
    bench = Bench(flawless.partners)
    for number, case in enumerate(reach.cases):
        now.clear()
        at_work[:] = [number]
        begun(number)
        flawless.begin()
        gc.freeze()  # garbage collections in cases need not scan the notes
        result = run(bench, flawless.placed(case))
        if result.outcome in ACCUSING:
            reach.accused += [] if is_real else [(result.case.id, result.reason)]
            continue
        if not result.verdict.is_decided:
            reach.unplaced += 1
            continue
        for name, state in list(now):
            noted[name][state].add(number)
    return {name: dict(states) for name, states in noted.items()}


def run(bench: Bench, case: Case) -> Result:
    """Return the result of a case, with the accused side."""
    return accused(bench.run(case, catalogue()[case.invariant]), dict[str, Result]().get)
