"""Family ``native``: objects that a user passes to a consumer directly, compared with the protocols for the same array.

Users pass the tensor itself. A consumer that recognises its type can read its memory without any protocol, and then ignores everything
that the producer states by them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

from conformance.adapters.base import Device, Protocol, Trait, Unsupported
from conformance.adapters.calls import READONLY, UserCall, has
from conformance.adapters.special import on
from conformance.checks.call_table import NOTE, PLAIN
from conformance.checks.catalogue import Draft, Isolation, Tier, every, invariant
from conformance.checks.codes import Code
from conformance.checks.exchange import Exchange, Source, brief
from conformance.checks.export_outcomes import state_of
from conformance.checks.input_words import PLAIN_DTYPE
from conformance.checks.layouts import layout
from conformance.checks.libraries import REFERENCE, Environment, Pair
from conformance.checks.native_comparison import judge_array, judge_state
from conformance.checks.native_handover import (
    Gives,
    Got,
    by_protocols,
    call_of,
    gives,
    memory_of,
    native,
    natively,
    raised_by_the_producer,
    way,
)
from conformance.checks.outcomes import Failure, Refused, Side, fail
from conformance.protocols.clauses import Level, Role

WAY = "way"
"""The name of the note with the way in which the consumer reads the object."""
ARRAYS = (PLAIN, "fortran", "stepped", "rows", "empty-rows", "readonly")
"""Layouts of float32, and a packed read-only array. The table of calls shows the first one."""
FURTHER = (
    "vector", "scalar", "cube", "permuted", "columns", "misaligned", "reversed", "broadcast-rows", "empty", "unit-column",
)  # fmt: skip
"""Layouts that show errors of a consumer which reads the fields of a type directly."""


def objects(env: Environment) -> Iterator[Pair]:
    """Yield each pair of different libraries once, by the first protocol that both have, and the reference with itself."""
    seen = set()
    for pair in sorted(
        env.pairs(), key=lambda pair: (tuple(Device).index(pair.device), pair.protocol is not Protocol.DLPACK)
    ):
        key = (pair.producer.name, pair.consumer.name, pair.device)
        if key not in seen and (pair.producer.name != pair.consumer.name or pair.producer.name == REFERENCE):
            seen.add(key)
            yield pair


def calls(pair: Pair) -> tuple[str, ...]:
    """Return an axis: the names of the consumer's calls."""
    return pair.target.called.calls


def arrays(pair: Pair) -> tuple[str, ...]:
    """Return an axis: the layouts that the producer can make, and a read-only array if it has such arrays."""
    locked = (READONLY,) if pair.producer.has(Trait.READONLY) else ()
    return tuple(name for name in ARRAYS if name in pair.source.layouts) + locked


def further(pair: Pair) -> tuple[str, ...]:
    """Return an axis: the layouts out of :data:`FURTHER` that the producer can make."""
    return tuple(name for name in FURTHER if name in pair.source.layouts)


def _packed(pair: Pair) -> tuple[str, ...]:
    """Return an axis: a packed array, which is a vector in a library with only one dimension."""
    return next(((name,) for name in ("c-order", "vector") if name in pair.source.layouts), ())


def _types(pair: Pair) -> tuple[str, ...]:
    """Return an axis: all element types but the usual one. A consumer that reads an object directly has its own table of element types."""
    return tuple(name for name in pair.source.dtypes if name != PLAIN_DTYPE)


def _cases(env: Environment) -> Iterator[Draft]:
    pairs = tuple(objects(env))
    yield from every(pairs, call=calls, array=arrays)
    yield from every(pairs, quick=_never, call=calls, array=further)
    yield from every(pairs, quick=_never, call=calls, array=_packed, dtype=_types)
    yield from _across(env)


def _across(env: Environment) -> Iterator[Draft]:
    """Yield cases of GPU arrays for consumers without GPU support, which can import one only by a copy to the host."""
    for producer, consumer in product(env.present, env.present):
        source, target = producer.sides.get(Device.CUDA), consumer.sides.get(Device.HOST)
        is_real = REFERENCE not in (producer.name, consumer.name)
        if is_real and source and source.exports and target and Device.CUDA not in consumer.sides:
            protocol = source.exports[0].value
            for call in target.called.calls:
                given = (("call", call), ("array", PLAIN))
                yield Draft(producer.name, consumer.name, protocol, Device.CUDA, given, Tier.FULL)


def made(exchange: Exchange) -> Source:
    """Return the array that the case's option ``array`` names."""
    name = exchange.option("array", PLAIN)
    if name == READONLY:
        exchange.special("a read-only array")
        return exchange.make(exchange.producer, readonly=True)
    return exchange.source(form=layout(name))


@invariant(
    "native.as-protocol",
    consumer="NAT-01",
    level=Level.SHOULD,
    cases=_cases,
)
def test_as_protocol(exchange: Exchange) -> None:
    """A consumer that gets an object directly should import the same memory, layout, element type and access as by a protocol, or refuse.

    A constructor may copy. If a protocol gives the same wrong result, the families about that protocol report it.
    """
    source = made(exchange)
    call = call_of(exchange)
    result = natively(exchange, source.array)
    others = by_protocols(exchange, source.array)
    given = gives(result, memory_of(source), exchange.device)
    exchange.notes[NOTE], exchange.notes[WAY] = given.value, way(result, others)
    judge_array(exchange, source, call, result, others)


def _states(env: Environment) -> Iterator[Draft]:
    """Yield each state by each call. A state that exists only in a transformation, or takes long to make, has one call."""
    pairs = list(objects(env))
    yield from every(pairs, quick=_never, call=calls, state=lambda pair: pair.source.counted_states)
    yield from every(pairs, quick=_never, call=_one_call, state=_other_states)


def _never(pair: Pair) -> bool:
    return False


def _one_call(pair: Pair) -> tuple[str, ...]:
    """Return an axis: the call that imports by DLPack, or the first one if there is none."""
    names = calls(pair)
    return next(((name,) for name in names if name.endswith("from_dlpack")), names[:1])


def _other_states(pair: Pair) -> tuple[str, ...]:
    return tuple(name for name in pair.source.states if name not in pair.source.counted_states)


@invariant(
    "native.states",
    producer="DLP-59 DLP-23 CAI-05 PY-01",
    consumer="NAT-02",
    context="NAT-01 DLX-08",
    bugs="I12",
    level=Level.MUST,
    isolation=Isolation.RISKY,
    cases=_states,
)
def test_states(exchange: Exchange) -> None:
    """A consumer must refuse an object whose state the protocols refuse, or resolve it in a copy.

    Such states are lazy or missing elements and a gradient. If a protocol gives the same wrong elements, the producer is accused, as by
    the family ``state``.
    """
    seen: list[tuple[Got, Got, dict[Protocol, Got], bytes | None]] = []

    def use(array: Any, elements: bytes | None) -> None:
        first = natively(exchange, array)
        seen.append((first, natively(exchange, array), by_protocols(exchange, array), elements))

    exchange.with_state(use)
    for first, again, others, elements in seen:
        exchange.notes[WAY] = way(first, others)
        judge_state(exchange, state_of(exchange), first, again, others, elements)


# -- versions

_TOLD: dict[str, Callable[[str], str]] = {
    "newer": lambda true: "9999.0.0",
    "vendor": lambda true: f"{re.split('[^0-9.]', true)[0]}a0+vendor.25.10",
}
"""Versions that a consumer cannot know: one that is not released, and a vendor's build of the true one."""
_UNKNOWN = "an object of a version that the consumer cannot know"


def _told(env: Environment) -> Iterator[Draft]:
    """Yield the cases by one call, because all calls of a library recognise a type in the same way. A newer version also gets a state."""
    pairs = list(objects(env))
    yield from every(pairs, quick=_never, call=_one_call, told=tuple(_TOLD))
    yield from every(pairs, quick=_never, call=_one_call, told=("newer",), state=_refused_state)


def _refused_state(pair: Pair) -> tuple[str, ...]:
    """Return an axis: the first state, which the protocols refuse."""
    return pair.source.counted_states[:1]


@invariant(
    "native.unknown-version",
    consumer="NAT-05",
    context="NAT-01 NAT-02",
    level=Level.SHOULD,
    isolation=Isolation.CHILD,
    company=lambda case: f"{case.producer} {case.option('told')}",
    cases=_told,
)
def test_unknown_version(exchange: Exchange) -> None:
    """A consumer should import an object from an unknown version of a library as by a protocol.

    A consumer that reads an object directly relies on the layout of known versions, and should use a protocol for others. The library
    reports an unreleased version, or a vendor's version string, before the first hand-over. The objects are those of the true version.
    So the case shows a consumer that refuses the version, reads other elements, or accepts a state that the protocols refuse.
    """
    call = call_of(exchange)
    try:
        with exchange.producer.telling(_TOLD[exchange.option("told")]) as version:
            exchange.notes["version"] = version
            if exchange.option("state", ""):
                test_states(exchange)
                return
            source = made(exchange)
            result = natively(exchange, source.array)
            others = by_protocols(exchange, source.array)
        exchange.notes[WAY] = way(result, others)
        judge_array(exchange, source, call, result, others)
    except Unsupported as missing:
        raise Refused(str(missing)) from missing
    except Failure as failure:
        if (
            failure.role is Role.CONSUMER
        ):  # a failure of the producer shows by a protocol too, and other families report it
            raise Failure(
                failure.code, "NAT-05", failure.role, failure.level, failure.reason, failure.expected, failure.seen,
                given=_UNKNOWN, accused=failure.accused, library=failure.library,
            ) from failure  # fmt: skip


# -- several calls


def _several(env: Environment) -> Iterator[Draft]:
    pairs = (pair for pair in objects(env) if len(calls(pair)) > 1)
    return every(pairs, array=arrays)


@invariant(
    "native.calls-agree",
    consumer="NAT-08",
    level=Level.SHOULD,
    cases=_several,
)
def test_calls_agree(exchange: Exchange) -> None:
    """All calls of a consumer that are documented for an object should accept it if one of them does.

    A call for one attribute is tried only with objects that have it. A copy is not a refusal. An exception that the producer itself raises
    does not count. The suite only records a refusal by a call that is not documented for such objects.
    """
    source = made(exchange)
    found = {call.name: (call, result) for call, result in _tried(exchange, source)}
    kinds = {name: gives(result, memory_of(source), exchange.device) for name, (_, result) in found.items()}
    exchange.notes["calls"] = "; ".join(f"{name}: {given.value}" for name, given in kinds.items())
    taking = [name for name, given in kinds.items() if given is not Gives.REFUSES]
    only_copies = Gives.SHARES not in kinds.values()
    refusing = [
        (call, result.error)
        for call, result in found.values()
        if result.view is None and (call.may_copy or not only_copies)
    ]
    if not taking or not refusing:
        return
    raised = raised_by_the_producer(exchange, source.array)
    refusing = [(call, error) for call, error in refusing if type(error) not in raised]
    if not refusing:
        raise Refused(f"{exchange.producer.name} exports such an array by one protocol only")
    thing = native(exchange, source.array)
    array = exchange.option("array", PLAIN)
    documented = [one for one in refusing if one[0].promises(thing, array)]
    call, error = (documented or refusing)[0]
    fail(
        Code.CALLS_DISAGREE, "NAT-08", role=Role.CONSUMER, level=None if documented else Level.OBSERVED,
        reason=f"{call.name} refuses an object that {taking[0]} accepts",
        expected="the same answer of all calls", seen=f"{call.name}: {brief(error)}",
        given=f"{exchange.given or 'an array'} of {exchange.case.producer}", accused=Side.CONSUMER if documented else Side.NEITHER,
    )  # fmt: skip


def _tried(exchange: Exchange, source: Source) -> Iterator[tuple[UserCall, Got]]:
    """Yield each call on this device that fits such an object, with its result. A call for an attribute needs an object that has it."""
    for call in on(exchange.consumer.present_calls(), exchange.device):
        thing = native(exchange, source.array, call)
        if not call.reads or has(thing, call.reads):
            result = natively(exchange, source.array, call)
            if not isinstance(result.error, Unsupported):
                yield call, result
