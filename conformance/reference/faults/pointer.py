"""Faults of identity: another memory, another place in it, other elements."""

from __future__ import annotations

from conformance.protocols import cai
from conformance.protocols.dlpack import Tensor
from conformance.protocols.dtypes import DType
from conformance.protocols.strided import c_strides
from conformance.reference.exporter import Exporter
from conformance.reference.importer import Imported, Importer

from . import fault


@fault("pointer.view-export", "pointer.values", bugs="pointer-04 pointer-14")
class OffsetDropped(Exporter):
    """A view exports the address of its block instead of its own first element."""

    def element0(self) -> int:
        """The block's start."""
        return self.block.address


@fault("pointer.same-address", bugs="perf-05 device-19")
class CopyInsteadOfShare(Importer):
    """The importer copies where it should share."""

    def take_capsule(self, offered: object) -> Imported:
        """Import, then move to a block of its own."""
        taken = super().take_capsule(offered)
        data = self.memory.read(taken.address, 64)
        block = self.memory.allocate(64)
        self.memory.write(block.address, data)
        taken.address, taken.holder = block.address, block
        return taken


@fault("pointer.values", bugs="strides-16 strides-45 strides-37")
class StridesIgnored(Importer):
    """The importer reads every array as if it were packed."""

    def dl_strides(self, tensor: Tensor) -> tuple[int, ...]:
        """Row-major, whatever was said."""
        return c_strides(tensor.shape)

    def cai_strides(self, interface: cai.ArrayInterface, dtype: DType) -> tuple[int, ...]:
        """Row-major, whatever was said."""
        return tuple(s * dtype.itemsize for s in c_strides(interface.shape))
