"""Where an array lies, and who says so: how much it matters if the two ways to say it differ."""

from __future__ import annotations

import pytest

from conformance.adapters.base import Device
from conformance.checks.outcomes import Outcome, Side
from conformance.faults import Fault, all_faults
from conformance.faults import device as faults
from conformance.protocols.clauses import Level

from .conftest import Runner


def judged(run_reference: Runner, fault: Fault, device: Device) -> set[tuple[str, str, Level]]:
    """What the failures are."""
    failed = [r for r in run_reference("device.reported", fault, (device,)) if r.outcome is Outcome.FAIL]
    assert {r.accused.side for r in failed if r.accused} == {Side.PRODUCER}
    return {(r.code, r.clause, r.level) for r in failed}


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        (Device.HOST, ("devices-disagree", "DLP-60", Level.SHOULD)),
        (Device.SIMULATED, ("wrong-device", "DLP-15", Level.MUST)),
    ],
)
def test_that_the_two_differ_deviates_and_that_one_is_wrong_violates(
    device: Device, expected: tuple[str, str, Level], run_reference: Runner
) -> None:
    """Pinned memory is the host's, so a capsule that says either is not wrong; of device memory it is."""
    assert judged(run_reference, all_faults()["device.CapsuleNamesAnotherDevice"], device) == {expected}


def test_both_can_agree_on_a_wrong_device(run_reference: Runner) -> None:
    """What the memory is decides."""
    fault = Fault("device.both", "both are wrong", (), faults.BothNameAnotherDevice)
    assert judged(run_reference, fault, Device.SIMULATED) == {("wrong-device", "DLP-15", Level.MUST)}
