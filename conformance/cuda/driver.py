"""libcuda through ctypes: find it, load it, call it, and turn its codes into exceptions.

Nothing of a CUDA runtime or of a framework is used, so what these instruments say does not depend
on anything under test. Every call goes to the driver that the process really loaded.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from functools import lru_cache
from typing import Any

_NAMES = ("libcuda.so.1", "libcuda.so", "nvcuda.dll")
_SUCCESS = 0
NOT_READY = 600
_STICKY = frozenset({700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 721, 999})
"""Codes that leave the context unusable: illegal address, launch timeout, assert, trap, and their kin."""


class DriverUnavailable(RuntimeError):
    """There is no usable CUDA driver here; the text says why."""


class CudaError(RuntimeError):
    """A driver call returned an error; ``code`` is its ``CUresult``."""

    def __init__(self, call: str, code: int) -> None:
        self.code = code
        self.call = call
        super().__init__(f"{call} returned {code} ({_error_name(code)})")

    @property
    def sticky(self) -> bool:
        """Whether the context is lost: every later call of this process will fail too."""
        return self.code in _STICKY


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL:
    """The loaded, initialised driver library. Raises :class:`DriverUnavailable` where there is none."""
    lib = _load()
    code = lib.cuInit(0)
    if code != _SUCCESS:
        raise DriverUnavailable(f"cuInit returned {code} ({_name_from(lib, code)})")
    return lib


def _load() -> ctypes.CDLL:
    problems = []
    for name in _NAMES:
        try:
            return ctypes.CDLL(name)
        except OSError as error:
            problems.append(str(error))
    raise DriverUnavailable(problems[0])


def call(name: str, *arguments: Any) -> None:
    """Call a driver function; raises :class:`CudaError` unless it returns success."""
    code = status(name, *arguments)
    if code != _SUCCESS:
        raise CudaError(name, code)


def status(name: str, *arguments: Any) -> int:
    """Call a driver function and return its ``CUresult`` as it is. The GIL is released meanwhile."""
    code: int = getattr(library(), name)(*arguments)
    return code


def _error_name(code: int) -> str:
    return _name_from(library(), code)


def _name_from(lib: ctypes.CDLL, code: int) -> str:
    text = ctypes.c_char_p()
    lib.cuGetErrorName(code, ctypes.byref(text))
    return (text.value or b"unknown error").decode()


def version() -> tuple[int, int]:
    """The newest CUDA version that the driver supports, such as ``(13, 0)``."""
    value = ctypes.c_int()
    call("cuDriverGetVersion", ctypes.byref(value))
    return value.value // 1000, value.value % 1000 // 10


def device_count() -> int:
    """Number of visible GPUs."""
    value = ctypes.c_int()
    call("cuDeviceGetCount", ctypes.byref(value))
    return value.value


def device_name(ordinal: int = 0) -> str:
    """The GPU's name."""
    buffer = ctypes.create_string_buffer(256)
    call("cuDeviceGetName", buffer, 256, _device(ordinal))
    return buffer.value.decode()


def device_attribute(attribute: int, ordinal: int = 0) -> int:
    """A ``CUdevice_attribute`` by its number."""
    value = ctypes.c_int()
    call("cuDeviceGetAttribute", ctypes.byref(value), attribute, _device(ordinal))
    return value.value


def compute_capability(ordinal: int = 0) -> tuple[int, int]:
    """The GPU's architecture, such as ``(9, 0)``."""
    return device_attribute(75, ordinal), device_attribute(76, ordinal)


def _device(ordinal: int) -> ctypes.c_int:
    value = ctypes.c_int()
    call("cuDeviceGet", ctypes.byref(value), ordinal)
    return value


def loaded_path() -> str | None:
    """The file that this process mapped as libcuda, or ``None``: what really answered, whatever was meant."""
    try:
        with open("/proc/self/maps", encoding="utf-8") as maps:
            return next((line.split()[-1] for line in maps if "/libcuda.so" in line), None)
    except OSError:
        return None
