"""Stage ``import-orders``: simulated libraries, installed like packages, in real new interpreters."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

from conformance.adapters.base import Device, Protocol
from conformance.checks import deadline
from conformance.checks.catalogue import Case
from conformance.checks.libraries import Environment
from conformance.reference.importer import Imported
from conformance.selftest.make_believe.environments import first, on_host
from conformance.selftest.make_believe.installing import MadeUpLibrary, Site
from conformance.selftest.model import Partners, Stage

_BOTH = ("imports.pair", "imports.rotation")
_NAMES = ("one", "two", "three")
_SITE = Site(*_NAMES)


def _cases(here: Environment) -> Iterator[Case]:
    return first(on_host(here, *_NAMES), *_BOTH)


STAGE = Stage(
    "import-orders",
    "libraries that are imported one after the other in a new interpreter",
    dict,
    _cases,
    _SITE.installed,
)
_fault = _SITE.fault


class _HostLibrary(MadeUpLibrary):
    """A library on host memory only."""

    exports = {Device.HOST: (Protocol.DLPACK,)}
    imports = exports


@_fault(STAGE, "two", *_BOTH, bugs="import-01")
class DiesAtImport(_HostLibrary):
    """Ends the process when it is imported after another library."""

    def load(self) -> None:
        os.kill(os.getpid(), signal.SIGSEGV)


@_fault(STAGE, "two", *_BOTH, bugs="import-08 import-10")
class OnlyComesFirst(_HostLibrary):
    """Fails to import after another library, because it binds to that library's symbols."""

    def load(self) -> None:
        if "one" in sys.modules:
            raise ImportError("undefined symbol")


@_fault(STAGE, "two", *_BOTH)
class EndsTheProcessWithACode(_HostLibrary):
    """Ends the process with an exit code in a function that is registered for the exit."""

    def load(self) -> None:
        atexit.register(os._exit, 3)


@_fault(STAGE, "two", *_BOTH)
class ComputesNothingAnyMore(_HostLibrary):
    """Runs no kernels if it is imported after another library."""

    def kernel_increment(self, array: Any) -> None:
        if "one" not in sys.modules:
            super().kernel_increment(array)


@_fault(STAGE, "two", *_BOTH)
class LooksElsewhere(_HostLibrary):
    """Imports arrays from their second element."""

    def take(self, offer: Any, protocol: Protocol, device: Device, **keywords: Any) -> Imported:
        taken = super().take(offer, protocol, device, **keywords)
        taken.address += taken.dtype.itemsize
        return taken


@_fault(STAGE, "two", *_BOTH)
class RefusesWhatOthersMade(_HostLibrary):
    """Refuses plain arrays of other libraries."""

    def take(self, offer: Any, protocol: Protocol, device: Device, **keywords: Any) -> Imported:
        raise BufferError("no room")


@_fault(STAGE, "two", *_BOTH)
class AbortsInAnExchange(_HostLibrary):
    """Aborts the process on the first import from another library."""

    def take(self, offer: Any, protocol: Protocol, device: Device, **keywords: Any) -> Imported:
        os.abort()


class _NeverEnds(_HostLibrary):
    def load(self) -> None:
        time.sleep(600)


@STAGE.fault(*_BOTH)
def hangs_at_import(_: Partners) -> None:
    """Hangs when it is imported after another library. The self-test shortens the timeout of imports."""
    _SITE.install("two", _NeverEnds)
    deadline.IMPORT_SECONDS = 5.0
