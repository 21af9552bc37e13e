"""Family ``crossing``: arrays of two streams in one place, arrays that change threads, streams that are other ones there."""

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
    """As ``first_how``, where the export has a thread of its own: nothing else is current there."""
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
    """A consumer of two arrays waits for the streams of both producers.

    Both are imported before either is read; one of the writing streams is held, the other is not.
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
            reason=f"of two arrays the consumer reads the {exchange.option('held')} before the pending write is done",
            expected="the consumer reads the new value in both",
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
    """A consumer in another thread sees all work that the producer queued before the hand-over.

    A capsule was made for the consumer's stream, a dictionary was read where the producer's stream was current.
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
    """``stream: 2`` means the default stream of the publishing thread, and is waited for in any thread.

    In another thread 2 means another stream. The documents say nothing of that, so what happens there is only observed.
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
            else "the consumer takes 2 for its own thread's stream, and does not wait for that of the publishing thread",
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
    """``__dlpack__(stream=2)`` has the default stream of the thread that calls it wait for the producer's pending work.

    That thread has done nothing before; the producer's stream, which was written on in another one, is made current in it.
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
            seen=f"{seen.told}; nothing waits for {wording.stream(seen.writer)}, on which the work of {exchange.producer.name} is pending",
            given="",
        )
    exchange.notes["control"] = evidence.overtaken(setting.streams, _named_minus_one(setting))


def _named_minus_one(setting: Setting) -> evidence.Controls:
    yield "stream=-1", lambda: PerThreadNamed(setting, asked=-1)
    yield "stream=-1, from the reference", lambda: PerThreadNamed(setting.but(producer=REFERENCE), asked=-1)


# -- in interpreters of their own

_PER_THREAD_SWITCH = ("cupy", "cuda_python")
"""Libraries with an environment variable that makes the per-thread default stream theirs."""


def _record(ended: Ended, key: str) -> dict[str, Any]:
    """What a program told under this key; :class:`Inconclusive` if it did not come that far.

    The one library that it works with is the consumer of the case.
    """
    interpreter.expect_survival(ended, "CAI-32", accused=Side.CONSUMER)
    trouble = ended.told("trouble")
    if trouble is not None:
        raise Inconclusive(f"in the fresh interpreter: {trouble['trouble']}")
    record = ended.told(key)
    if record is None:
        raise Inconclusive(f"the fresh interpreter told nothing after {ended.last_step}")
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
    """The default stream that a library publishes, and that it names as a consumer, is the one on which it works.

    With its switch for per-thread default streams on and off, in an interpreter of its own. The two default streams wait for
    each other, so that naming the wrong one of them is no disorder; naming none, or 0, is.
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
            reason="the switch does not decide on which stream the library works",
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
        reason="the library publishes another stream than the default one that it works on",
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
        reason="the library names another stream to `__dlpack__` than the default one that it works on",
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
    """CuPy's documented switches take its wait, or its stream, out of the array interface, and neither is on by default."""
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
        raise Inconclusive(f"the check could not be seen to fail: a dictionary without stream: {record['control']}")


def _switch_fails(switch: str, role: Role, expected: str, seen: str) -> None:
    """CuPy is at fault, whichever side the switch is about; in the case it stands as consumer."""
    fail(
        Code.SWITCH_WITHOUT_EFFECT, "LIB-10", role=role, reason=f"{switch} changes nothing", expected=expected, seen=seen,
        given=f"`{switch}`", accused=Side.CONSUMER,
    )  # fmt: skip


def _on_by_default(role: Role, expected: str, seen: str) -> None:
    fail(
        Code.OPT_OUT_BY_DEFAULT, "CAI-24", role=role, reason="without any switch there is an opt-out", expected=expected,
        seen=seen, given="", accused=Side.CONSUMER,
    )  # fmt: skip


def _contexts(env: Environment) -> Iterator[Draft]:
    """PyCUDA with every library of flesh and blood, both ways; what its dictionary lacks, its user can add."""
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
    """A published stream is waited for across PyCUDA's own context and the primary context.

    Nothing else orders two contexts. PyCUDA publishes no stream; with ``stream`` its user has added the one that was written
    on, and a consumer has to make its event in that stream's context.
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
        raise Inconclusive(f"the check could not be seen to fail: {exchange.notes['control']}")


def _unusable_across(seen: str) -> NoReturn:
    """It was accepted, and somebody may have waited: what went wrong is not the order."""
    fail(
        Code.WRONG_ACROSS_CONTEXTS, "CAI-29", role=Role.CONSUMER, accused=Side.CONSUMER,
        reason="the consumer cannot read right what it accepted from another context",
        expected="the producer's elements", seen=seen, given="",
    )  # fmt: skip


def _duty_across(producer: str, consumer: str, published: str, described: Mapping[str, Any]) -> Duty:
    """PyCUDA's users take the pointer and order by themselves; a consumer follows a stream that is named, and no other."""
    if consumer == "pycuda":
        return Duty(Role.CONSUMER, Code.STALE_READ, "CAI-21", Level.OBSERVED)
    if published == "as-it-is" and not evidence.names_stream(described):
        return evidence.published_duty(described)
    return Duty(Role.CONSUMER, Code.STALE_READ, "CAI-18", Level.MUST)
