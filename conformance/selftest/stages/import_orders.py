"""The stage ``import-orders``: make-believe libraries, installed as packages are, in real fresh interpreters."""

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
    "libraries that are imported one after the other in a fresh interpreter",
    dict,
    _cases,
    _SITE.installed,
)
_fault = _SITE.fault


class _HostLibrary(MadeUpLibrary):
    """On host memory alone."""

    exports = {Device.HOST: (Protocol.DLPACK,)}
    imports = exports


@_fault(STAGE, "two", *_BOTH, bugs="import-01")
class DiesAtImport(_HostLibrary):
    """Importing it after another library ends in a segmentation fault."""

    def load(self) -> None:
        """The end."""
        os.kill(os.getpid(), signal.SIGSEGV)


@_fault(STAGE, "two", *_BOTH, bugs="import-08 import-10")
class OnlyComesFirst(_HostLibrary):
    """It cannot be imported once another library is there, whose symbols it finds in the place of its own."""

    def load(self) -> None:
        """``ImportError`` if it is not the first."""
        if "one" in sys.modules:
            raise ImportError("undefined symbol")


@_fault(STAGE, "two", *_BOTH)
class EndsTheProcessWithACode(_HostLibrary):
    """What it has registered for the interpreter's exit ends the process with a code."""

    def load(self) -> None:
        """``atexit``."""
        atexit.register(os._exit, 3)


@_fault(STAGE, "two", *_BOTH)
class ComputesNothingAnyMore(_HostLibrary):
    """Its kernels do nothing once another library is there."""

    def kernel_increment(self, array: Any) -> None:
        """Nothing, if it is not alone."""
        if "one" not in sys.modules:
            super().kernel_increment(array)


@_fault(STAGE, "two", *_BOTH)
class LooksElsewhere(_HostLibrary):
    """What it imports begins an element late."""

    def take(self, offer: Any, protocol: Protocol, device: Device, **keywords: Any) -> Imported:
        """With another address."""
        taken = super().take(offer, protocol, device, **keywords)
        taken.address += taken.dtype.itemsize
        return taken


@_fault(STAGE, "two", *_BOTH)
class RefusesWhatOthersMade(_HostLibrary):
    """It refuses plain arrays of the other libraries."""

    def take(self, offer: Any, protocol: Protocol, device: Device, **keywords: Any) -> Imported:
        """Never."""
        raise BufferError("no room")


@_fault(STAGE, "two", *_BOTH)
class AbortsInAnExchange(_HostLibrary):
    """The first import from another library aborts the process."""

    def take(self, offer: Any, protocol: Protocol, device: Device, **keywords: Any) -> Imported:
        """The end."""
        os.abort()


class _NeverEnds(_HostLibrary):
    def load(self) -> None:
        """No end."""
        time.sleep(600)


@STAGE.fault(*_BOTH)
def hangs_at_import(_: Partners) -> None:
    """Importing it after another library never ends; the selftest allows imports less time than usual."""
    _SITE.install("two", _NeverEnds)
    deadline.IMPORT_SECONDS = 5.0
