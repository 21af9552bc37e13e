"""Report the default stream of a library: the stream that it works on, publishes as a producer and passes as a consumer.

The library's switch for per-thread default streams is on or off. Latches show the stream: work that waits for a held blocking stream runs on the
legacy default stream. Work that waits only for the held per-thread default stream runs on that stream.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from conformance.adapters import registry
from conformance.adapters.base import Adapter, Device, Protocol
from conformance.adapters.reference import ReferenceAdapter
from conformance.checks.exchange import brief
from conformance.ordering.handover import KIND, NEW, OLD, SHAPE, elements, filled
from conformance.reference.streams import PER_THREAD, Streams

from . import gpu_alone, importing, tell

SWITCHES = {"cupy": "CUPY_CUDA_PER_THREAD_DEFAULT_STREAM", "cuda_python": "CUDA_PYTHON_CUDA_PER_THREAD_DEFAULT_STREAM"}
_SECONDS = 0.1
"""Maximum time in seconds that a latch holds a stream."""
_ROUNDS = 24


def main(name: str, switch: str, device: Device = Device.CUDA) -> None:
    """Set the switch before the import of the library, observe the library, and report the result."""
    os.environ.pop(SWITCHES[name], None)
    if switch == "on":
        os.environ[SWITCHES[name]] = "1"
    try:
        adapter = registry.create(name)
        with importing(name):
            adapter.load()
        with gpu_alone():
            tell(
                works_on=works_on(adapter, device),
                publishes=published(adapter, device),
                names=named(adapter, device),
            )
    except Exception as error:
        tell(trouble=brief(error))


def works_on(adapter: Adapter, device: Device) -> str:
    """Return ``legacy``, ``per-thread``, or ``other`` for a stream that neither latch holds."""
    streams = ReferenceAdapter().memory(device).streams()
    array = filled(adapter, OLD, device)
    blocking = streams.create(blocking=True)
    _held_back(adapter, array, streams, blocking, device, rehearsal=True)
    if _held_back(adapter, array, streams, blocking, device):
        return "legacy"
    return "per-thread" if _held_back(adapter, array, streams, PER_THREAD, device) else "other"


def write(adapter: Adapter, array: Any, value: int, device: Device) -> None:
    """Queue a write on the stream that the library uses by default."""
    if adapter.name == "cupy":
        array.fill(value)
    else:
        adapter.fill(array, value, adapter.default_stream(device))


def _held_back(
    adapter: Adapter, array: Any, streams: Streams, held: int, device: Device, *, rehearsal: bool = False
) -> bool:
    """Return whether a write is not done while this stream is held.

    In a rehearsal the latch opens at once, because initialization at first use waits for the device.
    """
    memory = ReferenceAdapter().memory(device)
    nbytes = 4 * SHAPE[1]
    seen, looker = memory.allocate(nbytes), streams.create()
    source = adapter.describe(array).address
    latch = streams.hold(held, _SECONDS)
    if rehearsal:
        latch.release()
    try:
        write(adapter, array, NEW, device)
        for _ in range(_ROUNDS):
            streams.round_trip()
        streams.copy(seen.address, source, nbytes, looker)
        streams.synchronize(looker)
        if not latch.held and not rehearsal:
            raise RuntimeError("the latch expired before the write could be observed")
    finally:
        latch.release()
        streams.synchronize_device()
        latch.close()
    written = memory.read(seen.address, nbytes) == elements(NEW)
    write(adapter, array, OLD, device)
    streams.synchronize_device()
    return not written


def published(adapter: Adapter, device: Device) -> int | None:
    """Return the stream in the CUDA Array Interface of an array with a pending write, without a selected stream."""
    array = filled(adapter, OLD, device)
    write(adapter, array, NEW, device)
    offer: Any = adapter.offer(array, Protocol.CAI)
    stream: int | None = offer.__cuda_array_interface__.get("stream")
    return stream


def named(adapter: Adapter, device: Device) -> int | None:
    """Return the stream that the library passes to ``__dlpack__`` when it imports an array."""
    reference = ReferenceAdapter()
    offer: Any = reference.offer(reference.operand(KIND, SHAPE, device), Protocol.DLPACK)
    adapter.take(offer, Protocol.DLPACK, device)
    positional, keywords = offer.calls[-1]
    stream: int | None = keywords.get("stream", positional[0] if positional else None)
    return stream


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
