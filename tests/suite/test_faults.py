"""Every invariant catches a deliberate fault, and accuses no flawless partner."""

from __future__ import annotations

import pytest

from conformance.adapters.base import Device
from conformance.reference.faults import Fault, all_faults
from conformance.selftest.stages import stages
from conformance.suite.catalogue import Isolation, catalogue
from conformance.suite.outcomes import Outcome

from .conftest import Runner

FAULTS = all_faults()
CAUGHT = [(name, fault) for fault in FAULTS.values() for name in fault.caught_by]
STAGES = "conformance/selftest/stages"
WITHOUT_REFERENCE: dict[str, str] = {
    "lifetime.device-memory": "tests/suite/test_device_memory.py",
    "lifetime.import-until-exit": "tests/execution/test_exit.py",
    "lifetime.capsule-until-exit": "tests/execution/test_exit.py",
    "threads.release-after-main": "tests/execution/test_exit.py",
    "device.pinned-on-host": "tests/suite/test_memory_kinds.py",
    "device.own-memory-kind": "tests/suite/test_memory_kinds.py",
    "device.ipc": "tests/suite/test_memory_kinds.py",
    "ordering.reuse": "tests/suite/test_ordering.py",
    "devices.untouched": "tests/suite/test_two_gpus.py",
    "devices.remapped": "tests/suite/test_two_gpus.py",
    "context.unchanged": "tests/suite/test_contexts.py",
    "context.private": "tests/suite/test_contexts.py",
    "context.import-alone": "tests/suite/test_fresh_interpreters.py",
    "context.after-fork": "tests/suite/test_fresh_interpreters.py",
    "context.pycuda": "tests/suite/test_fresh_interpreters.py",
    "imports.pair": "tests/suite/test_fresh_interpreters.py",
    "imports.rotation": "tests/suite/test_fresh_interpreters.py",
    "imports.gil-stays-off": "tests/suite/test_fresh_interpreters.py",
    "crossing.default-stream": "tests/suite/test_crossing.py",
    "crossing.opt-out": "tests/suite/test_crossing.py",
    "crossing.contexts": "tests/suite/test_crossing.py",
    **{name: STAGES for name in catalogue() if name.startswith(("claim.", "stream-claim."))},
    **{name: "tests/execution/test_canaries.py" for name in catalogue() if name.startswith("canary.")},
}
"""Invariants that the reference alone cannot show, and what shows that they can fail: a test, or the selftest."""


DEADLY = {"stream.PublishesNoStream": "the driver does not survive a question about a stream that there never was"}
"""Faults that a real device makes fatal, and why: they are tried on the simulated one only."""


IN_A_CHILD = (Isolation.RISKY, Isolation.CHILD, Isolation.EXIT)


def devices(name: str, fault: Fault) -> tuple[Device, ...]:
    """Where a fault can be tried in this process: a check of streams that runs in a child may end it on a real device."""
    invariant = catalogue()[name]
    fatal = fault.name in DEADLY or (invariant.exclusive and invariant.isolation in IN_A_CHILD)
    return tuple(d for d in Device if not (fatal and d is Device.CUDA))


@pytest.mark.parametrize(("name", "fault"), CAUGHT, ids=[f"{fault.name}-{name}" for name, fault in CAUGHT])
def test_a_fault_is_caught_by_its_invariant(name: str, fault: Fault, run_reference: Runner) -> None:
    """At least one case fails, with a sentence that says what was expected and what was seen."""
    failed = [r for r in run_reference(name, fault, devices(name, fault)) if r.outcome is Outcome.FAIL]
    assert failed, f"{name} did not notice that {fault.statement}"
    assert all(r.reason and r.expected and r.seen and r.clauses for r in failed)


@pytest.mark.parametrize("name", [n for n in catalogue() if n not in WITHOUT_REFERENCE])
def test_a_flawless_partner_is_not_accused(name: str, run_reference: Runner) -> None:
    """No case fails or stays undecided, and at least one passes."""
    results = run_reference(name)
    assert {r.outcome for r in results} <= {Outcome.PASS, Outcome.REFUSED}, [
        (r.case.id, r.reason, r.expected, r.seen, r.attachments)
        for r in results
        if r.outcome not in (Outcome.PASS, Outcome.REFUSED)
    ][:3]
    assert any(r.outcome is Outcome.PASS for r in results)


@pytest.mark.parametrize("name", [n for n in catalogue() if WITHOUT_REFERENCE.get(n, STAGES) == STAGES])
def test_every_invariant_has_two_faults_that_it_catches(name: str) -> None:
    """A check that cannot fail is a defect, and one that sees a single way to be wrong may see nothing else."""
    assert sum(name in fault.caught_by for stage in stages() for fault in stage.faults) >= 2


def test_faults_name_invariants_that_exist() -> None:
    """A renamed invariant must not leave its fault behind."""
    known = catalogue()
    assert [n for n, _ in CAUGHT if n not in known] == []


def test_what_the_reference_cannot_show_is_in_the_catalogue() -> None:
    """The list of exceptions stays true."""
    assert [n for n in WITHOUT_REFERENCE if n not in catalogue()] == []
