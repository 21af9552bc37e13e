"""Stage ``exits``: the reference keeps an import or a capsule until the real end of an interpreter."""

from __future__ import annotations

import atexit
import ctypes
import os
import signal
import sys
import threading
import types
from collections.abc import Iterator
from typing import Any

from conformance.adapters.reference import ReferenceAdapter
from conformance.checks.catalogue import Case
from conformance.checks.libraries import REFERENCE, Environment
from conformance.protocols import capsule
from conformance.protocols.dlpack import Tensor
from conformance.reference.exporter import Exporter
from conformance.reference.importer import Importer
from conformance.reference.managed import Fields, Managed
from conformance.selftest.make_believe.environments import on_host, planned
from conformance.selftest.model import Partners, Stage

_IMPORT, _CAPSULE, _THREAD = (
    "lifetime.import-until-exit",
    "lifetime.capsule-until-exit",
    "threads.release-after-main",
)


def _partners() -> Partners:
    return {REFERENCE: ReferenceAdapter()}


def _cases(here: Environment) -> Iterator[Case]:
    return planned(on_host(here, REFERENCE), _IMPORT, _CAPSULE, _THREAD)


STAGE = Stage("exits", "the end of an interpreter with a live import or capsule", _partners, _cases)


def _with(partners: Partners, *, exporter: type[Exporter] = Exporter, importer: type[Importer] = Importer) -> None:
    adapter = partners[REFERENCE]
    assert isinstance(adapter, ReferenceAdapter)
    adapter.exporter_class = exporter
    adapter.importer_class = importer


# Libraries that end the process in every interpreter that ends


class _Bomb:
    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGSEGV)


@STAGE.fault(_IMPORT, _CAPSULE, _THREAD)
def dies_when_modules_are_taken_apart(_: Partners) -> None:
    """Ends the process when the interpreter clears its modules."""
    module = types.ModuleType("a library with a bomb")
    module.bomb = _Bomb()  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module


@STAGE.fault(_IMPORT, _CAPSULE, _THREAD)
def ends_with_a_code(_: Partners) -> None:
    """Ends the process with an exit code in a function that is registered for the exit."""
    atexit.register(os._exit, 3)


@STAGE.fault(_IMPORT, _CAPSULE, _THREAD)
def aborts_after_the_interpreter(_: Partners) -> None:
    """Aborts the process in native code after the end of the interpreter."""
    libc = ctypes.CDLL(None)
    libc.on_exit(ctypes.cast(libc.abort, ctypes.c_void_p), None)


# Kept objects that end the process when the interpreter ends


class _ReleasesTooLate(Importer):
    def call_deleter(self, tensor: Tensor) -> None:
        if sys.is_finalizing():
            os.abort()
        super().call_deleter(tensor)


@STAGE.fault(_IMPORT)
def aborts_when_it_releases_at_the_end(partners: Partners) -> None:
    """Aborts the process when the interpreter's end releases an import."""
    _with(partners, importer=_ReleasesTooLate)


class _DestructorOfAbort(Exporter):
    def export(self, fields: Fields, owner: Any) -> Any:
        """Return a capsule with the destructor ``abort``."""
        managed = Managed(fields, owner)
        self.log.exports.append(managed)
        abort = ctypes.cast(ctypes.CDLL(None).abort, ctypes.c_void_p).value or 0
        return capsule.new(managed.address, managed.fields.name, abort)


@STAGE.fault(_CAPSULE)
def the_destructor_aborts(partners: Partners) -> None:
    """Aborts the process when a capsule is destroyed."""
    _with(partners, exporter=_DestructorOfAbort)


class _DanglingDestructor(Exporter):
    def export(self, fields: Fields, owner: Any) -> Any:
        """Return a capsule with an invalid destructor, like that of an unloaded library."""
        managed = Managed(fields, owner)
        self.log.exports.append(managed)
        return capsule.new(managed.address, managed.fields.name, 16)


@STAGE.fault(_CAPSULE)
def the_destructor_is_gone(partners: Partners) -> None:
    """Exports a capsule with a destructor that is unloaded before the interpreter ends."""
    _with(partners, exporter=_DanglingDestructor)


class _NeedsTheMainThread(Importer):
    def call_deleter(self, tensor: Tensor) -> None:
        if not threading.main_thread().is_alive():
            os.kill(os.getpid(), signal.SIGSEGV)
        super().call_deleter(tensor)


@STAGE.fault(_THREAD, bugs="context-13")
def needs_the_main_thread_to_release(partners: Partners) -> None:
    """Ends the process when an import is released after the end of the main thread."""
    _with(partners, importer=_NeedsTheMainThread)
