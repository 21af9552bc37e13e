"""Producers from before versioned capsules are judged by what they could know."""

from __future__ import annotations

from typing import Any

import pytest

from conformance.checks.outcomes import Outcome
from conformance.faults import Fault
from conformance.reference.exporter import Exporter

from .conftest import Runner


class Older(Exporter):
    """``__dlpack__`` as NumPy 1.26 has it: one keyword, legacy capsules, and no export of what must not be written."""

    def __dlpack__(self, *, stream: Any = None) -> Any:  # type: ignore[override]
        """Legacy only."""
        if self.readonly:
            raise BufferError("Cannot export readonly array since signalling readonly is unsupported by DLPack.")
        return super().__dlpack__(stream=stream)


OLDER = Fault("older", "an older signature", (), exporter=Older)


@pytest.mark.parametrize("name", ["capsule.name", "lifetime.capsule-until-exit", "readonly.export"])
def test_an_older_producer_refuses_what_it_does_not_know_and_breaks_no_promise(
    name: str, run_reference: Runner
) -> None:
    """A keyword that is newer than itself is refused with TypeError, what it cannot say with BufferError."""
    dlpack = [result for result in run_reference(name, OLDER) if result.case.protocol == "dlpack"]
    assert dlpack
    assert {result.outcome for result in dlpack} <= {Outcome.PASS, Outcome.REFUSED}, [
        (result.case.id, result.reason, result.seen) for result in dlpack if result.outcome is Outcome.FAIL
    ]
    assert any(result.outcome is Outcome.REFUSED for result in dlpack)


def test_legacy_capsules_are_asked_for_without_a_word(run_reference: Runner) -> None:
    """So that an older producer can make them."""
    legacy = [r for r in run_reference("capsule.name", OLDER) if "legacy" in r.case.id]
    assert {result.outcome for result in legacy} == {Outcome.PASS}
