"""Stage ``gpu``: the reference with itself on a GPU of a simulated driver: contexts, kinds of memory, another process.

All code above the driver is real, including the suite's own driver calls and the other processes.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar
from unittest import mock

from conformance.adapters.base import Trait
from conformance.adapters.reference import ReferenceAdapter
from conformance.checks import offers
from conformance.checks.catalogue import Case
from conformance.checks.libraries import REFERENCE, Environment
from conformance.cuda import context
from conformance.cuda.memory import Kind
from conformance.protocols.dlpack import Tensor
from conformance.protocols.dtypes import DType
from conformance.protocols.strided import packed
from conformance.reference.exporter import Exporter
from conformance.reference.importer import Imported, Importer
from conformance.reference.managed import Fields
from conformance.reference.memory import CudaMemory
from conformance.reference.streams import WorkStream
from conformance.selftest.make_believe import driver
from conformance.selftest.make_believe.environments import planned, with_gpus
from conformance.selftest.make_believe.installing import Site
from conformance.selftest.model import Partners, Stage

_MEMORY, _HOST, _OWN, _IPC = (
    "lifetime.device-memory",
    "device.pinned-on-host",
    "device.own-memory-kind",
    "device.ipc",
)
_UNCHANGED, _PRIVATE = "context.unchanged", "context.private"
_DEFAULT = "current.default-in-each-context"
_KINDS = (Trait.PINNED, Trait.MANAGED, Trait.POOL)
_PATIENCE = 0.02
_SITE = Site(first=(driver.believe,))


class AllKinds(ReferenceAdapter):
    """The reference as a library with memory of every kind. ``told`` maps a kind to the device that it reports."""

    told: ClassVar[dict[Kind, tuple[int, int]]] = {}

    def empty_in(self, kind: Kind, dtype: DType, shape: tuple[int, ...]) -> Exporter:
        memory = CudaMemory(kind)
        memory.device = self.told.get(kind, memory.device)
        view = packed(shape)
        return self.exporter_class(memory, memory.allocate(view.size * dtype.itemsize), dtype, view)


def _partners() -> Partners:
    return {REFERENCE: AllKinds()}


def _cases(here: Environment) -> Iterator[Case]:
    environment = with_gpus(here, REFERENCE, traits=_KINDS)
    return planned(environment, _MEMORY, _HOST, _OWN, _IPC, _UNCHANGED, _PRIVATE, _DEFAULT)


@contextmanager
def _around() -> Iterator[None]:
    with _SITE.installed(), driver.believed(), mock.patch.object(offers, "PATIENCE", _PATIENCE):
        yield


STAGE = Stage("gpu", "the reference with itself on a GPU, with a simulated driver", _partners, _cases, _around)


def _exports_by(*caught_by: str, bugs: str = "") -> Callable[[type[Exporter]], type[Exporter]]:
    return _side("exporter_class", caught_by, bugs)


def _imports_by(*caught_by: str, bugs: str = "") -> Callable[[type[Importer]], type[Importer]]:
    return _side("importer_class", caught_by, bugs)


def _side(attribute: str, caught_by: tuple[str, ...], bugs: str) -> Callable[[type[Any]], type[Any]]:
    """Register the decorated class as this side of the reference. Its docstring is the statement."""

    def register(kind: type[Any]) -> type[Any]:
        def spoil(partners: Partners) -> None:
            setattr(partners[REFERENCE], attribute, kind)

        STAGE.add(kind.__name__, kind.__doc__ or "", caught_by, spoil, tuple(bugs.split()))
        return kind

    return register


# Release of device memory


@_imports_by(_MEMORY)
class NeverReleases(Importer):
    """Never releases an import, so that the device's memory is never freed."""

    def call_deleter(self, tensor: Tensor) -> None:
        """Skip the deleter."""


@_imports_by(_MEMORY)
class KeepsWhatItRefuses(Importer):
    """Keeps the capsule's struct, and with it the memory, when an import fails."""

    def take_capsule(self, offered: Any) -> Imported:
        with mock.patch.object(self, "call_deleter"):
            taken = super().take_capsule(offered)
        return taken


@_exports_by(_MEMORY)
class RemembersEveryExport(Exporter):
    """Keeps a reference to every exported array."""

    exported: ClassVar[list[Exporter]] = []

    def export(self, fields: Fields, owner: Any) -> Any:
        self.exported.append(self)
        return super().export(fields, owner)


@_imports_by(_MEMORY)
class RemembersEveryDictionary(Importer):
    """Keeps a reference to every object that it has imported by the array interface."""

    read: ClassVar[list[Any]] = []

    def take_cai(self, source: Any) -> Imported:
        self.read.append(source)
        return super().take_cai(source)


# Pinned and managed memory on the host


@_imports_by(_HOST, bugs="device-28")
class ReadsZerosOfPinnedMemory(Importer):
    """Copies pinned or managed memory before the elements are there."""

    def dl_address(self, tensor: Tensor) -> int:
        if tensor.device[0] == 1:
            return super().dl_address(tensor)
        self.block = self.memory.allocate(1024)
        return self.block.address


@_imports_by(_HOST, bugs="readonly-06")
class TakesPinnedMemoryAsReadOnly(Importer):
    """Imports pinned or managed memory as read-only."""

    def dl_readonly(self, tensor: Tensor) -> bool:
        return tensor.device[0] != 1


@_imports_by(_HOST)
class WritesBesidePinnedMemory(Importer):
    """Loses writes to pinned or managed memory."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        taken = super().read_tensor(tensor)
        mock.patch.object(self.memory, "write").start()
        return taken


@_imports_by(_HOST)
class DiesOfPinnedMemory(Importer):
    """Ends the process on an import of pinned or managed memory on the host."""

    def dl_address(self, tensor: Tensor) -> int:
        os.kill(os.getpid(), signal.SIGSEGV)
        raise AssertionError


# A library's own memory of other kinds


def _reports(told: dict[Kind, tuple[int, int]]) -> Callable[[Partners], None]:
    def spoil(partners: Partners) -> None:
        mock.patch.object(partners[REFERENCE], "told", told).start()

    return spoil


for _name, _statement, _devices in (
    ("managed-told-as-device", "Reports managed memory as device memory.", {Kind.MANAGED: (2, 0)}),
    ("pinned-told-as-managed", "Reports pinned memory as managed.", {Kind.PINNED: (13, 0)}),
    ("pinned-of-the-second-gpu", "Reports pinned memory with the number of a GPU.", {Kind.PINNED: (3, 1)}),
    ("pool-told-as-pinned", "Reports pool memory as pinned.", {Kind.POOL: (3, 0)}),
):
    STAGE.add(_name, _statement, (_OWN,), _reports(_devices), ("device-20",))


@_exports_by(_OWN, bugs="device-20")
class ContradictsItsCapsule(Exporter):
    """Reports different devices in ``__dlpack_device__`` and in the capsule for memory that is not plain device memory."""

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0 if self.device()[0] != 2 else 1


@_exports_by(_OWN, bugs="device-25")
class CopiesOtherKinds(Exporter):
    """Exports a new copy of memory that is not plain device memory, made before the elements are there."""

    def dl_data(self) -> int:
        if isinstance(self.memory, CudaMemory) and self.memory.kind is not Kind.DEVICE:
            self.staging = self.memory.allocate(self.block.nbytes)
            return self.staging.address
        return super().dl_data()


# Another process


class _Misplaced(Exporter):
    """Base of exporters that publish another address than the one they work with."""

    def dl_data(self) -> int:
        return self.elsewhere(super().dl_data())

    def cai_address(self) -> int:
        return self.elsewhere(super().cai_address())

    def elsewhere(self, address: int) -> int:
        """Return the address that is published in place of this one."""
        return address


@_exports_by(_IPC)
class PublishesTheArrayInFront(_Misplaced):
    """Publishes the address of the array that was created before, and so ignores the offset in a shared allocation."""

    last: ClassVar[int | None] = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.in_front = self.last
        type(self).last = self.element0()

    def elsewhere(self, address: int) -> int:
        return self.in_front or address


@_exports_by(_IPC, bugs="pointer-14")
class PublishesPastTheStart(_Misplaced):
    """Publishes the address of the second element."""

    def elsewhere(self, address: int) -> int:
        return address + self.dtype.itemsize


@_exports_by(_IPC)
class ForgetsTheProcess(_Misplaced):
    """Publishes a copy without the elements."""

    def elsewhere(self, address: int) -> int:
        self.other = self.memory.allocate(self.block.nbytes)
        return self.other.address


# Contexts


class _Meddles(Importer):
    """Base of importers that change contexts on each import."""

    def take_dlpack(self, source: Any, **requested: Any) -> Imported:
        return self.meddled(super().take_dlpack(source, **requested))

    def take_cai(self, source: Any) -> Imported:
        return self.meddled(super().take_cai(source))

    def meddled(self, taken: Imported) -> Imported:
        """Return the import after the change."""
        return taken


@_imports_by(_UNCHANGED, _PRIVATE, bugs="context-07")
class LeavesNoContext(_Meddles):
    """Leaves no context current after an import."""

    def meddled(self, taken: Imported) -> Imported:
        context.set_current(0)
        return taken


@_imports_by(_UNCHANGED, _PRIVATE, bugs="context-05")
class LeavesAContextOfItsOwn(_Meddles):
    """Leaves its own context current after an import."""

    def meddled(self, taken: Imported) -> Imported:
        context.create()
        return taken


@_imports_by(_PRIVATE)
class MakesThePrimaryContextCurrent(_Meddles):
    """Makes the primary context current after an import, whichever was current before."""

    def meddled(self, taken: Imported) -> Imported:
        context.set_current(context.primary())
        return taken


@_imports_by(_PRIVATE, bugs="context-06")
class LooksElsewhereInAPrivateContext(_Meddles):
    """Starts an import one element late if a private context is current."""

    def meddled(self, taken: Imported) -> Imported:
        taken.address += taken.dtype.itemsize if driver.in_private_context() else 0
        return taken


@_imports_by(_PRIVATE)
class DiesInAPrivateContext(_Meddles):
    """Ends the process on an import if a private context is current."""

    def meddled(self, taken: Imported) -> Imported:
        if driver.in_private_context():
            os.kill(os.getpid(), signal.SIGSEGV)
        return taken


# The default stream of each context


class _OfTheFirstContext(WorkStream):
    first: ClassVar[int] = 0

    def recorded_on(self, current_gpu: int) -> int:
        kind = type(self)
        kind.first = kind.first or context.current()
        if kind.first != context.current():
            raise RuntimeError("CUDA_ERROR_INVALID_HANDLE")
        return super().recorded_on(current_gpu)


class _OfThePrimaryContext(WorkStream):
    def recorded_on(self, current_gpu: int) -> int:
        if context.current() != context.primary(current_gpu):
            raise RuntimeError("the default stream is that of the primary context")
        return super().recorded_on(current_gpu)


@_exports_by(_DEFAULT, bugs="current-02")
class DefaultsRememberTheFirstContext(Exporter):
    """Binds the object of the default stream to the first context in which it is used."""

    stream_class = _OfTheFirstContext


@_exports_by(_DEFAULT)
class DefaultsOfPrimaryContextsAlone(Exporter):
    """Raises when the object of the default stream is used in a private context."""

    stream_class = _OfThePrimaryContext
