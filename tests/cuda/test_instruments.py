"""The instruments on a real GPU: memory, pointers, contexts, streams, events, kernels."""

from __future__ import annotations

import subprocess
import sys

import pytest

from conformance.checks import interpreter
from conformance.cuda import context, driver, ipc, kernels, memory, pointers, streams
from conformance.execution.probe import driver_trouble

TROUBLE = driver_trouble()
pytestmark = pytest.mark.skipif(TROUBLE is not None, reason=str(TROUBLE))
PATTERN = bytes(range(256)) * 4


@pytest.mark.parametrize("kind", memory.Kind)
def test_every_kind_of_memory_keeps_what_is_written(kind: memory.Kind) -> None:
    """A round trip through device, pinned, managed and pool memory."""
    address = memory.allocate(len(PATTERN), kind)
    memory.write(address, PATTERN)
    assert memory.read(address, len(PATTERN)) == PATTERN
    memory.free(address, kind)


@pytest.mark.parametrize(
    ("kind", "device"),
    [
        (memory.Kind.DEVICE, (2, 0)),
        (memory.Kind.POOL, (2, 0)),
        (memory.Kind.PINNED, (3, 0)),
        (memory.Kind.MANAGED, (13, 0)),
    ],
)
def test_pointer_attributes_tell_the_kind_of_memory(kind: memory.Kind, device: tuple[int, int]) -> None:
    """The driver's answer becomes the device that DLPack wants (DLP-15)."""
    address = memory.allocate(64, kind)
    found = pointers.query(address)
    assert found is not None
    assert found.dlpack_device == device
    memory.free(address, kind)


def test_memory_that_the_driver_does_not_know_has_no_attributes() -> None:
    """Plain host memory and garbage alike."""
    import ctypes

    buffer = ctypes.create_string_buffer(64)
    assert pointers.query(ctypes.addressof(buffer)) is None
    assert pointers.query(419) is None


def test_an_address_inside_an_allocation_leads_to_its_base() -> None:
    """Start and size of the block that an address lies in."""
    address = memory.allocate(4096)
    base, size = memory.base_of(address + 100)
    assert (base, size >= 4096) == (address, True)
    memory.free(address)


@pytest.mark.parametrize("kind", streams.StreamKind)
def test_kernels_run_on_every_kind_of_stream(kind: streams.StreamKind) -> None:
    """Fill, then add, then read."""
    address = memory.allocate(4000)
    with context.using(context.primary()):
        stream = streams.Stream(kind)
        kernels.fill_words(address, 1000, 41, stream.handle)
        kernels.add_to_words(address, 1000, 1, stream.handle)
        stream.synchronize()
        assert stream.done
        stream.close()
    assert memory.read(address, 4000) == (42).to_bytes(4, "little") * 1000
    memory.free(address)


def test_a_kernel_touches_no_word_beyond_its_count() -> None:
    """The last block is not full."""
    address = memory.allocate(4 * 130)
    memory.write(address, b"\xff" * 4 * 130)
    kernels.fill_words(address, 129, 0)
    assert memory.read(address, 4 * 130) == b"\0" * 4 * 129 + b"\xff" * 4
    memory.free(address)


def test_a_stream_knows_whether_it_is_non_blocking_and_whose_it_is() -> None:
    """Flags and context of a handle (CUD-02)."""
    with context.using(context.primary()):
        quiet, loud = streams.Stream(streams.StreamKind.NON_BLOCKING), streams.Stream(streams.StreamKind.BLOCKING)
        assert streams.stream_is_non_blocking(quiet.handle)
        assert not streams.stream_is_non_blocking(loud.handle)
        assert quiet.context == context.primary()
        quiet.close()
        loud.close()


def test_an_event_marks_a_point_of_a_stream() -> None:
    """Recorded, waited for by another stream, done after both are."""
    address = memory.allocate(4000)
    with context.using(context.primary()):
        first, second, event = streams.Stream(), streams.Stream(), streams.Event()
        kernels.fill_words(address, 1000, 7, first.handle)
        event.record(first.handle)
        second.wait(event)
        kernels.add_to_words(address, 1000, 1, second.handle)
        second.synchronize()
        assert event.done
        assert memory.read(address, 4) == (8).to_bytes(4, "little")
        for thing in (first, second, event):
            thing.close()
    memory.free(address)


def test_a_private_context_is_current_until_it_is_destroyed() -> None:
    """And the primary context is another one."""
    before = context.current()
    private = context.create()
    assert context.current() == private != context.primary()
    context.destroy(private)
    context.set_current(before)
    assert context.current() == before


def test_using_a_context_leaves_the_current_one_as_it_was() -> None:
    """Also with none current."""
    context.set_current(0)
    with context.using(context.primary()):
        assert context.current() == context.primary()
    assert context.current() == 0


def test_a_context_that_is_lost_is_noticed() -> None:
    """An illegal address in a child's kernel poisons the child's context, and only that."""
    code = (
        "from conformance.cuda import context, driver, kernels\n"
        "assert context.health() == 0\n"
        "kernels.fill_words(0x10, 1000, 1)\n"
        "code = context.health()\n"
        "assert driver.CudaError('x', code).sticky, code\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert context.health() == 0


def test_the_driver_names_its_errors() -> None:
    """A failed call says which, and the code's name."""
    with pytest.raises(driver.CudaError, match="CUDA_ERROR_INVALID_VALUE"), context.using(context.primary()):
        driver.call("cuMemFree_v2", 12345)


def test_the_driver_is_new_enough_and_its_file_is_known() -> None:
    """CUDA 12.2 is the oldest driver that the kernels are written for."""
    assert driver.version() >= (12, 2)
    assert "libcuda.so" in (driver.loaded_path() or "")


def test_another_process_reads_memory_by_handle_and_offset() -> None:
    """The handle names the whole allocation, so two addresses in it have the same."""
    address = memory.allocate(4096)
    memory.write(address, PATTERN * 4)
    (first, _), (handle, offset) = ipc.export(address), ipc.export(address + 256)
    assert (first, offset) == (handle, 256)
    ended = interpreter.run("ipc_read", handle.hex(), "256", "64")
    assert ended.records[-1]["data"] == PATTERN[:64].hex()
    memory.free(address)
