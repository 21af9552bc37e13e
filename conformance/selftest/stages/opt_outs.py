"""Stage ``opt-outs``: a simulated CuPy with switches for the array interface, in real new interpreters.

Streams and latches belong to the simulated device.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from conformance.checks.catalogue import Case
from conformance.checks.libraries import REFERENCE, Environment
from conformance.faults.ordering import IgnoresThePublishedStream
from conformance.faults.stream import PublishesNone
from conformance.programs.opt_out import SWITCHES
from conformance.reference.exporter import Exporter
from conformance.reference.importer import Importer
from conformance.reference.streams import LEGACY
from conformance.selftest.make_believe import driver
from conformance.selftest.make_believe.environments import planned, shared, with_gpus
from conformance.selftest.make_believe.installing import MadeUpLibrary, Site, come_first
from conformance.selftest.model import Stage

_INVARIANT = "crossing.opt-out"
_NAME = "cupy"
_SITE = Site(_NAME, first=(driver.believe, come_first))


def _cases(here: Environment) -> Iterator[Case]:
    return shared(planned(with_gpus(here, REFERENCE, _NAME), _INVARIANT))


def _is_set(switch: str) -> bool:
    variable, value = SWITCHES[switch]
    return os.environ.get(variable) == value


class _Waits(Importer):
    """Waits for the published stream unless the switch disables that."""

    def follow(self, published: int | None) -> None:
        if not _is_set("wait"):
            super().follow(published)


class _Publishes(Exporter):
    """Publishes the default stream unless the switch requests version 2."""

    def cai_stream(self) -> int | None:
        old = _is_set("version")
        self.cai_override = {"version": 2} if old else {}
        return None if old else LEGACY


class Cupy(MadeUpLibrary):
    """A library with both switches."""

    importer_class: type[Importer] = _Waits
    exporter_class: type[Exporter] = _Publishes


@contextmanager
def _around() -> Iterator[None]:
    with _SITE.installed():
        _SITE.install(_NAME, Cupy)
        yield


STAGE = Stage("opt-outs", "a library with opt-outs of the array interface, in a new interpreter", dict, _cases, _around)
_fault = _SITE.fault


@_fault(STAGE, _NAME, _INVARIANT)
class WaitsAllTheSame(Cupy):
    """Ignores the switch that disables its wait."""

    importer_class = Importer


class _AlwaysThree(Exporter):
    def cai_stream(self) -> int | None:
        return LEGACY


@_fault(STAGE, _NAME, _INVARIANT)
class AlwaysExportsVersionThree(Cupy):
    """Ignores the switch that requests version 2."""

    exporter_class = _AlwaysThree


class _TwoWithAStream(Exporter):
    def cai_stream(self) -> int | None:
        self.cai_override = {"version": 2} if _is_set("version") else {}
        return LEGACY


@_fault(STAGE, _NAME, _INVARIANT)
class ExportsVersionTwoWithAStream(Cupy):
    """Publishes version 2 with a stream, which exists only since version 3."""

    exporter_class = _TwoWithAStream


@_fault(STAGE, _NAME, _INVARIANT)
class WaitsForNobody(Cupy):
    """Never waits for a published stream, whatever the switch says."""

    importer_class = IgnoresThePublishedStream


@_fault(STAGE, _NAME, _INVARIANT)
class PublishesNoStream(Cupy):
    """Never publishes a stream, whatever the switch says."""

    exporter_class = PublishesNone


@_fault(STAGE, _NAME, _INVARIANT)
class DiesOfAnOptOut(Cupy):
    """Ends the process on import if a switch is set."""

    def load(self) -> None:
        if any(map(_is_set, SWITCHES)):
            os.kill(os.getpid(), signal.SIGSEGV)
