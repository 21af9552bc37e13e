"""PyTorch's calls that replace a tensor's memory, resize it, share it with other processes, or release it."""

from __future__ import annotations

import warnings
from typing import Any

from .base import Device
from .changes import DELETE, Change

_TIMES = 4
"""The growth of a tensor. No allocator reserves so much space behind a block."""
_ON_HOST = (Device.HOST,)


def _data(adapter: Any, held: list[Any], device: Device) -> None:
    held[0].data = adapter.torch.zeros_like(held[0])


def _set(adapter: Any, held: list[Any], device: Device) -> None:
    held[0].set_(adapter.torch.zeros_like(held[0]))


def _resize(adapter: Any, held: list[Any], device: Device) -> None:
    held[0].resize_(_TIMES * held[0].numel())


def _out(adapter: Any, held: list[Any], device: Device) -> None:
    """Resize through ``out=``. PyTorch warns that it resizes a tensor with elements."""
    larger = adapter.torch.zeros(_TIMES * held[0].numel(), dtype=held[0].dtype, device=held[0].device)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapter.torch.add(larger, 1, out=held[0])


def _storage_freed(adapter: Any, held: list[Any], device: Device) -> None:
    held[0].untyped_storage().resize_(0)


def _storage_grown(adapter: Any, held: list[Any], device: Device) -> None:
    storage = held[0].untyped_storage()
    storage.resize_(_TIMES * storage.nbytes())


def _share(adapter: Any, held: list[Any], device: Device) -> None:
    held[0].share_memory_()


def _swap(adapter: Any, held: list[Any], device: Device) -> None:
    """Swap two tensors, and drop the one that gets the memory at once. Older versions have no such call."""
    adapter.torch.utils.swap_tensors(held[0], adapter.torch.zeros_like(held[0]))


def _emptied_cache(adapter: Any, held: list[Any], device: Device) -> None:
    held.clear()
    adapter.torch.cuda.empty_cache()


CHANGES = (
    Change("data", "`t.data = other`", _data),
    Change("set", "`t.set_(other)`", _set),
    Change("resize", "`t.resize_(larger)`", _resize),
    Change("out", "`torch.add(larger, 1, out=t)`", _out),
    Change("storage-freed", "`t.untyped_storage().resize_(0)`", _storage_freed),
    Change("storage-grown", "`t.untyped_storage().resize_(larger)`", _storage_grown),
    Change("share-memory", "`t.share_memory_()`", _share, _ON_HOST),
    Change("swap", "`torch.utils.swap_tensors(t, other)`", _swap),
    DELETE,
    Change("empty-cache", "`del t; torch.cuda.empty_cache()`", _emptied_cache, (Device.CUDA,)),
)
