"""Turns on the GPU: exclusive cases alone, the others together.

Exclusive cases look at the order of streams. What else works on the GPU at that time makes an operation appear to be pending, so a
check would see an order that no library has made. One group of xdist (``xdist_group``) is not enough: it has these cases run in one
worker, one after the other, while the other workers go on with ordinary cases. A lock around each case is: an exclusive case holds it
alone, an ordinary case on the GPU shares it. It holds for every way of distributing, for any order, and also without xdist, because the
lock is the one by which whole runs on this machine keep out of each other's way (``execution/gpu_sharing.py``).

The children of other workers keep their CUDA contexts meanwhile. That does no harm: each case ends with nothing in flight, and a
context without work gets no time of the GPU.

A lock that many processes share is never free for one that wants it alone. So there is a gate in front of it. An exclusive case closes
the gate, waits until the cases that are under way have ended, and opens it when it has ended itself. It waits for one case of each
worker at most, and then the next exclusive case of any worker has its turn, or the others have.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conformance.adapters.base import Device
from conformance.checks.catalogue import Case, catalogue
from conformance.execution import gpu_sharing


class Turns:
    """The turns of the cases of one process, among all processes of the run."""

    def __init__(self, gate: Path) -> None:
        self._gate = gate

    @contextmanager
    def turn(self, case: Case) -> Iterator[None]:
        """Wait for the turn of a case, and hold it. A case without the GPU waits for nothing."""
        if case.device is not Device.CUDA:
            yield
            return
        alone = catalogue()[case.invariant].exclusive
        gate = os.open(self._gate, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(gate, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            with gpu_sharing.gpus(alone=alone, waits=lambda: True):
                if not alone:
                    fcntl.flock(gate, fcntl.LOCK_UN)
                yield
        finally:
            os.close(gate)
