"""Family ``lifetime``, memory leaks: thousands of exchanges on each path of an exchange."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from conformance.adapters.base import Adapter, Protocol, Unsupported
from conformance.adapters.special import named, use_state
from conformance.checks import heap
from conformance.checks.catalogue import Draft, Tier, every, invariant
from conformance.checks.codes import Code
from conformance.checks.exchange import Exchange, Source, brief
from conformance.checks.garbage import of_now
from conformance.checks.input_words import combined
from conformance.checks.leaks import LEAST, QUICK, THOROUGH, Growth, Look, growth
from conformance.checks.libraries import REFERENCE, Environment, Pair
from conformance.checks.offers import HELD, exports_of_imports, happens, unreleased, watched
from conformance.checks.outcomes import ACCUSED, Inconclusive, Refused, fail
from conformance.checks.patterns import pattern
from conformance.checks.points import Point, reach
from conformance.checks.steps import Doing
from conformance.protocols.clauses import Level, Role
from conformance.reference.exporter import Exporter, Log
from conformance.reference.managed import Deleter, Managed

MANY = 5_120
BATCH = 512
"""Exchanges in one batch, whose structs are checked together."""
_NOWHERE = (99, 0)
"""A device that DLPack does not know."""
_RELEASING = {Role.PRODUCER: "DLP-27", Role.CONSUMER: "DLP-26"}


# -- leaks


_POINTS = {
    "own": Point(), "view": Point(path="view"), "reexport": Point(path="reexport"), "copy": Point(path="copy"),
    "empty": Point(size="empty"), "strided": Point(layout="transposed"), "readonly": Point(access="readonly"),
}  # fmt: skip
_STATE = "state-"
"""The prefix of the paths of arrays in a special state: lazy, with a gradient, of a subclass."""
_REFUSED_EXPORT, _REFUSED_IMPORT, _OTHER_TYPE = "refused-export", "refused-import", "other-type"


def _by(pair: Pair) -> tuple[str, ...]:
    """Return an axis: the paths that an exchange can take. Only the reference makes arrays that a consumer must refuse."""
    have = {level for _, levels in reach(pair).space.factors for level in levels}
    found = [name for name, point in _POINTS.items() if {level for _, level in point.changed} <= have]
    if pair.protocol is Protocol.DLPACK and pair.consumer.name == REFERENCE:
        found.append(_REFUSED_EXPORT)
    if pair.producer.name == REFERENCE:
        found.append(_REFUSED_IMPORT)
    if _other_type(pair.source.dtypes):
        found.append(_OTHER_TYPE)
    if pair.consumer.name == REFERENCE:
        found += (f"{_STATE}{name}" for name in pair.source.counted_states)
    return tuple(found)


def _other_type(names: tuple[str, ...]) -> str:
    """Return an element type other than the usual one, or ``""`` if there is none."""
    return next((name for name in names if name not in ("float32", "bool")), "")


def _leaking(env: Environment) -> Iterator[Draft]:
    return every((pair for pair in env.pairs() if pair.with_reference), by=_by)


@invariant(
    "lifetime.nothing-left",
    long=True,
    producer="DLP-27",
    consumer="DLP-26",
    context="CAI-27",
    bugs="I20 I21",
    level=Level.SHOULD,
    cases=_leaking,
)
def test_nothing_left(exchange: Exchange) -> None:
    """Repeated exchanges should not leak memory of the C heap or of Python, whether they are accepted, copied or refused.

    A leak grows by 16 bytes or by one block for each exchange, in every round. A cache that fills up stops growing; it may have room for
    5,000 exchanges. If the bytes of the C heap cannot be counted here, only Python's blocks count, and a case without a leak is
    inconclusive.
    """
    once = _exchange_of(exchange, exchange.option("by"))
    look = QUICK if exchange.is_repeated else THOROUGH
    with of_now():
        if exchange.option("by") == "reexport" and exchange.producer.name != REFERENCE:
            _expect_imports_without_growth(exchange, look)
        grown = growth(exchange, once, look)
        if grown is not None:
            _leaks(exchange, grown, exchange.suspect())
    if heap.counter() is None:
        raise Inconclusive("not run: the suite cannot count the bytes in use of the C heap here")


def _expect_imports_without_growth(exchange: Exchange, look: Look) -> None:
    """Fail if the imports alone, which the library exports again, already leak memory."""
    given = exchange.given
    exchange.special("")
    grown = growth(exchange, partial(_lend, exchange, exchange.producer), look)
    if grown is not None:
        _leaks(exchange, grown, Role.CONSUMER, exchange.producer.name)
    exchange.special(given)


def _leaks(exchange: Exchange, grown: Growth, role: Role, library: str = "") -> None:
    """Fail because the side that is not the reference leaks memory, or ``library`` as a consumer."""
    if exchange.option("by").startswith(_STATE):
        _expect_made_without_growth(exchange)
    fail(
        Code.MEMORY_LEAKED,
        _RELEASING[role] if exchange.protocol is Protocol.DLPACK else "CAI-27",
        role=role, level=Level.SHOULD, reason="every exchange leaks memory",
        expected=f"less than {LEAST} bytes of the C heap, and no block of Python's memory, for each of {grown.exchanges} exchanges",
        seen=grown.told, accused=ACCUSED[role] if library else None, library=library,
    )  # fmt: skip


def _exchange_of(exchange: Exchange, by: str) -> Callable[[], object]:
    """Return a function that makes one exchange by this path with new arrays, and drops them all."""
    if by.startswith(_STATE):
        exchange.special("an array in a special state")
        once = partial(_in_state, exchange, by.removeprefix(_STATE), partial(_exported_or_refused, exchange))
        once()
        return once
    if by == _REFUSED_EXPORT:
        exchange.special("an export that is refused")
        source = exchange.source()
        return partial(_refused_export, exchange, source)
    if by == _REFUSED_IMPORT:
        exchange.special("an import that is refused")
        source = exchange.crafted(override={"lanes": 4}, cai_override={"typestr": "<f3"})
        return partial(_refused_import, exchange, source)
    keywords = {"copy": True} if by == "copy" else {}
    if exchange.is_repeated:
        return _same(exchange, keywords)
    point = _POINTS.get(by) or Point(dtype=_other_type(exchange.producer.candidate_dtypes))
    exchange.special(combined(point.changed))
    if by == "reexport":
        return _exported_again(exchange)
    return _own(exchange, point, keywords)


def _in_state(exchange: Exchange, name: str, use: Callable[[Any], None]) -> None:
    """Make an array in this state, use it, and drop it. A library version without such arrays ends the case as refused."""
    try:
        use_state(
            exchange.producer, named(exchange.producer.states, name), exchange.device, lambda array, _: use(array)
        )
    except Unsupported as missing:
        raise Refused(str(missing)) from missing


def _exported_or_refused(exchange: Exchange, array: Any) -> None:
    """Hand the array over, unless its library refuses. The family ``state`` checks which of the two is correct."""
    try:
        with exchange.step(Doing.EXPORT, Role.PRODUCER):
            offer = exchange.producer.offer(array, exchange.protocol)
            exchange.consumer.take(offer, exchange.protocol, exchange.device)
    except Exception as error:
        exchange.check_context(error)


def _expect_made_without_growth(exchange: Exchange) -> None:
    """Run a control: making such arrays without an exchange does not leak. Otherwise the exchange is not the cause."""
    name = exchange.option("by").removeprefix(_STATE)
    if growth(exchange, partial(_in_state, exchange, name, lambda array: None), THOROUGH) is not None:
        raise Inconclusive(
            f"arrays of {exchange.producer.name} in the state {name} leak memory even without an exchange"
        )


def _own(exchange: Exchange, point: Point, keywords: dict[str, Any]) -> Callable[[], object]:
    """Check the first exchange, so that a refusal ends the case, and return a function that makes one without a check."""
    kind, form, readonly = point.kind, point.array(), point.access == "readonly"
    block = pattern(kind, form.elements)

    def made() -> Source:
        return exchange.make(exchange.producer, kind=kind, form=form, block=block, readonly=readonly)

    exchange.read(exchange.take(made(), promised="", **keywords))
    return lambda: _handed(exchange, made().array, **keywords)


def _same(exchange: Exchange, keywords: dict[str, Any]) -> Callable[[], object]:
    """Return a function that exchanges the same array each time."""
    source = exchange.source()
    exchange.read(exchange.take(source, promised="", **keywords))

    def once() -> None:
        _handed(exchange, source.array, **keywords)
        _forget(source)

    return once


def _handed(exchange: Exchange, array: Any, **keywords: Any) -> None:
    """Make one hand-over without a check, because checks take longer than the hand-over."""
    try:
        with exchange.step(Doing.IMPORT, Role.CONSUMER):
            offer = exchange.producer.offer(array, exchange.protocol)
            exchange.consumer.take(offer, exchange.protocol, exchange.device, **keywords)
    except Exception as error:
        exchange.check_context(error)
        raise Refused(f"the consumer refuses an array that it accepted many times: {brief(error)}") from error


def _lend(exchange: Exchange, library: Adapter) -> Any:
    """Return the library's import of a new array of the reference."""
    reference = exchange.library(REFERENCE)
    lent = exchange.make(reference)
    try:
        with exchange.step(Doing.IMPORT, Role.CONSUMER, library.name, is_lent=True):
            return library.take(reference.offer(lent.array, exchange.protocol), exchange.protocol, exchange.device)
    except Exception as error:
        exchange.check_context(error)
        raise Refused(f"{library.name} refuses the import that it should export again: {brief(error)}") from error


def _exported_again(exchange: Exchange) -> Callable[[], object]:
    exchange.read(exchange.take(exchange.offer(_lend(exchange, exchange.producer)), promised=""))
    return lambda: _handed(exchange, _lend(exchange, exchange.producer))


def _refused_export(exchange: Exchange, source: Source) -> None:
    exporter = exchange.producer.exporter(source.array, Protocol.DLPACK)
    try:
        with exchange.step(Doing.EXPORT, Role.PRODUCER):
            exporter.__dlpack__(dl_device=_NOWHERE)
    except Exception as error:
        exchange.check_context(error)
    _forget(source)


def _refused_import(exchange: Exchange, source: Source) -> None:
    try:
        with exchange.step(Doing.IMPORT, Role.CONSUMER):
            offer = exchange.producer.offer(source.array, exchange.protocol)
            exchange.consumer.take(offer, exchange.protocol, exchange.device)
    except Exception as error:
        exchange.check_context(error)
    _forget(source)


def _forget(source: Source) -> None:
    """Clear the reference's log of calls, which would look like a leak, but keep the exports that are still alive, or the last one."""
    if isinstance(source.array, Exporter):
        exports = source.array.log.exports
        source.array.log = Log(exports=[one for one in exports if one.owner is not None] or exports[-1:])


# -- releases after thousands of exchanges


@invariant(
    "lifetime.import-after-thousands",
    consumer="DLP-26",
    bugs="I20",
    level=Level.MUST,
    cases=lambda env: _full(env.imports(Protocol.DLPACK)),
)
def test_import_after_thousands(exchange: Exchange) -> None:
    """A consumer must release each of more than 5,000 imports exactly once."""
    source = exchange.crafted(override={"deleter": Deleter.NATIVE})

    exchange.take(source, promised="")

    def imported() -> Managed:
        _handed(exchange, source.array)
        managed: Managed = source.array.log.exports[-1]
        _forget(source)
        return managed

    _expect_each_released(exchange, imported, lambda managed: managed.deleter_calls, Role.CONSUMER)


@invariant(
    "lifetime.export-after-thousands",
    producer="DLP-27",
    bugs="I21",
    level=Level.MUST,
    cases=lambda env: _full(exports_of_imports(env)),
)
def test_export_after_thousands(exchange: Exchange) -> None:
    """A producer must release each of more than 5,000 exported arrays exactly once. The arrays are on memory of the reference."""
    watched(exchange)
    producer, reference = exchange.producer, exchange.library(REFERENCE)
    lent = exchange.make(reference)
    lent.array.override = {"deleter": Deleter.NATIVE}

    def exported() -> Managed:
        with exchange.step(Doing.IMPORT, Role.CONSUMER, producer.name, is_lent=True):
            array = producer.take(reference.offer(lent.array, Protocol.DLPACK), Protocol.DLPACK, exchange.device)
        _handed(exchange, array)
        managed: Managed = lent.array.log.exports[-1]
        _forget(lent)
        return managed

    _expect_each_released(exchange, exported, lambda managed: managed.deleter_calls, Role.PRODUCER)


def _full(pairs: Iterator[Pair]) -> Iterator[Draft]:
    for pair in pairs:
        yield Draft(pair.producer.name, pair.consumer.name, pair.protocol.value, pair.device, (), Tier.FULL)


def _expect_each_released(
    exchange: Exchange, once: Callable[[], Managed], calls: Callable[[Managed], int], role: Role
) -> None:
    """Make the exchanges in batches, and fail unless each release of a batch happens exactly once before the next batch."""
    cited = _RELEASING[role]
    for start in range(0, MANY, BATCH):
        batch = [once() for _ in range(BATCH)]

        def is_released(batch: list[Managed] = batch) -> bool:
            return all(calls(managed) for managed in batch)

        if not happens(is_released):
            first = next(number for number, managed in enumerate(batch, start + 1) if not calls(managed))
            unreleased(
                exchange, is_released, cited, role=role, reason=f"the {role.value} does not release {HELD[role]}, number {first} of many",
                expected="one call of the deleter", seen="no call",
                what=HELD[role] if first <= THOROUGH.warm_up else f"{HELD[role]} after thousands of others",
            )  # fmt: skip
        twice = next((managed for managed in batch if calls(managed) > 1), None)
        if twice is not None:
            fail(
                Code.RELEASED_TWICE, cited, role=role, reason="the memory is released more than once", expected="one call of the deleter",
                seen=f"{calls(twice)} calls", given=HELD[role],
            )  # fmt: skip
