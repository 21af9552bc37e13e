"""Faults of the capsule: names, destructors, and who owns the struct."""

from __future__ import annotations

import ctypes
import time
from dataclasses import replace
from typing import Any, ClassVar

from conformance.protocols import capsule, dlpack
from conformance.protocols.dlpack import (
    LEGACY,
    USED_LEGACY,
    USED_VERSIONED,
    VERSIONED,
    DLManagedTensor,
    DLManagedTensorVersioned,
    Tensor,
)
from conformance.reference.exporter import Exporter
from conformance.reference.importer import Imported, Importer
from conformance.reference.managed import DESTRUCTOR_ADDRESS, Deleter, Fields, Managed
from conformance.reference.memory import POISON

from . import fault

OTHER_NAME = b"dl_tensor"


@fault("capsule.name")
class OtherName(Exporter):
    """The capsule has a name that no consumer looks for."""

    def export(self, fields: Fields, owner: Any) -> Any:
        """Renamed at once."""
        made = super().export(fields, owner)
        capsule.rename(made, OTHER_NAME)
        return made


@fault("capsule.name", bugs="capsule-09")
class NameGoesWithTheArray(Exporter):
    """The capsule's name lies in the array's own memory and is overwritten when the array goes."""

    _names: ClassVar[list[Any]] = []
    """Kept: what is overwritten can still be read."""
    _lent: tuple[Managed, Any] | None = None

    def export(self, fields: Fields, owner: Any) -> Any:
        """A capsule whose name and struct are the array's."""
        managed, name = Managed(fields, None), ctypes.create_string_buffer(fields.name)
        self.log.exports.append(managed)
        self._names.append(name)
        self._lent = (managed, name)
        made = managed.capsule()
        capsule.rename(made, name)  # type: ignore[arg-type]
        return made

    def __del__(self) -> None:
        if self._lent is not None:
            managed, name = self._lent
            ctypes.memset(name, POISON, len(name) - 1)
            managed.run_deleter()


@fault("capsule.name")
class CapsuleInATuple(Exporter):
    """``__dlpack__`` answers a tuple, of the capsule and the device."""

    def export(self, fields: Fields, owner: Any) -> Any:
        """No capsule."""
        return super().export(fields, owner), fields.device


@fault("capsule.unconsumed", "capsule.many-exports", "capsule.exception-in-flight", bugs="lifetime-06 capsule-26")
class NoDestructor(Exporter):
    """A capsule that nobody consumes leaks what it holds."""

    def export(self, fields: Fields, owner: Any) -> Any:
        """Without destructor."""
        made = super().export(fields, owner)
        capsule.set_destructor(made, 0)
        return made


@fault("capsule.unconsumed", bugs="lifetime-15")
class OwnerNotHeld(Exporter):
    """The struct holds nothing: the memory goes with the array, whatever else lives."""

    def export(self, fields: Fields, owner: Any) -> Any:
        """With nobody as owner, and no copy of the record either."""
        managed = Managed(fields, None)
        if fields.deleter is Deleter.NATIVE:
            self.log.exports.append(managed)
        return managed.capsule()


@fault("capsule.many-exports")
class OneStructForAll(Exporter):
    """Every export of the same memory hands out the same struct again."""

    shared: ClassVar[dict[int, Managed]] = {}

    def export(self, fields: Fields, owner: Any) -> Any:
        """The first one's struct; the exporters that only lend memory to the check are left alone."""
        if fields.deleter is Deleter.NATIVE:
            return super().export(fields, owner)
        return self.shared.setdefault(fields.data, Managed(fields, owner)).capsule()


def _destroy_whatever_the_name(address: int | None) -> None:
    name = capsule.name_at(address or 0)
    kind = DLManagedTensorVersioned if name in (VERSIONED, USED_VERSIONED) else DLManagedTensor
    struct: Any = kind.from_address(capsule.pointer_at(address or 0))
    if struct.deleter:
        ctypes.CFUNCTYPE(None, ctypes.c_void_p)(struct.deleter)(ctypes.addressof(struct))


_BLIND = capsule.DESTRUCTOR(_destroy_whatever_the_name)


@fault("capsule.used-is-inert", bugs="lifetime-02")
class DestructorIgnoresTheName(Exporter):
    """The capsule releases the struct when it dies, though a consumer has taken it over."""

    def export(self, fields: Fields, owner: Any) -> Any:
        """With a destructor that looks at nothing; the exporters that only lend memory to the check are left alone."""
        made = super().export(fields, owner)
        if fields.deleter is not Deleter.NATIVE:
            capsule.set_destructor(made, ctypes.cast(_BLIND, ctypes.c_void_p).value or 0)
        return made


def _destroy_by_the_old_name(address: int | None) -> None:
    if capsule.name_at(address or 0) != USED_LEGACY:
        _destroy_whatever_the_name(address)


_OLD = capsule.DESTRUCTOR(_destroy_by_the_old_name)


@fault("capsule.used-is-inert", bugs="lifetime-02")
class DestructorKnowsTheOldName(Exporter):
    """The capsule's destructor has not heard of versioned structs: only ``used_dltensor`` keeps it from releasing."""

    def export(self, fields: Fields, owner: Any) -> Any:
        """With that destructor; the exporters that only lend memory to the check are left alone."""
        made = super().export(fields, owner)
        if fields.deleter is not Deleter.NATIVE:
            capsule.set_destructor(made, ctypes.cast(_OLD, ctypes.c_void_p).value or 0)
        return made


@fault("capsule.used-is-inert", bugs="lifetime-04")
class DeleterReleasesNothing(Exporter):
    """The deleter can be called, and what the struct holds stays held."""

    def fields(self, version: tuple[int, int] | None, *, copied: bool) -> Fields:
        """With a deleter that knows no owner."""
        return replace(super().fields(version, copied=copied), deleter=Deleter.NATIVE)


@fault("capsule.exception-in-flight")
class DestructorClearsErrors(Exporter):
    """The destructor clears whatever error there is, as if it could only be its own."""

    def export(self, fields: Fields, owner: Any) -> Any:
        """A capsule that nobody holds back, with a destructor in C."""
        managed = Managed(fields, owner)
        self.log.exports.append(managed)
        clear = ctypes.cast(ctypes.pythonapi.PyErr_Clear, ctypes.c_void_p).value
        return capsule.new(managed.address, fields.name, clear or 0)


@fault("capsule.exception-in-flight")
class DestructorLosesExceptions(Exporter):
    """The destructor runs Python code without saving the exception that is in flight."""

    def export(self, fields: Fields, owner: Any) -> Any:
        """A capsule that nobody holds back until the exception has passed."""
        managed = Managed(fields, owner)
        self.log.exports.append(managed)
        return capsule.new(managed.address, fields.name, DESTRUCTOR_ADDRESS)


@fault("capsule.renamed", "capsule.dies-before-the-view", bugs="lifetime-02")
class NotMarkedAsUsed(Importer):
    """The importer takes the struct and leaves the capsule as it was, which then releases it too."""

    def rename(self, offered: Any, name: bytes) -> None:
        """Nothing."""


@fault("capsule.renamed")
class OneNameForUsed(Importer):
    """The importer marks every capsule by the name that belongs to the older struct."""

    def rename(self, offered: Any, name: bytes) -> None:
        """``used_dltensor``, whatever is inside."""
        capsule.rename(offered, USED_LEGACY)


@fault("capsule.dies-before-the-view", bugs="lifetime-03")
class LegacyStructsNeverReleased(Importer):
    """The importer calls the deleter of versioned structs, and forgets that of the older ones."""

    def call_deleter(self, tensor: Tensor) -> None:
        """Only where there is a version."""
        if tensor.version is not None:
            super().call_deleter(tensor)


@fault("capsule.second-import", bugs="capsule-05")
class NameNotChecked(Importer):
    """A capsule is imported whatever its name says."""

    def check_name(self, offered: Any) -> bytes:
        """As if it were fresh."""
        name = capsule.name(offered)
        return {USED_LEGACY: LEGACY, USED_VERSIONED: VERSIONED}.get(name, name)


@fault("capsule.second-import", "capsule.race", bugs="capsule-10")
class RefusalReleasesTheStruct(Importer):
    """A capsule that is used already is refused, and on the way out its struct is released: it is another import's."""

    def check_name(self, offered: Any) -> bytes:
        """With a deleter call too many."""
        try:
            return super().check_name(offered)
        except BufferError:
            self.call_deleter(dlpack.decode(capsule.pointer(offered), capsule.name(offered)))
            raise


@fault("capsule.second-import")
class UsedCapsuleIsADefect(Importer):
    """A capsule that is used already ends in an assertion, which is not meant for users."""

    def check_name(self, offered: Any) -> bytes:
        """``AssertionError``."""
        assert capsule.name(offered) in (LEGACY, VERSIONED), "unexpected capsule"
        return super().check_name(offered)


@fault("capsule.struct-untouched")
class DeleterTakenOut(Importer):
    """The importer moves the deleter out of the producer's struct, as from an object of its own."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        """NULL is left behind; the import still calls it."""
        taken = super().read_tensor(tensor)
        kind = DLManagedTensor if tensor.version is None else DLManagedTensorVersioned
        kind.from_address(tensor.address).deleter = None
        return taken


@fault("capsule.struct-untouched", bugs="capsule-01")
class StridesScaledInPlace(Importer):
    """The importer turns the strides into bytes in the producer's own struct."""

    def dl_strides(self, tensor: Tensor) -> tuple[int, ...]:
        """Right, but written back."""
        kind = DLManagedTensor if tensor.version is None else DLManagedTensorVersioned
        struct: Any = kind.from_address(tensor.address)
        values = (ctypes.c_int64 * len(tensor.shape)).from_address(struct.dl_tensor.strides)
        for axis, stride in enumerate(tensor.strides_or_packed):
            values[axis] = stride * tensor.bits // 8
        return tensor.strides_or_packed


@fault("capsule.race")
class MarkedTooLate(Importer):
    """Between the look at the name and its change another thread can get in."""

    def take_capsule(self, offered: Any) -> Imported:
        """Look, wait, and believe what was seen."""
        self._seen = super().check_name(offered)
        time.sleep(0.01)
        return super().take_capsule(offered)

    def check_name(self, offered: Any) -> bytes:
        """What was seen before the wait."""
        return self._seen


@fault("capsule.race")
class BothGiveUp(Importer):
    """An import that finds another one under way gives back what it has got and leaves the capsule to that one."""

    under_way: ClassVar[list[Any]] = []

    def take_capsule(self, offered: Any) -> Imported:
        """The other one does the same."""
        self.under_way.append(offered)
        try:
            time.sleep(0.001)
            alone = len(self.under_way) == 1
            taken = super().take_capsule(offered)
        finally:
            self.under_way.pop()
        if not alone:
            taken.release()
            raise BufferError("another import is under way")
        return taken
