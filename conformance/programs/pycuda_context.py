"""Exchange an array between PyCUDA and another library, with one of the two kinds of PyCUDA contexts.

``pycuda.autoinit`` creates a new context and leaves it current. ``pycuda.autoprimaryctx`` uses the primary context, as the other libraries do
(CUD-11). The suite itself does not access memory through the primary context here.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

from conformance.adapters import registry
from conformance.adapters.base import Adapter, Device, Protocol, View
from conformance.adapters.pycuda import PycudaAdapter
from conformance.checks.children import EXITING
from conformance.checks.exchange import brief, show
from conformance.checks.handover_record import Mismatch, decoded, mismatch
from conformance.checks.patterns import pattern
from conformance.cuda import driver
from conformance.protocols.dtypes import dtype
from conformance.protocols.strided import packed

from . import importing, tell

_KIND = dtype("float32")
_SHAPE = (3, 4)
_DATA = pattern(_KIND, 12)
_BY_ITSELF = ("pycuda", "torch", "cupy")
"""Libraries that write and read arrays by their own calls. For the others, this program copies in the current context."""


def main(setup: str, first: str, producer: str, consumer: str) -> None:
    """Load both libraries in the given order, exchange an array, and report the result."""
    second = consumer if first == producer else producer
    try:
        loaded = {name: load(name, setup) for name in (first, second)}
        giver, taker = loaded[producer], loaded[consumer]
        tell(step=f"the making of an array of {producer}", library=producer)
        array = giver.empty(_KIND, _SHAPE, Device.CUDA)
        fill(giver, array)
        own = read(giver, array)
    except Exception as error:
        tell(outcome="refused", seen=f"{producer} did not create an array: {brief(error)}")
        return
    if own != _DATA:
        tell(outcome="unfilled", seen=show(own, _KIND), expected=show(_DATA, _KIND))
        return
    wrong = misdescribed(giver, array)
    if wrong is not None:
        tell(
            outcome="misdescribed", code=wrong.code.value, clause=wrong.clause, reason=wrong.reason,
            expected=wrong.expected, seen=wrong.seen,
        )  # fmt: skip
        return
    tell(step=f"an import by {consumer}", library=consumer)
    try:
        taken = taker.take(giver.offer(array, Protocol.CAI), Protocol.CAI, Device.CUDA)
    except Exception as error:
        tell(outcome="refused", seen=f"{consumer} refused to import: {brief(error)}")
        return
    tell(step=f"a read by {consumer}", library=consumer)
    try:
        seen = read(taker, taken)
    except Exception as error:
        tell(outcome="unusable", seen=brief(error))
        return
    tell(outcome="right" if seen == _DATA else "wrong", expected=show(_DATA, _KIND), seen=show(seen, _KIND))
    tell(step=EXITING)


def misdescribed(adapter: Adapter, array: object) -> Mismatch | None:
    """Return the first error in the producer's dictionary, or ``None`` if it is correct or cannot be read."""
    offer: Any = adapter.offer(array, Protocol.CAI)
    try:
        described = decoded(Protocol.CAI, offer.__cuda_array_interface__)
    except Exception:
        return None  # the consumer reports the same exception
    return mismatch(described, _KIND, packed(_SHAPE), _view(adapter, array).address) if described else None


def load(name: str, setup: str) -> Adapter:
    """Import a library and create an array, so that the library creates its context."""
    tell(step=f"the import of {name}", library=name)
    adapter = registry.create(name)
    if isinstance(adapter, PycudaAdapter):
        adapter.context_module = f"pycuda.{setup}"
    with importing(name):
        adapter.load()
    adapter.empty(_KIND, _SHAPE, Device.CUDA)
    return adapter


def fill(adapter: Adapter, array: object) -> None:
    """Write the pattern to the array."""
    if adapter.name in _BY_ITSELF:
        adapter.write(array, _DATA)
        return
    driver.call("cuMemcpyHtoD_v2", ctypes.c_void_p(_view(adapter, array).address), _DATA, ctypes.c_size_t(len(_DATA)))
    driver.call("cuCtxSynchronize")


def read(adapter: Adapter, array: object) -> bytes:
    """Return the elements of the array, which is packed."""
    if adapter.name in _BY_ITSELF:
        return adapter.read(array)
    buffer = ctypes.create_string_buffer(len(_DATA))
    driver.call("cuCtxSynchronize")
    driver.call("cuMemcpyDtoH_v2", buffer, ctypes.c_void_p(_view(adapter, array).address), ctypes.c_size_t(len(_DATA)))
    return buffer.raw


def _view(adapter: Adapter, array: object) -> View:
    return adapter.describe(array)


if __name__ == "__main__":
    main(*sys.argv[1:5])
