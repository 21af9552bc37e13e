"""What an object gives that is handed over as it is, held against what the protocols give for the same array."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod
from typing import Any, NoReturn

from conformance.adapters.base import Protocol, View
from conformance.adapters.calls import UserCall
from conformance.adapters.special import State
from conformance.protocols.clauses import Level, Role
from conformance.protocols.strided import same_strides

from .codes import Code
from .exchange import UNCLEAN, Exchange, Source, brief, show
from .export_outcomes import REFUSED_STATE, Answer, at_most, in_values, judge, mistake
from .native_handover import Gives, Got, Memory, call_of, memory_of, raised_by_looks
from .outcomes import Refused, Side, fail

_AS_IT_IS = "handed over as it is"


def judge_array(
    exchange: Exchange, source: Source, call: UserCall, native: Got, others: Mapping[Protocol, Got]
) -> None:
    """A plain array: the result is that of a protocol, or a copy where the call may make one, or a clean refusal."""
    exchange.special(f"{exchange.given or 'an array'} {_AS_IT_IS}")
    taken = {protocol: other for protocol, other in others.items() if other.view is not None}
    if native.error is not None:
        _judge_refusal(exchange, source.array, call, native.error, others)
        return
    memory = memory_of(source)
    if any(_is_same(native, other, memory) for other in others.values()):
        return
    assert native.view is not None
    if not call.flattens or native.view.dtype == source.dtype.name:
        _expect_values(exchange, source, native)
    if memory.covers(native.view):
        _expect_description(exchange, call, native.view, taken.values(), source)
    elif not call.may_copy and any(other.view and memory.covers(other.view) for other in taken.values()):
        _accuse(exchange, Code.NOT_SHARED, "copies what it shares by a protocol", _shown(taken.values()), native)


def _judge_refusal(
    exchange: Exchange, array: Any, call: UserCall, error: Exception, others: Mapping[Protocol, Got]
) -> None:  # fmt: skip
    """A refusal is one that a protocol ends in, too, or is clean. An exception of the producer's own attributes is not the consumer's.

    Where the two have no protocol in common, any refusal is right.
    """
    taken = {protocol: other for protocol, other in others.items() if other.view is not None}
    if not others:
        raise Refused(f"{call.name}: {brief(error)}")
    if any(type(other.error) is type(error) for other in others.values()):
        return
    if isinstance(error, UNCLEAN) and (raised := raised_by_looks(exchange.producer.native(array, exchange.protocol))):
        raise Refused(f"{call.name}: {brief(error)}; {raised}")
    if isinstance(error, UNCLEAN):
        _accuse(
            exchange,
            Code.DEFECT_EXCEPTION,
            "refuses with an exception that means a defect",
            "the result of a protocol",
            brief(error),
        )
    if call.protocol in taken:
        _accuse(
            exchange,
            Code.NATIVE_REFUSED,
            "refuses an object that it takes by the same protocol",
            _shown(taken.values()),
            brief(error),
        )
    raise Refused(f"{call.name}: {brief(error)}")


def _is_same(native: Got, other: Got, memory: Memory) -> bool:
    """Whether both are refusals, or the same array. Two copies lie in different memory."""
    if native.view is None or other.view is None:
        return native.view is other.view
    both = memory.covers(native.view), memory.covers(other.view)
    if both[0] != both[1] or native.values != other.values:
        return False
    return not _differing(native.view, other.view, is_shared=both[0])


def _differing(native: View, other: View, *, is_shared: bool) -> tuple[Code, str, Any, Any] | None:
    """The first respect in which two descriptions differ: code, words, what was wanted, what was seen.

    An import that says nothing of a respect differs in none. One that is read-only where the other is not is on the safe side.
    """
    if native.shape != other.shape:
        return Code.SHAPE_CHANGED, "another shape", other.shape, native.shape
    if native.dtype != other.dtype:
        return Code.DTYPE_CHANGED, "another element type", other.dtype, native.dtype
    if None not in (native.device, other.device) and native.device != other.device:
        return Code.WRONG_DEVICE, "another device", other.device, native.device
    if not is_shared or 0 in native.shape:
        return None
    if native.address != other.address:
        return Code.WRONG_ADDRESS, "another address", f"{other.address:#x}", f"{native.address:#x}"
    if not same_strides(native.shape, native.strides, other.strides):
        return Code.STRIDES_CHANGED, "other strides", f"{other.strides} bytes", f"{native.strides} bytes"
    if other.readonly and native.readonly is False:
        return Code.READONLY_LOST, "a writable array", "a read-only array", "a writable array"
    return None


def _expect_values(exchange: Exchange, source: Source, native: Got) -> None:
    """The elements are the producer's."""
    if native.values != source.values:
        _accuse(
            exchange, Code.VALUES_CHANGED, "reads other elements than the producer's", show(source.values, source.dtype),
            show(native.values, source.dtype),
        )  # fmt: skip


def _expect_description(
    exchange: Exchange, call: UserCall, native: View, others: Iterable[Got], source: Source
) -> None:
    """What shares the memory describes it as the protocol does. Where no protocol takes the array, its own description counts."""
    known = [other.view for other in others if other.view is not None]
    truth = View(source.address, source.view.shape, source.strides, source.dtype.name, None)
    for other in known or [truth]:
        differs = _differing(native, other, is_shared=True)
        if differs is not None:
            code, words, expected, seen = differs
            reason = f"describes the object as {words} than by the protocol"
            if call.flattens:
                exchange.notes["gives"] = Gives.VECTOR.value
                _observe(exchange, code, f"{reason}, as documented for a buffer", expected, seen)
            _accuse(exchange, code, reason, expected, seen)


def judge_state(
    exchange: Exchange, state: State, native: Got, again: Got, others: Mapping[Protocol, Got], elements: bytes | None
) -> None:  # fmt: skip
    """An array that is more than its memory: what the protocols refuse is refused, or resolved in memory of the consumer's own.

    ``again`` is a second result of the same call: a copy has an address of its own. Wrong elements that a protocol gives as well are the
    producer's mistake, and the same one.
    """
    if native.view is None:
        assert native.error is not None
        _expect_class(exchange, state, native.error, others)
        if all(other.view is None for other in others.values()):
            return
        raise Refused(f"{exchange.option('call')}: {brief(native.error)}")
    taken = [other for other in others.values() if other.view is not None]
    if elements is not None and native.values == elements:
        is_shared = again.view is not None and again.view.address == native.view.address
        if not taken and is_shared:
            _accept(exchange, state, Code.NOT_REFUSED, "which the protocols refuse", others, native)
        return
    answer = Answer(address=native.view.address, size=prod(native.view.shape), data=native.values)
    alike = next((p for p, other in others.items() if other.view is not None and other.values == native.values), None)
    if alike is not None:
        exchange.notes["same"] = f"{alike.value} gives the same elements, so the producer is at fault"
        judge(exchange, answer, elements, "DLP-59" if alike is Protocol.DLPACK else "CAI-05", accused=Side.PRODUCER)
        return
    if any(elements is None or other.values != elements for other in taken):
        exchange.notes["same"] = "a protocol gives wrong elements as well, which the family `state` tells"
        return
    code, _, reason = mistake(state, answer, elements)
    _accept(exchange, state, code, reason, others, native)


def _expect_class(exchange: Exchange, state: State, error: Exception, others: Mapping[Protocol, Got]) -> None:
    """A call for DLPack refuses an object with ``BufferError`` where it does so behind the protocol."""
    behind = others.get(Protocol.DLPACK)
    is_for_dlpack = call_of(exchange).protocol is Protocol.DLPACK
    if is_for_dlpack and behind and isinstance(behind.error, BufferError) and not isinstance(error, BufferError):
        fail(
            Code.WRONG_EXCEPTION, "NAT-02", role=Role.CONSUMER, level=at_most(state),
            reason=f"the consumer refuses {exchange.given}, handed over as it is, with another kind of exception than behind the protocol",
            expected=brief(behind.error), seen=brief(error), given=REFUSED_STATE, accused=Side.CONSUMER,
        )  # fmt: skip


def _accept(
    exchange: Exchange, state: State, code: Code, reason: str, others: Mapping[Protocol, Got], native: Got
) -> NoReturn:  # fmt: skip
    """Fail for an object that is taken past the protocols, at most as a deviation."""
    fail(
        code, "NAT-02", role=Role.CONSUMER, level=at_most(state),
        reason=f"the consumer takes {exchange.given}, handed over as it is, {reason}",
        expected=f"as by the protocols: {_shown(others.values())}",
        seen=f"{native}{f': {in_values(native.values)}' if native.values else ''}", accused=Side.CONSUMER,
    )  # fmt: skip


def _accuse(exchange: Exchange, code: Code, reason: str, expected: object, seen: object) -> NoReturn:
    fail(
        code, "NAT-01", role=Role.CONSUMER, reason=f"{exchange.option('call')} {reason}", expected=expected, seen=seen,
        accused=Side.CONSUMER,
    )  # fmt: skip


def _observe(exchange: Exchange, code: Code, reason: str, expected: object, seen: object) -> NoReturn:
    fail(
        code, "NAT-01", role=Role.CONSUMER, level=Level.OBSERVED, reason=f"{exchange.option('call')} {reason}", expected=expected,
        seen=seen, accused=Side.NEITHER,
    )  # fmt: skip


def _shown(results: Iterable[Got]) -> str:
    return " or ".join(dict.fromkeys(map(str, results))) or "a refusal"
