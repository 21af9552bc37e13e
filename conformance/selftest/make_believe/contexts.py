"""Stream contexts as in CV-CUDA from 0.18 on: a stack in each thread, and a read-only default stream."""

from __future__ import annotations

import threading
from typing import Any

from conformance.reference.streams import LEGACY, Current, WorkStream


class Contexts:
    """The stack of each thread. The stream of the topmost context is current."""

    def __init__(self, current: Current) -> None:
        self.current = current
        self._local = threading.local()

    @property
    def stack(self) -> list[Context]:
        """The stack of this thread."""
        found: list[Context] = self._local.__dict__.setdefault("stack", [])
        return found


class Context:
    """One entry of a stack, as a context manager."""

    def __init__(self, contexts: Contexts, stream: WorkStream) -> None:
        self.contexts, self.stream = contexts, stream

    def __enter__(self) -> WorkStream:
        self.contexts.stack.append(self)
        self.contexts.current.handle = self.stream.handle
        return self.stream

    def __exit__(self, *raised: object) -> None:
        stack = self.contexts.stack
        if not stack or stack[-1] is not self:
            self.left_wrongly()
            return
        stack.pop()
        self.contexts.current.handle = stack[-1].stream.handle if stack else LEGACY

    def left_wrongly(self) -> None:
        """Raise for a context that is left out of order, or in another thread."""
        raise RuntimeError("a stream context is left out of order, or in another thread")


class Defaults(type):
    """The metaclass of a class ``Stream`` with a read-only ``default``."""

    held: WorkStream

    @property
    def default(cls) -> WorkStream:
        return cls.held


def module(default: WorkStream, kind: type[Defaults] = Defaults) -> Any:
    """Return a module with such a class ``Stream``."""
    made = kind("Stream", (), {"held": default})
    return type("cvcuda", (), {"Stream": made})
