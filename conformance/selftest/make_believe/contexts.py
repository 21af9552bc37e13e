"""Stream contexts as CV-CUDA has them from 0.18 on: a stack in each thread, left from the top; and a default that nobody assigns."""

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
        """That of this thread."""
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
        """Out of order, or in another thread."""
        raise RuntimeError("a stream context is left out of order, or in another thread")


class Defaults(type):
    """The class of a class ``Stream`` with a ``default`` that can only be read."""

    held: WorkStream

    @property
    def default(cls) -> WorkStream:
        """The legacy default stream."""
        return cls.held


def module(default: WorkStream, kind: type[Defaults] = Defaults) -> Any:
    """A module with a class ``Stream`` of this kind."""
    made = kind("Stream", (), {"held": default})
    return type("cvcuda", (), {"Stream": made})
