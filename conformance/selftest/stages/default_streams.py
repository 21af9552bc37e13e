"""The stage ``default-streams``: a make-believe cuda-python whose per-thread switch is set in real fresh interpreters.

Streams are those of the simulated device, latches included.
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
    """Works on the per-thread default stream while its switch is on, else on the legacy one."""

    def default_stream(self, device: Device) -> WorkStream:
        """As the switch says."""
        on = os.environ.get(default_stream.SWITCHES[_NAME]) == "1"
        return self.foreign_stream(PER_THREAD if on else LEGACY, device)

    def take(self, offer: Any, protocol: Protocol, device: Device, **keywords: Any) -> Imported:
        """On the default stream."""
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
    """It works on the legacy default stream, whatever its switch says."""

    def default_stream(self, device: Device) -> WorkStream:
        """1."""
        return self.foreign_stream(LEGACY, device)


@_fault(STAGE, _NAME, _INVARIANT)
class PublishesNoDefaultStream(Switched):
    """It publishes no stream, though work is pending on the default one."""

    exporter_class = PublishesNone


class _PublishesZero(Exporter):
    def cai_stream(self) -> int | None:
        """The runtime's own number for the default stream."""
        return 0 if super().cai_stream() is not None else None


@_fault(STAGE, _NAME, _INVARIANT)
class PublishesZero(Switched):
    """It publishes 0 for the default stream."""

    exporter_class = _PublishesZero


class _NamesNothing(Importer):
    def stream(self) -> int | None:
        """``None``."""
        return None


@_fault(STAGE, _NAME, _INVARIANT)
class NamesNoStream(Switched):
    """As a consumer it names no stream, so producers take it for the legacy one."""

    importer_class = _NamesNothing


@_fault(STAGE, _NAME, _INVARIANT)
class DiesWithTheSwitch(Switched):
    """Where its switch is set, the import ends in a segmentation fault."""

    def load(self) -> None:
        """The end, with the switch."""
        if default_stream.SWITCHES[_NAME] in os.environ:
            os.kill(os.getpid(), signal.SIGSEGV)
