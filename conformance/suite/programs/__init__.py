"""What fresh interpreters run. Each module is a program: ``python -m conformance.suite.programs.NAME ARGUMENT…``."""

from __future__ import annotations

import json
import os
import sys

MARK = "@conformance "
"""Begins every line that is a record; whatever else is printed is the libraries' own."""


def tell(**record: object) -> None:
    """Write a record, past all buffers, so that it outlives a crash."""
    sys.stdout.flush()
    os.write(1, f"\n{MARK}{json.dumps(record)}\n".encode())
