"""Two threads in an order of our choosing: the first is stopped at a step of its Python code, and the second does its work there.

Which of two threads gets ahead is a matter of the machine's load, and no verdict may hang on it. So nothing is left to the scheduler: the
tracing function of the first thread is called between any two lines of Python that it runs, the suite's and the library's alike, and
there it waits until the second has done its work. Trying one step after the other tries every order that there is between lines.

In an interpreter with a lock there is no other order, as long as the library keeps the lock: what it does in C between two lines of
Python is one step then. A library that lets go of the lock in there, and one in an interpreter without a lock, can be overtaken where
nobody can stop it. What comes of that is luck, and not judged.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

_LOOK_SECONDS = 0.001
_SLEEPS = 20
"""Looks in a row at a thread that sleeps in the kernel and does not wake in between: it waits for something that is held.

Each look lets go of the interpreter's lock. A thread that waits for that lock is woken by it, however busy the machine is.
"""


@dataclass
class Meeting:
    """How it went: whether the first got as far as the step, and whether the second then waited for the first to go on."""

    reached: bool = False
    waited: bool = False


def meet(first: Callable[[], Any], second: Callable[[], Any], step: int, begun: Callable[[], bool]) -> Meeting:
    """Run both, each in a thread of its own: ``second`` in the ``step``-th step that ``first`` takes once it has ``begun``.

    The second that waits for something that the first holds is left to wait, and ends when it can. Where the first does not get that far
    the second follows it.
    """
    meeting, passed = Meeting(), 0
    beside = threading.Thread(target=second, daemon=True)

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal passed
        if meeting.reached or not begun():
            return trace
        passed += 1
        if passed > step:
            meeting.reached = True
            beside.start()
            meeting.waited = not _ends(beside)
        return trace

    def run() -> None:
        sys.settrace(trace)
        try:
            first()
        finally:
            sys.settrace(None)

    ahead = threading.Thread(target=run, daemon=True)
    with _without_collections():
        ahead.start()
        ahead.join()
        if not meeting.reached:
            beside.start()
        beside.join()
    return meeting


@contextmanager
def _without_collections() -> Iterator[None]:
    """Inside, the garbage collector runs no finalizers between the lines of a thread: they would count as steps of its."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _ends(thread: threading.Thread) -> bool:
    """Whether a thread comes to its end; not if it sleeps and nothing but this thread could wake it."""
    looks, last = 0, None
    while thread.is_alive():
        thread.join(_LOOK_SECONDS)
        asleep = _asleep(thread.native_id)
        looks = looks + 1 if asleep is not None and asleep == last else 0
        last = asleep
        if looks > _SLEEPS:
            return False
    return True


def _asleep(native: int | None) -> bytes | None:
    """How often a thread has gone to sleep in the kernel, if it is asleep."""
    try:
        text = Path(f"/proc/self/task/{native}/status").read_bytes()
    except OSError:
        return None
    status = dict(line.partition(b":")[::2] for line in text.splitlines())
    if status.get(b"State", b"").split()[:1] not in ([b"S"], [b"D"]):
        return None
    return status.get(b"voluntary_ctxt_switches", b"").strip()
