"""Stage ``default-streams``: a simulated cuda-python with a switch for per-thread default streams, in real new interpreters.

Streams and latches belong to the simulated device.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from conformance.adapters.base import Device, Protocol
from conformance.checks.catalogue import Case
from conformance.checks.libraries import Environment
from conformance.faults.stream import PublishesNone
from conformance.programs import default_stream
from conformance.reference.exporter import Exporter
from conformance.reference.importer import Imported, Importer
from conformance.reference.streams import LEGACY, PER_THREAD, WorkStream
from conformance.selftest.make_believe import driver
from conformance.selftest.make_believe.environments import planned, shared, with_gpus
from conformance.selftest.make_believe.installing import MadeUpLibrary, Site, come_first
from conformance.selftest.model import Stage

_INVARIANT = "crossing.default-stream"
_NAME = "cuda_python"
_SITE = Site(_NAME, first=(driver.believe, come_first))


def _cases(here: Environment) -> Iterator[Case]:
    return shared(planned(with_gpus(here, _NAME), _INVARIANT))


class Switched(MadeUpLibrary):
    """A library that uses the per-thread default stream if its switch is on, and the legacy one otherwise."""

    def default_stream(self, device: Device) -> WorkStream:
        on = os.environ.get(default_stream.SWITCHES[_NAME]) == "1"
        return self.foreign_stream(PER_THREAD if on else LEGACY, device)

    def take(self, offer: Any, protocol: Protocol, device: Device, **keywords: Any) -> Imported:
        with self.using(self.default_stream(device)):
            return super().take(offer, protocol, device, **keywords)


@contextmanager
def _around() -> Iterator[None]:
    with _SITE.installed():
        _SITE.install(_NAME, Switched)
        yield


STAGE = Stage(
    "default-streams",
    "a library with a switch for per-thread default streams, in a fresh interpreter",
    dict,
    _cases,
    _around,
)
_fault = _SITE.fault


@_fault(STAGE, _NAME, _INVARIANT, bugs="stream-24")
class IgnoresTheSwitch(Switched):
    """Uses the legacy default stream, whatever the switch says."""

    def default_stream(self, device: Device) -> WorkStream:
        return self.foreign_stream(LEGACY, device)


@_fault(STAGE, _NAME, _INVARIANT)
class PublishesNoDefaultStream(Switched):
    """Publishes no stream although work is pending on the default stream."""

    exporter_class = PublishesNone


class _PublishesZero(Exporter):
    def cai_stream(self) -> int | None:
        """Return the runtime's own number of the default stream."""
        return 0 if super().cai_stream() is not None else None


@_fault(STAGE, _NAME, _INVARIANT)
class PublishesZero(Switched):
    """Publishes 0 for the default stream."""

    exporter_class = _PublishesZero


class _NamesNothing(Importer):
    def stream(self) -> int | None:
        return None


@_fault(STAGE, _NAME, _INVARIANT)
class NamesNoStream(Switched):
    """Passes no stream as a consumer, so that producers assume the legacy default stream."""

    importer_class = _NamesNothing


@_fault(STAGE, _NAME, _INVARIANT)
class DiesWithTheSwitch(Switched):
    """Ends the process on import if the switch is set."""

    def load(self) -> None:
        if default_stream.SWITCHES[_NAME] in os.environ:
            os.kill(os.getpid(), signal.SIGSEGV)
