"""Faults of changes: what is done to an array reaches those who have imported it, or the other way round."""

from __future__ import annotations

import weakref
from typing import Any, ClassVar

from conformance.reference.exporter import Exporter
from conformance.reference.importer import Imported, Importer
from conformance.reference.managed import Fields
from conformance.reference.memory import Block, BorrowedBlock

from . import fault


@fault("source.export-kept", bugs="lifetime-15")
class HoldsTheArrayAlone(Exporter):
    """An export keeps its array alive, and not the memory that the array has at that moment."""

    def held(self, owner: Any) -> Any:
        """Nothing beside the array."""
        return None


@fault("source.export-kept")
class WipesWhatItLeaves(Exporter):
    """An array that gets other memory overwrites the old one, whoever has it."""

    def leave(self, block: Block) -> None:
        """Poisoned."""
        block.release()
        super().leave(block)


class _Forgetful(Exporter):
    """An export that keeps its array alone in one case: the base of the faults here."""

    def held(self, owner: Any) -> Any:
        """The memory in all other cases."""
        return None if self.forgets() else super().held(owner)

    def forgets(self) -> bool:
        """Whether this is that case."""
        raise NotImplementedError


@fault("source.export-kept", bugs="lifetime-15")
class ViewsHoldTheirArrayAlone(Exporter):
    """A view of an array keeps the array, and not the memory that the array has: exports of the array itself are right."""

    def block_of_views(self) -> Block:
        """By its address."""
        return BorrowedBlock(self.block.address, self)


@fault("source.export-kept")
class SmallArraysUnheld(_Forgetful):
    """Elements of less than 1 KiB lie in the object itself, and an export of a small array keeps no memory beside it."""

    def forgets(self) -> bool:
        """By the size."""
        return 0 < self.view.size * self.dtype.itemsize < 1024


@fault("source.export-kept")
class LargeArraysUnheld(_Forgetful):
    """Memory of more than 64 KiB is mapped by itself, and a change unmaps it whoever has it."""

    def forgets(self) -> bool:
        """By the size."""
        return self.view.size * self.dtype.itemsize > 1 << 16


@fault("source.export-kept")
class LaterExportsUnheld(_Forgetful):
    """The first export of an array keeps its memory, and those after it rely on that."""

    def forgets(self) -> bool:
        """By what has been exported before."""
        return bool(self.log.exports)


@fault("source.export-kept")
class ReadOnlyArraysUnheld(_Forgetful):
    """An array that nobody can write is taken to keep its memory for good."""

    def forgets(self) -> bool:
        """By the flag."""
        return self.readonly


@fault("source.export-kept")
class LegacyExportsUnheld(Exporter):
    """Only a versioned capsule keeps the memory."""

    def export(self, fields: Fields, owner: Any) -> Any:
        """By the version."""
        self._is_legacy = fields.version is None
        return super().export(fields, owner)

    def held(self, owner: Any) -> Any:
        """Nothing beside the array for a legacy one."""
        return None if self._is_legacy else super().held(owner)


@fault("source.export-kept")
class KeepsTheNewestMemoryAlone(HoldsTheArrayAlone):
    """An array keeps the memory that it had before its newest change, and exports keep none: the second change takes it away."""

    def leave(self, block: Block) -> None:
        """For one change."""
        super().leave(block)
        self._before = block


@fault("source.loan-kept", "lifetime.past", bugs="lifetime-15")
class PassedOnUnheld(Exporter):
    """An import is exported again by its address, and nothing keeps it."""

    def export(self, fields: Fields, owner: Any) -> Any:
        """Of own memory alone."""
        is_borrowed = isinstance(owner, Exporter) and isinstance(owner.block, BorrowedBlock) and owner.view.size > 0
        return super().export(fields, None if is_borrowed else owner)


@fault("source.loan-kept", bugs="lifetime-04")
class PassedOnForGood(Exporter):
    """An import that is exported again is never given back."""

    passed_on: ClassVar[list[Any]] = []

    def export(self, fields: Fields, owner: Any) -> Any:
        """And kept."""
        if isinstance(owner, Exporter) and isinstance(owner.block, BorrowedBlock):
            self.passed_on.append(owner)
        return super().export(fields, owner)


@fault("source.copy-reused")
class CopiesWhenItIsTooLate(Importer):
    """``copy=True`` shares, because a copy could be made when somebody writes; nobody does, and the memory counts as the importer's own."""

    def take_dlpack(self, source: Any, **requested: Any) -> Imported:
        """Without the request."""
        self._is_mine = bool(requested.get("copy"))
        return super().take_dlpack(source, **({**requested, "copy": None} if self._is_mine else requested))

    def is_own(self, taken: Imported) -> bool:
        """What was asked for as a copy."""
        return getattr(self, "_is_mine", False) or super().is_own(taken)


@fault("source.copy-reused")
class ReusesTheOneBeside(Importer):
    """The memory that is used for something else is that of the first import of this shape which still lives."""

    alive: ClassVar[weakref.WeakValueDictionary[tuple[Any, ...], Imported]] = weakref.WeakValueDictionary()

    def take_dlpack(self, source: Any, **requested: Any) -> Imported:
        """And remembered."""
        taken = super().take_dlpack(source, **requested)
        self.alive.setdefault((taken.shape, taken.dtype.name, taken.device), taken)
        return taken

    def reused_at(self, taken: Imported) -> int:
        """The first one's."""
        return self.alive[taken.shape, taken.dtype.name, taken.device].address
