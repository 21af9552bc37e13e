"""The structs behind the reference's capsules: built in full, watched for every call of their deleter.

A struct stays alive until its deleter has run. A second call, or a call with a pointer that was
never handed out, is recorded and not punished with a crash.
"""

from __future__ import annotations

import ctypes
import weakref
from dataclasses import dataclass
from enum import Enum
from typing import Any

from conformance.protocols import capsule
from conformance.protocols.dlpack import (
    DELETER,
    LEGACY,
    VERSIONED,
    DLManagedTensor,
    DLManagedTensorVersioned,
    DLTensor,
)


class Deleter(str, Enum):
    """What a struct's deleter is."""

    COUNTING = "counting"
    """Ours, in Python: counts, releases the owner, takes the GIL by itself."""
    NATIVE = "native"
    """libc's ``sem_post``: adds 1 to the struct's first 32 bits. Needs no interpreter, so it also counts after
    the interpreter is gone or from a thread that Python never saw; it releases nothing."""
    NULL = "null"
    """None at all, which the specification allows (DLP-26)."""


@dataclass(frozen=True)
class Fields:
    """Every field of an exported struct. ``version`` and ``flags`` of ``None`` make the legacy struct.

    ``shape`` and ``strides`` count elements; ``None`` leaves the pointer NULL. ``ndim`` defaults to the
    length of ``shape``.
    """

    data: int
    device: tuple[int, int]
    code: int
    bits: int
    shape: tuple[int, ...] | None
    strides: tuple[int, ...] | None
    lanes: int = 1
    byte_offset: int = 0
    version: tuple[int, int] | None = (1, 0)
    flags: int = 0
    deleter: Deleter = Deleter.COUNTING
    ndim: int | None = None

    @property
    def name(self) -> bytes:
        """The capsule's name."""
        return LEGACY if self.version is None else VERSIONED


class Managed:
    """One exported struct and what became of it.

    ``deleter_calls`` counts calls of the deleter with this struct's address; ``owner`` is what the
    struct keeps alive until the first of them.
    """

    def __init__(self, fields: Fields, owner: Any) -> None:
        self.fields = fields
        self.owner = owner
        self._counted = 0
        self._shape = _int64s(fields.shape)
        self._strides = _int64s(fields.strides)
        self.struct = self._build()
        self.address = ctypes.addressof(self.struct)
        _known[self.address] = self
        if fields.deleter is not Deleter.NULL:
            _live[self.address] = self

    def _build(self) -> DLManagedTensor | DLManagedTensorVersioned:
        f = self.fields
        struct: DLManagedTensor | DLManagedTensorVersioned
        if f.version is None:
            struct = DLManagedTensor()
        else:
            struct = DLManagedTensorVersioned()
            struct.version.major, struct.version.minor = f.version
            struct.flags = f.flags
        self._first_word = f.data & 0xFFFFFFFF if f.version is None else f.version[0]
        struct.deleter = _deleter_address(f.deleter)
        _fill(struct.dl_tensor, f, self._shape, self._strides)
        return struct

    @property
    def deleter_calls(self) -> int:
        """How often the deleter was called with the right pointer."""
        if self.fields.deleter is Deleter.NATIVE:
            word = ctypes.c_uint32.from_address(self.address).value
            return (word - self._first_word) & 0xFFFFFFFF
        return self._counted

    def capsule(self) -> Any:
        """A fresh capsule around the struct, with the destructor that the specification describes (DLP-24)."""
        return capsule.new(self.address, self.fields.name, DESTRUCTOR_ADDRESS)

    def run_deleter(self) -> None:
        """What a call of the counting deleter does; releases the owner once."""
        self._counted += 1
        self.owner = None
        _live.pop(self.address, None)


stray_deleter_calls: list[int] = []
"""Addresses that a deleter was called with though no struct of ours lies there."""

_live: dict[int, Managed] = {}
_known: weakref.WeakValueDictionary[int, Managed] = weakref.WeakValueDictionary()


def live_count() -> int:
    """Structs whose deleter has not run yet."""
    return len(_live)


def _on_delete(address: int | None) -> None:
    managed = _known.get(address or 0)
    if managed is None:
        stray_deleter_calls.append(address or 0)
    else:
        managed.run_deleter()


def _on_destroy(capsule_address: int | None) -> None:
    if not capsule_address or capsule.name_at(capsule_address) not in (LEGACY, VERSIONED):
        return
    managed = _known.get(capsule.pointer_at(capsule_address))
    if managed is not None and managed.fields.deleter is Deleter.COUNTING:
        managed.run_deleter()


_delete_callback = DELETER(_on_delete)
_destroy_callback = capsule.DESTRUCTOR(_on_destroy)
DESTRUCTOR_ADDRESS: int = ctypes.cast(_destroy_callback, ctypes.c_void_p).value or 0


def _deleter_address(kind: Deleter) -> int | None:
    if kind is Deleter.NULL:
        return None
    if kind is Deleter.NATIVE:
        return ctypes.cast(ctypes.CDLL(None).sem_post, ctypes.c_void_p).value
    return ctypes.cast(_delete_callback, ctypes.c_void_p).value


def _fill(t: DLTensor, f: Fields, shape: Any, strides: Any) -> None:
    t.data = f.data or None
    t.device.device_type, t.device.device_id = f.device
    t.ndim = len(f.shape or ()) if f.ndim is None else f.ndim
    t.dtype.code, t.dtype.bits, t.dtype.lanes = f.code, f.bits, f.lanes
    t.shape = ctypes.addressof(shape) if shape is not None else None
    t.strides = ctypes.addressof(strides) if strides is not None else None
    t.byte_offset = f.byte_offset


def _int64s(values: tuple[int, ...] | None) -> Any:
    return None if values is None else (ctypes.c_int64 * max(len(values), 1))(*values)
