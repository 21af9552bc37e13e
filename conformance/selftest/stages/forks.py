"""Stage ``forks``: conversions in a fork of the process of a case, by a simulated library on a simulated driver.

That driver behaves like CUDA in a fork: it is not initialised there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from conformance.adapters.base import Device, Protocol
from conformance.adapters.reference import ReferenceAdapter
from conformance.checks import deadline
from conformance.checks.catalogue import Case
from conformance.checks.libraries import REFERENCE, Environment
from conformance.reference.importer import Imported
from conformance.selftest.make_believe import driver
from conformance.selftest.make_believe.environments import planned, with_gpus
from conformance.selftest.make_believe.installing import MadeUpLibrary
from conformance.selftest.model import Partners, Stage

_FORK = "context.after-fork"
_NAME = "two"


def _partners() -> Partners:
    return {REFERENCE: ReferenceAdapter(), _NAME: _named(_Forked)}


def _named(kind: type[_Forked]) -> _Forked:
    library = kind()
    library.name = _NAME  # type: ignore[misc]
    return library


def _cases(here: Environment) -> Iterator[Case]:
    """Yield the cases with the library as consumer."""
    return (case for case in planned(with_gpus(here, REFERENCE, _NAME), _FORK) if case.consumer == _NAME)


STAGE = Stage(
    "forks", "a conversion before and after a fork, with a simulated driver", _partners, _cases, driver.believed
)


class _Forked(MadeUpLibrary):
    """A library that detects a fork, and behaves the same there."""

    def __init__(self) -> None:
        super().__init__()
        self.home = os.getpid()

    def take(self, offer: Any, protocol: Protocol, device: Device, **keywords: Any) -> Imported:
        if os.getpid() != self.home:
            self.in_a_fork()
        return super().take(offer, protocol, device, **keywords)

    def in_a_fork(self) -> None:
        """Do nothing. A fault overrides this."""


_Kind = TypeVar("_Kind", bound=type[_Forked])


def _fault(bugs: str = "") -> Callable[[_Kind], _Kind]:
    """Register the decorated class as a fault. Its docstring is the statement."""

    def register(kind: _Kind) -> _Kind:
        def spoil(partners: Partners) -> None:
            partners[_NAME] = _named(kind)

        STAGE.add(kind.__name__, kind.__doc__ or "", (_FORK,), spoil, tuple(bugs.split()))
        return kind

    return register


@_fault(bugs="context-10 context-14")
class AbortsInAFork(_Forked):
    """Aborts the process in a conversion after a fork."""

    def in_a_fork(self) -> None:
        os.abort()


@_fault()
class EndsAFork(_Forked):
    """Ends the process with an exit code and no message in a conversion after a fork."""

    def in_a_fork(self) -> None:
        os._exit(3)


@_fault()
class ReadsZerosInAFork(_Forked):
    """Reads zeros after a fork, because the driver refuses to work there."""

    def take(self, offer: Any, protocol: Protocol, device: Device, **keywords: Any) -> Imported:
        if os.getpid() == self.home:
            self.kept = super().take(offer, protocol, device, **keywords)
        return self.kept

    def read(self, array: Any) -> bytes:
        if os.getpid() == self.home:
            return super().read(array)
        return bytes(array.view.size * array.dtype.itemsize)


class _Waits(_Forked):
    def in_a_fork(self) -> None:
        time.sleep(600)


@STAGE.fault(_FORK, bugs="context-01")
def hangs_in_a_fork(partners: Partners) -> None:
    """Hangs in a conversion after a fork. The fault shortens the timeout, so that the trial ends soon."""
    partners[_NAME] = _named(_Waits)
    os.environ[deadline.VARIABLE] = "6"
