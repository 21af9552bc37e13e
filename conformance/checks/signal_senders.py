"""Sender of the signal that ended a process: the process itself, or another one.

A fault (SIGSEGV, SIGABRT, …) comes from the process itself. An operator, a container limit or the kernel's
out-of-memory killer can send SIGKILL or SIGTERM, and the exit status does not name the sender. Therefore the suite runs
the case again under watch: a seccomp filter ends a process by SIGSYS if it sends the signal to itself. If the original
signal ends a process under watch, another process sent it.

The kernel sends the signals of timers (SIGALRM, SIGVTALRM, SIGPROF), but the process sets the timers. So, under watch, the filter ends a
process that sets such a timer. ``timer_create`` passes its signal in memory, which a filter cannot read. Therefore the end of a process by such a
signal is inconclusive.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import struct
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

FAULTS = frozenset(
    {
        signal.SIGSEGV,
        signal.SIGBUS,
        signal.SIGILL,
        signal.SIGFPE,
        signal.SIGABRT,
        signal.SIGTRAP,
        signal.SIGSYS,
        signal.SIGPIPE,
    }
)
"""Signals that the code of a process causes."""
FOREIGN = frozenset(map(int, signal.valid_signals())) - FAULTS
"""Signals that other processes, batch systems and limits send. A process that dies from one is accused only if it is
proven to have sent the signal itself."""
CAUGHT = signal.SIGSYS
"""Signal that ends a process under watch that sends itself the watched signal."""

_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER = 38, 22, 2
_LOAD, _EQUAL, _GO, _RETURN = 0x20, 0x15, 0x05, 0x06
_ALLOW, _END = 0x7FFF0000, 0x80000000
_NUMBER, _ARCHITECTURE, _FIRST, _SECOND, _THIRD = 0, 4, 16, 24, 32
"""Offsets in the kernel's ``struct seccomp_data``. For each argument it is that of the lower half, on a little-endian machine."""


@dataclass(frozen=True)
class _Calls:
    """The kernel's numbers of an architecture and of its system calls that send signals or set timers. ``alarm`` may be missing."""

    architecture: int
    kill: int
    tkill: int
    tgkill: int
    setitimer: int
    alarm: int


_NO_CALL = 0xFFFFFFFF
_TIMERS = {int(signal.SIGALRM): 0, int(signal.SIGVTALRM): 1, int(signal.SIGPROF): 2}
"""The ``setitimer`` timer that sends each signal."""
_CALLS = {
    "x86_64": _Calls(0xC000003E, 62, 200, 234, 38, 37),
    "aarch64": _Calls(0xC00000B7, 129, 130, 131, 103, _NO_CALL),
}


def watch(number: int) -> bool:
    """End this process and its children by :data:`CAUGHT` if they send it this signal. Return whether the filter is set.

    The kernel requires that the process also gives up the privileges of set-user-ID programs.
    """
    calls = _CALLS.get(platform.machine())
    if calls is None or sys.platform != "linux" or sys.byteorder != "little":
        return False
    program = _program(calls, os.getpid(), number)
    buffer = ctypes.create_string_buffer(program)
    described = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    prctl = ctypes.CDLL(None).prctl
    if prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0):
        return False
    return not prctl(_SET_SECCOMP, _FILTER, ctypes.c_char_p(described))


def _program(calls: _Calls, process: int, number: int) -> bytes:
    """Return the filter program.

    ``kill`` and ``tkill`` have the signal as the second argument, ``tgkill`` as the third. The first argument is the
    process, or for ``kill`` possibly its group. The first argument of ``setitimer`` is the kind of timer. ``alarm`` has one kind, and its first
    argument is the seconds; 0 sets no timer.
    """
    # The last two numbers of a comparison are the rows to go to if it holds and if it does not. The kernel wants distances from the
    # next row instead, which the last line computes.
    timers, allow, end = 15, 21, 22
    is_timer = number in _TIMERS
    rows = (
        (_LOAD, _ARCHITECTURE, 0, 0),
        (_EQUAL, calls.architecture, 2, allow),
        (_LOAD, _NUMBER, 0, 0),
        (_EQUAL, calls.kill, 6, 4),
        (_EQUAL, calls.tkill, 6, 5),
        (_EQUAL, calls.tgkill, 8, timers),
        (_LOAD, _SECOND, 0, 0),
        (_GO, 1, 0, 0),
        (_LOAD, _THIRD, 0, 0),
        (_EQUAL, number, 10, allow),
        (_LOAD, _FIRST, 0, 0),
        (_EQUAL, process, end, 12),
        (_EQUAL, 0, end, 13),
        (_EQUAL, -1, end, 14),
        (_EQUAL, -process, end, allow),
        (_EQUAL, calls.setitimer if is_timer else _NO_CALL, 16, 18),
        (_LOAD, _FIRST, 0, 0),
        (_EQUAL, _TIMERS.get(number, 0), end, allow),
        (_EQUAL, calls.alarm if number == signal.SIGALRM else _NO_CALL, 19, allow),
        (_LOAD, _FIRST, 0, 0),
        (_EQUAL, 0, allow, end),
        (_RETURN, _ALLOW, 0, 0),
        (_RETURN, _END, 0, 0),
    )
    return b"".join(
        struct.pack("=HBBI", code, *((yes - at - 1, no - at - 1) if code == _EQUAL else (0, 0)), value & 0xFFFFFFFF)
        for at, (code, value, yes, no) in enumerate(rows)
    )


def name_of(number: int) -> str:
    """Return the name of a signal, or its number if it has no name."""
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"


# -- the kernel's out-of-memory killer

_COUNTERS = (Path("/proc/vmstat"), Path("/sys/fs/cgroup/memory.events"))


def memory_kills(counters: Iterable[Path] = _COUNTERS) -> int:
    """Return the number of out-of-memory kills on this machine and in this container, as far as the kernel reports it."""
    return sum(_counted(path) for path in counters)


def _counted(path: Path) -> int:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))


def told(number: int, kills_before: int) -> str:
    """Return the sender of a signal in brackets if the kernel's counters show it, or an empty string.

    ``kills_before`` is the earlier result of :func:`memory_kills`.
    """
    return MEMORY if number == signal.SIGKILL and memory_kills() > kills_before else ""


MEMORY = " (the kernel's out-of-memory killer)"
