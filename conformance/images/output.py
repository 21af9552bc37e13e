"""Find the reason of a failed build in its output."""

from __future__ import annotations

import re
from collections.abc import Iterable

_SAID = re.compile(r"^#(?P<vertex>\d+) (?:\d+\.\d+ )?(?P<text>.*)$")
_NOISE = re.compile(r"^(sha256:[0-9a-f]{64}|DONE .*|CACHED|\.\.\.|\[.*|ERROR: .*)$")
NO_SPACE = "no space left on device"
LINES = 12
"""Number of output lines in a reason. A resolver's explanation has about this length."""


def reason(output: str) -> str:
    """Return the last lines of the failed step, or else of the whole output, without the engine's prefixes."""
    lines = [line.rstrip() for line in output.splitlines() if line.strip()]
    failed = _failed_step(lines)
    said = [match["text"] for line in lines if (match := _SAID.match(line)) and match["vertex"] == failed]
    shown = [text for text in said if text and not _NOISE.match(text)] or lines
    last = "\n".join(shown[-LINES:]) or "the engine printed nothing"
    if NO_SPACE in output.lower() and NO_SPACE not in last.lower():
        return f"{NO_SPACE}\n{last}"
    return last


def _failed_step(lines: Iterable[str]) -> str | None:
    errors = [match["vertex"] for line in lines if (match := re.match(r"^#(?P<vertex>\d+) ERROR", line))]
    return errors[-1] if errors else None
