"""The driver made of Python answers the suite's own instruments as CUDA's does."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from conformance.cuda import context, driver, ipc, memory, pointers
from conformance.cuda.driver import CudaError
from conformance.cuda.memory import Kind
from conformance.selftest.make_believe.driver import believed


@pytest.fixture(autouse=True)
def made_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two GPUs, both visible."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with believed():
        yield
    context.primary.cache_clear()


@pytest.mark.parametrize(("visible", "count"), [(None, 2), ("1", 1), ("1,0", 2)])
def test_as_many_gpus_are_there_as_are_visible(
    visible: str | None, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is not has no context."""
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert driver.device_count() == count
    with pytest.raises(CudaError, match="CUDA_ERROR_INVALID_DEVICE"):
        context.primary(count)


def test_a_context_is_there_when_it_was_asked_for() -> None:
    """And current where it was made so, as long as nothing else is."""
    assert (context.in_use(), context.current_ordinal()) == ((), None)
    with context.using(context.primary(1)):
        private = context.create()
        assert (context.in_use(), context.current(), context.current_ordinal()) == ((1,), private, 0)
        context.destroy(private)
        assert context.current() == context.primary(1)
    assert context.current() == 0


@pytest.mark.parametrize(
    ("kind", "device"),
    [(Kind.DEVICE, (2, 1)), (Kind.POOL, (2, 1)), (Kind.PINNED, (3, 0)), (Kind.MANAGED, (13, 0))],
)
def test_memory_is_what_it_was_allocated_as(kind: Kind, device: tuple[int, int]) -> None:
    """While it is allocated, and its bytes are missing from what is free."""
    memory.free(memory.allocate(1, kind, 1), kind, 1)  # the first block of device memory brings one that is never freed
    before = memory.free_bytes()
    address = memory.allocate(64, kind, 1)
    found = pointers.query(address + 3)
    assert found is not None
    assert found.dlpack_device == device
    memory.write(address, b"elements")
    assert (memory.read(address, 8), before - memory.free_bytes()) == (b"elements", 64)
    memory.free(address, kind, 1)
    assert (pointers.query(address), memory.free_bytes()) == (None, before)


def test_device_memory_can_be_opened_by_its_handle_and_a_pool_cannot() -> None:
    """As allocation and offset."""
    address = memory.allocate(64)
    memory.write(address, bytes(range(64)))
    handle, offset = ipc.export(address + 8)
    assert (offset, ipc.read(handle, offset, 4)) == (8, bytes(range(8, 12)))
    with pytest.raises(CudaError):
        ipc.export(memory.allocate(64, Kind.POOL))


def test_nothing_is_initialised_in_a_fork() -> None:
    """Every call says so."""
    context.primary()
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        told = driver.status("cuCtxSynchronize")
        os.write(writer, str(told).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 8) == b"3"
    os.close(reader), os.close(writer)
