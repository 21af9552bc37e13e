"""Current stream of a library in two threads, step by step: in this thread and in a new one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

from conformance.adapters.base import Adapter, Device

from .concurrency import Beside

T = TypeVar("T")


@dataclass(frozen=True)
class Seen:
    """A step, with the handles of the expected and of the actual current stream."""

    step: str
    expected: int
    seen: int

    @property
    def is_right(self) -> bool:
        """True if the actual stream is the expected one."""
        return self.expected == self.seen


def in_context(device: Device) -> AbstractContextManager[None]:
    """Return a context manager that makes the primary CUDA context current in this thread. Without a GPU it does nothing."""
    if device is not Device.CUDA:
        return nullcontext()
    from conformance.cuda import context

    return context.using(context.primary())


class Neighbour:
    """A new thread in which the primary CUDA context is current while it runs work."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._thread = Beside()

    def run(self, work: Callable[[], T]) -> T:
        """Run ``work`` in that thread, and return its result or raise its exception."""

        def inside() -> T:
            with in_context(self._device):
                return work()

        return self._thread.run(inside)


def of_two_threads(library: Adapter, device: Device, ours: Any, theirs: Any, *, begins_inside: bool) -> list[Seen]:
    """Observe the current stream while two threads are each in a ``with`` block of a stream of their own.

    A block must affect its own thread only. ``begins_inside`` starts the other thread within the block of this thread.
    """

    def here() -> int:
        return library.current_stream(device)

    neighbour = None if begins_inside else Neighbour(device)
    outside = here()
    theirs_outside = neighbour.run(here) if neighbour else outside
    found: list[Seen] = []

    def note(step: str, expected: int, seen: int) -> None:
        found.append(Seen(step, expected, seen))

    with library.using(ours):
        neighbour = neighbour or Neighbour(device)
        note("in a thread outside any block, while the first thread is in one", theirs_outside, neighbour.run(here))
        block = ExitStack()
        neighbour.run(lambda: block.enter_context(library.using(theirs)))
        try:
            note("in the second thread's own block", library.handle(theirs), neighbour.run(here))
            note("in the first thread's block, while the second is in one", library.handle(ours), here())
        finally:
            neighbour.run(block.close)
        note("in the second thread after its block", theirs_outside, neighbour.run(here))
        note("in the first thread's block, after that of the second", library.handle(ours), here())
    note("in the first thread after its block", outside, here())
    return found


def of_a_choice(library: Adapter, device: Device, chosen: Any, inner: Any) -> list[Seen]:
    """Observe the current stream after a stream was selected without a block, in a block, after the block, and in a new thread.

    On return the default stream is current again.
    """

    def here() -> int:
        return library.current_stream(device)

    neighbour = Neighbour(device)
    theirs, ours = neighbour.run(here), library.handle(chosen)
    found: list[Seen] = []
    default = library.default_stream(device)
    library.choose(chosen)
    try:
        found.append(Seen("after a stream was selected", ours, here()))
        with library.using(inner):
            found.append(Seen("in a block of another stream", library.handle(inner), here()))
        found.append(Seen("after that block", ours, here()))
        found.append(Seen("in a thread that has selected no stream", theirs, neighbour.run(here)))
    finally:
        library.choose(default)
    found.append(Seen("after the default stream was selected", library.handle(default), here()))
    return found
