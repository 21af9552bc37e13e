"""Adapter of NumPy: DLPack on host memory."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from conformance.protocols.dtypes import NATIVE_ORDER, DLCode, DType
from conformance.protocols.strided import Broadcast, Index, Step

from .base import Adapter, Device, Protocol, Trait, Unsupported, View, by_keywords, refusing
from .calls import ARRAY, ARRAY_INTERFACE, BUFFER, DLPACK, Gets, Style, UserCall
from .changes import DELETE, Change
from .making import array_makings
from .special import Foreign, State, Use

_ALIGNMENT = 256
FOREIGN_ORDER = ">" if NATIVE_ORDER == "<" else "<"
AN_ARRAY_OF_FOREIGN_ORDER = "an array of foreign byte order"
RECORD = [("a", "f4"), ("b", "i4")]
"""A structured type of 8 bytes."""


def _foreign(name: str, kind: Any, **facts: Any) -> Foreign:
    return Foreign(name, lambda adapter: adapter.numpy.zeros(3, kind), **facts)


def _foreign_order(kind: str) -> Foreign:
    name = f"foreign-order-{kind}"
    return _foreign(name, f"{FOREIGN_ORDER}{kind}", clause="DLP-12", given=AN_ARRAY_OF_FOREIGN_ORDER)


def _extension(name: str, dtype: str, words: tuple[tuple[int, int], ...]) -> Foreign:
    """Return the declaration of an array with a type of ml_dtypes, which JAX installs."""
    kind = DType(dtype, DLCode.OPAQUE, 0, None)
    return Foreign(name, lambda adapter: adapter.numpy.zeros(3, numpy_dtype(kind)), words=words)


def narrow_integer(code: DLCode, bits: int) -> tuple[tuple[int, int], ...]:
    """Return the type codes for an integer narrower than a byte: its own, and that of the whole byte that stores it (DLP-56)."""
    return ((code, bits), (code, 8))


def _masked(adapter: NumpyAdapter, device: Device, use: Use) -> None:
    numpy = adapter.numpy
    use(numpy.ma.masked_array(numpy.array([1, 2, 3], "float32"), mask=[False, True, False]), None)


def _owned(adapter: NumpyAdapter, data: bytes, device: Device) -> Any:
    """Return an array that owns its memory, since a view cannot be resized."""
    return adapter.numpy.frombuffer(data, "float32").copy()


def _resize(adapter: NumpyAdapter, held: list[Any], device: Device) -> None:
    """Resize the only reference, because NumPy counts references."""
    array = held.pop()
    array.resize(4 * array.size)
    held.append(array)


def _resize_unchecked(adapter: NumpyAdapter, held: list[Any], device: Device) -> None:
    held[0].resize(4 * held[0].size, refcheck=False)


def _data(adapter: NumpyAdapter, held: list[Any], device: Device) -> None:
    """Set ``data``, which newer versions refuse."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        held[0].data = adapter.numpy.zeros_like(held[0])


class NumpyAdapter(Adapter):
    """NumPy, by ``numpy.from_dlpack`` and ``ndarray.__dlpack__``."""

    name = "numpy"
    distributions = ("numpy",)
    preload = ("numpy",)
    traits = frozenset(
        {
            Trait.ARRAY_API, Trait.WRITES, Trait.READONLY, Trait.COPY_KEYWORD, Trait.DEVICE_KEYWORD,
            Trait.STRIDES, Trait.BYTE_STRIDES, Trait.CONTIGUITY, Trait.ADDS, Trait.STACKS, Trait.COPIES, Trait.DEVICE_ATTRIBUTE,
        }
    )  # fmt: skip
    exports = {Device.HOST: (Protocol.DLPACK,)}
    imports = {Device.HOST: (Protocol.DLPACK,)}
    candidate_dtypes = (
        "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
        "float16", "float32", "float64", "complex64", "complex128",
    )  # fmt: skip
    foreign = (
        _foreign("object", "O"),
        _foreign("datetime64", "M8[s]"),
        _foreign("timedelta64", "m8[s]"),
        _foreign("unicode", "U2"),
        _foreign("bytes", "S2"),
        _foreign("void", "V4"),
        _foreign("structured", RECORD),
        _foreign("longdouble", "g"),
        _foreign("clongdouble", "G"),
        _foreign_order("f4"),
        _foreign_order("i2"),
        _foreign_order("c16"),
        _extension("bfloat16", "bfloat16", ((DLCode.BFLOAT, 16),)),
        _extension("float8", "float8_e5m2", ((DLCode.FLOAT8_E5M2, 8),)),
        _extension("int4", "int4", narrow_integer(DLCode.INT, 4)),
    )
    made = array_makings("numpy", '"float32"')
    states = (State("masked", _masked, (Device.HOST,), masked=True),)
    calls = (
        UserCall(
            "numpy.asarray",
            lambda adapter, thing, device: adapter.numpy.asarray(thing),
            knows=(ARRAY_INTERFACE, ARRAY, BUFFER),
            may_copy=True,
        ),
        UserCall("numpy.from_dlpack", lambda adapter, thing, device: adapter.numpy.from_dlpack(thing), reads=DLPACK),
    )
    styles = (
        Style("numpy.from_dlpack-capsule", Gets.CAPSULE, lambda adapter, capsule: adapter.numpy.from_dlpack(capsule)),
        Style("numpy.asarray-copy-false", Gets.ARRAY, lambda adapter, thing: adapter.numpy.asarray(thing, copy=False)),
    )
    subclasses = True
    changes = (
        Change("resize", "`a.resize(larger)`", _resize, (Device.HOST,), _owned),
        Change(
            "resize-unchecked",
            "`a.resize(larger, refcheck=False)`",
            _resize_unchecked,
            (Device.HOST,),
            _owned,
            waived=True,
        ),
        Change("data", "`a.data = other`", _data, (Device.HOST,), _owned),
        DELETE,
    )

    def load(self) -> None:
        import numpy

        self.numpy = numpy

    def present_traits(self) -> frozenset[Trait]:
        """Return the traits. Older versions have neither ``copy`` nor ``device`` in ``from_dlpack``, and no ``device`` on arrays."""
        lacks = frozenset() if hasattr(self.numpy.ndarray, "device") else frozenset({Trait.DEVICE_ATTRIBUTE})
        return by_keywords(self.traits - lacks, self.numpy.from_dlpack)

    def empty(self, dtype: DType, shape: tuple[int, ...], device: Device) -> Any:
        """Return an array that is aligned to 256 bytes, so that a consumer with an alignment of its own has no reason to copy (DLP-18)."""
        kind = numpy_dtype(dtype)
        if 0 in shape:
            return self.numpy.empty(shape, kind)  # with NumPy's own strides, since there is nothing to align
        count = 1
        for extent in shape:
            count *= extent
        raw = self.numpy.zeros(count * kind.itemsize + _ALIGNMENT, self.numpy.uint8)
        start = -raw.ctypes.data % _ALIGNMENT
        return raw[start : start + count * kind.itemsize].view(kind).reshape(shape)

    def view(self, array: Any, step: Step) -> Any:
        """Index with an ellipsis, because an index for every dimension returns a scalar and not a view."""
        if isinstance(step, Index):
            return array[(*step.keys, ...)]
        return super().view(array, step)

    def broadcast(self, array: Any, step: Broadcast) -> Any:
        """Return a writable view, as other libraries do. ``numpy.broadcast_to`` returns a read-only one."""
        return self.numpy.lib.stride_tricks.as_strided(
            array,
            shape=step.shape,
            strides=tuple(
                0 if old == 1 and new != 1 else stride
                for old, new, stride in zip(array.shape, step.shape, array.strides)
            ),
        )

    def restride(self, array: Any, strides: tuple[int, ...]) -> Any:
        return self.numpy.lib.stride_tricks.as_strided(array, shape=array.shape, strides=strides)

    def contiguous(self, array: Any) -> bool:
        return bool(array.flags.c_contiguous)

    def describe(self, array: Any) -> View:
        return View(
            address=array.ctypes.data,
            shape=array.shape,
            strides=array.strides,
            dtype=dtype_name(array.dtype),
            device=(1, 0),
            readonly=not array.flags.writeable,
        )

    def read(self, array: Any) -> bytes:
        return bytes(array.tobytes())

    def write(self, array: Any, data: bytes) -> None:
        array[...] = self.numpy.frombuffer(data, array.dtype).reshape(array.shape)

    def add(self, first: Any, second: Any) -> Any:
        return first + second

    def stack(self, arrays: list[Any]) -> Any:
        return self.numpy.stack(arrays)

    def copied(self, array: Any) -> Any:
        """Return a copy in row-major order."""
        return array.copy()

    def device_of(self, array: Any) -> Any:
        """Return ``device``, which NumPy has had since version 2."""
        return array.device

    def freeze(self, array: Any) -> None:
        array.flags.writeable = False

    def subclassed(self, array: Any, asked: Callable[[], None]) -> Any:
        return array.view(refusing(self.numpy.ndarray, asked))

    def take(self, offer: Any, protocol: Protocol, device: Device, **keywords: Any) -> Any:
        return self.numpy.from_dlpack(offer, **keywords)


@lru_cache(maxsize=256)
def dtype_name(kind: Any) -> str:
    """Return NumPy's name of a dtype, or its typestr if the byte order is foreign."""
    return str(kind.name if kind.isnative else kind.str)


def numpy_dtype(dtype: DType) -> Any:
    """Return NumPy's dtype of this name. Extension types need ml_dtypes."""
    import numpy

    if dtype.kind is not None:
        return numpy.dtype(dtype.typestr)
    try:
        import ml_dtypes
    except ImportError:
        raise Unsupported(f"NumPy has no {dtype.name} without ml_dtypes") from None
    found = getattr(ml_dtypes, dtype.name, None)
    if found is None:
        raise Unsupported(f"NumPy has no {dtype.name}")
    return numpy.dtype(found)
