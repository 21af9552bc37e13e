"""What a case is doing at this moment, kept where its parent can read it after the process has died.

A dead process cannot say whether it exported, imported or released. So each step is written to memory that parent and child share.
"""

from __future__ import annotations

import json
import mmap
import struct
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from conformance.protocols.clauses import Role

_SIZE = 4096
_HEAD = struct.Struct("=I")


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


@dataclass(frozen=True)
class Step:
    """``role`` is the side that works; ``given`` says what is special about the input; ``illegal`` that the protocol forbids it.

    ``library`` is the one at work, by name, where it is not the library that stands on that side of the case: a producer
    imports, too, when the suite puts its array on memory of ours. ``is_lent`` says that it imports from the reference, so that nobody
    else can be at fault.
    """

    doing: Doing = Doing.CHECK
    role: Role | None = None
    given: str = ""
    illegal: bool = False
    library: str = ""
    is_lent: bool = False


@lru_cache(maxsize=256)
def _encoded(step: Step) -> bytes:
    text = json.dumps({**vars(step), "given": step.given[:500]}, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace")  # at most 6 bytes a character, so it always finds room


class Steps:
    """The newest step, in shared memory: made before a fork, written in the child, read in the parent."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _SIZE)

    def mark(self, step: Step) -> None:
        """From now on the process is in this step."""
        data = _encoded(step)
        self._memory[: _HEAD.size] = _HEAD.pack(0)  # a process that dies in between leaves no half of a step
        self._memory[_HEAD.size : _HEAD.size + len(data)] = data
        self._memory[: _HEAD.size] = _HEAD.pack(len(data))

    @property
    def newest(self) -> Step:
        """The step that was marked last; the first one if there is none that can be read."""
        (length,) = _HEAD.unpack(self._memory[: _HEAD.size])
        if not length:
            return Step()
        data = json.loads(self._memory[_HEAD.size : _HEAD.size + length])
        role = Role(data["role"]) if data["role"] else None
        return Step(Doing(data["doing"]), role, data["given"], data["illegal"], data["library"], data["is_lent"])
