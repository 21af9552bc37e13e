"""Faults of history: an earlier use of an array or of its memory changes a later exchange."""

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
    """Synchronizes the whole device before it exports an imported array again."""

    def order(self, stream: int | None) -> None:
        if _is_borrowed(self):
            self.memory.streams().synchronize_device()
        super().order(stream)


@fault("capture.past", "capture.past-export")
class WaitsForItsPast(Exporter):
    """Makes each export wait for every stream that ever wrote the array, although that work is long done."""

    def fill(self, value: int, stream: WorkStream) -> None:
        super().fill(value, stream)
        self._wrote = [*getattr(self, "_wrote", []), stream]

    def order(self, stream: int | None) -> None:
        waiter = LEGACY if stream in (None, -1) else stream
        for wrote in getattr(self, "_wrote", []):
            if waiter is not None and waiter != wrote.handle:
                self.memory.streams().wait(waiter, wrote.handle)
        super().order(stream)


@fault("ordering.past")
class WorkOnImportsForgotten(Exporter):
    """Forgets work that was queued on an import when it exports that import again."""

    def comes_after(self, handle: int) -> None:
        """Skip the record."""


@fault("ordering.past")
class FirstWriterForGood(Exporter):
    """Orders an export after the first stream that wrote the array, and not after the last one."""

    def fill(self, value: int, stream: WorkStream) -> None:
        super().fill(value, stream)
        self._first = getattr(self, "_first", stream)
        self.writer = self._first


@fault("negotiation.past-stream", bugs="stream-10")
class AnyStreamForWhatItBorrowed(Exporter):
    """Accepts any stream, and adds no wait, when it exports an imported array again."""

    def check_stream(self, stream: int | None) -> None:
        if not _is_borrowed(self):
            super().check_stream(stream)

    def order(self, stream: int | None) -> None:
        if not _is_borrowed(self):
            super().order(stream)


@fault("negotiation.past-stream")
class NoStreamForWhatItBorrowed(Exporter):
    """Refuses streams -1, 1 and 2 when it exports an imported array again."""

    def check_stream(self, stream: int | None) -> None:
        if _is_borrowed(self) and stream in (-1, 1, 2):
            raise BufferError(f"an import is not exported for stream {stream}")
        super().check_stream(stream)


@fault("lifetime.past", bugs="lifetime-15")
class ReusedMemoryUnheld(Exporter):
    """Identifies exports by address, and holds no reference for memory that was exported before."""

    exported: ClassVar[set[int]] = set()

    def export(self, fields: Fields, owner: Any) -> Any:
        address = owner.block.address if isinstance(owner, Exporter) and owner.view.size else 0
        is_known = address != 0 and address in self.exported
        self.exported.add(address)
        made = super().export(fields, owner)
        if is_known:
            self.log.exports[-1].owner = None
        return made
