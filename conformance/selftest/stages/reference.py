"""Stage ``reference``: the reference exporter and importer with each other, on host memory and on the simulated or a real device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from unittest import mock

from conformance import faults
from conformance.adapters.reference import ReferenceAdapter
from conformance.checks import leaks, offers
from conformance.checks.catalogue import Case, catalogue
from conformance.checks.libraries import REFERENCE, Environment
from conformance.selftest.accusations import Accusation, Run, of_reference
from conformance.selftest.model import Fault, Partners, Spoil, Stage

_PATIENCE = 0.02
"""Seconds to wait for a release. The reference releases at once, so a longer wait cannot help."""
_ELSEWHERE = ("ordering.reuse",)
"""Invariants that the flawless reference does not satisfy, because no contract demands it. Other stages test them."""


def _partners() -> Partners:
    return {REFERENCE: ReferenceAdapter()}


def _cases(environment: Environment) -> Iterator[Case]:
    for name, invariant in catalogue().items():
        if invariant.canary is None and name not in _ELSEWHERE:
            yield from invariant.cases(environment)


@contextmanager
def _impatient() -> Iterator[None]:
    """Shorten the rounds of leak checks: the reference has no cache, so a leak shows after few exchanges."""
    with (
        mock.patch.object(offers, "PATIENCE", _PATIENCE),
        mock.patch.multiple(leaks, LONG_ROUND=leaks.THOROUGH.round, LONG_ROUNDS=2),
    ):
        yield


def _spoiled(fault: faults.Fault) -> Spoil:
    def spoil(found: Partners) -> None:
        adapter = found[REFERENCE]
        assert isinstance(adapter, ReferenceAdapter)
        adapter.exporter_class = fault.exporter
        adapter.importer_class = fault.importer

    return spoil


def _accuses(fault: Fault, failing: Iterable[Case], run: Run) -> Iterator[Accusation]:
    known = faults.all_faults()[fault.name.removeprefix(f"{STAGE.name}.")]
    yield from of_reference(known, failing, run)


STAGE = Stage("reference", "the reference with itself", _partners, _cases, _impatient, accuses=_accuses)
for _fault in faults.all_faults().values():
    STAGE.add(_fault.name, _fault.statement, _fault.caught_by, _spoiled(_fault), _fault.bugs)
