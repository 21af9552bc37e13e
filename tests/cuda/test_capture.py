"""Stream capture on a real GPU: what the simulated device takes for granted, and what the instruments may do meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from conformance.adapters.base import Device
from conformance.cuda import context, kernels, memory, pointers
from conformance.cuda.capture import Capturing, Mode
from conformance.cuda.driver import CudaError
from conformance.cuda.streams import stream_context
from conformance.execution.probe import driver_trouble
from conformance.ordering import capturing
from conformance.ordering.capturing import captured
from conformance.reference.streams import LEGACY, Streams, cuda

TROUBLE = driver_trouble()
pytestmark = pytest.mark.skipif(TROUBLE is not None, reason=str(TROUBLE))
WORDS = 64


class Bench:
    """Two blocks of device memory, a stream that captures and one that does not."""

    def __init__(self) -> None:
        self.streams: Streams = cuda()
        self.source, self.target = memory.allocate(4 * WORDS), memory.allocate(4 * WORDS)
        self.stream, self.other = self.streams.create(), self.streams.create()
        kernels.fill_words(self.source, WORDS, 0, self.stream)
        self.streams.copy(self.target, self.source, 4 * WORDS, self.stream)
        self.streams.synchronize_device()

    def copy(self, stream: int) -> None:
        """Queue a copy of the whole source."""
        self.streams.copy(self.target, self.source, 4 * WORDS, stream)

    def arrived(self) -> int:
        """The first word of the target, once all is done."""
        return int.from_bytes(memory.read(self.target, 4), "little")

    def change(self, value: int) -> None:
        """Every word of the source; done on return."""
        memory.write(self.source, value.to_bytes(4, "little") * WORDS)

    def close(self) -> None:
        """Give all back."""
        self.streams.synchronize_device()
        for stream in (self.stream, self.other):
            self.streams.destroy(stream)
        for block in (self.source, self.target):
            memory.free(block)


@pytest.fixture
def bench() -> Iterator[Bench]:
    """A new one."""
    made = Bench()
    yield made
    made.close()


def test_a_replay_reads_memory_as_it_then_is(bench: Bench) -> None:
    """And nothing is done before."""
    bench.change(1)
    seen = captured(bench.streams, bench.stream, [("copy", lambda: bench.copy(bench.stream))])
    assert seen.graph is not None, str(seen)
    assert bench.arrived() == 0
    for value in (5, 6):
        bench.change(value)
        seen.graph.launch(bench.other)
        bench.streams.synchronize(bench.other)
        assert bench.arrived() == value
    seen.graph.close()


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("look", ["synchronize", "done", "synchronize_device"])
def test_to_look_at_a_captured_stream_or_the_device_breaks_the_capture(bench: Bench, look: str, mode: Mode) -> None:
    """CUD-08, in every mode; afterwards the stream works."""
    calls: dict[str, Callable[[], object]] = {
        "synchronize": lambda: bench.streams.synchronize(bench.stream),
        "done": lambda: bench.streams.done(bench.stream),
        "synchronize_device": bench.streams.synchronize_device,
    }
    seen = captured(bench.streams, bench.stream, [(look, calls[look])], mode=mode)
    assert seen.invalidated, str(seen)
    assert bench.streams.capturing(bench.stream) is Capturing.NO
    bench.change(7)
    bench.copy(bench.stream)
    assert bench.arrived() == 7


def test_other_streams_may_be_worked_on(bench: Bench) -> None:
    """Even in the strictest mode."""
    seen = captured(bench.streams, bench.stream, [("work elsewhere", lambda: bench.copy(bench.other))])
    assert seen.graph is not None, str(seen)
    seen.graph.close()


def test_to_wait_for_another_stream_breaks_a_capture_in_the_strictest_mode(bench: Bench) -> None:
    """It is one of the calls that only a relaxed capture allows."""
    wait = [("a wait elsewhere", lambda: bench.streams.synchronize(bench.other))]
    assert captured(bench.streams, bench.stream, wait).invalidated


def test_to_wait_for_what_is_not_captured_breaks_the_capture(bench: Bench) -> None:
    """An event from outside, even of an idle stream."""
    seen = captured(bench.streams, bench.stream, [("wait", lambda: bench.streams.wait(bench.stream, bench.other))])
    assert seen.invalidated, str(seen)


def test_who_waits_for_a_captured_stream_is_drawn_in_and_has_to_be_joined(bench: Bench) -> None:
    """Joined by us, or the capture gives no graph."""

    def fork() -> None:
        bench.streams.wait(bench.other, bench.stream)
        assert bench.streams.capturing(bench.other) is Capturing.ACTIVE
        bench.copy(bench.other)

    write = ("write", lambda: kernels.fill_words(bench.source, WORDS, 9, bench.stream))
    left = captured(bench.streams, bench.stream, [write, ("fork", fork)])
    assert (left.step, left.invalidated) == (capturing.END, True), str(left)
    assert bench.streams.capturing(bench.other) is Capturing.NO
    joined = captured(bench.streams, bench.stream, [write, ("fork", fork)], join=(bench.other,))
    assert joined.graph is not None, str(joined)
    joined.graph.launch(bench.stream)
    bench.streams.synchronize(bench.stream)
    assert bench.arrived() == 9
    joined.graph.close()


def test_the_legacy_stream_is_not_drawn_in(bench: Bench) -> None:
    """It cannot be captured (CUD-07)."""
    with pytest.raises(CudaError):
        bench.streams.begin_capture(LEGACY)
    seen = captured(bench.streams, bench.stream, [("wait", lambda: bench.streams.wait(LEGACY, bench.stream))])
    assert seen.invalidated, str(seen)


@pytest.mark.parametrize("blocking", [False, True])
def test_the_legacy_stream_is_used_beside_the_capture_of_a_non_blocking_stream_only(
    bench: Bench, blocking: bool
) -> None:
    """CUD-09."""
    stream = bench.streams.create(blocking=blocking)
    seen = captured(bench.streams, stream, [("legacy", lambda: bench.copy(LEGACY))])
    assert seen.invalidated is blocking, str(seen)
    if seen.graph is not None:
        seen.graph.close()
    bench.streams.destroy(stream)


@pytest.mark.parametrize("mode", Mode)
def test_an_allocation_breaks_what_is_not_relaxed(bench: Bench, mode: Mode) -> None:
    """The mode says whose unsafe calls are forbidden."""
    made: list[int] = []
    seen = captured(bench.streams, bench.stream, [("allocate", lambda: made.append(memory.allocate(64)))], mode=mode)
    assert seen.invalidated is (mode is not Mode.RELAXED), str(seen)
    if seen.graph is not None:
        seen.graph.close()
    for block in made:
        memory.free(block)


def test_what_the_instruments_ask_leaves_a_capture_valid(bench: Bench) -> None:
    """A kernel of ours, whose stream something is, what an address is."""
    asked: list[object] = []
    seen = captured(
        bench.streams,
        bench.stream,
        [
            ("kernel", lambda: kernels.fill_words(bench.source, WORDS, 3, bench.stream)),
            ("context of the stream", lambda: asked.append(stream_context(bench.stream))),
            ("attributes of an address", lambda: asked.append(pointers.query(bench.source))),
            ("current context", lambda: asked.append(context.current())),
        ],
    )
    assert seen.graph is not None, str(seen)
    seen.graph.close()


@pytest.mark.parametrize("blocking", [False, True])
def test_the_control_is_seen_to_fail(blocking: bool) -> None:
    """A host synchronisation breaks the capture of either kind of stream."""
    assert "broke the capture" in capturing.control(Device.CUDA, blocking=blocking)
