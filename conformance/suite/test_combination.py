"""Family ``combination``: arrays that are special in two respects at once. A case is one point and checks everything in its exchange."""

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
"""Arrays of the producer that the case allocates to reuse memory which was released too early."""
_MANY = 99
_LIVING = 3
"""The imports of these hand-overs that still live at the last exchange."""
_REEXPORTS = ("reexport", "far-reexport")
_NOT_PLAIN = "columns"
"""A layout that a consumer may refuse."""
_COPYING: dict[str, dict[str, Any]] = {"copy": {"copy": True}, "shared": {"copy": False}}
"""The keyword of an import, by path."""
_SIMPLER = {
    "layout": {"reversed": "stepped", "broadcast": "stepped"},
    "form": {"dictionary-2-strides-told": "strides-told"},
}
"""Levels that have a simpler level. If the simpler level fails in the same way, the failure names that one."""
_SAID = {
    Code.READONLY_LOST: "access",
    Code.COPY_MADE: "path",
    Code.COPY_SHARED: "path",
    Code.COPIED_FLAG_MISSING: "path",
}
"""By code: the factor whose level the failure already implies, so the failure need not name it."""
_SLOW = (Code.NOT_RELEASED, Code.RELEASED_LATE)
"""Failures that an exchange detects only after a wait."""
_OF_KEYS = (Code.DICTIONARY_MALFORMED,)
"""Failures that name a key of a dictionary instead of a property of the array."""
_NOWHERE = (99, 0)
"""A device that DLPack does not know."""


_WITHOUT_IMPORT = (*EXCHANGES, *(one for one in CHECKS if one.of == "producer"))
"""The checks that are meaningful after the consumer has refused the array of the point."""
_OF_CALLS = (*EXCHANGES, *(one for one in CHECKS if one.invariant == "negotiation.signature"))
"""The checks that are meaningful after the producer has refused the array of the point: it may refuse only a keyword."""


def _drafts(env: Environment) -> Iterator[Draft]:
    return (draft for pair in env.pairs() for draft in _of_pair(pair))


def _of_pair(pair: Pair) -> Iterator[Draft]:
    """Yield the points of a pair. The quick tier has one point of each exchange with the reference."""
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
    """A producer and a consumer must hand over an array that is special in two respects unchanged or refuse it, and must release it once.

    The factors are element type, layout, rank, size, offset, access, content, form of capsule or dictionary, path, count and place.
    The points cover every pair of levels that the two libraries can have. Each exchange is checked in full: call, capsule, address, shape,
    strides, element type, values, flags, surrounding memory, base of a view, and release. A consumer may copy an array that is misaligned
    or not row-major. The family ``lifetime`` checks the time of a release. After a failure the case sets one level after the other to its
    default, and keeps the default if the failure remains. It reports the levels that are left.
    """
    point = Point.of(exchange.case.parameters)
    inside = point.without("place")
    known: Known = set()
    _judge(exchange, inside, known)
    if point.place == "in-thread":
        elsewhere(lambda: _judge(exchange, inside, known, point.place))
    elif "fork" in point.place:
        in_thread = point.place == "in-thread-of-fork"
        in_fork(
            exchange, combined(point.changed), lambda own: _judge(own, inside, known, point.place), in_thread=in_thread
        )


Known = set[tuple[Repeated, Code]]
"""Checks that fail at a simpler point in the same way. That point reports them."""


def _judge(exchange: Exchange, point: Point, known: Known, place: str = "") -> None:
    """Check the exchange of a point, and make each repeated check there, at this ``place``.

    ``known`` has the failures that simpler points report. A refusal of the exchange ends the case after the checks, and so does a
    deviation that a simpler point shows too. A violation ends the case at once, because the other checks could only show it again.
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
        # The library cannot import such an array, so check an array that it allocates itself.
        point = point.without("path")
    if is_refused and not has_answers and exchange.case.consumer == REFERENCE:
        # The reference refuses an array that names another device before it asks for a capsule.
        has_answers = _is_exported(exchange, point)
    if _is_repeated(exchange):
        checks = _checks(exchange, is_refused=is_refused, has_answers=has_answers)
        _repeat(exchange, point, known, place, _different(exchange, point, checks, made))
    if ended is not None:
        raise ended


def _is_exported(exchange: Exchange, point: Point) -> bool:
    """Return whether the producer exports the array of a point."""
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
    """Return whether the case repeats checks: one side is the reference, and the other side is a library."""
    sides = {exchange.case.producer, exchange.case.consumer}
    return REFERENCE in sides and len(sides) > 1 and bool(exchange.case.parameters)


def _checks(exchange: Exchange, *, is_refused: bool, has_answers: bool) -> tuple[Repeated, ...]:
    """Return the checks that are meaningful. If the producer exports and the consumer refuses, the producer's answers still count."""
    if not is_refused:
        return REPEATED
    if exchange.case.consumer != REFERENCE:
        return EXCHANGES
    return _WITHOUT_IMPORT if has_answers else _OF_CALLS


# -- what is special about a failure


def _special(point: Point, place: str) -> str:
    return combined((*point.changed, *([("place", place)] if place else [])))


def _reduced(exchange: Exchange, point: Point, place: str, one: Repeated, failure: Failure) -> tuple[Failure, Point]:
    """Return the failure of a check with the levels that it needs, and the point with only these levels.

    The description of the check itself follows the levels in ``given``.
    """
    at = _at(exchange, point, one)
    if (
        failure.level is Level.OBSERVED or failure.code is Code.DEFECT_EXCEPTION
    ):  # the class of the exception is the cause, with any levels
        return failure, at
    if one.invariant == EXCHANGE:
        one = PLAIN
        if failure.code in _SLOW and at.changed and _is_of_plain(exchange, one, failure):
            at = Point()  # trying each level would cost one wait each
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
    reduced = Failure(
        failure.code, failure.clause, failure.role, failure.level, failure.reason, failure.expected, failure.seen,
        given=special or given, accused=failure.accused, library=failure.library,
    )  # fmt: skip
    return reduced, at


def _together(special: str, given: str) -> str:
    """Return the phrases of the levels, then those of the check that no level contains."""
    ours, own = parts(special), parts(given)
    if set(ours) <= set(own):
        return given
    return special if set(own) <= set(ours) else f"{special}, {given}"


def _fails_alike(exchange: Exchange, at: Point, one: Repeated, failure: Failure) -> bool:
    other = tried(exchange, at, one)
    return other is not None and (other.code, other.role) == (failure.code, failure.role)


# -- one exchange


def make_exchange(exchange: Exchange, point: Point, *, patient: bool = False) -> None:
    """Make the exchange of a point and check it, in this thread and this process.

    A release on another thread may begin before the import is gone. If one occurs, the exchange is repeated with ``patient``: the import
    then lives long enough for such a release to show.
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
"""A key that is equal for two checks that do the same."""


def _same(exchange: Exchange, point: Point, one: Repeated) -> Same:
    return one.invariant, one.options, one.copies, one.keeps_count, _at(exchange, point, one)


def _different(exchange: Exchange, point: Point, checks: Iterable[Repeated], made: set[Same]) -> Iterator[Repeated]:
    """Yield the checks, but skip one that would do the same as another at this point, for example because the point has its level.

    ``made`` has the keys of the checks made so far. A check that cannot be made here does not cause another to be skipped.
    """
    for one in checks:
        same = _same(exchange, point, one)
        if same in made:
            continue
        if not one.is_risky and _says_something(exchange, _at(exchange, point, one), one):
            made.add(same)
        yield one


def _repeat(exchange: Exchange, point: Point, known: Known, place: str, checks: Iterable[Repeated]) -> None:
    """Make each check that is meaningful for this exchange, on arrays of this point with the levels of the check.

    Another case reports a failure that a plain array or a single level shows too: that of the plain array, or of the point with this
    level. ``combination.later`` makes sure that these cases do not miss a failure that begins late. Other invariants check refusals.
    """
    for one in checks:
        if one.releases and not place and (of_plain := _plain(exchange, one)) is not None:
            known.add((one, of_plain))  # a second wait for the release would take long
            continue
        failure = tried(exchange, point, one)
        if failure is None or (one, failure.code) in known:
            continue
        if not place and (_is_of_plain(exchange, one, failure) or _is_of_level(exchange, point, one, failure)):
            known.add((one, failure.code))
            continue
        found, at = _reduced(exchange, point, place, one, failure)
        by_exchange = _shown_by_exchange(exchange, at, one, failure)
        if by_exchange is not None:
            found, at = _reduced(exchange, at.without("content"), place, PLAIN, by_exchange)
        if (by_exchange is not None or one.invariant == EXCHANGE) and not place and len(at.changed) < 2:
            known.add((one, failure.code))
            _of_levels(exchange).add((failure.code, failure.role, frozenset(at.changed)))
            continue
        with _never(exchange):
            raise found


def _shown_by_exchange(exchange: Exchange, at: Point, one: Repeated, failure: Failure) -> Failure | None:
    """Return the failure of the plain exchange if it is at least as serious as that of the check: one cause gives one failure."""
    if one.invariant == EXCHANGE:
        return None
    other = tried(exchange, at.without("content"), PLAIN)
    is_alike = other is not None and other.role is failure.role and other.level.at_most(failure.level) is failure.level
    return other if is_alike else None


def _is_late_with_plain(exchange: Exchange) -> bool:
    return bool(_late(exchange, "own") or _late(exchange, "reexport"))


def _at(exchange: Exchange, point: Point, one: Repeated) -> Point:
    """Return the point at which a check is made: this point with the levels of the check."""
    return one.at(point, is_of_reference=exchange.case.producer == REFERENCE)


_by_plain: WeakKeyDictionary[Adapter, dict[tuple[str, str, str, Repeated], Code | None]] = WeakKeyDictionary()
"""By producer; then by consumer, protocol, device and check: the code with which a plain array fails, or ``None``.

All cases of a process share it.
"""


_by_level: WeakKeyDictionary[
    Adapter, dict[tuple[str, str, str], set[tuple[Code, Role | None, frozenset[tuple[str, str]]]]]
] = WeakKeyDictionary()
"""By producer; then by consumer, protocol and device: failures of exchanges that need a single level, with that level."""


def _of_levels(exchange: Exchange) -> set[tuple[Code, Role | None, frozenset[tuple[str, str]]]]:
    """Return the failures of these two libraries that a single level has shown in this process."""
    key = (exchange.case.consumer, exchange.case.protocol, exchange.case.device.value)
    return _by_level.setdefault(exchange.producer, {}).setdefault(key, set())


def _is_of_level(exchange: Exchange, point: Point, one: Repeated, failure: Failure) -> bool:
    """Return whether one level of the exchange alone has failed in the same way before, so that it need not be reduced again."""
    if one.invariant != EXCHANGE:
        return False
    levels = frozenset(_at(exchange, point, one).changed)
    return any(
        (code, role) == (failure.code, failure.role) and single <= levels for code, role, single in _of_levels(exchange)
    )


def _is_of_plain(exchange: Exchange, one: Repeated, failure: Failure) -> bool:
    """Return whether a plain array fails this check with the same code."""
    return _plain(exchange, one) is failure.code


def _plain(exchange: Exchange, one: Repeated) -> Code | None:
    """Return the code with which a plain array fails this check, or ``None``; it is tried once in a process."""
    of_producer = _by_plain.setdefault(exchange.producer, {})
    key = (exchange.case.consumer, exchange.case.protocol, exchange.case.device.value, one)
    if key not in of_producer:
        plain = tried(exchange, Point(), one, observed=True)
        of_producer[key] = plain.code if plain is not None else None
    return of_producer[key]


def tried(exchange: Exchange, point: Point, one: Repeated, *, observed: bool = False) -> Failure | None:
    """Return the failure of this check at a point; ``None`` if it passes, does not apply, or the array cannot be made.

    A failure that is only observed, or whose input is illegal, counts only with ``observed``.
    """
    at = _at(exchange, point, one)
    if not _says_something(exchange, at, one):
        return None
    if one.is_risky and _may_end_the_process(exchange, one):  # this forks, so ask it only where the check applies
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
    """Return whether a check applies to this exchange and can be made with an array of this point."""
    return not set(one.levels) & set(exchange.case.missing) and one.applies(
        at, exchange.producer, exchange.consumer, exchange.protocol, exchange.device
    )


_survived: WeakKeyDictionary[Adapter, dict[tuple[str, str, str], dict[Repeated, bool]]] = WeakKeyDictionary()
"""By producer; then by consumer, protocol and device; then by check: whether the process survived it with a plain array."""


def _may_end_the_process(exchange: Exchange, one: Repeated) -> bool:
    """Return whether a check could crash this process at every point. A note of the case names the checks that it skips."""
    why = _why_risky(exchange, one)
    if why:
        name = f"not made, because {why}"
        noted = exchange.notes.get(name, "")
        exchange.notes[name] = (
            noted if one.invariant in noted else f"{noted}, {one.invariant}" if noted else one.invariant
        )
    return bool(why)


def _why_risky(exchange: Exchange, one: Repeated) -> str:
    """Return why a risky check is not made, or ``""``. The risky checks are tried once, in a fork, with plain arrays."""
    sides = (exchange.producer, exchange.consumer)
    if exchange.device is Device.CUDA or any(Trait.THREADED in side.traits for side in sides):
        return "some libraries crash the process there, and the suite cannot try it in a fork first"
    key = (exchange.case.consumer, exchange.case.protocol, exchange.case.device.value)
    known = _survived.setdefault(exchange.producer, {}).setdefault(key, {})
    if one not in known:
        known.update(
            _tried_in_forks(exchange, [one, *(other for other in REPEATED if other.is_risky and other != one)])
        )
    return "" if known[one] else "it crashes the process with a plain array"


def _tried_in_forks(exchange: Exchange, checks: Sequence[Repeated]) -> dict[Repeated, bool]:
    """Make these checks with plain arrays, one after the other in a fork. If one crashes the fork, continue behind it in a new fork."""
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
    """Make the checks in the fork and ignore their failures: only a crash matters."""
    exchange.alone()
    for number in numbers:
        with suppress(Exception):
            tried(exchange, Point(), replace(checks[number], is_risky=False))
        reached[number] = 1
    return _SURVIVED


def _own(exchange: Exchange, at: Point, one: Repeated) -> Exchange:
    """Return the exchange as this check needs it."""
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
    """Return an array for a check. For a second export, put a first import in ``earlier``, which lives as long as the check.

    If the consumer refuses this first import, the producer has at least exported the array.
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
    """Return the array of a point. At the level ``after-refusal`` the library has first refused other arrays and an export of this one."""
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
    """Return the producer's array, the suite's struct if the array is an import of it, and the second view if the point has one.

    The struct shows when the producer releases the import.
    """
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
    """Return the array of a point, made by a library; raise ``NotMade`` if it cannot make one."""
    form = point.array()
    block, readonly = _content(point, form.elements), point.access == "readonly"
    try:
        return exchange.make(library, kind=point.kind, form=form, block=block, readonly=readonly)
    except Exception as error:
        exchange.check_context(error)
        raise NotMade(f"{library.name} cannot make such an array: {brief(error)}") from error


def _made_beside(exchange: Exchange, point: Point) -> tuple[Source, Source]:
    """Return the array of a point and a second view with the same element 0 and shape; both are views of one array."""
    form, first, second = point.beside()
    library, block = exchange.producer, _content(point, form.elements)
    outer = Layout(form.name, form.base, form.steps[:-1])
    try:
        whole = exchange.make(library, kind=point.kind, form=outer, block=block, readonly=point.access == "readonly")
        other = Source(library.view(whole.array, second), point.kind, apply(outer.view, second), whole.address, block)
        found = Source(library.view(whole.array, first), point.kind, form.view, whole.address, block)
    except Exception as error:
        exchange.check_context(error)
        raise NotMade(f"{library.name} cannot make such an array: {brief(error)}") from error
    return exchange.made(found), other


def _content(point: Point, count: int) -> bytes:
    if point.content == "zeros":
        return bytes(count * point.kind.itemsize)
    return raw(point.kind, count) if point.content == "raw" else pattern(point.kind, count)


def _dictionary(point: Point, source: Source) -> dict[str, Any]:
    """Return the keys that this point changes in the reference's dictionary."""
    version = {"version": 2} if point.form.startswith("dictionary-2") else {}
    return {**version, "strides": source.strides} if point.form.endswith("strides-told") else version


def _far_apart(exchange: Exchange, reference: Adapter, point: Point) -> Source:
    """Return an array of the reference whose rows lie so far apart that the byte offset needs more than 32 bits."""
    view = far_rows(point.kind, point.ndim, point.skipped)
    assert isinstance(reference, ReferenceAdapter)
    try:
        array = reference.reserved(point.kind, view, exchange.device)
    except (OSError, MemoryError) as error:
        raise Inconclusive(
            f"not enough memory for an array with rows {view.strides[0]} elements apart: {brief(error)}"
        ) from error
    size, data = point.kind.itemsize, _content(point, view.size)
    begins = array.block.address + view.offset * size  # a faulty exporter may report a wrong address of element 0
    for number, offset in enumerate(offsets(Strided(view.shape, view.strides))):
        exchange.poke(begins + offset * size, data[number * size : (number + 1) * size])
    array.readonly = point.access == "readonly"
    return exchange.made(Source(array, point.kind, view, begins, b"", data))


def _imported(exchange: Exchange, point: Point) -> tuple[Source, Managed | None]:
    """Return the producer's import of an array of the reference, and the struct of that array; a refusal ends the case."""
    producer, reference = exchange.producer, exchange.library(REFERENCE)
    lent = _far_apart(exchange, reference, point) if point.is_far else _made(exchange, reference, point)
    try:
        with exchange.step(Doing.IMPORT, Role.CONSUMER, producer.name, is_lent=True):
            array = producer.take(reference.offer(lent.array, exchange.protocol), exchange.protocol, exchange.device)
            found = producer.describe(array)
    except Exception as error:
        exchange.check_context(error)
        raise Refused(f"{producer.name} refuses the import that it should export again: {brief(error)}") from error
    if lent.view.size and found.address != lent.address:
        raise Refused(f"{producer.name} copies the import, so it exports an array of its own")
    if point.access == "readonly" and not found.readonly:
        raise Refused(f"{producer.name} imports the array as writable, not as read-only (see readonly.import)")
    exports = lent.array.log.exports
    if isinstance(producer, ReferenceAdapter):
        array = producer.exporter(array, exchange.protocol)
    return exchange.made(replace(lent, array=array)), exports[-1] if exports else None


def _keywords(exchange: Exchange, point: Point) -> dict[str, Any]:
    """Return the keywords of the import."""
    keywords = _COPYING.get(point.path, {})
    if isinstance(exchange.consumer, ReferenceAdapter) and point.form in VERSIONS:
        keywords = {**keywords, "max_version": VERSIONS[point.form]}
    return keywords


def _take(exchange: Exchange, point: Point, source: Source) -> Any:
    """Return the consumer's import by the path of the point, and check the streams that the consumer passes."""
    keywords = _keywords(exchange, point)
    offer = exchange.offer(source)
    try:
        taken = exchange.take(offer, promised=exchange.promises(point.is_plain), **keywords)
    except Refused:
        if exchange.case.consumer == REFERENCE:
            exchange.expect_handed(source)  # otherwise the result would say that the reference refused a correct array
            _expect_no_stream_wanted(exchange, source, offer, keywords)
        if _is_unknown(exchange, source):
            _gone(exchange, source, "no device memory at the address of element 0")
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
            reason="the producer publishes an address that is not device memory", expected="an address that the driver knows",
            seen=hex(exchange.handed.address),
        )  # fmt: skip


def _take_beside(exchange: Exchange, point: Point, source: Source, other: Source) -> list[Any]:
    """Return an import of the second view, and that view, which nothing else holds; empty if the consumer refuses it."""
    exchange.made(other)
    try:
        taken = exchange.take(exchange.offer(other), promised="", **_keywords(exchange, point))
    except Refused:
        return []
    finally:
        exchange.made(source)
    return [taken, other.array]


def hand_over(exchange: Exchange, point: Point, source: Source, times: int) -> None:
    """Hand the array over this many times without a check, because checks take longer than the hand-over."""
    keywords = _keywords(exchange, point)
    try:
        with exchange.step(Doing.IMPORT, Role.CONSUMER):
            for _ in range(times):
                offer = exchange.producer.offer(source.array, exchange.protocol)
                exchange.consumer.take(offer, exchange.protocol, exchange.device, **keywords)
    except Exception as error:
        exchange.check_context(error)
        raise Refused(f"the consumer refuses an array that it accepted before: {brief(error)}") from error


def _expect_no_stream_wanted(exchange: Exchange, source: Source, offer: Any, keywords: dict[str, Any]) -> None:
    """Fail if the producer exports a host array for ``stream=-1``, but not for ``stream=None``."""
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
        expected="a capsule", seen=f"a capsule only for stream=-1: {brief(offer.raised)}", given="`stream=None`",
    )  # fmt: skip


def _is_unknown(exchange: Exchange, source: Source) -> bool:
    """Return whether the reference refused the array because its address, device memory before, is no longer that.

    The reference refuses no address of host memory.
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


# -- checks of the import


def _judge_description(exchange: Exchange, point: Point, source: Source, taken: Any, view: View) -> None:
    """Fail unless the hand-over and the import describe the producer's array, or a copy where the protocol allows one."""
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
    """Return whether the consumer has a reason to copy without a request, although DLPack recommends shared memory.

    The producer never has a reason, because the array is its own. A consumer without read-only arrays protects one by a copy.
    """
    if exchange.handed is not None and exchange.is_elsewhere(source, exchange.handed.address):
        return False
    is_aligned = source.address % ALIGNMENT == 0 or exchange.protocol is Protocol.CAI
    lacks_readonly = point.access == "readonly" and Trait.READONLY not in exchange.consumer.traits
    may = not is_aligned or not source.view.contiguous or lacks_readonly
    if may:
        exchange.notes["copy"] = f"{exchange.consumer.name} copies, which the protocol allows"
    return may


def _expect_capsule(exchange: Exchange, point: Point, source: Source, tensor: Tensor) -> None:
    """Fail unless the struct has a version that the reference asked for, the device of the array, and strides where it needs them."""
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
    """Fail unless the capsule names the device of the array. A dictionary names no device."""
    plain = (exchange.device.dlpack_type, 0)
    if seen is not None and seen != plain:
        fail(
            Code.WRONG_DEVICE, "DLP-15", role=Role.PRODUCER, reason="the capsule names a different device than that of the array",
            expected=f"device {plain}", seen=f"device {seen}",
        )  # fmt: skip


def _expect_copied_flag(source: Source, tensor: Tensor, *, is_asked: bool) -> None:
    """Fail unless IS_COPIED is set exactly for a copy, and no undefined flag is set.

    A copy that the consumer did not request is a failure of its own, with the flag or without it.
    """
    if tensor.flags is None:
        return
    moved, flagged = tensor.element0 != source.address, bool(tensor.flags & DLFlags.IS_COPIED)
    if source.view.size and moved != flagged and (is_asked or not moved):
        fail(
            Code.COPIED_FLAG_MISSING if moved else Code.COPIED_FLAG_INVENTED, "DLP-10", role=Role.PRODUCER,
            reason="the producer copies without setting IS_COPIED" if moved else "the producer sets IS_COPIED for shared memory",
            expected=f"IS_COPIED {'set' if moved else 'clear'}: element 0 is at {tensor.element0:#x}, the array's at {source.address:#x}",
            seen=f"flags {tensor.flags}",
        )  # fmt: skip
    allowed = int(DLFlags.READ_ONLY | DLFlags.IS_COPIED)
    if tensor.flags & ~allowed:
        fail(
            Code.FLAG_UNDEFINED, "DLP-07", role=Role.PRODUCER, reason="the producer sets a flag that has no meaning here",
            expected=f"at most {allowed:#x}", seen=f"flags {tensor.flags:#x}",
        )  # fmt: skip


def _judge_content(exchange: Exchange, point: Point, source: Source, taken: Any, view: View) -> None:
    """Fail unless the import has the elements and the producer's memory is unchanged.

    No document says how a library reads signalling NaNs and bools other than 0 and 1. For these only the memory is compared.
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
        seen_at = f"element 0 at {view.address:#x}, the producer's at {source.address:#x}"
        copy_is_shared(exchange, source, expected="an address outside of the producer's block", seen=seen_at)


def _is_whole_block(exchange: Exchange, source: Source, view: View) -> bool:
    """Return whether the reference has read the producer's whole block on a GPU: a second read, which has to wait, is not needed."""
    is_ours = exchange.device is Device.CUDA and exchange.case.consumer == REFERENCE
    is_packed = source.view.contiguous and source.view.size * source.dtype.itemsize == len(source.block)
    return is_ours and is_packed and view.address == source.address


def _expect_block(exchange: Exchange, source: Source, seen: bytes) -> None:
    """Fail if memory outside of the view's elements has changed: in its block, which now is ``seen``, or in the guard bytes around it."""
    block = source.array.block if isinstance(source.array, Exporter) else None
    beside = spills(block) if isinstance(block, HostBlock) else []
    if isinstance(block, HostBlock) and beside:
        GUARDS.forget(block)  # otherwise the end of the case reports it a second time
        fail(
            Code.WRITE_OUTSIDE, exchange.reading(), role=Role.CONSUMER, reason="bytes next to the memory of the array change during the exchange",
            expected="no change", seen=beside[0].told, accused=Side.CONSUMER,
        )  # fmt: skip
    if seen == source.block:
        return
    side = Side.CONSUMER if exchange.case.producer == REFERENCE else None
    fail(
        Code.WRITE_OUTSIDE, exchange.reading(), role=Role.CONSUMER, reason="elements outside of the view change during the exchange",
        expected=show(source.block, source.dtype), seen=show(seen, source.dtype), accused=side,
    )  # fmt: skip


def _judge_flags(exchange: Exchange, point: Point, source: Source, view: View) -> None:
    """Fail unless a read-only array is exported and imported as read-only, and a writable one as writable.

    A consumer without read-only arrays is exempt, and so are copies. A legacy capsule has no read-only bit, and the CUDA Array Interface
    leaves the import to the consumer.
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
            reason="the producer exports a read-only array without the read-only bit"
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
            reason="the consumer drops the read-only bit" if wanted else "the consumer imports a writable array as read-only",
            expected="a read-only array" if wanted else "a writable array", seen="a writable one" if wanted else "a read-only one",
            accused=exchange.reader_at_fault(),
        )  # fmt: skip


def _expect_no_address(exchange: Exchange, source: Source) -> None:
    """Fail unless an array without elements has address 0; only the reference checks it, as in ``layout.empty-export``."""
    handed = exchange.handed
    if source.view.size or handed is None or not handed.address or exchange.case.consumer != REFERENCE:
        return
    fail(
        Code.ADDRESS_FOR_EMPTY, "DLP-19" if exchange.protocol is Protocol.DLPACK else "CAI-06", role=Role.PRODUCER,
        reason="the producer exports an address for an array without elements", expected="0", seen=hex(handed.address), accused=Side.PRODUCER,
    )  # fmt: skip


# -- lifetime of the memory


def _press(exchange: Exchange, point: Point) -> list[Any]:
    """Return new arrays of the producer with the same size and other content, which reuse memory that was released too early."""
    if point.is_far:
        return []
    form = point.array()
    block = bytes([1]) * (form.elements * point.kind.itemsize)
    with together():
        return [exchange.producer.array(point.kind, form.base, block, exchange.device) for _ in range(_PRESSURE)]


def _blocks(arrays: Iterable[Any]) -> list[HostBlock | CudaBlock]:
    """Return the blocks of those arrays that belong to the reference."""
    blocks = (array.block for array in arrays if isinstance(array, Exporter))
    return [block for block in blocks if isinstance(block, (HostBlock, CudaBlock))]


def _judge_lifetime(
    exchange: Exchange, point: Point, source: Source, lent: Managed | None, holder: list[Any], *, is_shared: bool, strays: int,
    patient: bool,
) -> list[Managed]:  # fmt: skip
    """Fail unless the memory lives as long as the import, and is then released once. Only ``holder`` has the import.

    Return the reference's exports. With ``patient``, wait for a release on another thread while the import lives.
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
    ):  # check the guard bytes together with those of the array's own block after its release: each check waits for the GPU
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
            Code.DELETER_ARGUMENT_WRONG, "DLP-26", role=Role.CONSUMER, reason="the consumer calls the deleter with a wrong pointer",
            expected="calls with the pointer of the capsule", seen=f"calls with {', '.join(map(hex, stray_deleter_calls[strays:]))}",
        )  # fmt: skip
    if gone is None:
        exchange.notes["array"] = (
            f"{exchange.producer.name}'s array supports no weak reference, so the suite cannot see its release"
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
    """Fail if all exports of the reference are released while an import of the last one lives."""

    def are_released() -> bool:
        return bool(exports) and all(managed.deleter_calls for managed in exports)

    settle()  # an unconsumed capsule may still have to be destroyed
    if happens(are_released) if patient and exports else are_released():
        fail(
            Code.RELEASED_EARLY, "DLP-26", role=Role.CONSUMER, reason="the consumer releases the producer's memory while the import lives",
            expected="no call of the deleter", seen=f"{sum(managed.deleter_calls for managed in exports)} calls",
        )  # fmt: skip


def _is_let_go(exchange: Exchange, point: Point, event: Callable[[], bool]) -> bool:
    """Return whether ``event`` comes true in time. Do not wait for a library that is late with plain arrays: ``lifetime`` reports it."""
    if at_once(event):
        return True
    late = _late(exchange, point.path)
    if late:
        _not_judged(exchange, f"{late} also releases plain arrays late")
        return True
    return happens(event)


def _late(exchange: Exchange, path: str) -> str:
    """Return the name of the library of this exchange that releases a plain array late, or ``""``."""
    way = Way.REEXPORT if path == "reexport" else Way.EXPORT
    sides = ((exchange.consumer, Way.IMPORT), (exchange.producer, way))
    return next((library.name for library, held in sides if is_late(exchange, library, held)), "")


@contextmanager
def _never(exchange: Exchange) -> Iterator[None]:
    """Ignore a late release inside; only one that never comes is a failure. At a single point the delay would depend on chance."""
    try:
        yield
    except Failure as failure:
        if failure.code is not Code.RELEASED_AFTER_A_WHILE:
            raise
        _not_judged(exchange, failure.reason)


def _not_judged(exchange: Exchange, why: str) -> None:
    exchange.notes["release"] = f"not checked here, but by the family lifetime: {why}"


def _expect_part_holds(
    exchange: Exchange, point: Point, source: Source, holder: list[Any], pressure: list[Any]
) -> None:
    """Fail unless a view of the import keeps the memory, and is read-only if the import is. The view replaces the import in ``holder``.

    ``pressure`` has the arrays that reuse memory which was released too early, and gets more of them.
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
            "the memory is reused while a view of the import lives",
            show(source.values, source.dtype),
            show(seen, source.dtype),
        )
    if is_locked and not exchange.look(holder[0]).readonly:
        fail(
            Code.READONLY_LOST, "DLP-09", role=Role.CONSUMER, level=Level.SHOULD, reason="a view of a read-only import is writable",
            expected="a read-only view", seen="a writable one", accused=exchange.reader_at_fault(),
        )  # fmt: skip


def _gone(exchange: Exchange, source: Source, seen: str) -> NoReturn:
    """Fail because an import reads other elements than before. If the producer's array still lives, the memory of its base is gone."""
    reason, expected = "the memory is reused while the import lives", show(source.values, source.dtype)
    if exchange.protocol is Protocol.DLPACK:
        reused(exchange, reason, expected, seen)
    fail(Code.RELEASED_EARLY, "CAI-05", role=Role.PRODUCER, reason=reason, expected=expected, seen=seen)


def _expect_one_call(exchange: Exchange, point: Point, managed: Managed) -> None:
    if not _is_let_go(exchange, point, lambda: managed.deleter_calls >= 1):
        with _never(exchange):
            unreleased(
                exchange, lambda: managed.deleter_calls == 1, "DLP-26", role=Role.CONSUMER,
                reason="the consumer does not release the producer's memory when the import is gone", expected="one call of the deleter", seen="no call",
            )  # fmt: skip
    if managed.deleter_calls > 1:
        fail(
            Code.RELEASED_TWICE, "DLP-26", role=Role.CONSUMER, reason="the consumer releases the producer's memory more than once",
            expected="one call of the deleter", seen=f"{managed.deleter_calls} calls", given=HELD[Role.CONSUMER],
        )  # fmt: skip


# -- paths with earlier calls


def refuse(exchange: Exchange) -> None:
    """Make the library refuse: the producer an export to an unknown device, the consumer an array on it or of an unknown element type."""
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
    """Call ``action`` and ignore the outcome: other invariants check it."""
    try:
        with exchange.step({Role.PRODUCER: Doing.EXPORT, Role.CONSUMER: Doing.IMPORT}[role], role):
            action()
    except Exception as error:
        exchange.check_context(error)


def _export_in_vain(exchange: Exchange, source: Source) -> None:
    """Make an unconsumed capsule and a refused export: neither may keep the array alive afterwards."""
    exporter = exchange.producer.exporter(source.array, Protocol.DLPACK)
    _refused(exchange, Role.PRODUCER, exporter.__dlpack__)
    _refused(exchange, Role.PRODUCER, partial(exporter.__dlpack__, max_version=NEWEST))
    _refused(exchange, Role.PRODUCER, partial(exporter.__dlpack__, dl_device=_NOWHERE))
