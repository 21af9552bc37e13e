"""Family ``combination``: arrays that are special in two respects at once. A case is a point, and shows all that its exchange can show."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, NoReturn
from weakref import WeakKeyDictionary

from conformance.adapters.base import Adapter, Device, Protocol, Trait, Unsupported, View
from conformance.adapters.reference import ReferenceAdapter
from conformance.protocols.clauses import Level, Role
from conformance.protocols.dlpack import DLFlags, Tensor
from conformance.protocols.strided import Index, apply, offsets
from conformance.reference.exporter import NEWEST, Exporter
from conformance.reference.guards import GUARDS, spills
from conformance.reference.importer import Imported
from conformance.reference.managed import Managed, settle, stray_deleter_calls
from conformance.reference.memory import ALIGNMENT, HostBlock

from .catalogue import Draft, Tier, catalogue, invariant
from .codes import Code
from .concurrency import elsewhere
from .copies import copy_is_shared, expect_no_copy
from .exchange import GONE, Exchange, Source, brief, show
from .forked import in_fork
from .late import Way, is_late, watch
from .layouts import Layout
from .libraries import REFERENCE, Environment, Pair
from .named import expect_name, expect_typestr
from .offers import HELD, at_once, expect_plain_releases, expect_streams, happens, reused, still_held, unreleased
from .outcomes import Failure, Inconclusive, Refused, Side, fail
from .patterns import pattern, raw
from .places import expect_home
from .points import VERSIONS, Point, far_rows, left_out, points, reach
from .programs.after_fork import in_child
from .repeated import CHECKS, EXCHANGE, EXCHANGES, REPEATED, Repeated
from .specials import combined
from .steps import Doing

_PRESSURE = 2
"""Arrays of the producer's that take up memory which should not be free."""
_MANY = 99
_REEXPORTS = ("reexport", "far-reexport")
_NOT_PLAIN = "columns"
"""A layout that is not promised to be taken."""
_SIMPLER = {
    "layout": {"reversed": "stepped", "broadcast": "stepped"},
    "form": {"dictionary-2-strides-told": "strides-told"},
}
"""Levels that are special in one respect more than another one, of which a failure is told if that shows it as well."""
_SAID = {
    Code.READONLY_LOST: "access",
    Code.COPY_MADE: "path",
    Code.COPY_SHARED: "path",
    Code.COPIED_FLAG_MISSING: "path",
}
"""Failures that say of each array what its level of a factor says: the factor."""
_OF_KEYS = (Code.DICTIONARY_MALFORMED,)
"""Failures of which a key is given, and nothing that is special about an array."""
_NOWHERE = (99, 0)
"""A device that DLPack does not know."""


_WITHOUT_IMPORT = (*EXCHANGES, *(one for one in CHECKS if one.of == "producer"))
"""The checks that say something where the consumer has refused the array of the point."""
_NAMED = frozenset(level for one in REPEATED for level in one.levels)
"""The levels that checks change at a point."""


def _drafts(env: Environment) -> Iterator[Draft]:
    return (draft for pair in env.pairs() for draft in _of_pair(pair))


def _of_pair(pair: Pair) -> Iterator[Draft]:
    """The quick tier has the points that differ from a plain exchange in one level, with the reference on one side."""
    names = (pair.producer.name, pair.consumer.name, pair.protocol.value, pair.device)
    found = reach(pair)
    missing = tuple(sorted(_NAMED - found.levels)) if pair.with_reference else ()
    for point, is_single in points(found):
        yield Draft(*names, point.changed, Tier.QUICK if is_single and pair.with_reference else Tier.FULL, missing)


@invariant(
    "combination.exchange",
    producer="DLP-59 DLP-02 DLP-07 DLP-08 DLP-10 DLP-13 DLP-15 DLP-19 DLP-20 DLP-27 DLP-28 DLP-30 DLP-39 DLP-43 DLP-46 "
    "CAI-05 CAI-02 CAI-03 CAI-06 CAI-08 CAI-11 CAI-12",
    consumer="DLP-58 DLP-09 DLP-26 DLP-31 DLP-36 DLP-42 DLP-43 DLP-44 DLP-46 DLP-63 CAI-32 CAI-07 CAI-29",
    context="G2 CAI-27",
    level=Level.MUST,
    cases=_drafts,
    left_out=lambda env: left_out(env.pairs()),
    repeats=dict.fromkeys(one.invariant for one in REPEATED if one.invariant != EXCHANGE),
)
def test_exchange(exchange: Exchange) -> None:
    """An array that is special in two respects at once arrives as it is, or is refused, and is released once.

    The factors are element type, layout, rank, size, offset, writability, content, the form of capsule or dictionary, and the path by
    which the array comes to its exchange. The points cover every pair of levels that the two libraries can have. Each exchange shows
    all that it can: the call, the capsule, address, shape, strides, element type, values, flags, memory around the view, the base of a
    view, and release. A consumer may copy what is misaligned or not row-major. The family ``lifetime`` tells how late a release is. After a
    failure each level is put back to its default where the same failure still shows; the rest is what is special.
    """
    point = Point.of(exchange.case.parameters)
    inside = point.without("place")
    told: Told = set()
    _judge(exchange, inside, told)
    if point.place == "in-thread":
        elsewhere(lambda: _judge(exchange, inside, told, point.place))
    elif "fork" in point.place:
        in_thread = point.place == "in-thread-of-fork"
        in_fork(
            exchange, combined(point.changed), lambda own: _judge(own, inside, told, point.place), in_thread=in_thread
        )


Told = set[tuple[Repeated, Code]]
"""Checks that fail at this point as they do at a simpler one, where they are told."""


def _judge(exchange: Exchange, point: Point, told: Told, place: str = "") -> None:
    """Judge the exchange of a point, and each check that is repeated there: here, and then at another place, where ``told`` is known.

    A refusal of the exchange ends the case after the checks; so does a deviation that a simpler point shows as well. After a violation the
    other checks could show the same once more.
    """
    ended: Failure | Refused | None = None
    exchange.special(_special(point, place))
    try:
        _exchange(exchange, point)
    except Refused as refusal:
        ended = refusal
    except Failure as failure:
        ended, at = _reduced(exchange, point, place, _PLAIN, failure)
        if at == point or ended.level is not Level.SHOULD:
            raise ended from failure
    except _NotMade as missing:
        raise Inconclusive(f"not run: {missing}") from missing
    is_refused, has_answers = isinstance(ended, Refused), bool(exchange.answers)
    if is_refused and point.path in _REEXPORTS and not has_answers:
        point, has_answers = point.without("path"), True  # there is no such import: an array of its own is judged
    if REFERENCE in exchange.case.libraries and exchange.case.parameters:
        _repeat(exchange, point, told, place, _checks(exchange, is_refused=is_refused, has_answers=has_answers))
    if ended is not None:
        raise ended


def _checks(exchange: Exchange, *, is_refused: bool, has_answers: bool) -> tuple[Repeated, ...]:
    """The checks that say something. Where the producer has exported and the array is refused, its answers are judged still."""
    if not is_refused:
        return REPEATED
    return _WITHOUT_IMPORT if exchange.case.consumer == REFERENCE and has_answers else EXCHANGES


# -- what is special about a failure


def _special(point: Point, place: str) -> str:
    return combined((*point.changed, *([("place", place)] if place else [])))


def _reduced(exchange: Exchange, point: Point, place: str, one: Repeated, failure: Failure) -> tuple[Failure, Point]:
    """The failure of a check with what is special about it: the levels without which it does not show; and the point with these levels.

    What the check itself says to be special stands behind them.
    """
    at = _at(exchange, point, one)
    if (
        failure.level is Level.OBSERVED or failure.code is Code.DEFECT_EXCEPTION
    ):  # its class is one cause, whatever it comes of
        return failure, at
    if one.invariant == EXCHANGE:
        one = _PLAIN
    fixed = dict(one.levels)
    for name in [name for name, _ in at.changed if name not in fixed]:
        if _fails_alike(exchange, at.without(name), one, failure):
            at = at.without(name)
    for name, simpler in _SIMPLER.items():
        level = simpler.get(getattr(at, name))
        if level is not None and name not in fixed:
            instead = replace(at, **{name: level})
            at = instead if _fails_alike(exchange, instead, one, failure) else at
    if failure.code in _OF_KEYS:
        return failure, at
    said = _SAID.get(failure.code)
    special, given = _special(at if said is None else at.without(said), place), failure.given or ""
    if special and given and given not in HELD.values():
        special = given if given in special else special if special in given else f"{special}, {given}"
    told = Failure(
        failure.code, failure.clause, failure.role, failure.level, failure.reason, failure.expected, failure.seen,
        given=special or given, accused=failure.accused, library=failure.library,
    )  # fmt: skip
    return told, at


def _fails_alike(exchange: Exchange, at: Point, one: Repeated, failure: Failure) -> bool:
    other = _tried(exchange, at, one)
    return other is not None and (other.code, other.role) == (failure.code, failure.role)


# -- one exchange


def _exchange(exchange: Exchange, point: Point, *, patient: bool = False) -> None:
    """In this thread and this process.

    A release on another thread may have begun before the import was gone. So the exchange is then made again with ``patient``: the import lives
    until such a release would have come.
    """
    if point.path == "after-refusal":
        _refuse(exchange)
    source, lent, other = _source(exchange, point)
    if point.path == "after-refusal" and exchange.case.consumer == REFERENCE:
        exporter = exchange.producer.exporter(source.array, Protocol.DLPACK)
        _refused(exchange, Role.PRODUCER, lambda: exporter.__dlpack__(dl_device=_NOWHERE))
        del exporter
    strays = len(stray_deleter_calls)
    first: list[Any] = [_take(exchange, point, source)] if point.count in ("second", "again") else []
    if other is not None:
        first = _take_beside(exchange, point, source, other)
    del other
    if point.count == "again":
        first.clear()
    if point.count == "hundredth":
        _take(exchange, point, source)
        _hand_over(exchange, point, source, _MANY - 1)
    holder = [_take(exchange, point, source)]
    view = exchange.look(holder[0])
    _judge_description(exchange, point, source, holder[0], view)
    _judge_content(exchange, point, source, holder[0], view)
    first.clear()
    if exchange.case.consumer == REFERENCE and exchange.protocol is Protocol.DLPACK:
        _export_in_vain(exchange, source)
    is_shared = bool(source.view.size) and not exchange.is_elsewhere(source, view.address)
    exports = _judge_lifetime(
        exchange, point, source, lent, holder, is_shared=is_shared, strays=strays, patient=patient
    )
    here = threading.get_ident()
    if is_shared and not patient and any(caller != here for managed in exports for caller in managed.callers):
        _exchange(exchange, point, patient=True)
        return
    _judge_flags(exchange, point, source, view)


# -- checks that are repeated at each point

_PLAIN = Repeated(EXCHANGE, of="any", protocols=tuple(Protocol), at_large=True)
"""The exchange of a point itself."""


class _NotMade(Exception):
    """The producer has no array with these levels."""


def _repeat(exchange: Exchange, point: Point, told: Told, place: str, checks: Iterable[Repeated]) -> None:
    """Make each check that says something about this exchange, on arrays of this point with the levels of the check.

    A failure that a plain array shows as well is told where the array is plain, and one that a single level shows is told at the point with
    that level. Refusals are another invariant's matter.
    """
    for one in checks:
        if one.releases and not place and (known := _plain(exchange, one)) is not None:
            told.add((one, known))  # to find it out once more takes long
            continue
        failure = _tried(exchange, point, one)
        if failure is None or (one, failure.code) in told:
            continue
        if not place and _is_of_plain(exchange, one, failure):
            told.add((one, failure.code))
            continue
        found, at = _reduced(exchange, point, place, one, failure)
        by_exchange = _shown_by_exchange(exchange, at, one, failure)
        if by_exchange is not None:
            found, at = _reduced(exchange, at.without("content"), place, _PLAIN, by_exchange)
        if (by_exchange is not None or one.invariant == EXCHANGE) and not place and len(at.changed) < 2:
            told.add((one, failure.code))
            continue
        with _never(exchange):
            raise found


def _shown_by_exchange(exchange: Exchange, at: Point, one: Repeated, failure: Failure) -> Failure | None:
    """The failure of the mere exchange of an array that fails a check of another family, if it is no less serious: one cause is told once."""
    if one.invariant == EXCHANGE:
        return None
    other = _tried(exchange, at.without("content"), _PLAIN)
    is_alike = other is not None and other.role is failure.role and other.level.at_most(failure.level) is failure.level
    return other if is_alike else None


def _is_late_with_plain(exchange: Exchange) -> bool:
    return bool(_late(exchange, "own") or _late(exchange, "reexport"))


def _at(exchange: Exchange, point: Point, one: Repeated) -> Point:
    """The point at which a check is made: with the levels of the check."""
    return point.nearest(one.levels, is_of_reference=exchange.case.producer == REFERENCE)


_by_plain: WeakKeyDictionary[Adapter, dict[tuple[str, str, str, Repeated], Code | None]] = WeakKeyDictionary()
"""By producer; then by consumer, protocol, device and check: how a plain array fails, if it does. The same in every case of a process."""


def _is_of_plain(exchange: Exchange, one: Repeated, failure: Failure) -> bool:
    """Whether a plain array fails this check alike."""
    return _plain(exchange, one) is failure.code


def _plain(exchange: Exchange, one: Repeated) -> Code | None:
    """How a plain array fails this check, if it does: tried once in a process."""
    of_producer = _by_plain.setdefault(exchange.producer, {})
    key = (exchange.case.consumer, exchange.case.protocol, exchange.case.device.value, one)
    if key not in of_producer:
        plain = _tried(exchange, Point(), one, observed=True)
        of_producer[key] = plain.code if plain is not None else None
    return of_producer[key]


def _tried(exchange: Exchange, point: Point, one: Repeated, *, observed: bool = False) -> Failure | None:
    """How this check fails at a point, if it does; ``None`` where it says nothing about the exchange, or there is no such array.

    A failure that breaks no promise counts only with ``observed``.
    """
    at = _at(exchange, point, one)
    if one.invariant != EXCHANGE:
        at = at.without("content")
    if one is not _PLAIN and at.count == "hundredth":
        at = at.without("count")  # the process has made a hundred exchanges by now
    if set(one.levels) & set(exchange.case.missing):
        return None
    if not one.applies(at, exchange.producer, exchange.consumer, exchange.protocol, exchange.device):
        return None
    if one.is_risky and _may_end_the_process(exchange, one):  # by a fork, so only where the check applies
        return None
    if one.releases and _is_late_with_plain(exchange):
        return None
    own = _own(exchange, at, one)
    given = own.given
    try:
        _exchange(own, at) if one.invariant == EXCHANGE else catalogue()[one.invariant].check(own)
    except Failure as failure:
        if not observed and (failure.level is Level.OBSERVED or own.is_illegal):
            return None
        if failure.given is None and own.given != given:
            failure.given = own.given
        return failure
    except (Refused, Inconclusive, Unsupported, _NotMade):
        return None
    except Exception as error:
        exchange.check_context(error)
        raise
    return None


_survived: WeakKeyDictionary[Adapter, dict[tuple[str, str, str, Repeated], bool]] = WeakKeyDictionary()
"""By producer; then by consumer, protocol, device and check: whether a plain array has ended no process."""


def _may_end_the_process(exchange: Exchange, one: Repeated) -> bool:
    """Whether a check could end this process at every point. A fork tries it with a plain array, once; where there can be no fork, it may."""
    sides = (exchange.producer, exchange.consumer)
    if exchange.device is Device.CUDA or any(Trait.THREADED in side.traits for side in sides):
        return True
    of_producer = _survived.setdefault(exchange.producer, {})
    key = (exchange.case.consumer, exchange.case.protocol, exchange.case.device.value, one)
    if key not in of_producer:
        of_producer[key] = in_child(lambda: _survives(exchange.apart(), replace(one, is_risky=False))) == _ENDED
    return not of_producer[key]


_ENDED = "ended"


def _survives(exchange: Exchange, one: Repeated) -> str:
    """Make the check with a plain array, in a fork: whatever comes of it, the process has survived."""
    exchange.alone()
    try:
        _tried(exchange, Point(), one)
    except Exception:
        return _ENDED
    return _ENDED


def _own(exchange: Exchange, at: Point, one: Repeated) -> Exchange:
    """The exchange as this check's."""
    if one.invariant == EXCHANGE:
        own = exchange.apart()
        own.special(combined(at.changed))
        return own
    parameters = (("dtype", at.dtype), ("layout", "c-order" if at.is_plain else _NOT_PLAIN), *one.options)
    kept: list[Any] = []

    def made(_: int) -> Source:
        source = _source(own, at)[0]
        if one.of == "producer" and not one.releases:
            kept.extend(_exported_before(own, at, source))
        return source

    case = replace(exchange.case, invariant=one.invariant, parameters=parameters)
    own = exchange.at(case, made, readonly=at.access == "readonly")
    return own


def _source(exchange: Exchange, point: Point) -> tuple[Source, Managed | None, Source | None]:
    """The producer's array; if it is an import, our struct that tells when the producer has let go of it; and the view beside it."""
    lent: Managed | None = None
    other: Source | None = None
    if point.path in _REEXPORTS:
        source, lent = _imported(exchange, point)
    elif point.size == "huge":
        source = _far_apart(exchange, point)
    elif point.count == "beside":
        source, other = _made_beside(exchange, point)
    else:
        source = _made(exchange, exchange.producer, point)
    if isinstance(source.array, Exporter):
        source.array.newest = VERSIONS.get(point.form, NEWEST)
        source.array.cai_override = _dictionary(point, source)
    if point.path == "view":
        _press(exchange, point)
    return source, lent, other


def _made(exchange: Exchange, library: Adapter, point: Point) -> Source:
    """The array of a point in the hands of a library."""
    form = point.array()
    block, readonly = _content(point, form.elements), point.access == "readonly"
    try:
        return exchange.make(library, kind=point.kind, form=form, block=block, readonly=readonly)
    except Exception as error:
        exchange.check_context(error)
        raise _NotMade(f"{library.name} makes no such array: {brief(error)}") from error


def _made_beside(exchange: Exchange, point: Point) -> tuple[Source, Source]:
    """The array of a point, and another view with the same element 0 and shape: both are views of one array."""
    form, first, second = point.beside()
    library, block = exchange.producer, _content(point, form.elements)
    outer = Layout(form.name, form.base, form.steps[:-1])
    try:
        whole = exchange.make(library, kind=point.kind, form=outer, block=block, readonly=point.access == "readonly")
        other = Source(library.view(whole.array, second), point.kind, apply(outer.view, second), whole.address, block)
        found = Source(library.view(whole.array, first), point.kind, form.view, whole.address, block)
    except Exception as error:
        exchange.check_context(error)
        raise _NotMade(f"{library.name} makes no such array: {brief(error)}") from error
    return exchange.made(found), other


def _content(point: Point, count: int) -> bytes:
    if point.content == "zeros":
        return bytes(count * point.kind.itemsize)
    return raw(point.kind, count) if point.content == "raw" else pattern(point.kind, count)


def _dictionary(point: Point, source: Source) -> dict[str, Any]:
    """What is replaced in the reference's dictionary."""
    version = {"version": 2} if point.form.startswith("dictionary-2") else {}
    return {**version, "strides": source.strides} if point.form.endswith("strides-told") else version


def _far_apart(exchange: Exchange, point: Point) -> Source:
    """An array of the reference's whose rows lie so far apart that no 32 bits can count the bytes."""
    reference, view = exchange.library(REFERENCE), far_rows(point.kind, point.ndim)
    assert isinstance(reference, ReferenceAdapter)
    try:
        array = reference.reserved(point.kind, view, exchange.device)
    except (OSError, MemoryError) as error:
        raise Inconclusive(
            f"no room for an array with rows {view.strides[0]} elements apart: {brief(error)}"
        ) from error
    size, data = point.kind.itemsize, _content(point, view.size)
    for number, offset in enumerate(offsets(view)):
        exchange.poke(array.element0() + offset * size, data[number * size : (number + 1) * size])
    array.readonly = point.access == "readonly"
    return exchange.made(Source(array, point.kind, view, array.element0(), b"", data))


def _imported(exchange: Exchange, point: Point) -> tuple[Source, Managed | None]:
    """The producer's import of an array of the reference, on whose memory it is; a refusal ends the case."""
    producer, reference = exchange.producer, exchange.library(REFERENCE)
    lent = _far_apart(exchange, point) if point.is_far else _made(exchange, reference, point)
    try:
        with exchange.step(Doing.IMPORT, Role.CONSUMER, producer.name, is_lent=True):
            array = producer.take(reference.offer(lent.array, exchange.protocol), exchange.protocol, exchange.device)
            found = producer.describe(array)
    except Exception as error:
        exchange.check_context(error)
        raise Refused(f"{producer.name} does not import what it is to export again: {brief(error)}") from error
    if lent.view.size and found.address != lent.address:
        raise Refused(f"{producer.name} copies what it imports, so what it exports is an array of its own")
    if point.access == "readonly" and not found.readonly:
        raise Refused(f"{producer.name} makes no read-only array of what is to be exported again (see readonly.import)")
    exports = lent.array.log.exports
    if isinstance(producer, ReferenceAdapter):
        array = producer.exporter(array, exchange.protocol)
    return exchange.made(replace(lent, array=array)), exports[-1] if exports else None


def _keywords(exchange: Exchange, point: Point) -> dict[str, Any]:
    """The keywords of the import."""
    keywords: dict[str, Any] = {"copy": {"copy": True}, "shared": {"copy": False}}.get(point.path, {})
    if isinstance(exchange.consumer, ReferenceAdapter) and point.form in VERSIONS:
        keywords = {**keywords, "max_version": VERSIONS[point.form]}
    return keywords


def _take(exchange: Exchange, point: Point, source: Source) -> Any:
    """Import by the consumer as the point says; the consumer's calls are judged."""
    keywords = _keywords(exchange, point)
    offer = exchange.offer(source)
    try:
        taken = exchange.take(offer, promised=exchange.promises(point.is_plain), **keywords)
    except Refused:
        if exchange.case.consumer == REFERENCE:
            exchange.expect_handed(source)  # else the reference would be told to have refused the array
            _expect_no_stream_wanted(exchange, source, offer, keywords)
        if _is_unknown(exchange, source):
            _gone(exchange, source, "no memory of the device at the address of element 0")
        raise
    expect_streams(exchange, getattr(offer, "calls", ()))
    return taken


def _take_beside(exchange: Exchange, point: Point, source: Source, other: Source) -> list[Any]:
    """An import of the other view, and that view, which nothing else keeps; empty if it is refused."""
    exchange.made(other)
    try:
        taken = exchange.take(exchange.offer(other), promised="", **_keywords(exchange, point))
    except Refused:
        return []
    finally:
        exchange.made(source)
    return [taken, other.array]


def _hand_over(exchange: Exchange, point: Point, source: Source, times: int) -> None:
    """Hand the array over so many times without a look: the looks take longer than the hand-over."""
    keywords = _keywords(exchange, point)
    try:
        with exchange.step(Doing.IMPORT, Role.CONSUMER):
            for _ in range(times):
                offer = exchange.producer.offer(source.array, exchange.protocol)
                exchange.consumer.take(offer, exchange.protocol, exchange.device, **keywords)
    except Exception as error:
        exchange.check_context(error)
        raise Refused(f"refused after it was accepted: {brief(error)}") from error


def _expect_no_stream_wanted(exchange: Exchange, source: Source, offer: Any, keywords: dict[str, Any]) -> None:
    """A producer that refuses to export an array of host memory without a stream does not export it with one."""
    if exchange.device is not Device.HOST or getattr(offer, "raised", None) is None:
        return
    exporter = exchange.producer.exporter(source.array, Protocol.DLPACK)
    try:
        with exchange.step(Doing.EXPORT, Role.PRODUCER):
            exporter.__dlpack__(**{"max_version": NEWEST, **keywords, "stream": -1})
    except Exception as error:
        exchange.check_context(error)
        return
    fail(
        Code.KEYWORD_REFUSED, "DLP-30", role=Role.PRODUCER, reason="the producer refuses stream=None, which the protocol allows",
        expected="a capsule", seen=f"a capsule for stream=-1 alone: {brief(offer.raised)}", given="`stream=None`",
    )  # fmt: skip


def _is_unknown(exchange: Exchange, source: Source) -> bool:
    """Whether the reference has refused the array for its address: it was memory of the device when the array was made.

    In host memory no address is refused.
    """
    taker, handed = exchange.consumer, exchange.handed
    if (
        not isinstance(taker, ReferenceAdapter)
        or handed is None
        or not source.view.size
        or exchange.device is Device.HOST
    ):
        return False
    return handed.address == source.address and not taker.memory(exchange.device).reaches(handed.address)


# -- what the import is


def _judge_description(exchange: Exchange, point: Point, source: Source, taken: Any, view: View) -> None:
    """The hand-over and the import describe the producer's array, or a copy where there may be one."""
    exchange.expect_handed(source)
    if isinstance(taken, Imported) and taken.tensor is not None:
        _expect_capsule(exchange, point, source, taken.tensor)
    expect_typestr(exchange, source.dtype)
    if view.dtype is not None:
        expect_name(exchange, source, taken, view.dtype)
    exchange.expect_shape(source, view)
    if source.view.size or not exchange.consumer.traits & {Trait.POINTER_ONLY}:
        expect_home(exchange, source, view)
    if point.path == "shared":
        expect_no_copy(exchange, source, view)
    if point.path == "copy" or (exchange.is_elsewhere(source, view.address) and _may_copy(exchange, point, source)):
        return
    exchange.expect_address(source, view)


def _may_copy(exchange: Exchange, point: Point, source: Source) -> bool:
    """Whether the consumer has a reason to copy what nobody asks it to copy: DLPack wants memory shared where that is possible.

    The producer has none: it has this array. A consumer without read-only arrays keeps one safe by a copy.
    """
    if exchange.handed is not None and exchange.is_elsewhere(source, exchange.handed.address):
        return False
    is_aligned = source.address % ALIGNMENT == 0 or exchange.protocol is Protocol.CAI
    lacks_readonly = point.access == "readonly" and Trait.READONLY not in exchange.consumer.traits
    may = not is_aligned or not source.view.contiguous or lacks_readonly
    if may:
        exchange.notes["copy"] = f"{exchange.consumer.name} copies, which the protocol leaves open"
    return may


def _expect_capsule(exchange: Exchange, point: Point, source: Source, tensor: Tensor) -> None:
    """The struct that the reference has taken is of a version that it asked for, on the device of the array, and has its strides."""
    asked = VERSIONS.get(point.form, NEWEST)
    if tensor.version is not None and tensor.version[0] > (asked or (0,))[0]:
        fail(
            Code.VERSION_TOO_NEW, "DLP-02", role=Role.PRODUCER, reason="the producer exports a newer struct than the consumer asked for",
            expected=f"legacy or at most major version {(asked or (0,))[0]}", seen=f"version {tensor.version} for max_version={asked}",
        )  # fmt: skip
    if tensor.version is None and asked is not None and asked > (1, 0):
        least = exchange.decode(exchange.capsule_of(source, max_version=(1, 0))).version
        if least is not None:
            fail(
                Code.VERSION_TOO_OLD, "DLP-02", role=Role.PRODUCER,
                reason="the producer exports an older struct to a consumer that asks for a newer one",
                expected=f"a versioned struct, as for max_version=(1, 0): {least}", seen=f"the legacy struct for max_version={asked}",
            )  # fmt: skip
    plain = (exchange.device.dlpack_type, 0)
    if tensor.device != plain:
        fail(
            Code.WRONG_DEVICE, "DLP-15", role=Role.PRODUCER, reason="the capsule names another device than that of the array",
            expected=f"device {plain}", seen=f"device {tensor.device}",
        )  # fmt: skip
    if tensor.strides is None and source.view.ndim and (tensor.version or (0, 0)) >= (1, 2):
        fail(
            Code.STRIDES_MISSING, "DLP-20", role=Role.PRODUCER, reason=f"the producer exports a capsule of version {tensor.version} without strides",
            expected=f"strides of {source.view.ndim} dimensions", seen="NULL",
            given="a C-contiguous array in a capsule of version 1.2 or newer",
        )  # fmt: skip
    _expect_copied_flag(source, tensor, is_asked=point.path == "copy")


def _expect_copied_flag(source: Source, tensor: Tensor, *, is_asked: bool) -> None:
    """IS_COPIED is set exactly if the struct is about a copy, and no flag that means nothing.

    A copy that is not asked for is wrong by itself, with the flag and without it.
    """
    if tensor.flags is None:
        return
    moved, flagged = tensor.element0 != source.address, bool(tensor.flags & DLFlags.IS_COPIED)
    if source.view.size and moved != flagged and (is_asked or not moved):
        fail(
            Code.COPIED_FLAG_MISSING if moved else Code.COPIED_FLAG_INVENTED, "DLP-10", role=Role.PRODUCER,
            reason="the producer copies without setting IS_COPIED" if moved else "the producer sets IS_COPIED and shares",
            expected=f"IS_COPIED {'set' if moved else 'clear'}: element 0 is at {tensor.element0:#x}, the array's at {source.address:#x}",
            seen=f"flags {tensor.flags}",
        )  # fmt: skip
    allowed = int(DLFlags.READ_ONLY | DLFlags.IS_COPIED)
    if tensor.flags & ~allowed:
        fail(
            Code.FLAG_UNDEFINED, "DLP-07", role=Role.PRODUCER, reason="the producer sets a flag that means nothing here",
            expected=f"at most {allowed:#x}", seen=f"flags {tensor.flags:#x}",
        )  # fmt: skip


def _judge_content(exchange: Exchange, point: Point, source: Source, taken: Any, view: View) -> None:
    """The import has the elements, and the producer's memory is what it was.

    Nothing says how a library reads signalling NaNs and odd bools: of these only the memory counts.
    """
    if point.content != "raw":
        exchange.expect_values(source, exchange.read(taken))
    exchange.expect_intact(source, exchange.consumer)
    _expect_block(exchange, source)
    if point.path == "copy" and source.view.size and not exchange.is_elsewhere(source, view.address):
        told = f"element 0 at {view.address:#x}, the producer's at {source.address:#x}"
        copy_is_shared(exchange, source, expected="an address outside of the producer's block", seen=told)


def _expect_block(exchange: Exchange, source: Source) -> None:
    """Nothing beside the view's elements has changed either, in its block and beside that."""
    block = source.array.block if isinstance(source.array, Exporter) else None
    beside = spills(block) if isinstance(block, HostBlock) else []
    if isinstance(block, HostBlock) and beside:
        GUARDS.forget(block)  # or the end of the case tells it once more, of the array of the point
        fail(
            Code.WRITE_OUTSIDE, exchange.reading(), role=Role.CONSUMER, reason="bytes beside the memory of the array change during the exchange",
            expected="no change", seen=beside[0].told, accused=Side.CONSUMER,
        )  # fmt: skip
    seen = exchange.peek(source.start, len(source.block))
    if seen == source.block:
        return
    side = Side.CONSUMER if exchange.case.producer == REFERENCE else None
    fail(
        Code.WRITE_OUTSIDE, exchange.reading(), role=Role.CONSUMER, reason="elements beside those of the view change during the exchange",
        expected=show(source.block, source.dtype), seen=show(seen, source.dtype), accused=side,
    )  # fmt: skip


def _judge_flags(exchange: Exchange, point: Point, source: Source, view: View) -> None:
    """What must not be written says so, and is taken so by a library that can; and what may be written is not locked.

    Neither is judged of a copy. A legacy capsule cannot say it, and the array interface leaves to the consumer what it makes of it.
    """
    handed = exchange.handed
    if handed is None or not source.view.size or exchange.is_elsewhere(source, handed.address):
        _expect_no_address(exchange, source)
        return
    wanted = point.access == "readonly" or Trait.IMMUTABLE in exchange.producer.traits
    by_dlpack = exchange.protocol is Protocol.DLPACK
    if handed.readonly is not None and handed.readonly != wanted:
        fail(
            Code.READONLY_LOST if wanted else Code.READONLY_INVENTED, ("DLP-08" if wanted else "DLP-07") if by_dlpack else "CAI-08",
            role=Role.PRODUCER,
            reason="the producer exports an array that must not be written, and does not say so"
            if wanted
            else "the producer exports a writable array as read-only",
            expected=f"the read-only bit {'set' if wanted else 'not set'}", seen=f"the read-only bit {'not set' if wanted else 'set'}",
            accused=Side.PRODUCER,
        )  # fmt: skip
    knows = Trait.READONLY in exchange.consumer.traits and Trait.IMMUTABLE not in exchange.consumer.traits
    if not by_dlpack or handed.readonly is None or not knows or exchange.is_elsewhere(source, view.address):
        return
    if bool(view.readonly) != wanted:
        fail(
            Code.READONLY_LOST if wanted else Code.READONLY_INVENTED, "DLP-09" if wanted else "DLP-58", role=Role.CONSUMER, level=Level.SHOULD,
            reason="the consumer drops the read-only bit" if wanted else "the consumer makes a read-only array of a writable one",
            expected="a read-only array" if wanted else "a writable array", seen="a writable one" if wanted else "a read-only one",
            accused=exchange.reader_at_fault(),
        )  # fmt: skip


def _expect_no_address(exchange: Exchange, source: Source) -> None:
    """An array without elements is handed over with address 0. It is judged where the reference takes it, as in ``layout.empty-export``."""
    handed = exchange.handed
    if source.view.size or handed is None or not handed.address or exchange.case.consumer != REFERENCE:
        return
    fail(
        Code.ADDRESS_FOR_EMPTY, "DLP-19" if exchange.protocol is Protocol.DLPACK else "CAI-06", role=Role.PRODUCER,
        reason="the producer exports an address for an array without elements", expected="0", seen=hex(handed.address), accused=Side.PRODUCER,
    )  # fmt: skip


# -- how long memory lives


def _press(exchange: Exchange, point: Point) -> list[Any]:
    """Arrays of the producer's own of the same size and other content, which take up memory that should not be free."""
    if point.is_far:
        return []
    form = point.array()
    block = bytes([1]) * (form.elements * point.kind.itemsize)
    return [exchange.producer.array(point.kind, form.base, block, exchange.device) for _ in range(_PRESSURE)]


def _judge_lifetime(
    exchange: Exchange, point: Point, source: Source, lent: Managed | None, holder: list[Any], *, is_shared: bool, strays: int,
    patient: bool,
) -> list[Managed]:  # fmt: skip
    """While the import lives, its memory does; once it is gone, all is released, once. ``holder`` has the import, and nobody else.

    Returns the reference's exports. A ``patient`` judge waits for a release that comes while the import lives.
    """
    exports: list[Managed] = source.array.log.exports[:] if isinstance(source.array, Exporter) else []
    gone = watch(source.array)
    if is_shared:
        _expect_no_call(exports, patient=patient)
    if exchange.protocol is Protocol.DLPACK:
        source.array = None
    if exchange.is_gone(holder[0]):
        _gone(exchange, source, GONE)
    pressure = _press(exchange, point)
    seen = exchange.read(holder[0]) if point.content != "raw" else source.values
    del pressure
    if seen != source.values:
        _gone(exchange, source, show(seen, source.dtype))
    if is_shared:
        _expect_no_call(exports)
    _expect_part_holds(exchange, point, source, holder)
    if lent is not None and is_shared and lent.deleter_calls:
        reused(
            exchange,
            "the memory of an import is released while an export of it lives",
            "no call of the deleter",
            "a call",
        )
    source.array = None
    holder.clear()
    for managed in exports:
        _expect_one_call(exchange, point, managed)
    if len(stray_deleter_calls) > strays:
        fail(
            Code.DELETER_ARGUMENT_WRONG, "DLP-26", role=Role.CONSUMER, reason="the consumer calls the deleter with another pointer than it was given",
            expected="calls with the pointer of the capsule", seen=f"calls with {', '.join(map(hex, stray_deleter_calls[strays:]))}",
        )  # fmt: skip
    if gone is None:
        exchange.notes["array"] = (
            f"{exchange.producer.name}'s array takes no weak reference: that it is let go of is not seen"
        )
    elif not _is_let_go(exchange, point, gone):
        with _never(exchange):
            still_held(exchange, gone, "a reference to the producer's array")
    if lent is not None and not _is_let_go(exchange, point, lambda: lent.deleter_calls > 0):
        expect_plain_releases(exchange, exchange.producer)
        with _never(exchange):
            unreleased(
                exchange, lambda: lent.deleter_calls > 0, "DLP-27", role=Role.PRODUCER,
                reason="the producer does not release an import that it has exported again", expected="released once", seen="never released",
            )  # fmt: skip
    return exports


def _expect_no_call(exports: list[Managed], *, patient: bool = False) -> None:
    """Not all of the reference's exports are released while an import of the last one lives."""

    def are_released() -> bool:
        return bool(exports) and all(managed.deleter_calls for managed in exports)

    settle()  # a capsule that nobody took is still to be destroyed
    if happens(are_released) if patient and exports else are_released():
        fail(
            Code.RELEASED_EARLY, "DLP-26", role=Role.CONSUMER, reason="the consumer releases the producer's memory while the import lives",
            expected="no call of the deleter", seen=f"{sum(managed.deleter_calls for managed in exports)} calls",
        )  # fmt: skip


def _is_let_go(exchange: Exchange, point: Point, event: Callable[[], bool]) -> bool:
    """Whether this comes true in time. A library that is late with a plain array as well is not waited for: ``lifetime`` tells it."""
    if at_once(event):
        return True
    late = _late(exchange, point.path)
    if late:
        _not_judged(exchange, f"{late} releases plain arrays late, too")
        return True
    return happens(event)


def _late(exchange: Exchange, path: str) -> str:
    """The library of this exchange that releases a plain array late, if one does."""
    way = Way.REEXPORT if path == "reexport" else Way.EXPORT
    sides = ((exchange.consumer, Way.IMPORT), (exchange.producer, way))
    return next((library.name for library, held in sides if is_late(exchange, library, held)), "")


@contextmanager
def _never(exchange: Exchange) -> Iterator[None]:
    """Only what never comes is a failure here: how long something takes would be luck at a single point."""
    try:
        yield
    except Failure as failure:
        if failure.code is not Code.RELEASED_AFTER_A_WHILE:
            raise
        _not_judged(exchange, failure.reason)


def _not_judged(exchange: Exchange, why: str) -> None:
    exchange.notes["release"] = f"not judged here, but by the family lifetime: {why}"


def _expect_part_holds(exchange: Exchange, point: Point, source: Source, holder: list[Any]) -> None:
    """A view of the import keeps what the import kept, and is read-only if that is. It takes the import's place in ``holder``."""
    if (
        not point.ndim
        or exchange.protocol is not Protocol.DLPACK
        or exchange.consumer.traits & {Trait.VIEW_ONLY, Trait.IMMUTABLE}
    ):
        return
    whole, is_locked = Index((slice(None),)), bool(exchange.look(holder[0]).readonly)
    try:
        holder[0] = exchange.using(lambda: exchange.consumer.view(holder[0], whole), "slicing the import")
    except Unsupported:
        return  # the library has no views, or none of this layout
    pressure = _press(exchange, point)
    seen = exchange.read(holder[0]) if point.content != "raw" else source.values
    del pressure
    if seen != source.values:
        reused(
            exchange,
            "the memory is reused under a view of the import",
            show(source.values, source.dtype),
            show(seen, source.dtype),
        )
    if is_locked and not exchange.look(holder[0]).readonly:
        fail(
            Code.READONLY_LOST, "DLP-09", role=Role.CONSUMER, level=Level.SHOULD, reason="a view of a read-only import can be written",
            expected="a read-only view", seen="a writable one", accused=exchange.reader_at_fault(),
        )  # fmt: skip


def _gone(exchange: Exchange, source: Source, seen: str) -> NoReturn:
    """An import reads other elements than before. Where the producer's array lives still, only a base can be gone that it is a view of."""
    reason, expected = "the memory is reused under the import", show(source.values, source.dtype)
    if exchange.protocol is Protocol.DLPACK:
        reused(exchange, reason, expected, seen)
    fail(Code.RELEASED_EARLY, "CAI-05", role=Role.PRODUCER, reason=reason, expected=expected, seen=seen)


def _expect_one_call(exchange: Exchange, point: Point, managed: Managed) -> None:
    if not _is_let_go(exchange, point, lambda: managed.deleter_calls >= 1):
        with _never(exchange):
            unreleased(
                exchange, lambda: managed.deleter_calls == 1, "DLP-26", role=Role.CONSUMER,
                reason="the consumer does not release the producer's memory when its array is gone", expected="one call of the deleter", seen="no call",
            )  # fmt: skip
    if managed.deleter_calls > 1:
        fail(
            Code.RELEASED_TWICE, "DLP-26", role=Role.CONSUMER, reason="the consumer releases the producer's memory more than once",
            expected="one call of the deleter", seen=f"{managed.deleter_calls} calls", given=HELD[Role.CONSUMER],
        )  # fmt: skip


# -- paths with a past


def _refuse(exchange: Exchange) -> None:
    """Have the library refuse something: the producer a device that there is not, the consumer an array on it, or of no element type."""
    form = Point().array()
    if exchange.case.consumer == REFERENCE:
        array = exchange.make(exchange.producer, kind=Point().kind, form=form).array
        _refused(
            exchange,
            Role.PRODUCER,
            lambda: exchange.producer.exporter(array, Protocol.DLPACK).__dlpack__(dl_device=_NOWHERE),
        )
    if exchange.case.producer == REFERENCE:
        array = exchange.make(exchange.producer, kind=Point().kind, form=form).array
        array.override, array.cai_override = {"device": _NOWHERE}, {"typestr": "<f3"}
        offer = exchange.producer.offer(array, exchange.protocol)
        _refused(exchange, Role.CONSUMER, partial(exchange.consumer.take, offer, exchange.protocol, exchange.device))


def _refused(exchange: Exchange, role: Role, action: Callable[[], Any]) -> None:
    """What becomes of it is another invariant's matter."""
    try:
        with exchange.step({Role.PRODUCER: Doing.EXPORT, Role.CONSUMER: Doing.IMPORT}[role], role):
            action()
    except Exception as error:
        exchange.check_context(error)


def _exported_before(exchange: Exchange, point: Point, source: Source) -> list[Any]:
    """The earlier exports of the array of a point, as far as they live still."""
    if point.count not in ("second", "again"):
        return []
    exporter, found = exchange.producer.exporter(source.array, exchange.protocol), []
    by_dlpack = exchange.protocol is Protocol.DLPACK
    _refused(
        exchange, Role.PRODUCER,
        lambda: found.append(exporter.__dlpack__(max_version=NEWEST) if by_dlpack else exporter.__cuda_array_interface__),
    )  # fmt: skip
    if point.count == "second":
        return found
    found.clear()
    settle()
    return []


def _export_in_vain(exchange: Exchange, source: Source) -> None:
    """A capsule that nobody takes, and an export that is refused: neither may keep the array afterwards."""
    exporter = exchange.producer.exporter(source.array, Protocol.DLPACK)
    _refused(exchange, Role.PRODUCER, exporter.__dlpack__)
    _refused(exchange, Role.PRODUCER, partial(exporter.__dlpack__, dl_device=_NOWHERE))
