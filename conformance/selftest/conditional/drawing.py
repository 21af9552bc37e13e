"""The candidates: every always-wrong fault of the reference with every condition that can be, and samples of them by a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache
from itertools import combinations, product

from conformance.reference import faults
from conformance.reference.exporter import Exporter

from . import witness
from .levels import COUNT, FACTORS, FORK, FORM, PATH, STRIDES, THREAD, Level
from .reach import ORDER
from .subjects import PREFIX, methods
from .trying import Candidate
from .unseen import UNSEEN

TABLES = frozenset({"argument", "context", "exchange_api"})
"""Families of kernels, of contexts and of the table of DLPack's C exchange API."""
_BEFORE_THE_ARRAY = frozenset({"call_dlpack", "take_dlpack", "stream"})
"""Methods of an importer that are called before it knows anything of the array."""
_OF_CALLS = (PATH, COUNT, THREAD, FORK)
_OF_IMPORTS = ("own", "second", "copy", "shared", "after-refusal")
"""Paths that an importer can tell apart."""
_BEFORE_PATHS = ("copy", "shared", "after-refusal")


def left_out(fault: faults.Fault) -> str:
    """The rule by which no condition is put on a fault; empty if conditions are."""
    family = fault.name.partition(".")[0]
    if family in ORDER:
        return "it is about the order of streams or about two devices, not about one array"
    if family in TABLES:
        return "it is about kernels, contexts or the table of the C exchange API, not about an exchange of one array"
    if family == "combination":
        return "it is wrong under a condition already"
    if not methods(fault):
        return "it replaces no method, so there is no moment at which a condition could be looked at"
    return UNSEEN.get(fault.name, "")


@cache
def chosen() -> tuple[faults.Fault, ...]:
    """The faults that conditions are put on."""
    return tuple(fault for fault in faults.all_faults().values() if not left_out(fault))


@cache
def levels_of(name: str) -> dict[str, tuple[str, ...]]:
    """The factors that a fault's methods can know, with the levels that they can tell apart."""
    fault = faults.all_faults()[name]
    is_importer = fault.exporter is Exporter
    replaced = methods(fault)
    if is_importer and _BEFORE_THE_ARRAY.issuperset(replaced):
        return {PATH: _BEFORE_PATHS, **{factor: FACTORS[factor] for factor in _OF_CALLS[1:]}}
    known = dict(FACTORS)
    if is_importer:
        known[PATH] = _OF_IMPORTS
    else:
        del known[STRIDES]
    if all("cai" in method or "cuda_array" in method for method in replaced):
        del known[FORM]
    return known


def every(count: int) -> Iterator[Candidate]:
    """All candidates with conditions on so many factors."""
    for fault in chosen():
        known = levels_of(fault.name)
        for factors in combinations(known, count):
            for condition in product(*([(factor, level) for level in known[factor]] for factor in factors)):
                if witness.is_possible(condition):
                    yield Candidate(PREFIX + fault.name, condition)


def sampled(count: int, seed: int) -> Iterator[Candidate]:
    """An endless sample of :func:`every`, each once: the fault first, then its factors, then their levels."""
    draw = random.Random(f"{seed} {count}")
    seen = set()
    while True:
        fault = draw.choice(chosen())
        known = levels_of(fault.name)
        order = list(FACTORS)
        factors = sorted(draw.sample(list(known), count), key=order.index)
        condition: tuple[Level, ...] = tuple((factor, draw.choice(known[factor])) for factor in factors)
        candidate = Candidate(PREFIX + fault.name, condition)
        if candidate not in seen and witness.is_possible(condition):
            seen.add(candidate)
            yield candidate
