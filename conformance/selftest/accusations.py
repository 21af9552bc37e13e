"""Whom a deliberate fault is blamed on: in a pair with the flawless reference, and with a second partner that has another fault.

A fault of one side has to accuse that side and nobody else. The table of wrong accusations is a part of the selftest, and is empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from conformance import faults
from conformance.adapters.base import Adapter
from conformance.adapters.reference import ReferenceAdapter
from conformance.checks.catalogue import Case
from conformance.checks.libraries import REFERENCE
from conformance.checks.outcomes import Side
from conformance.execution.accusations import accused, trials
from conformance.execution.results import ACCUSING, Accused, Result
from conformance.reference.exporter import Exporter
from conformance.verdict import Verdict

FAULTY, OTHER = "faulty", "other"
"""The partner with the fault that is tried, and one with another fault on the other side."""
_MOST_OTHERS = 4
"""How many second partners are tried until one is found whose own fault the case does not show."""


@dataclass(frozen=True)
class Accusation:
    """One accusation that was made: in which case, against whom, and whom it had to be made against."""

    fault: str
    case: str
    accused: tuple[str, ...]
    side: str
    wanted: str
    why: str

    @property
    def is_wrong(self) -> bool:
        """Whether somebody else is accused, or the library on its other side."""
        library, _, side = self.wanted.partition(" as ")
        return self.accused != (library,) or bool(side and self.side != side)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Accusation:
        """From the plain data that ``dataclasses.asdict`` makes of one."""
        return cls(**{**data, "accused": tuple(data["accused"])})


Run = Callable[[Mapping[str, Adapter], Sequence[Case]], list[Result]]
"""Run cases with these partners, each in a process that it may kill."""


_DEVICE = "negotiation.device-report"


def of_reference(fault: faults.Fault, failing: Iterable[Case], run: Run) -> Iterator[Accusation]:
    """Whom the first failing case of each invariant accuses, when the fault is on one side only."""
    side = Side.PRODUCER if fault.exporter is not Exporter else Side.CONSUMER
    first: dict[str, Case] = {}
    for case in failing:
        first.setdefault(case.invariant, case)
    for case in first.values():
        yield from _with_flawless(fault, case, side, run)
        yield from _with_faulty(fault, case, side, run)


def _with_flawless(fault: faults.Fault, case: Case, side: Side, run: Run) -> Iterator[Accusation]:
    alone = placed(case, side, FAULTY, REFERENCE)
    (result,) = run(_partners(fault), [alone])
    yield from judged(fault.name, [accused(result, dict[str, Result]().get)], f"{FAULTY} as {side.value}")


def _with_faulty(fault: faults.Fault, case: Case, side: Side, run: Run) -> Iterator[Accusation]:
    """Beside a partner whose own fault this case does not show; nothing where there is none, or where the fault does not show."""
    both = placed(case, side, FAULTY, OTHER)
    tried = list(trials(both).values())
    for second in _others(fault, side)[:_MOST_OTHERS]:
        if _DEVICE in second.caught_by:  # each case whose consumer raises shows it, and rightly accuses the producer
            continue
        together, *apart = run(_partners(fault, second), [both, *tried])
        known = {result.case.id: result for result in apart}
        of_other = next(result for result in apart if OTHER in result.case.libraries)
        if together.outcome in ACCUSING and of_other.outcome not in ACCUSING:
            yield from judged(
                f"{fault.name} beside {second.name}", [accused(together, known.get)], f"{FAULTY} as {side.value}"
            )
            return


def _others(fault: faults.Fault, side: Side) -> list[faults.Fault]:
    """Faults on the other side, of other families; the same ones for the same fault in each run."""
    on_other_side = [
        other
        for other in faults.all_faults().values()
        if (other.exporter is Exporter) == (side is Side.PRODUCER) and not _families(other) & _families(fault)
    ]
    start = sum(fault.name.encode()) % len(on_other_side)
    return on_other_side[start:] + on_other_side[:start]


def _families(fault: faults.Fault) -> set[str]:
    return {invariant.partition(".")[0] for invariant in fault.caught_by}


def _partners(fault: faults.Fault, second: faults.Fault | None = None) -> dict[str, Adapter]:
    found: dict[str, Adapter] = {REFERENCE: ReferenceAdapter(), FAULTY: _adapter(FAULTY, fault)}
    if second is not None:
        found[OTHER] = _adapter(OTHER, second)
    return found


def _adapter(called: str, fault: faults.Fault) -> ReferenceAdapter:
    made: ReferenceAdapter = type("FaultyAdapter", (ReferenceAdapter,), {"name": called})()
    made.exporter_class, made.importer_class = fault.exporter, fault.importer
    return made


def placed(case: Case, side: Side, name: str, partner: str) -> Case:
    """The same case with this library on one side and that one on the other."""
    producer, consumer = (name, partner) if side is Side.PRODUCER else (partner, name)
    return replace(case, producer=producer, consumer=consumer)


def judged(fault: str, results: Iterable[Result], wanted: str) -> Iterator[Accusation]:
    """An accusation for each result that accuses: what is only observed accuses nobody."""
    for result in results:
        if result.outcome in ACCUSING and result.verdict is not Verdict.OBSERVED:
            found = result.accused or Accused(Side.UNKNOWN)
            yield Accusation(fault, result.case.id, found.libraries, found.side.value, wanted, found.why)
