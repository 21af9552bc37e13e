"""Faults of memory: what an array, or its memory, was used for before decides what becomes of it now."""

from __future__ import annotations

from typing import Any, ClassVar

from conformance.reference.exporter import Exporter
from conformance.reference.managed import Fields
from conformance.reference.memory import BorrowedBlock
from conformance.reference.streams import LEGACY, WorkStream

from . import fault


def _is_borrowed(exporter: Any) -> bool:
    return isinstance(exporter, Exporter) and isinstance(exporter.block, BorrowedBlock)


@fault("capture.past", "capture.past-export")
class WaitsForWhatItBorrowed(Exporter):
    """The export of what was imported waits for the device, whatever stream it is for."""

    def order(self, stream: int | None) -> None:
        """The device first."""
        if _is_borrowed(self):
            self.memory.streams().synchronize_device()
        super().order(stream)


@fault("capture.past", "capture.past-export")
class WaitsForItsPast(Exporter):
    """An export waits for each stream that the array was ever written on, though that has long been done."""

    def fill(self, value: int, stream: WorkStream) -> None:
        """And remembered for good."""
        super().fill(value, stream)
        self._wrote = [*getattr(self, "_wrote", []), stream]

    def order(self, stream: int | None) -> None:
        """By events."""
        waiter = LEGACY if stream in (None, -1) else stream
        for wrote in getattr(self, "_wrote", []):
            if waiter is not None and waiter != wrote.handle:
                self.memory.streams().wait(waiter, wrote.handle)
        super().order(stream)


@fault("ordering.past")
class WorkOnImportsForgotten(Exporter):
    """Work that was queued on an import is not pending for a consumer to which it is exported again."""

    def comes_after(self, handle: int) -> None:
        """Forgotten."""


@fault("ordering.past")
class FirstWriterForGood(Exporter):
    """An array belongs to the stream that has written it first, whoever writes it later."""

    def fill(self, value: int, stream: WorkStream) -> None:
        """On any stream."""
        super().fill(value, stream)
        self._first = getattr(self, "_first", stream)
        self.writer = self._first


@fault("negotiation.past-stream", bugs="stream-10")
class AnyStreamForWhatItBorrowed(Exporter):
    """The export of what was imported takes every stream, as nothing can be pending there."""

    def check_stream(self, stream: int | None) -> None:
        """Of own memory alone."""
        if not _is_borrowed(self):
            super().check_stream(stream)

    def order(self, stream: int | None) -> None:
        """Nothing is pending."""
        if not _is_borrowed(self):
            super().order(stream)


@fault("negotiation.past-stream")
class NoStreamForWhatItBorrowed(Exporter):
    """The export of what was imported takes no stream that has no handle."""

    def check_stream(self, stream: int | None) -> None:
        """Refused for -1 and the default streams."""
        if _is_borrowed(self) and stream in (-1, 1, 2):
            raise BufferError(f"an import is not exported for stream {stream}")
        super().check_stream(stream)


@fault("lifetime.past", bugs="lifetime-15")
class ReusedMemoryUnheld(Exporter):
    """An export is known by the address of its memory: memory that has been exported before is taken to be held already."""

    exported: ClassVar[set[int]] = set()

    def export(self, fields: Fields, owner: Any) -> Any:
        """Held the first time."""
        address = owner.block.address if isinstance(owner, Exporter) and owner.view.size else 0
        is_known = address != 0 and address in self.exported
        self.exported.add(address)
        made = super().export(fields, owner)
        if is_known:
            self.log.exports[-1].owner = None
        return made
