"""Faults of the family ``current``: a stream that is current in the wrong thread, or on the wrong GPU."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

from conformance.reference.exporter import Exporter
from conformance.reference.importer import Importer
from conformance.reference.streams import LEGACY, Current, WorkStream

from . import fault


class _OfTheProcess(Current):
    """One number for all threads."""

    def __init__(self) -> None:
        self._handle = LEGACY

    @property
    def handle(self) -> int:
        """The stream that any thread has chosen."""
        return self._handle

    @handle.setter
    def handle(self, stream: int) -> None:
        self._handle = stream


class _Inherited(Current):
    """A thread that has chosen nothing has what another thread has chosen last."""

    def __init__(self) -> None:
        self._own = threading.local()
        self._last = LEGACY

    @property
    def handle(self) -> int:
        """Its own, else the last."""
        own: int | None = getattr(self._own, "handle", None)
        return self._last if own is None else own

    @handle.setter
    def handle(self, stream: int) -> None:
        self._own.handle = self._last = stream


class _ForgetsChoices(Current):
    """Behind a block the default stream is current."""

    @contextmanager
    def using(self, handle: int) -> Iterator[None]:
        """Not what was chosen before."""
        self.handle = handle
        try:
            yield
        finally:
            self.handle = LEGACY


@fault("current.per-thread", "current.chosen", bugs="current-01")
class OneStreamForAllThreads(Importer):
    """The stream that one thread makes current is current in all threads."""

    current_class = _OfTheProcess


@fault("current.per-thread", "current.chosen", bugs="current-01")
class ThreadsInheritTheStream(Importer):
    """A thread that has made no stream current works on the one that another thread has chosen last."""

    current_class = _Inherited


@fault("current.chosen")
class BlocksEndChoices(Importer):
    """A block leaves the default stream current, though another one had been chosen."""

    current_class = _ForgetsChoices


class _First(WorkStream):
    """The GPU of the first event is that of all."""

    first: ClassVar[dict[int, int]] = {}

    def recorded_on(self, current_gpu: int) -> int:
        """As at the first time."""
        return self.first.setdefault(self.handle, super().recorded_on(current_gpu))


class _FirstGpu(WorkStream):
    """Events are of GPU 0, and no other GPU takes one."""

    def recorded_on(self, current_gpu: int) -> int:
        """An exception where another one is current."""
        if super().recorded_on(current_gpu):
            raise RuntimeError("an event of one context is recorded on a stream of another")
        return 0


@fault("current.default-of-each-gpu", bugs="current-02")
class DefaultsRememberTheirGpu(Exporter):
    """The object for the default stream stands for that of the GPU which was current at its first use."""

    stream_class = _First


@fault("current.default-of-each-gpu", bugs="current-02")
class DefaultsOfTheFirstGpu(Exporter):
    """The object for the default stream raises while another GPU than the first is current."""

    stream_class = _FirstGpu
