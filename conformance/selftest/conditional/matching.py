"""Choice of the ``combination`` cases with the levels of a condition, by their parameters alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from conformance.adapters.base import Device, Protocol
from conformance.checks.catalogue import Case
from conformance.checks.points import LEGACY, Point
from conformance.checks.repeated_checks import EXCHANGE

from .levels import ACCESS, COUNT, FORK, FORM, LAYOUT, OFFSET, PATH, RANK, SIZE, STRIDES, THREAD, Level, of_type

MOST = 8
"""The number of cases of each protocol and device that are tried for a condition."""
_FORMS = {
    "": "newest",
    "byte-offset": "newest",
    "version-1.0": "1.0",
    "version-1.0-no-strides": "1.0",
    "version-1.0-byte-offset": "1.0",
    **dict.fromkeys(LEGACY, "legacy"),
}


def is_point(case: Case) -> bool:
    """Return ``True`` for a case of the family ``combination``."""
    return case.invariant == EXCHANGE


def best(
    points: Sequence[tuple[int, Case]],
    condition: Iterable[Level],
    methods: Iterable[str],
    witness: Iterable[Level] = (),
) -> list[int]:
    """Return the numbers of the cases with most of the condition's levels, best first, then of single-level cases with the whole condition.

    A condition on a fork excludes cases without one. Among equal cases, those with most levels of ``witness`` come first. That is an array with
    which the fault shows: it may need an element type that the condition does not name.

    ``methods`` are the methods that the fault overrides. A fault of dictionaries alone needs no capsule, and the reverse.
    """
    wanted, shown = frozenset(condition), frozenset(witness)
    of_dictionary = [("cai" in name or "cuda_array" in name) for name in methods]
    groups: dict[tuple[str, str], list[tuple[int, int, int]]] = defaultdict(list)
    single: list[int] = []
    for number, case in points:
        is_cai = case.protocol == Protocol.CAI.value
        is_on_device = case.device is not Device.HOST
        if (all(of_dictionary) and not is_cai and is_on_device) or (not any(of_dictionary) and is_cai):
            continue  # a case of capsules on the host also checks the dictionary there
        levels = levels_of(case)
        if (FORK, "child") in wanted - levels:
            continue
        groups[case.protocol, case.device.value].append((-len(wanted & levels), -len(shown & levels), number))
        if len(case.parameters) < 2 and wanted <= levels:
            single.append(number)
    kept = sorted(entry for group in groups.values() for entry in sorted(group)[:MOST])
    return list(dict.fromkeys([*(number for *_, number in kept), *single]))


def levels_of(case: Case) -> frozenset[Level]:
    """Return the levels of the array of a case and of its exchange. Every case makes checks with and without strides, and many exchanges."""
    point = Point.of(case.parameters)
    kind = point.kind
    found = {
        *of_type(int(kind.code), kind.bits),
        (LAYOUT, "padded" if point.is_far else point.layout), (RANK, str(point.ndim)), (SIZE, "huge" if point.is_far else point.size), (OFFSET, "some" if point.skipped else "0"),
        (ACCESS, point.access), (FORM, _FORMS.get(point.form, "")), (PATH, point.path.removeprefix("far-")), (PATH, point.count),
        (STRIDES, "given"), (STRIDES, "none"), (COUNT, "2"), (COUNT, "100"),
    }  # fmt: skip
    if "thread" in point.place:
        found.add((THREAD, "other"))
    if "fork" in point.place:
        found.add((FORK, "child"))
    return frozenset(found)
