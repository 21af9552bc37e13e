"""Faults of combinations: wrong for two levels together, or in one respect that no older invariant tries."""

from __future__ import annotations

import weakref
from dataclasses import replace
from typing import Any, ClassVar

from conformance.protocols.cai import ArrayInterface
from conformance.protocols.dlpack import DLFlags, Tensor
from conformance.protocols.dtypes import DLCode, DType
from conformance.protocols.strided import Step, Strided, c_strides
from conformance.reference.exporter import Exporter
from conformance.reference.importer import Imported, Importer
from conformance.reference.managed import Fields

from . import fault

_WHERE = "combination.exchange"


def _is_transposed(array: Exporter) -> bool:
    return not array.view.contiguous and min(array.view.strides, default=0) > 0


_AFTER = 4_000
"""Exchanges after which a library is wrong that was right before."""


# -- exporters


@fault("combination.later")
class PackedAfterThousands(Exporter):
    """After 4,000 exports every strided array is exported with the strides of a packed one."""

    exported: ClassVar[int] = 0

    def export(self, fields: Fields, owner: Any) -> Any:
        """As long as the cache of strides has room."""
        cls = type(self)
        cls.exported += 1
        is_wrong = cls.exported > _AFTER and fields.shape is not None
        return super().export(replace(fields, strides=c_strides(fields.shape or ())) if is_wrong else fields, owner)


@fault(_WHERE)
class TransposedWideAsRowMajor(Exporter):
    """A strided array of 64-bit integers is exported with the strides of a packed one."""

    def dl_strides(self, version: tuple[int, int] | None) -> tuple[int, ...] | None:
        """Row-major, for one width and one class of layouts."""
        wrong = self.dtype.name == "int64" and _is_transposed(self)
        return c_strides(self.view.shape) if wrong else super().dl_strides(version)


@fault(_WHERE)
class ExtentsInOneByte(Exporter):
    """The extents of 16-bit arrays are kept in 8 bits, so that 300 becomes 44."""

    def fields(self, version: tuple[int, int] | None, *, copied: bool) -> Fields:
        """Modulo 256."""
        found = super().fields(version, copied=copied)
        if self.dtype.itemsize != 2:
            return found
        return replace(found, shape=tuple(extent % 256 for extent in self.view.shape))


@fault(_WHERE)
class StridesOfTheFirstView(Exporter):
    """The strides of a view are kept by address and shape, and used for the next view that has both."""

    _known: ClassVar[dict[tuple[int, tuple[int, ...]], tuple[weakref.ref[Any], Strided]]] = {}

    def dl_strides(self, version: tuple[int, int] | None) -> tuple[int, ...] | None:
        """Of the first view, while its block lives."""
        key = (self.element0(), self.view.shape)
        block, view = self._known.get(key, (None, None))
        if block is None or view is None or block() is not self.block:
            self._known[key] = weakref.ref(self.block), self.view
            view = self.view
        return view.strides if super().dl_strides(version) is not None else None


@fault(_WHERE)
class PartOfPageCopied(Exporter):
    """An array of more than 4 KiB is exported as a copy whose last element is missing."""

    def placed(self, stream: int | None, dl_device: tuple[int, int] | None, copy: bool | None) -> Exporter:
        """Copied, as if that were asked for."""
        if self.view.size * self.dtype.itemsize <= 4096 or not self.view.contiguous or self.goes_to_host(dl_device):
            return super().placed(stream, dl_device, copy)
        made = self.copied()
        made.memory.write(made.element0() + (self.view.size - 1) * self.dtype.itemsize, bytes(self.dtype.itemsize))
        return made


@fault(_WHERE)
class BitOfHighRankLost(Exporter):
    """The read-only bit is set for arrays of up to two dimensions only."""

    def flags(self, *, copied: bool) -> int:
        """Without it."""
        found = super().flags(copied=copied)
        return found & ~int(DLFlags.READ_ONLY) if self.view.ndim > 2 else found

    def cai_readonly(self) -> bool:
        """Without it."""
        return super().cai_readonly() and self.view.ndim <= 2


@fault(_WHERE)
class SecondExportShifted(Exporter):
    """The second export of a bool array begins at its second element."""

    def dl_data(self) -> int:
        """One further on."""
        return super().dl_data() + (self.dtype.code is DLCode.BOOL and len(self.log.exports) > 0)


@fault(_WHERE)
class LegacyForMinorVersions(Exporter):
    """Only the versions 1.0 and 1.3 are known: a request for another minor version gets a legacy capsule."""

    def negotiate(self, max_version: tuple[int, int] | None) -> tuple[int, int] | None:
        """Anything else is older than version 1."""
        return super().negotiate(max_version) if max_version in ((1, 0), (1, 3)) else None


@fault(_WHERE)
class WideSlicesAtTheBase(Exporter):
    """A dictionary has the address of the whole block for views of 8-byte elements."""

    def cai_address(self) -> int:
        """Without the offset."""
        return self.block.address if self.dtype.itemsize == 8 and self.view.size else super().cai_address()


@fault(_WHERE)
class FlagOfSharedStrides(Exporter):
    """IS_COPIED is set on shared memory if the array is strided."""

    def flags(self, *, copied: bool) -> int:
        """As if it had been packed on the way."""
        return super().flags(copied=copied) | (0 if self.view.contiguous else int(DLFlags.IS_COPIED))


# -- importers


@fault("combination.later")
class WritableAfterThousands(Importer):
    """After 4,000 imports the read-only bit is not read any more."""

    imported: ClassVar[int] = 0

    def dl_readonly(self, tensor: Tensor) -> bool:
        """As long as the table of flags has room."""
        cls = type(self)
        cls.imported += 1
        return cls.imported <= _AFTER and super().dl_readonly(tensor)


@fault(_WHERE)
class SmallStridedReleased(Importer):
    """A strided import of single bytes is released at once."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        """And used on."""
        taken = super().read_tensor(tensor)
        if taken.dtype.itemsize == 1 and not taken.contiguous:
            self.call_deleter(tensor)
            taken.tensor = None
        return taken


@fault(_WHERE)
class ReadOnlyNeverReleased(Importer):
    """The deleter of a read-only import is not called, save for float32."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        """The import calls it no more."""
        taken = super().read_tensor(tensor)
        if taken.readonly and taken.dtype.name != "float32":
            taken.tensor = None
        return taken


@fault(_WHERE)
class OffsetOfWideIgnored(Importer):
    """The elements of a misaligned array of 8 bytes are read from the last multiple of 256 bytes on."""

    def dl_address(self, tensor: Tensor) -> int:
        """The address, as if it were aligned."""
        found = super().dl_address(tensor)
        return found - found % 256 if tensor.bits == 64 else found


@fault(_WHERE)
class StridedComplexAsIntegers(Importer):
    """Complex numbers of a dictionary with strides are taken for integers of the same width if there are three dimensions or more."""

    def cai_dtype(self, interface: ArrayInterface) -> DType:
        """Another type, for one rank and one form."""
        from conformance.protocols.dtypes import dtype

        found = super().cai_dtype(interface)
        wrong = found.name == "complex64" and len(interface.shape) > 2 and interface.strides is not None
        return dtype("uint64") if wrong else found


@fault(_WHERE)
class LargeImportsCopied(Importer):
    """An import of more than 64 Ki elements is a copy without a request for one."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        """Copied where it is large."""
        taken = super().read_tensor(tensor)
        if taken.view.size <= 1 << 16 or not taken.contiguous:
            return taken
        nbytes = taken.view.size * taken.dtype.itemsize
        block = self.memory.allocate(nbytes)
        self.memory.write(block.address, self.memory.read(taken.address, nbytes))
        taken.address, taken.holder = block.address, block
        return taken


@fault(_WHERE)
class CopyForgetsItsVersion(Importer):
    """An import with ``copy=True`` asks for no copy where it asks for a legacy capsule."""

    def call_dlpack(self, source: Any, requested: dict[str, Any]) -> Any:
        """Two keywords at once are too much."""
        if requested.get("copy") and requested.get("max_version", ()) is None:
            requested = {"max_version": None}
        return super().call_dlpack(source, requested)


@fault(_WHERE)
class TypesAfterARefusal(Importer):
    """After it has refused an import, an importer takes signed bytes for unsigned ones."""

    has_refused = False

    def check_device(self, device: Any) -> None:
        """Remember."""
        try:
            super().check_device(device)
        except BufferError:
            type(self).has_refused = True
            raise

    def dl_dtype(self, tensor: Tensor) -> DType:
        """By the flag, which is never reset."""
        from conformance.protocols.dtypes import dtype

        found = super().dl_dtype(tensor)
        return dtype("uint8") if self.has_refused and found.name == "int8" else found


@fault(_WHERE)
class LikeTheFirstImport(Importer):
    """An import is like the one that lives already with the same address and shape: strides and element type are not looked at."""

    _living: ClassVar[weakref.WeakValueDictionary[tuple[int, tuple[int, ...]], Imported]] = (
        weakref.WeakValueDictionary()
    )

    def read_tensor(self, tensor: Tensor) -> Imported:
        """With the strides of the first one."""
        return self._alike(super().read_tensor(tensor))

    def take_cai(self, source: Any) -> Imported:
        """With the strides of the first one."""
        return self._alike(super().take_cai(source))

    def _alike(self, taken: Imported) -> Imported:
        first = self._living.setdefault((taken.address, taken.shape), taken)
        taken.strides, taken.dtype = first.strides, first.dtype
        return taken


@fault(_WHERE)
class PartsCanBeWritten(Importer):
    """A view of a read-only import is writable."""

    def part(self, array: Imported, step: Step) -> Imported:
        """Without the bit."""
        found = super().part(array, step)
        found.readonly = False
        return found
