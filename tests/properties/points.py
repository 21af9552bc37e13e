"""Random points of the family ``combination``: a level of every factor, far more of them at once than the points of the plan have."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from random import Random

import pytest

from conformance.adapters.base import Device
from conformance.checks.catalogue import Case, catalogue
from conformance.checks.covering_arrays import Space
from conformance.checks.exchange import Exchange, Partners
from conformance.checks.libraries import Environment, Pair
from conformance.checks.outcomes import Refused
from conformance.checks.points import Point, reach
from conformance.execution import probe

from . import exchanges
from .drawing import chosen

INVARIANT = "combination.exchange"
_PLAIN = 0.4
"""The share of factors that keep their default: a huge or empty array goes with few other levels."""


class Combined(Exchange):
    """A case of the family at a point that no plan has."""

    def __init__(self, case: Case) -> None:
        super().__init__(case, Partners(lambda name: exchanges.LIBRARY))

    def __repr__(self) -> str:
        return self.case.id


@cache
def spaces(device: Device) -> tuple[tuple[Pair, Space, tuple[str, ...]], ...]:
    """The exchanges of the reference with itself on a device: their factors, and the element types that take turns in one level."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(probe.SIMULATE, "1")
        environment = Environment((probe.probe("reference"),))
    pairs = [pair for pair in environment.pairs() if pair.device is device]
    return tuple((pair, found.space, found.turns) for pair in pairs for found in (reach(pair),))


def draw(chance: Random, devices: tuple[Device, ...]) -> Combined:
    """A point at which no two levels exclude each other."""
    pair, space, turns = chance.choice(spaces(chance.choice(devices)))
    while True:
        levels = {
            name: levels[0] if chosen(chance, _PLAIN) else chance.choice(levels) for name, levels in space.factors
        }
        if not any(couple <= set(levels.items()) for couple in space.apart):
            break
    if levels["dtype"] in turns:
        levels["dtype"] = chance.choice(turns)
    names = (pair.producer.name, pair.consumer.name, pair.protocol.value, pair.device)
    return Combined(Case(INVARIANT, *names, Point(**levels).changed))


def judge(exchange: Combined) -> None:
    """A flawless partner may refuse; every other exception accuses it."""
    with suppress(Refused):
        catalogue()[INVARIANT].check(exchange)
