"""Stage ``imports-alone``: effects of importing a single library in a new interpreter.

The interpreters are real and the libraries are simulated. The driver is simulated too, and so is the answer of a free-threaded build about its
GIL.
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
    """Make this interpreter report that its GIL is off."""
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
    "a library that is imported alone in a new interpreter, with a simulated driver and a simulated free-threaded build",
    dict,
    _cases,
    _around,
)
_fault = _SITE.fault


@_fault(STAGE, "two", _LOCK)
class SwitchesTheLockOn(MadeUpLibrary):
    """Switches the GIL on when it is imported, because its module does not declare support for free threading."""

    @classmethod
    def imported(cls) -> None:
        _lock(True)


@_fault(STAGE, "two", _LOCK)
class DiesWithoutTheLock(MadeUpLibrary):
    """Ends the process when it is imported with the GIL off."""

    @classmethod
    def imported(cls) -> None:
        if not sys._is_gil_enabled():  # type: ignore[attr-defined]
            os.kill(os.getpid(), signal.SIGSEGV)


@_fault(STAGE, "two", _LOCK)
class RefusesToRunWithoutTheLock(MadeUpLibrary):
    """Raises when it is imported with the GIL off."""

    @classmethod
    def imported(cls) -> None:
        if not sys._is_gil_enabled():  # type: ignore[attr-defined]
            raise ImportError("this module needs the global lock")


@_fault(STAGE, "two", _CONTEXT, bugs="context-02")
class MakesThePrimaryContext(MadeUpLibrary):
    """Creates the first GPU's primary context when it is imported."""

    @classmethod
    def imported(cls) -> None:
        context.primary()


@_fault(STAGE, "two", _CONTEXT)
class LeavesAContextCurrent(MadeUpLibrary):
    """Creates a context when it is imported, and leaves it current."""

    @classmethod
    def imported(cls) -> None:
        context.create()


@_fault(STAGE, "two", _CONTEXT)
class AbortsWhereThereIsNoContext(MadeUpLibrary):
    """Aborts the process when it is imported and no context is current."""

    @classmethod
    def imported(cls) -> None:
        if not context.current():
            os.abort()
