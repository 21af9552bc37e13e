"""Family ``combination``: arrays that are special in two respects at once. A case is a point, and judges all that its exchange shows."""

from __future__ import annotations

import mmap
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any, NoReturn
from weakref import WeakKeyDictionary

from conformance.adapters.base import Adapter, Device, Protocol, Trait, Unsupported, View
from conformance.adapters.reference import ReferenceAdapter
from conformance.checks.catalogue import Draft, Tier, catalogue, invariant
from conformance.checks.codes import Code
from conformance.checks.concurrency import elsewhere
from conformance.checks.copies import copy_is_shared, expect_no_copy
from conformance.checks.device_checks import expect_home
from conformance.checks.exchange import GONE, Exchange, Source, brief, show
from conformance.checks.exchange_in_fork import in_fork
from conformance.checks.forks import in_child
from conformance.checks.input_words import combined, parts
from conformance.checks.late_release import Way, is_late, watch
from conformance.checks.layouts import Layout
from conformance.checks.libraries import REFERENCE, Environment, Pair
from conformance.checks.offers import (
    HELD,
    at_once,
    expect_plain_releases,
    expect_streams,
    happens,
    reused,
    still_held,
    unreleased,
)
from conformance.checks.outcomes import Failure, Inconclusive, Refused, Side, fail
from conformance.checks.patterns import pattern, raw
from conformance.checks.points import BYTE_OFFSET, NO_STRIDES, SPLIT, VERSIONS, Point, far_rows, left_out, points, reach
from conformance.checks.repeated_checks import CHECKS, EXCHANGE, EXCHANGES, PLAIN, REPEATED, Repeated, missing
from conformance.checks.steps import Doing
from conformance.checks.type_names import expect_name, expect_typestr
from conformance.cuda.memory import together
from conformance.protocols.clauses import Level, Role
from conformance.protocols.dlpack import DLFlags, Tensor
from conformance.protocols.strided import Index, Strided, apply, offsets
from conformance.reference.exporter import NEWEST, Exporter
from conformance.reference.guards import GUARDS, spills
from conformance.reference.importer import Imported
from conformance.reference.managed import Managed, settle, stray_deleter_calls
from conformance.reference.memory import ALIGNMENT, CudaBlock, HostBlock

_PRESSURE = 2
"""Arrays of the producer that occupy memory which has been released too early."""
_MANY = 99
_LIVING = 3
"""Of these hand-overs, imports that still live at the last exchange."""
_REEXPORTS = ("reexport", "far-reexport")
_NOT_PLAIN = "columns"
"""A layout that a consumer may refuse."""
_COPYING: dict[str, dict[str, Any]] = {"copy": {"copy": True}, "shared": {"copy": False}}
"""The keyword of an import by this path."""
_SIMPLER = {
    "layout": {"reversed": "stepped", "broadcast": "stepped"},
    "form": {"dictionary-2-strides-told": "strides-told"},
}
"""Levels with a simpler level each. A failure that the simpler level shows as well names that one."""
_SAID = {
    Code.READONLY_LOST: "access",
    Code.COPY_MADE: "path",
    Code.COPY_SHARED: "path",
    Code.COPIED_FLAG_MISSING: "path",
}
"""Failures that say of each array what its level of a factor says: the factor."""
_SLOW = (Code.NOT_RELEASED, Code.RELEASED_LATE)
"""Failures that each exchange waits for."""
_OF_KEYS = (Code.DICTIONARY_MALFORMED,)
"""Failures of which a key is given, and nothing that is special about an array."""
_NOWHERE = (99, 0)
"""A device that DLPack does not know."""


_WITHOUT_IMPORT = (*EXCHANGES, *(one for one in CHECKS if one.of == "producer"))
"""The checks that say something where the consumer has refused the array of the point."""
_OF_CALLS = (*EXCHANGES, *(one for one in CHECKS if one.invariant == "negotiation.signature"))
"""The checks that say something where the producer has refused the array of the point: it may refuse a keyword alone."""


def _drafts(env: Environment) -> Iterator[Draft]:
    return (draft for pair in env.pairs() for draft in _of_pair(pair))


def _of_pair(pair: Pair) -> Iterator[Draft]:
    """The quick tier has one point of each exchange with the reference."""
    names = (pair.producer.name, pair.consumer.name, pair.protocol.value, pair.device)
    found = reach(pair)
    left = missing(REPEATED, found) if pair.with_reference else ()
    tier = Tier.QUICK if pair.with_reference else Tier.FULL
    for point in points(found):
        yield Draft(*names, point.changed, tier if point.changed else Tier.FULL, left)
        tier = Tier.FULL if point.changed else tier


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

    The factors are element type, layout, rank, size, offset, access, content, form of capsule or dictionary, path, count and place.
    The points cover every pair of levels that the two libraries can have. Each exchange is
    judged in full: the call, the capsule, address, shape, strides, element type, values, flags, memory around the view, the base of a
    view, and release. A consumer may copy what is misaligned or not row-major. The family ``lifetime`` judges how late a release is. After a
    failure the check tries each level at its default, where it stays if the failure remains. The case reports the failure with the other levels.
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
"""Checks that fail at this point as at a simpler one, which reports them."""


def _judge(exchange: Exchange, point: Point, told: Told, place: str = "") -> None:
    """Judge the exchange of a point, and each check that is repeated there: here, and then at another place, where ``told`` is known.

    A refusal of the exchange ends the case after the checks; so does a deviation that a simpler point shows as well. After a violation the
    other checks could show the same once more.
    """
    ended: Failure | Refused | None = None
    exchange.special(_special(point, place))
    try:
        make_exchange(exchange, point)
    except Refused as refusal:
        ended = refusal
    except Failure as failure:
        ended, at = _reduced(exchange, point, place, PLAIN, failure)
        if at == point or ended.level is not Level.SHOULD:
            raise ended from failure
        if not place and len(at.changed) < 2:
            _of_levels(exchange).add((failure.code, failure.role, frozenset(at.changed)))
    except NotMade as missing:
        raise Inconclusive(f"not run: {missing}") from missing
    made = {_same(exchange, point, PLAIN)}
    is_refused, has_answers = isinstance(ended, Refused), bool(exchange.answers)
    if is_refused and point.path in _REEXPORTS and not has_answers:
        point = point.without("path")  # there is no such import: an array of its own is judged
    if is_refused and not has_answers and exchange.case.consumer == REFERENCE:
        has_answers = _is_exported(exchange, point)  # the reference refuses what says that it lies on another device
    if _is_repeated(exchange):
        checks = _checks(exchange, is_refused=is_refused, has_answers=has_answers)
        _repeat(exchange, point, told, place, _different(exchange, point, checks, made))
    if ended is not None:
        raise ended


def _is_exported(exchange: Exchange, point: Point) -> bool:
    """Whether the producer exports the array of a point."""
    try:
        source = _source(exchange, point)[0]
        exporter = exchange.producer.exporter(source.array, exchange.protocol)
        with exchange.step(Doing.EXPORT, Role.PRODUCER):
            if exchange.protocol is Protocol.CAI:
                return exporter.__cuda_array_interface__ is not None
            return exporter.__dlpack__(max_version=NEWEST) is not None
    except Exception as error:
        exchange.check_context(error)
        return False


def _is_repeated(exchange: Exchange) -> bool:
    """Whether checks are repeated: with the reference on one side. An exchange of the reference with itself says nothing of a library."""
    sides = {exchange.case.producer, exchange.case.consumer}
    return REFERENCE in sides and len(sides) > 1 and bool(exchange.case.parameters)


def _checks(exchange: Exchange, *, is_refused: bool, has_answers: bool) -> tuple[Repeated, ...]:
    """The checks that say something. Where the producer has exported and the array is refused, its answers are judged still."""
    if not is_refused:
        return REPEATED
    if exchange.case.consumer != REFERENCE:
        return EXCHANGES
    return _WITHOUT_IMPORT if has_answers else _OF_CALLS


# -- what is special about a failure


def _special(point: Point, place: str) -> str:
    return combined((*point.changed, *([("place", place)] if place else [])))


def _reduced(exchange: Exchange, point: Point, place: str, one: Repeated, failure: Failure) -> tuple[Failure, Point]:
    """The failure of a check with what is special about it: the levels without which it does not show; and the point with these levels.

    The words of the check itself stand behind them.
    """
    at = _at(exchange, point, one)
    if (
        failure.level is Level.OBSERVED or failure.code is Code.DEFECT_EXCEPTION
    ):  # its class is one cause, whatever it comes of
        return failure, at
    if one.invariant == EXCHANGE:
        one = PLAIN
        if failure.code in _SLOW and at.changed and _is_of_plain(exchange, one, failure):
            at = Point()  # each level by itself would wait once more
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
        special = _together(special, given)
    told = Failure(
        failure.code, failure.clause, failure.role, failure.level, failure.reason, failure.expected, failure.seen,
        given=special or given, accused=failure.accused, library=failure.library,
    )  # fmt: skip
    return told, at


def _together(special: str, given: str) -> str:
    """The phrases of the levels, then those of the check itself that no level has said."""
    ours, own = parts(special), parts(given)
    if set(ours) <= set(own):
        return given
    return special if set(own) <= set(ours) else f"{special}, {given}"


def _fails_alike(exchange: Exchange, at: Point, one: Repeated, failure: Failure) -> bool:
    other = tried(exchange, at, one)
    return other is not None and (other.code, other.role) == (failure.code, failure.role)


# -- one exchange


def make_exchange(exchange: Exchange, point: Point, *, patient: bool = False) -> None:
    """In this thread and this process.

    A release on another thread may begin before the import is gone. So the exchange is then repeated with ``patient``: the import lives until
    such a release would have come.
    """
    source, lent, other = _after_refusals(exchange, point)
    strays = len(stray_deleter_calls)
    first: list[Any] = [_take(exchange, point, source)] if point.count in ("second", "again") else []
    if other is not None:
        first = _take_beside(exchange, point, source, other)
    del other
    if point.count == "again":
        first.clear()
        settle()
        _export_by_the_other(exchange, source)
        if exchange.case.consumer == REFERENCE and exchange.protocol is Protocol.DLPACK:
            _export_in_vain(exchange, source)
            settle()
    if point.count == "hundredth":
        _take(exchange, point, source)
        hand_over(exchange, point, source, _MANY - 1 - _LIVING)
        first = [_take(exchange, point, source) for _ in range(_LIVING)]
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
    here = threading.get_native_id()
    if is_shared and not patient and any(caller != here for managed in exports for caller in managed.callers):
        make_exchange(exchange, point, patient=True)
        return
    _judge_flags(exchange, point, source, view)


# -- checks that are repeated at each point


class NotMade(Exception):
    """The producer has no array with these levels."""


Same = tuple[Any, ...]
"""Two checks that do the same have this in common."""


def _same(exchange: Exchange, point: Point, one: Repeated) -> Same:
    return one.invariant, one.options, one.copies, one.keeps_count, _at(exchange, point, one)


def _different(exchange: Exchange, point: Point, checks: Iterable[Repeated], made: set[Same]) -> Iterator[Repeated]:
    """Leave out a check that does at this point what another one has done, as one with the level that the point has by itself.

    ``made`` has those that the point has seen already. A check that may not be made here is no reason to leave out another.
    """
    for one in checks:
        same = _same(exchange, point, one)
        if same in made:
            continue
        if not one.is_risky and _says_something(exchange, _at(exchange, point, one), one):
            made.add(same)
        yield one


def _repeat(exchange: Exchange, point: Point, told: Told, place: str, checks: Iterable[Repeated]) -> None:
    """Make each check that says something about this exchange, on arrays of this point with the levels of the check.

    The case of a plain array reports a failure that a plain array shows as well, and the point with one level one that this level shows.
    ``combination.later`` makes sure that these cases do not miss a failure that begins late. Refusals are another invariant's matter.
    """
    for one in checks:
        if one.releases and not place and (known := _plain(exchange, one)) is not None:
            told.add((one, known))  # to find it out once more takes long
            continue
        failure = tried(exchange, point, one)
        if failure is None or (one, failure.code) in told:
            continue
        if not place and (_is_of_plain(exchange, one, failure) or _is_of_level(exchange, point, one, failure)):
            told.add((one, failure.code))
            continue
        found, at = _reduced(exchange, point, place, one, failure)
        by_exchange = _shown_by_exchange(exchange, at, one, failure)
        if by_exchange is not None:
            found, at = _reduced(exchange, at.without("content"), place, PLAIN, by_exchange)
        if (by_exchange is not None or one.invariant == EXCHANGE) and not place and len(at.changed) < 2:
            told.add((one, failure.code))
            _of_levels(exchange).add((failure.code, failure.role, frozenset(at.changed)))
            continue
        with _never(exchange):
            raise found


def _shown_by_exchange(exchange: Exchange, at: Point, one: Repeated, failure: Failure) -> Failure | None:
    """Return the failure of the mere exchange, if it is no less serious than that of the check: so one cause gives one failure."""
    if one.invariant == EXCHANGE:
        return None
    other = tried(exchange, at.without("content"), PLAIN)
    is_alike = other is not None and other.role is failure.role and other.level.at_most(failure.level) is failure.level
    return other if is_alike else None


def _is_late_with_plain(exchange: Exchange) -> bool:
    return bool(_late(exchange, "own") or _late(exchange, "reexport"))


def _at(exchange: Exchange, point: Point, one: Repeated) -> Point:
    """The point at which a check is made: with the levels of the check."""
    return one.at(point, is_of_reference=exchange.case.producer == REFERENCE)


_by_plain: WeakKeyDictionary[Adapter, dict[tuple[str, str, str, Repeated], Code | None]] = WeakKeyDictionary()
"""By producer; then by consumer, protocol, device and check: how a plain array fails, if it does. The same in every case of a process."""


_by_level: WeakKeyDictionary[
    Adapter, dict[tuple[str, str, str], set[tuple[Code, Role | None, frozenset[tuple[str, str]]]]]
] = WeakKeyDictionary()
"""By producer; then by consumer, protocol and device: the failures of exchanges that a single level shows, and that level."""


def _of_levels(exchange: Exchange) -> set[tuple[Code, Role | None, frozenset[tuple[str, str]]]]:
    """The failures of exchanges of these two libraries that a single level has shown in this process."""
    key = (exchange.case.consumer, exchange.case.protocol, exchange.case.device.value)
    return _by_level.setdefault(exchange.producer, {}).setdefault(key, set())


def _is_of_level(exchange: Exchange, point: Point, one: Repeated, failure: Failure) -> bool:
    """Whether an exchange fails as one of its levels alone has failed before: it need not be reduced once more."""
    if one.invariant != EXCHANGE:
        return False
    levels = frozenset(_at(exchange, point, one).changed)
    return any(
        (code, role) == (failure.code, failure.role) and single <= levels for code, role, single in _of_levels(exchange)
    )


def _is_of_plain(exchange: Exchange, one: Repeated, failure: Failure) -> bool:
    """Whether a plain array fails this check alike."""
    return _plain(exchange, one) is failure.code


def _plain(exchange: Exchange, one: Repeated) -> Code | None:
    """How a plain array fails this check, if it does: tried once in a process."""
    of_producer = _by_plain.setdefault(exchange.producer, {})
    key = (exchange.case.consumer, exchange.case.protocol, exchange.case.device.value, one)
    if key not in of_producer:
        plain = tried(exchange, Point(), one, observed=True)
        of_producer[key] = plain.code if plain is not None else None
    return of_producer[key]


def tried(exchange: Exchange, point: Point, one: Repeated, *, observed: bool = False) -> Failure | None:
    """How this check fails at a point, if it does; ``None`` where it says nothing about the exchange, or there is no such array.

    A failure that breaks no promise counts only with ``observed``.
    """
    at = _at(exchange, point, one)
    if not _says_something(exchange, at, one):
        return None
    if one.is_risky and _may_end_the_process(exchange, one):  # by a fork, so only where the check applies
        return None
    if one.releases and _is_late_with_plain(exchange):
        return None
    own = _own(exchange, at, one)
    given = own.given
    try:
        make_exchange(own, at) if one.invariant == EXCHANGE else catalogue()[one.invariant].check(own)
    except Failure as failure:
        if not observed and (failure.level is Level.OBSERVED or own.is_illegal):
            return None
        if failure.given is None and own.given != given:
            failure.given = own.given
        return failure
    except (Refused, Inconclusive, Unsupported, NotMade):
        return None
    except Exception as error:
        exchange.check_context(error)
        raise
    return None


def _says_something(exchange: Exchange, at: Point, one: Repeated) -> bool:
    """Whether a check says something about this exchange with an array of a point that it can be made at."""
    return not set(one.levels) & set(exchange.case.missing) and one.applies(
        at, exchange.producer, exchange.consumer, exchange.protocol, exchange.device
    )


_survived: WeakKeyDictionary[Adapter, dict[tuple[str, str, str], dict[Repeated, bool]]] = WeakKeyDictionary()
"""By producer; then by consumer, protocol and device; then by check: whether a plain array has ended no process."""


def _may_end_the_process(exchange: Exchange, one: Repeated) -> bool:
    """Whether a check could end this process at every point; the case notes the checks that it does not make for that reason."""
    why = _why_risky(exchange, one)
    if why:
        name = f"not made, because {why}"
        noted = exchange.notes.get(name, "")
        exchange.notes[name] = (
            noted if one.invariant in noted else f"{noted}, {one.invariant}" if noted else one.invariant
        )
    return bool(why)


def _why_risky(exchange: Exchange, one: Repeated) -> str:
    """Try the risky checks with plain arrays in a fork, once. Where no fork is possible, such a check is not made."""
    sides = (exchange.producer, exchange.consumer)
    if exchange.device is Device.CUDA or any(Trait.THREADED in side.traits for side in sides):
        return "some libraries end the process there, and no fork can try it first"
    key = (exchange.case.consumer, exchange.case.protocol, exchange.case.device.value)
    known = _survived.setdefault(exchange.producer, {}).setdefault(key, {})
    if one not in known:
        known.update(
            _tried_in_forks(exchange, [one, *(other for other in REPEATED if other.is_risky and other != one)])
        )
    return "" if known[one] else "it ends the process with a plain array"


def _tried_in_forks(exchange: Exchange, checks: Sequence[Repeated]) -> dict[Repeated, bool]:
    """Make these checks with plain arrays one after the other in a fork, and go on in another one behind a check that has ended it."""
    reached = mmap.mmap(-1, len(checks))
    found: dict[Repeated, bool] = {}
    first = 0
    while first < len(checks):
        begun = range(first, len(checks))
        has_survived = in_child(lambda: _survive(exchange.apart(), checks, begun, reached)) == _SURVIVED  # noqa: B023 - called here
        last = len(checks) if has_survived else next(number for number in begun if not reached[number])
        found.update(dict.fromkeys(checks[first:last], True))
        if not has_survived:
            found[checks[last]] = False
        first = last + 1
    return found


_SURVIVED = "survived"


def _survive(exchange: Exchange, checks: Sequence[Repeated], numbers: Iterable[int], reached: mmap.mmap) -> str:
    """In the fork: make the checks. Their failures do not matter here."""
    exchange.alone()
    for number in numbers:
        with suppress(Exception):
            tried(exchange, Point(), replace(checks[number], is_risky=False))
        reached[number] = 1
    return _SURVIVED


def _own(exchange: Exchange, at: Point, one: Repeated) -> Exchange:
    """The exchange as this check's."""
    if one.invariant == EXCHANGE:
        own = exchange.apart()
        own.special(combined(at.changed))
        return own
    parameters = (("dtype", at.dtype), ("layout", "c-order" if at.is_plain else _NOT_PLAIN), *one.options)
    earlier: list[Any] = []
    case = replace(exchange.case, invariant=one.invariant, parameters=parameters)
    own = exchange.at(case, lambda _: _used(own, at, one, earlier), readonly=at.access == "readonly")
    if one.copies:
        own.asking(_COPYING.get(at.path, {}))
    return own


def _used(exchange: Exchange, point: Point, one: Repeated, earlier: list[Any]) -> Source:
    """An array for a check; before a second export ``earlier`` has an import of it, which lives as long as the check.

    Where the exchange is refused the producer has exported the array at least.
    """
    source = _after_refusals(exchange, point)[0]
    if point.count in ("second", "again") and one.keeps_count:
        offer = exchange.producer.offer(source.array, exchange.protocol)
        _refused(
            exchange, Role.CONSUMER,
            lambda: earlier.append(exchange.consumer.take(offer, exchange.protocol, exchange.device)),
        )  # fmt: skip
        del offer
        if point.count == "again":
            earlier.clear()
            settle()
            _export_by_the_other(exchange, source)
    return source


def _after_refusals(exchange: Exchange, point: Point) -> tuple[Source, Managed | None, Source | None]:
    """The array of a point. At the level ``after-refusal`` the library has refused others, and an export of this one."""
    if point.path == "after-refusal":
        refuse(exchange)
    source, lent, other = _source(exchange, point)
    if point.path == "after-refusal" and exchange.case.consumer == REFERENCE:
        exporter = exchange.producer.exporter(source.array, Protocol.DLPACK)
        _refused(exchange, Role.PRODUCER, lambda: exporter.__dlpack__(dl_device=_NOWHERE))
        _refused(exchange, Role.PRODUCER, lambda: exporter.__dlpack__(dl_device=_NOWHERE, max_version=NEWEST))
    return source, lent, other


def _export_by_the_other(exchange: Exchange, source: Source) -> None:
    """Export the array by DLPack before its dictionary is read again, if its library does that."""
    if exchange.protocol is Protocol.CAI and exchange.case.consumer == REFERENCE:
        _refused(
            exchange, Role.PRODUCER, lambda: exchange.producer.exporter(source.array, Protocol.DLPACK).__dlpack__()
        )
        settle()


def _source(exchange: Exchange, point: Point) -> tuple[Source, Managed | None, Source | None]:
    """Return the producer's array; if it is an import, our struct, which shows when the producer releases it; and the view beside it."""
    lent: Managed | None = None
    other: Source | None = None
    if point.path in _REEXPORTS:
        source, lent = _imported(exchange, point)
    elif point.size == "huge":
        source = _far_apart(exchange, exchange.producer, point)
    elif point.count == "beside":
        source, other = _made_beside(exchange, point)
    else:
        source = _made(exchange, exchange.producer, point)
    if isinstance(source.array, Exporter):
        source.array.newest = VERSIONS.get(point.form, NEWEST)
        source.array.omits_strides = point.form in NO_STRIDES
        source.array.byte_offset = source.before = BYTE_OFFSET if point.form in SPLIT else 0
        source.array.cai_override = _dictionary(point, source)
    if point.path == "view":
        GUARDS.retire_all(_blocks(_press(exchange, point)))
    return source, lent, other


def _made(exchange: Exchange, library: Adapter, point: Point) -> Source:
    """The array of a point in the hands of a library."""
    form = point.array()
    block, readonly = _content(point, form.elements), point.access == "readonly"
    try:
        return exchange.make(library, kind=point.kind, form=form, block=block, readonly=readonly)
    except Exception as error:
        exchange.check_context(error)
        raise NotMade(f"{library.name} makes no such array: {brief(error)}") from error


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
        raise NotMade(f"{library.name} makes no such array: {brief(error)}") from error
    return exchange.made(found), other


def _content(point: Point, count: int) -> bytes:
    if point.content == "zeros":
        return bytes(count * point.kind.itemsize)
    return raw(point.kind, count) if point.content == "raw" else pattern(point.kind, count)


def _dictionary(point: Point, source: Source) -> dict[str, Any]:
    """Return the replaced keys of the reference's dictionary."""
    version = {"version": 2} if point.form.startswith("dictionary-2") else {}
    return {**version, "strides": source.strides} if point.form.endswith("strides-told") else version


def _far_apart(exchange: Exchange, reference: Adapter, point: Point) -> Source:
    """An array of the reference's whose rows lie so far apart that no 32 bits can count the bytes."""
    view = far_rows(point.kind, point.ndim, point.skipped)
    assert isinstance(reference, ReferenceAdapter)
    try:
        array = reference.reserved(point.kind, view, exchange.device)
    except (OSError, MemoryError) as error:
        raise Inconclusive(
            f"no room for an array with rows {view.strides[0]} elements apart: {brief(error)}"
        ) from error
    size, data = point.kind.itemsize, _content(point, view.size)
    begins = array.block.address + view.offset * size  # the exporter's own word for it may be what is wrong
    for number, offset in enumerate(offsets(Strided(view.shape, view.strides))):
        exchange.poke(begins + offset * size, data[number * size : (number + 1) * size])
    array.readonly = point.access == "readonly"
    return exchange.made(Source(array, point.kind, view, begins, b"", data))


def _imported(exchange: Exchange, point: Point) -> tuple[Source, Managed | None]:
    """The producer's import of an array of the reference, on whose memory it is; a refusal ends the case."""
    producer, reference = exchange.producer, exchange.library(REFERENCE)
    lent = _far_apart(exchange, reference, point) if point.is_far else _made(exchange, reference, point)
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
        raise Refused(f"{producer.name} does not import read-only what it is to export again (see readonly.import)")
    exports = lent.array.log.exports
    if isinstance(producer, ReferenceAdapter):
        array = producer.exporter(array, exchange.protocol)
    return exchange.made(replace(lent, array=array)), exports[-1] if exports else None


def _keywords(exchange: Exchange, point: Point) -> dict[str, Any]:
    """The keywords of the import."""
    keywords = _COPYING.get(point.path, {})
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
        if exchange.case.consumer == REFERENCE:
            _expect_reason(exchange, source)
        raise
    expect_streams(exchange, getattr(offer, "calls", ()))
    return taken


def _expect_reason(exchange: Exchange, source: Source) -> None:
    """Fail where the reference refuses an array because the producer describes a wrong device or address."""
    if exchange.handed is None:
        return
    _expect_device(exchange, exchange.handed.device)
    _expect_no_address(exchange, source)
    taker = exchange.consumer
    assert isinstance(taker, ReferenceAdapter)
    if (
        exchange.protocol is Protocol.CAI
        and source.view.size
        and not taker.memory(exchange.device).reaches(exchange.handed.address)
    ):
        fail(
            Code.UNKNOWN_ADDRESS, "CAI-05", role=Role.PRODUCER,
            reason="the producer publishes an address that is no memory of the device", expected="an address that the driver knows",
            seen=hex(exchange.handed.address),
        )  # fmt: skip


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


def hand_over(exchange: Exchange, point: Point, source: Source, times: int) -> None:
    """Hand the array over so many times without a check: checks take longer than the hand-over."""
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
    if point.path == "shared" and source.view.size:
        expect_no_copy(exchange, source, view)
    if point.path == "copy" or (exchange.is_elsewhere(source, view.address) and _may_copy(exchange, point, source)):
        return
    exchange.expect_address(source, view)


def _may_copy(exchange: Exchange, point: Point, source: Source) -> bool:
    """Return whether the consumer has a reason to copy without a request: DLPack wants memory shared where that is possible.

    The producer has no reason: it has this array. A consumer without read-only arrays keeps one safe by a copy.
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
    _expect_device(exchange, tensor.device)
    if tensor.strides is None and source.view.ndim and (tensor.version or (0, 0)) >= (1, 2):
        fail(
            Code.STRIDES_MISSING, "DLP-20", role=Role.PRODUCER, reason=f"the producer exports a capsule of version {tensor.version} without strides",
            expected=f"strides of {source.view.ndim} dimensions", seen="NULL",
            given="a C-contiguous array in a capsule of version 1.2 or newer",
        )  # fmt: skip
    _expect_copied_flag(source, tensor, is_asked=point.path == "copy")


def _expect_device(exchange: Exchange, seen: tuple[int, int] | None) -> None:
    """The capsule names the device of the array. A dictionary names none."""
    plain = (exchange.device.dlpack_type, 0)
    if seen is not None and seen != plain:
        fail(
            Code.WRONG_DEVICE, "DLP-15", role=Role.PRODUCER, reason="the capsule names another device than that of the array",
            expected=f"device {plain}", seen=f"device {seen}",
        )  # fmt: skip


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
    block: bytes | None = None
    if point.content != "raw":
        seen = exchange.read(taken)
        exchange.expect_values(source, seen)
        block = seen if _is_whole_block(exchange, source, view) else None
    if block is None:
        block = exchange.peek(source.start, len(source.block))
    if block != source.block or source.elements is not None:
        exchange.expect_intact(source, exchange.consumer)
    _expect_block(exchange, source, block)
    if point.path == "copy" and source.view.size and not exchange.is_elsewhere(source, view.address):
        told = f"element 0 at {view.address:#x}, the producer's at {source.address:#x}"
        copy_is_shared(exchange, source, expected="an address outside of the producer's block", seen=told)


def _is_whole_block(exchange: Exchange, source: Source, view: View) -> bool:
    """Whether the reference has read all of the producer's block, on a GPU, where each look has to wait."""
    is_ours = exchange.device is Device.CUDA and exchange.case.consumer == REFERENCE
    is_packed = source.view.contiguous and source.view.size * source.dtype.itemsize == len(source.block)
    return is_ours and is_packed and view.address == source.address


def _expect_block(exchange: Exchange, source: Source, seen: bytes) -> None:
    """Nothing beside the view's elements has changed either, in its block, which now is ``seen``, and beside that."""
    block = source.array.block if isinstance(source.array, Exporter) else None
    beside = spills(block) if isinstance(block, HostBlock) else []
    if isinstance(block, HostBlock) and beside:
        GUARDS.forget(block)  # or the end of the case tells it once more, of the array of the point
        fail(
            Code.WRITE_OUTSIDE, exchange.reading(), role=Role.CONSUMER, reason="bytes beside the memory of the array change during the exchange",
            expected="no change", seen=beside[0].told, accused=Side.CONSUMER,
        )  # fmt: skip
    if seen == source.block:
        return
    side = Side.CONSUMER if exchange.case.producer == REFERENCE else None
    fail(
        Code.WRITE_OUTSIDE, exchange.reading(), role=Role.CONSUMER, reason="elements beside those of the view change during the exchange",
        expected=show(source.block, source.dtype), seen=show(seen, source.dtype), accused=side,
    )  # fmt: skip


def _judge_flags(exchange: Exchange, point: Point, source: Source, view: View) -> None:
    """A read-only array is exported and imported as read-only, as far as the consumer has such arrays; a writable one as writable.

    Copies are not judged. A legacy capsule has no read-only bit, and the array interface leaves the import to the consumer.
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
    """Return arrays of the producer of the same size and other content: they occupy memory that has been released too early."""
    if point.is_far:
        return []
    form = point.array()
    block = bytes([1]) * (form.elements * point.kind.itemsize)
    with together():
        return [exchange.producer.array(point.kind, form.base, block, exchange.device) for _ in range(_PRESSURE)]


def _blocks(arrays: Iterable[Any]) -> list[HostBlock | CudaBlock]:
    """The blocks of those arrays that are the reference's."""
    blocks = (array.block for array in arrays if isinstance(array, Exporter))
    return [block for block in blocks if isinstance(block, (HostBlock, CudaBlock))]


def _judge_lifetime(
    exchange: Exchange, point: Point, source: Source, lent: Managed | None, holder: list[Any], *, is_shared: bool, strays: int,
    patient: bool,
) -> list[Managed]:  # fmt: skip
    """While the import lives, its memory does; once it is gone, all is released, once. Only ``holder`` has the import.

    Returns the reference's exports. A ``patient`` judge waits for a release that comes while the import lives.
    """
    is_capsule = exchange.protocol is Protocol.DLPACK
    exports: list[Managed] = source.array.log.exports[:] if is_capsule and isinstance(source.array, Exporter) else []
    gone = watch(source.array)
    own = [weakref.ref(block) for block in _blocks([source.array])]
    if is_shared:
        _expect_no_call(exports, patient=patient)
    if exchange.protocol is Protocol.DLPACK:
        source.array = None
    if exchange.is_gone(holder[0]):
        _gone(exchange, source, GONE)
    pressure = _press(exchange, point)
    seen = exchange.read(holder[0]) if point.content != "raw" else source.values
    if seen != source.values:
        _gone(exchange, source, show(seen, source.dtype))
    if is_shared:
        _expect_no_call(exports)
    _expect_part_holds(exchange, point, source, holder, pressure)
    blocks = _blocks(pressure)
    if (
        exchange.device is Device.CUDA
    ):  # with the guard bytes of the array's own block, once it is released: each look waits for the GPU
        blocks += [block for known in own if (block := known()) is not None]
    else:
        GUARDS.retire_all(blocks)
        blocks.clear()
    pressure.clear()
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
            f"{exchange.producer.name}'s array takes no weak reference, so its release is not seen"
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
    GUARDS.retire_all(blocks)
    return exports


def _expect_no_call(exports: list[Managed], *, patient: bool = False) -> None:
    """Not all of the reference's exports are released while an import of the last one lives."""

    def are_released() -> bool:
        return bool(exports) and all(managed.deleter_calls for managed in exports)

    settle()  # a capsule without a consumer is still to be destroyed
    if happens(are_released) if patient and exports else are_released():
        fail(
            Code.RELEASED_EARLY, "DLP-26", role=Role.CONSUMER, reason="the consumer releases the producer's memory while the import lives",
            expected="no call of the deleter", seen=f"{sum(managed.deleter_calls for managed in exports)} calls",
        )  # fmt: skip


def _is_let_go(exchange: Exchange, point: Point, event: Callable[[], bool]) -> bool:
    """Return whether this comes true in time. A library that is late with a plain array is not waited for: ``lifetime`` reports it."""
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
    """Inside, only a release that never comes is a failure: at a single point its duration would be luck."""
    try:
        yield
    except Failure as failure:
        if failure.code is not Code.RELEASED_AFTER_A_WHILE:
            raise
        _not_judged(exchange, failure.reason)


def _not_judged(exchange: Exchange, why: str) -> None:
    exchange.notes["release"] = f"not judged here, but by the family lifetime: {why}"


def _expect_part_holds(
    exchange: Exchange, point: Point, source: Source, holder: list[Any], pressure: list[Any]
) -> None:
    """A view of the import keeps what the import kept, and is read-only if that is. It takes the import's place in ``holder``.

    ``pressure`` has the arrays so far that occupy memory which has been released too early, and gets more of them.
    """
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
    pressure += _press(exchange, point)
    seen = exchange.read(holder[0]) if point.content != "raw" else source.values
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
    """Fail because an import reads other elements than before. If the producer's array still lives, its base is gone."""
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


def refuse(exchange: Exchange) -> None:
    """Make the library refuse: the producer an unknown device, the consumer an array on it, or one without an element type."""
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
    """Call, and ignore the outcome: other invariants judge it."""
    try:
        with exchange.step({Role.PRODUCER: Doing.EXPORT, Role.CONSUMER: Doing.IMPORT}[role], role):
            action()
    except Exception as error:
        exchange.check_context(error)


def _export_in_vain(exchange: Exchange, source: Source) -> None:
    """Make a capsule without a consumer, and a refused export: neither may keep the array afterwards."""
    exporter = exchange.producer.exporter(source.array, Protocol.DLPACK)
    _refused(exchange, Role.PRODUCER, exporter.__dlpack__)
    _refused(exchange, Role.PRODUCER, partial(exporter.__dlpack__, max_version=NEWEST))
    _refused(exchange, Role.PRODUCER, partial(exporter.__dlpack__, dl_device=_NOWHERE))
