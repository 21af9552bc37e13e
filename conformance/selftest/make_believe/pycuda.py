"""Simulated PyCUDA."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

from conformance.reference.memory import simulated
from conformance.reference.streams import LEGACY, WorkStream

from . import memory
from .array import Array


class GPUArray(Array):
    """An array on new memory, or with ``gpudata`` on existing memory."""

    def __init__(
        self, shape: tuple[int, ...], dtype: Any, gpudata: int | None = None, strides: Any = None, base: Any = None
    ) -> None:
        made = memory.zeros(shape, dtype)
        super().__init__(made if gpudata is None else memory.at(gpudata, shape, made.dtype.str, strides), owner=base)

    @property
    def ptr(self) -> int:
        return int(self.host.ctypes.data)

    @property
    def strides(self) -> tuple[int, ...]:
        """The strides in bytes."""
        return tuple(self.host.strides)

    @property
    def size(self) -> int:
        return int(self.host.size)

    @property
    def ndim(self) -> int:
        return int(self.host.ndim)

    def get(self) -> Any:
        return memory.copied(self.host)

    def set(self, host: Any) -> None:
        self.host[...] = host


class Kernels:
    """``pycuda.driver`` for kernels and streams. It knows the suite's kernels by name, and runs them on the simulated device.

    An object with the array interface is a valid argument. The kernel waits for its published stream.
    """

    def __init__(self) -> None:
        self.streams = simulated().streams()
        self.driver = SimpleNamespace(
            Stream=lambda flags: WorkStream(self.streams),
            module_from_buffer=lambda ptx: SimpleNamespace(get_function=lambda name: partial(self.launch, name)),
            memset_d32_async=lambda to, value, count, stream: self.streams.fill(to, count, value, _handle(stream)),
            Context=SimpleNamespace(synchronize=self.streams.synchronize_device),
        )

    def launch(self, name: str, *arguments: Any, block: Any, grid: Any, stream: WorkStream | None = None) -> None:
        numbers = [self.number(argument, stream) for argument in arguments]
        getattr(self, name)(*numbers, _handle(stream))

    def number(self, argument: Any, stream: WorkStream | None) -> int:
        """Return the number that a kernel gets for an argument."""
        described = getattr(argument, "__cuda_array_interface__", None)
        if described is None:
            return int(argument)
        self.follow(described, stream)
        return self.pointer(described)

    def follow(self, described: Any, stream: WorkStream | None) -> None:
        """Make the launch wait for a published stream."""
        published = described.get("stream") if described["version"] >= 3 else None
        if published not in (None, _handle(stream)):
            self.streams.wait(_handle(stream), published)

    def pointer(self, described: Any) -> int:
        return int(described["data"][0])

    def copy_words(self, target: int, source: int, count: int, stream: int) -> None:
        self.streams.copy(target, source, 4 * count, stream)

    def store_address(self, target: int, address: int, stream: int) -> None:
        ctypes.c_uint64.from_address(target).value = address

    def add_to_words(self, address: int, count: int, value: int, stream: int) -> None:
        words = (ctypes.c_uint32 * count).from_address(address)
        for i in range(count):
            words[i] += value


def _handle(stream: WorkStream | None) -> int:
    return LEGACY if stream is None else stream.handle


class Pycuda:
    """The package ``pycuda`` with the modules that the adapter and the pages use."""

    def __init__(self) -> None:
        self.autoinit: Callable[[], None] = lambda: None
        """The effect of ``import pycuda.autoinit``: none, because host memory has no contexts."""
        self.driver = SimpleNamespace(Context=SimpleNamespace(synchronize=lambda: None))
        self.gpuarray = SimpleNamespace(to_gpu=_to_gpu, GPUArray=GPUArray)


def _to_gpu(array: Any) -> GPUArray:
    made = GPUArray(array.shape, array.dtype)
    made.set(array)
    return made
