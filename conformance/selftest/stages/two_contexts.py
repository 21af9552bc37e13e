"""Stage ``two-contexts``: a simulated PyCUDA with its own context and another library, on a simulated driver.

Streams belong to the simulated device.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from conformance.adapters import registry
from conformance.adapters.base import Adapter, Device, Protocol
from conformance.checks.catalogue import Case
from conformance.checks.libraries import Environment
from conformance.cuda import context
from conformance.faults.ordering import IgnoresThePublishedStream
from conformance.ordering import two_contexts
from conformance.reference.importer import Imported, Importer
from conformance.reference.memory import simulated
from conformance.selftest.make_believe import driver
from conformance.selftest.make_believe.environments import first, with_gpus
from conformance.selftest.make_believe.installing import MadeUpLibrary
from conformance.selftest.model import Partners, Stage

_INVARIANT = "crossing.contexts"


class PrivateContext(MadeUpLibrary):
    """A library that creates its own context when it is loaded, as ``pycuda.autoinit`` does."""

    def load(self) -> None:
        context.create()


class Other(MadeUpLibrary):
    """A library that works in the primary context."""


_made: Partners = {}
"""The adapters that :mod:`conformance.ordering.two_contexts` finds in the registry."""


def _partners() -> Partners:
    pycuda, cupy = PrivateContext(), Other()
    pycuda.name, cupy.name = "pycuda", "cupy"  # type: ignore[misc]
    _made.update(pycuda=pycuda, cupy=cupy)
    return _made


def _cases(here: Environment) -> Iterator[Case]:
    """Yield the cases in which PyCUDA's array, with the stream that its user has added, goes to the other library."""
    return first(with_gpus(here, "pycuda", "cupy"), _INVARIANT)


def _create(name: str) -> Adapter:
    return _made[name]


@contextmanager
def _around() -> Iterator[None]:
    with ExitStack() as stack:
        stack.enter_context(driver.believed())
        stack.enter_context(mock.patch.object(registry, "create", _create))
        stack.enter_context(mock.patch.object(two_contexts, "BothContexts", return_value=simulated().streams()))
        yield


STAGE = Stage("two-contexts", "a simulated exchange from one context to another", _partners, _cases, _around)


def _change(partners: Partners, **methods: Any) -> None:
    """Replace methods of the other library."""
    for name, method in methods.items():
        mock.patch.object(partners["cupy"], name, method).start()


@STAGE.fault(_INVARIANT)
def waits_for_no_stream_of_another_context(partners: Partners) -> None:
    """Does not wait for a published stream of another context."""
    _change(partners, importer_class=IgnoresThePublishedStream)


class _FollowsItsOwn(Importer):
    def follow(self, published: int | None) -> None:
        if published is not None:
            self.memory.streams().wait(published, self.work_stream)


@STAGE.fault(_INVARIANT)
def makes_the_event_on_its_own_stream(partners: Partners) -> None:
    """Records the event on the importing stream, so that the published stream waits for the import."""
    _change(partners, importer_class=_FollowsItsOwn)


@STAGE.fault(_INVARIANT, bugs="context-05")
def cannot_read_what_it_accepted(partners: Partners) -> None:
    """Cannot read an array of another context that it has accepted."""

    def copy(into: Any, array: Any, stream: Any) -> None:
        raise RuntimeError("an illegal memory access was encountered")

    _change(partners, copy=copy)


@STAGE.fault(_INVARIANT)
def dies_of_a_pointer_of_another_context(partners: Partners) -> None:
    """Ends the process on an import from another context."""

    def take(offer: Any, protocol: Protocol, device: Device, **keywords: Any) -> Imported:
        os.kill(os.getpid(), signal.SIGSEGV)
        raise AssertionError

    _change(partners, take=take)
