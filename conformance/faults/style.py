"""Faults of older calling styles: a call that older code relies on is missing or does something else."""

from __future__ import annotations

from typing import Any

from conformance.reference.exporter import Exporter
from conformance.reference.importer import Imported, Importer

from . import fault


@fault("style.bare-capsule")
class CapsulesRefused(Importer):
    """Refuses a bare capsule and demands an object with ``__dlpack__``."""

    _is_asked = False

    def call_dlpack(self, source: Any, requested: dict[str, Any]) -> Any:
        self._is_asked = True
        return super().call_dlpack(source, requested)

    def take_capsule(self, offered: Any) -> Imported:
        if not self._is_asked:
            raise TypeError("an object with __dlpack__ is needed, not a capsule")
        return super().take_capsule(offered)


@fault("style.bare-capsule")
class CapsulesCopied(Importer):
    """Copies an array that arrives in a bare capsule."""

    _is_asked = False

    def call_dlpack(self, source: Any, requested: dict[str, Any]) -> Any:
        self._is_asked = True
        return super().call_dlpack(source, requested)

    def take_capsule(self, offered: Any) -> Imported:
        taken = super().take_capsule(offered)
        if not self._is_asked and taken.view.size:
            self.block = self.memory.allocate(taken.view.size * taken.dtype.itemsize)
            taken.address = self.block.address
        return taken


@fault("style.constructor")
class SharingRefused(Importer):
    """Refuses ``copy=False``."""

    def take_dlpack(self, source: Any, **requested: Any) -> Imported:
        if requested.get("copy") is False:
            raise ValueError("unable to avoid a copy")
        return super().take_dlpack(source, **requested)


@fault("style.constructor")
class SharingCopies(Importer):
    """Ignores ``copy=False`` and copies."""

    def take_dlpack(self, source: Any, **requested: Any) -> Imported:
        if requested.get("copy") is False:
            requested["copy"] = True
        return super().take_dlpack(source, **requested)


@fault("style.to-capsule")
class NoBareCapsules(Exporter):
    """Has no function that returns a bare capsule."""

    @property
    def to_capsule(self) -> Any:
        raise AttributeError("this version has no to_capsule")


@fault("style.to-capsule")
class BareCapsulesOfCopies(Exporter):
    """Returns a bare capsule of a copy."""

    def to_capsule(self) -> Any:
        return self.dlpack(copy=True)
