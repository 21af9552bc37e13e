"""GPUs by their number: which one is current in this thread. CUDA's, or the two of the simulated device."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from conformance.cuda import context

SIMULATED_GPUS = 2
"""How many GPUs the simulated device has."""


class Gpus(Protocol):
    """The GPUs of one kind of device."""

    def current(self) -> int | None:
        """The GPU that is current in this thread, ``None`` if none is."""

    def set_current(self, ordinal: int) -> None:
        """Make a GPU current in this thread, until somebody chooses another."""

    def using(self, ordinal: int) -> AbstractContextManager[None]:
        """A GPU is current inside the block; what was current before is current after."""


class CudaGpus:
    """By primary contexts, as runtime-API libraries choose a GPU (CUD-11)."""

    def current(self) -> int | None:
        """``cuCtxGetDevice``."""
        return context.current_ordinal()

    def set_current(self, ordinal: int) -> None:
        """``cuCtxSetCurrent``."""
        context.set_current(context.primary(ordinal))

    def using(self, ordinal: int) -> AbstractContextManager[None]:
        """``cuCtxPushCurrent``."""
        return context.using(context.primary(ordinal))


class SimulatedGpus:
    """A number in each thread."""

    def __init__(self) -> None:
        self._here = threading.local()

    def current(self) -> int:
        """0 where none has been chosen."""
        return getattr(self._here, "ordinal", 0)

    def set_current(self, ordinal: int) -> None:
        """Remember the number."""
        self._here.ordinal = ordinal

    @contextmanager
    def using(self, ordinal: int) -> Iterator[None]:
        """Remember the number for a while."""
        before = self.current()
        self.set_current(ordinal)
        try:
            yield
        finally:
            self.set_current(before)


CUDA = CudaGpus()
SIMULATED = SimulatedGpus()


def of(real: bool) -> Gpus:
    """CUDA's GPUs, or those of the simulated device."""
    return CUDA if real else SIMULATED
