"""Buffer for the end of a process's output, in bounded memory."""

from __future__ import annotations

MOST = 16_000
"""Default number of bytes to keep."""
TOLD = 6000
"""Maximum number of characters in a message."""
_NOISE = "Extension modules: "
"""Start of the line in which faulthandler lists all extension modules. It would crowd out the lines before it."""


class Tail:
    """The newest bytes of a stream."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._kept = bytearray()
        self._all = 0

    def add(self, piece: bytes) -> None:
        """Append the next bytes of the stream."""
        self._all += len(piece)
        self._kept += piece[-self._most :]
        if len(self._kept) > 2 * self._most:
            del self._kept[: -self._most]

    def clear(self) -> None:
        """Discard all bytes so far."""
        self._kept.clear()
        self._all = 0

    @property
    def text(self) -> str:
        """The end of the stream as text, shortened for a message."""
        return self.told(self.held)

    @property
    def held(self) -> str:
        """All kept bytes as text."""
        return self._kept[-self._most :].decode(errors="replace")

    def told(self, held: str) -> str:
        """Return the end of ``held``, which is the kept text or a part of it, shortened for a message."""
        told = "".join(line for line in held.splitlines(keepends=True) if not line.startswith(_NOISE))
        whole = self._all <= self._most and len(told) <= TOLD
        return told if whole else f"[truncated] …{told[-TOLD:]}"
