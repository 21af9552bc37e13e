"""Accusations that a deliberate fault causes: beside the flawless reference, and beside a second partner with another fault.

A fault on one side must accuse that side alone. The table of wrong accusations is part of the self-test, and must be empty.
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
"""The names of the partner with the fault under trial, and of a partner with another fault on the other side."""
_MOST_OTHERS = 4
"""The number of second partners to try until the case does not show the own fault of one."""


@dataclass(frozen=True)
class Accusation:
    """One accusation: the case, the accused side, and the side that must be accused."""

    fault: str
    case: str
    accused: tuple[str, ...]
    side: str
    wanted: str
    why: str

    @property
    def is_wrong(self) -> bool:
        """``True`` if another library is accused, or the right library on the wrong side."""
        library, _, side = self.wanted.partition(" as ")
        return self.accused != (library,) or bool(side and self.side != side)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Accusation:
        """Return the accusation from the output of ``dataclasses.asdict``."""
        return cls(**{**data, "accused": tuple(data["accused"])})


Run = Callable[[Mapping[str, Adapter], Sequence[Case]], list[Result]]
"""Runs cases with these partners, each in a process that the case may end."""


_DEVICE = "negotiation.device-report"


def of_reference(fault: faults.Fault, failing: Iterable[Case], run: Run) -> Iterator[Accusation]:
    """Yield the accusation by the first failing case of each invariant, with the fault on one side only."""
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
    """Yield the accusation beside a second faulty partner, if the case does not show that partner's fault. Yield nothing if there is no such partner."""
    both = placed(case, side, FAULTY, OTHER)
    tried = list(trials(both).values())
    for second in _others(fault, side)[:_MOST_OTHERS]:
        if (
            _DEVICE in second.caught_by
        ):  # every case with a consumer that raises shows this fault, and rightly accuses the producer
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
    """Return faults of other families on the other side, in an order that only depends on the fault."""
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
    """Return the case with ``name`` on this side and ``partner`` on the other."""
    producer, consumer = (name, partner) if side is Side.PRODUCER else (partner, name)
    return replace(case, producer=producer, consumer=consumer)


def judged(fault: str, results: Iterable[Result], wanted: str) -> Iterator[Accusation]:
    """Yield an accusation for each failing result. An observation accuses no library."""
    for result in results:
        if result.outcome in ACCUSING and result.verdict is not Verdict.OBSERVED:
            found = result.accused or Accused(Side.UNKNOWN)
            yield Accusation(fault, result.case.id, found.libraries, found.side.value, wanted, found.why)
