"""Faults of concurrency: exports that share what should be their own, and releases that depend on the thread."""

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
"""Seconds in which the other threads come to run."""


@fault("threads.many-arrays", bugs="capsule-15")
class LastOneWins(Exporter):
    """What is being exported is kept where all threads see it, so the last of them exports for all."""

    _current: ClassVar[Exporter | None] = None

    def _begin(self) -> None:
        LastOneWins._current = self
        time.sleep(_PAUSE)

    def dl_data(self) -> int:
        """The address of whatever was asked for last."""
        self._begin()
        return LastOneWins._current.element0() if LastOneWins._current else 0

    def cai_address(self) -> int:
        """The address of whatever was asked for last."""
        self._begin()
        return LastOneWins._current.element0() if LastOneWins._current else 0


@fault("threads.one-array", bugs="capsule-15")
class OneExportAtATime(Exporter):
    """A second export that begins before the first has ended gives another shape."""

    def shape_while_exporting(self) -> Strided:
        """Half the rows for whoever comes while another is at it."""
        busy = self.__dict__.setdefault("busy", [])
        busy.append(None)
        time.sleep(_PAUSE)
        disturbed = len(busy) > 1
        busy.pop()
        return Strided((1, *self.view.shape[1:]), self.view.strides, self.view.offset) if disturbed else self.view

    def fields(self, version: tuple[int, int] | None, *, copied: bool) -> Fields:
        """With a shape that depends on who else is exporting."""
        return replace(super().fields(version, copied=copied), shape=self.shape_while_exporting().shape)

    def cai_typestr(self) -> str:
        """The interface is disturbed in its element type instead."""
        disturbed = self.shape_while_exporting() is not self.view
        return "|u1" if disturbed else super().cai_typestr()


@fault("threads.deleters", "threads.release-elsewhere", "threads.chain", bugs="capsule-13 context-13")
class ReleasesOnlyAtHome(Importer):
    """An import that ends in another thread than the main one is never given back."""

    def call_deleter(self, tensor: Tensor) -> None:
        """Not in a foreign thread."""
        if threading.current_thread() is threading.main_thread():
            super().call_deleter(tensor)


@fault("threads.deleters", "threads.release-elsewhere", "threads.chain", bugs="capsule-22")
class ReleasesTwiceElsewhere(Importer):
    """An import that ends in another thread than the main one is given back twice."""

    def call_deleter(self, tensor: Tensor) -> None:
        """Once more in a foreign thread."""
        super().call_deleter(tensor)
        if threading.current_thread() is not threading.main_thread():
            super().call_deleter(tensor)


@fault("threads.release-elsewhere", bugs="capsule-13")
class FreesTheProducersMemory(Importer):
    """The end of an import in another thread takes the producer's memory with it."""

    def take_capsule(self, offered: Any) -> Imported:
        """Remember what to spoil."""
        taken = super().take_capsule(offered)
        taken.holder = _Spoiler(self, taken.address)
        return taken

    def take_cai(self, source: Any) -> Imported:
        """Remember what to spoil."""
        taken = super().take_cai(source)
        taken.holder = _Spoiler(self, taken.address)
        return taken


class _Spoiler:
    """Overwrites memory when it ends in a foreign thread."""

    def __init__(self, importer: Importer, address: int) -> None:
        self.importer = importer
        self.address = address

    def __del__(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            self.importer.memory.write(self.address, b"\xdd" * 8)


@fault("threads.capsule-race", bugs="capsule-05")
class RenamesLate(Importer):
    """Between the look at a capsule's name and its renaming other threads can take it too."""

    def take_capsule(self, offered: Any) -> Imported:
        """Look, wait, and only then take, whatever it is called by then."""
        name = self.check_name(offered)
        time.sleep(_PAUSE)
        capsule.rename(offered, name)
        return super().take_capsule(offered)


@fault("threads.many-arrays", bugs="capsule-15")
class LastImportWins(Importer):
    """What is being imported is kept where all threads see it, so that they import the last of them."""

    _address: ClassVar[int] = 0

    def dl_address(self, tensor: Tensor) -> int:
        """The address of whatever came in last."""
        return self.last(super().dl_address(tensor))

    def cai_address(self, interface: cai.ArrayInterface) -> int:
        """The address of whatever came in last."""
        return self.last(super().cai_address(interface))

    def last(self, address: int) -> int:
        """Ours, unless another thread comes in the meantime."""
        LastImportWins._address = address
        time.sleep(_PAUSE)
        return LastImportWins._address


@fault("threads.one-array", "threads.many-arrays")
class OneImportAtATime(Importer):
    """An import that begins before another has ended is refused."""

    _busy: ClassVar[list[None]] = []

    def take_capsule(self, offered: Any) -> Imported:
        """Alone or not at all."""
        self.alone()
        return super().take_capsule(offered)

    def take_cai(self, source: Any) -> Imported:
        """Alone or not at all."""
        self.alone()
        return super().take_cai(source)

    def alone(self) -> None:
        """Refuse if another thread is at it too."""
        self._busy.append(None)
        time.sleep(_PAUSE)
        disturbed = len(self._busy) > 1
        self._busy.pop()
        if disturbed:
            raise RuntimeError("another import is under way")


@fault("threads.capsule-race", bugs="capsule-05 capsule-10")
class LosersReleaseToo(Importer):
    """Who finds that a capsule was used before cleans up after it, and releases what is another's."""

    def take_capsule(self, offered: Any) -> Imported:
        """Taken, or released."""
        try:
            return super().take_capsule(offered)
        except BufferError:
            name = capsule.name(offered)
            if name in (USED_LEGACY, USED_VERSIONED):
                self.call_deleter(dlpack.decode(capsule.pointer(offered), name))
            raise


# -- wrong only for arrays that differ


@fault("threads.different-arrays", bugs="capsule-15")
class ShapeOfTheLast(Exporter):
    """All threads share the shape and the strides of the array that is being exported."""

    _kept: ClassVar[Strided | None] = None

    def fields(self, version: tuple[int, int] | None, *, copied: bool) -> Fields:
        """Those of the newest export."""
        made = super().fields(version, copied=copied)
        kept = self._last()
        return replace(made, shape=kept.shape, strides=kept.strides)

    def cai_typestr(self) -> str:
        """The dictionary gets a wrong element type instead: arrays of single bytes differ from their neighbours."""
        return super().cai_typestr() if self._last() == self.view else "|V1"

    def _last(self) -> Strided:
        ShapeOfTheLast._kept = self.view
        time.sleep(_PAUSE)
        return ShapeOfTheLast._kept or self.view


@fault("threads.different-arrays")
class TypeOfTheLast(Importer):
    """All threads share the element type of the array that is being imported."""

    _kept: ClassVar[DType | None] = None

    def dl_dtype(self, tensor: Tensor) -> DType:
        """That of the newest import."""
        made = super().dl_dtype(tensor)
        TypeOfTheLast._kept = made
        time.sleep(_PAUSE)
        return TypeOfTheLast._kept or made


@fault("threads.different-arrays", bugs="capsule-13")
class NarrowOnlyReleasedAtHome(Importer):
    """Imports of 8-bit elements that end in another thread than the main one are never released."""

    def call_deleter(self, tensor: Tensor) -> None:
        """Not in a foreign thread."""
        if tensor.bits != 8 or threading.current_thread() is threading.main_thread():
            super().call_deleter(tensor)
