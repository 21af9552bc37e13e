"""Family ``source``: changes of an array after its export, and reuse of an import by the consumer.

A library lets its users give an array other memory, resize it, delete it or donate it. If an export holds the array object but not
its memory, the import then points to freed memory (a use-after-free).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, NoReturn

from conformance.adapters.base import Device, Protocol, Trait
from conformance.adapters.changes import DELETE, Change
from conformance.adapters.special import named
from conformance.checks.catalogue import Draft, Isolation, every, invariant
from conformance.checks.changed_memory import (
    EXPORTS,
    MOST,
    USUAL,
    Export,
    Memory,
    Seen,
    applied,
    comparison,
    control,
    through,
)
from conformance.checks.codes import Code
from conformance.checks.copies import copy_is_shared
from conformance.checks.exchange import Exchange, Source, brief, collect, show
from conformance.checks.libraries import REFERENCE, Environment, Pair, shows_one_library
from conformance.checks.offers import HELD, at_once, exports_of_imports, happens, unreleased, watched
from conformance.checks.outcomes import Inconclusive, Refused, Side, fail
from conformance.checks.patterns import pattern
from conformance.checks.steps import Doing
from conformance.protocols.clauses import Level, Role


def _changes(pair: Pair) -> tuple[str, ...]:
    """Return the changes of a pair: all in a pair with the reference, which shows each library by itself, else only the first.

    By the CUDA Array Interface the user keeps the owner alive, so deleting it is left out.
    """
    found = tuple(name for name in pair.source.changes if pair.protocol is Protocol.DLPACK or name != DELETE.name)
    return found if pair.with_reference else found[:1]


# -- changes of the producer's array


def _keeping(env: Environment) -> Iterator[Draft]:
    yield from every(env.pairs(), quick=shows_one_library, change=_changes)
    shown = (pair for pair in env.pairs(Protocol.DLPACK) if pair.with_reference)
    yield from every(shown, quick=lambda pair: False, change=_changes, export=_exports)


def _exports(pair: Pair) -> tuple[str, ...]:
    """Return the exports that the producer can make. The reference takes a bare capsule on host memory only."""
    lacking = set() if pair.producer.has(Trait.READONLY) else {"readonly"}
    if "misaligned" not in pair.source.layouts:
        lacking.add("part")
    if pair.consumer.name != REFERENCE or pair.device is not Device.HOST:
        lacking.add("legacy")
    return tuple(name for name in EXPORTS if name not in lacking)


@invariant(
    "source.export-kept",
    producer="DLP-49",
    consumer="DLP-26",
    context="DLP-28 CAI-27",
    bugs="I19",
    level=Level.MUST,
    isolation=Isolation.RISKY,
    cases=_keeping,
)
def test_export_kept(exchange: Exchange) -> None:
    """A producer must keep the memory of an export through every change of its array, or refuse the change.

    The array gets other memory, is resized, deleted or donated while its import is alive. The import is of the array or of a view, by either
    kind of capsule, the first or a later one, of few or of many elements. Other arrays of its size are made afterwards. If one has the same
    address, the memory was freed. A control shows that memory without an import is reused. Where the user frees an
    allocation explicitly, or by the CUDA Array Interface, the suite only records the result.
    """
    change = named(exchange.producer.changes, exchange.option("change"))
    export = EXPORTS.get(exchange.option("export", ""), USUAL)
    exchange.special(export.given(change.given))
    for times in range(1, MOST + 1):
        seen = through(exchange, change, exchange.consumer, export, times)
        exchange.notes["change"] = f"refused: {seen.refusal}" if seen.refusal else "made"
        if seen.lost:
            _report_lost(exchange, change, seen, export, times)
        del seen
        try:
            exchange.notes["control"] = control(exchange, change, export.count, times)
        except Inconclusive:
            if times == MOST:
                raise
        else:
            return


def _report_lost(exchange: Exchange, change: Change, seen: Seen, export: Export, times: int) -> NoReturn:
    """Fail for an import that lost its memory. The producer is at fault if the reference's import loses it too, else the consumer."""
    compared = comparison(exchange, change)
    if compared:
        exchange.notes["comparison"] = compared
    if export != USUAL and through(exchange, change, exchange.consumer, times=times).lost:
        export = USUAL  # the usual export shows the same defect, so the failure is reported for that one
        exchange.special(change.given)
    by_dlpack = exchange.protocol is Protocol.DLPACK
    reference, told = exchange.library(REFERENCE), export.given(change.given)
    expected = "the elements of the import"
    if exchange.consumer is not reference and not through(exchange, change, reference, export, times).lost:
        fail(
            Code.RELEASED_EARLY if by_dlpack else Code.OWNER_NOT_HELD, "DLP-26" if by_dlpack else "CAI-27", role=Role.CONSUMER,
            reason=f"the consumer does not hold the memory of its import, which is freed on {told}", expected=expected, seen=seen.lost,
            given="", accused=Side.CONSUMER,
        )  # fmt: skip
    fail(
        Code.MEMORY_TAKEN_AWAY, "DLP-49" if by_dlpack else "CAI-27", role=Role.PRODUCER,
        level=Level.OBSERVED if change.waived else None,
        reason=f"the memory of an import is reused on {told}", expected=f"{expected}, or a refusal", seen=seen.lost,
        accused=Side.PRODUCER,
    )  # fmt: skip


@invariant(
    "source.loan-kept",
    long=True,
    producer="DLP-49 DLP-27",
    context="DLP-28",
    bugs="I19",
    level=Level.MUST,
    isolation=Isolation.RISKY,
    cases=lambda env: every(exports_of_imports(env), change=_changes),
)
def test_loan_kept(exchange: Exchange) -> None:
    """A producer must release borrowed memory that it passed on once the last import is gone, and not on a change of its array.

    The array lies on memory of the suite, whose deleter records the release. A control shows that the producer releases the memory on the same change
    without an export.
    """
    change = named(exchange.producer.changes, exchange.option("change"))
    exchange.special(change.given)
    _expect_let_go(exchange, change)
    array = watched(exchange)
    offer = exchange.offer(array.array)
    taken = exchange.take(offer, promised="")
    del offer
    if exchange.consumer.describe(taken).address != array.address:
        raise Refused(f"{exchange.producer.name} copies an import that it passes on, so there is no borrowed memory")
    held, array.array = [array.array], None
    seen = applied(exchange, change, held)
    exchange.notes["change"] = f"refused: {seen.refusal}" if seen.refusal else "made"
    at_once(lambda: array.released > 0)
    if array.released:
        fail(
            Code.MEMORY_TAKEN_AWAY, "DLP-49", role=Role.PRODUCER, level=Level.OBSERVED if change.waived else None,
            reason=f"the producer releases borrowed memory on {change.given}, although an import of it is alive", expected="no call of the deleter",
            seen=f"{array.released} calls", accused=Side.PRODUCER,
        )  # fmt: skip
    held.clear()
    seen.held.clear()
    del taken
    if not happens(lambda: array.released > 0):
        unreleased(
            exchange, lambda: array.released == 1, "DLP-27", role=Role.PRODUCER,
            reason=f"the producer does not release borrowed memory after {change.given}", expected="released once", seen="never released",
            what=HELD[Role.PRODUCER],
        )  # fmt: skip


def _expect_let_go(exchange: Exchange, change: Change) -> None:
    """Prove that the change releases borrowed memory without an export, so that a pass with an export means something."""
    array = watched(exchange)
    held, array.array = [array.array], None
    seen = applied(exchange, change, held)
    if seen.refusal:
        raise Refused(f"{exchange.producer.name} refuses the change of borrowed memory: {seen.refusal}")

    def released() -> bool:
        return array.released > 0

    if at_once(released) or (exchange.producer.let_go() and at_once(released)) or happens(released):
        exchange.notes["control"] = "without an export the borrowed memory is released"
        return
    raise Inconclusive("borrowed memory is not released without an export either, so a pass proves nothing")


# -- reuse of the consumer's array

_WRITE = "write"
"""A write to the import, which most libraries have. The other values are donations of the library."""
_ASKED: dict[str, dict[str, Any]] = {"true": {"copy": True}, "none": {}, "false": {"copy": False}}


def _reusing(env: Environment) -> Iterator[Draft]:
    """Yield cases. A write is tried on copies only, because a write to a shared import is meant to reach the producer."""
    for pair in env.pairs(Protocol.DLPACK):
        if not pair.consumer.has(Trait.COPY_KEYWORD):
            continue
        yield from every([pair], quick=shows_one_library, reuse=pair.target.donations, copy=tuple(_ASKED))
        if pair.consumer.has(Trait.WRITES):
            yield from every([pair], quick=shows_one_library, reuse=(_WRITE,), copy=("true",))


@invariant(
    "source.copy-reused",
    producer="DLP-39",
    consumer="DLP-50 DLP-44",
    bugs="I23",
    level=Level.MUST,
    cases=_reusing,
)
def test_copy_reused(exchange: Exchange) -> None:
    """A consumer must not change the producer's memory when it writes to a copy or reuses the copy's memory.

    A plain import of the same array is alive meanwhile. Without ``copy=True`` the suite only records the result. A control shows that the same call
    overwrites an array of the consumer's own.
    """
    asked = exchange.option("copy")
    source = exchange.source()
    beside = exchange.take(source)
    copied = exchange.take(source, promised="", **_ASKED[asked])
    exchange.expect_handed(source)
    held = [copied]
    del copied
    call, kept = _reused(exchange, held)
    collect()
    seen = exchange.lying(source)
    if seen != source.values:
        _report_overwritten(exchange, source, call, seen)
    del beside, kept
    exchange.notes["control"] = _own_is_overwritten(exchange)


def _call(exchange: Exchange) -> tuple[str, Any]:
    """Return a description of the call, and a function that makes it."""
    name, consumer = exchange.option("reuse"), exchange.consumer
    if name == _WRITE:
        size = exchange.layout.view.size
        return "a write", lambda held: consumer.write(held[0], pattern(exchange.dtype, size, 3))
    change = named(consumer.donations, name)
    return change.given, lambda held: change.apply(consumer, held, exchange.device)


def _reused(exchange: Exchange, held: list[Any]) -> tuple[str, Any]:
    """Make the call on the import. Return its description and its result. A refusal ends the case."""
    call, reuse = _call(exchange)
    try:
        with exchange.step(Doing.USE, Role.CONSUMER):
            return call, reuse(held)
    except Exception as error:
        exchange.check_context(error)
        raise Refused(f"{exchange.consumer.name} refuses {call}: {brief(error)}") from error


def _report_overwritten(exchange: Exchange, source: Source, call: str, seen: bytes) -> NoReturn:
    told = partial(show, kind=source.dtype)
    if exchange.option("copy") == "true" and any(
        answer.keywords.get("copy")
        and answer.handed is not None
        and not exchange.is_elsewhere(source, answer.handed.address)
        for answer in exchange.answers
    ):
        copy_is_shared(exchange, source, expected=told(source.values), seen=told(seen))
    fail(
        Code.PRODUCER_OVERWRITTEN, "DLP-50", role=Role.CONSUMER, level=None if exchange.option("copy") == "true" else Level.OBSERVED,
        reason=f"the consumer overwrites the producer's memory by {call}" + _GIVEN[exchange.option("copy")], expected=told(source.values),
        seen=told(seen), given=call, accused=Side.CONSUMER,
    )  # fmt: skip


_GIVEN = {"true": " of an import with `copy=True`", "none": " of an import", "false": " of an import with `copy=False`"}


def _own_is_overwritten(exchange: Exchange) -> str:
    """Prove that the call overwrites the consumer's own arrays. Raise :class:`Inconclusive` if it does not."""
    own = exchange.make(exchange.consumer)
    memory = Memory(own.start, own.block)
    held, own.array = [own.array], None
    call, kept = _reused(exchange, held)
    if exchange.peek(memory.address, len(memory.values)) == memory.values:
        raise Inconclusive(f"{call} does not change arrays of the consumer's own either, so a pass proves nothing")
    del kept
    return f"{call} overwrites an array of the consumer's own"
