"""Turns on the GPU: an exclusive case runs alone, other cases run together.

Exclusive cases test the order of streams. Other work on the GPU makes an operation appear to be pending, so a check would see an order that
no library caused. An xdist group (``xdist_group``) is not enough: it runs these cases in one worker, while other workers continue with
ordinary cases. So each case takes a lock: an exclusive case holds it alone, and ordinary cases on the GPU share it. This works for every
distribution mode, for any order, and without xdist. It is the same lock that separates whole runs on a machine
(``execution/gpu_sharing.py``).

The children of other workers keep their CUDA contexts meanwhile. This is harmless: each case ends without pending work, and an idle context
gets no time on the GPU.

Many processes that share a lock would starve one that wants it alone. So there is a gate in front of the lock. An exclusive case closes
the gate, waits for the running cases, and opens the gate at its own end. It waits for at most one case of each worker. Then the next
exclusive case of any worker has its turn, or the others have.
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
    """Turns of the cases of one process among all processes of the run."""

    def __init__(self, gate: Path) -> None:
        self._gate = gate

    @contextmanager
    def turn(self, case: Case) -> Iterator[None]:
        """Wait for the turn of a case, and hold it. A case that does not use the GPU does not wait."""
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
