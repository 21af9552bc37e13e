"""How long one case may take before it counts as hanging."""

from __future__ import annotations

import os

VARIABLE = "CONFORMANCE_DEADLINE"
"""Environment variable with the seconds a case may take."""
DEFAULT = 60.0
"""A hang is decided by this limit alone, so it lies far above what any case needs."""


def seconds() -> float:
    """The limit for one case, in this process and its children."""
    return float(os.environ.get(VARIABLE, DEFAULT))
