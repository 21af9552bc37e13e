"""Faults in threads in which no CUDA context is current."""

from __future__ import annotations

import threading

from conformance.protocols import cai
from conformance.protocols.dlpack import Tensor
from conformance.reference.exporter import Exporter
from conformance.reference.importer import Importer

from . import fault


@fault("context.fresh-thread", bugs="context-03")
class ZerosInAFreshThread(Importer):
    """Returns an import with memory of its own, full of zeros, in every thread except the main thread."""

    def dl_address(self, tensor: Tensor) -> int:
        return self._address(tensor.element0)

    def cai_address(self, interface: cai.ArrayInterface) -> int:
        return self._address(interface.address)

    def _address(self, right: int) -> int:
        if threading.current_thread() is threading.main_thread():
            return right
        self._block = self.memory.allocate(1024)
        self.memory.write(self._block.address, bytes(1024))
        return self._block.address


@fault("context.fresh-thread", bugs="context-03")
class NoContextInAFreshThread(Exporter):
    """Raises ``RuntimeError`` for every export outside the main thread, because no context is current there."""

    def check_pending(self) -> None:
        super().check_pending()
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("no context is current in this thread")
