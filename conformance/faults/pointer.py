"""Faults of identity: another memory, another place in it, other elements."""

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
    """Copy an import's elements to a packed block of the importer's own."""
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
    """A view exports the address of its block instead of its own first element."""

    def element0(self) -> int:
        """The block's start."""
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
    """The importer copies where it should share."""

    def take_capsule(self, offered: object) -> Imported:
        """Import, then move."""
        return move(super().take_capsule(offered))

    def take_cai(self, source: Any) -> Imported:
        """Import, then move."""
        return move(super().take_cai(source))


@fault("pointer.as-made")
class EmptyStridesJudged(Importer):
    """The importer refuses an array without elements whose strides are not packed."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        """Unless it has elements, or the strides that the importer would give it."""
        if 0 in tensor.shape and tensor.strides not in (None, c_strides(tensor.shape)):
            raise BufferError("the strides are not those of a packed array")
        return super().read_tensor(tensor)


@fault("pointer.misaligned", "pointer.copy-false", bugs="perf-04")
class UnalignedCopied(Importer):
    """The importer copies what is not aligned to 64 bytes, whatever ``copy`` says."""

    def take_capsule(self, offered: object) -> Imported:
        """Import, then move if the address is not round."""
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
    """The importer reads every array as if it were packed."""

    def dl_strides(self, tensor: Tensor) -> tuple[int, ...]:
        """Row-major, whatever was said."""
        return c_strides(tensor.shape)

    def cai_strides(self, interface: cai.ArrayInterface, dtype: DType) -> tuple[int, ...]:
        """Row-major, whatever was said."""
        return tuple(s * dtype.itemsize for s in c_strides(interface.shape))


@fault("pointer.byte-offset", "pointer.byte-offset-passed-on", bugs="pointer-18 pointer-15 strides-32")
class ByteOffsetIgnored(Importer):
    """The importer takes ``data`` for the address of element 0."""

    def dl_address(self, tensor: Tensor) -> int:
        """Without the offset."""
        return tensor.data


@fault("pointer.byte-offset", bugs="pointer-18")
class ByteOffsetIgnoredInLegacy(Importer):
    """The importer adds the offset only where the capsule is versioned."""

    def dl_address(self, tensor: Tensor) -> int:
        """With the offset if there is a version."""
        return tensor.data if tensor.version is None else tensor.element0


@fault("pointer.byte-offset-passed-on", bugs="pointer-18")
class ByteOffsetLostOnExport(Exporter):
    """An import is exported again with the ``data`` that it came with, and its offset is lost."""

    def element0(self) -> int:
        """The original pointer, if there is one."""
        borrowed = self.block.owner if isinstance(self.block, BorrowedBlock) else None
        tensor = borrowed.tensor if isinstance(borrowed, Imported) else None
        return super().element0() if tensor is None else tensor.data


@fault("pointer.imports-apart", bugs="lifetime-05")
class WrapperReused(Importer):
    """The importer gives an import of the same shape out again while it lives, without looking at the new address."""

    known: WeakValueDictionary[tuple[int, ...], Imported] = WeakValueDictionary()

    def take_capsule(self, offered: object) -> Imported:
        """Import, then put the first address of this shape in the place of its own."""
        return self.reused(super().take_capsule(offered))

    def take_cai(self, source: Any) -> Imported:
        """Import, then put the first address of this shape in the place of its own."""
        return self.reused(super().take_cai(source))

    def reused(self, taken: Imported) -> Imported:
        """At the address of the living import of this shape, if there is one."""
        taken.address = self.known.setdefault(taken.shape, taken).address
        return taken


@fault("pointer.imports-alias")
class SecondImportCopied(Importer):
    """The importer shares the first import of an array and copies every later one."""

    seen: set[int] = set()

    def take_capsule(self, offered: object) -> Imported:
        """Import, then move if the address was seen before."""
        return self.once(super().take_capsule(offered))

    def take_cai(self, source: Any) -> Imported:
        """Import, then move if the address was seen before."""
        return self.once(super().take_cai(source))

    def once(self, taken: Imported) -> Imported:
        """Share an address for the first time only."""
        if taken.address in self.seen:
            return move(taken)
        self.seen.add(taken.address)
        return taken


@fault("pointer.copy-true", bugs="perf-09")
class CopyNotMade(Exporter):
    """An export with ``copy=True`` shares all the same."""

    def copied(self) -> Exporter:
        """Not copied."""
        return self


@fault("pointer.copy-true", bugs="perf-09")
class CopyNotAskedFor(Importer):
    """The importer drops ``copy`` on the way to the producer, and does not copy itself."""

    def call_dlpack(self, source: Any, requested: dict[str, Any]) -> Any:
        """Ask for nothing in particular."""
        return super().call_dlpack(source, {})


@fault("pointer.copy-false")
class CopyFalseRefused(Exporter):
    """An export with ``copy=False`` is refused although no copy is needed."""

    def dlpack(self, *, copy: bool | None = None, **keywords: Any) -> Any:
        """Sharing only without being asked for it."""
        if copy is False:
            raise BufferError("copy=False is not supported")
        return super().dlpack(copy=copy, **keywords)


@fault("pointer.copy-true")
class CopyTrueRefused(Exporter):
    """An export with ``copy=True`` is refused, as by a producer that leaves copying to others."""

    def copied(self) -> Exporter:
        """None."""
        raise BufferError("copy=True is not supported")


@fault("pointer.copy-false-elsewhere")
class DeviceIgnored(Exporter):
    """An export for another device comes back on the array's own."""

    def check_device(self, dl_device: tuple[int, int] | None) -> None:
        """Whatever is asked for."""


@fault("pointer.copy-false-elsewhere", "negotiation.device-argument")
class DeviceRefusedWithValueError(Exporter):
    """An export that needs a copy is refused with ValueError although the protocol names BufferError."""

    def check_device(self, dl_device: tuple[int, int] | None) -> None:
        """The right answer in the wrong words."""
        try:
            super().check_device(dl_device)
        except BufferError as error:
            raise ValueError(str(error)) from error


@fault("pointer.chain", bugs="pointer-18")
class OffsetDroppedOnTheWay(Exporter):
    """An import is exported again one element further on."""

    def element0(self) -> int:
        """Off by one, for what is borrowed."""
        return super().element0() + (self.dtype.itemsize if isinstance(self.block, BorrowedBlock) else 0)


@fault("pointer.memory-behind")
class ExtentsSummed(Importer):
    """The importer takes the sum of the extents for their product when it works out the memory behind an array."""

    def extent(self, taken: Imported) -> tuple[int, int]:
        """As many elements as the extents add up to."""
        return taken.address, taken.address + sum(taken.shape) * taken.dtype.itemsize


@fault("pointer.zero-stride-write")
class ZeroStrideShifted(Importer):
    """The importer shifts a view with stride 0 by one element, so that writes land beside it."""

    def dl_address(self, tensor: Tensor) -> int:
        """One element on where a stride is 0."""
        shift = tensor.bits // 8 if tensor.strides and 0 in tensor.strides else 0
        return super().dl_address(tensor) + shift

    def cai_address(self, interface: cai.ArrayInterface) -> int:
        """One element on where a stride is 0."""
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
    """Every capsule holds a copy, and says so, whatever was asked for."""

    def placed(self, stream: int | None, dl_device: tuple[int, int] | None, copy: bool | None) -> Exporter:
        """Never the array itself."""
        return super().placed(stream, dl_device, True)


@fault("pointer.same-address", "pointer.producer-write-seen", "pointer.kernel-write-seen", "pointer.imports-alias")
class PublishesACopy(Exporter):
    """The dictionary describes a packed copy, made when it was first asked for."""

    staged: Exporter | None = None

    def cai_address(self) -> int:
        """That of the copy, if there is anything to copy."""
        if not self.view.size:
            return super().cai_address()
        self.staged = self.staged or self.copied()
        return self.staged.element0()

    def cai_strides(self) -> tuple[int, ...] | None:
        """Those of the copy."""
        return None


@fault("pointer.view-export")
class OffsetUnscaled(Exporter):
    """The offset of a view is added to the address as it is, in elements."""

    def element0(self) -> int:
        """Right only where elements are bytes."""
        return self.block.address + self.view.offset


@fault("pointer.view-export", bugs="pointer-19 strides-12")
class FlippedViewStartsLow(Exporter):
    """A view with a negative stride is exported from its lowest address, as if that were where it begins."""

    def cai_address(self) -> int:
        """The lowest one."""
        return super().cai_address() + self.to_lowest()

    def dl_data(self) -> int:
        """The lowest one."""
        return super().dl_data() + self.to_lowest()

    def to_lowest(self) -> int:
        """How many bytes element 0 lies above the lowest one, as a negative number."""
        return sum((n - 1) * s for n, s in zip(self.view.shape, self.strides_bytes()) if s < 0)


@fault("pointer.misaligned", "pointer.view-export", bugs="pointer-15")
class AlignedDownWithoutOffset(Exporter):
    """``data`` is rounded down to 256 bytes, as the header wants it, and the rest does not get into ``byte_offset``."""

    def dl_data(self) -> int:
        """Down to the next round address."""
        return super().dl_data() // ALIGNMENT * ALIGNMENT


@fault("pointer.misaligned", "pointer.kernel-write-seen", bugs="pointer-17 lifetime-17")
class AddressRoundedDown(Importer):
    """The importer works in pieces of 16 bytes, and starts at the one that the address lies in."""

    def dl_address(self, tensor: Tensor) -> int:
        """Down to a piece's start."""
        return super().dl_address(tensor) // 16 * 16

    def cai_address(self, interface: cai.ArrayInterface) -> int:
        """Down to a piece's start."""
        return super().cai_address(interface) // 16 * 16


@fault("pointer.imports-apart")
class ExportedAsAnother(Exporter):
    """What is exported is kept by shape and type, so that the next array of the kind is exported as the first."""

    known: WeakValueDictionary[tuple[Any, ...], Exporter] = WeakValueDictionary()

    def first(self) -> Exporter:
        """The first living array of this kind that was exported."""
        return self.known.setdefault((self.view, self.dtype.name, self.device()), self)

    def dl_data(self) -> int:
        """That of the first."""
        return self.first().element0()

    def cai_address(self) -> int:
        """That of the first."""
        return self.first().element0()


@fault("pointer.memory-behind", bugs="pointer-12")
class ExtentOfAPackedArray(Importer):
    """The importer takes the memory behind an array for as large as its elements are together."""

    def extent(self, taken: Imported) -> tuple[int, int]:
        """As if it were packed."""
        return taken.address, taken.address + taken.view.size * taken.dtype.itemsize


@fault("pointer.memory-behind", bugs="strides-34")
class ExtentOfWholeRows(Importer):
    """The importer counts the padding behind the last row too, which need not be the producer's."""

    def extent(self, taken: Imported) -> tuple[int, int]:
        """The largest product of an extent and its stride."""
        reach = max((n * s for n, s in zip(taken.shape, taken.strides)), default=taken.dtype.itemsize)
        return taken.address, taken.address + reach


@fault("pointer.kernel-write-seen", bugs="lifetime-17")
class RowsInPairs(Importer):
    """The importer works on two rows at a time, and takes one that is not there where their number is odd."""

    def take_capsule(self, offered: object) -> Imported:
        """With an even number of rows."""
        return self.paired(super().take_capsule(offered))

    def take_cai(self, source: Any) -> Imported:
        """With an even number of rows."""
        return self.paired(super().take_cai(source))

    def paired(self, taken: Imported) -> Imported:
        """One row more, if there are rows at all and their number is odd."""
        if len(taken.shape) > 1:
            taken.shape = (taken.shape[0] + taken.shape[0] % 2, *taken.shape[1:])
        return taken


@fault("pointer.copy-false")
class CopyFalseByRuntimeError(Importer):
    """The importer shares packed arrays only, and refuses ``copy=False`` for others with a ``RuntimeError``."""

    def take_dlpack(self, source: Any, **requested: Any) -> Imported:
        """A good reason in the wrong words."""
        taken = super().take_dlpack(source, **requested)
        if requested.get("copy") is False and not taken.view.contiguous:
            raise RuntimeError("a copy is needed")
        return taken


@fault("pointer.copy-true", bugs="strides-04")
class CopyLosesStrides(Exporter):
    """A copy takes as many elements as the array has from where it begins, whatever its strides."""

    def copied_to(self, memory: Memory) -> Exporter:
        """As if it were packed."""
        whole = packed(self.view.shape)
        data = gather(self.memory, self.element0(), whole, self.dtype.itemsize)
        block = memory.allocate(len(data))
        memory.write(block.address, data)
        return type(self)(memory, block, self.dtype, whole)


@fault("pointer.copy-true", "pointer.values", "pointer.copy-false")
class ImportsChanged(Importer):
    """The importer adds 1 to every byte of what it imports, before anybody reads it."""

    def take_capsule(self, offered: object) -> Imported:
        """Import, then write."""
        taken = super().take_capsule(offered)
        if taken.contiguous and not taken.readonly:
            count = taken.view.size * taken.dtype.itemsize
            data = self.memory.read(taken.address, count)
            self.memory.write(taken.address, bytes((byte + 1) % 256 for byte in data))
        return taken


@fault("pointer.consumer-write-seen", "pointer.kernel-write-seen")
class ReadFromACopy(Exporter):
    """Once exported, a packed array has its elements in a copy that is made at the export, and what is written to it is never read."""

    own: Block | None = None

    def element0(self) -> int:
        """That of the copy, once there is one."""
        return super().element0() if self.own is None else self.own.address

    def dl_data(self) -> int:
        """Where the elements were."""
        return self.handed_over()

    def cai_address(self) -> int:
        """Where the elements were."""
        return self.handed_over()

    def handed_over(self) -> int:
        """The address of the old memory, now that it is handed over."""
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
    """An export with ``copy`` is a capsule under a name that no consumer knows."""

    def dlpack(self, *, copy: bool | None = None, **keywords: Any) -> Any:
        """Renamed where ``copy`` is given."""
        made = super().dlpack(copy=copy, **keywords)
        if copy is not None:
            capsule.rename(made, _MISNAMED)
        return made


_MISNAMED = b"dltensor_of_a_copy"


@fault("pointer.copy-true")
class CopyThrownAway(Importer):
    """The importer asks the producer for a copy, throws it away, and imports a second capsule that it asks no copy for."""

    def call_dlpack(self, source: Any, requested: dict[str, Any]) -> Any:
        """Ask twice where a copy is wanted."""
        if requested.get("copy"):
            super().call_dlpack(source, requested)
            return super().call_dlpack(source, {})
        return super().call_dlpack(source, requested)


@fault("pointer.copy-true", "pointer.copy-false")
class CopyOnAForbiddenStream(Importer):
    """The importer names a stream that no protocol knows, -7, where it asks for a copy, or for none."""

    def call_dlpack(self, source: Any, requested: dict[str, Any]) -> Any:
        """A call that has to be refused."""
        if "copy" in requested:
            return source.__dlpack__(stream=-7, max_version=NEWEST, **requested)
        return super().call_dlpack(source, requested)


@fault("pointer.same-address", "pointer.values")
class WritesBehindTheEnd(Importer):
    """An import writes the byte behind the last element, as the end of a text."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        """One byte too far."""
        taken = super().read_tensor(tensor)
        if taken.view.size:
            self.memory.write(self.extent(taken)[1], b"\0")
        return taken


@fault("pointer.same-address", "pointer.values")
class WritesInFront(Exporter):
    """An export keeps its count in the byte before the block."""

    def element0(self) -> int:
        """One byte too far."""
        if self.block.nbytes:
            self.memory.write(self.block.address - 1, b"\1")
        return super().element0()


@fault("pointer.same-memory")
class TypesKnownByAddress(Importer):
    """The importer keeps its knowledge of memory by address, shape and strides while an import lives: a second one has the element type and the access of the first."""

    known: ClassVar[WeakValueDictionary[tuple[Any, ...], Imported]] = WeakValueDictionary()

    def read_tensor(self, tensor: Tensor) -> Imported:
        """Of the first one, if there is one."""
        made = super().read_tensor(tensor)
        if made.address:
            first = self.known.setdefault((made.address, made.shape, made.strides), made)
            made.dtype, made.readonly = first.dtype, first.readonly
        return made


@fault("pointer.same-memory")
class ShapesKnownByAddress(Importer):
    """The shape of a dictionary is looked up by its address, and is that of the first import, though that is gone."""

    shapes: ClassVar[dict[tuple[int, int], Any]] = {}

    def read_cai(self, described: Any) -> cai.ArrayInterface:
        """By address and size."""
        interface = super().read_cai(described)
        size = packed(interface.shape).size
        shape = self.shapes.setdefault((interface.address, size), interface.shape)
        return replace(interface, shape=shape) if interface.strides is None else interface
