"""Faults of kernel arguments: a kernel that takes an object with the array interface gets a wrong address."""

from __future__ import annotations

from typing import Any

from conformance.reference.importer import Imported, Importer

from . import fault


@fault("argument.address")
class KernelsGetTheNextElement(Importer):
    """Passes a kernel the address of the second element."""

    def take_argument(self, source: Any) -> Imported:
        taken = super().take_argument(source)
        taken.address += taken.dtype.itemsize
        return taken


@fault("argument.address")
class KernelsGetTheLowestElement(Importer):
    """Passes a kernel the lowest address of the array, which is not the address of the first element if a stride is negative."""

    def take_argument(self, source: Any) -> Imported:
        taken = super().take_argument(source)
        taken.address = taken.extent()[0]
        return taken


@fault("argument.empty")
class KernelsRefuseEmpty(Importer):
    """Refuses an array without elements as a kernel argument, because its address is 0."""

    def take_argument(self, source: Any) -> Imported:
        taken = super().take_argument(source)
        if not taken.address:
            raise TypeError("invalid type on parameter #1")
        return taken


@fault("argument.empty")
class KernelsGetSomeAddress(Importer):
    """Passes a kernel the address of a private block for an array without elements."""

    def take_argument(self, source: Any) -> Imported:
        taken = super().take_argument(source)
        if not taken.view.size:
            self.block = self.memory.allocate(16)
            taken.address = self.block.address
        return taken
