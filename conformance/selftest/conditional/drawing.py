"""Candidates: each fault with each possible condition, and samples of them by a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache
from itertools import combinations, product

from conformance import faults
from conformance.checks.libraries import REFERENCE
from conformance.checks.outcomes import Side

from . import witness, wrapped
from .levels import (
    ACCESS,
    COUNT,
    FACTORS,
    FORK,
    FORM,
    KIND,
    LAYOUT,
    OFFSET,
    PATH,
    RANK,
    SIZE,
    STRIDES,
    THREAD,
    WIDTH,
    Level,
)  # fmt: skip
from .reach import ORDER
from .subjects import PREFIX, OfReference, known, methods
from .trying import Candidate
from .unseen import ILLEGAL, REFUSALS, UNSEEN, harmless

NATIVE = frozenset({"native", "style"})
"""Families of objects that are passed directly, by calls of their own."""
TABLES = frozenset({"argument", "context", "exchange_api", "use"})
"""Families of kernels and other uses of an import, of contexts and of the table of DLPack's C exchange API."""
_FOREIGN = frozenset({"illegal", "release"})
"""Families of illegal input, and of input that no library supports."""
_BEFORE_THE_ARRAY = frozenset({"call_dlpack", "take_dlpack", "stream"})
"""Methods of an importer that are called before the array is known."""
_OF_IMPORTS = ("own", "second", "copy", "shared", "after-refusal")
"""Paths that an importer can distinguish."""
_BEFORE_PATHS = ("copy", "shared", "after-refusal")
_OF_CAPSULES = (WIDTH, KIND, LAYOUT, RANK, SIZE, ACCESS, FORM)
"""Factors that a wrapper around a real library reads from a capsule. The library chooses the addresses."""
_WRAPPED = ("own", "copy", "shared")
_OF_WRITES = frozenset({"pointer.consumer-write-seen", "pointer.producer-write-seen", "pointer.kernel-write-seen"})
_VAIN = 10_000
"""The number of draws without a new candidate after which the search ends."""


def left_out(fault: faults.Fault) -> str:
    """Return the rule that excludes a fault, or an empty string if the fault can have conditions."""
    family = fault.name.partition(".")[0]
    if family in ORDER:
        return "it is about the order of streams or about two devices, not about one array"
    if family in TABLES:
        return "it is about kernels, contexts or the table of the C exchange API, not about an exchange of one array"
    if family in _FOREIGN:
        return ILLEGAL
    if family in NATIVE:
        return "it is about an object as it is or an older call, and no exchange behind a protocol shows it"
    if family == "combination":
        return "it is wrong under a condition already"
    if not methods(fault):
        return "it replaces no method, so there is no call at which a condition could be checked"
    return UNSEEN.get(fault.name, "")


@cache
def chosen(stage: str = REFERENCE) -> tuple[str, ...]:
    """Return the names of the faults of a stage that have conditions."""
    if stage != REFERENCE:
        return tuple(name for name in known() if name.startswith(f"{stage}."))
    return tuple(PREFIX + name for name, fault in faults.all_faults().items() if not left_out(fault))


@cache
def levels_of(name: str) -> dict[str, tuple[str, ...]]:
    """Return the factors that a fault's methods know, with the levels that they can distinguish."""
    subject = known()[name]
    calls = {factor: FACTORS[factor] for factor in (COUNT, THREAD, FORK)}
    if not isinstance(subject, OfReference):
        if wrapped.runs_threads(subject.library):
            del calls[FORK]  # the suite makes no exchanges in a fork of such a process
        if not wrapped.KNOWING.issuperset(subject.methods):
            return {PATH: ("copy", "shared"), **calls}
        return {**{factor: FACTORS[factor] for factor in _OF_CAPSULES}, PATH: _WRAPPED, **calls}
    if subject.side is Side.CONSUMER and _BEFORE_THE_ARRAY.issuperset(subject.methods):
        return {PATH: _BEFORE_PATHS, **calls}
    found = dict(FACTORS)
    if subject.side is Side.CONSUMER:
        found[PATH] = _OF_IMPORTS
    else:
        del found[STRIDES]
    if all("cai" in method or "cuda_array" in method for method in subject.methods):
        del found[FORM]
    return found


_PLAIN: dict[str, tuple[str, ...]] = {
    KIND: ("bool", "int", "uint", "float", "complex"),
    LAYOUT: ("packed",),
    RANK: ("1", "2", "3"),
    SIZE: ("few", "one", "long", "page", "large"),
    OFFSET: ("0",),
    ACCESS: ("writable",),
    FORM: ("newest",),
    PATH: ("own", "second", "again"),
}
"""The levels of arrays that libraries promise to accept."""


def _is_wrong(name: str, condition: tuple[Level, ...]) -> bool:
    """Return ``True`` if the suite exchanges an array with these levels, and the fault breaks a promise with it.

    Large arrays are not exchanged in a fork, because libraries copy them in threads, which a fork does not have. A fault that only a write
    shows does not count for a read-only array.
    """
    if {(SIZE, "large"), (FORK, "child")} <= set(condition):
        return False
    if (ACCESS, "readonly") in condition and _OF_WRITES.issuperset(known()[name].caught_by):
        return False
    is_plain = all(level in _PLAIN.get(factor, (level,)) for factor, level in condition)
    if harmless(name.removeprefix(PREFIX), condition):
        return False
    return witness.is_possible(condition) and (is_plain or name.removeprefix(PREFIX) not in REFUSALS)


def every(count: int, stage: str = REFERENCE) -> Iterator[Candidate]:
    """Yield all candidates of a stage with conditions on ``count`` factors."""
    for name in chosen(stage):
        found = levels_of(name)
        for factors in combinations(found, count):
            for condition in product(*([(factor, level) for level in found[factor]] for factor in factors)):
                if _is_wrong(name, condition):
                    yield Candidate(name, condition)


def sampled(count: int, seed: int, stage: str = REFERENCE) -> Iterator[Candidate]:
    """Yield a sample of :func:`every`, each candidate once.

    Draw the fault, then its factors, then their levels. End if no new candidate is found.
    """
    draw = random.Random(f"{seed} {count}")
    seen: set[Candidate] = set()
    vain = 0
    while vain < _VAIN:
        name = draw.choice(chosen(stage))
        found = levels_of(name)
        order = list(FACTORS)
        factors = sorted(draw.sample(list(found), count), key=order.index)
        condition: tuple[Level, ...] = tuple((factor, draw.choice(found[factor])) for factor in factors)
        candidate = Candidate(name, condition)
        vain += 1
        if candidate not in seen and _is_wrong(name, condition):
            vain = 0
            seen.add(candidate)
            yield candidate
