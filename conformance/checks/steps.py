"""What a case is doing at this moment, kept where its parent can read it after the process has died.

A dead process cannot say whether it exported, imported or released. So each step is written to memory that parent and child share.
"""

from __future__ import annotations

import json
import mmap
import struct
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

from conformance.protocols.clauses import Role

_SIZE = 4096
_HEAD = struct.Struct("=I")
_LONGEST = 400
_ENDED = 150
"""Characters of the words that are kept of a step."""


class Doing(str, Enum):
    """A step of an exchange."""

    CHECK = "check"
    """The suite's own work between the steps of the libraries, before anything was handed over."""
    EXPORT = "export"
    IMPORT = "import"
    USE = "use"
    """Describing, reading or writing an import."""
    RELEASE = "release"
    """After a hand-over, while arrays, imports and capsules are looked at by the suite or dropped."""
    LATER = "later"
    """After the case: what it has left behind ends its process in a later one."""
    SETTLE = "settle"
    """After the check: garbage is collected, and the libraries let go of what they only keep for later."""


class Step(NamedTuple):
    """``role`` is the side that works; ``given`` says what is special about the input; ``illegal`` that the protocol forbids it.

    ``library`` is the one at work, by name, where it is not the library that stands on that side of the case: a producer
    imports, too, when the suite puts its array on memory of ours. ``is_lent`` says that it imports from the reference, so that nobody
    else can be at fault. ``ended`` says how the check had ended, where it had.
    """

    doing: Doing = Doing.CHECK
    role: Role | None = None
    given: str = ""
    illegal: bool = False
    library: str = ""
    is_lent: bool = False
    ended: str = ""


_NOTHING = _HEAD.pack(0)


@lru_cache(maxsize=1024)
def _encoded(step: Step) -> tuple[bytes, bytes]:
    """The length, and the step as JSON."""
    text = json.dumps(
        {**step._asdict(), "given": step.given[:_LONGEST], "ended": step.ended[:_ENDED]}, ensure_ascii=False
    )
    data = text.encode("utf-8", "backslashreplace")  # at most 6 bytes a character, so it always finds room
    return _HEAD.pack(len(data)), data


class Steps:
    """The newest step, in shared memory: made before a fork, written in the child, read in the parent."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _SIZE)

    def mark(self, step: Step) -> None:
        """From now on the process is in this step."""
        length, data = _encoded(step)
        memory = self._memory
        memory[: _HEAD.size] = _NOTHING  # a process that dies in between leaves no half of a step
        memory[_HEAD.size : _HEAD.size + len(data)] = data
        memory[: _HEAD.size] = length

    @property
    def newest(self) -> Step:
        """The step that was marked last; the first one if there is none that can be read."""
        (length,) = _HEAD.unpack(self._memory[: _HEAD.size])
        if not length:
            return Step()
        data = json.loads(self._memory[_HEAD.size : _HEAD.size + length])
        role = Role(data["role"]) if data["role"] else None
        return Step(
            Doing(data["doing"]), role, data["given"], data["illegal"], data["library"], data["is_lent"], data["ended"]
        )
