"""CV-CUDA's stream contexts since 0.18: per thread, left in reverse order, with a read-only default."""

from __future__ import annotations

from conformance.checks.catalogue import Case

from ..text import fill
from . import Readable, template
from .common import END, joined, start

_THREADS = """
ours, theirs, seen = cvcuda.Stream(), cvcuda.Stream(), []


def other():
    seen.append(cvcuda.Stream.current.handle)  # no context of its own
    with theirs:
        inside.set()
        leave.wait()


inside, leave = threading.Event(), threading.Event()
with ours:
    thread = threading.Thread(target=other)
    thread.start()
    inside.wait()
    seen.append(cvcuda.Stream.current.handle)  # in the first thread's context
    leave.set()
    thread.join()
expected = [cvcuda.Stream.default.handle, ours.handle]
"""
_LEFT = """
outer, inner = cvcuda.Stream(), cvcuda.Stream()
raised = []


def leave():
    try:
        outer.__exit__(None, None, None)
    except Exception as error:
        raised.append(error)


outer.__enter__()
«leaving»
seen = repr(raised[0]) if raised else "nothing is raised"
"""
_LEAVING = {
    "out-of-order": "inner.__enter__()\nleave()",
    "elsewhere": "thread = threading.Thread(target=leave)\nthread.start()\nthread.join()",
}
_ASSIGNED = """
before = cvcuda.Stream.default.handle
try:
    cvcuda.Stream.default = cvcuda.Stream()
    seen = "assigned"
except Exception as error:
    seen = repr(error)
unchanged = cvcuda.Stream.default.handle == before
"""


@template("stream-claim.thread-contexts")
def threads(case: Case) -> Readable:
    """Return a script with two threads, one of them in a stream context."""
    end = fill(END, expected="expected", seen="seen", right="seen == expected")
    return Readable(
        "Enters a stream context in each of two threads.", joined(start(case, standard=("threading",)), _THREADS, end)
    )


@template("stream-claim.contexts-left")
def left(case: Case) -> Readable:
    """Return a script that leaves the outer context before the inner one, or in another thread."""
    how = case.option("left")
    end = fill(END, expected='"RuntimeError"', seen="seen", right="raised and isinstance(raised[0], RuntimeError)")
    standard = ("threading",) if how == "elsewhere" else ()
    what = "in another thread" if how == "elsewhere" else "before the one inside of it"
    return Readable(
        f"Leaves a stream context {what}.",
        joined(start(case, standard=standard), fill(_LEFT, leaving=_LEAVING[how]), end),
    )


@template("stream-claim.default-read-only")
def assigned(case: Case) -> Readable:
    """Return a script of one statement."""
    end = fill(
        END,
        expected='"an exception, and the same default stream"',
        seen="seen",
        right='seen != "assigned" and unchanged',
    )
    return Readable("Assigns another stream to `cvcuda.Stream.default`.", joined(start(case), _ASSIGNED, end))
