"""The stage ``imports-alone``: what importing one library does to a fresh interpreter.

The interpreters are real, the libraries are make-believe. The driver is made up, and so is what a free-threaded build answers when
it is asked about its lock.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from conformance.checks.catalogue import Case
from conformance.checks.libraries import Environment
from conformance.cuda import context
from conformance.selftest.make_believe import driver
from conformance.selftest.make_believe.environments import first, with_gpus
from conformance.selftest.make_believe.installing import MadeUpLibrary, Site
from conformance.selftest.model import Stage
from conformance.suite import test_imports

_LOCK, _CONTEXT = "imports.gil-stays-off", "context.import-alone"


def without_the_lock() -> None:
    """Has this interpreter tell that its global lock is off."""
    _lock(False)


def _lock(on: bool) -> None:
    sys._is_gil_enabled = lambda: on  # type: ignore[attr-defined]


_SITE = Site("two", first=(driver.believe, without_the_lock))


def _cases(here: Environment) -> Iterator[Case]:
    with mock.patch.object(test_imports, "BUILDS", ("free-threaded",)):
        yield from first(with_gpus(here, "two"), _LOCK, _CONTEXT)


@contextmanager
def _around() -> Iterator[None]:
    with _SITE.installed(), driver.believed():
        yield


STAGE = Stage(
    "imports-alone",
    "a library that is imported alone in a fresh interpreter, with a made-up driver and as if on a free-threaded build",
    dict,
    _cases,
    _around,
)
_fault = _SITE.fault


@_fault(STAGE, "two", _LOCK)
class SwitchesTheLockOn(MadeUpLibrary):
    """Its module says nothing about the lock, so importing it switches the lock on."""

    @classmethod
    def imported(cls) -> None:
        """On."""
        _lock(True)


@_fault(STAGE, "two", _LOCK)
class DiesWithoutTheLock(MadeUpLibrary):
    """Its module relies on the lock, and dies where it is off."""

    @classmethod
    def imported(cls) -> None:
        """The end, if the lock is off."""
        if not sys._is_gil_enabled():  # type: ignore[attr-defined]
            os.kill(os.getpid(), signal.SIGSEGV)


@_fault(STAGE, "two", _LOCK)
class RefusesToRunWithoutTheLock(MadeUpLibrary):
    """Its module raises where the lock is off."""

    @classmethod
    def imported(cls) -> None:
        """``ImportError``, if the lock is off."""
        if not sys._is_gil_enabled():  # type: ignore[attr-defined]
            raise ImportError("this module needs the global lock")


@_fault(STAGE, "two", _CONTEXT, bugs="context-02")
class MakesThePrimaryContext(MadeUpLibrary):
    """Importing it makes the first GPU's primary context."""

    @classmethod
    def imported(cls) -> None:
        """It stays, though it is current nowhere."""
        context.primary()


@_fault(STAGE, "two", _CONTEXT)
class LeavesAContextCurrent(MadeUpLibrary):
    """Importing it makes a context of its own, and leaves that current."""

    @classmethod
    def imported(cls) -> None:
        """Private."""
        context.create()


@_fault(STAGE, "two", _CONTEXT)
class AbortsWhereThereIsNoContext(MadeUpLibrary):
    """Importing it aborts the process if no context is current."""

    @classmethod
    def imported(cls) -> None:
        """The end."""
        if not context.current():
            os.abort()
