"""Faults of the capsule: its name, its destructor, and the ownership of the struct."""

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
    """Names the capsule ``dl_tensor``, which no consumer looks for."""

    def export(self, fields: Fields, owner: Any) -> Any:
        made = super().export(fields, owner)
        capsule.rename(made, OTHER_NAME)
        return made


@fault("capsule.name", bugs="capsule-09")
class NameGoesWithTheArray(Exporter):
    """Stores the capsule's name in the array's memory, so that the name is overwritten when the array dies."""

    _names: ClassVar[list[Any]] = []
    """Kept alive, so that the overwritten names can still be read."""
    _lent: tuple[Managed, Any] | None = None

    def export(self, fields: Fields, owner: Any) -> Any:
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
    """Returns a tuple of capsule and device from ``__dlpack__``."""

    def export(self, fields: Fields, owner: Any) -> Any:
        return super().export(fields, owner), fields.device


@fault("capsule.unconsumed", "capsule.many-exports", "capsule.exception-in-flight", bugs="lifetime-06 capsule-26")
class NoDestructor(Exporter):
    """Leaks the struct of a capsule that is never consumed."""

    def export(self, fields: Fields, owner: Any) -> Any:
        made = super().export(fields, owner)
        capsule.set_destructor(made, 0)
        return made


@fault("capsule.unconsumed", bugs="lifetime-15")
class OwnerNotHeld(Exporter):
    """Holds no reference to the array in the struct, so that the memory is freed with the array."""

    def export(self, fields: Fields, owner: Any) -> Any:
        managed = Managed(fields, None)
        # The log keeps a struct alive that a check counts the deleter calls of.
        if fields.deleter is Deleter.NATIVE:
            self.log.exports.append(managed)
        return managed.capsule()


@fault("capsule.many-exports")
class OneStructForAll(Exporter):
    """Returns the same struct for every export of the same memory."""

    shared: ClassVar[dict[int, Managed]] = {}

    def export(self, fields: Fields, owner: Any) -> Any:
        # Exporters with a native deleter only lend memory to the check; they stay flawless.
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
    """Releases the struct when the capsule dies, although a consumer has taken it over."""

    def export(self, fields: Fields, owner: Any) -> Any:
        made = super().export(fields, owner)
        # Exporters with a native deleter only lend memory to the check; they stay flawless.
        if fields.deleter is not Deleter.NATIVE:
            capsule.set_destructor(made, ctypes.cast(_BLIND, ctypes.c_void_p).value or 0)
        return made


def _destroy_by_the_old_name(address: int | None) -> None:
    if capsule.name_at(address or 0) != USED_LEGACY:
        _destroy_whatever_the_name(address)


_OLD = capsule.DESTRUCTOR(_destroy_by_the_old_name)


@fault("capsule.used-is-inert", bugs="lifetime-02")
class DestructorKnowsTheOldName(Exporter):
    """Releases versioned structs that a consumer has taken over, because its destructor only knows ``used_dltensor``."""

    def export(self, fields: Fields, owner: Any) -> Any:
        made = super().export(fields, owner)
        # Exporters with a native deleter only lend memory to the check; they stay flawless.
        if fields.deleter is not Deleter.NATIVE:
            capsule.set_destructor(made, ctypes.cast(_OLD, ctypes.c_void_p).value or 0)
        return made


@fault("capsule.used-is-inert", bugs="lifetime-04")
class DeleterReleasesNothing(Exporter):
    """Has a deleter that releases nothing."""

    def fields(self, version: tuple[int, int] | None, *, copied: bool) -> Fields:
        return replace(super().fields(version, copied=copied), deleter=Deleter.NATIVE)


@fault("capsule.exception-in-flight")
class DestructorClearsErrors(Exporter):
    """Clears the current exception in the capsule's destructor."""

    def export(self, fields: Fields, owner: Any) -> Any:
        managed = Managed(fields, owner)
        self.log.exports.append(managed)
        clear = ctypes.cast(ctypes.pythonapi.PyErr_Clear, ctypes.c_void_p).value
        return capsule.new(managed.address, fields.name, clear or 0)


@fault("capsule.exception-in-flight")
class DestructorLosesExceptions(Exporter):
    """Runs Python code in the capsule's destructor without saving the current exception."""

    def export(self, fields: Fields, owner: Any) -> Any:
        managed = Managed(fields, owner)
        self.log.exports.append(managed)
        return capsule.new(managed.address, fields.name, DESTRUCTOR_ADDRESS)


@fault("capsule.renamed", "capsule.dies-before-the-view", bugs="lifetime-02")
class NotMarkedAsUsed(Importer):
    """Takes the struct over without renaming the capsule, so that the capsule releases it too."""

    def rename(self, offered: Any, name: bytes) -> None:
        """Leave the name unchanged."""


@fault("capsule.renamed")
class OneNameForUsed(Importer):
    """Renames every consumed capsule to ``used_dltensor``, also versioned ones."""

    def rename(self, offered: Any, name: bytes) -> None:
        capsule.rename(offered, USED_LEGACY)


@fault("capsule.dies-before-the-view", bugs="lifetime-03")
class LegacyStructsNeverReleased(Importer):
    """Calls the deleter of versioned structs only."""

    def call_deleter(self, tensor: Tensor) -> None:
        if tensor.version is not None:
            super().call_deleter(tensor)


@fault("capsule.second-import", bugs="capsule-05")
class NameNotChecked(Importer):
    """Imports a capsule that was consumed before."""

    def check_name(self, offered: Any) -> bytes:
        name = capsule.name(offered)
        return {USED_LEGACY: LEGACY, USED_VERSIONED: VERSIONED}.get(name, name)


@fault("capsule.second-import", "capsule.race", bugs="capsule-10")
class RefusalReleasesTheStruct(Importer):
    """Refuses a consumed capsule, but calls the deleter of its struct, which another import owns."""

    def check_name(self, offered: Any) -> bytes:
        try:
            return super().check_name(offered)
        except BufferError:
            self.call_deleter(dlpack.decode(capsule.pointer(offered), capsule.name(offered)))
            raise


@fault("capsule.second-import")
class UsedCapsuleIsADefect(Importer):
    """Refuses a consumed capsule with ``AssertionError``."""

    def check_name(self, offered: Any) -> bytes:
        assert capsule.name(offered) in (LEGACY, VERSIONED), "unexpected capsule"
        return super().check_name(offered)


@fault("capsule.struct-untouched")
class DeleterTakenOut(Importer):
    """Sets the deleter in the producer's struct to NULL after it has copied the pointer."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        taken = super().read_tensor(tensor)
        kind = DLManagedTensor if tensor.version is None else DLManagedTensorVersioned
        kind.from_address(tensor.address).deleter = None
        return taken


@fault("capsule.struct-untouched", bugs="capsule-01")
class StridesScaledInPlace(Importer):
    """Converts the strides to bytes in the producer's own struct."""

    def dl_strides(self, tensor: Tensor) -> tuple[int, ...]:
        kind = DLManagedTensor if tensor.version is None else DLManagedTensorVersioned
        struct: Any = kind.from_address(tensor.address)
        values = (ctypes.c_int64 * len(tensor.shape)).from_address(struct.dl_tensor.strides)
        for axis, stride in enumerate(tensor.strides_or_packed):
            values[axis] = stride * tensor.bits // 8
        return tensor.strides_or_packed


@fault("capsule.race")
class MarkedTooLate(Importer):
    """Checks the name and renames the capsule in two steps, between which another thread can import it."""

    def take_capsule(self, offered: Any) -> Imported:
        self._seen = super().check_name(offered)
        time.sleep(0.01)
        return super().take_capsule(offered)

    def check_name(self, offered: Any) -> bytes:
        return self._seen


@fault("capsule.race")
class BothGiveUp(Importer):
    """Gives its import back when it detects a concurrent one, so that both imports can fail."""

    under_way: ClassVar[list[Any]] = []

    def take_capsule(self, offered: Any) -> Imported:
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
