"""Which stream is current in two threads, step by step: this one, and one beside it that has done nothing before."""

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
    """A step, the stream that has to be current after it, and the one that is: handles."""

    step: str
    expected: int
    seen: int

    @property
    def is_right(self) -> bool:
        """Whether the two are one."""
        return self.expected == self.seen


def in_context(device: Device) -> AbstractContextManager[None]:
    """On a GPU the primary context is current in this thread."""
    if device is not Device.CUDA:
        return nullcontext()
    from conformance.cuda import context

    return context.using(context.primary())


class Neighbour:
    """A thread beside this one, with the primary context current in all that it runs."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._thread = Beside()

    def run(self, work: Callable[[], T]) -> T:
        """Run ``work`` there; what it raises is raised here."""

        def inside() -> T:
            with in_context(self._device):
                return work()

        return self._thread.run(inside)


def of_two_threads(library: Adapter, device: Device, ours: Any, theirs: Any, *, begins_inside: bool) -> list[Seen]:
    """What is current while this thread is in a block of one stream and the other thread in one of another.

    ``begins_inside`` says that the other thread is begun within the block of this one. Each thread's own choice is to hold, and nobody else's.
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
        note("in a thread without a block, while another is in one", theirs_outside, neighbour.run(here))
        block = ExitStack()
        neighbour.run(lambda: block.enter_context(library.using(theirs)))
        try:
            note("in the second thread's own block", library.handle(theirs), neighbour.run(here))
            note("in the first thread's block, while the second is in one", library.handle(ours), here())
        finally:
            neighbour.run(block.close)
        note("in the second thread behind its block", theirs_outside, neighbour.run(here))
        note("in the first thread's block, behind that of the second", library.handle(ours), here())
    note("in the first thread behind its block", outside, here())
    return found


def of_a_choice(library: Adapter, device: Device, chosen: Any, inner: Any) -> list[Seen]:
    """What is current after a stream was chosen without a block, in a block, behind it, and in a thread that has chosen nothing.

    The default stream is current again on return.
    """

    def here() -> int:
        return library.current_stream(device)

    neighbour = Neighbour(device)
    theirs, ours = neighbour.run(here), library.handle(chosen)
    found: list[Seen] = []
    default = library.default_stream(device)
    library.choose(chosen)
    try:
        found.append(Seen("after a stream was chosen", ours, here()))
        with library.using(inner):
            found.append(Seen("in a block of another stream", library.handle(inner), here()))
        found.append(Seen("behind that block", ours, here()))
        found.append(Seen("in a thread that has chosen nothing", theirs, neighbour.run(here)))
    finally:
        library.choose(default)
    found.append(Seen("after the default stream was chosen", library.handle(default), here()))
    return found
