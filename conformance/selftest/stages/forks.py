"""The stage ``forks``: conversions in a fork of the process of a case, by a make-believe library on a made-up driver.

That driver answers in a fork as CUDA's does: nothing is initialised there.
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
    """The library as consumer."""
    return (case for case in planned(with_gpus(here, REFERENCE, _NAME), _FORK) if case.consumer == _NAME)


STAGE = Stage(
    "forks", "a conversion before and after a fork, with a made-up driver", _partners, _cases, driver.believed
)


class _Forked(MadeUpLibrary):
    """Knows whether it was forked. Without a fault this changes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.home = os.getpid()

    def take(self, offer: Any, protocol: Protocol, device: Device, **keywords: Any) -> Imported:
        """Something else in a fork."""
        if os.getpid() != self.home:
            self.in_a_fork()
        return super().take(offer, protocol, device, **keywords)

    def in_a_fork(self) -> None:
        """What is different there."""


_Kind = TypeVar("_Kind", bound=type[_Forked])


def _fault(bugs: str = "") -> Callable[[_Kind], _Kind]:
    """Register the decorated class as a fault; its docstring is the statement."""

    def register(kind: _Kind) -> _Kind:
        def spoil(partners: Partners) -> None:
            partners[_NAME] = _named(kind)

        STAGE.add(kind.__name__, kind.__doc__ or "", (_FORK,), spoil, tuple(bugs.split()))
        return kind

    return register


@_fault(bugs="context-10 context-14")
class AbortsInAFork(_Forked):
    """A conversion in a fork aborts the process."""

    def in_a_fork(self) -> None:
        """The end."""
        os.abort()


@_fault()
class EndsAFork(_Forked):
    """A conversion in a fork ends the process with a code, and without a word."""

    def in_a_fork(self) -> None:
        """The end."""
        os._exit(3)


@_fault()
class ReadsZerosInAFork(_Forked):
    """What the driver refuses in a fork is taken for elements that are zero."""

    def take(self, offer: Any, protocol: Protocol, device: Device, **keywords: Any) -> Imported:
        """The exchange before the fork is kept, and shown again."""
        if os.getpid() == self.home:
            self.kept = super().take(offer, protocol, device, **keywords)
        return self.kept

    def read(self, array: Any) -> bytes:
        """Zeros in a fork."""
        if os.getpid() == self.home:
            return super().read(array)
        return bytes(array.view.size * array.dtype.itemsize)


class _Waits(_Forked):
    def in_a_fork(self) -> None:
        """No end."""
        time.sleep(600)


@STAGE.fault(_FORK, bugs="context-01")
def hangs_in_a_fork(partners: Partners) -> None:
    """A conversion in a fork never ends; it gets less time than usual, so that nobody waits long."""
    partners[_NAME] = _named(_Waits)
    os.environ[deadline.VARIABLE] = "6"
