"""What users do with an import of the reference: kernels, arithmetic with arrays of their own, copies. A fault changes one of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .memory import Memory, gather_by_bytes

if TYPE_CHECKING:
    from .importer import Imported


class Uses:
    """The part of an importer that its imports are used by."""

    memory: Memory

    def kernel_address(self, taken: Imported) -> int:
        """The address of element 0 as a kernel gets it."""
        return taken.address

    def operand(self, taken: Imported) -> bytes:
        """The elements in row-major order, as arithmetic reads them."""
        return gather_by_bytes(self.memory, taken.address, taken.view_in_bytes, taken.dtype.itemsize)

    def copied(self, taken: Imported, make: Callable[[bytes], Any]) -> Any:
        """A copy of an import; ``make`` makes a packed array of these elements."""
        return make(self.operand(taken))

    def place(self, taken: Imported) -> object:
        """What users compare to know whether two arrays are on one device."""
        return taken.device

    def mixes(self, taken: Imported, place: object) -> bool:
        """Whether an operation takes the import together with an array of that place."""
        return self.place(taken) == place
