"""Family ``stream-claim``, second part: changes to streams in CV-CUDA's release notes.

A case is planned only if the installed version has the change (``expectations.py``). Before 0.18, stream contexts span threads; the family ``current``
records that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from typing import Any, NoReturn

from conformance.adapters.base import Device, Protocol
from conformance.checks.catalogue import Draft, Isolation, Needs, every, invariant
from conformance.checks.codes import Code
from conformance.checks.current_streams import Neighbour, Seen, of_two_threads
from conformance.checks.exchange import Exchange, brief
from conformance.checks.expectations import Change
from conformance.checks.libraries import REFERENCE, Environment
from conformance.checks.outcomes import Inconclusive, Side, fail
from conformance.ordering import evidence, wording
from conformance.ordering.evidence import seen_in, setting_of
from conformance.ordering.handover import stream_of
from conformance.ordering.observation import Wait
from conformance.ordering.wrapping import OwnWait
from conformance.protocols.clauses import Level, Role
from conformance.reference.streams import LEGACY

from .test_release import has

_CONTEXTS = "stream contexts belong to one thread and are left in order"
_READ_ONLY = "`Stream.default` cannot be assigned"
_WAIT = "`Stream.wait_stream` orders two streams"

Planner = Callable[[Environment], Iterator[Draft]]


def _from(change: Change, **axes: Any) -> Planner:
    """Return a planner of cases from the reference to a CV-CUDA that has this change."""

    def chosen(env: Environment) -> Iterator[Draft]:
        pairs = env.imports(Protocol.CAI, on=(Device.CUDA,))
        return every((p for p in pairs if p.consumer.name != REFERENCE and has(p.consumer, change)), **axes)

    return chosen


def _broken(cited: str, what: str, reason: str, expected: object, seen: object, level: Level | None = None) -> NoReturn:
    fail(
        Code.CLAIM_NOT_KEPT, cited, role=Role.CONSUMER, reason=reason, expected=expected, seen=seen, given=what, accused=Side.CONSUMER,
        level=level,
    )  # fmt: skip


@invariant(
    "stream-claim.thread-contexts",
    consumer="STR-09",
    context="LIB-06",
    bugs="current-01",
    level=Level.MUST,
    needs=Needs.GPU,
    exclusive=True,
    cases=_from(Change.THREAD_CONTEXTS, thread=("begun-before", "begun-inside")),
)
def test_thread_contexts(exchange: Exchange) -> None:
    """CV-CUDA must keep a stream context within its thread, and must use the legacy default stream in a thread without one."""
    library, device = exchange.consumer, exchange.device
    ours, theirs = (stream_of(library, role, device) for role in ("consumer", "elsewhere"))
    begins_inside = exchange.option("thread") == "begun-inside"
    found = of_two_threads(library, device, ours, theirs, begins_inside=begins_inside)
    alone = Neighbour(device).run(lambda: library.current_stream(device))
    for seen in (*found, Seen("in a thread without a context", LEGACY, alone)):
        if not seen.is_right:
            _broken(
                "STR-09", _CONTEXTS, f"{seen.step} another stream is current", wording.stream(seen.expected), wording.stream(seen.seen)
            )  # fmt: skip


@invariant(
    "stream-claim.contexts-left",
    consumer="STR-09",
    context="LIB-06",
    bugs="current-01",
    level=Level.MUST,
    needs=Needs.GPU,
    isolation=Isolation.CHILD,
    cases=_from(Change.THREAD_CONTEXTS, left=("out-of-order", "elsewhere")),
)
def test_contexts_left(exchange: Exchange) -> None:
    """CV-CUDA must raise ``RuntimeError`` when a stream context is left before an inner one, or in another thread."""
    library, device = exchange.consumer, exchange.device
    outer, inner = (library.using(stream_of(library, role, device)) for role in ("consumer", "elsewhere"))
    out_of_order = exchange.option("left") == "out-of-order"
    entered: list[AbstractContextManager[Any]] = []
    for block in (outer, inner) if out_of_order else (outer,):
        block.__enter__()
        entered.append(block)
    try:
        error = _left(outer if out_of_order else None, outer, device)
    finally:
        for block in reversed(entered):
            with suppress(Exception):
                block.__exit__(None, None, None)
    where = "before the inner one" if out_of_order else "in another thread"
    if not isinstance(error, RuntimeError):
        _broken("STR-09", _CONTEXTS, f"a stream context is left {where}", "RuntimeError", brief(error))


def _left(
    here: AbstractContextManager[Any] | None, block: AbstractContextManager[Any], device: Device
) -> Exception | None:
    """Return the exception that is raised when ``here`` is left in this thread or, if it is ``None``, ``block`` in another one."""
    try:
        if here is not None:
            here.__exit__(None, None, None)
        else:
            Neighbour(device).run(lambda: block.__exit__(None, None, None))
    except Exception as error:
        return error
    return None


@invariant(
    "stream-claim.default-read-only",
    consumer="LIB-06",
    context="STR-09",
    level=Level.MUST,
    needs=Needs.GPU,
    isolation=Isolation.CHILD,
    cases=_from(Change.THREAD_CONTEXTS),
)
def test_default_read_only(exchange: Exchange) -> None:
    """CV-CUDA must refuse an assignment to ``cvcuda.Stream.default``, which must be the same stream afterwards."""
    library = exchange.consumer
    kind = library.module().Stream
    before, other = library.handle(kind.default), stream_of(library, "consumer", exchange.device)
    if library.handle(other) == before:
        raise Inconclusive("a stream that the library made is its default stream")
    try:
        kind.default = other
    except Exception as error:
        raised: Exception | None = error
    else:
        raised = None
    after = library.handle(kind.default)
    if raised is None:
        _broken(
            "LIB-06",
            _READ_ONLY,
            "an assignment to `Stream.default` raises no exception",
            "an exception",
            f"default is {after:#x}",
        )
    if after != before:
        _broken(
            "LIB-06",
            _READ_ONLY,
            "`Stream.default` is another stream after the assignment",
            f"{before:#x}",
            f"{after:#x}, and {brief(raised)}",
        )


@invariant(
    "stream-claim.wait-stream",
    consumer="STR-08",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=_from(Change.WAIT_STREAM),
    exclusive=True,
)
def test_wait_stream(exchange: Exchange) -> None:
    """CV-CUDA must run later work of ``a`` after the queued work of ``b`` once ``a.wait_stream(b)`` has returned.

    If the call blocks the host or synchronizes the device, the suite only records it: the data are right.
    """
    setting = setting_of(exchange)
    seen = seen_in(exchange, setting.streams, lambda: OwnWait(setting))
    if not seen.in_order:
        reason = "work on a stream overtakes work on the stream for which `wait_stream` makes it wait"
        _broken(
            "STR-08", _WAIT, reason, "the value of the last write", f"{seen}; {wording.stream(seen.writer)} was held"
        )
    bare = [("without the wait", lambda: OwnWait(setting, waits=False))]
    exchange.notes["control"] = evidence.overtaken(setting.streams, bare)
    if seen.wait not in (Wait.NONE, Wait.EVENT):
        _broken(
            "STR-08", _WAIT, "`wait_stream` waits for more than an event", Wait.EVENT.value, seen.wait.value, Level.OBSERVED
        )  # fmt: skip
