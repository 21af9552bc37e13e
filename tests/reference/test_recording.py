"""Stream capture of the simulated device: what is recorded, what breaks it, and what a graph does."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable

import pytest

from conformance.cuda.capture import Capturing, Mode
from conformance.reference.recording import CaptureError
from conformance.reference.streams import LEGACY, PER_THREAD, SimulatedStreams


class Device:
    """A device of its own with two words of memory, a stream that captures and one that does not."""

    def __init__(self) -> None:
        self.streams = SimulatedStreams()
        self.words = (ctypes.c_uint32 * 2)()
        self.stream, self.other = self.streams.create(), self.streams.create()

    def fill(self, word: int, value: int, stream: int) -> None:
        """Queue a store."""
        self.streams.fill(ctypes.addressof(self.words) + 4 * word, 1, value, stream)

    def copy(self, stream: int) -> None:
        """Queue a copy of the first word to the second."""
        self.streams.copy(ctypes.addressof(self.words) + 4, ctypes.addressof(self.words), 4, stream)


@pytest.fixture
def device() -> Device:
    """A new one."""
    return Device()


def broken_by(device: Device, call: Callable[[], object], name: str) -> bool:
    """Whether a call fails with this name, breaks the capture, and leaves a stream that works."""
    with pytest.raises(CaptureError, match=name):
        call()
    assert device.streams.capturing(device.stream) is Capturing.INVALIDATED
    with pytest.raises(CaptureError, match="Invalidated"):
        device.streams.end_capture(device.stream)
    assert device.streams.capturing(device.stream) is Capturing.NO
    device.fill(0, 77, device.stream)
    device.streams.synchronize_device()
    return device.words[0] == 77


def test_what_is_captured_is_not_done_until_it_is_launched_and_then_every_time(device: Device) -> None:
    """A replay reads memory as it is then."""
    device.words[0] = 1
    device.streams.begin_capture(device.stream)
    assert device.streams.capturing(device.stream) is Capturing.ACTIVE
    device.copy(device.stream)
    graph = device.streams.end_capture(device.stream)
    assert device.streams.capturing(device.stream) is Capturing.NO
    assert device.words[1] == 0
    for value in (5, 6):
        device.words[0] = value
        graph.launch(device.other)
        assert device.words[1] == value
    graph.close()


def test_a_launched_graph_waits_for_its_stream(device: Device) -> None:
    """It is queued like any work."""
    device.streams.begin_capture(device.stream)
    device.fill(0, 9, device.stream)
    graph = device.streams.end_capture(device.stream)
    latch = device.streams.hold(device.other, 1)
    graph.launch(device.other)
    assert device.words[0] == 0
    latch.release()
    assert device.words[0] == 9


@pytest.mark.parametrize("mode", Mode)
def test_to_look_at_a_captured_stream_or_the_device_breaks_the_capture(device: Device, mode: Mode) -> None:
    """Whatever its mode (CUD-08)."""
    streams = device.streams
    for call in (
        lambda: streams.synchronize(device.stream),
        lambda: streams.done(device.stream),
        streams.synchronize_device,
    ):
        streams.begin_capture(device.stream, mode)
        assert broken_by(device, call, "Unsupported")


def test_other_streams_may_be_looked_at(device: Device) -> None:
    """And work on them is done at once; to wait for them breaks all but a relaxed capture."""
    device.streams.begin_capture(device.stream)
    device.fill(0, 3, device.other)
    assert device.streams.done(device.other)
    assert device.words[0] == 3
    with pytest.raises(CaptureError, match="unsafe"):
        device.streams.synchronize(device.other)
    with pytest.raises(CaptureError):
        device.streams.end_capture(device.stream)
    device.streams.begin_capture(device.stream, Mode.RELAXED)
    device.streams.synchronize(device.other)
    device.streams.end_capture(device.stream)


def test_nothing_is_recorded_any_more_once_a_capture_is_broken(device: Device) -> None:
    """Work on its stream fails."""
    device.streams.begin_capture(device.stream)
    with pytest.raises(CaptureError):
        device.streams.synchronize(device.stream)
    with pytest.raises(CaptureError, match="Invalidated"):
        device.fill(0, 1, device.stream)
    with pytest.raises(CaptureError):
        device.streams.end_capture(device.stream)


def test_to_wait_for_what_is_not_captured_breaks_the_capture(device: Device) -> None:
    """Even for a stream without work."""
    device.streams.begin_capture(device.stream)
    assert broken_by(device, lambda: device.streams.wait(device.stream, device.other), "Isolation")


def test_who_waits_for_a_captured_stream_is_drawn_in_and_has_to_be_joined(device: Device) -> None:
    """As long as it has recorded something that the first stream does not come after."""
    streams = device.streams
    for join in (False, True):
        device.words[0], device.words[1] = 0, 0
        streams.begin_capture(device.stream)
        device.fill(0, 4, device.stream)
        streams.wait(device.other, device.stream)
        assert streams.capturing(device.other) is Capturing.ACTIVE
        device.copy(device.other)
        if join:
            streams.wait(device.stream, device.other)
            streams.end_capture(device.stream).launch(device.stream)
            assert device.words[1] == 4
        else:
            with pytest.raises(CaptureError, match="Unjoined"):
                streams.end_capture(device.stream)
        assert streams.capturing(device.other) is Capturing.NO


def test_a_stream_that_was_drawn_in_and_recorded_nothing_needs_no_join(device: Device) -> None:
    """There is nothing that would be lost."""
    device.streams.begin_capture(device.stream)
    device.streams.wait(device.other, device.stream)
    device.streams.end_capture(device.stream)


def test_two_captures_do_not_become_one(device: Device) -> None:
    """Both are broken."""
    device.streams.begin_capture(device.stream)
    device.streams.begin_capture(device.other)
    with pytest.raises(CaptureError, match="Merge"):
        device.streams.wait(device.other, device.stream)
    for stream in (device.stream, device.other):
        with pytest.raises(CaptureError):
            device.streams.end_capture(stream)


def test_the_legacy_stream_is_neither_captured_nor_drawn_in(device: Device) -> None:
    """CUD-07."""
    with pytest.raises(CaptureError, match="Unsupported"):
        device.streams.begin_capture(LEGACY)
    device.streams.begin_capture(device.stream)
    assert broken_by(device, lambda: device.streams.wait(LEGACY, device.stream), "Implicit")


def test_the_legacy_stream_is_not_used_while_a_blocking_stream_is_captured(device: Device) -> None:
    """Any use breaks the capture (CUD-09), but not that of a non-blocking stream."""
    blocking = device.streams.create(blocking=True)
    uses: list[Callable[[], object]] = [
        lambda: device.fill(0, 1, LEGACY),
        lambda: device.streams.done(LEGACY),
        lambda: device.streams.wait(device.other, LEGACY),
        lambda: device.streams.wait(LEGACY, device.other),
    ]
    for use in uses:
        device.streams.begin_capture(device.stream)
        use()
        device.streams.end_capture(device.stream)
        for stream in (blocking, PER_THREAD):
            device.streams.begin_capture(stream)
            with pytest.raises(CaptureError, match="Implicit"):
                use()
            with pytest.raises(CaptureError):
                device.streams.end_capture(stream)


def test_blocking_streams_are_ordered_with_the_legacy_stream(device: Device) -> None:
    """Both ways; a non-blocking one is not (CUD-01, CUD-02)."""
    blocking = device.streams.create(blocking=True)
    latch = device.streams.hold(blocking, 1)
    device.fill(0, 1, LEGACY)
    device.fill(1, 1, device.stream)
    assert list(device.words) == [0, 1]
    latch.release()
    assert list(device.words) == [1, 1]
    latch = device.streams.hold(LEGACY, 1)
    device.fill(0, 2, blocking)
    device.fill(1, 2, device.stream)
    assert list(device.words) == [1, 2]
    latch.release()
    assert list(device.words) == [2, 2]


@pytest.mark.parametrize(
    ("mode", "here", "elsewhere"),
    [(Mode.GLOBAL, True, True), (Mode.THREAD_LOCAL, True, False), (Mode.RELAXED, False, False)],
)
def test_the_mode_says_whose_unsafe_calls_break_a_capture(
    device: Device, mode: Mode, here: bool, elsewhere: bool
) -> None:
    """Any thread's, that of who captures, or nobody's."""
    for in_thread, breaks in ((False, here), (True, elsewhere)):
        device.streams.begin_capture(device.stream, mode)
        errors: list[CaptureError] = []

        def call(errors: list[CaptureError] = errors) -> None:
            try:
                device.streams.unsafe_call()
            except CaptureError as error:
                errors.append(error)

        if in_thread:
            thread = threading.Thread(target=call)
            thread.start()
            thread.join()
        else:
            call()
        assert bool(errors) is breaks
        assert (device.streams.capturing(device.stream) is Capturing.INVALIDATED) is breaks
        if breaks:
            with pytest.raises(CaptureError):
                device.streams.end_capture(device.stream)
        else:
            device.streams.end_capture(device.stream)


def test_a_capture_ends_where_it_began_and_only_once(device: Device) -> None:
    """Another stream cannot end it."""
    device.streams.begin_capture(device.stream)
    device.streams.wait(device.other, device.stream)
    for call in (lambda: device.streams.end_capture(device.other), lambda: device.streams.begin_capture(device.stream)):
        with pytest.raises(CaptureError, match="IllegalState"):
            call()
    device.streams.end_capture(device.stream)
    with pytest.raises(CaptureError, match="IllegalState"):
        device.streams.end_capture(device.stream)


def test_a_captured_stream_has_no_latch(device: Device) -> None:
    """There is nothing to hold."""
    device.streams.begin_capture(device.stream)
    with pytest.raises(CaptureError):
        device.streams.hold(device.stream, 1)
    device.streams.end_capture(device.stream)
