"""Faults of identity: the wrong memory, the wrong place in it, or the wrong elements."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar
from weakref import WeakValueDictionary

from conformance.protocols import cai, capsule
from conformance.protocols.dlpack import Tensor
from conformance.protocols.dtypes import DType
from conformance.protocols.strided import c_strides, packed
from conformance.reference.exporter import NEWEST, Exporter
from conformance.reference.importer import Imported, Importer
from conformance.reference.memory import ALIGNMENT, Block, BorrowedBlock, Memory, gather

from . import fault


def move(taken: Imported) -> Imported:
    """Copy the elements of an import to a packed block that the importer owns."""
    memory = taken.importer.memory
    data = gather(memory, taken.address, taken.view, taken.dtype.itemsize)
    block = memory.allocate(len(data))
    memory.write(block.address, data)
    taken.address = block.address
    taken.strides = tuple(s * taken.dtype.itemsize for s in packed(taken.shape).strides)
    taken.holder = (taken.holder, block)
    return taken


@fault("pointer.view-export", "pointer.values", "pointer.as-made", bugs="pointer-04 pointer-14")
class OffsetDropped(Exporter):
    """Exports a view with the address of its block in place of the address of its first element."""

    def element0(self) -> int:
        return self.block.address


@fault(
    "pointer.same-address",
    "pointer.producer-write-seen",
    "pointer.consumer-write-seen",
    "pointer.kernel-write-seen",
    "pointer.imports-alias",
    "pointer.chain",
    bugs="perf-05 device-19",
)
class CopyInsteadOfShare(Importer):
    """Copies every import in place of sharing it."""

    def take_capsule(self, offered: object) -> Imported:
        return move(super().take_capsule(offered))

    def take_cai(self, source: Any) -> Imported:
        return move(super().take_cai(source))


@fault("pointer.as-made")
class EmptyStridesJudged(Importer):
    """Refuses an array without elements if its strides are not packed."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        if 0 in tensor.shape and tensor.strides not in (None, c_strides(tensor.shape)):
            raise BufferError("the strides are not those of a packed array")
        return super().read_tensor(tensor)


@fault("pointer.misaligned", "pointer.copy-false", bugs="perf-04")
class UnalignedCopied(Importer):
    """Copies an array that is not aligned to 64 bytes, whatever ``copy`` says."""

    def take_capsule(self, offered: object) -> Imported:
        taken = super().take_capsule(offered)
        return move(taken) if taken.address % 64 else taken


@fault(
    "pointer.values",
    "pointer.as-made",
    "pointer.consumer-write-seen",
    "pointer.zero-stride-write",
    bugs="strides-16 strides-45 strides-37",
)
class StridesIgnored(Importer):
    """Reads every array as if it were packed."""

    def dl_strides(self, tensor: Tensor) -> tuple[int, ...]:
        return c_strides(tensor.shape)

    def cai_strides(self, interface: cai.ArrayInterface, dtype: DType) -> tuple[int, ...]:
        return tuple(s * dtype.itemsize for s in c_strides(interface.shape))


@fault("pointer.byte-offset", "pointer.byte-offset-passed-on", bugs="pointer-18 pointer-15 strides-32")
class ByteOffsetIgnored(Importer):
    """Ignores ``byte_offset``."""

    def dl_address(self, tensor: Tensor) -> int:
        return tensor.data


@fault("pointer.byte-offset", bugs="pointer-18")
class ByteOffsetIgnoredInLegacy(Importer):
    """Ignores ``byte_offset`` in legacy capsules."""

    def dl_address(self, tensor: Tensor) -> int:
        return tensor.data if tensor.version is None else tensor.element0


@fault("pointer.byte-offset-passed-on", bugs="pointer-18")
class ByteOffsetLostOnExport(Exporter):
    """Drops ``byte_offset`` when it exports an import again."""

    def element0(self) -> int:
        borrowed = self.block.owner if isinstance(self.block, BorrowedBlock) else None
        tensor = borrowed.tensor if isinstance(borrowed, Imported) else None
        return super().element0() if tensor is None else tensor.data


@fault("pointer.imports-apart", bugs="lifetime-05")
class WrapperReused(Importer):
    """Reuses the address of a live import with the same shape for another array."""

    known: WeakValueDictionary[tuple[int, ...], Imported] = WeakValueDictionary()

    def take_capsule(self, offered: object) -> Imported:
        return self.reused(super().take_capsule(offered))

    def take_cai(self, source: Any) -> Imported:
        return self.reused(super().take_cai(source))

    def reused(self, taken: Imported) -> Imported:
        """Return the import with the address of the live import of this shape, if one exists."""
        taken.address = self.known.setdefault(taken.shape, taken).address
        return taken


@fault("pointer.imports-alias")
class SecondImportCopied(Importer):
    """Shares the first import of an array and copies each later one."""

    seen: set[int] = set()

    def take_capsule(self, offered: object) -> Imported:
        return self.once(super().take_capsule(offered))

    def take_cai(self, source: Any) -> Imported:
        return self.once(super().take_cai(source))

    def once(self, taken: Imported) -> Imported:
        """Share an address the first time, and copy later."""
        if taken.address in self.seen:
            return move(taken)
        self.seen.add(taken.address)
        return taken


@fault("pointer.copy-true", bugs="perf-09")
class CopyNotMade(Exporter):
    """Shares memory for ``copy=True``."""

    def copied(self) -> Exporter:
        return self


@fault("pointer.copy-true", bugs="perf-09")
class CopyNotAskedFor(Importer):
    """Neither passes ``copy`` on to the producer nor copies."""

    def call_dlpack(self, source: Any, requested: dict[str, Any]) -> Any:
        return super().call_dlpack(source, {})


@fault("pointer.copy-false")
class CopyFalseRefused(Exporter):
    """Refuses ``copy=False`` although no copy is needed."""

    def dlpack(self, *, copy: bool | None = None, **keywords: Any) -> Any:
        if copy is False:
            raise BufferError("copy=False is not supported")
        return super().dlpack(copy=copy, **keywords)


@fault("pointer.copy-true")
class CopyTrueRefused(Exporter):
    """Refuses ``copy=True``."""

    def copied(self) -> Exporter:
        raise BufferError("copy=True is not supported")


@fault("pointer.copy-false-elsewhere")
class DeviceIgnored(Exporter):
    """Exports on the array's own device when another device is requested."""

    def check_device(self, dl_device: tuple[int, int] | None) -> None:
        """Skip the check."""


@fault("pointer.copy-false-elsewhere", "negotiation.device-argument")
class DeviceRefusedWithValueError(Exporter):
    """Refuses an export that needs a copy with ``ValueError`` in place of ``BufferError``."""

    def check_device(self, dl_device: tuple[int, int] | None) -> None:
        try:
            super().check_device(dl_device)
        except BufferError as error:
            raise ValueError(str(error)) from error


@fault("pointer.chain", bugs="pointer-18")
class OffsetDroppedOnTheWay(Exporter):
    """Exports an import again with the address of its second element."""

    def element0(self) -> int:
        return super().element0() + (self.dtype.itemsize if isinstance(self.block, BorrowedBlock) else 0)


@fault("pointer.memory-behind")
class ExtentsSummed(Importer):
    """Computes the extent of memory from the sum of the shape in place of the product."""

    def extent(self, taken: Imported) -> tuple[int, int]:
        return taken.address, taken.address + sum(taken.shape) * taken.dtype.itemsize


@fault("pointer.zero-stride-write")
class ZeroStrideShifted(Importer):
    """Shifts an array with stride 0 by one element."""

    def dl_address(self, tensor: Tensor) -> int:
        shift = tensor.bits // 8 if tensor.strides and 0 in tensor.strides else 0
        return super().dl_address(tensor) + shift

    def cai_address(self, interface: cai.ArrayInterface) -> int:
        shift = cai.typestr_bytes(interface.typestr) if interface.strides and 0 in interface.strides else 0
        return super().cai_address(interface) + shift


@fault(
    "pointer.same-address",
    "pointer.producer-write-seen",
    "pointer.kernel-write-seen",
    "pointer.copy-false",
    "negotiation.signature",
    "negotiation.device-argument",
)
class EveryExportIsACopy(Exporter):
    """Exports a copy, flagged as a copy, whatever ``copy`` says."""

    def placed(self, stream: int | None, dl_device: tuple[int, int] | None, copy: bool | None) -> Exporter:
        return super().placed(stream, dl_device, True)


@fault("pointer.same-address", "pointer.producer-write-seen", "pointer.kernel-write-seen", "pointer.imports-alias")
class PublishesACopy(Exporter):
    """Publishes a packed copy, which is made at the first request."""

    staged: Exporter | None = None

    def cai_address(self) -> int:
        if not self.view.size:
            return super().cai_address()
        self.staged = self.staged or self.copied()
        return self.staged.element0()

    def cai_strides(self) -> tuple[int, ...] | None:
        return None


@fault("pointer.view-export")
class OffsetUnscaled(Exporter):
    """Adds the offset of a view to the address in elements and not in bytes."""

    def element0(self) -> int:
        return self.block.address + self.view.offset


@fault("pointer.view-export", bugs="pointer-19 strides-12")
class FlippedViewStartsLow(Exporter):
    """Exports the lowest address of a view with a negative stride in place of the address of its first element."""

    def cai_address(self) -> int:
        return super().cai_address() + self.to_lowest()

    def dl_data(self) -> int:
        return super().dl_data() + self.to_lowest()

    def to_lowest(self) -> int:
        """Return the distance in bytes from element 0 to the lowest address, as a number that is 0 or negative."""
        return sum((n - 1) * s for n, s in zip(self.view.shape, self.strides_bytes()) if s < 0)


@fault("pointer.misaligned", "pointer.view-export", bugs="pointer-15")
class AlignedDownWithoutOffset(Exporter):
    """Rounds ``data`` down to 256 bytes without setting ``byte_offset``."""

    def dl_data(self) -> int:
        return super().dl_data() // ALIGNMENT * ALIGNMENT


@fault("pointer.misaligned", "pointer.kernel-write-seen", bugs="pointer-17 lifetime-17")
class AddressRoundedDown(Importer):
    """Rounds the address down to 16 bytes."""

    def dl_address(self, tensor: Tensor) -> int:
        return super().dl_address(tensor) // 16 * 16

    def cai_address(self, interface: cai.ArrayInterface) -> int:
        return super().cai_address(interface) // 16 * 16


@fault("pointer.imports-apart")
class ExportedAsAnother(Exporter):
    """Caches exports by shape and type, so that a later array is exported as the first live one."""

    known: WeakValueDictionary[tuple[Any, ...], Exporter] = WeakValueDictionary()

    def first(self) -> Exporter:
        """Return the first live array of this kind that was exported."""
        return self.known.setdefault((self.view, self.dtype.name, self.device()), self)

    def dl_data(self) -> int:
        return self.first().element0()

    def cai_address(self) -> int:
        return self.first().element0()


@fault("pointer.memory-behind", bugs="pointer-12")
class ExtentOfAPackedArray(Importer):
    """Computes the extent of memory from the number of elements, ignoring the strides."""

    def extent(self, taken: Imported) -> tuple[int, int]:
        return taken.address, taken.address + taken.view.size * taken.dtype.itemsize


@fault("pointer.memory-behind", bugs="strides-34")
class ExtentOfWholeRows(Importer):
    """Counts the padding after the last row as part of the array's memory."""

    def extent(self, taken: Imported) -> tuple[int, int]:
        reach = max((n * s for n, s in zip(taken.shape, taken.strides)), default=taken.dtype.itemsize)
        return taken.address, taken.address + reach


@fault("pointer.kernel-write-seen", bugs="lifetime-17")
class RowsInPairs(Importer):
    """Rounds an odd number of rows up to the next even number."""

    def take_capsule(self, offered: object) -> Imported:
        return self.paired(super().take_capsule(offered))

    def take_cai(self, source: Any) -> Imported:
        return self.paired(super().take_cai(source))

    def paired(self, taken: Imported) -> Imported:
        if len(taken.shape) > 1:
            taken.shape = (taken.shape[0] + taken.shape[0] % 2, *taken.shape[1:])
        return taken


@fault("pointer.copy-false")
class CopyFalseByRuntimeError(Importer):
    """Refuses ``copy=False`` for an array that is not packed, with ``RuntimeError``."""

    def take_dlpack(self, source: Any, **requested: Any) -> Imported:
        taken = super().take_dlpack(source, **requested)
        if requested.get("copy") is False and not taken.view.contiguous:
            raise RuntimeError("a copy is needed")
        return taken


@fault("pointer.copy-true", bugs="strides-04")
class CopyLosesStrides(Exporter):
    """Copies an array as if it were packed, whatever its strides."""

    def copied_to(self, memory: Memory) -> Exporter:
        whole = packed(self.view.shape)
        data = gather(self.memory, self.element0(), whole, self.dtype.itemsize)
        block = memory.allocate(len(data))
        memory.write(block.address, data)
        return type(self)(memory, block, self.dtype, whole)


@fault("pointer.copy-true", "pointer.values", "pointer.copy-false")
class ImportsChanged(Importer):
    """Adds 1 to every byte of the memory that it imports."""

    def take_capsule(self, offered: object) -> Imported:
        taken = super().take_capsule(offered)
        if taken.contiguous and not taken.readonly:
            count = taken.view.size * taken.dtype.itemsize
            data = self.memory.read(taken.address, count)
            self.memory.write(taken.address, bytes((byte + 1) % 256 for byte in data))
        return taken


@fault("pointer.consumer-write-seen", "pointer.kernel-write-seen")
class ReadFromACopy(Exporter):
    """Reads the elements of an exported packed array from a copy made at the export, and never sees later writes."""

    own: Block | None = None

    def element0(self) -> int:
        return super().element0() if self.own is None else self.own.address

    def dl_data(self) -> int:
        return self.handed_over()

    def cai_address(self) -> int:
        return self.handed_over()

    def handed_over(self) -> int:
        """Return the address of the original memory, and keep a copy of it for this array."""
        count = self.view.size * self.dtype.itemsize
        if not count:
            return 0
        if self.own is None and self.contiguous:
            block = self.memory.allocate(count)
            self.memory.write(block.address, self.memory.read(super().element0(), count))
            self.own = block
        return super().element0()


@fault("pointer.copy-true", "pointer.copy-false")
class CapsuleMisnamedForCopy(Exporter):
    """Returns a capsule with an unknown name when ``copy`` is given."""

    def dlpack(self, *, copy: bool | None = None, **keywords: Any) -> Any:
        made = super().dlpack(copy=copy, **keywords)
        if copy is not None:
            capsule.rename(made, _MISNAMED)
        return made


_MISNAMED = b"dltensor_of_a_copy"


@fault("pointer.copy-true")
class CopyThrownAway(Importer):
    """Requests a copy from the producer, discards it, and imports a second capsule without a copy."""

    def call_dlpack(self, source: Any, requested: dict[str, Any]) -> Any:
        if requested.get("copy"):
            super().call_dlpack(source, requested)
            return super().call_dlpack(source, {})
        return super().call_dlpack(source, requested)


@fault("pointer.copy-true", "pointer.copy-false")
class CopyOnAForbiddenStream(Importer):
    """Passes the invalid stream -7 together with ``copy``."""

    def call_dlpack(self, source: Any, requested: dict[str, Any]) -> Any:
        if "copy" in requested:
            return source.__dlpack__(stream=-7, max_version=NEWEST, **requested)
        return super().call_dlpack(source, requested)


@fault("pointer.same-address", "pointer.values")
class WritesBehindTheEnd(Importer):
    """Writes a zero byte behind the last element of an import."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        taken = super().read_tensor(tensor)
        if taken.view.size:
            self.memory.write(self.extent(taken)[1], b"\0")
        return taken


@fault("pointer.same-address", "pointer.values")
class WritesInFront(Exporter):
    """Writes a byte in front of the block at each export."""

    def element0(self) -> int:
        if self.block.nbytes:
            self.memory.write(self.block.address - 1, b"\1")
        return super().element0()


@fault("pointer.same-memory")
class TypesKnownByAddress(Importer):
    """Caches imports by address, shape and strides, so that a second live import gets the element type and access of the first."""

    known: ClassVar[WeakValueDictionary[tuple[Any, ...], Imported]] = WeakValueDictionary()

    def read_tensor(self, tensor: Tensor) -> Imported:
        made = super().read_tensor(tensor)
        if made.address:
            first = self.known.setdefault((made.address, made.shape, made.strides), made)
            made.dtype, made.readonly = first.dtype, first.readonly
        return made


@fault("pointer.same-memory")
class ShapesKnownByAddress(Importer):
    """Caches shapes by address, so that a later dictionary gets the shape of the first import, even after that import is gone."""

    shapes: ClassVar[dict[tuple[int, int], Any]] = {}

    def read_cai(self, described: Any) -> cai.ArrayInterface:
        interface = super().read_cai(described)
        size = packed(interface.shape).size
        shape = self.shapes.setdefault((interface.address, size), interface.shape)
        return replace(interface, shape=shape) if interface.strides is None else interface
