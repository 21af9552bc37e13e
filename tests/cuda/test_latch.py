"""The latch on a real GPU: it holds one stream and no other, lets go when told, and by itself when its time is up."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import pytest

from conformance.cuda import context, memory
from conformance.cuda.driver import call
from conformance.execution.probe import driver_trouble
from conformance.ordering import blocking
from conformance.reference import streams

TROUBLE = driver_trouble()
pytestmark = pytest.mark.skipif(TROUBLE is not None, reason=str(TROUBLE))
LONG = 5.0


@pytest.fixture
def device() -> Iterator[streams.Streams]:
    """The streams of the GPU, idle before and after."""
    gpu = streams.cuda()
    gpu.synchronize_device()
    gpu.round_trip()
    yield gpu
    gpu.synchronize_device()


def test_a_latch_holds_its_stream_and_no_other(device: streams.Streams) -> None:
    """Work on another stream is done while it holds; what lies behind it is not."""
    held, free = device.create(), device.create()
    address = memory.allocate(8)
    memory.write(address, bytes(8))
    latch = device.hold(held, LONG)
    device.fill(address, 1, 7, held)
    device.fill(address + 4, 1, 7, free)
    device.synchronize(free)
    assert (device.done(held), latch.held, latch.expired) == (False, True, False)
    latch.release()
    device.synchronize(held)
    assert memory.read(address, 8) == (7).to_bytes(4, "little") * 2
    assert not latch.held
    memory.free(address)


def test_several_latches_are_released_in_any_order(device: streams.Streams) -> None:
    """Each has a flag of its own."""
    held = [device.create() for _ in range(4)]
    latches = [device.hold(stream, LONG) for stream in held]
    for chosen in (2, 0, 3, 1):
        latches[chosen].release()
        device.synchronize(held[chosen])
        assert [latch.held for latch in latches] == [not device.done(stream) for stream in held]


def test_a_latch_lets_go_by_itself(device: streams.Streams) -> None:
    """Its limit is reached, and it says so."""
    stream = device.create()
    latch = device.hold(stream, 0.001)
    device.synchronize(stream)
    assert (latch.expired, latch.held) == (True, False)


def test_slots_are_used_again(device: streams.Streams) -> None:
    """More latches than the board has room for, one after the other."""
    stream = device.create()
    for _ in range(2000):
        latch = device.hold(stream, LONG)
        latch.release()
        device.synchronize(stream)
        latch.close()


def test_a_wait_by_event_passes_the_hold_on(device: streams.Streams) -> None:
    """The waiting stream is held as long as the one that it waits for."""
    held, waiting = device.create(), device.create()
    latch = device.hold(held, LONG)
    device.wait(waiting, held)
    device.round_trip()
    assert not device.done(waiting)
    latch.release()
    device.synchronize(waiting)


def test_a_latch_works_in_a_private_context(device: streams.Streams) -> None:
    """The kernel is loaded where the stream lives, and the host's flag is reached from there."""
    private = context.create()
    try:
        handle = ctypes.c_void_p()
        call("cuStreamCreate", ctypes.byref(handle), 1)
        latch = device.hold(handle.value or 0, LONG)
        assert latch.held
        latch.release()
        call("cuStreamSynchronize", handle)
        assert not latch.expired
    finally:
        context.set_current(0)
        context.destroy(private)


@pytest.mark.parametrize("waits_for", [0, 1, 2])
def test_blocking_calls_are_told_apart_on_the_device(waits_for: int, device: streams.Streams) -> None:
    """A call that waits for nothing, for one stream, for the device."""
    held = [device.create() for _ in range(2)]
    latches = [device.hold(stream, LONG) for stream in held]
    action = (lambda: None, lambda: device.synchronize(held[0]), device.synchronize_device)[waits_for]
    called = blocking.call(action, latches)
    assert (called.error, called.ended, called.held_gil) == (None, waits_for, False)
    for latch in latches:
        latch.release()


def test_a_call_that_holds_the_gil_is_ended_by_the_limit(device: streams.Streams) -> None:
    """No other thread can let go, so the latch does, and the call is known to have waited."""
    stream = device.create()
    synchronize = ctypes.PyDLL("libcuda.so.1").cuStreamSynchronize
    latch = device.hold(stream, 0.01)
    called = blocking.call(lambda: synchronize(ctypes.c_void_p(stream)), [latch])
    assert (called.ended, called.held_gil, latch.expired) == (1, True, True)
    assert called.nanoseconds > 5_000_000
