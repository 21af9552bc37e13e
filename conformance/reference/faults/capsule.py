"""Faults of the capsule: names, destructors, and who owns the struct."""

from __future__ import annotations

import ctypes
import time
from typing import Any, ClassVar

from conformance.protocols import capsule
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


@fault("capsule.unconsumed", "capsule.many-exports", bugs="lifetime-06 capsule-26")
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


@fault("capsule.second-import", bugs="capsule-05")
class NameNotChecked(Importer):
    """A capsule is imported whatever its name says."""

    def check_name(self, offered: Any) -> bytes:
        """As if it were fresh."""
        name = capsule.name(offered)
        return {USED_LEGACY: LEGACY, USED_VERSIONED: VERSIONED}.get(name, name)


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
