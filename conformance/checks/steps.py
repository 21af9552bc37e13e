"""Current step of a case, in shared memory, so that the parent can read it after the child process has crashed.

A crashed process cannot report whether it was exporting, importing or releasing an array.
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
"""Maximum number of characters of the result in a step. :data:`_LONGEST` is that of the input."""


class Doing(str, Enum):
    """A step of an exchange."""

    CHECK = "check"
    """The suite works, before the first hand-over."""
    EXPORT = "export"
    IMPORT = "import"
    USE = "use"
    """The consumer describes, reads or writes an import."""
    RELEASE = "release"
    """After a hand-over. The suite inspects or drops arrays, imports and capsules."""
    LATER = "later"
    """After the case. Objects that the case left behind crash the process during a later case."""
    SETTLE = "settle"
    """After the check. The suite collects garbage, and the libraries clear their caches."""


class Step(NamedTuple):
    """A step of a case. ``role`` is the side that works, and ``given`` is the special property of the input.

    ``illegal`` means that the protocol forbids the input. ``library`` names the library that works, if it is not the library on that side of the
    case. For example, a producer imports an array when the suite places it on watched memory. ``is_lent`` means that the library imports from the
    reference, so no other library can be at fault. ``ended`` is the result of the check, if it has ended.
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
    """Return the packed length of the step's JSON, and the JSON itself."""
    text = json.dumps(
        {**step._asdict(), "given": step.given[:_LONGEST], "ended": step.ended[:_ENDED]}, ensure_ascii=False
    )
    data = text.encode("utf-8", "backslashreplace")  # at most 6 bytes a character, so it always fits
    return _HEAD.pack(len(data)), data


class Steps:
    """The newest step, in shared memory. The parent creates it before a fork, the child writes it, and the parent reads it."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _SIZE)

    def mark(self, step: Step) -> None:
        """Record that the process has begun this step."""
        length, data = _encoded(step)
        memory = self._memory
        memory[: _HEAD.size] = _NOTHING  # length 0 until the data are complete, so a crash leaves no partial step
        memory[_HEAD.size : _HEAD.size + len(data)] = data
        memory[: _HEAD.size] = length

    @property
    def newest(self) -> Step:
        """The newest recorded step, or the initial step if none is readable."""
        (length,) = _HEAD.unpack(self._memory[: _HEAD.size])
        if not length:
            return Step()
        data = json.loads(self._memory[_HEAD.size : _HEAD.size + length])
        role = Role(data["role"]) if data["role"] else None
        return Step(
            Doing(data["doing"]), role, data["given"], data["illegal"], data["library"], data["is_lent"], data["ended"]
        )
