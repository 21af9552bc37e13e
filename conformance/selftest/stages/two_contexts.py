"""The stage ``two-contexts``: a make-believe PyCUDA in a context of its own beside another library, on a made-up driver.

Streams are those of the simulated device.
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
    """Makes a context of its own when it is loaded, as ``pycuda.autoinit`` does."""

    def load(self) -> None:
        """Current from now on."""
        context.create()


class Other(MadeUpLibrary):
    """Works in the primary context."""


_made: Partners = {}
"""What :mod:`conformance.ordering.two_contexts` finds in the registry."""


def _partners() -> Partners:
    pycuda, cupy = PrivateContext(), Other()
    pycuda.name, cupy.name = "pycuda", "cupy"  # type: ignore[misc]
    _made.update(pycuda=pycuda, cupy=cupy)
    return _made


def _cases(here: Environment) -> Iterator[Case]:
    """PyCUDA's array goes to the other library, with the stream that its user has added."""
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


STAGE = Stage("two-contexts", "an exchange from one context to another, made up", _partners, _cases, _around)


def _change(partners: Partners, **methods: Any) -> None:
    """The other library with these methods in the place of its own."""
    for name, method in methods.items():
        mock.patch.object(partners["cupy"], name, method).start()


@STAGE.fault(_INVARIANT)
def waits_for_no_stream_of_another_context(partners: Partners) -> None:
    """A published stream of another context is not waited for."""
    _change(partners, importer_class=IgnoresThePublishedStream)


class _FollowsItsOwn(Importer):
    def follow(self, published: int | None) -> None:
        """The wrong way round."""
        if published is not None:
            self.memory.streams().wait(published, self.work_stream)


@STAGE.fault(_INVARIANT)
def makes_the_event_on_its_own_stream(partners: Partners) -> None:
    """The event is recorded on the importing stream, so the published stream waits for the import."""
    _change(partners, importer_class=_FollowsItsOwn)


@STAGE.fault(_INVARIANT, bugs="context-05")
def cannot_read_what_it_accepted(partners: Partners) -> None:
    """What was accepted from another context cannot be read."""

    def copy(into: Any, array: Any, stream: Any) -> None:
        raise RuntimeError("an illegal memory access was encountered")

    _change(partners, copy=copy)


@STAGE.fault(_INVARIANT)
def dies_of_a_pointer_of_another_context(partners: Partners) -> None:
    """An import from another context ends in a segmentation fault."""

    def take(offer: Any, protocol: Protocol, device: Device, **keywords: Any) -> Imported:
        os.kill(os.getpid(), signal.SIGSEGV)
        raise AssertionError

    _change(partners, take=take)
