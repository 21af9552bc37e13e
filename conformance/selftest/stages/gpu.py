"""The stage ``gpu``: the reference with itself on a GPU whose driver is made up: contexts, kinds of memory, another process.

What lies between the reference and that driver, the suite's instruments included, is the real thing; so are the other processes.
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
    """The reference as a library that has memory of its own of every kind; ``told`` is what it takes each for."""

    told: ClassVar[dict[Kind, tuple[int, int]]] = {}

    def empty_in(self, kind: Kind, dtype: DType, shape: tuple[int, ...]) -> Exporter:
        """By the driver's call for it."""
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


STAGE = Stage("gpu", "the reference with itself on a GPU, with a made-up driver", _partners, _cases, _around)


def _exports_by(*caught_by: str, bugs: str = "") -> Callable[[type[Exporter]], type[Exporter]]:
    return _side("exporter_class", caught_by, bugs)


def _imports_by(*caught_by: str, bugs: str = "") -> Callable[[type[Importer]], type[Importer]]:
    return _side("importer_class", caught_by, bugs)


def _side(attribute: str, caught_by: tuple[str, ...], bugs: str) -> Callable[[type[Any]], type[Any]]:
    """Register the decorated class as this side of the reference; its docstring is the statement."""

    def register(kind: type[Any]) -> type[Any]:
        def spoil(partners: Partners) -> None:
            setattr(partners[REFERENCE], attribute, kind)

        STAGE.add(kind.__name__, kind.__doc__ or "", caught_by, spoil, tuple(bugs.split()))
        return kind

    return register


# -- what becomes of device memory


@_imports_by(_MEMORY)
class NeverReleases(Importer):
    """Imports are never released: the device's memory does not come back."""

    def call_deleter(self, tensor: Tensor) -> None:
        """Never."""


@_imports_by(_MEMORY)
class KeepsWhatItRefuses(Importer):
    """An import that fails half-way keeps the capsule's struct, and with it the memory."""

    def take_capsule(self, offered: Any) -> Imported:
        """Without the deleter, if anything is raised."""
        with mock.patch.object(self, "call_deleter"):
            taken = super().take_capsule(offered)
        return taken


@_exports_by(_MEMORY)
class RemembersEveryExport(Exporter):
    """The producer keeps every array that it has ever exported."""

    exported: ClassVar[list[Exporter]] = []

    def export(self, fields: Fields, owner: Any) -> Any:
        """And remember it."""
        self.exported.append(self)
        return super().export(fields, owner)


@_imports_by(_MEMORY)
class RemembersEveryDictionary(Importer):
    """The consumer keeps every object whose array interface it has ever read."""

    read: ClassVar[list[Any]] = []

    def take_cai(self, source: Any) -> Imported:
        """And remember it."""
        self.read.append(source)
        return super().take_cai(source)


# -- pinned and managed memory on the host


@_imports_by(_HOST, bugs="device-28")
class ReadsZerosOfPinnedMemory(Importer):
    """What lies in pinned or managed memory is copied before it is there."""

    def dl_address(self, tensor: Tensor) -> int:
        """Memory of its own, if the device is not the host itself."""
        if tensor.device[0] == 1:
            return super().dl_address(tensor)
        self.block = self.memory.allocate(1024)
        return self.block.address


@_imports_by(_HOST, bugs="readonly-06")
class TakesPinnedMemoryAsReadOnly(Importer):
    """What lies in pinned or managed memory is read-only, whatever the capsule says."""

    def dl_readonly(self, tensor: Tensor) -> bool:
        """By the device."""
        return tensor.device[0] != 1


@_imports_by(_HOST)
class WritesBesidePinnedMemory(Importer):
    """Writes to what lies in pinned or managed memory do not arrive."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        """With a memory that swallows writes."""
        taken = super().read_tensor(tensor)
        mock.patch.object(self.memory, "write").start()
        return taken


@_imports_by(_HOST)
class DiesOfPinnedMemory(Importer):
    """An import of pinned or managed memory on the host ends in a segmentation fault."""

    def dl_address(self, tensor: Tensor) -> int:
        """The end."""
        os.kill(os.getpid(), signal.SIGSEGV)
        raise AssertionError


# -- a library's own memory of other kinds


def _tells(told: dict[Kind, tuple[int, int]]) -> Callable[[Partners], None]:
    def spoil(partners: Partners) -> None:
        mock.patch.object(partners[REFERENCE], "told", told).start()

    return spoil


for _name, _statement, _told in (
    ("managed-told-as-device", "managed memory is told as the device's own", {Kind.MANAGED: (2, 0)}),
    ("pinned-told-as-managed", "pinned memory is told as managed", {Kind.PINNED: (13, 0)}),
    ("pinned-of-the-second-gpu", "pinned memory is told with the number of a GPU", {Kind.PINNED: (3, 1)}),
    ("pool-told-as-pinned", "pool memory is told as pinned", {Kind.POOL: (3, 0)}),
):
    STAGE.add(_name, _statement, (_OWN,), _tells(_told), ("device-20",))


@_exports_by(_OWN, bugs="device-20")
class ContradictsItsCapsule(Exporter):
    """``__dlpack_device__`` and the capsule name different devices for memory that is not plain device memory."""

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0 if self.device()[0] != 2 else 1


@_exports_by(_OWN, bugs="device-25")
class CopiesOtherKinds(Exporter):
    """Every capsule of memory that is not plain device memory leads to another copy of it, made before it was written."""

    def dl_data(self) -> int:
        """A block of its own, which nobody fills."""
        if isinstance(self.memory, CudaMemory) and self.memory.kind is not Kind.DEVICE:
            self.staging = self.memory.allocate(self.block.nbytes)
            return self.staging.address
        return super().dl_data()


# -- another process


class _Misplaced(Exporter):
    """Publishes another address than the one that it works with."""

    def dl_data(self) -> int:
        """Elsewhere."""
        return self.elsewhere(super().dl_data())

    def cai_address(self) -> int:
        """Elsewhere."""
        return self.elsewhere(super().cai_address())

    def elsewhere(self, address: int) -> int:
        """What is published in the place of this address."""
        return address


@_exports_by(_IPC)
class PublishesTheArrayInFront(_Misplaced):
    """Whatever is published leads to the array that was made before: the offset within the pool's block is forgotten."""

    last: ClassVar[int | None] = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.in_front = self.last
        type(self).last = self.element0()

    def elsewhere(self, address: int) -> int:
        """In front, if there is one."""
        return self.in_front or address


@_exports_by(_IPC, bugs="pointer-14")
class PublishesPastTheStart(_Misplaced):
    """The published address lies an element behind the first one."""

    def elsewhere(self, address: int) -> int:
        """Further on."""
        return address + self.dtype.itemsize


@_exports_by(_IPC)
class ForgetsTheProcess(_Misplaced):
    """The published memory is a copy that no other process sees the elements of."""

    def elsewhere(self, address: int) -> int:
        """A block that is empty, for whoever opens it."""
        self.other = self.memory.allocate(self.block.nbytes)
        return self.other.address


# -- contexts


class _Meddles(Importer):
    """Does something to contexts whenever it takes an array."""

    def take_dlpack(self, source: Any, **requested: Any) -> Imported:
        """With what is done."""
        return self.meddled(super().take_dlpack(source, **requested))

    def take_cai(self, source: Any) -> Imported:
        """With what is done."""
        return self.meddled(super().take_cai(source))

    def meddled(self, taken: Imported) -> Imported:
        """The import, afterwards."""
        return taken


@_imports_by(_UNCHANGED, _PRIVATE, bugs="context-07")
class LeavesNoContext(_Meddles):
    """After an import no context is current."""

    def meddled(self, taken: Imported) -> Imported:
        """None."""
        context.set_current(0)
        return taken


@_imports_by(_UNCHANGED, _PRIVATE, bugs="context-05")
class LeavesAContextOfItsOwn(_Meddles):
    """After an import a context of the consumer's own is current."""

    def meddled(self, taken: Imported) -> Imported:
        """Its own."""
        context.create()
        return taken


@_imports_by(_PRIVATE)
class MakesThePrimaryContextCurrent(_Meddles):
    """After an import the primary context is current, whatever was before."""

    def meddled(self, taken: Imported) -> Imported:
        """The primary one."""
        context.set_current(context.primary())
        return taken


@_imports_by(_PRIVATE, bugs="context-06")
class LooksElsewhereInAPrivateContext(_Meddles):
    """An import that is made while a private context is current begins an element late."""

    def meddled(self, taken: Imported) -> Imported:
        """Moved."""
        taken.address += taken.dtype.itemsize if driver.in_private_context() else 0
        return taken


@_imports_by(_PRIVATE)
class DiesInAPrivateContext(_Meddles):
    """An import that is made while a private context is current ends in a segmentation fault."""

    def meddled(self, taken: Imported) -> Imported:
        """The end, there."""
        if driver.in_private_context():
            os.kill(os.getpid(), signal.SIGSEGV)
        return taken


# -- the default stream of each context


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
    """The object for the default stream stands for that of the first context that it was used in."""

    stream_class = _OfTheFirstContext


@_exports_by(_DEFAULT)
class DefaultsOfPrimaryContextsAlone(Exporter):
    """The object for the default stream cannot be used in a private context."""

    stream_class = _OfThePrimaryContext
