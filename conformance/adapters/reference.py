"""Adapter of the reference library, which conforms on both sides unless a fault replaces its classes."""

from __future__ import annotations

import copy
import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any, ClassVar

from conformance.protocols.dtypes import DTYPES, DLCode, DType, dtype
from conformance.protocols.strided import (
    Broadcast,
    Index,
    Step,
    Strided,
    apply,
    packed,
    span,
)
from conformance.reference import gpus, table
from conformance.reference.exporter import Exporter
from conformance.reference.importer import Imported, Importer
from conformance.reference.memory import (
    BorrowedBlock,
    CudaMemory,
    HostMemory,
    Memory,
    gather_by_bytes,
    scatter_by_bytes,
    simulated,
)
from conformance.reference.streams import LEGACY, PER_THREAD, Current, WorkStream

from .base import Adapter, Device, Protocol, Trait, Unsupported, View, last_address, poke, refusing
from .calls import CAI, DLPACK, Gets, Style, UserCall
from .changes import DELETE, Change
from .making import NONE_INSIDE, Making
from .special import Foreign, State, Use

_BOTH = (Protocol.DLPACK, Protocol.CAI)
_ROW_BYTES = 64
_EVERYWHERE = (Device.HOST, Device.CUDA, Device.SIMULATED)
_DATES = DType("datetime64[s]", DLCode.OPAQUE, 64, "M")


def _pending(adapter: ReferenceAdapter, device: Device, use: Use) -> None:
    """Build an array in a lazy state: its memory holds the input of a computation and not the result."""
    array = adapter.empty(dtype("float32"), (3, 4), device)
    array.pending = True
    use(array, None)


def _renew(adapter: ReferenceAdapter, held: list[Any], device: Device) -> None:
    _own(held[0]).renew()


def _grow(adapter: ReferenceAdapter, held: list[Any], device: Device) -> None:
    _own(held[0]).grow(_TIMES)


def _own(array: Exporter | Imported) -> Exporter:
    if isinstance(array, Imported):
        raise BufferError("an import has the memory that it was given")
    return array


def _give(adapter: ReferenceAdapter, held: list[Any], device: Device) -> Any:
    array = held[0]
    if isinstance(array, Imported):
        return array.importer.reuse(array)
    array.memory.write(array.block.address, bytes(array.block.nbytes))
    return array


_TIMES = 4
_ALL = tuple(Device)


class ReferenceAdapter(Adapter):
    """The reference library. A fault replaces ``exporter_class`` or ``importer_class``."""

    name = "reference"
    distributions = ("cuda-interop-conformance",)
    traits = frozenset(
        {
            Trait.ARRAY_API, Trait.WRITES, Trait.KERNEL, Trait.READONLY, Trait.COPY_KEYWORD, Trait.CAPSULES,
            Trait.PITCHED, Trait.STRIDES, Trait.BYTE_STRIDES, Trait.CONTIGUITY, Trait.EXTENT, Trait.STREAMS, Trait.CURRENT_STREAM,
            Trait.PER_THREAD_STREAM, Trait.FOREIGN_STREAM, Trait.STREAM_PROTOCOL, Trait.GPUS, Trait.JOINS,
            Trait.DEVICE_KEYWORD, Trait.KERNEL_ARGUMENTS, Trait.ADDS, Trait.STACKS, Trait.COPIES, Trait.DEVICE_ATTRIBUTE,
            Trait.CHOOSES_STREAM, Trait.DEFAULT_TOKEN,
        }
    )  # fmt: skip
    exports = {Device.HOST: (Protocol.DLPACK,), Device.CUDA: _BOTH, Device.SIMULATED: _BOTH}
    imports = exports
    made: ClassVar[tuple[Making, ...]] = (
        Making("grid", "reference.counted((3, 4))", (3, 4), tuple(map(float, range(12))), _EVERYWHERE),
        Making(
            "slice",
            "reference.part(reference.counted((4, 6)))",
            (2, 3),
            (6.0, 8.0, 10.0, 12.0, 14.0, 16.0),
            _EVERYWHERE,
        ),
        Making("none-inside", f"reference.zero_strides({NONE_INSIDE})", NONE_INSIDE, devices=_EVERYWHERE),
    )
    """The last array has strides of 0, as NumPy has created them since 2.4 (DLP-53)."""
    candidate_dtypes = tuple(DTYPES)
    narrow_dtypes: ClassVar[tuple[str, ...]] = ("float4_e2m1fn",)
    foreign: ClassVar[tuple[Foreign, ...]] = (
        Foreign("datetime64", lambda adapter: adapter.empty(_DATES, (3,), Device.HOST)),
    )
    states: ClassVar[tuple[State, ...]] = (State("pending", _pending, (Device.HOST, Device.CUDA, Device.SIMULATED)),)
    calls: ClassVar[tuple[UserCall, ...]] = (
        UserCall(
            "reference.from_dlpack", lambda adapter, thing, device: adapter.importer(device).take_dlpack(thing), DLPACK,
            on_stream=lambda adapter, thing, device, stream: adapter.importer(device).take_for(thing, stream),
        ),
        UserCall(
            "reference.from_interface", lambda adapter, thing, device: adapter.importer(device).take_cai(thing), CAI,
            (Device.CUDA, Device.SIMULATED),
        ),
        UserCall("reference.as_array", lambda adapter, thing, device: adapter.importer(device).take_any(thing), knows=(DLPACK, CAI)),
    )  # fmt: skip
    styles: ClassVar[tuple[Style, ...]] = (
        Style("reference.capsule", Gets.CAPSULE, lambda adapter, capsule: adapter.take_capsule(capsule), (Device.HOST,)),
        Style("reference.to_capsule", Gets.OWN, lambda adapter, own: own.to_capsule()),
        Style(
            "reference.shared", Gets.ARRAY,
            lambda adapter, thing: adapter.importer(Device.HOST).take_dlpack(thing, copy=False), (Device.HOST,),
        ),
    )  # fmt: skip
    subclasses = True
    changes: ClassVar[tuple[Change, ...]] = (
        Change("renew", "`array.renew()`", _renew, _ALL),
        Change("grow", "`array.grow(4)`", _grow, _ALL),
        DELETE,
    )
    donations: ClassVar[tuple[Change, ...]] = (Change("reuse", "`array.reuse()`", _give, _ALL),)
    _ordinal = 0
    exporter_class: type[Exporter] = Exporter
    importer_class: type[Importer] = Importer

    def __init__(self) -> None:
        self._current: Current | None = None

    @property
    def current(self) -> Current:
        """The current stream of this adapter, made at first use by the importer's class."""
        if self._current is None:
            self._current = self.importer_class.current_class()
        return self._current

    def load(self) -> None:
        """Do nothing: the reference library is part of the suite."""

    def memory(self, device: Device) -> Memory:
        if device is Device.CUDA:
            return CudaMemory(ordinal=self._ordinal)
        return simulated(self._ordinal) if device is Device.SIMULATED else HostMemory()

    def empty(self, dtype: DType, shape: tuple[int, ...], device: Device) -> Exporter:
        memory = self.memory(device)
        view = packed(shape)
        return self.exporter_class(memory, memory.allocate(view.size * dtype.itemsize), dtype, view)

    def array(self, dtype: DType, shape: tuple[int, ...], data: bytes, device: Device) -> Exporter:
        """Return an array of these bytes. On CUDA one copy writes the bytes and the guard bytes, since each copy waits for the GPU."""
        if device is not Device.CUDA:
            made: Exporter = super().array(dtype, shape, data, device)
            return made
        memory = self.memory(device)
        block = memory.filled(data)
        made = self.exporter_class(memory, block, dtype, packed(shape))
        address = self.describe(made).address
        if address != block.address and data:
            poke(address, data, device)
        return made

    def view(self, array: Any, step: Step) -> Any:
        """Return any view of an array or of an import. The suite computes it."""
        if isinstance(array, Imported):
            return array.importer.part(array, step)
        made = self.exporter_class(
            array.memory, array.block_of_views(), array.dtype, apply(array.view, step), readonly=array.readonly
        )
        made.writer = array.writer
        return made

    def broadcast(self, array: Any, step: Broadcast) -> Any:
        return self.view(array, step)

    def restride(self, array: Exporter, strides: tuple[int, ...]) -> Exporter:
        made = self.exporter_class(array.memory, array.block, array.dtype, array.view, readonly=array.readonly)
        made.byte_strides = strides
        return made

    def make(self, making: Making, device: Device) -> Exporter:
        calls = SimpleNamespace(
            counted=partial(self._counted, device), part=self._part, zero_strides=partial(self._zero_strides, device)
        )
        made: Exporter = making.made(device, reference=calls)
        return made

    def _counted(self, device: Device, shape: tuple[int, ...]) -> Exporter:
        """Return an array of the numbers from 0 on."""
        count = packed(shape).size
        made: Exporter = self.array(dtype("float32"), shape, struct.pack(f"={count}f", *range(count)), device)
        return made

    def _part(self, array: Exporter) -> Exporter:
        """Return the second and third row, and every other column."""
        made: Exporter = self.view(array, Index((slice(1, 3), slice(None, None, 2))))
        return made

    def _zero_strides(self, device: Device, shape: tuple[int, ...]) -> Exporter:
        return self.restride(self.empty(dtype("float32"), shape, device), (0,) * len(shape))

    def narrow(self, dtype: DType, data: bytes, device: Device) -> Exporter:
        memory = self.memory(device)
        return self.exporter_class(memory, memory.filled(data), dtype, packed((8 * len(data) // dtype.bits,)))

    def pitched(self, dtype: DType, shape: tuple[int, ...], device: Device) -> Exporter:
        """Return an array with rows that start every 64 bytes. Rows are the first of two dimensions, or of three with packed pixels."""
        packed_rows = packed(shape)
        pitch = -(-packed_rows.strides[0] * dtype.itemsize // _ROW_BYTES) * _ROW_BYTES // dtype.itemsize
        view = Strided(shape, (pitch, *packed_rows.strides[1:]))
        memory = self.memory(device)
        return self.exporter_class(memory, memory.allocate(shape[0] * pitch * dtype.itemsize), dtype, view)

    def reserved(self, dtype: DType, view: Strided, device: Device) -> Exporter:
        """Return an array of any size in memory that is not filled. On the host the system reserves pages at first access only."""
        memory = self.memory(device)
        return self.exporter_class(memory, memory.reserve(span(view)[1] * dtype.itemsize), dtype, view)

    def contiguous(self, array: Exporter | Imported) -> bool:
        return array.contiguous

    def extent(self, array: Imported) -> tuple[int, int]:
        """Return the range from the lowest to the highest element."""
        return array.extent()

    def last(self, array: Exporter | Imported) -> bytes:
        memory = array.importer.memory if isinstance(array, Imported) else array.memory
        return memory.read(last_address(self.describe(array)), array.dtype.itemsize)

    def exporter(self, array: Exporter | Imported, protocol: Protocol) -> Exporter:
        """Return the exporter itself. For an import, return an exporter on the same memory that holds the import."""
        if isinstance(array, Exporter):
            return array
        again = self.exporter_class(
            array.importer.memory,
            BorrowedBlock(array.address, array),
            array.dtype,
            array.view,
            readonly=array.readonly,
        )
        if again.strides_bytes() != array.strides:
            again.byte_strides = array.strides
        if array.worked_on is not None:
            again.comes_after(array.worked_on)
        return again

    def tabled(self, array: Exporter) -> Exporter:
        """Return the same array as an instance of a class with the exchange table."""
        return table.tabled(array)

    def describe(self, array: Exporter | Imported) -> View:
        """Return the exporter's own data, or for an import the data that was read from the protocol."""
        if isinstance(array, Imported):
            return View(array.address, array.shape, array.strides, array.dtype.name, array.device, array.readonly)
        return View(
            array.element0(), array.view.shape, array.strides_bytes(), array.dtype.name, array.device(), array.readonly
        )

    def read(self, array: Exporter | Imported) -> bytes:
        """Return the elements one by one through address and strides, after pending work."""
        if isinstance(array, Exporter) and array.writer is not None:
            array.finish()
            array.writer = None
        view = self.describe(array)
        memory = array.importer.memory if isinstance(array, Imported) else array.memory
        return gather_by_bytes(memory, view.address, Strided(view.shape, view.strides), array.dtype.itemsize)

    def write(self, array: Exporter | Imported, data: bytes) -> None:
        """Write the elements one by one. Raise ``BufferError`` for a read-only array."""
        if array.readonly:
            raise BufferError("the array is read-only")
        memory = array.importer.memory if isinstance(array, Imported) else array.memory
        view = self.describe(array)
        scatter_by_bytes(memory, view.address, Strided(view.shape, view.strides), array.dtype.itemsize, data)

    def kernel_increment(self, array: Exporter | Imported) -> None:
        """Add 1 by the suite's own PTX kernel on CUDA, and by host arithmetic elsewhere."""
        address = array.importer.kernel_address(array) if isinstance(array, Imported) else self.describe(array).address
        memory = array.importer.memory if isinstance(array, Imported) else array.memory
        count = array.view.size
        if isinstance(memory, CudaMemory):
            from conformance.cuda import context, kernels

            kernels.add_to_words(address, count, 1)
            with context.using(context.primary()):
                context.synchronize()
            return
        words = memory.read(address, 4 * count)
        memory.write(
            address,
            b"".join(
                ((int.from_bytes(words[i : i + 4], "little") + 1) & 0xFFFFFFFF).to_bytes(4, "little")
                for i in range(0, len(words), 4)
            ),
        )

    def add(self, first: Exporter | Imported, second: Exporter | Imported) -> Exporter:
        """Add the elements one by one, for the types of :data:`_NUMBERS`."""
        self._expect_one_place([first, second])
        code = _NUMBERS.get(first.dtype.name)
        if code is None:
            raise Unsupported(f"the reference does not add {first.dtype.name}")
        operands = [struct.iter_unpack(f"={code}", self._operand(array)) for array in (first, second)]
        sums = b"".join(struct.pack(f"={code}", a + b) for (a,), (b,) in zip(*operands))
        return self._packed(first, first.view.shape, sums)

    def stack(self, arrays: list[Exporter | Imported]) -> Exporter:
        self._expect_one_place(arrays)
        return self._packed(arrays[0], (len(arrays), *arrays[0].view.shape), b"".join(map(self._operand, arrays)))

    def copied(self, array: Exporter | Imported) -> Any:
        if isinstance(array, Imported):
            return array.importer.copied(array, lambda data: self._packed(array, array.shape, data))
        return self._packed(array, array.view.shape, self._operand(array))

    def device_of(self, array: Exporter | Imported) -> Any:
        return array.importer.place(array) if isinstance(array, Imported) else array.device()

    def _operand(self, array: Exporter | Imported) -> bytes:
        return array.importer.operand(array) if isinstance(array, Imported) else self.read(array)

    def _expect_one_place(self, arrays: list[Exporter | Imported]) -> None:
        places = [array.device() for array in arrays if isinstance(array, Exporter)]
        imports = [array for array in arrays if isinstance(array, Imported)]
        if not all(taken.importer.mixes(taken, place) for taken in imports for place in places):
            raise ValueError("the arrays are on two devices")

    def _packed(self, like: Exporter | Imported, shape: tuple[int, ...], data: bytes) -> Exporter:
        """Return a new array of these elements with the memory kind and the element type of ``like``."""
        memory = like.importer.memory if isinstance(like, Imported) else like.memory
        return self.exporter_class(memory, memory.filled(data), like.dtype, packed(shape))

    def freeze(self, array: Exporter) -> None:
        array.readonly = True

    def stream(self, device: Device) -> WorkStream:
        return self.exporter_class.stream_class(self.memory(device).streams())

    def default_stream(self, device: Device) -> WorkStream:
        return self.foreign_stream(LEGACY, device)

    def per_thread_stream(self, device: Device) -> WorkStream:
        return self.foreign_stream(PER_THREAD, device)

    def foreign_stream(self, handle: int, device: Device) -> WorkStream:
        return self.exporter_class.stream_class(self.memory(device).streams(), handle)

    def import_stream(self, source: Any, device: Device) -> WorkStream:
        return self.importer_class(self.memory(device)).take_stream(source)

    def current_stream(self, device: Device) -> int:
        return self.current.handle

    def handle(self, stream: WorkStream) -> int:
        return stream.handle

    def using(self, stream: WorkStream) -> AbstractContextManager[Any]:
        return self.current.using(stream.handle)

    def choose(self, stream: WorkStream) -> None:
        self.current.handle = stream.handle

    def wait_stream(self, waiter: WorkStream, other: WorkStream) -> None:
        waiter.wait(other)

    def recorded(self, stream: WorkStream, device: Device) -> int:
        return stream.recorded_on(gpus.of(device is Device.CUDA).current() or 0)

    def fill(self, array: Exporter | Imported, value: int, stream: WorkStream) -> None:
        """Queue the suite's own kernel. An array records the stream; an import uses the stream that it was ordered on."""
        if isinstance(array, Imported):
            array.importer.fill(array, value)
        else:
            array.fill(value, stream)

    def copy(self, into: Exporter, array: Exporter | Imported, stream: WorkStream) -> None:
        """Queue a copy, like :meth:`fill`. The producer of an import waits for it (CAI-19)."""
        if isinstance(array, Imported):
            array.importer.copy(into.element0(), array)
        else:
            array.copy(into.element0(), stream)

    @contextmanager
    def on_gpu(self, ordinal: int, device: Device) -> Iterator[None]:
        """Make the GPU current for arrays, streams and imports."""
        before, self._ordinal = self._ordinal, ordinal
        try:
            with gpus.of(device is Device.CUDA).using(ordinal):
                yield
        finally:
            self._ordinal = before

    def take_to(self, offer: Any, protocol: Protocol, device: Device, ordinal: int) -> Imported:
        """Import, then copy if the array is on another GPU."""
        taken = self.take(offer, protocol, device)
        with self.on_gpu(ordinal, device):
            return taken.importer.moved(taken, self.memory(device))

    def joined(self, parts: list[tuple[Any, int]], protocol: Protocol, device: Device) -> bytes:
        return b"".join([self.read(self.take_on(offer, protocol, device, gpu)) for offer, gpu in parts])

    def take(self, offer: Any, protocol: Protocol, device: Device, **keywords: Any) -> Imported:
        importer = self.importer(device)
        if protocol is Protocol.CAI:
            return importer.take_cai(offer)
        return importer.take_dlpack(offer, **keywords)

    def native(self, array: Exporter | Imported, protocol: Protocol) -> Exporter:
        return self.exporter(array, protocol)

    def importer(self, device: Device) -> Importer:
        return self.importer_class(self.memory(device), self.current.handle, self.current)

    def subclassed(self, array: Exporter, asked: Callable[[], None]) -> Exporter:
        made = copy.copy(array)
        made.__class__ = refusing(type(array), asked)
        return made

    def take_argument(self, offer: Any, device: Device) -> Imported:
        return self.importer(device).take_argument(offer)

    def argument_address(self, argument: Imported) -> int:
        return argument.address

    def take_capsule(self, capsule: Any) -> Imported:
        return self.importer_class(HostMemory()).take_capsule(capsule)

    @contextmanager
    def telling(self, change: Callable[[str], str]) -> Iterator[str]:
        true = Exporter.library_version
        Exporter.library_version = change(true)
        try:
            yield Exporter.library_version
        finally:
            Exporter.library_version = true

    def module(self) -> Any:
        raise Unsupported("the reference has no module of its own")


_NUMBERS = {"int32": "i", "int64": "q", "float32": "f", "float64": "d"}
"""The :mod:`struct` format of each element type that :meth:`ReferenceAdapter.add` supports."""
