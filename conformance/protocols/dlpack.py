"""DLPack 1.3: C structs, constants, and a decoder that copies all fields.

Pointers are kept as plain addresses (``c_void_p``), so that nothing dereferences them by accident: a capsule under test may hold anything.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from enum import IntEnum, IntFlag

from .strided import c_strides


class DLDeviceType(IntEnum):
    """``DLDeviceType`` (DLP-15)."""

    CPU = 1
    CUDA = 2
    CUDA_HOST = 3
    OPENCL = 4
    VULKAN = 7
    METAL = 8
    VPI = 9
    ROCM = 10
    ROCM_HOST = 11
    EXT_DEV = 12
    CUDA_MANAGED = 13
    ONEAPI = 14
    WEBGPU = 15
    HEXAGON = 16
    MAIA = 17
    TRN = 18


class DLFlags(IntFlag):
    """The defined bits of ``flags`` in a versioned capsule (DLP-07)."""

    NONE = 0
    READ_ONLY = 1
    IS_COPIED = 2
    SUBBYTE_PADDED = 4


class DLDevice(ctypes.Structure):
    _fields_ = [("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32)]


class DLDataType(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16)]


class DLTensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device", DLDevice),
        ("ndim", ctypes.c_int32),
        ("dtype", DLDataType),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("byte_offset", ctypes.c_uint64),
    ]


class DLPackVersion(ctypes.Structure):
    _fields_ = [("major", ctypes.c_uint32), ("minor", ctypes.c_uint32)]


class DLManagedTensor(ctypes.Structure):
    """The legacy struct (DLPack below 1.0), in capsules named ``dltensor``."""

    _fields_ = [
        ("dl_tensor", DLTensor),
        ("manager_ctx", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
    ]


class DLManagedTensorVersioned(ctypes.Structure):
    """The struct of DLPack 1.x, in capsules named ``dltensor_versioned``."""

    _fields_ = [
        ("version", DLPackVersion),
        ("manager_ctx", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("dl_tensor", DLTensor),
    ]


DELETER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
"""The type of a deleter in Python. ctypes takes the GIL for it, so any thread can call it (DLP-27)."""

LEGACY = b"dltensor"
VERSIONED = b"dltensor_versioned"
USED_LEGACY = b"used_dltensor"
USED_VERSIONED = b"used_dltensor_versioned"
MAX_NDIM = 1024
"""The highest ``ndim`` that is decoded. A higher one is garbage."""


@dataclass(frozen=True)
class Tensor:
    """All fields of a capsule, copied from its struct.

    ``shape`` and ``strides`` count elements. ``strides`` is ``None`` for a NULL pointer (row-major, DLP-20). ``version`` and ``flags`` are
    ``None`` in a legacy struct. ``address`` is the address of the struct, and ``deleter`` that of the function (0 for NULL).
    """

    address: int
    version: tuple[int, int] | None
    flags: int | None
    data: int
    byte_offset: int
    device: tuple[int, int]
    code: int
    bits: int
    lanes: int
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None
    deleter: int

    @property
    def element0(self) -> int:
        """The address of the first element: ``data + byte_offset`` (DLP-17)."""
        return self.data + self.byte_offset

    @property
    def strides_or_packed(self) -> tuple[int, ...]:
        """Strides in elements, computed if the struct has NULL strides (DLP-20, DLP-21)."""
        return c_strides(self.shape) if self.strides is None else self.strides


class Malformed(ValueError):
    """Raised for a struct that cannot be decoded safely."""


class ForeignVersion(Malformed):
    """Raised for a struct of another major version. It may be correct, but the fields after ``flags`` must not be read."""


def decode(address: int, name: bytes) -> Tensor:
    """Copy the struct at ``address``. ``name`` is the capsule's name, which decides the layout (I23).

    Raises :class:`Malformed` for an unknown name, an absurd ``ndim``, or a NULL shape with ``ndim > 0``. Raises its subclass
    :class:`ForeignVersion` for another major version.
    """
    if name in (VERSIONED, USED_VERSIONED):
        managed = DLManagedTensorVersioned.from_address(address)
        version = (managed.version.major, managed.version.minor)
        if version[0] != 1:
            raise ForeignVersion(f"major version {version[0]}: nothing behind its flags may be read (DLP-04)")
        return _tensor(address, managed.dl_tensor, managed.deleter, version, managed.flags)
    if name in (LEGACY, USED_LEGACY):
        legacy = DLManagedTensor.from_address(address)
        return _tensor(address, legacy.dl_tensor, legacy.deleter, None, None)
    raise Malformed(f"a capsule named {name!r} is not a DLPack capsule (DLP-01)")


def _tensor(
    address: int, t: DLTensor, deleter: int | None, version: tuple[int, int] | None, flags: int | None
) -> Tensor:
    ndim = t.ndim
    if not 0 <= ndim <= MAX_NDIM:
        raise Malformed(f"ndim is {ndim}")
    if ndim and not t.shape:
        raise Malformed(f"shape is NULL with ndim {ndim}")
    return Tensor(
        address=address,
        version=version,
        flags=flags,
        data=t.data or 0,
        byte_offset=t.byte_offset,
        device=(t.device.device_type, t.device.device_id),
        code=t.dtype.code,
        bits=t.dtype.bits,
        lanes=t.dtype.lanes,
        shape=_int64s(t.shape, ndim),
        strides=_int64s(t.strides, ndim) if t.strides else (None if ndim else ()),
        deleter=deleter or 0,
    )


def _int64s(address: int, count: int) -> tuple[int, ...]:
    return tuple((ctypes.c_int64 * count).from_address(address)) if count else ()


def raw(address: int, name: bytes) -> bytes:
    """Return the bytes of the struct, its shape and its strides, which an importer must not change (I08)."""
    size = ctypes.sizeof(DLManagedTensorVersioned if name in (VERSIONED, USED_VERSIONED) else DLManagedTensor)
    tensor = decode(address, name)
    return ctypes.string_at(address, size) + repr((tensor.shape, tensor.strides)).encode()


def tells_unknown_keyword(text: str) -> bool:
    """Return whether the message of a ``TypeError`` reports an unknown keyword, as Python or pybind11 word it."""
    return "keyword" in text or "incompatible function arguments" in text
