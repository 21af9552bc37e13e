"""The end of a text of any length, in bounded memory: what is kept of what a process writes."""

from __future__ import annotations

MOST = 16_000
"""Bytes that are held."""
TOLD = 6000
"""Characters that are told."""
_NOISE = "Extension modules: "
"""Begins a line by which faulthandler lists every module of the process; all that counts stands before it."""


class Tail:
    """The newest bytes of all that was added."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._kept = bytearray()
        self._all = 0

    def add(self, piece: bytes) -> None:
        """What comes next."""
        self._all += len(piece)
        self._kept += piece[-self._most :]
        if len(self._kept) > 2 * self._most:
            del self._kept[: -self._most]

    def clear(self) -> None:
        """Begin anew."""
        self._kept.clear()
        self._all = 0

    @property
    def text(self) -> str:
        """The newest of it as text."""
        return self.told(self.held)

    @property
    def held(self) -> str:
        """All that is held, as text."""
        return self._kept[-self._most :].decode(errors="replace")

    def told(self, held: str) -> str:
        """Of what is held, or of a part of it, as much as is told."""
        told = "".join(line for line in held.splitlines(keepends=True) if not line.startswith(_NOISE))
        whole = self._all <= self._most and len(told) <= TOLD
        return told if whole else f"[truncated] …{told[-TOLD:]}"
