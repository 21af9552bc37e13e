"""Comparison of the import of an array object with the imports of the same array through the protocols."""

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
    """Fail unless the result for a plain array is that of a protocol, a correct copy if the call may copy, or a clean refusal."""
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
        _accuse(
            exchange,
            Code.NOT_SHARED,
            "copies an array that it shares through a protocol",
            _shown(taken.values()),
            native,
        )


def _judge_refusal(
    exchange: Exchange, array: Any, call: UserCall, error: Exception, others: Mapping[Protocol, Got]
) -> None:  # fmt: skip
    """Fail if a refusal is not clean, and no protocol ends in the same refusal.

    An exception of the producer's own attributes does not count against the consumer. If both libraries have no protocol in common, any refusal
    is correct.
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
            "refuses with an exception that indicates a defect",
            "the result of a protocol",
            brief(error),
        )
    if call.protocol in taken:
        _accuse(
            exchange,
            Code.NATIVE_REFUSED,
            "refuses an object that it accepts through the same protocol",
            _shown(taken.values()),
            brief(error),
        )
    raise Refused(f"{call.name}: {brief(error)}")


def _is_same(native: Got, other: Got, memory: Memory) -> bool:
    """Return whether both results are refusals, or describe the same array. The addresses of two copies may differ."""
    if native.view is None or other.view is None:
        return native.view is other.view
    both = memory.covers(native.view), memory.covers(other.view)
    if both[0] != both[1] or native.values != other.values:
        return False
    return not _differing(native.view, other.view, is_shared=both[0])


def _differing(native: View, other: View, *, is_shared: bool) -> tuple[Code, str, Any, Any] | None:
    """Return the first difference of two descriptions: code, words, expected and actual value.

    A property that an import does not report does not differ. An import that is read-only, unlike the other, is correct as well.
    """
    if native.shape != other.shape:
        return Code.SHAPE_CHANGED, "a different shape", other.shape, native.shape
    if native.dtype != other.dtype:
        return Code.DTYPE_CHANGED, "a different element type", other.dtype, native.dtype
    if None not in (native.device, other.device) and native.device != other.device:
        return Code.WRONG_DEVICE, "a different device", other.device, native.device
    if not is_shared or 0 in native.shape:
        return None
    if native.address != other.address:
        return Code.WRONG_ADDRESS, "a different address", f"{other.address:#x}", f"{native.address:#x}"
    if not same_strides(native.shape, native.strides, other.strides):
        return Code.STRIDES_CHANGED, "different strides", f"{other.strides} bytes", f"{native.strides} bytes"
    if other.readonly and native.readonly is False:
        return Code.READONLY_LOST, "a writable flag", "a read-only array", "a writable array"
    return None


def _expect_values(exchange: Exchange, source: Source, native: Got) -> None:
    """Fail if the elements differ from the producer's."""
    if native.values != source.values:
        _accuse(
            exchange, Code.VALUES_CHANGED, "reads elements that differ from the producer's", show(source.values, source.dtype),
            show(native.values, source.dtype),
        )  # fmt: skip


def _expect_description(
    exchange: Exchange, call: UserCall, native: View, others: Iterable[Got], source: Source
) -> None:
    """Fail if an import that shares the memory describes it differently than a protocol's import.

    If no protocol's import succeeds, the true description of the array counts.
    """
    known = [other.view for other in others if other.view is not None]
    truth = View(source.address, source.view.shape, source.strides, source.dtype.name, None)
    for other in known or [truth]:
        differs = _differing(native, other, is_shared=True)
        if differs is not None:
            code, words, expected, seen = differs
            reason = f"reports {words} than the import through the protocol"
            if call.flattens:
                exchange.notes["gives"] = Gives.VECTOR.value
                _observe(exchange, code, f"{reason}, as documented for a buffer", expected, seen)
            _accuse(exchange, code, reason, expected, seen)


def judge_state(
    exchange: Exchange, state: State, native: Got, again: Got, others: Mapping[Protocol, Got], elements: bytes | None
) -> None:  # fmt: skip
    """Check the result for an array in a special state: the consumer must refuse it as the protocols do, or resolve it in a copy.

    ``again`` is a second result of the same call. Two copies have different addresses. If a protocol gives the same wrong elements, the producer
    is at fault.
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
            _accept(exchange, state, Code.NOT_REFUSED, "although the protocols refuse it", others, native)
        return
    answer = Answer(address=native.view.address, size=prod(native.view.shape), data=native.values)
    alike = next((p for p, other in others.items() if other.view is not None and other.values == native.values), None)
    if alike is not None:
        exchange.notes["same"] = f"the import through {alike.value} has the same elements, so the producer is at fault"
        judge(exchange, answer, elements, "DLP-59" if alike is Protocol.DLPACK else "CAI-05", accused=Side.PRODUCER)
        return
    if any(elements is None or other.values != elements for other in taken):
        exchange.notes["same"] = (
            "an import through a protocol has wrong elements as well; the family `state` reports this"
        )
        return
    code, _, reason = mistake(state, answer, elements)
    _accept(exchange, state, code, reason, others, native)


def _expect_class(exchange: Exchange, state: State, error: Exception, others: Mapping[Protocol, Got]) -> None:
    """Fail if a call for DLPack does not raise ``BufferError`` although it does for the same array through the protocol."""
    behind = others.get(Protocol.DLPACK)
    is_for_dlpack = call_of(exchange).protocol is Protocol.DLPACK
    if is_for_dlpack and behind and isinstance(behind.error, BufferError) and not isinstance(error, BufferError):
        fail(
            Code.WRONG_EXCEPTION, "NAT-02", role=Role.CONSUMER, level=at_most(state),
            reason=f"the consumer refuses {exchange.given}, passed as an object, with another exception than through the protocol",
            expected=brief(behind.error), seen=brief(error), given=REFUSED_STATE, accused=Side.CONSUMER,
        )  # fmt: skip


def _accept(
    exchange: Exchange, state: State, code: Code, reason: str, others: Mapping[Protocol, Got], native: Got
) -> NoReturn:  # fmt: skip
    """Fail because the consumer accepts an object without a protocol. The clause is inferred, so this is at most a deviation."""
    fail(
        code, "NAT-02", role=Role.CONSUMER, level=at_most(state),
        reason=f"the consumer accepts {exchange.given}, passed as an object, {reason}",
        expected=f"as through the protocols: {_shown(others.values())}",
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
