"""Self-check of adapters: each kind of mistake has its own message, and the built-in adapters pass."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Command, Finished

import conformance
from conformance.adapters import registry
from conformance.adapters.base import Adapter, Device, Protocol, Unsupported, View
from conformance.adapters.changes import DELETE
from conformance.adapters.numpy import NumpyAdapter
from conformance.adapters.reference import ReferenceAdapter
from conformance.adapters.special import Foreign, State
from conformance.checks.catalogue import Case
from conformance.checks.libraries import Environment, Library
from conformance.execution import adapter_check, environment, probe
from conformance.execution.adapter_bench import EITHER, is_memory
from conformance.execution.untested import Gap, untested
from conformance.protocols.dtypes import DType
from conformance.selftest.make_believe.installing import announce

numpy = pytest.importorskip("numpy")
PACKAGE = str(Path(conformance.__file__).parents[1])


def silent(_: str) -> None:
    """Ignore the step."""


def found(adapter: Adapter, device: Device = Device.HOST) -> str | None:
    """Return the mistake that the probe finds in an adapter on a device."""
    adapter.load()
    first = adapter_check.first_look(adapter, device, silent)
    return first or adapter_check.mistake(adapter, device, probe._side(adapter, device), silent)


# -- a library whose arrays are objects of its own, so that every mistake can be made


class Box:
    """An array that can be changed in place."""

    def __init__(self, inside: Any) -> None:
        self.inside = inside


class Boxes(NumpyAdapter):
    """NumPy's arrays in boxes: a flawless adapter."""

    name = "boxes"

    def empty(self, dtype: DType, shape: tuple[int, ...], device: Device) -> Any:
        return Box(super().empty(dtype, shape, device))

    def view(self, array: Any, step: Any) -> Any:
        return Box(super().view(array.inside, step))

    def restride(self, array: Any, strides: tuple[int, ...]) -> Any:
        return Box(super().restride(array.inside, strides))

    def contiguous(self, array: Any) -> bool:
        return super().contiguous(array.inside)

    def describe(self, array: Any) -> View:
        return super().describe(array.inside)

    def read(self, array: Any) -> bytes:
        return super().read(array.inside)

    def write(self, array: Any, data: bytes) -> None:
        super().write(array.inside, data)

    def freeze(self, array: Any) -> None:
        super().freeze(array.inside)

    def add(self, first: Any, second: Any) -> Any:
        return Box(super().add(first.inside, second.inside))

    def stack(self, arrays: list[Any]) -> Any:
        return Box(super().stack([array.inside for array in arrays]))

    def copied(self, array: Any) -> Any:
        return Box(super().copied(array.inside))

    def device_of(self, array: Any) -> Any:
        return super().device_of(array.inside)

    def exporter(self, array: Any, protocol: Protocol) -> Any:
        return array.inside


class Elements(Boxes):
    """Strides are reported in elements."""

    def describe(self, array: Any) -> View:
        view = super().describe(array)
        return replace(view, strides=tuple(s // array.inside.itemsize for s in view.strides))


class ReadsColumns(Boxes):
    def read(self, array: Any) -> bytes:
        return bytes(array.inside.tobytes("F"))


class WritesColumns(Boxes):
    def write(self, array: Any, data: bytes) -> None:
        array.inside[...] = numpy.frombuffer(data, array.inside.dtype).reshape(array.inside.shape, order="F")


class TakesColumns(Boxes):
    def array(self, dtype: DType, shape: tuple[int, ...], data: bytes, device: Device) -> Any:
        made = super().array(dtype, shape, data, device)
        made.inside[...] = numpy.frombuffer(data, made.inside.dtype).reshape(shape, order="F")
        return made


class Packs(Boxes):
    """``contiguous()`` makes the array contiguous."""

    def contiguous(self, array: Any) -> bool:
        array.inside = numpy.ascontiguousarray(array.inside)
        return True


class PacksToRead(Boxes):
    def read(self, array: Any) -> bytes:
        array.inside = numpy.asarray(array.inside, order="C")
        return super().read(array)


class ClearsToRead(Boxes):
    def read(self, array: Any) -> bytes:
        data = super().read(array)
        array.inside[...] = 0
        return data


class Beside(Boxes):
    """The address is that of the second byte of element 1."""

    def describe(self, array: Any) -> View:
        view = super().describe(array)
        return replace(view, address=view.address + 5)


class Nowhere(Boxes):
    def describe(self, array: Any) -> View:
        return replace(super().describe(array), address=8)


class OfACopy(Boxes):
    """The address is that of a copy, which has the same elements."""

    def __init__(self) -> None:
        self.copies: dict[int, tuple[Any, Any]] = {}

    def empty(self, dtype: DType, shape: tuple[int, ...], device: Device) -> Any:
        made = super().empty(dtype, shape, device)
        self.copies[id(made.inside)] = made.inside, made.inside.copy()
        return made

    def array(self, dtype: DType, shape: tuple[int, ...], data: bytes, device: Device) -> Any:
        made = super().array(dtype, shape, data, device)
        self.write(made, data)
        return made

    def view(self, array: Any, step: Any) -> Any:
        raise Unsupported("it has no views")

    def write(self, array: Any, data: bytes) -> None:
        super().write(array, data)
        numpy.copyto(self.copies[id(array.inside)][1], array.inside)

    def describe(self, array: Any) -> View:
        return replace(super().describe(array), address=self.copies[id(array.inside)][1].ctypes.data)


class StartOfBlock(Boxes):
    """A view is reported at the start of its block."""

    def view(self, array: Any, step: Any) -> Any:
        made = super().view(array, step)
        made.block = self.describe(array).address
        return made

    def describe(self, array: Any) -> View:
        view = super().describe(array)
        return replace(view, address=getattr(array, "block", view.address))


class Copies(Boxes):
    """A view is a copy."""

    def view(self, array: Any, step: Any) -> Any:
        return Box(super().view(array, step).inside.copy())


class OneStepTooFew(Boxes):
    """The steps of slices are lost."""

    def view(self, array: Any, step: Any) -> Any:
        keys = getattr(step, "keys", ())
        plain = tuple(slice(k.start, k.stop) if isinstance(k, slice) else k for k in keys)
        return super().view(array, replace(step, keys=plain) if keys else step)


class Restless(Boxes):
    """Every description is another."""

    def __init__(self) -> None:
        self.asked = 0

    def describe(self, array: Any) -> View:
        self.asked += 1
        return replace(super().describe(array), readonly=bool(self.asked % 2))


class Lists(Boxes):
    def describe(self, array: Any) -> View:
        view = super().describe(array)
        return replace(view, shape=list(view.shape))  # type: ignore[arg-type]


class Nicknames(Boxes):
    def describe(self, array: Any) -> View:
        view = super().describe(array)
        return replace(view, dtype="float" if view.dtype == "float32" else view.dtype)


class OnAGpu(Boxes):
    def describe(self, array: Any) -> View:
        return replace(super().describe(array), device=(2, 0))


class Swaps(Boxes):
    """Elements are stored in the other byte order."""

    def array(self, dtype: DType, shape: tuple[int, ...], data: bytes, device: Device) -> Any:
        made = super().array(dtype, shape, data, device)
        made.inside.byteswap(inplace=True)
        return made


class Shares(Boxes):
    """All arrays have the same memory."""

    def __init__(self) -> None:
        self.memory: Any = None

    def empty(self, dtype: DType, shape: tuple[int, ...], device: Device) -> Any:
        if self.memory is None:
            self.memory = numpy.zeros(4096, numpy.uint8)
        count = int(numpy.prod(shape)) * dtype.itemsize
        return Box(self.memory[:count].view(dtype.typestr).reshape(shape))


class Remembers(Boxes):
    """A second read returns the first result."""

    def read(self, array: Any) -> bytes:
        if not hasattr(array, "seen"):
            array.seen = super().read(array)
        return bytes(array.seen)

    def write(self, array: Any, data: bytes) -> None:
        super().write(array, data)
        vars(array).pop("seen", None)


class ReadsLess(Boxes):
    def read(self, array: Any) -> bytes:
        return super().read(array)[:-1]


class ReadsLists(Boxes):
    def read(self, array: Any) -> bytes:
        return list(super().read(array))  # type: ignore[return-value]


class CannotRead(Boxes):
    def read(self, array: Any) -> bytes:
        raise AttributeError("no attribute 'tobyte'")


class WritesBeside(Boxes):
    """A write to a slice also overwrites the bytes between its elements."""

    def view(self, array: Any, step: Any) -> Any:
        made = super().view(array, step)
        made.block = array
        return made

    def write(self, array: Any, data: bytes) -> None:
        if hasattr(array, "block"):
            array.block.inside[...] = 0
        super().write(array, data)


class CannotWrite(Boxes):
    def write(self, array: Any, data: bytes) -> None:
        raise Unsupported("boxes are sealed")


class OneDimension(Boxes):
    """Right, and nothing but vectors."""

    def empty(self, dtype: DType, shape: tuple[int, ...], device: Device) -> Any:
        if len(shape) != 1:
            raise Unsupported("one dimension alone")
        return super().empty(dtype, shape, device)


class SealedVectors(OneDimension):
    def write(self, array: Any, data: bytes) -> None:
        raise Unsupported("boxes are sealed")


class NoWriting(ReferenceAdapter):
    """A trait is declared without its method."""

    write = Adapter.write  # type: ignore[assignment]


class AlwaysContiguous(Boxes):
    def contiguous(self, array: Any) -> bool:
        return True


class NeverFrozen(Boxes):
    def freeze(self, array: Any) -> None:
        pass


class FreezesCopies(Boxes):
    def freeze(self, array: Any) -> None:
        array.inside = array.inside.copy()
        super().freeze(array)


class RestridesElements(Boxes):
    def restride(self, array: Any, strides: tuple[int, ...]) -> Any:
        return super().restride(array, tuple(s * array.inside.itemsize for s in strides))


class RoundsStrides(Boxes):
    """Strides of part of an element are rounded."""

    def restride(self, array: Any, strides: tuple[int, ...]) -> Any:
        size = array.inside.itemsize
        return super().restride(array, tuple(s // size * size for s in strides))


class FirstIsLast(Boxes):
    def last(self, array: Any) -> bytes:
        return self.read(array)[: array.inside.itemsize]


class ShowsBoxes(Boxes):
    """The exported object has no protocol."""

    def exporter(self, array: Any, protocol: Protocol) -> Any:
        return array


class ShowsNothing(Boxes):
    def exporter(self, array: Any, protocol: Protocol) -> Any:
        raise Unsupported("boxes stay shut")


class TakesNothing(Boxes):
    def take(self, offer: Any) -> Any:  # type: ignore[override]
        return offer


class MakesNothing(Boxes):
    def empty(self, dtype: DType, shape: tuple[int, ...], device: Device) -> Any:
        raise Unsupported("there are no boxes left")


class ShortExtent(ReferenceAdapter):
    def extent(self, array: Any) -> tuple[int, int]:
        view = self.describe(array)
        return view.address, view.address + 4


class TightRows(ReferenceAdapter):
    """Padded rows overlap."""

    def pitched(self, dtype: DType, shape: tuple[int, ...], device: Device) -> Any:
        made = super().pitched(dtype, shape, device)
        view = self.describe(made)
        return self.restride(made, (4, *view.strides[1:]))


class PlainIsForeign(Boxes):
    """A plain array is declared as one that cannot be exported."""

    foreign = (Foreign("foreign-order", lambda adapter: Box(numpy.zeros(3, "f4"))),)


class ForeignTwice(Boxes):
    foreign = (Foreign("dates", lambda adapter: None), Foreign("dates", lambda adapter: None))


class ForeignInNoCase(Boxes):
    foreign = (Foreign("Dates/Times", lambda adapter: None),)


class ChangeTwice(Boxes):
    changes = (DELETE, DELETE)


class NoWords(Boxes):
    foreign = (Foreign("int4", lambda adapter: None, words=((0, 4), 4)),)  # type: ignore[arg-type]


class OtherClause(Boxes):
    foreign = (Foreign("dates", lambda adapter: None, clause="DLP-58"),)


class UnknownNarrow(Boxes):
    narrow_dtypes = ("int3",)


class OtherNarrow(Boxes):
    """The halves of each byte are the wrong way round."""

    narrow_dtypes = ("float4_e2m1fn",)

    def narrow(self, dtype: DType, data: bytes, device: Device) -> Any:
        return Box(numpy.frombuffer(bytes(byte >> 4 | (byte & 15) << 4 for byte in data), "uint8"))


class NoState(Boxes):
    """A state that makes no array."""

    states = (State("lazy", lambda adapter, device, use: None),)


class TellsText(Boxes):
    """The report gives the elements of a state as text."""

    states = (State("lazy", lambda adapter, device, use: use(Box(numpy.zeros(3)), "zeros")),)  # type: ignore[arg-type]


class StateRaises(Boxes):
    states = (State("lazy", lambda adapter, device, use: {}["lazy"]),)


class AddsTwo(ReferenceAdapter):
    def kernel_increment(self, array: Any) -> None:
        super().kernel_increment(array)
        super().kernel_increment(array)


class ZeroIsDefault(ReferenceAdapter):
    def handle(self, stream: Any) -> int:
        return 0 if stream.handle == 1 else int(stream.handle)


class FillsBytes(ReferenceAdapter):
    def fill(self, array: Any, value: int, stream: Any) -> None:
        super().fill(array, value * 0x01010101, stream)


class AddsTheFirst(Boxes):
    def add(self, first: Any, second: Any) -> Any:
        return super().copied(first)


class StacksOne(Boxes):
    def stack(self, arrays: list[Any]) -> Any:
        return super().stack(arrays[:1])


class CopiesByItself(Boxes):
    def copied(self, array: Any) -> Any:
        return array


class Place:
    def __repr__(self) -> str:
        return "here"


class DevicesOfTheirOwn(Boxes):
    def device_of(self, array: Any) -> Any:
        return Place()


class StacksNothing(Boxes):
    def stack(self, arrays: list[Any]) -> Any:
        raise Unsupported("boxes are not stacked")


class CopiesNothing(ReferenceAdapter):
    def copy(self, into: Any, array: Any, stream: Any) -> None:
        pass


class OtherStream(ReferenceAdapter):
    def foreign_stream(self, handle: int, device: Device) -> Any:
        return super().foreign_stream(handle + 1 if handle > 2 else handle, device)


MISTAKES = {
    Elements: "describe() of a new array of float32 and shape (3, 4) returns the strides (4, 1); expected (16, 4) bytes: it counts elements",
    ReadsColumns: "read() of a packed array of float32 returns 1 5 9 2 6 10 3 7 …; expected 1 2 3 4 5 6 7 8 …, which are in its memory: it "
    "uses column-major order",
    WritesColumns: "write() of 60 61 62 63 64 65 66 67 … to a packed array of float32 and shape (3, 4) stores 60 63 66 69 61 64 67 70 …: it "
    "uses column-major order",
    Packs: "contiguous() changes the address of a transposed array of float32; expected no change",
    PacksToRead: "read() changes the address of a transposed array of float32; expected no change",
    TakesColumns: "array() stores 1 4 7 10 2 5 8 11 … instead of 1 2 3 4 5 6 7 8 … in a packed array of float32: it uses column-major order",
    ClearsToRead: "read() changes the elements of",
    Beside: "the memory that describe() reports for a new array of float32 holds",
    Nowhere: "describe() of a new array of float32 returns addresses that are not mapped in this process",
    OfACopy: "one of the two uses a copy",
    StartOfBlock: "describe() of a slice of rows of float32 puts element 0 0 bytes behind the start of its block; expected 16 bytes behind it",
    Copies: "describe() of a transposed array of float32 and shape (3, 4) returns the strides (16, 4); expected (4, 12) bytes"
    + EITHER,
    OneStepTooFew: "describe() of a slice with steps of float32 returns the shape (6, 7); expected (3, 3)" + EITHER,
    AddsTheFirst: "add() returns 1 2 3 4 5 6 7 for 1 2 3 4 5 6 7; expected 2 4 6 8 10 12 14" + EITHER,
    StacksOne: "stack() returns 1 2 3 4 5 6 7 for 1 2 3 4 5 6 7; expected 1 2 3 4 5 6 7 1 …" + EITHER,
    CopiesByItself: "the array that copied() returns changes when its source is written" + EITHER,
    DevicesOfTheirOwn: "device_of() of two arrays returns here and here; expected one device" + EITHER,
    StacksNothing: "stack() raises Unsupported: boxes are not stacked, although the adapter declares its trait",
    Restless: "describe() of a new array of float32 returns a different readonly on the second call",
    Lists: "describe() of a new array of float32 returns the shape [3, 4]; expected a tuple of ints",
    Nicknames: "describe() of a new array of float32 names the element type 'float'; expected 'float32'",
    OnAGpu: "describe() of a new array of float32 on host returns the device type 2; expected 1",
    Swaps: "array() stores 4.6006e-41 8.96831e-44 2.30486e-41 instead of 1 2 3 in a short vector of float32" + EITHER,
    Shares: "a packed array of float32 reads 60 61 62 63 64 65 66 67 … after a second array was created; expected 1 2 3 4 5 6 7 8 …: the two share memory",
    Remembers: "read() of a packed array of float32 returns 1 2 3 4 5 6 7 8 … after 60 61 62 63 64 65 66 67 … was written to the memory that",
    ReadsLess: "read() of a new array of float32 and shape (3, 4) returns 47 bytes; expected 48 bytes",
    ReadsLists: "read() of a new array of float32 and shape (3, 4) returns a list; expected 48 bytes",
    CannotRead: "read() of a new array of float32 raises AttributeError: no attribute 'tobyte'" + EITHER,
    WritesBeside: "also changes bytes outside its elements",
    CannotWrite: "it declares the trait writes, but write() raises Unsupported: boxes are sealed",
    SealedVectors: "it declares the trait writes, but write() raises Unsupported: boxes are sealed",
    NoWriting: "it declares the trait writes, but does not override write()",
    AlwaysContiguous: "contiguous() of a transposed array of float32 returns True; expected False" + EITHER,
    NeverFrozen: "describe() of a packed array of float32 reports it as writable after freeze()",
    FreezesCopies: "freeze() changes the address, shape or strides of a packed array of float32",
    RestridesElements: "restride() of a packed array of float32 to (8, 4) bytes returns the shape (3, 4) and the strides (32, 16)",
    RoundsStrides: "restride() of a vector of float32 to (2,) bytes returns the shape (7,) and the strides (0,)",
    FirstIsLast: "last() of a packed array of float32 returns 1; expected 12",
    ShowsBoxes: "it declares that it exports DLPack on host, but the object that exporter() returns has no __dlpack__",
    ShowsNothing: "it declares that it exports DLPack on host, but exporter() raises Unsupported: boxes stay shut",
    TakesNothing: "take() cannot be called with an offer, a protocol and a device",
    MakesNothing: "array() on host creates no array of any declared element type: there are no boxes left" + EITHER,
    ShortExtent: "extent() of a packed array of float32 does not cover all of its elements",
    TightRows: "pitched() of shape (4, 5, 3) and uint8 returns the shape (4, 5, 3) and the strides (4, 3, 1)",
    PlainIsForeign: "it declares foreign-order elements as foreign, but describe() of such an array names the element type 'float32'"
    + EITHER,
    ForeignTwice: "foreign contains the name 'dates' twice",
    ForeignInNoCase: "foreign contains the invalid name 'Dates/Times'; expected lower-case letters, digits, _ and -",
    ChangeTwice: "changes contains the name 'delete' twice",
    NoWords: "foreign 'int4' has the words ((0, 4), 4); expected pairs of a type code and bits",
    OtherClause: "foreign 'dates' cites 'DLP-58'; expected DLP-23 or DLP-12",
    UnknownNarrow: "narrow_dtypes contains 'int3'; expected some of float4_e2m1fn, float6_e2m3fn, float6_e3m2fn",
    OtherNarrow: "narrow() of float4_e2m1fn does not store the elements that it was given" + EITHER,
    NoState: "the state lazy passes 0 arrays to its callback; expected one",
    TellsText: "the state lazy reports its elements as a str; expected bytes or None",
    StateRaises: "creating an array in the state lazy raises KeyError: 'lazy'" + EITHER,
    AddsTwo: "kernel_increment() changes 1 2 3 4 5 6 7 to 3 4 5 6 7 8 9; expected 2 3 4 5 6 7 8",
}
"""A wrong adapter for each mistake, and its message."""
ON_STREAMS = {
    ZeroIsDefault: "handle() of the default stream is 0; expected 1 or 2",
    FillsBytes: "fill() on a stream leaves 1.17901e+08",
    CopiesNothing: "copy() on a stream leaves 0 0 0 0 0 0 0 0 …; expected 7 7 7 7 7 7 7 7 …",
    OtherStream: "handle() of foreign_stream() returns another handle than the given one",
}


@pytest.mark.parametrize("kind", MISTAKES, ids=lambda kind: kind.__name__)
def test_a_wrong_adapter_is_told_by_what_it_says(kind: type[Adapter]) -> None:
    """The message is identical in every run, because environments are compared by it."""
    told = found(kind())
    assert told is not None
    assert MISTAKES[kind] in told
    assert told == found(kind())


@pytest.mark.parametrize("kind", ON_STREAMS, ids=lambda kind: kind.__name__)
def test_a_wrong_adapter_is_told_by_what_it_does_on_streams(kind: type[Adapter]) -> None:
    """Only devices with streams show these mistakes; the host has none."""
    assert ON_STREAMS[kind] in (found(kind(), Device.SIMULATED) or "")
    assert found(kind()) is None


@pytest.mark.parametrize("device", [Device.HOST, Device.SIMULATED])
def test_the_reference_is_trusted(device: Device) -> None:
    """On both of its devices that need no GPU."""
    assert found(ReferenceAdapter(), device) is None


def test_a_flawless_adapter_of_arrays_of_its_own_is_trusted() -> None:
    """So the messages above come from the mistakes."""
    assert found(Boxes()) is None


def test_an_adapter_of_vectors_alone_is_trusted() -> None:
    """Checks of a packed array use a vector instead."""
    assert found(OneDimension()) is None


@pytest.mark.parametrize("name", [name for name in registry.names() if name != "reference"])
def test_the_adapters_that_are_built_in_are_trusted(name: str) -> None:
    """Adapters of installed libraries pass."""
    (measured,) = environment.measure((name,)).environment.libraries
    if measured.absent is not None and measured.untrusted is None:
        pytest.skip(measured.absent)
    assert measured.untrusted is None


class Declines(ReferenceAdapter):
    """The library lacks a feature here that it has elsewhere; the adapter reports that with a cause."""

    def pitched(self, dtype: DType, shape: tuple[int, ...], device: Device) -> Any:
        raise Unsupported("not on this machine") from OSError("no such thing here")

    def kernel_increment(self, array: Any) -> None:
        raise RuntimeError("there is no compiler")


def test_what_a_library_does_not_have_here_is_no_mistake_of_its_adapter() -> None:
    """With a cause, the library refused. Kernels and memory may need hardware that is missing."""
    assert found(Declines()) is None


class Refuses(ReferenceAdapter):
    """Its exports and imports fail, which is for the suite to find out."""

    def exporter(self, array: Any, protocol: Protocol) -> Any:
        class Refusing:
            def __dlpack__(self) -> Any:
                raise BufferError

            @property
            def __dlpack_device__(self) -> Any:
                raise KeyError

        return Refusing()

    def take(self, offer: Any, protocol: Protocol, device: Device, **keywords: Any) -> Any:
        raise BufferError("never")


def test_how_a_library_exchanges_says_nothing_about_its_adapter() -> None:
    """No array changes hands."""
    assert found(Refuses()) is None


def test_memory_is_known_without_a_crash() -> None:
    """Memory of this process, unmapped addresses, and read-only memory."""
    import ctypes
    import mmap

    buffer = ctypes.create_string_buffer(b"abc", 10_000)
    assert is_memory(ctypes.addressof(buffer), 10_000, writable=True)
    assert buffer.raw[:3] == b"abc"
    assert not is_memory(8, 1)
    pages = mmap.mmap(-1, 2 * mmap.PAGESIZE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(pages))
    ctypes.CDLL(None).mprotect(ctypes.c_void_p(start), mmap.PAGESIZE, mmap.PROT_READ)
    assert is_memory(start, 2 * mmap.PAGESIZE)
    assert not is_memory(start, 2 * mmap.PAGESIZE, writable=True)


# -- as a user sees it

ADAPTER = """
import os, signal
from dataclasses import replace
from conformance.adapters.reference import ReferenceAdapter
from conformance.adapters.special import Foreign, State
from conformance.adapters.base import Device, Protocol, Unsupported

class Adapter(ReferenceAdapter):
    name = "{name}"
    distributions = ("{name}-library",)
    exports = {{Device.HOST: (Protocol.DLPACK,)}}
    imports = exports
    candidate_dtypes = ("float32",)
{wrong}
"""
ELEMENTS = """
    def describe(self, array):
        view = super().describe(array)
        return replace(view, strides=tuple(stride // 4 for stride in view.strides))
"""
DIES = """
    def contiguous(self, array):
        os.kill(os.getpid(), signal.SIGSEGV)
"""
LEAVES = """
    def read(self, array):
        os._exit(0)
"""
ASKS_TO_END = """
    def contiguous(self, array):
        raise SystemExit(0)
"""
RAISES = """
    def protocols(self, device):
        raise AttributeError("no attribute 'from_dlpak'")
"""
CASE = "pointer.values/reference-reference/dlpack/host/c-order/float32"


def installed(folder: Path, wrong: str) -> Path:
    """A folder for ``PYTHONPATH`` with a third-party adapter that is wrong in this way."""
    folder.mkdir()
    (folder / "stripes_module.py").write_text(ADAPTER.format(name="stripes", wrong=wrong))
    announce(folder, "stripes", "stripes_module:Adapter")
    return folder


def library(done: Finished) -> dict[str, Any]:
    """Return the library's entry in ``environment.json``."""
    libraries = json.loads((done.out / "environment.json").read_text())["libraries"]
    return next(library for library in libraries if library["name"] == "stripes")


@pytest.fixture
def probed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Library]:
    """Return the library that a separate probe finds for an adapter that is wrong in this way."""

    def run(wrong: str) -> Library:
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(installed(tmp_path / "site", wrong)), PACKAGE)))
        (found,) = environment.measure(("stripes",)).environment.libraries
        return found

    return run


def gaps(library: Library) -> tuple[Gap, ...]:
    """Return the gaps of a run that tests the other libraries on host memory."""
    case = Case("pointer.values", "reference", "numpy", "dlpack", Device.HOST)
    return untested(Environment((library,)), [case]).unusable


def words(text: str) -> str:
    """On one line."""
    return " ".join(text.split())


def test_a_third_partys_wrong_adapter_is_told_and_no_run_is_green(conformance: Command, tmp_path: Path) -> None:
    """In the environment, before the first table, in the sum, in `list` and in the exit code; none of its cases is planned."""
    path = installed(tmp_path / "site", ELEMENTS)
    fact = "adapter not to be trusted: describe() of a new array of float32 and shape (3, 4) returns the strides (4, 1)"
    done = conformance("check", "--case", CASE, path=path)
    assert done.code == 4, done.stderr
    assert library(done)["absent"].startswith(fact)
    assert library(done)["untrusted"]
    assert not library(done)["devices"]
    told = words(done.stdout)
    assert told.index(fact) < told.index("producer ↓")
    assert f"no library was tested, only the reference with itself, because of stripes ({fact}" in told
    assert "PASS" not in told
    assert fact in words(conformance("list", "--family", "pointer", path=path).stdout)
    cases = conformance("list", "--cases", path=path)
    assert "stripes" not in cases.stdout
    assert fact in words(cases.stderr)
    again = conformance("report", str(done.out), path=path)
    assert again.code == 4
    assert fact in words(again.stdout)
    refused = conformance("check", "--between", "stripes", path=path)
    assert (refused.code, fact in words(refused.stderr)) == (2, True)


@pytest.mark.parametrize(
    ("wrong", "fact"),
    [
        (DIES, "while its trait contiguity is checked, its process died with signal 11; the adapter or the library"),
        (RAISES, "probing its capabilities raises AttributeError: no attribute 'from_dlpak'"),
        (
            LEAVES,
            "while its first array is checked, its process ended with exit code 0; the adapter or the library",
        ),
        (
            ASKS_TO_END,
            "while its trait contiguity is checked, it raises SystemExit: 0; the adapter or the library is wrong",
        ),
        ("    def load(self): os.abort()", "while its library is loaded, its process died with signal 6"),
        ("    def load(self): raise KeyboardInterrupt", "load() raises KeyboardInterrupt"),
        ("    def versions(self): raise OSError('gone')", "versions() raises OSError: gone"),
        (
            "    def versions(self): return {'it': 3}",
            "versions() returns {'it': 3}; expected a dict of version strings",
        ),
        ("    traits = {'writes'}", "its traits contain 'writes'; expected members of"),
        ("import sys; sys.exit(0)", "importing it raises SystemExit: 0"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "while its adapter is imported, its process died with signal 11"),
    ],
)
def test_an_adapter_that_ends_its_probe_is_not_trusted_either(
    probed: Callable[[str], Library], wrong: str, fact: str
) -> None:
    """The message has the step of the check, because the probe reports each step before it begins."""
    library = probed(wrong)
    assert (library.absent or "").startswith("adapter not to be trusted: ")
    assert fact in (library.absent or "")
    assert library.untrusted
    assert [gap.name for gap in gaps(library)] == ["stripes"]


def test_an_adapter_that_keeps_the_name_of_another_is_not_trusted(probed: Callable[[str], Library]) -> None:
    """A copy of NumPy's adapter would accuse NumPy."""
    library = probed('    name = "numpy"')
    assert library.untrusted == (
        "its entry point is 'stripes', but its class Adapter in stripes_module has the name 'numpy'; failures would accuse "
        "another library, so give the class and the entry point the same name"
    )
    assert [gap.name for gap in gaps(library)] == ["stripes"]


@pytest.mark.parametrize(
    ("take", "fact"),
    [
        ("(self, offer, protocol, device, **keywords): return super().take(offer, protocol, device)", "shares memory and does not pass `copy` on"),
        ("(self, offer, protocol, device): return super().take(offer, protocol, device)", "raises TypeError: "),
        ("(self, offer, protocol, device, copy=None): raise Unsupported('no')", "raises Unsupported: no"),
        ("(self, offer, protocol, device, **keywords): os.abort()", None),
        ("(self, offer, protocol, device, **keywords): raise ValueError", None),
        ("(self, offer, protocol, device, copy=None): return super().take(offer, protocol, device, copy=copy)", None),
    ],
)  # fmt: skip
def test_a_declared_copy_keyword_is_tried(take: str, fact: str | None, probed: Callable[[str], Library]) -> None:
    """An adapter that drops it would have its library accused; a library that cannot import says nothing of its adapter."""
    library = probed(f"    def take{take}")
    if fact is None:
        assert (library.absent, gaps(library)) == (None, ())
    else:
        assert fact in (library.absent or "")
        assert "it declares the trait copy-keyword, but take() with copy=True" in (library.absent or "")
        assert [gap.name for gap in gaps(library)] == ["stripes"]


def test_an_adapter_that_cannot_be_imported_keeps_nobody_from_a_script(conformance: Command, tmp_path: Path) -> None:
    """A case of other libraries still runs."""
    done = conformance("repro", CASE, path=installed(tmp_path / "site", "import sys; sys.exit(0)"))
    assert (done.code, CASE in done.stdout) == (0, True)
