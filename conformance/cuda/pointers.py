"""The driver's data about an address: memory type, device, context, and whether it is managed."""

from __future__ import annotations

import ctypes
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from enum import IntEnum

from . import context
from .driver import CudaError, call

_CONTEXT, _MEMORY_TYPE, _DEVICE_POINTER, _IS_MANAGED, _DEVICE_ORDINAL = 1, 2, 3, 8, 9
_INVALID_VALUE = 1


class MemoryType(IntEnum):
    """``CUmemorytype``."""

    HOST = 1
    DEVICE = 2
    ARRAY = 3
    UNIFIED = 4


@dataclass(frozen=True)
class Pointer:
    """The driver's data about one address."""

    address: int
    memory_type: MemoryType
    ordinal: int
    managed: bool
    context: int

    @property
    def dlpack_device(self) -> tuple[int, int]:
        """The (type, id) that DLPack requires for this memory (DLP-15). The id is 0 for pinned and managed memory."""
        if self.managed:
            return 13, 0
        if self.memory_type is MemoryType.HOST:
            return 3, 0
        return 2, self.ordinal


def query(address: int) -> Pointer | None:
    """Return the driver's data about ``address``, or ``None`` for unknown memory (plain host memory, garbage)."""
    try:
        with _some_context():
            return Pointer(
                address=address,
                memory_type=MemoryType(_attribute(address, _MEMORY_TYPE, ctypes.c_uint())),
                ordinal=_attribute(address, _DEVICE_ORDINAL, ctypes.c_int()),
                managed=bool(_attribute(address, _IS_MANAGED, ctypes.c_uint())),
                context=_attribute(address, _CONTEXT, ctypes.c_void_p()) or 0,
            )
    except CudaError as error:
        if error.code == _INVALID_VALUE:
            return None
        raise


def ordinal_of(address: int) -> int | None:
    """Return the GPU of ``address``, or ``None`` for memory that the driver does not know."""
    try:
        with _some_context():
            return _attribute(address, _DEVICE_ORDINAL, ctypes.c_int())
    except CudaError as error:
        if error.code == _INVALID_VALUE:
            return None
        raise


def device_pointer(address: int) -> int:
    """Return the address by which the current context accesses this memory (CAI-29)."""
    return int(_attribute(address, _DEVICE_POINTER, ctypes.c_void_p()) or 0)


def _attribute(address: int, attribute: int, into: ctypes.c_uint | ctypes.c_int | ctypes.c_void_p) -> int:
    call("cuPointerGetAttribute", ctypes.byref(into), attribute, ctypes.c_void_p(address))
    return into.value or 0


def _some_context() -> AbstractContextManager[None]:
    """Return a block with any context. Keep the current one if possible, so that no context is created on an unused GPU."""
    return nullcontext() if context.current() else context.using(context.primary())
