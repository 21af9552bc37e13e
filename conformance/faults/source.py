"""Faults of changes: the producer changes or replaces the memory of an array that others have imported, or the reverse."""

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
    """Keeps the array alive for an export, but not the memory that the array had at that moment."""

    def held(self, owner: Any) -> Any:
        return None


@fault("source.export-kept")
class WipesWhatItLeaves(Exporter):
    """Overwrites an array's old memory when the array gets new memory, although imports still use it."""

    def leave(self, block: Block) -> None:
        block.release()
        super().leave(block)


class _Forgetful(Exporter):
    """Base of exporters that hold no reference to the memory in one case."""

    def held(self, owner: Any) -> Any:
        return None if self.forgets() else super().held(owner)

    def forgets(self) -> bool:
        """Return ``True`` in the case in which the export must not hold the memory."""
        raise NotImplementedError


@fault("source.export-kept", bugs="lifetime-15")
class ViewsHoldTheirArrayAlone(Exporter):
    """Keeps only the base array alive for an export of a view, and not the memory of the base."""

    def block_of_views(self) -> Block:
        return BorrowedBlock(self.block.address, self)


@fault("source.export-kept")
class SmallArraysUnheld(_Forgetful):
    """Holds no memory for an export of less than 1 KiB."""

    def forgets(self) -> bool:
        return 0 < self.view.size * self.dtype.itemsize < 1024


@fault("source.export-kept")
class LargeArraysUnheld(_Forgetful):
    """Holds no memory for an export of more than 64 KiB, and a later change of the array unmaps it."""

    def forgets(self) -> bool:
        return self.view.size * self.dtype.itemsize > 1 << 16


@fault("source.export-kept")
class LaterExportsUnheld(_Forgetful):
    """Holds the memory for the first export of an array only."""

    def forgets(self) -> bool:
        return bool(self.log.exports)


@fault("source.export-kept")
class ReadOnlyArraysUnheld(_Forgetful):
    """Holds no memory for exports of read-only arrays, as if these never change."""

    def forgets(self) -> bool:
        return self.readonly


@fault("source.export-kept")
class LegacyExportsUnheld(Exporter):
    """Holds the memory for versioned capsules only."""

    def export(self, fields: Fields, owner: Any) -> Any:
        self._is_legacy = fields.version is None
        return super().export(fields, owner)

    def held(self, owner: Any) -> Any:
        return None if self._is_legacy else super().held(owner)


@fault("source.export-kept")
class KeepsTheNewestMemoryAlone(HoldsTheArrayAlone):
    """Holds the memory from before the latest change, and none for exports, so that a second change frees memory in use."""

    def leave(self, block: Block) -> None:
        super().leave(block)
        self._before = block


@fault("source.loan-kept", "lifetime.past", bugs="lifetime-15")
class PassedOnUnheld(Exporter):
    """Holds no reference to an import that it exports again."""

    def export(self, fields: Fields, owner: Any) -> Any:
        is_borrowed = isinstance(owner, Exporter) and isinstance(owner.block, BorrowedBlock) and owner.view.size > 0
        return super().export(fields, None if is_borrowed else owner)


@fault("source.loan-kept", bugs="lifetime-04")
class PassedOnForGood(Exporter):
    """Never releases an import that it exports again."""

    passed_on: ClassVar[list[Any]] = []

    def export(self, fields: Fields, owner: Any) -> Any:
        if isinstance(owner, Exporter) and isinstance(owner.block, BorrowedBlock):
            self.passed_on.append(owner)
        return super().export(fields, owner)


@fault("source.copy-reused")
class CopiesWhenItIsTooLate(Importer):
    """Shares memory for ``copy=True`` and plans to copy at the first write, but never copies, and treats the memory as its own."""

    def take_dlpack(self, source: Any, **requested: Any) -> Imported:
        self._is_mine = bool(requested.get("copy"))
        return super().take_dlpack(source, **({**requested, "copy": None} if self._is_mine else requested))

    def is_own(self, taken: Imported) -> bool:
        return getattr(self, "_is_mine", False) or super().is_own(taken)


@fault("source.copy-reused")
class ReusesTheOneBeside(Importer):
    """Reuses the memory of the first live import with the same shape in place of the released memory."""

    alive: ClassVar[weakref.WeakValueDictionary[tuple[Any, ...], Imported]] = weakref.WeakValueDictionary()

    def take_dlpack(self, source: Any, **requested: Any) -> Imported:
        taken = super().take_dlpack(source, **requested)
        self.alive.setdefault((taken.shape, taken.dtype.name, taken.device), taken)
        return taken

    def reused_at(self, taken: Imported) -> int:
        return self.alive[taken.shape, taken.dtype.name, taken.device].address
