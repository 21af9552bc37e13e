"""Stage ``pycuda-contexts``: simulated PyCUDA and PyTorch in a real new interpreter, on a simulated driver.

PyCUDA works in its own context, as with ``pycuda.autoinit``.
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
    """A library that creates its own context and leaves it current."""

    def load(self) -> None:
        context.create()


def _cases(here: Environment) -> Iterator[Case]:
    return first(with_gpus(here, "pycuda", "torch"), _PYCUDA)


@contextmanager
def _around() -> Iterator[None]:
    with _SITE.installed(), driver.believed():
        _SITE.install("pycuda", Autoinit)
        yield


STAGE = Stage("pycuda-contexts", "simulated PyCUDA with its own context, in a new interpreter", dict, _cases, _around)


@_SITE.fault(STAGE, "torch", _PYCUDA)
class CannotReadInAnotherContext(MadeUpLibrary):
    """Accepts an array while another context is current, but cannot read it."""

    def read(self, array: Any) -> bytes:
        if driver.in_private_context():
            raise RuntimeError("an illegal memory access was encountered")
        return super().read(array)


@_SITE.fault(STAGE, "torch", _PYCUDA, bugs="context-05")
class ReadsItsOwnContextsMemory(MadeUpLibrary):
    """Shows memory of its own context at the address while another context is current."""

    def read(self, array: Any) -> bytes:
        data = super().read(array)
        return bytes(len(data)) if driver.in_private_context() else data


@_SITE.fault(STAGE, "torch", _PYCUDA, bugs="context-07")
class DiesInAnotherContext(MadeUpLibrary):
    """Ends the process on an import while another context is current."""

    def take(self, offer: Any, protocol: Protocol, device: Device, **keywords: Any) -> Imported:
        if driver.in_private_context():
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().take(offer, protocol, device, **keywords)


class _WritesElsewhere(Autoinit):
    def write(self, array: Any, data: bytes) -> None:
        """Lose the write."""


@STAGE.fault(_PYCUDA)
def the_producer_does_not_read_what_it_wrote(_: Partners) -> None:
    """Writes in another context than the one that it reads in, as a producer."""
    _SITE.install("pycuda", _WritesElsewhere)
