"""Faults of combinations: wrong only where two levels meet, or in a respect that no single-level invariant checks."""

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
"""The number of exchanges that work before the fault begins."""


# Faults of exporters


@fault("combination.later")
class PackedAfterThousands(Exporter):
    """Exports every strided array with packed strides after 4,000 exports."""

    exported: ClassVar[int] = 0

    def export(self, fields: Fields, owner: Any) -> Any:
        cls = type(self)
        cls.exported += 1
        is_wrong = cls.exported > _AFTER and fields.shape is not None
        return super().export(replace(fields, strides=c_strides(fields.shape or ())) if is_wrong else fields, owner)


@fault(_WHERE)
class TransposedWideAsRowMajor(Exporter):
    """Exports a strided array of int64 with packed strides."""

    def dl_strides(self, version: tuple[int, int] | None) -> tuple[int, ...] | None:
        wrong = self.dtype.name == "int64" and _is_transposed(self)
        return c_strides(self.view.shape) if wrong else super().dl_strides(version)


@fault(_WHERE)
class ExtentsInOneByte(Exporter):
    """Stores the extents of 16-bit arrays in 8 bits, so that 300 becomes 44."""

    def fields(self, version: tuple[int, int] | None, *, copied: bool) -> Fields:
        found = super().fields(version, copied=copied)
        if self.dtype.itemsize != 2:
            return found
        return replace(found, shape=tuple(extent % 256 for extent in self.view.shape))


@fault(_WHERE)
class StridesOfTheFirstView(Exporter):
    """Caches the strides of a view by address and shape, and reuses them for the next view with the same key."""

    _known: ClassVar[dict[tuple[int, tuple[int, ...]], tuple[weakref.ref[Any], Strided]]] = {}

    def dl_strides(self, version: tuple[int, int] | None) -> tuple[int, ...] | None:
        key = (self.element0(), self.view.shape)
        block, view = self._known.get(key, (None, None))
        if block is None or view is None or block() is not self.block:
            self._known[key] = weakref.ref(self.block), self.view
            view = self.view
        return view.strides if super().dl_strides(version) is not None else None


@fault(_WHERE)
class PartOfPageCopied(Exporter):
    """Exports an array of more than 4 KiB as a copy without its last element."""

    def placed(self, stream: int | None, dl_device: tuple[int, int] | None, copy: bool | None) -> Exporter:
        if self.view.size * self.dtype.itemsize <= 4096 or not self.view.contiguous or self.goes_to_host(dl_device):
            return super().placed(stream, dl_device, copy)
        made = self.copied()
        made.memory.write(made.element0() + (self.view.size - 1) * self.dtype.itemsize, bytes(self.dtype.itemsize))
        return made


@fault(_WHERE)
class BitOfHighRankLost(Exporter):
    """Sets the read-only flag only on arrays of up to two dimensions."""

    def flags(self, *, copied: bool) -> int:
        found = super().flags(copied=copied)
        return found & ~int(DLFlags.READ_ONLY) if self.view.ndim > 2 else found

    def cai_readonly(self) -> bool:
        return super().cai_readonly() and self.view.ndim <= 2


@fault(_WHERE)
class SecondExportShifted(Exporter):
    """Starts the second export of a bool array at its second element."""

    def dl_data(self) -> int:
        return super().dl_data() + (self.dtype.code is DLCode.BOOL and len(self.log.exports) > 0)


@fault(_WHERE)
class LegacyForMinorVersions(Exporter):
    """Returns a legacy capsule for every ``max_version`` except 1.0 and 1.3."""

    def negotiate(self, max_version: tuple[int, int] | None) -> tuple[int, int] | None:
        return super().negotiate(max_version) if max_version in ((1, 0), (1, 3)) else None


@fault(_WHERE)
class WideSlicesAtTheBase(Exporter):
    """Publishes the address of the whole block for a view of 8-byte elements."""

    def cai_address(self) -> int:
        return self.block.address if self.dtype.itemsize == 8 and self.view.size else super().cai_address()


@fault(_WHERE)
class FlagOfSharedStrides(Exporter):
    """Sets the flag ``IS_COPIED`` on shared memory if the array is strided."""

    def flags(self, *, copied: bool) -> int:
        return super().flags(copied=copied) | (0 if self.view.contiguous else int(DLFlags.IS_COPIED))


# Faults of importers


@fault("combination.later")
class WritableAfterThousands(Importer):
    """Ignores the read-only flag after 4,000 imports."""

    imported: ClassVar[int] = 0

    def dl_readonly(self, tensor: Tensor) -> bool:
        cls = type(self)
        cls.imported += 1
        return cls.imported <= _AFTER and super().dl_readonly(tensor)


@fault(_WHERE)
class SmallStridedReleased(Importer):
    """Releases a strided import of 1-byte elements at once."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        taken = super().read_tensor(tensor)
        if taken.dtype.itemsize == 1 and not taken.contiguous:
            self.call_deleter(tensor)
            taken.tensor = None
        return taken


@fault(_WHERE)
class ReadOnlyNeverReleased(Importer):
    """Never calls the deleter of a read-only import, except for float32."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        taken = super().read_tensor(tensor)
        if taken.readonly and taken.dtype.name != "float32":
            taken.tensor = None
        return taken


@fault(_WHERE)
class OffsetOfWideIgnored(Importer):
    """Rounds the address of a misaligned array of 8-byte elements down to 256 bytes."""

    def dl_address(self, tensor: Tensor) -> int:
        found = super().dl_address(tensor)
        return found - found % 256 if tensor.bits == 64 else found


@fault(_WHERE)
class StridedComplexAsIntegers(Importer):
    """Reads complex64 as uint64 from a dictionary with strides and at least three dimensions."""

    def cai_dtype(self, interface: ArrayInterface) -> DType:
        from conformance.protocols.dtypes import dtype

        found = super().cai_dtype(interface)
        wrong = found.name == "complex64" and len(interface.shape) > 2 and interface.strides is not None
        return dtype("uint64") if wrong else found


@fault(_WHERE)
class LargeImportsCopied(Importer):
    """Copies an import of more than 64 Ki elements without a request."""

    def read_tensor(self, tensor: Tensor) -> Imported:
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
    """Drops ``copy=True`` when it also requests a legacy capsule."""

    def call_dlpack(self, source: Any, requested: dict[str, Any]) -> Any:
        if requested.get("copy") and requested.get("max_version", ()) is None:
            requested = {"max_version": None}
        return super().call_dlpack(source, requested)


@fault(_WHERE)
class TypesAfterARefusal(Importer):
    """Reads int8 as uint8 after it has refused an import."""

    has_refused = False

    def check_device(self, device: Any) -> None:
        try:
            super().check_device(device)
        except BufferError:
            type(self).has_refused = True
            raise

    def dl_dtype(self, tensor: Tensor) -> DType:
        from conformance.protocols.dtypes import dtype

        found = super().dl_dtype(tensor)
        return dtype("uint8") if self.has_refused and found.name == "int8" else found


@fault(_WHERE)
class LikeTheFirstImport(Importer):
    """Gives an import the strides and the element type of a live import with the same address and shape."""

    _living: ClassVar[weakref.WeakValueDictionary[tuple[int, tuple[int, ...]], Imported]] = (
        weakref.WeakValueDictionary()
    )

    def read_tensor(self, tensor: Tensor) -> Imported:
        return self._alike(super().read_tensor(tensor))

    def take_cai(self, source: Any) -> Imported:
        return self._alike(super().take_cai(source))

    def _alike(self, taken: Imported) -> Imported:
        first = self._living.setdefault((taken.address, taken.shape), taken)
        taken.strides, taken.dtype = first.strides, first.dtype
        return taken


@fault(_WHERE)
class PartsCanBeWritten(Importer):
    """Makes a view of a read-only import writable."""

    def part(self, array: Imported, step: Step) -> Imported:
        found = super().part(array, step)
        found.readonly = False
        return found
