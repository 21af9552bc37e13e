"""Reading what a build says: how far it is, and why it failed."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .groups import Group

_STEP = re.compile(
    r"^(?:#\d+ \[[\w-]+ \d+/\d+\] |(?:\[\d+/\d+\] )?STEP \d+/\d+: )RUN .*/run/(?:tools|pycuda)/(?P<what>.*)$"
)
_SAID = re.compile(r"^#(?P<vertex>\d+) (?:\d+\.\d+ )?(?P<text>.*)$")
_NOISE = re.compile(r"^(sha256:[0-9a-f]{64}|DONE .*|CACHED|\.\.\.|\[.*|ERROR: .*)$")
NO_SPACE = "no space left on device"
LINES = 6
"""How many last lines are a reason; a resolver's sentence has about that many."""

SAYS = {
    "environment": "Python",
    "build": "building PyCUDA",
    "install cuda_libraries": "CUDA libraries",
    "install torch": "torch",
    "install cupy": "CuPy",
    "install cvcuda": "CV-CUDA",
    "install rest": "the rest, and the check against the lock",
}
"""The steps of the recipe that take time, in words, by how they are called in it."""
GROUPS = {"build": Group.PYCUDA, **{step: Group(step.split()[1]) for step in SAYS if step.startswith("install ")}}
"""The group that a step installs or builds."""


def step(line: str) -> str | None:
    """The step of ``SAYS`` that a build begins with this line of its output."""
    found = _STEP.match(line.strip())
    if not found:
        return None
    return next((step for step in SAYS if found["what"].startswith(step)), None)


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
