"""Faults of kernels that are given an object with the array interface: other addresses, and arrays without elements."""

from __future__ import annotations

from typing import Any

from conformance.reference.importer import Imported, Importer

from . import fault


@fault("argument.address")
class KernelsGetTheNextElement(Importer):
    """A kernel gets the address behind the first element."""

    def take_argument(self, source: Any) -> Imported:
        """An element further on."""
        taken = super().take_argument(source)
        taken.address += taken.dtype.itemsize
        return taken


@fault("argument.address")
class KernelsGetTheLowestElement(Importer):
    """A kernel gets the lowest address of the array, which is not that of the first element where strides are negative."""

    def take_argument(self, source: Any) -> Imported:
        """Where the memory begins."""
        taken = super().take_argument(source)
        taken.address = taken.extent()[0]
        return taken


@fault("argument.empty")
class KernelsRefuseEmpty(Importer):
    """A kernel takes no address 0."""

    def take_argument(self, source: Any) -> Imported:
        """``TypeError`` for what has no elements."""
        taken = super().take_argument(source)
        if not taken.address:
            raise TypeError("invalid type on parameter #1")
        return taken


@fault("argument.empty")
class KernelsGetSomeAddress(Importer):
    """In the place of an array without elements a kernel gets an address of its own."""

    def take_argument(self, source: Any) -> Imported:
        """A block that nobody has asked for."""
        taken = super().take_argument(source)
        if not taken.view.size:
            self.block = self.memory.allocate(16)
            taken.address = self.block.address
        return taken
