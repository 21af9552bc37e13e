"""Faults of the family ``current``: the current stream of the wrong thread or of the wrong GPU."""

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
    """One current stream for all threads."""

    def __init__(self) -> None:
        self._handle = LEGACY

    @property
    def handle(self) -> int:
        return self._handle

    @handle.setter
    def handle(self, stream: int) -> None:
        self._handle = stream


class _Inherited(Current):
    """A current stream that a thread without a choice of its own takes from the thread that chose last."""

    def __init__(self) -> None:
        self._own = threading.local()
        self._last = LEGACY

    @property
    def handle(self) -> int:
        own: int | None = getattr(self._own, "handle", None)
        return self._last if own is None else own

    @handle.setter
    def handle(self, stream: int) -> None:
        self._own.handle = self._last = stream


class _ForgetsChoices(Current):
    """A current stream that becomes the default stream at the end of each ``with`` block."""

    @contextmanager
    def using(self, handle: int) -> Iterator[None]:
        self.handle = handle
        try:
            yield
        finally:
            self.handle = LEGACY


@fault("current.per-thread", "current.chosen", bugs="current-01")
class OneStreamForAllThreads(Importer):
    """Makes a stream current in all threads when one thread makes it current."""

    current_class = _OfTheProcess


@fault("current.per-thread", "current.chosen", bugs="current-01")
class ThreadsInheritTheStream(Importer):
    """Gives a thread that has chosen no stream the stream that another thread chose last."""

    current_class = _Inherited


@fault("current.chosen")
class BlocksEndChoices(Importer):
    """Makes the default stream current at the end of a ``with`` block, although another stream was current before it."""

    current_class = _ForgetsChoices


class _First(WorkStream):
    """A stream with events that always belong to the GPU of the first event."""

    first: ClassVar[dict[int, int]] = {}

    def recorded_on(self, current_gpu: int) -> int:
        return self.first.setdefault(self.handle, super().recorded_on(current_gpu))


class _FirstGpu(WorkStream):
    """A stream with events that belong to GPU 0, so that recording on another GPU raises."""

    def recorded_on(self, current_gpu: int) -> int:
        if super().recorded_on(current_gpu):
            raise RuntimeError("an event of one context is recorded on a stream of another")
        return 0


@fault("current.default-of-each-gpu", bugs="current-02")
class DefaultsRememberTheirGpu(Exporter):
    """Binds the object of the default stream to the GPU that was current at its first use."""

    stream_class = _First


@fault("current.default-of-each-gpu", bugs="current-02")
class DefaultsOfTheFirstGpu(Exporter):
    """Raises when it uses the default stream while a GPU other than the first is current."""

    stream_class = _FirstGpu
