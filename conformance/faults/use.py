"""Faults of the family ``use``: the import has the right metadata and elements, and the library then uses it wrongly."""

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
    """Passes a kernel the capsule's ``data`` pointer without ``byte_offset``."""

    def kernel_address(self, taken: Imported) -> int:
        return taken.address if taken.tensor is None else taken.tensor.data


@fault("use.offset", "pointer.kernel-write-seen", bugs="pointer-17")
class KernelsRoundTheirAddress(Importer):
    """Rounds the address that it passes a kernel down to 256 bytes."""

    def kernel_address(self, taken: Imported) -> int:
        return taken.address - taken.address % ALIGNMENT


@fault("use.offset", bugs="use-02 pointer-18")
class ArithmeticDropsTheOffset(Importer):
    """Starts arithmetic and copies at the capsule's ``data`` pointer without ``byte_offset``."""

    def operand(self, taken: Imported) -> bytes:
        start = taken.address if taken.tensor is None else taken.tensor.data
        return gather_by_bytes(self.memory, start, taken.view_in_bytes, taken.dtype.itemsize)


@fault("use.own-arrays", "use.device", bugs="use-01")
class ImportsAreElsewhere(Importer):
    """Reports a private device for an import, so that no operation accepts it together with other arrays."""

    def place(self, taken: Imported) -> object:
        return ("imported", *taken.device)


@fault("use.own-arrays")
class ArithmeticSeesZeros(Importer):
    """Computes with the elements of an import before it fills the memory that it reads them from."""

    def operand(self, taken: Imported) -> bytes:
        return bytes(taken.view.size * taken.dtype.itemsize)


@fault("use.own-arrays")
class ArithmeticReadsAsIfPacked(Importer):
    """Computes with an import as if it were packed, whatever its strides. Copies are right."""

    def operand(self, taken: Imported) -> bytes:
        return self.memory.read(taken.address, packed(taken.shape).size * taken.dtype.itemsize)

    def copied(self, taken: Imported, make: Callable[[bytes], Any]) -> Any:
        return make(super().operand(taken))


@fault("use.own-arrays")
class PartsBeginWithTheWhole(Importer):
    """Computes with a view of an import as if the view began at the import's first element."""

    def operand(self, taken: Imported) -> bytes:
        whole = taken.holder if isinstance(taken.holder, Imported) else taken
        return gather_by_bytes(self.memory, whole.address, taken.view_in_bytes, taken.dtype.itemsize)


@fault("use.own-arrays")
class StagedByShape(Importer):
    """Caches operands by shape and type, so that a second live import gets the elements of the first one."""

    staged: ClassVar[weakref.WeakValueDictionary[tuple[Any, ...], Imported]] = weakref.WeakValueDictionary()

    def operand(self, taken: Imported) -> bytes:
        return super().operand(self.staged.setdefault((taken.shape, taken.dtype.name), taken))


@fault("use.own-arrays")
class ReadOnlyImportsAreNoOperands(Importer):
    """Refuses a read-only import as an operand, although arithmetic does not write to it."""

    def operand(self, taken: Imported) -> bytes:
        if taken.readonly:
            raise ValueError("the array is read-only")
        return super().operand(taken)


@fault("use.offset", bugs="use-02 pointer-18")
class WideElementsLoseTheOffset(Importer):
    """Ignores ``byte_offset`` in arithmetic on elements of 8 bytes."""

    def operand(self, taken: Imported) -> bytes:
        is_wide = taken.tensor is not None and taken.dtype.itemsize == 8
        start = taken.tensor.data if taken.tensor is not None and is_wide else taken.address
        return gather_by_bytes(self.memory, start, taken.view_in_bytes, taken.dtype.itemsize)


@fault("use.device", bugs="use-01")
class ReadOnlyImportsAreElsewhere(Importer):
    """Reports a private device for a read-only import."""

    def place(self, taken: Imported) -> object:
        return ("frozen", *taken.device) if taken.readonly else taken.device

    def mixes(self, taken: Imported, place: object) -> bool:
        return True


@fault("use.device", bugs="use-01")
class DevicesCompareByIdentity(Importer):
    """Reports a new device object for each import, which equals no other, although operations accept the import."""

    def place(self, taken: Imported) -> object:
        return object()

    def mixes(self, taken: Imported, place: object) -> bool:
        return True


@fault("use.copy")
class CopiesShare(Importer):
    """Returns the import itself as its copy."""

    def copied(self, taken: Imported, make: Callable[[bytes], Any]) -> Any:
        return taken


@fault("use.copy", bugs="strides-04")
class CopiesAsIfPacked(Importer):
    """Copies an import as if it were packed, whatever its strides."""

    def copied(self, taken: Imported, make: Callable[[bytes], Any]) -> Any:
        size = packed(taken.shape).size * taken.dtype.itemsize
        return make(self.memory.read(taken.address, size))
