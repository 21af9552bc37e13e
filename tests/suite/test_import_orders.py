"""The cases of the family ``imports``: which libraries are imported together, and where they exchange an array."""

from __future__ import annotations

from conformance.adapters.base import Device, Protocol
from conformance.checks.catalogue import catalogue
from conformance.checks.libraries import REFERENCE, Environment, Library, Side


def simulated(name: str) -> Library:
    """A library that has arrays on the simulated device alone."""
    side = Side(("float32",), ("c-order",), (Protocol.CAI,), (Protocol.CAI,))
    return Library(name, {}, frozenset(), sides={Device.SIMULATED: side})


def test_two_libraries_of_the_simulated_device_meet_there() -> None:
    """They have no other device in common."""
    env = Environment((simulated(REFERENCE), simulated("one"), simulated("other")))
    found = list(catalogue()["imports.pair"].cases(env))
    assert {(case.producer, case.consumer, case.device) for case in found} == {
        ("one", "other", Device.SIMULATED), ("other", "one", Device.SIMULATED),
    }  # fmt: skip
