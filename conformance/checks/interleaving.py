"""Deterministic interleaving of two threads: stop the first thread at a step of its Python code, and run the second thread there.

A verdict must not depend on the scheduler. So a trace function runs before each line of Python in the first thread, in the suite and in the
library. It waits there until the second thread has done its work. A loop over all steps covers every order of lines.

These are all possible orders, if the library holds the GIL: its C code between two lines of Python is then a single step. If the library
releases the GIL in its C code, or in a free-threaded interpreter, further orders exist. The suite cannot control them, and does not judge them.
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
"""Number of consecutive looks at which a thread sleeps in the kernel without waking. It then waits for a lock or another resource.

Each look releases the GIL. This wakes a thread that waits for the GIL, even on a busy machine.
"""


@dataclass
class Meeting:
    """The result: whether the first thread reached the step, and whether the second thread then waited for the first."""

    reached: bool = False
    waited: bool = False


def meet(first: Callable[[], Any], second: Callable[[], Any], step: int, begun: Callable[[], bool]) -> Meeting:
    """Run both functions in new threads: ``second`` runs at the step number ``step`` of ``first``, counted from when ``begun`` is true.

    If ``second`` waits for a resource that ``first`` holds, ``first`` continues. If ``first`` does not reach the step, ``second`` runs after it.
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
    """Disable garbage collection inside the context: the lines of finalizers would count as steps of the first thread."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _ends(thread: threading.Thread) -> bool:
    """Wait for a thread, and return whether it ends. It does not if it sleeps until this thread continues."""
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
    """Return the number of times that a thread has gone to sleep in the kernel, or ``None`` if it is not asleep."""
    try:
        text = Path(f"/proc/self/task/{native}/status").read_bytes()
    except OSError:
        return None
    status = dict(line.partition(b":")[::2] for line in text.splitlines())
    if status.get(b"State", b"").split()[:1] not in ([b"S"], [b"D"]):
        return None
    return status.get(b"voluntary_ctxt_switches", b"").strip()
