"""CUDA driver API through ctypes: find libcuda, load it, call it, and turn its error codes into exceptions.

This package uses no CUDA runtime and no framework, so its measurements do not depend on the libraries under test. Every call goes to the
driver that the process has really loaded.
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
"""Error codes that corrupt the context: illegal address, launch timeout, assert, trap, and similar ones."""


class DriverUnavailable(RuntimeError):
    """No usable CUDA driver was found. The message gives the reason."""


class CudaError(RuntimeError):
    """A driver call returned an error. ``code`` is its ``CUresult``."""

    def __init__(self, call: str, code: int) -> None:
        self.code = code
        self.call = call
        super().__init__(f"{call} returned {code} ({_error_name(code)})")

    @property
    def sticky(self) -> bool:
        """``True`` if the CUDA context is corrupted (sticky error): every later call of this process fails too."""
        return self.code in _STICKY


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL:
    """Return the loaded and initialised driver library. Raise :class:`DriverUnavailable` if there is none."""
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
    """Call a driver function. Raise :class:`CudaError` if it returns an error."""
    code = status(name, *arguments)
    if code != _SUCCESS:
        raise CudaError(name, code)


def status(name: str, *arguments: Any) -> int:
    """Call a driver function and return its ``CUresult``. ctypes releases the GIL during the call."""
    code: int = getattr(library(), name)(*arguments)
    return code


def _error_name(code: int) -> str:
    return _name_from(library(), code)


def _name_from(lib: ctypes.CDLL, code: int) -> str:
    text = ctypes.c_char_p()
    lib.cuGetErrorName(code, ctypes.byref(text))
    return (text.value or b"unknown error").decode()


def version() -> tuple[int, int]:
    """Return the newest CUDA version that the driver supports, such as ``(13, 0)``."""
    value = ctypes.c_int()
    call("cuDriverGetVersion", ctypes.byref(value))
    return value.value // 1000, value.value % 1000 // 10


def device_count() -> int:
    """Return the number of visible GPUs."""
    value = ctypes.c_int()
    call("cuDeviceGetCount", ctypes.byref(value))
    return value.value


def device_name(ordinal: int = 0) -> str:
    """Return the GPU's name."""
    buffer = ctypes.create_string_buffer(256)
    call("cuDeviceGetName", buffer, 256, _device(ordinal))
    return buffer.value.decode()


def device_attribute(attribute: int, ordinal: int = 0) -> int:
    """Return a ``CUdevice_attribute`` by its number."""
    value = ctypes.c_int()
    call("cuDeviceGetAttribute", ctypes.byref(value), attribute, _device(ordinal))
    return value.value


def compute_capability(ordinal: int = 0) -> tuple[int, int]:
    """Return the GPU's compute capability, such as ``(9, 0)``."""
    return device_attribute(75, ordinal), device_attribute(76, ordinal)


def _device(ordinal: int) -> ctypes.c_int:
    value = ctypes.c_int()
    call("cuDeviceGet", ctypes.byref(value), ordinal)
    return value


def loaded_path() -> str | None:
    """Return the file that this process has mapped as libcuda, or ``None``. It shows which driver really answers."""
    try:
        with open("/proc/self/maps", encoding="utf-8") as maps:
            return next((line.split()[-1] for line in maps if "/libcuda.so" in line), None)
    except OSError:
        return None
