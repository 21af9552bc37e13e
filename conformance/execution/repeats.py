"""Repeats of failures in a second process, before they accuse a library.

Cases share a process, so one case can cause the failure of another. For example, a thread of one case can write to memory that now belongs to
another array. The monitor repeats crashes and hangs at once (``monitor.py``). The other failures are grouped into kinds, and one failure of
each kind runs again after all other cases. Failures of one kind share the invariant, the libraries, the protocol, the device, the code and the
special input.

A case on host memory is repeated alone. A process that uses CUDA is expensive to start, because the driver starts one at a time. So a failure
on a GPU is repeated in a new process with at most :data:`COMPANY` other such failures of the same libraries, and no other case. If the failure
shows there too, its whole kind counts. If not, every other failure of its kind has to show alone.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping
from functools import partial

from conformance.adapters.base import Device
from conformance.checks.catalogue import Case, Isolation, catalogue
from conformance.checks.outcomes import Outcome

from . import accusations
from .hazards import isolation_of
from .results import Result, Where

_SHARING = (Isolation.SHARED, Isolation.RISKY, Isolation.FRESH)
"""Isolations that give a failure only one try."""
_REPEATED = (Where.ALONE, Where.SECOND)
COMPANY = 8
"""Maximum number of cases that are repeated in one process."""
LONG = 2.0
"""Total seconds of cases after which the start of another process pays off."""


def unproven(results: Iterable[Result], deadly: Collection[str] = ()) -> list[list[Result]]:
    """Return the failures of kinds that no repeat has confirmed: one list for each kind, with the smallest case first."""
    kinds: dict[Hashable, list[Result]] = defaultdict(list)
    for result in results:
        if _speaks_against(result):
            kinds[_kind(result)].append(result)
    seen = partial(_was_alone, deadly=deadly)
    return [sorted(members, key=_smallness) for members in kinds.values() if not any(map(seen, members))]


def _speaks_against(result: Result) -> bool:
    invariant = catalogue().get(result.case.invariant)  # None for an invariant of another version of the suite
    is_run = invariant is not None and invariant.canary is None
    return is_run and result.outcome is Outcome.FAIL and result.verdict.speaks_against


def _was_alone(result: Result, deadly: Collection[str]) -> bool:
    if result.attempts:
        return result.attempts[-1].where in _REPEATED
    return isolation_of(result.case, catalogue()[result.case.invariant], deadly) not in _SHARING


def _kind(result: Result) -> Hashable:
    """Return the facts that failures of one kind share."""
    case, accused = result.case, result.accused
    by_check = (accused.side, accused.libraries) if accused else None
    return (
        case.invariant, case.libraries, case.protocol, case.device, result.code, result.clause, result.role, result.level, result.given,
        by_check,
    )  # fmt: skip


def _smallness(result: Result) -> tuple[int, int, str]:
    """Return a sort key, as for the smallest case of a finding, which gets the repro script."""
    return result.case.id.count("/"), len(result.case.id), result.case.id


def companies(cases: Iterable[Case], lasted: Mapping[str, float], deadly: Collection[str] = ()) -> dict[str, str]:
    """Return the name of the second process of each case that need not run alone, by the id of the case.

    Cases of other libraries get other processes: a library that corrupts memory must not confirm the failure of another one. ``lasted`` has the
    seconds of each case so far. A process gets no more cases once its cases take :data:`LONG` seconds.
    """
    found: dict[str, str] = {}
    numbers: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    seconds: dict[str, float] = defaultdict(float)
    for case in cases:
        invariant = catalogue()[case.invariant]
        if case.device is not Device.HOST and isolation_of(case, invariant, deadly) in (
            Isolation.SHARED,
            Isolation.RISKY,
        ):
            libraries = "+".join(sorted({*case.libraries}))
            kind = f"{libraries}{' alone' * invariant.exclusive}"
            if sizes[kind] == COMPANY or seconds[kind] >= LONG:
                numbers[kind] += 1
                sizes[kind], seconds[kind] = 0, 0.0
            found[case.id] = f"{kind} {numbers[kind]}"
            sizes[kind] += 1
            seconds[kind] += lasted[case.id]
    return found


def smallest(kinds: Iterable[list[Result]]) -> list[Case]:
    """Return one case of each kind."""
    return [members[0].case for members in kinds]


def all_of(kinds: Iterable[list[Result]]) -> list[Case]:
    """Return every case of these kinds."""
    return [result.case for members in kinds for result in members]


def unsettled(results: Mapping[str, Result], deadly: Collection[str] = ()) -> frozenset[str]:
    """Return the ids of failures, also of trials, that still need a repeat or a trial with the reference."""
    alone = (result.case.id for members in unproven(results.values(), deadly) for result in members)
    return frozenset((*alone, *accusations.unsettled(results)))
