"""The stage ``pycuda-contexts``: a make-believe PyCUDA beside a make-believe PyTorch in a real fresh interpreter, on a made-up driver.

PyCUDA works in a context of its own, as with ``pycuda.autoinit``.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from conformance.adapters.base import Device, Protocol
from conformance.checks.catalogue import Case
from conformance.checks.libraries import Environment
from conformance.cuda import context
from conformance.reference.importer import Imported
from conformance.selftest.make_believe import driver
from conformance.selftest.make_believe.environments import first, with_gpus
from conformance.selftest.make_believe.installing import MadeUpLibrary, Site, come_first
from conformance.selftest.model import Partners, Stage

_PYCUDA = "context.pycuda"
_SITE = Site("pycuda", "torch", first=(driver.believe, come_first))


class Autoinit(MadeUpLibrary):
    """Makes a context of its own, and leaves it current."""

    def load(self) -> None:
        """Once, as an import does."""
        context.create()


def _cases(here: Environment) -> Iterator[Case]:
    return first(with_gpus(here, "pycuda", "torch"), _PYCUDA)


@contextmanager
def _around() -> Iterator[None]:
    with _SITE.installed(), driver.believed():
        _SITE.install("pycuda", Autoinit)
        yield


STAGE = Stage("pycuda-contexts", "PyCUDA's own context in a fresh interpreter, made up", dict, _cases, _around)


@_SITE.fault(STAGE, "torch", _PYCUDA)
class CannotReadInAnotherContext(MadeUpLibrary):
    """It accepts an array while another context is current, and cannot read it."""

    def read(self, array: Any) -> bytes:
        """``RuntimeError`` in a private context."""
        if driver.in_private_context():
            raise RuntimeError("an illegal memory access was encountered")
        return super().read(array)


@_SITE.fault(STAGE, "torch", _PYCUDA, bugs="context-05")
class ReadsItsOwnContextsMemory(MadeUpLibrary):
    """While another context is current it shows memory of its own at the address."""

    def read(self, array: Any) -> bytes:
        """Zeros in a private context."""
        data = super().read(array)
        return bytes(len(data)) if driver.in_private_context() else data


@_SITE.fault(STAGE, "torch", _PYCUDA, bugs="context-07")
class DiesInAnotherContext(MadeUpLibrary):
    """An import while another context is current ends in a segmentation fault."""

    def take(self, offer: Any, protocol: Protocol, device: Device, **keywords: Any) -> Imported:
        """The end in a private context."""
        if driver.in_private_context():
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().take(offer, protocol, device, **keywords)


class _WritesElsewhere(Autoinit):
    def write(self, array: Any, data: bytes) -> None:
        """Nothing that anybody sees."""


@STAGE.fault(_PYCUDA)
def the_producer_does_not_read_what_it_wrote(_: Partners) -> None:
    """The context that the producer writes in is not the one that it reads in."""
    _SITE.install("pycuda", _WritesElsewhere)
