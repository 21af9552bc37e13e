"""A flawless partner is never accused, whatever is exchanged; a broken one is, by the same judgement."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given

from conformance.adapters.base import Device
from conformance.adapters.reference import ReferenceAdapter
from conformance.checks import offers
from conformance.checks.outcomes import Failure
from conformance.faults import all_faults

from . import exchanges, judges
from .exchanges import Drawn
from .judges import Judged
from .strategies import drawn, examples

DEVICES = (Device.HOST, Device.SIMULATED)
TRIES = 400
"""Exchanges in which a fault has to show."""
SHOWN = (
    "cai.MaskDropped", "cai.OwnerForgotten", "cai.ThisVersionOnly", "dtype.BrainFloatsAsHalves", "dtype.ByteOrderIgnored",
    "layout.NullStridesColumnMajor", "layout.StridesInElements", "layout.StridesUnsigned", "layout.UnitStridesDecideContiguity",
    "lifetime.DeleterExpected", "lifetime.DeleterGetsACopy", "lifetime.NeverReleased",
    "lifetime.PartDoesNotHoldTheWhole", "lifetime.ReleasedAtOnce", "lifetime.ReleasedTwice", "negotiation.CopyNotFlagged",
    "negotiation.MajorNotChecked", "negotiation.MinorMustMatch", "pointer.ByteOffsetIgnored", "pointer.CopyNotMade",
    "pointer.OffsetDropped", "pointer.StridesIgnored", "readonly.EverythingLocked", "readonly.ReadOnlyDropped",
    "readonly.ReadOnlyInLegacyCapsule", "readonly.ReadOnlyUnsaid",
)  # fmt: skip
"""Faults of every kind that an exchange is judged for."""


@examples
@given(drawn(lambda chance: exchanges.draw(chance, DEVICES)))
def test_a_flawless_exchange_is_not_accused(exchange: Drawn) -> None:
    """From the first export to the last release, in any order; it is refused exactly where the protocol says so."""
    exchanges.follow(exchange)


@examples
@given(drawn(lambda chance: judges.draw(chance, DEVICES)))
def test_no_invariant_accuses_a_flawless_partner_of_an_array_that_no_plan_has(judged: Judged) -> None:
    """Of those that hold for any array; a refusal is none."""
    judges.judge(judged)


@pytest.mark.parametrize("name", SHOWN)
def test_a_broken_partner_is_accused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The judgement that accuses no flawless partner can accuse."""
    fault, broken = all_faults()[name], ReferenceAdapter()
    broken.exporter_class, broken.importer_class = fault.exporter, fault.importer  # type: ignore[misc]
    monkeypatch.setattr(exchanges, "LIBRARY", broken)
    monkeypatch.setattr(offers, "PATIENCE", 0.01)
    assert any(accused(Random(f"{name}/{number}")) for number in range(TRIES))


def accused(chance: Random) -> bool:
    """Whether anybody is, in one exchange."""
    try:
        exchanges.follow(exchanges.draw(chance, DEVICES))
    except Failure:
        return True
    return False
