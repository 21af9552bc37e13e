"""Which failures are run again, alone, before anybody is accused of them.

Cases share a process, so a failure of one may be the effect of another: a thread that writes to memory which belongs to another array by
then fails later cases. A death is tried again at once (``monitor.py``). Of the other failures one of each kind is run again, after all other
cases. A kind is as narrow as a line of a report: the same invariant, libraries, protocol and device, the same code, and the same special input.

A case on host memory is repeated alone. A process that uses CUDA is expensive to start: the driver starts one at a time. So a failure on
a GPU is repeated in a new process with at most :data:`COMPANY` other such failures of the same libraries, and no other case. If the
library makes that mistake there too, the failure counts. If not, every other failure of its kind has to show alone.
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
"""Kinds of process whose failures are told without a second try."""
_REPEATED = (Where.ALONE, Where.SECOND)
COMPANY = 8
"""Cases that are repeated in one process, at most."""
LONG = 2.0
"""Seconds of cases after which another process is worth its start."""


def unproven(results: Iterable[Result], deadly: Collection[str] = ()) -> list[list[Result]]:
    """The failures that have not been seen alone, nor any other of their kind: by kind, the smallest of each first."""
    kinds: dict[Hashable, list[Result]] = defaultdict(list)
    for result in results:
        if _speaks_against(result):
            kinds[_kind(result)].append(result)
    seen = partial(_was_alone, deadly=deadly)
    return [sorted(members, key=_smallness) for members in kinds.values() if not any(map(seen, members))]


def _speaks_against(result: Result) -> bool:
    invariant = catalogue().get(result.case.invariant)  # another suite's cannot be run here
    is_run = invariant is not None and invariant.canary is None
    return is_run and result.outcome is Outcome.FAIL and result.verdict.speaks_against


def _was_alone(result: Result, deadly: Collection[str]) -> bool:
    if result.attempts:
        return result.attempts[-1].where in _REPEATED
    return isolation_of(result.case, catalogue()[result.case.invariant], deadly) not in _SHARING


def _kind(result: Result) -> Hashable:
    """The facts that results share if they stand or fall together."""
    case, accused = result.case, result.accused
    by_check = (accused.side, accused.libraries) if accused else None
    return (
        case.invariant, case.libraries, case.protocol, case.device, result.code, result.clause, result.role, result.level, result.given,
        by_check,
    )  # fmt: skip


def _smallness(result: Result) -> tuple[int, int, str]:
    """As for a finding, whose smallest case has the script."""
    return result.case.id.count("/"), len(result.case.id), result.case.id


def companies(cases: Iterable[Case], lasted: Mapping[str, float], deadly: Collection[str] = ()) -> dict[str, str]:
    """Return the name of the second process of each case that need not run alone, by the id of the case.

    Cases of other libraries are kept apart: a library that damages memory must not confirm the failure of another one. ``lasted`` has the
    seconds of each case so far: a process gets no more cases once those that it has take :data:`LONG` seconds.
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
    """One case of each kind."""
    return [members[0].case for members in kinds]


def all_of(kinds: Iterable[list[Result]]) -> list[Case]:
    """Every case of these kinds."""
    return [result.case for members in kinds for result in members]


def unsettled(results: Mapping[str, Result], deadly: Collection[str] = ()) -> frozenset[str]:
    """The failures, of planned cases and of trials, that are still to be seen alone, or whose sides are still to be tried."""
    alone = (result.case.id for members in unproven(results.values(), deadly) for result in members)
    return frozenset((*alone, *accusations.unsettled(results)))
