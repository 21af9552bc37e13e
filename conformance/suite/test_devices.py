"""Family ``devices``: two GPUs, arrays on one GPU while the other is current, and streams of another GPU.

The family ``device`` covers one GPU. No clause requires an export or an import while another GPU than the array's is current.
But an import must not land on another GPU, have wrong elements, or be read too early.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NoReturn

from conformance.adapters.base import Device, Protocol, Trait, Unsupported
from conformance.checks import interpreter
from conformance.checks.base_exceptions import text_of
from conformance.checks.catalogue import Draft, Isolation, Needs, Tier, every, invariant, layouts
from conformance.checks.codes import Code
from conformance.checks.exchange import Exchange, Source, brief, show
from conformance.checks.garbage import uncollected
from conformance.checks.interpreter import Ended
from conformance.checks.libraries import Environment, streaming
from conformance.checks.outcomes import Inconclusive, Refused, Side, fail
from conformance.checks.steps import Doing
from conformance.ordering import wording
from conformance.ordering.evidence import Controls, blame, in_words, overtaken, seen_in, seen_of_export, without_wait
from conformance.ordering.handover import REFERENCE, How, can_be_inside
from conformance.ordering.two_gpus import (  # fmt: skip
    GPUS,
    ON,
    PLACES,
    Asked,
    Handed,
    Meeting,
    Place,
    Published,
    current,
    gpu_of,
    gpus_of,
    make_on,
    on_two,
    place_of,
    read,
    streams_of,
    take_on,
    wake,
)
from conformance.protocols.clauses import Level, Role

_WHERE = tuple(PLACES)
Cases = Callable[[Environment], Iterator[Draft]]


def _pairs(*protocols: Protocol, **axes: Any) -> Cases:
    return lambda env: every(on_two(env, env.pairs(*protocols, on=ON)), **axes)


def _exports(*protocols: Protocol, **axes: Any) -> Cases:
    return lambda env: every(on_two(env, env.exports(*protocols, on=ON)), **axes)


def _cuda(ordinal: int) -> tuple[int, int]:
    """Return the DLPack device tuple of a GPU."""
    return 2, ordinal


def _same(exchange: Exchange, dlpack: str, cai: str) -> str:
    return dlpack if exchange.protocol is Protocol.DLPACK else cai


# -- the GPU that holds an array


@invariant(
    "devices.made",
    context="CUD-11",
    bugs="device-14",
    level=Level.OBSERVED,
    needs=Needs.TWO_GPUS,
    exclusive=True,
    cases=_exports(Protocol.CAI, first=("gpu-0-first", "gpu-1-first")),
)
def test_made(exchange: Exchange) -> None:
    """The suite records whether a library makes an array on the current GPU, after one of the same shape was dropped on the other.

    A memory cache that does not store the GPU gives out memory of the other GPU.
    """
    first = _ordinal(exchange.option("first").removesuffix("-first"))
    wake(exchange.device)
    for ordinal in (first, 1 - first):
        with exchange.producer.on_gpu(ordinal, exchange.device):
            made = exchange.make(exchange.producer)
        seen = gpu_of(made.address, exchange.device)
        del made
        if seen != ordinal:
            fail(
                Code.WRONG_GPU,
                "CUD-11",
                role=Role.PRODUCER,
                level=Level.OBSERVED,
                reason="the library makes an array on another GPU than the current one",
                expected=f"GPU {ordinal}",
                seen=f"GPU {seen}",
                given="",
            )


@invariant(
    "devices.reported",
    producer="DLP-15 DLP-16 DLP-59",
    bugs="I27 device-27",
    level=Level.MUST,
    needs=Needs.TWO_GPUS,
    exclusive=True,
    cases=_exports(Protocol.DLPACK, where=_WHERE, layout=layouts("c-order", "empty-rows")),
)
def test_reported(exchange: Exchange) -> None:
    """A producer must report the GPU of its array in ``__dlpack_device__`` and in the capsule, whichever GPU is current."""
    place = place_of(exchange)
    source = make_on(exchange, place.home)
    with current(exchange, place.current):
        offer = exchange.offer(source)
        _expect_device(exchange.told_device(offer), place.home, "`__dlpack_device__`")
        export = offer.__dlpack__
        exported = _exported(exchange, export, place)
        tensor = exchange.decode(exported)
    _expect_device(tensor.device, place.home, "the capsule")
    if source.view.size:
        seen = gpu_of(tensor.element0, exchange.device)
        if seen != place.home:
            reason = "the capsule points to memory of another GPU than the array's"
            _producer_fails(Code.WRONG_ADDRESS, "DLP-59", reason, f"GPU {place.home}", f"GPU {seen}")


def _exported(exchange: Exchange, export: Callable[[], Any], place: Place) -> Any:
    """Return a capsule. No clause requires an export while another GPU is current."""
    try:
        with exchange.step(Doing.EXPORT, Role.PRODUCER):
            return export()
    except Exception as error:
        exchange.check_context(error)
        promised = exchange.promises() if place.at_home else ""
        told = f"{exchange.producer.name} refused to export: {brief(error)}"
        if promised:
            _producer_fails(Code.REFUSED, promised, "the producer refuses the exchange", "the array is exchanged", told)
        raise Refused(told) from error


def _producer_fails(code: Code, cited: str, reason: str, expected: object, seen: object) -> NoReturn:
    fail(code, cited, role=Role.PRODUCER, reason=reason, expected=expected, seen=seen, accused=Side.PRODUCER)


def _expect_device(seen: tuple[int, int], home: int, who: str) -> None:
    """Raise unless the reported device is the array's GPU."""
    if tuple(seen) != _cuda(home):
        reason = f"{who} names another device than the array's"
        _producer_fails(Code.WRONG_DEVICE, "DLP-15", reason, _cuda(home), tuple(seen))


@invariant(
    "devices.kept",
    producer="DLP-59 CAI-05",
    consumer="DLP-42 DLP-58 CAI-29 CAI-32",
    context="CUD-12 DLP-47",
    bugs="I27 device-01 device-08 device-27",
    level=Level.MUST,
    needs=Needs.TWO_GPUS,
    exclusive=True,
    cases=_pairs(where=_WHERE),
)
def test_kept(exchange: Exchange) -> None:
    """A consumer must import an array on its own GPU, at its address and with its elements, whichever GPU is current.

    The CUDA Array Interface does not name the GPU: a consumer has to query the driver about the address.
    """
    place = place_of(exchange)
    source = make_on(exchange, place.home)
    taken = take_on(exchange, source, place)
    _expect_import(exchange, source, taken, place)


def _expect_import(exchange: Exchange, source: Source, taken: Any, place: Place) -> None:
    """Check the elements first, because they matter most, then the address, then the device that the consumer reports."""
    with current(exchange, place.current):
        view = exchange.look(taken)
    exchange.expect_values(source, read(exchange, taken, view, place))
    if view.address != source.address and not place.at_home:
        _moved(exchange, gpu_of(view.address, exchange.device), place)
    exchange.expect_address(source, view)
    if view.device is not None and tuple(view.device) != _cuda(place.home):
        reason = "the consumer reports another device than the import's"
        cited = _same(exchange, "DLP-42", "CAI-29")
        fail(
            Code.WRONG_DEVICE, cited, role=Role.CONSUMER, reason=reason, expected=_cuda(place.home), seen=tuple(map(int, view.device)),
            given=_GPUS[place.at_home], accused=exchange.reader_at_fault(),
        )  # fmt: skip


_GPUS = {True: "", False: "an array of a GPU that is not current"}
"""The special condition of an array, by whether its own GPU is the current one."""


def _moved(exchange: Exchange, seen: int | None, place: Place) -> NoReturn:
    """Fail for a copy that was made because another GPU was current. The CUDA Array Interface has no clause about that."""
    fail(
        Code.NOT_SHARED,
        _same(exchange, "DLP-42", "CAI-29"),
        role=Role.CONSUMER,
        level=None if exchange.protocol is Protocol.DLPACK else Level.OBSERVED,
        reason="the import is a copy on another GPU, which was not requested",
        expected=f"the producer's memory, on GPU {place.home}",
        seen=f"memory of its own on GPU {seen}, while GPU {place.current} was current",
        given=_GPUS[place.at_home],
        accused=exchange.reader_at_fault(),
    )


@invariant(
    "devices.in-turn",
    producer="DLP-59 CAI-05",
    consumer="DLP-42 DLP-58 CAI-29 CAI-32",
    bugs="I27 device-14",
    level=Level.MUST,
    needs=Needs.TWO_GPUS,
    exclusive=True,
    cases=_pairs(first=("gpu-0-first", "gpu-1-first")),
)
def test_in_turn(exchange: Exchange) -> None:
    """A consumer must import an array correctly after it has imported and dropped a similar array on the other GPU.

    Each import is made while the array's own GPU is current, as in a program that works on one GPU after the other.
    """
    first = _ordinal(exchange.option("first").removesuffix("-first"))
    for seed, ordinal in enumerate((first, 1 - first)):
        _exchange_at_home(exchange, ordinal, seed)


def _exchange_at_home(exchange: Exchange, ordinal: int, seed: int) -> None:
    """Make one exchange, and drop all its objects on return."""
    place = Place(ordinal, ordinal)
    source = make_on(exchange, ordinal, seed=seed)
    _expect_import(exchange, source, take_on(exchange, source, place), place)


def _ordinal(name: str) -> int:
    return GPUS[int(name.removeprefix("gpu-"))]


# -- the current GPU


@invariant(
    "devices.current-kept",
    context="G10",
    bugs="I27",
    level=Level.OBSERVED,
    needs=Needs.TWO_GPUS,
    exclusive=True,
    cases=_pairs(where=_WHERE),
)
def test_current_kept(exchange: Exchange) -> None:
    """The suite records whether an exchange changes the current GPU, also when it is refused."""
    place = place_of(exchange)
    source = make_on(exchange, place.home)
    # Load the consumer first: PyCUDA changes the current context when it is loaded and when it frees memory.
    consumer = exchange.consumer
    with uncollected(), current(exchange, place.current):
        offer = exchange.offer(source)
        try:
            taken = consumer.take_on(offer, exchange.protocol, exchange.device, place.home)
        except Exception as error:
            exchange.check_context(error)
            exchange.notes["refused"] = brief(error)
        else:
            exchange.notes["taken"] = type(taken).__name__
        _expect_current(exchange, place.current)


def _expect_current(exchange: Exchange, ordinal: int) -> None:
    seen = gpus_of(exchange.device).current()
    if seen != ordinal:
        fail(
            Code.CONTEXT_CHANGED,
            "G10",
            role=Role.CONSUMER,
            reason="another GPU is current after the exchange",
            expected=f"GPU {ordinal}",
            seen="none" if seen is None else f"GPU {seen}",
            given="",
        )


def _refusals(env: Environment) -> Iterator[Draft]:
    """Yield cases for consumers that import arrays, and do not only read a pointer."""
    pairs = (p for p in on_two(env, env.imports(on=ON)) if not p.consumer.has(Trait.POINTER_ONLY))
    return every(pairs, where=("on-1-current-0", "on-0-current-1"), refusal=("raises", "unknown-type"))


@invariant(
    "devices.current-kept-when-refused",
    context="G10",
    level=Level.OBSERVED,
    needs=Needs.TWO_GPUS,
    exclusive=True,
    cases=_refusals,
)
def test_current_kept_when_refused(exchange: Exchange) -> None:
    """The suite records whether an import that fails half-way changes the current GPU.

    The producer's method raises, or the array has an element type that does not exist.
    """
    place = place_of(exchange)
    source = make_on(exchange, place.home)
    source.array.override = {"code": 200}
    source.array.cai_override = {"typestr": "<f3"}
    raises = exchange.option("refusal") == "raises"
    offer = _Raises(source.array) if raises else exchange.offer(source)
    # Load the consumer first: PyCUDA changes the current context when it is loaded and when it frees memory.
    consumer = exchange.consumer
    with uncollected(), current(exchange, place.current):
        try:
            consumer.take_on(offer, exchange.protocol, exchange.device, place.home)
        except Exception as error:
            exchange.check_context(error)
            _expect_current(exchange, place.current)
            return
    raise Inconclusive("the import was not refused")


class _Raises:
    """An array whose export raises."""

    def __init__(self, exporter: Any) -> None:
        self._exporter = exporter

    def __dlpack_device__(self) -> tuple[int, int]:
        device: tuple[int, int] = self._exporter.__dlpack_device__()
        return device

    def __dlpack__(self, **_: Any) -> NoReturn:
        raise BufferError("this array cannot be exported")

    @property
    def __cuda_array_interface__(self) -> NoReturn:
        raise BufferError("this array cannot be exported")


# -- two GPUs at once


def _joining(env: Environment) -> Iterator[Draft]:
    pairs = (p for p in on_two(env, env.pairs(on=ON)) if p.consumer.has(Trait.JOINS))
    return every(pairs, first=("gpu-0-first", "gpu-1-first"))


@invariant(
    "devices.mixed",
    producer="DLP-59 CAI-05",
    consumer="DLP-58 CAI-32",
    bugs="I28 device-10",
    level=Level.MUST,
    needs=Needs.TWO_GPUS,
    exclusive=True,
    cases=_joining,
)
def test_mixed(exchange: Exchange) -> None:
    """A consumer must refuse an operation on arrays of two GPUs, or compute the right elements."""
    first = _ordinal(exchange.option("first").removesuffix("-first"))
    sources = [(make_on(exchange, gpu, seed=gpu), gpu) for gpu in (first, 1 - first)]
    parts = [(exchange.offer(source), gpu) for source, gpu in sources]
    exchange.special("arrays of two GPUs in one operation")
    with current(exchange, first):
        seen = _attempt(exchange, lambda: exchange.consumer.joined(parts, exchange.protocol, exchange.device))
    exchange.handed = None  # it describes the last array only, and this check judges two
    expected = b"".join(source.values for source, _ in sources)
    exchange.expect_values(sources[0][0], seen, expected=expected)


def _attempt(exchange: Exchange, action: Callable[[], Any]) -> Any:
    """Run an action that may be refused. Every exception is a refusal, as long as the CUDA context still works."""
    try:
        with exchange.step(Doing.IMPORT, Role.CONSUMER):
            return action()
    except Exception as error:
        exchange.check_context(error)
        raise Refused(brief(error)) from error


@invariant(
    "devices.export-elsewhere",
    producer="DLP-38 DLP-59",
    bugs="I28 device-10",
    level=Level.MUST,
    needs=Needs.TWO_GPUS,
    exclusive=True,
    cases=_exports(Protocol.DLPACK, where=("on-1-current-1", "on-1-current-0", "on-0-current-1")),
)
def test_export_elsewhere(exchange: Exchange) -> None:
    """A producer must export to the other GPU with the right elements there, or refuse it with ``BufferError``."""
    place = place_of(exchange)
    source = make_on(exchange, place.home)
    with current(exchange, place.current):
        offer = exchange.offer(source)
        exchange.special("an export to another GPU")
        try:
            with exchange.step(Doing.EXPORT, Role.PRODUCER):
                exported = offer.__dlpack__(dl_device=_cuda(place.other))
        except BufferError as error:
            exchange.check_context(error)
            return
        except Exception as error:
            exchange.check_context(error)
            _refused_elsewhere(exchange, error)
    tensor = exchange.decode(exported)
    if tuple(tensor.device) != _cuda(place.other):
        reason = "the producer exports to another device than `dl_device` names"
        _producer_fails(Code.DEVICE_IGNORED, "DLP-38", reason, _cuda(place.other), tuple(tensor.device))
    seen = gpu_of(tensor.element0, exchange.device)
    if seen != place.other:
        reason = "the capsule names the requested GPU, but points to memory of the other one"
        _producer_fails(Code.DEVICE_IGNORED, "DLP-38", reason, f"memory of GPU {place.other}", f"memory of GPU {seen}")
    streams_of(exchange.device, place.home).synchronize_device()
    data = exchange.peek(tensor.element0, len(source.values))
    if data != source.values:
        reason = "the capsule points to other elements than the array's"
        _producer_fails(
            Code.VALUES_CHANGED, "DLP-59", reason, show(source.values, source.dtype), show(data, source.dtype)
        )


def _refused_elsewhere(exchange: Exchange, error: Exception) -> NoReturn:
    if isinstance(error, TypeError) and "keyword" in text_of(error):
        raise Refused(f"the producer does not know the keyword dl_device: {brief(error)}") from error
    fail(
        Code.WRONG_EXCEPTION,
        "DLP-38",
        role=Role.PRODUCER,
        level=Level.SHOULD,
        reason=f"the producer refuses {exchange.given} with the wrong type of exception",
        expected="BufferError",
        seen=brief(error),
        accused=Side.PRODUCER,
    )


def _moving(env: Environment) -> Iterator[Draft]:
    pairs = (p for p in on_two(env, env.pairs(on=ON)) if p.consumer.has(Trait.DEVICE_KEYWORD))
    return every(pairs, where=("on-1-current-1", "on-1-current-0", "on-0-current-1"))


@invariant(
    "devices.import-elsewhere",
    producer="DLP-59 CAI-05",
    consumer="DLP-42 DLP-58 CAI-29 CAI-32",
    bugs="I28 device-10 device-22",
    level=Level.MUST,
    needs=Needs.TWO_GPUS,
    exclusive=True,
    cases=_moving,
)
def test_import_elsewhere(exchange: Exchange) -> None:
    """A consumer must import to the other GPU with the array's elements, or refuse the request.

    The array is overwritten after the import, and a copy has to keep the old elements.
    """
    place = place_of(exchange)
    source = make_on(exchange, place.home)
    asked = place.other
    exchange.special("an import to another GPU")
    with current(exchange, place.current):
        offer = exchange.offer(source)
        taken = _attempt(exchange, lambda: exchange.consumer.take_to(offer, exchange.protocol, exchange.device, asked))
        view = exchange.look(taken)
        exchange.expect_values(source, _first_read(exchange, taken))
        exchange.poke(source.start, bytes(len(source.block)))
        if gpu_of(view.address, exchange.device) == asked:
            exchange.expect_values(source, exchange.read(taken))
    lies = gpu_of(view.address, exchange.device)
    if lies != asked or view.device not in (None, _cuda(asked)):
        fail(
            Code.WRONG_GPU,
            _same(exchange, "DLP-42", "CAI-29"),
            role=Role.CONSUMER,
            level=Level.OBSERVED,
            reason="the import is not on the requested GPU",
            expected=f"memory of GPU {asked}, reported as device {_cuda(asked)}",
            seen=f"memory of GPU {lies}, reported as device {view.device and tuple(map(int, view.device))}",
        )


def _first_read(exchange: Exchange, taken: Any) -> bytes:
    """Return the elements. An exception here is a late refusal: the data are not wrong, but the import had been accepted."""
    try:
        with exchange.step(Doing.USE, Role.CONSUMER):
            return exchange.consumer.read(taken)
    except Unsupported:
        raise
    except Exception as error:
        exchange.check_context(error)
        fail(
            Code.IMPORT_UNUSABLE,
            _same(exchange, "DLP-42", "CAI-29"),
            role=Role.CONSUMER,
            level=Level.SHOULD,
            reason="an import that the consumer accepted for another GPU cannot be read",
            expected="a refusal, or the array's elements",
            seen=brief(error),
            accused=Side.CONSUMER,
        )


# -- streams


def _handovers(env: Environment) -> Iterator[Draft]:
    """Yield every library with the reference. The results of two libraries with each other follow from these."""
    pairs = (p for p in streaming(on_two(env, env.pairs(on=ON))) if p.with_reference)
    return every(pairs, where=_WHERE)


def _how(exchange: Exchange) -> How:
    """Return ``inside`` where that is possible, else ``outside``."""
    return How.INSIDE if can_be_inside(exchange.producer, exchange.consumer, exchange.protocol) else How.OUTSIDE


def _meeting(exchange: Exchange, place: Place) -> Meeting:
    parties = (exchange.producer, exchange.consumer, exchange.protocol, exchange.device)
    return Meeting(*parties, how=_how(exchange), place=place)


@invariant(
    "devices.handover",
    producer="CAI-22 DLP-33",
    consumer="CAI-18 DLP-35 CAI-26",
    context="CAI-21 CAI-23 CAI-30 CUD-06",
    level=Level.MUST,
    needs=Needs.TWO_GPUS,
    cases=_handovers,
    exclusive=True,
)
def test_handover(exchange: Exchange) -> None:
    """A consumer must see all work that the producer queued on the array's GPU before the hand-over, whichever GPU is current.

    Each side works on its current stream of the array's GPU. During the hand-over that GPU is current, or the other one.
    """
    meeting = _meeting(exchange, place_of(exchange))
    seen = seen_in(exchange, meeting.streams, lambda: Handed(meeting))
    if seen.in_order:
        exchange.notes["control"] = overtaken(meeting.streams, without_wait(meeting, Handed, seen))
        return
    blame(
        exchange,
        meeting,
        Handed,
        seen,
        reason=f"with GPU {meeting.place.current} current, the consumer reads GPU {meeting.place.home} "
        "before the producer's pending write is done",
        expected="the consumer reads the new value",
        offering=Handed,
    )


def _followers(env: Environment) -> Iterator[Draft]:
    pairs = (p for p in env.imports(Protocol.CAI, on=ON) if not p.consumer.has(Trait.POINTER_ONLY))
    return every(streaming(on_two(env, pairs)), where=("on-0-current-0", "on-1-current-1"))


@invariant(
    "devices.dictionary-stream",
    consumer="CAI-18 CUD-06",
    bugs="I28",
    level=Level.MUST,
    needs=Needs.TWO_GPUS,
    cases=_followers,
    exclusive=True,
)
def test_dictionary_stream(exchange: Exchange) -> None:
    """A consumer must wait for a published stream that belongs to another GPU than the array's.

    The other GPU copies into the array on a stream of its own, and the dictionary names that stream. An event for it can only be
    recorded in that stream's context.
    """
    home = _ordinal(exchange.option("where").split("-current-")[0].replace("on-", "gpu-"))
    meeting = _meeting(exchange, Place(home, home))
    seen = seen_in(exchange, meeting.streams, lambda: Published(meeting))
    if not seen.in_order:
        fail(
            Code.STALE_READ,
            "CAI-18",
            role=Role.CONSUMER,
            reason="the consumer does not wait for a published stream of another GPU",
            expected="the consumer reads the new value",
            seen=in_words(seen, meeting),
            given="",
        )
    controls: Controls = [
        ("a dictionary without stream", lambda: Published(meeting, told=False)),
        (
            "a dictionary without stream, to the reference",
            lambda: Published(meeting.but(consumer=REFERENCE), told=False),
        ),
    ]
    exchange.notes["control"] = overtaken(meeting.streams, controls)


def _asked(env: Environment) -> Iterator[Draft]:
    pairs = (p for p in env.exports(Protocol.DLPACK, on=ON) if p.producer.has(Trait.CURRENT_STREAM))
    return every(streaming(on_two(env, pairs)), where=("on-0-current-0", "on-1-current-1"))


@invariant(
    "devices.export-stream",
    producer="DLP-33",
    context="G8",
    bugs="I28",
    level=Level.OBSERVED,
    needs=Needs.TWO_GPUS,
    cases=_asked,
    exclusive=True,
)
def test_export_stream(exchange: Exchange) -> None:
    """The suite records whether a stream of the other GPU that is passed to ``__dlpack__`` waits for the producer's pending work.

    A consumer may read across GPUs. No document says whether it may pass such a stream.
    """
    home = _ordinal(exchange.option("where").split("-current-")[0].replace("on-", "gpu-"))
    meeting = _meeting(exchange, Place(home, home))
    seen = seen_of_export(exchange, meeting.streams, lambda: Asked(meeting))
    if not seen.in_order:
        fail(
            Code.NAMED_STREAM_NOT_ORDERED,
            "DLP-33",
            role=Role.PRODUCER,
            level=Level.OBSERVED,
            reason="the named stream of another GPU does not wait for the producer's pending work",
            expected="the reference reads the new value on the named stream",
            seen=f"{seen.told}; no stream waits for {wording.stream(seen.writer)}, on which the work of {exchange.producer.name} is pending",
            given="",
        )
    controls: Controls = [
        ("stream=-1", lambda: Asked(meeting, asked=-1)),
        ("stream=-1, from the reference", lambda: Asked(meeting.but(producer=REFERENCE), asked=-1)),
    ]
    exchange.notes["control"] = overtaken(meeting.streams, controls)


# -- cases in a process of their own


def _alone(env: Environment) -> Iterator[Draft]:
    """Yield every library on either side of the reference, by one protocol. Each case needs its own process, so none is in the quick tier."""
    pairs = on_two(env, (p for p in env.pairs(on=(Device.CUDA,)) if p.with_reference))
    chosen = {(p.producer.name, p.consumer.name): p for p in reversed(list(pairs))}
    return (replace(draft, tier=Tier.FULL) for draft in every(reversed(chosen.values())))


def _visible(draft: Draft) -> str:
    """Return the visible GPUs: in another order for producers, only the second one for consumers. One case each, because processes take long."""
    return "swapped" if draft.consumer == REFERENCE.name else "second"


@invariant(
    "devices.untouched",
    producer="DLP-15 CAI-05",
    consumer="DLP-42 CAI-29 DLP-58 CAI-32",
    context="G10",
    bugs="I27 device-14",
    level=Level.OBSERVED,
    needs=Needs.TWO_GPUS,
    isolation=Isolation.FRESH,
    exclusive=True,
    cases=_alone,
)
def test_untouched(exchange: Exchange) -> None:
    """The suite records whether an exchange on the second GPU creates a context on the first.

    Such a context takes hundreds of megabytes on a GPU that the user did not choose. The second GPU is current from the start.
    """
    ended = interpreter.run("on_gpus", json.dumps(exchange.case.to_json()), "", "1")
    interpreter.expect_survival(ended, _same(exchange, "DLP-58", "CAI-32"))
    _judge_gpus(exchange, ended)
    guilty = next((r for r in ended.records if r.get("first_gpu")), None)
    if guilty is not None:
        fail(
            Code.CONTEXT_CREATED,
            "G10",
            role=Role.CONSUMER,
            reason="a context is created on a GPU that the program did not choose",
            expected="no context on GPU 0",
            seen=f"a context after {guilty['after']}",
            given="",
        )


@invariant(
    "devices.remapped",
    producer="DLP-15 DLP-16 CAI-05",
    consumer="DLP-42 CAI-29 DLP-58 CAI-32",
    bugs="I27 device-08",
    level=Level.MUST,
    needs=Needs.TWO_GPUS,
    isolation=Isolation.FRESH,
    exclusive=True,
    cases=lambda env: (replace(draft, parameters=(("visible", _visible(draft)),)) for draft in _alone(env)),
)
def test_remapped(exchange: Exchange) -> None:
    """A library must use the GPU numbers of the process, not of the machine, where ``CUDA_VISIBLE_DEVICES`` changes them."""
    shown = os.environ.get("CUDA_VISIBLE_DEVICES") or "0,1"
    names = shown.split(",")[:2]
    swapped = exchange.option("visible") == "swapped"
    visible = ",".join(reversed(names)) if swapped else names[-1]
    ended = interpreter.run("on_gpus", json.dumps(exchange.case.to_json()), visible, "0,1" if swapped else "0")
    interpreter.expect_survival(ended, _same(exchange, "DLP-58", "CAI-32"))
    _judge_gpus(exchange, ended)


def _judge_gpus(exchange: Exchange, ended: Ended) -> None:
    """Judge a program's reports of the exchanges on each of its GPUs."""
    exchanges = [record for record in ended.records if "gpu" in record]
    if not exchanges:
        raise Inconclusive(f"the program reported nothing after: {ended.last_step}")
    for record in exchanges:
        _judge_one(exchange, record)


def _judge_one(exchange: Exchange, record: dict[str, Any]) -> None:
    gpu = record["gpu"]
    if record.get("lies", gpu) != gpu:
        raise Inconclusive(f"the array was made on GPU {record['lies']}, though GPU {gpu} was current")
    said = record.get("said")
    if said is not None and said != list(_cuda(gpu)):
        reason = f"`__dlpack_device__` names another device than GPU {gpu}"
        _producer_fails(Code.WRONG_DEVICE, "DLP-15", reason, _cuda(gpu), tuple(said))
    if "refused" in record:
        raise Refused(record["refused"])
    if record["values"] != "right":
        fail(
            Code.VALUES_CHANGED, _same(exchange, "DLP-58", "CAI-32"), role=Role.CONSUMER,
            reason="the elements that are read are not the producer's", expected="the producer's elements", seen=record["values"], given="",
        )  # fmt: skip
    told = record.get("told")
    if told is not None and told != list(_cuda(gpu)):
        fail(
            Code.WRONG_DEVICE, _same(exchange, "DLP-42", "CAI-29"), role=Role.CONSUMER,
            reason=f"the consumer reports another device than GPU {gpu}", expected=_cuda(gpu), seen=tuple(told), given="",
            accused=Side.CONSUMER,
        )  # fmt: skip
