"""Faults of the family ``use``: an import that is described and read rightly, and used wrongly."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, ClassVar

from conformance.protocols.strided import packed
from conformance.reference.importer import Imported, Importer
from conformance.reference.memory import ALIGNMENT, gather_by_bytes

from . import fault


@fault("use.offset", bugs="use-02 pointer-18")
class KernelsDropTheOffset(Importer):
    """A kernel gets the data pointer of the capsule, and nobody adds its offset."""

    def kernel_address(self, taken: Imported) -> int:
        """Without the offset."""
        return taken.address if taken.tensor is None else taken.tensor.data


@fault("use.offset", "pointer.kernel-write-seen", bugs="pointer-17")
class KernelsRoundTheirAddress(Importer):
    """A kernel works from the next lower address that is aligned to 256 bytes."""

    def kernel_address(self, taken: Imported) -> int:
        """Rounded."""
        return taken.address - taken.address % ALIGNMENT


@fault("use.offset", bugs="use-02 pointer-18")
class ArithmeticDropsTheOffset(Importer):
    """Arithmetic and copies begin at the data pointer of the capsule."""

    def operand(self, taken: Imported) -> bytes:
        """Without the offset."""
        start = taken.address if taken.tensor is None else taken.tensor.data
        return gather_by_bytes(self.memory, start, taken.view_in_bytes, taken.dtype.itemsize)


@fault("use.own-arrays", "use.device", bugs="use-01")
class ImportsAreElsewhere(Importer):
    """An import tells a device of its own, and no operation takes it together with other arrays."""

    def place(self, taken: Imported) -> object:
        """That of no other array."""
        return ("imported", *taken.device)


@fault("use.own-arrays")
class ArithmeticSeesZeros(Importer):
    """Arithmetic takes the elements of an import from memory that it has not filled yet."""

    def operand(self, taken: Imported) -> bytes:
        """Zeros."""
        return bytes(taken.view.size * taken.dtype.itemsize)


@fault("use.own-arrays")
class ArithmeticReadsAsIfPacked(Importer):
    """Arithmetic reads as many elements as the import has from where it begins, whatever its strides; copies are right."""

    def operand(self, taken: Imported) -> bytes:
        """Without a look at the strides."""
        return self.memory.read(taken.address, packed(taken.shape).size * taken.dtype.itemsize)

    def copied(self, taken: Imported, make: Callable[[bytes], Any]) -> Any:
        """With one."""
        return make(super().operand(taken))


@fault("use.own-arrays")
class PartsBeginWithTheWhole(Importer):
    """Arithmetic on a view of an import begins where the import begins."""

    def operand(self, taken: Imported) -> bytes:
        """At the whole."""
        whole = taken.holder if isinstance(taken.holder, Imported) else taken
        return gather_by_bytes(self.memory, whole.address, taken.view_in_bytes, taken.dtype.itemsize)


@fault("use.own-arrays")
class StagedByShape(Importer):
    """Arithmetic stages an import by its shape: of two that live at once it takes the first one's elements twice."""

    staged: ClassVar[weakref.WeakValueDictionary[tuple[Any, ...], Imported]] = weakref.WeakValueDictionary()

    def operand(self, taken: Imported) -> bytes:
        """The first one's."""
        return super().operand(self.staged.setdefault((taken.shape, taken.dtype.name), taken))


@fault("use.own-arrays")
class ReadOnlyImportsAreNoOperands(Importer):
    """Arithmetic asks for a writable operand, though it writes none."""

    def operand(self, taken: Imported) -> bytes:
        """``ValueError`` for one that is read-only."""
        if taken.readonly:
            raise ValueError("the array is read-only")
        return super().operand(taken)


@fault("use.offset", bugs="use-02 pointer-18")
class WideElementsLoseTheOffset(Importer):
    """Arithmetic on elements of 8 bytes begins at the data pointer of the capsule."""

    def operand(self, taken: Imported) -> bytes:
        """Without the offset."""
        is_wide = taken.tensor is not None and taken.dtype.itemsize == 8
        start = taken.tensor.data if taken.tensor is not None and is_wide else taken.address
        return gather_by_bytes(self.memory, start, taken.view_in_bytes, taken.dtype.itemsize)


@fault("use.device", bugs="use-01")
class ReadOnlyImportsAreElsewhere(Importer):
    """An import that is read-only tells a device of its own."""

    def place(self, taken: Imported) -> object:
        """That of no other array."""
        return ("frozen", *taken.device) if taken.readonly else taken.device

    def mixes(self, taken: Imported, place: object) -> bool:
        """With anything."""
        return True


@fault("use.device", bugs="use-01")
class DevicesCompareByIdentity(Importer):
    """Each import tells a device object of its own that equals no other, though operations take it."""

    def place(self, taken: Imported) -> object:
        """A new one."""
        return object()

    def mixes(self, taken: Imported, place: object) -> bool:
        """With anything."""
        return True


@fault("use.copy")
class CopiesShare(Importer):
    """The copy of an import is the import itself."""

    def copied(self, taken: Imported, make: Callable[[bytes], Any]) -> Any:
        """Itself."""
        return taken


@fault("use.copy", bugs="strides-04")
class CopiesAsIfPacked(Importer):
    """A copy takes as many elements as the import has from where it begins, whatever its strides."""

    def copied(self, taken: Imported, make: Callable[[bytes], Any]) -> Any:
        """Without a look at the strides."""
        size = packed(taken.shape).size * taken.dtype.itemsize
        return make(self.memory.read(taken.address, size))
