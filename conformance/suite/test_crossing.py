"""Family ``crossing``: arrays of two streams in one place, arrays that change threads, streams that are other ones there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NoReturn

from conformance.adapters.base import Device, Protocol, Trait
from conformance.protocols.clauses import Level, Role
from conformance.reference.streams import LEGACY, PER_THREAD

from . import interpreter
from .catalogue import Draft, Isolation, Needs, Tier, every, invariant
from .exchange import Exchange
from .interpreter import Ended
from .libraries import REFERENCE as REFERENCE_NAME
from .libraries import Environment, Pair, shows_one_library, streaming
from .order import evidence, two_contexts
from .order.crossing import FromAnotherThread, Joined, PerThreadNamed, PerThreadPublished
from .order.evidence import seen_in, setting_of
from .order.handover import REFERENCE, How, Setting, first_how
from .order.observation import Wait
from .outcomes import Inconclusive, Refused, fail

_ON = (Device.CUDA, Device.SIMULATED)


def _inside(pair: Pair) -> tuple[str, ...]:
    """As ``first_how``, where the export has a thread of its own: nothing else is current there."""
    return (How.INSIDE.value if pair.producer.has(Trait.CURRENT_STREAM) else How.OUTSIDE.value,)


@invariant(
    "crossing.two-streams",
    producer="CAI-22 CAI-23 DLP-33",
    consumer="CAI-18 DLP-35",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=lambda env: every(
        streaming(env.pairs(on=_ON)), quick=shows_one_library, how=first_how, held=("first", "second")
    ),
    exclusive=True,
)
def test_two_streams(exchange: Exchange) -> None:
    """Who takes two arrays that were written on two streams, and reads both on one, has waited for either.

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
            reason=f"of two arrays the {exchange.option('held')} is read before its producer has written it",
            expected="the data that the producer had queued",
        )
    exchange.notes["control"] = evidence.overtaken(setting.streams, evidence.without_wait(setting, make, seen))


@invariant(
    "crossing.threads",
    producer="CAI-22 CAI-23 DLP-33",
    consumer="CAI-18",
    bugs="I29 context-03",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=lambda env: every(streaming(env.pairs(on=_ON)), quick=shows_one_library, how=_inside),
    exclusive=True,
)
def test_threads(exchange: Exchange) -> None:
    """What was exported in one thread is in the array when the consumer reads it in another, which has no context yet.

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
            reason="in another thread the consumer reads before the producer has written",
            expected="the data that the producer had queued",
        )
    controls = evidence.without_wait(setting, FromAnotherThread, seen)
    exchange.notes["control"] = evidence.overtaken(setting.streams, controls)


@invariant(
    "crossing.per-thread-published",
    producer="CAI-16",
    consumer="CAI-18",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=lambda env: every(streaming(env.imports(Protocol.CAI, on=_ON)), thread=("same", "other")),
    exclusive=True,
)
def test_per_thread_published(exchange: Exchange) -> None:
    """``stream: 2`` is the publishing thread's own default stream, and is waited for wherever the import happens.

    In another thread 2 means another stream. The documents say nothing of that, so what happens there is only observed.
    """
    setting, same = setting_of(exchange), exchange.option("thread") == "same"

    def make(tried: Setting) -> PerThreadPublished:
        return PerThreadPublished(tried.but(producer=REFERENCE), same_thread=same)

    seen = seen_in(exchange, setting.streams, lambda: make(setting))
    if not seen.in_order:
        clause, level = evidence.duty_to_follow(setting)
        fail(
            clause if same else "CAI-16",
            role=Role.CONSUMER,
            level=level if same else Level.OBSERVED,
            reason="the per-thread default stream that was published is not waited for"
            if same
            else "2 is taken for the importing thread's stream, so the publishing thread's is not waited for",
            expected="the data that had been queued on the publishing thread's default stream",
            seen=seen,
        )
    exchange.notes["control"] = evidence.overtaken(setting.streams, evidence.without_wait(setting, make, seen))


@invariant(
    "crossing.per-thread-named",
    producer="DLP-31 DLP-33",
    consumer="DLP-31",
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
    setting = setting_of(exchange)
    seen = seen_in(exchange, setting.streams, lambda: PerThreadNamed(setting))
    if not seen.in_order:
        fail(
            "DLP-33",
            role=Role.PRODUCER,
            level=None if exchange.producer.traits & {Trait.CURRENT_STREAM} else Level.SHOULD,
            reason="the calling thread's default stream does not wait for the producer's pending work",
            expected="an import that reads the new data",
            seen=seen,
        )
    exchange.notes["control"] = evidence.overtaken(setting.streams, _named_minus_one(setting))


def _named_minus_one(setting: Setting) -> evidence.Controls:
    yield "stream=-1", lambda: PerThreadNamed(setting, asked=-1)
    yield "stream=-1, from the reference", lambda: PerThreadNamed(setting.but(producer=REFERENCE), asked=-1)


# -- in interpreters of their own

_PER_THREAD_SWITCH = ("cupy", "cuda_python")
"""Libraries with an environment variable that makes the per-thread default stream theirs."""


def _record(ended: Ended, key: str) -> dict[str, Any]:
    """What a program told under this key; :class:`Inconclusive` if it did not come that far."""
    interpreter.expect_survival(ended, "CAI-05")
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
    producer="CAI-16 CAI-22 CAI-23 DLP-31",
    consumer="DLP-31 DLP-35",
    context="CUD-04",
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
            "CUD-04",
            role=Role.PRODUCER,
            level=Level.OBSERVED,
            reason="the switch does not decide on which stream the library works",
            expected=f"the {expected} default stream",
            seen=record["works_on"],
        )
    _judge_published(record["publishes"], handle)
    _judge_named(record["names"], handle)


def _judge_published(stream: int | None, handle: int) -> None:
    if stream == handle:
        return
    clause, level = {None: ("CAI-23", None), 0: ("CAI-16", None)}.get(stream, ("CAI-22", None))
    if stream in (LEGACY, PER_THREAD):
        level = Level.OBSERVED
    fail(
        clause,
        role=Role.PRODUCER,
        level=level,
        reason="another stream is published than the default one that is worked on",
        expected=f"stream {handle}",
        seen=f"stream {stream!r}",
    )


def _judge_named(stream: int | None, handle: int) -> None:
    if stream == handle:
        return
    fail(
        "DLP-31" if stream == 0 else "DLP-35",
        role=Role.CONSUMER,
        level=Level.SHOULD if stream in (None, LEGACY, PER_THREAD) else Level.MUST,
        reason="another stream is named to __dlpack__ than the default one that is worked on",
        expected=f"stream={handle}",
        seen=f"stream={stream!r}",
    )


def _cupy_alone(env: Environment) -> Iterator[Draft]:
    pairs = (p for p in env.imports(Protocol.CAI, on=(Device.CUDA,)) if p.consumer.name == "cupy")
    return (replace(draft, tier=Tier.FULL) for draft in every(pairs, switch=("none", "wait", "version")))


@invariant(
    "crossing.opt-out",
    producer="CAI-24 LIB-10",
    consumer="CAI-24 LIB-10",
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
            _switch_fails("CUPY_CUDA_ARRAY_INTERFACE_SYNC=0", "no wait for the published stream", record["seen"])
        return
    if switch == "version":
        if record["version"] != 2 or record["stream"] is not None:
            seen = f"version {record['version']}, stream {record['stream']!r}"
            _switch_fails("CUPY_CUDA_ARRAY_INTERFACE_EXPORT_VERSION=2", "version 2 without a stream", seen)
        return
    if not names_stream:
        _on_by_default(Role.PRODUCER, "a stream", f"version {record['version']}, stream {record['stream']!r}")
    if not record["in_order"]:
        _on_by_default(Role.CONSUMER, "a wait for the published stream", record["seen"])
    if not record["overtakes"]:
        raise Inconclusive(f"the check could not be seen to fail: a dictionary without stream: {record['control']}")


def _switch_fails(switch: str, expected: str, seen: str) -> None:
    fail("LIB-10", role=Role.CONSUMER, reason=f"{switch} changes nothing", expected=expected, seen=seen)


def _on_by_default(role: Role, expected: str, seen: str) -> None:
    fail("CAI-24", role=role, reason="without any switch there is an opt-out", expected=expected, seen=seen)


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
    producer="CAI-23 CUD-06",
    consumer="CAI-18 CAI-21 CUD-06",
    context="CUD-05",
    bugs="I29 context-05",
    level=Level.MUST,
    needs=Needs.GPU,
    isolation=Isolation.CHILD,
    cases=_contexts,
    exclusive=True,
)
def test_contexts(exchange: Exchange) -> None:
    """Between PyCUDA's own context and the primary one a published stream is waited for as within one context.

    Nothing else orders two contexts. PyCUDA publishes no stream; with ``stream`` its user has added the one that was written
    on, and a consumer has to make its event in that stream's context.
    """
    case, published = exchange.case, exchange.option("published")
    across = two_contexts.look(case.producer, case.consumer, published)
    if across.seen is None and not across.accepted:
        raise Refused(across.told)
    if across.seen is None or (across.seen.wait is not Wait.NONE and not across.seen.in_order):
        _unusable_across(across.told)
    exchange.notes["seen"] = across.told
    if not across.seen.in_order:
        clause, role, level = _duty_across(case.producer, case.consumer, published)
        fail(
            clause,
            "CUD-05",
            role=role,
            level=level,
            reason="across two contexts the consumer reads before the producer has written",
            expected="the data that had been queued",
            seen=across.told,
        )
    exchange.notes["control"] = f"a dictionary without stream: {across.control}"
    if not across.overtakes:
        raise Inconclusive(f"the check could not be seen to fail: {exchange.notes['control']}")


def _unusable_across(seen: str) -> NoReturn:
    """It was accepted, and somebody may have waited: what went wrong is not the order."""
    fail(
        "CAI-29", "CUD-12",
        role=Role.CONSUMER, reason="what was accepted from another context cannot be read right",
        expected="the producer's elements", seen=seen,
    )  # fmt: skip


def _duty_across(producer: str, consumer: str, published: str) -> tuple[str, Role, Level]:
    """PyCUDA's users take the pointer and order by themselves; what publishes nothing has nothing pending, or deviates."""
    if consumer == "pycuda":
        return "CAI-21", Role.CONSUMER, Level.OBSERVED
    if producer == "pycuda" and published == "as-it-is":
        return "CAI-23", Role.PRODUCER, Level.SHOULD
    return "CAI-18", Role.CONSUMER, Level.MUST
