"""Structs behind the reference library's capsules, with a record of every deleter call.

A struct stays alive until its deleter has run. A second call, and a call with an unknown pointer, are recorded and do not crash.

The deleter and the destructor are Python functions behind ctypes, and such a function loses the current exception when it is called. The
deleter cannot avoid that (:attr:`Deleter.NATIVE` can). The destructor does not run at such moments: this module also holds every capsule
until the next one is made or :func:`settle` is called. So an importer that drops a capsule while it raises does not run the destructor.
"""

from __future__ import annotations

import atexit
import ctypes
import threading
import weakref
from collections import deque
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
    """The kind of a struct's deleter."""

    COUNTING = "counting"
    """A Python function: counts its calls, releases the owner, and takes the GIL itself."""
    NATIVE = "native"
    """libc's ``rand_r``, which advances the struct's first 32 bits by one step of its generator. It needs no interpreter. So it also counts
    calls during an exception, from a thread without Python state, and after the interpreter has ended. It releases nothing.
    """
    NULL = "null"
    """No deleter, which the specification allows (DLP-26)."""


@dataclass(frozen=True)
class Fields:
    """Every field of an exported struct. ``None`` for ``version`` and ``flags`` makes a legacy struct.

    ``shape`` and ``strides`` count elements; ``None`` leaves the pointer NULL. ``ndim`` defaults to the length of ``shape``.
    ``has_context`` gives ``manager_ctx`` a value. That field belongs to the producer, so an importer must accept both.
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
    has_context: bool = True
    ndim: int | None = None

    @property
    def name(self) -> bytes:
        """The capsule's name."""
        return LEGACY if self.version is None else VERSIONED


class Managed:
    """One exported struct and its record.

    ``deleter_calls`` counts deleter calls with this struct's address. ``owner`` is the object that the struct keeps alive until the first call.
    ``callers`` are the kernel's ids of the threads that called the counting deleter. Python reuses the identifiers of ended threads.
    """

    def __init__(self, fields: Fields, owner: Any) -> None:
        self.fields = fields
        self.owner = owner
        self.callers: list[int] = []
        self._shape = _int64s(fields.shape)
        self._strides = _int64s(fields.strides)
        self._context = ctypes.create_string_buffer(_CONTEXT_BYTES) if fields.has_context else None
        self.struct = self._build()
        self.address = ctypes.addressof(self.struct)
        _known[self.address] = self
        if fields.deleter is not Deleter.NULL:
            _live[self.address] = self
        if fields.deleter is Deleter.NATIVE:
            _let_go()
            _native.append(self)

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
        struct.manager_ctx = None if self._context is None else ctypes.addressof(self._context)
        struct.deleter = _deleter_address(f.deleter)
        _fill(struct.dl_tensor, f, self._shape, self._strides)
        return struct

    @property
    def deleter_calls(self) -> int:
        """The number of deleter calls with the right pointer."""
        if self.fields.deleter is Deleter.NATIVE:
            return _steps(self._first_word, ctypes.c_uint32.from_address(self.address).value)
        return len(self.callers)

    def capsule(self) -> Any:
        """Return a new capsule around the struct, with the destructor that the specification describes (DLP-24).

        It is destroyed by the next :func:`settle` at the earliest. Making a capsule calls :func:`settle`.
        """
        settle()
        made = capsule.new(self.address, self.fields.name, DESTRUCTOR_ADDRESS)
        _held.append(made)
        return made

    def run_deleter(self) -> None:
        """Record a call of the counting deleter, and release the owner once."""
        self.callers.append(threading.get_native_id())
        self.owner = None
        _live.pop(self.address, None)


_CONTEXT_BYTES = 16
"""The size of each struct's own ``manager_ctx``. Its content is unused."""

stray_deleter_calls: list[int] = []
"""The addresses of deleter calls for which this module has no struct."""

_live: dict[int, Managed] = {}
_known: weakref.WeakValueDictionary[int, Managed] = weakref.WeakValueDictionary()
_held: list[Any] = []
_NEWEST = 64
_native: deque[Managed] = deque(maxlen=_NEWEST // 4)
"""The latest structs with a native deleter, which cannot release the owner itself. A struct that is not released keeps its owner."""
_released: deque[Managed] = deque(maxlen=_NEWEST)
"""The structs that were released last. Their memory stays valid, so that a second deleter call finds it."""


def settle() -> None:
    """Drop the capsules that are held back, which destroys those without another reference."""
    _held.clear()


def _let_go() -> None:
    """Release the owner of each struct after a call of its native deleter."""
    for managed in [managed for managed in _native if managed.deleter_calls]:
        try:
            _native.remove(managed)
        except ValueError:
            continue  # another thread was faster
        managed.owner = None
        _live.pop(managed.address, None)
        _released.append(managed)


atexit.register(settle)


def live_count() -> int:
    """Return the number of structs with a deleter that has not run yet, after :func:`settle`."""
    settle()
    _let_go()
    return len(_live)


_clear_exception = ctypes.PYFUNCTYPE(None)(("PyErr_Clear", ctypes.pythonapi))


def _on_delete(address: int | None) -> None:
    _clear_exception()  # during an exception, every call below would fail
    managed = _known.get(address or 0)
    if managed is None:
        stray_deleter_calls.append(address or 0)
    else:
        managed.run_deleter()


def _on_destroy(capsule_address: int | None) -> None:
    _clear_exception()
    if not capsule_address or capsule.name_at(capsule_address) not in (LEGACY, VERSIONED):
        return
    managed = _known.get(capsule.pointer_at(capsule_address))
    if managed is not None and managed.fields.deleter is Deleter.COUNTING:
        managed.run_deleter()


_delete_callback = DELETER(_on_delete)
_destroy_callback = capsule.DESTRUCTOR(_on_destroy)
for _callback in (_delete_callback, _destroy_callback):
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(_callback))  # capsules and structs may outlive this module
DESTRUCTOR_ADDRESS: int = ctypes.cast(_destroy_callback, ctypes.c_void_p).value or 0


_step = ctypes.CDLL(None).rand_r
_MANY = 64


def _steps(first: int, now: int) -> int:
    """Return the number of generator steps between two words, at most :data:`_MANY`."""
    word = ctypes.c_uint32(first)
    for count in range(_MANY):
        if word.value == now:
            return count
        _step(ctypes.byref(word))
    return _MANY


def _deleter_address(kind: Deleter) -> int | None:
    if kind is Deleter.NULL:
        return None
    if kind is Deleter.NATIVE:
        return ctypes.cast(_step, ctypes.c_void_p).value
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
