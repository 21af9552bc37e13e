"""Family ``state``: arrays that are more than their memory are refused or resolved, never exported raw."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

from conformance.adapters.base import Device, Protocol
from conformance.adapters.states import STATES, states
from conformance.protocols import cai, dlpack
from conformance.protocols.clauses import Level, Role
from conformance.protocols.dtypes import from_typestr
from conformance.protocols.strided import Strided, c_strides
from conformance.reference.memory import CudaMemory, HostMemory, gather

from .catalogue import every, invariant
from .exchange import UNCLEAN, Exchange, brief
from .libraries import Pair
from .offers import happens
from .outcomes import fail

NO_WORDS = frozenset({"masked"})
"""What neither protocol has a word for and nothing is said about: DLPack has no masks, so losing one is observed."""


def _states(pair: Pair) -> tuple[str, ...]:
    return states(pair.producer.name, pair.device)


def _simple(pair: Pair) -> tuple[str, ...]:
    return states(pair.producer.name, pair.device, simple=True)


@dataclass(frozen=True)
class Answer:
    """What came of an export: an exception, or an address with the bytes that lie there."""

    error: Exception | None = None
    address: int = 0
    size: int = 0
    data: bytes = b""


@invariant(
    "state.resolved-or-refused",
    producer="DLP-43 DLP-23 CAI-05",
    consumer="DLP-43",
    bugs="I12",
    level=Level.MUST,
    cases=lambda env: every(env.exports(), state=_states),
)
def test_resolved_or_refused(exchange: Exchange) -> None:
    """An array whose elements are not what lies in memory is refused, or exported with the elements that it stands for.

    What DLPack cannot express is refused with ``BufferError``.
    """
    answers: list[tuple[Answer, bytes | None]] = []
    exchange.with_state(lambda array, elements: answers.append((_export(exchange, array), elements)))
    for answer, elements in answers:
        _judge(exchange, answer, elements)


def _export(exchange: Exchange, array: Any) -> Answer:
    """Export and read at once: outside of what made the array its memory may be gone."""
    by_dlpack = exchange.protocol is Protocol.DLPACK
    try:
        offer: Any = exchange.producer.offer(array, exchange.protocol)
        given = offer.__dlpack__() if by_dlpack else offer.__cuda_array_interface__
    except Exception as error:
        return Answer(error.with_traceback(None))
    return _read_tensor(exchange, exchange.decode(given)) if by_dlpack else _read_dictionary(exchange, given)


def _read_tensor(exchange: Exchange, tensor: dlpack.Tensor) -> Answer:
    view = Strided(tensor.shape, tensor.strides_or_packed)
    return _read(exchange, tensor.element0, view, tensor.bits * tensor.lanes // 8)


def _read_dictionary(exchange: Exchange, published: Any) -> Answer:
    interface = cai.parse(published)
    dtype = from_typestr(interface.typestr)
    size = dtype.itemsize if dtype else int(interface.typestr[2:])
    strides = c_strides(interface.shape) if interface.strides is None else tuple(s // size for s in interface.strides)
    return _read(exchange, interface.address, Strided(interface.shape, strides), size)


def _read(exchange: Exchange, address: int, view: Strided, itemsize: int) -> Answer:
    if not address or not view.size:
        return Answer(address=address, size=view.size)
    memory = CudaMemory() if exchange.device is Device.CUDA else HostMemory()
    return Answer(address=address, size=view.size, data=gather(memory, address, view, itemsize))


def _judge(exchange: Exchange, answer: Answer, elements: bytes | None) -> None:
    clause = "DLP-43" if exchange.protocol is Protocol.DLPACK else "CAI-05"
    state = STATES[exchange.case.producer, exchange.option("state")]
    if answer.error is not None:
        exchange.check_context(answer.error)
        by_class = state.inexpressible and exchange.protocol is Protocol.DLPACK
        if not isinstance(answer.error, BufferError) and (by_class or isinstance(answer.error, UNCLEAN)):
            fail(
                "DLP-23" if exchange.protocol is Protocol.DLPACK else "G6", role=Role.PRODUCER, level=Level.SHOULD,
                reason=f"{state.name}: refused, but with the wrong kind of exception",
                expected="BufferError", seen=brief(answer.error),
            )  # fmt: skip
        return
    if elements is not None and answer.data == elements:
        return
    fail(
        clause,
        "DLP-23",
        role=Role.PRODUCER,
        level=Level.OBSERVED if state.name in NO_WORDS else Level.MUST,
        reason=f"{state.name}: exported as if its elements were in memory",
        expected="BufferError" if elements is None else f"BufferError, or {elements.hex()}",
        seen=f"{answer.size} elements at {answer.address:#x}" + (f": {answer.data.hex()}" if answer.data else ""),
    )


@invariant(
    "state.refusal-releases",
    producer="DLP-27",
    bugs="I20 I21",
    level=Level.MUST,
    cases=lambda env: every(env.exports(Protocol.DLPACK), state=_simple),
)
def test_refusal_releases(exchange: Exchange) -> None:
    """Exports of such an array, refused or not, leave nothing that keeps it alive."""
    owners: list[weakref.ref[Any]] = []
    exchange.with_state(lambda array, elements: owners.append(_export_often(exchange, array)))
    if not happens(lambda: all(owner() is None for owner in owners)):
        fail(
            "DLP-27", role=Role.PRODUCER, reason="the array outlives its exports, though nobody has one",
            expected="released", seen=f"still there after twenty exports: {type(owners[0]()).__name__}",
        )  # fmt: skip


def _export_often(exchange: Exchange, array: Any) -> weakref.ref[Any]:
    exporter = exchange.producer.exporter(array, Protocol.DLPACK)
    for _ in range(20):
        try:
            exporter.__dlpack__()
        except Exception as error:
            exchange.check_context(error)
    return weakref.ref(array)
