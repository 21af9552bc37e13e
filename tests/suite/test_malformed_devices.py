"""A producer whose ``__dlpack_device__`` is malformed is told of once, by one code, whatever its consumers make of it."""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import Any

import pytest

from conformance.checks.codes import Code
from conformance.checks.handover_record import device_pair
from conformance.checks.outcomes import Outcome, Side
from conformance.faults import Fault
from conformance.protocols.clauses import Level, Role
from conformance.reference.exporter import Exporter

from .conftest import Runner


class Kind(Enum):
    """Device types as a library may have them."""

    CPU = 1
    NAMED = "cpu"


class IntKind(IntEnum):
    """The same as integers."""

    CPU = 1


@pytest.mark.parametrize("told", [(1, 0), (Kind.CPU, 0), (IntKind.CPU, 0), (True, False)])
def test_a_pair_of_integers_is_a_device(told: Any) -> None:
    """Members of enumerations included: the standard names them."""
    assert device_pair(told) == (1, 0)


@pytest.mark.parametrize("told", [1, (1,), (1, None), ("1", "0"), [1, 0], (1, 0, 0), (Kind.NAMED, 0), (1.0, 0), None])
def test_everything_else_is_none(told: Any) -> None:
    """Though many a consumer would take some of it."""
    assert device_pair(told) is None


class TellsNumber(Exporter):
    """``__dlpack_device__`` gives the type of the device alone."""

    def __dlpack_device__(self) -> Any:
        return super().__dlpack_device__()[0]


FAULT = Fault("malformed-device", "no pair", (), exporter=TellsNumber)


@pytest.mark.parametrize(
    "name", ["pointer.values", "pointer.copy-false", "negotiation.device-report", "negotiation.device-argument"]
)
def test_the_producer_is_accused_and_not_the_consumer_that_falls_over_it(name: str, run_reference: Runner) -> None:
    """Proven by what it tells."""
    dlpack = [result for result in run_reference(name, FAULT) if result.case.protocol == "dlpack"]
    assert {(r.outcome, r.code, r.clause, r.role, r.level) for r in dlpack} == {
        (Outcome.FAIL, Code.DEVICE_MALFORMED.value, "DLP-16", Role.PRODUCER, Level.MUST)
    }
    assert all(r.accused is not None and r.accused.side is Side.PRODUCER for r in dlpack)
