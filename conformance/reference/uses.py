"""Operations that users apply to an import: kernels, arithmetic with other arrays, and copies. A fault overrides one of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .memory import Memory, gather_by_bytes

if TYPE_CHECKING:
    from .importer import Imported


class Uses:
    """The part of an importer that implements operations on imports."""

    memory: Memory

    def kernel_address(self, taken: Imported) -> int:
        """Return the address of element 0 that a kernel gets."""
        return taken.address

    def operand(self, taken: Imported) -> bytes:
        """Return the elements in row-major order, as arithmetic reads them."""
        return gather_by_bytes(self.memory, taken.address, taken.view_in_bytes, taken.dtype.itemsize)

    def copied(self, taken: Imported, make: Callable[[bytes], Any]) -> Any:
        """Return a copy of an import. ``make`` returns a packed array of these elements."""
        return make(self.operand(taken))

    def place(self, taken: Imported) -> object:
        """Return the object that users compare to find out if two arrays are on one device."""
        return taken.device

    def mixes(self, taken: Imported, place: object) -> bool:
        """Return ``True`` if an operation accepts the import together with an array of that place."""
        return self.place(taken) == place
