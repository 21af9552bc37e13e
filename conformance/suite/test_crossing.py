"""Family ``crossing``: arrays of two streams in one consumer, exchanges across threads and contexts, and per-thread default streams."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NoReturn

from conformance.adapters.base import Device, Protocol, Trait
from conformance.checks import interpreter
from conformance.checks.catalogue import Draft, Isolation, Needs, Tier, every, invariant
from conformance.checks.codes import Code
from conformance.checks.exchange import Exchange
from conformance.checks.interpreter import Ended
from conformance.checks.libraries import REFERENCE as REFERENCE_NAME
from conformance.checks.libraries import Environment, Pair, shows_one_library, streaming
from conformance.checks.outcomes import ACCUSED, Inconclusive, Refused, Side, fail
from conformance.checks.steps import Doing
from conformance.ordering import evidence, two_contexts, wording
from conformance.ordering.crossing import FromAnotherThread, Joined, PerThreadNamed, PerThreadPublished
from conformance.ordering.evidence import Duty, seen_in, seen_of_export, setting_of
from conformance.ordering.handover import REFERENCE, How, Setting, first_how
from conformance.ordering.observation import Wait
from conformance.protocols.clauses import Level, Role
from conformance.reference.streams import LEGACY, PER_THREAD

_ON = (Device.CUDA, Device.SIMULATED)


def _inside(pair: Pair) -> tuple[str, ...]:
    """Return ``inside`` for every producer with a current stream. The export has its own thread, so the consumer's stream is not current there."""
    return (How.INSIDE.value if pair.producer.has(Trait.CURRENT_STREAM) else How.OUTSIDE.value,)


@invariant(
    "crossing.two-streams",
    producer="CAI-22 DLP-33",
    consumer="CAI-18 DLP-35 CAI-26",
    context="CAI-21 CAI-23 CAI-30",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=lambda env: every(
        streaming(env.pairs(on=_ON)), quick=shows_one_library, how=first_how, held=("first", "second")
    ),
    exclusive=True,
)
def test_two_streams(exchange: Exchange) -> None:
    """A consumer of two arrays must wait for the producer's pending work on both.

    The producer writes the arrays on two streams, and a latch holds one of them. Both arrays are imported before either is read.
    """
    setting, held = setting_of(exchange), ("first", "second").index(exchange.option("held"))

    def make(tried: Setting) -> Joined:
        return Joined(tried, held)

    seen = seen_in(exchange, setting.streams, lambda: make(setting))
    if not seen.in_order:
        evidence.blame(
            exchange,
            setting,
            make,
            seen,
            reason=f"the consumer reads the {exchange.option('held')} of two arrays before the producer's pending write is done",
            expected="the consumer reads the new value in both arrays",
        )
    exchange.notes["control"] = evidence.overtaken(setting.streams, evidence.without_wait(setting, make, seen))


@invariant(
    "crossing.threads",
    producer="CAI-22 DLP-33",
    consumer="CAI-18 DLP-35 CAI-26",
    context="CAI-21 CAI-23 CAI-30",
    bugs="I29 context-03",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=lambda env: every(streaming(env.pairs(on=_ON)), quick=shows_one_library, how=_inside),
    exclusive=True,
)
def test_threads(exchange: Exchange) -> None:
    """A consumer in another thread must see all work that the producer queued before the hand-over.

    The capsule is exported for the consumer's stream. The dictionary is read where the producer's stream is current.
    """
    setting = setting_of(exchange)
    seen = seen_in(exchange, setting.streams, lambda: FromAnotherThread(setting))
    if not seen.in_order:
        evidence.blame(
            exchange,
            setting,
            FromAnotherThread,
            seen,
            reason="in another thread the consumer reads before the producer's pending write is done",
            expected="the consumer reads the new value",
        )
    controls = evidence.without_wait(setting, FromAnotherThread, seen)
    exchange.notes["control"] = evidence.overtaken(setting.streams, controls)


@invariant(
    "crossing.per-thread-published",
    consumer="CAI-18",
    context="CAI-16 CAI-21",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=lambda env: every(streaming(env.imports(Protocol.CAI, on=_ON)), thread=("same", "other")),
    exclusive=True,
)
def test_per_thread_published(exchange: Exchange) -> None:
    """A consumer must wait for the publishing thread's default stream if the dictionary has ``stream: 2``.

    In another thread, 2 means another stream. No document covers that case, so the suite only records it.
    """
    setting, same = setting_of(exchange), exchange.option("thread") == "same"

    def make(tried: Setting) -> PerThreadPublished:
        return PerThreadPublished(tried.but(producer=REFERENCE), same_thread=same)

    seen = seen_in(exchange, setting.streams, lambda: make(setting))
    if not seen.in_order:
        cited, level = evidence.duty_to_follow(setting)
        fail(
            Code.STALE_READ,
            cited,
            role=Role.CONSUMER,
            level=level if same else Level.OBSERVED,
            reason="the consumer does not wait for the per-thread default stream that was published"
            if same
            else "the consumer reads 2 as its own thread's default stream, and does not wait for that of the publishing thread",
            expected="the consumer reads the new value",
            seen=evidence.in_words(seen, setting),
            given="",
        )
    exchange.notes["control"] = evidence.overtaken(setting.streams, evidence.without_wait(setting, make, seen))


@invariant(
    "crossing.per-thread-named",
    producer="DLP-33 DLP-31",
    bugs="I14",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=lambda env: every(streaming(env.exports(Protocol.DLPACK, on=_ON))),
    exclusive=True,
)
def test_per_thread_named(exchange: Exchange) -> None:
    """A producer must make the calling thread's default stream wait for its pending work in ``__dlpack__(stream=2)``.

    The call is made in a new thread, where the producer's stream is current. The write was queued on that stream in another thread.
    """
    setting = setting_of(exchange).but(how=How.INSIDE)
    seen = seen_of_export(exchange, setting.streams, lambda: PerThreadNamed(setting))
    if not seen.in_order:
        fail(
            Code.NAMED_STREAM_NOT_ORDERED,
            "DLP-33",
            role=Role.PRODUCER,
            level=evidence.level_of_export(setting),
            reason="the calling thread's default stream does not wait for the producer's pending work",
            expected="the reference reads the new value on that stream",
            seen=f"{seen.told}; no stream waits for {wording.stream(seen.writer)}, on which the work of {exchange.producer.name} is pending",
            given="",
        )
    exchange.notes["control"] = evidence.overtaken(setting.streams, _named_minus_one(setting))


def _named_minus_one(setting: Setting) -> evidence.Controls:
    yield "stream=-1", lambda: PerThreadNamed(setting, asked=-1)
    yield "stream=-1, from the reference", lambda: PerThreadNamed(setting.but(producer=REFERENCE), asked=-1)


# -- cases in a fresh interpreter

_PER_THREAD_SWITCH = ("cupy", "cuda_python")
"""Libraries with an environment variable that selects the per-thread default stream."""


def _record(ended: Ended, key: str) -> dict[str, Any]:
    """Return the record of a program with this key. Raise :class:`Inconclusive` if the program did not get that far.

    The program uses one library: the consumer of the case.
    """
    interpreter.expect_survival(ended, "CAI-32", accused=Side.CONSUMER)
    trouble = ended.told("trouble")
    if trouble is not None:
        raise Inconclusive(f"in the fresh interpreter: {trouble['trouble']}")
    record = ended.told(key)
    if record is None:
        raise Inconclusive(f"the fresh interpreter reported nothing after {ended.last_step}")
    return record


def _switched(env: Environment) -> Iterator[Draft]:
    for name in _PER_THREAD_SWITCH:
        library = env.get(name)
        if library is not None and Device.CUDA in library.sides:
            for switch in ("off", "on"):
                yield Draft(name, name, "none", Device.CUDA, (("switch", switch),), Tier.FULL)


@invariant(
    "crossing.default-stream",
    producer="CAI-22 CAI-16 CUD-04",
    consumer="DLP-35 DLP-31",
    context="CAI-32",
    bugs="I15 I16 stream-24",
    level=Level.MUST,
    needs=Needs.GPU,
    isolation=Isolation.FRESH,
    cases=_switched,
    exclusive=True,
)
def test_default_stream(exchange: Exchange) -> None:
    """A library must publish, and pass to ``__dlpack__``, the default stream on which it works.

    The case runs in a fresh interpreter, with the library's switch for per-thread default streams on or off. The two default streams wait for
    each other, so naming the wrong one causes no race. Naming no stream, or 0, does.
    """
    switch = exchange.option("switch")
    record = _record(interpreter.run("default_stream", exchange.case.producer, switch), "works_on")
    exchange.notes["seen"] = ", ".join(f"{key} {value}" for key, value in record.items())
    expected, handle = ("per-thread", PER_THREAD) if switch == "on" else ("legacy", LEGACY)
    if record["works_on"] != expected:
        fail(
            Code.SWITCH_WITHOUT_EFFECT,
            "CUD-04",
            role=Role.PRODUCER,
            level=Level.OBSERVED,
            reason="the switch does not change the stream on which the library works",
            expected=f"the {expected} default stream",
            seen=record["works_on"],
            given=f"for per-thread default streams ({switch})",
        )
    _judge_published(record["publishes"], handle)
    _judge_named(record["names"], handle)


def _judge_published(stream: int | None, handle: int) -> None:
    if stream == handle:
        return
    code, cited = {
        None: (Code.PENDING_WITHOUT_STREAM, "CAI-22"),
        0: (Code.INVALID_STREAM, "CAI-16"),
    }.get(stream, (Code.STREAM_NOT_COVERING, "CAI-22"))
    fail(
        code,
        cited,
        role=Role.PRODUCER,
        level=Level.OBSERVED if stream in (LEGACY, PER_THREAD) else None,
        reason="the library publishes another stream than the default stream on which it works",
        expected=wording.stream(handle),
        seen=wording.stream(stream),
        given="",
        accused=Side.PRODUCER,
    )


def _judge_named(stream: int | None, handle: int) -> None:
    if stream == handle:
        return
    ordered = stream in (None, LEGACY, PER_THREAD)
    fail(
        {0: Code.INVALID_STREAM, None: Code.NO_STREAM_NAMED}.get(stream, Code.WRONG_STREAM_NAMED),
        "DLP-31" if stream == 0 else "DLP-35",
        role=Role.CONSUMER,
        level=Level.SHOULD if ordered else None,
        reason="the library passes another stream to `__dlpack__` than the default stream on which it works",
        expected=f"stream={handle}",
        seen=f"stream={stream!r}",
        given="",
        accused=Side.CONSUMER,
    )


def _cupy_alone(env: Environment) -> Iterator[Draft]:
    pairs = (p for p in env.imports(Protocol.CAI, on=(Device.CUDA,)) if p.consumer.name == "cupy")
    return (replace(draft, tier=Tier.FULL) for draft in every(pairs, switch=("none", "wait", "version")))


@invariant(
    "crossing.opt-out",
    producer="CAI-24 LIB-10",
    consumer="LIB-10 CAI-24",
    context="CAI-32",
    level=Level.MUST,
    needs=Needs.GPU,
    isolation=Isolation.FRESH,
    cases=_cupy_alone,
    exclusive=True,
)
def test_opt_out(exchange: Exchange) -> None:
    """CuPy must apply its documented switches for the wait and the stream of the CUDA Array Interface, and neither may be on by default."""
    switch = exchange.option("switch")
    record = _record(interpreter.run("opt_out", switch), "version")
    exchange.notes["seen"] = ", ".join(f"{key} {value}" for key, value in record.items())
    names_stream = record["version"] >= 3 and record["stream"] is not None
    if switch == "wait":
        if record["in_order"]:
            switched = "CUPY_CUDA_ARRAY_INTERFACE_SYNC=0"
            _switch_fails(switched, Role.CONSUMER, "no wait for the published stream", record["seen"])
        return
    if switch == "version":
        if record["version"] != 2 or record["stream"] is not None:
            seen = f"version {record['version']}, stream {record['stream']!r}"
            switched = "CUPY_CUDA_ARRAY_INTERFACE_EXPORT_VERSION=2"
            _switch_fails(switched, Role.PRODUCER, "version 2 without a stream", seen)
        return
    if not names_stream:
        _on_by_default(Role.PRODUCER, "a stream", f"version {record['version']}, stream {record['stream']!r}")
    if not record["in_order"]:
        _on_by_default(Role.CONSUMER, "a wait for the published stream", record["seen"])
    if not record["overtakes"]:
        raise Inconclusive(
            f"no control failed, so a pass proves nothing: a dictionary without stream: {record['control']}"
        )


def _switch_fails(switch: str, role: Role, expected: str, seen: str) -> None:
    """Fail for CuPy, which is the consumer of the case, whichever side the switch concerns."""
    fail(
        Code.SWITCH_WITHOUT_EFFECT, "LIB-10", role=role, reason=f"{switch} changes nothing", expected=expected, seen=seen,
        given=f"`{switch}`", accused=Side.CONSUMER,
    )  # fmt: skip


def _on_by_default(role: Role, expected: str, seen: str) -> None:
    fail(
        Code.OPT_OUT_BY_DEFAULT, "CAI-24", role=role, reason="an opt-out is active without any switch", expected=expected,
        seen=seen, given="", accused=Side.CONSUMER,
    )  # fmt: skip


def _contexts(env: Environment) -> Iterator[Draft]:
    """Yield PyCUDA with every library except the reference, in both directions. A user can add the stream that PyCUDA's dictionary lacks."""
    for pair in env.pairs(Protocol.CAI, on=(Device.CUDA,)):
        names = (pair.producer.name, pair.consumer.name)
        if names.count("pycuda") == 1 and REFERENCE_NAME not in names:
            for published in ("stream", "as-it-is") if pair.producer.name == "pycuda" else ("as-it-is",):
                parameters = (("published", published),)
                yield Draft(*names, pair.protocol.value, pair.device, parameters, Tier.FULL)


@invariant(
    "crossing.contexts",
    producer="CAI-22",
    consumer="CAI-18 CAI-29",
    context="CAI-21 CAI-30 CUD-05 CUD-06 CUD-12",
    bugs="I29 context-05",
    level=Level.MUST,
    needs=Needs.GPU,
    isolation=Isolation.CHILD,
    cases=_contexts,
    exclusive=True,
)
def test_contexts(exchange: Exchange) -> None:
    """A consumer must wait for a published stream of another CUDA context, and a producer must publish one for its pending work.

    One side is PyCUDA in a private context, the other works in the primary context. Only that wait orders work in two contexts. PyCUDA publishes
    no stream. With ``stream`` its user has added the stream of the write, and a consumer has to record its event in that stream's context.
    """
    case, published = exchange.case, exchange.option("published")
    with exchange.step(Doing.IMPORT, Role.CONSUMER):
        across = two_contexts.look(case.producer, case.consumer, published)
    if across.seen is None and not across.accepted:
        raise Refused(across.told)
    if across.seen is None or (across.seen.wait is not Wait.NONE and not across.seen.in_order):
        _unusable_across(across.told)
    exchange.notes["seen"] = across.told
    if not across.seen.in_order:
        duty = _duty_across(case.producer, case.consumer, published, across.described)
        fail(
            duty.code,
            duty.clause,
            role=duty.role,
            level=duty.level,
            reason="across two contexts the consumer reads before the producer's pending write is done"
            + evidence.WHY.get(duty.code, ""),
            expected="the consumer reads the new value",
            seen=f"{across.seen.told or across.told}; {case.consumer} does not wait for {wording.stream(across.seen.writer)}, "
            f"on which the work of {case.producer} is pending",
            given="",
            accused=Side.NEITHER if duty.level is Level.OBSERVED else ACCUSED[duty.role],
        )
    exchange.notes["control"] = f"a dictionary without stream: {across.control}"
    if not across.overtakes:
        raise Inconclusive(f"no control failed, so a pass proves nothing: {exchange.notes['control']}")


def _unusable_across(seen: str) -> NoReturn:
    """Fail for an import that succeeded but cannot be read. A wait was observed, so the cause is not the order."""
    fail(
        Code.WRONG_ACROSS_CONTEXTS, "CAI-29", role=Role.CONSUMER, accused=Side.CONSUMER,
        reason="the consumer accepts an array of another context but does not read it correctly",
        expected="the producer's elements", seen=seen, given="",
    )  # fmt: skip


def _duty_across(producer: str, consumer: str, published: str, described: Mapping[str, Any]) -> Duty:
    """Return the broken duty. Users of PyCUDA take the pointer and order the work; other consumers have to follow a named stream only."""
    if consumer == "pycuda":
        return Duty(Role.CONSUMER, Code.STALE_READ, "CAI-21", Level.OBSERVED)
    if published == "as-it-is" and not evidence.names_stream(described):
        return evidence.published_duty(described)
    return Duty(Role.CONSUMER, Code.STALE_READ, "CAI-18", Level.MUST)
