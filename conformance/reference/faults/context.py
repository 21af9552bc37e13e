"""Faults of threads without a context: what is left undone there."""

from __future__ import annotations

import threading

from conformance.protocols import cai
from conformance.protocols.dlpack import Tensor
from conformance.reference.importer import Importer

from . import fault


@fault("context.fresh-thread", bugs="context-03")
class ZerosInAFreshThread(Importer):
    """In a thread that is not the main one the import shows memory of its own, full of zeros."""

    def dl_address(self, tensor: Tensor) -> int:
        """Elsewhere in a foreign thread."""
        return self._address(tensor.element0)

    def cai_address(self, interface: cai.ArrayInterface) -> int:
        """Elsewhere in a foreign thread."""
        return self._address(interface.address)

    def _address(self, right: int) -> int:
        if threading.current_thread() is threading.main_thread():
            return right
        self._block = self.memory.allocate(1024)
        self.memory.write(self._block.address, bytes(1024))
        return self._block.address
