"""Faults of concurrency: threads share state that should be their own, or a release depends on the thread."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any, ClassVar

from conformance.protocols import cai, capsule, dlpack
from conformance.protocols.dlpack import USED_LEGACY, USED_VERSIONED, Tensor
from conformance.protocols.dtypes import DType
from conformance.protocols.strided import Strided
from conformance.reference.exporter import Exporter
from conformance.reference.importer import Imported, Importer
from conformance.reference.managed import Fields

from . import fault

_PAUSE = 0.002
"""Seconds that a thread sleeps, so that other threads run in between."""


@fault("threads.many-arrays", bugs="capsule-15")
class LastOneWins(Exporter):
    """Stores the array that is being exported in a variable that all threads share."""

    _current: ClassVar[Exporter | None] = None

    def _begin(self) -> None:
        LastOneWins._current = self
        time.sleep(_PAUSE)

    def dl_data(self) -> int:
        self._begin()
        return LastOneWins._current.element0() if LastOneWins._current else 0

    def cai_address(self) -> int:
        self._begin()
        return LastOneWins._current.element0() if LastOneWins._current else 0


@fault("threads.one-array", bugs="capsule-15")
class OneExportAtATime(Exporter):
    """Exports a wrong shape or element type when a second export of the array begins before the first ends."""

    def shape_while_exporting(self) -> Strided:
        """Return the true view, or its first row while another thread exports the same array."""
        busy = self.__dict__.setdefault("busy", [])
        busy.append(None)
        time.sleep(_PAUSE)
        disturbed = len(busy) > 1
        busy.pop()
        return Strided((1, *self.view.shape[1:]), self.view.strides, self.view.offset) if disturbed else self.view

    def fields(self, version: tuple[int, int] | None, *, copied: bool) -> Fields:
        return replace(super().fields(version, copied=copied), shape=self.shape_while_exporting().shape)

    def cai_typestr(self) -> str:
        disturbed = self.shape_while_exporting() is not self.view
        return "|u1" if disturbed else super().cai_typestr()


@fault("threads.deleters", "threads.release-elsewhere", "threads.chain", bugs="capsule-13 context-13")
class ReleasesOnlyAtHome(Importer):
    """Releases an import only in the main thread."""

    def call_deleter(self, tensor: Tensor) -> None:
        if threading.current_thread() is threading.main_thread():
            super().call_deleter(tensor)


@fault("threads.deleters", "threads.release-elsewhere", "threads.chain", bugs="capsule-22")
class ReleasesTwiceElsewhere(Importer):
    """Releases an import twice in every thread except the main thread."""

    def call_deleter(self, tensor: Tensor) -> None:
        super().call_deleter(tensor)
        if threading.current_thread() is not threading.main_thread():
            super().call_deleter(tensor)


@fault("threads.release-elsewhere", bugs="capsule-13")
class FreesTheProducersMemory(Importer):
    """Overwrites the producer's memory when an import dies outside the main thread."""

    def take_capsule(self, offered: Any) -> Imported:
        taken = super().take_capsule(offered)
        taken.holder = _Spoiler(self, taken.address)
        return taken

    def take_cai(self, source: Any) -> Imported:
        taken = super().take_cai(source)
        taken.holder = _Spoiler(self, taken.address)
        return taken


class _Spoiler:
    """Overwrites memory when it dies outside the main thread."""

    def __init__(self, importer: Importer, address: int) -> None:
        self.importer = importer
        self.address = address

    def __del__(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            self.importer.memory.write(self.address, b"\xdd" * 8)


@fault("threads.capsule-race", bugs="capsule-05")
class RenamesLate(Importer):
    """Checks a capsule's name and renames it in two steps, between which other threads can take it too."""

    def take_capsule(self, offered: Any) -> Imported:
        name = self.check_name(offered)
        time.sleep(_PAUSE)
        capsule.rename(offered, name)
        return super().take_capsule(offered)


@fault("threads.many-arrays", bugs="capsule-15")
class LastImportWins(Importer):
    """Stores the address that is being imported in a variable that all threads share."""

    _address: ClassVar[int] = 0

    def dl_address(self, tensor: Tensor) -> int:
        return self.last(super().dl_address(tensor))

    def cai_address(self, interface: cai.ArrayInterface) -> int:
        return self.last(super().cai_address(interface))

    def last(self, address: int) -> int:
        """Return the address, unless another thread has stored its own in the meantime."""
        LastImportWins._address = address
        time.sleep(_PAUSE)
        return LastImportWins._address


@fault("threads.one-array", "threads.many-arrays")
class OneImportAtATime(Importer):
    """Refuses an import that begins before another one ends."""

    _busy: ClassVar[list[None]] = []

    def take_capsule(self, offered: Any) -> Imported:
        self.alone()
        return super().take_capsule(offered)

    def take_cai(self, source: Any) -> Imported:
        self.alone()
        return super().take_cai(source)

    def alone(self) -> None:
        """Raise ``RuntimeError`` if another thread imports at the same time."""
        self._busy.append(None)
        time.sleep(_PAUSE)
        disturbed = len(self._busy) > 1
        self._busy.pop()
        if disturbed:
            raise RuntimeError("another import is under way")


@fault("threads.capsule-race", bugs="capsule-05 capsule-10")
class LosersReleaseToo(Importer):
    """Releases the struct of a capsule that another thread has consumed."""

    def take_capsule(self, offered: Any) -> Imported:
        try:
            return super().take_capsule(offered)
        except BufferError:
            name = capsule.name(offered)
            if name in (USED_LEGACY, USED_VERSIONED):
                self.call_deleter(dlpack.decode(capsule.pointer(offered), name))
            raise


# Faults that show only with arrays that differ


@fault("threads.different-arrays", bugs="capsule-15")
class ShapeOfTheLast(Exporter):
    """Shares the shape and the strides of the array that is being exported among all threads."""

    _kept: ClassVar[Strided | None] = None

    def fields(self, version: tuple[int, int] | None, *, copied: bool) -> Fields:
        made = super().fields(version, copied=copied)
        kept = self._last()
        return replace(made, shape=kept.shape, strides=kept.strides)

    def cai_typestr(self) -> str:
        return super().cai_typestr() if self._last() == self.view else "|V1"

    def _last(self) -> Strided:
        ShapeOfTheLast._kept = self.view
        time.sleep(_PAUSE)
        return ShapeOfTheLast._kept or self.view


@fault("threads.different-arrays")
class TypeOfTheLast(Importer):
    """Shares the element type of the array that is being imported among all threads."""

    _kept: ClassVar[DType | None] = None

    def dl_dtype(self, tensor: Tensor) -> DType:
        made = super().dl_dtype(tensor)
        TypeOfTheLast._kept = made
        time.sleep(_PAUSE)
        return TypeOfTheLast._kept or made


@fault("threads.different-arrays", bugs="capsule-13")
class NarrowOnlyReleasedAtHome(Importer):
    """Releases imports of 8-bit elements only in the main thread."""

    def call_deleter(self, tensor: Tensor) -> None:
        if tensor.bits != 8 or threading.current_thread() is threading.main_thread():
            super().call_deleter(tensor)
