"""Exchange an array on each of several GPUs in a new process, and report whether the first GPU has a context that it must not have."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from conformance.adapters import registry
from conformance.adapters.base import Adapter, Device, Protocol
from conformance.checks.catalogue import Case
from conformance.checks.children import EXITING
from conformance.checks.exchange import brief
from conformance.checks.patterns import pattern
from conformance.cuda import context, pointers
from conformance.protocols.dtypes import dtype

from . import gpu_alone, importing, tell

_KIND = dtype("float32")
_SHAPE = (3, 4)


def main(case: Case, visible: str, ordinals: tuple[int, ...]) -> None:
    """Run the exchanges. If ``visible`` is not empty, ``CUDA_VISIBLE_DEVICES`` is set to it before the first call of the driver."""
    if visible:
        os.environ["CUDA_VISIBLE_DEVICES"] = visible
    os.environ["CUDA_DEVICE"] = str(ordinals[0])  # PyCUDA creates its context on this GPU
    context.set_current(context.primary(ordinals[0]))
    producer = load(case.producer, ordinals)
    consumer = load(case.consumer, ordinals)
    for ordinal in ordinals:
        context.set_current(context.primary(ordinal))
        tell(gpu=ordinal, **exchange(producer, consumer, Protocol(case.protocol), ordinal, ordinals))
    tell(step=EXITING)


def load(name: str, ordinals: tuple[int, ...]) -> Adapter:
    """Import a library, report unexpected contexts, and return its adapter."""
    tell(step=f"the import of {name}")
    adapter = registry.create(name)
    with importing(name):
        adapter.load()
    contexts(f"the import of {name}", ordinals)
    return adapter


def contexts(after: str, ordinals: tuple[int, ...]) -> None:
    """Report whether the first GPU has a context although the exchange does not use it."""
    if 0 not in ordinals:
        tell(after=after, first_gpu=context.primary_is_active(0))


def exchange(
    producer: Adapter, consumer: Adapter, protocol: Protocol, ordinal: int, ordinals: tuple[int, ...]
) -> dict[str, Any]:
    """Exchange an array on a GPU. Return its true GPU, the devices that both sides report, and whether the elements are correct."""
    tell(step=f"the making of an array of {producer.name} on GPU {ordinal}")
    data = pattern(_KIND, 12, ordinal)
    with producer.on_gpu(ordinal, Device.CUDA):
        array = producer.array(_KIND, _SHAPE, data, Device.CUDA)
        found: dict[str, Any] = {"lies": pointers.ordinal_of(producer.describe(array).address)}
    contexts(f"{producer.name} made an array", ordinals)
    offer: Any = producer.offer(array, protocol)
    if protocol is Protocol.DLPACK:
        found["said"] = [int(part) for part in offer.__dlpack_device__()]
    tell(step=f"an import by {consumer.name} on GPU {ordinal}")
    with consumer.on_gpu(ordinal, Device.CUDA):
        try:
            taken = consumer.take_on(offer, protocol, Device.CUDA, ordinal)
        except Exception as error:
            return {**found, "refused": f"{consumer.name} refused to import the array: {brief(error)}"}
        seen, told = consumer.read(taken), consumer.describe(taken).device
    contexts(f"{consumer.name} imported an array", ordinals)
    return {**found, "values": "right" if seen == data else seen.hex(), "told": told and [int(part) for part in told]}


if __name__ == "__main__":
    with gpu_alone():
        main(Case.from_json(json.loads(sys.argv[1])), sys.argv[2], tuple(int(word) for word in sys.argv[3].split(",")))
