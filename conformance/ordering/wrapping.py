"""Observed operations on a buffer that CV-CUDA has wrapped: wrapping it, the first use, and later uses."""

from __future__ import annotations

from typing import Any

from conformance.adapters.base import Protocol, peek
from conformance.reference.streams import LEGACY

from . import wording
from .handover import NEW, OLD, SHAPE, CAIWithout, Forward, Setting, elements, filled, holds, stream_of

LAST = 0x003333
"""The value of the elements after the consumer's own write."""
NAMED = {"zero": 0, "legacy": 1, "per-thread": 2}
"""Values by which a dictionary may name a default stream. The CUDA Array Interface forbids 0."""


class Named(Forward):
    """The producer writes on a default stream, and the dictionary names it by one of the values of ``NAMED``."""

    def __init__(self, setting: Setting, name: str) -> None:
        super().__init__(setting)
        self._name = name
        role = "per-thread" if name == "per-thread" else "default"
        self._write_on = stream_of(setting.producer, role, setting.device)
        self.writer = setting.producer.handle(self._write_on)

    def offer(self) -> Any:
        """Return the array with that stream in its dictionary, or without a stream if the setting says so."""
        if self.setting.without is not None:
            return super().offer()
        return CAIWithout(self.setting.producer.exporter(self.array, Protocol.CAI), NAMED[self._name])


class Wrapped(Forward):
    """The producer writes on its stream, and the consumer wraps the array without using it."""

    def exchange(self) -> None:
        """Import the array without reading it."""
        self._take()

    def in_order(self) -> bool:
        """Return true: nothing is read."""
        return True


class BesideLegacy:
    """A latch holds the legacy default stream; the consumer works on its stream with this role."""

    def __init__(self, setting: Setting, role: str) -> None:
        self.setting = setting
        self.libraries = setting.libraries
        self._work_on = stream_of(setting.consumer, role, setting.device)
        self.writer = LEGACY
        self.reader = setting.consumer.handle(self._work_on)
        self._array = filled(setting.consumer, OLD, setting.device)

    def before(self) -> None:
        """Queue nothing: the latch alone holds the stream."""

    def exchange(self) -> None:
        """Queue the consumer's write."""
        self.setting.consumer.fill(self._array, NEW, self._work_on)

    def in_order(self) -> bool:
        """Return true: nothing is read."""
        return True


class LaterUse:
    """The consumer writes a wrapped buffer on one of its streams, then reads it on another. The buffer was used before.

    With ``bare``, the suite copies the buffer itself, without the library and without a wait.
    """

    def __init__(self, setting: Setting, *, bare: bool = False) -> None:
        self.setting = setting
        self.libraries = setting.libraries
        self._bare = bare
        self._first = Forward(setting)
        self._first.before()
        self._first.exchange()
        self._write_on = stream_of(setting.consumer, "elsewhere", setting.device)
        self._read_on = stream_of(setting.consumer, "consumer", setting.device)
        self.writer = setting.consumer.handle(self._write_on)
        self.reader = setting.consumer.handle(self._read_on)
        self._into = filled(setting.consumer, 0, setting.device)
        setting.streams.synchronize_device()

    def before(self) -> None:
        """Queue the consumer's write."""
        self.setting.consumer.fill(self._first.taken, LAST, self._write_on)

    def exchange(self) -> None:
        """Queue the consumer's read, or the copy by the suite."""
        consumer, taken = self.setting.consumer, self._first.taken
        if self._bare:
            addresses = [consumer.describe(array).address for array in (self._into, taken)]
            self.setting.streams.copy(addresses[0], addresses[1], 4 * SHAPE[1], self.reader)
        else:
            consumer.copy(self._into, taken, self._read_on)

    def in_order(self) -> bool:
        """Return whether the read got the last written values."""
        return holds(self.setting.consumer, self._into, LAST, self.setting.device)

    def told(self) -> str:
        """Describe the values that were read instead."""
        consumer = self.setting.consumer
        names = {LAST: "the value of the last write", NEW: "the value from before the last write"}
        data = peek(consumer.describe(self._into).address, len(elements(0)), self.setting.device)
        return f"{consumer.name} reads {wording.elements(data, names)}"


def published_after(setting: Setting, role: str, current: str) -> tuple[int, Any]:
    """Return the stream on which a tensor was written, and the stream that its dictionary names while ``current`` is the current stream."""
    library, device = setting.producer, setting.device
    tensor = filled(library, OLD, device)
    writer = stream_of(library, role, device)
    library.fill(tensor, NEW, writer)
    with library.using(stream_of(library, current, device)):
        told = library.offer(tensor, Protocol.CAI).__cuda_array_interface__.get("stream")  # type: ignore[union-attr]
    setting.streams.synchronize_device()
    return library.handle(writer), told


class OwnWait:
    """The consumer writes on one stream and makes a second one wait by its own call. The suite then copies the array on the second stream.

    If ``waits`` is false, the call is left out.
    """

    def __init__(self, setting: Setting, *, waits: bool = True) -> None:
        self.setting = setting
        self.libraries = setting.libraries
        self._waits = waits
        self._write_on = stream_of(setting.consumer, "elsewhere", setting.device)
        self._read_on = stream_of(setting.consumer, "consumer", setting.device)
        self.writer = setting.consumer.handle(self._write_on)
        self.reader = setting.consumer.handle(self._read_on)
        self._array = filled(setting.consumer, OLD, setting.device)
        self._into = filled(setting.consumer, 0, setting.device)
        setting.streams.synchronize_device()

    def before(self) -> None:
        """Queue the consumer's write."""
        self.setting.consumer.fill(self._array, NEW, self._write_on)

    def exchange(self) -> None:
        """Make the second stream wait, and queue a copy that waits for nothing else."""
        consumer = self.setting.consumer
        if self._waits:
            consumer.wait_stream(self._read_on, self._write_on)
        into, array = (consumer.describe(operand).address for operand in (self._into, self._array))
        self.setting.streams.copy(into, array, 4 * SHAPE[1], self.reader)

    def in_order(self) -> bool:
        """Return whether the copy got the written values."""
        return holds(self.setting.consumer, self._into, NEW, self.setting.device)
