"""Why a build failed, from what it said."""

from __future__ import annotations

import re
from collections.abc import Iterable

_SAID = re.compile(r"^#(?P<vertex>\d+) (?:\d+\.\d+ )?(?P<text>.*)$")
_NOISE = re.compile(r"^(sha256:[0-9a-f]{64}|DONE .*|CACHED|\.\.\.|\[.*|ERROR: .*)$")
NO_SPACE = "no space left on device"
LINES = 12
"""How many last lines are a reason; a resolver's sentence has about that many."""


def reason(output: str) -> str:
    """The last lines of the step that failed, or of everything, without the engine's own decoration."""
    lines = [line.rstrip() for line in output.splitlines() if line.strip()]
    failed = _failed_step(lines)
    said = [match["text"] for line in lines if (match := _SAID.match(line)) and match["vertex"] == failed]
    told = [text for text in said if text and not _NOISE.match(text)] or lines
    last = "\n".join(told[-LINES:]) or "the engine said nothing"
    if NO_SPACE in output.lower() and NO_SPACE not in last.lower():
        return f"{NO_SPACE}\n{last}"
    return last


def _failed_step(lines: Iterable[str]) -> str | None:
    errors = [match["vertex"] for line in lines if (match := re.match(r"^#(?P<vertex>\d+) ERROR", line))]
    return errors[-1] if errors else None
