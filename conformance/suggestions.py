"""The name that a user probably meant, for messages about unknown names."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def meant(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """Return ``; did you mean NAME?`` with the closest known name. If none is close, return ``; `` and the words of ``otherwise``, if any."""
    close = get_close_matches(name, list(known), n=1)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; {otherwise}" if otherwise else ""
