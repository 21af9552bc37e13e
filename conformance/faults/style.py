"""Faults of styles of calling: what older code relies on is gone, or does something else."""

from __future__ import annotations

from typing import Any

from conformance.reference.exporter import Exporter
from conformance.reference.importer import Imported, Importer

from . import fault


@fault("style.bare-capsule")
class CapsulesRefused(Importer):
    """A bare capsule is refused: an object with ``__dlpack__`` is asked for."""

    _is_asked = False

    def call_dlpack(self, source: Any, requested: dict[str, Any]) -> Any:
        """A capsule that comes from here is taken."""
        self._is_asked = True
        return super().call_dlpack(source, requested)

    def take_capsule(self, offered: Any) -> Imported:
        """Any other is not."""
        if not self._is_asked:
            raise TypeError("an object with __dlpack__ is needed, not a capsule")
        return super().take_capsule(offered)


@fault("style.bare-capsule")
class CapsulesCopied(Importer):
    """An array in a bare capsule is copied."""

    _is_asked = False

    def call_dlpack(self, source: Any, requested: dict[str, Any]) -> Any:
        """What comes from here is shared."""
        self._is_asked = True
        return super().call_dlpack(source, requested)

    def take_capsule(self, offered: Any) -> Imported:
        """Into a block of its own."""
        taken = super().take_capsule(offered)
        if not self._is_asked and taken.view.size:
            self.block = self.memory.allocate(taken.view.size * taken.dtype.itemsize)
            taken.address = self.block.address
        return taken


@fault("style.constructor")
class SharingRefused(Importer):
    """``copy=False`` is refused."""

    def take_dlpack(self, source: Any, **requested: Any) -> Imported:
        """``ValueError`` for it."""
        if requested.get("copy") is False:
            raise ValueError("unable to avoid a copy")
        return super().take_dlpack(source, **requested)


@fault("style.constructor")
class SharingCopies(Importer):
    """``copy=False`` is ignored, and everything is copied."""

    def take_dlpack(self, source: Any, **requested: Any) -> Imported:
        """As if ``copy=True`` had been asked for."""
        if requested.get("copy") is False:
            requested["copy"] = True
        return super().take_dlpack(source, **requested)


@fault("style.to-capsule")
class NoBareCapsules(Exporter):
    """There is no function that makes a bare capsule."""

    @property
    def to_capsule(self) -> Any:
        """Removed."""
        raise AttributeError("this version has no to_capsule")


@fault("style.to-capsule")
class BareCapsulesOfCopies(Exporter):
    """A bare capsule is one of a copy."""

    def to_capsule(self) -> Any:
        """With memory of its own."""
        return self.dlpack(copy=True)
