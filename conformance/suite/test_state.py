"""Family ``state``: arrays whose memory does not hold their elements, such as lazy conjugate views."""

from __future__ import annotations

import weakref
from typing import Any

from conformance.adapters.base import Device, Protocol
from conformance.checks.catalogue import every, invariant
from conformance.checks.codes import Code
from conformance.checks.exchange import Exchange
from conformance.checks.export_outcomes import Answer, at_most, judge, state_of
from conformance.checks.libraries import Pair
from conformance.checks.offers import expect_not_late, happens
from conformance.checks.outcomes import Inconclusive, fail
from conformance.checks.steps import Doing
from conformance.protocols import cai, dlpack
from conformance.protocols.clauses import Level, Role
from conformance.protocols.dtypes import from_typestr
from conformance.protocols.strided import Strided, c_strides
from conformance.reference.memory import CudaMemory, HostMemory, gather


def _states(pair: Pair) -> tuple[str, ...]:
    return pair.source.states


def _simple(pair: Pair) -> tuple[str, ...]:
    return pair.source.simple_states


@invariant(
    "state.resolved-or-refused",
    producer="DLP-59 DLP-23 CAI-05 PY-01",
    bugs="I12",
    level=Level.MUST,
    cases=lambda env: every(env.exports(), state=_states),
)
def test_resolved_or_refused(exchange: Exchange) -> None:
    """A producer must refuse an array with lazy or missing elements, or export the elements that it represents.

    A DLPack export that the protocol cannot express has to raise ``BufferError``. For arrays that only a private constructor of the library makes,
    the suite only records the result.
    """
    answers: list[tuple[Answer, bytes | None]] = []
    exchange.with_state(lambda array, elements: answers.append((_export(exchange, array), elements)))
    for answer, elements in answers:
        judge(exchange, answer, elements, "DLP-59" if exchange.protocol is Protocol.DLPACK else "CAI-05")


def _export(exchange: Exchange, array: Any) -> Answer:
    """Export and read at once, because the memory may be freed when the block that made the array ends."""
    by_dlpack = exchange.protocol is Protocol.DLPACK
    try:
        with exchange.step(Doing.EXPORT, Role.PRODUCER):
            offer: Any = exchange.producer.offer(array, exchange.protocol)
            given = offer.__dlpack__() if by_dlpack else offer.__cuda_array_interface__
    except Exception as error:
        return Answer(error.with_traceback(None))
    return _read_tensor(exchange, exchange.decode(given)) if by_dlpack else _read_dictionary(exchange, given)


def _read_tensor(exchange: Exchange, tensor: dlpack.Tensor) -> Answer:
    view = Strided(tensor.shape, tensor.strides_or_packed)
    return _read(exchange, tensor.element0, view, tensor.bits * tensor.lanes // 8)


def _read_dictionary(exchange: Exchange, published: Any) -> Answer:
    try:
        interface = cai.parse(published)
    except ValueError as error:
        raise Inconclusive(f"the published dictionary cannot be read: {error}") from error
    dtype = from_typestr(interface.typestr)
    size = dtype.itemsize if dtype else int(interface.typestr[2:])
    strides = c_strides(interface.shape) if interface.strides is None else tuple(s // size for s in interface.strides)
    return _read(exchange, interface.address, Strided(interface.shape, strides), size)


def _read(exchange: Exchange, address: int, view: Strided, itemsize: int) -> Answer:
    if not address or not view.size:
        return Answer(address=address, size=view.size)
    memory = CudaMemory() if exchange.device is Device.CUDA else HostMemory()
    return Answer(address=address, size=view.size, data=gather(memory, address, view, itemsize))


@invariant(
    "state.refusal-releases",
    producer="DLP-27",
    bugs="I20 I21",
    level=Level.MUST,
    cases=lambda env: every(env.exports(Protocol.DLPACK), state=_simple),
)
def test_refusal_releases(exchange: Exchange) -> None:
    """A producer must release an array in a special state after its exports, refused or not."""
    owners: list[weakref.ref[Any]] = []
    exchange.with_state(lambda array, elements: owners.append(_export_often(exchange, array)))

    def is_gone() -> bool:
        return all(owner() is None for owner in owners)

    if not happens(is_gone):
        expect_not_late(
            is_gone, "DLP-27", role=Role.PRODUCER, reason="the producer does not release the array", expected="the array is released",
            seen="the array is still alive",
        )  # fmt: skip
        fail(
            Code.MEMORY_LEAKED, "DLP-27", role=Role.PRODUCER, level=at_most(state_of(exchange)),
            reason="the producer keeps the array alive after twenty exports that were refused or dropped",
            expected="the array is released with its last user",
            seen=f"a {type(owners[0]()).__name__} that is still alive", given="an array in a special state",
        )  # fmt: skip


def _export_often(exchange: Exchange, array: Any) -> weakref.ref[Any]:
    exporter = exchange.producer.exporter(array, Protocol.DLPACK)
    for _ in range(20):
        try:
            with exchange.step(Doing.EXPORT, Role.PRODUCER):
                exporter.__dlpack__()
        except Exception as error:
            exchange.check_context(error)
    return weakref.ref(array)
