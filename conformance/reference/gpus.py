"""GPUs by number: CUDA's, or the two of the simulated device. One of them is current in each thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from conformance.cuda import context

SIMULATED_GPUS = 2
"""The number of GPUs of the simulated device."""


class Gpus(Protocol):
    """The GPUs of one kind of device."""

    def current(self) -> int | None:
        """Return the GPU that is current in this thread, or ``None``."""

    def set_current(self, ordinal: int) -> None:
        """Make a GPU current in this thread until the next call."""

    def using(self, ordinal: int) -> AbstractContextManager[None]:
        """Make a GPU current within the block, and restore the previous one at the end."""


class CudaGpus:
    """CUDA's GPUs by their primary contexts, as runtime-API libraries choose a GPU (CUD-11)."""

    def current(self) -> int | None:
        return context.current_ordinal()

    def set_current(self, ordinal: int) -> None:
        context.set_current(context.primary(ordinal))

    def using(self, ordinal: int) -> AbstractContextManager[None]:
        return context.using(context.primary(ordinal))


class SimulatedGpus:
    """The simulated GPUs: one number in each thread."""

    def __init__(self) -> None:
        self._here = threading.local()

    def current(self) -> int:
        """Return the current GPU, which is 0 until one is chosen."""
        return getattr(self._here, "ordinal", 0)

    def set_current(self, ordinal: int) -> None:
        self._here.ordinal = ordinal

    @contextmanager
    def using(self, ordinal: int) -> Iterator[None]:
        before = self.current()
        self.set_current(ordinal)
        try:
            yield
        finally:
            self.set_current(before)


CUDA = CudaGpus()
SIMULATED = SimulatedGpus()


def of(real: bool) -> Gpus:
    """Return CUDA's GPUs, or those of the simulated device."""
    return CUDA if real else SIMULATED
