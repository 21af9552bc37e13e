"""Things that offer DLPack in ways no array does: a capsule that is kept, an older signature, an exception, half of it."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn
from weakref import WeakKeyDictionary

from conformance.adapters.base import Adapter, Device, Protocol
from conformance.protocols import capsule
from conformance.protocols.clauses import Level, Role
from conformance.protocols.dlpack import USED_LEGACY, USED_VERSIONED, tells_unknown_keyword
from conformance.reference.exporter import NEWEST, Exporter
from conformance.reference.managed import Deleter, Managed, settle

from .base_exceptions import text_of
from .codes import Code
from .exchange import Exchange, Source, brief, collect
from .libraries import REFERENCE, Environment, Pair
from .outcomes import ACCUSED, Refused, fail
from .steps import Doing

PATIENCE = 1.0
"""Seconds that a library gets to release memory on a thread of its own. It decides nothing but how soon we give up."""

LATE = 5
"""After so many times the patience memory that is not released counts as lost, and not as late."""

STRUCTS = ("versioned", "legacy")
"""An axis: which of the two structs a capsule holds."""


class Recorded(ABC):
    """Both methods of the protocol; every call's arguments are kept."""

    def __init__(self, device: tuple[int, int]) -> None:
        self._device = device
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    @abstractmethod
    def answer(self, *args: Any, **kwargs: Any) -> Any:
        """What ``__dlpack__`` gives."""

    def __dlpack__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls.append((args, kwargs))
        return self.answer(*args, **kwargs)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._device

    @property
    def asked_for_versioned(self) -> bool:
        """Whether any call said that the caller understands versioned capsules."""
        return any(asks_for_versioned(keywords) for _, keywords in self.calls)


def asks_for_versioned(keywords: dict[str, Any]) -> bool:
    """Whether a call with these keywords says that the caller understands versioned capsules."""
    asked = keywords.get("max_version")
    major = asked[0] if isinstance(asked, (tuple, list)) and asked else 0
    return isinstance(major, int) and major >= 1


def expect_streams(exchange: Exchange, calls: Iterable[tuple[tuple[Any, ...], dict[str, Any]]]) -> None:
    """Expect that each of these calls names no stream for host memory, and a permitted stream for CUDA memory.

    If the producer names another device than that of the array, the consumer is not judged: a check of devices judges the producer.
    """
    named = exchange.handed.device if exchange.handed is not None else None
    if named is not None and named[0] != exchange.device.dlpack_type:
        return
    for _, keywords in calls:
        stream = keywords.get("stream")
        if exchange.device is Device.HOST and stream is not None:
            fail(
                Code.INVALID_STREAM, "DLP-36", role=Role.CONSUMER, reason="the consumer passes a stream for host memory",
                expected="stream=None, or no stream", seen=told_call(keywords),
            )  # fmt: skip
        if exchange.device is Device.HOST:
            continue
        if stream is None:
            fail(
                Code.NO_STREAM_NAMED, "DLP-63", role=Role.CONSUMER, reason="the consumer does not name its stream",
                expected="stream=1 for the legacy default stream, or a handle", seen=told_call(keywords),
            )  # fmt: skip
        if not isinstance(stream, int) or stream == 0 or stream < -1:
            fail(
                Code.INVALID_STREAM, "DLP-31", role=Role.CONSUMER, reason="the consumer passes a stream that the protocol does not allow",
                expected="-1, 1, 2 or a handle", seen=told_call(keywords),
            )  # fmt: skip


def told_call(keywords: dict[str, Any]) -> str:
    """Return a call of ``__dlpack__`` as in source code."""
    return f"__dlpack__({', '.join(f'{name}={value!r}' for name, value in keywords.items())})"


class Offered(Recorded):
    """Answers by any function."""

    def __init__(self, dlpack: Callable[..., Any], device: tuple[int, int]) -> None:
        super().__init__(device)
        self._dlpack = dlpack

    def answer(self, *args: Any, **kwargs: Any) -> Any:
        """The function's answer."""
        return self._dlpack(*args, **kwargs)


class Prepared(Recorded):
    """One capsule of the reference, the same at every call, and kept: what became of it can be looked at."""

    def __init__(self, source: Source, *, versioned: bool = True) -> None:
        exporter: Exporter = source.array
        super().__init__(exporter.device())
        self.capsule = exporter.__dlpack__(max_version=NEWEST if versioned else None)
        self.managed: Managed = exporter.log.exports[-1]

    def answer(self, *args: Any, **kwargs: Any) -> Any:
        """The capsule."""
        return self.capsule

    @property
    def consumed(self) -> bool:
        """Whether a consumer has marked the capsule as its own (DLP-25)."""
        return capsule.name(self.capsule) in (USED_LEGACY, USED_VERSIONED)


def prepared(exchange: Exchange, source: Source) -> Prepared:
    """A capsule with the struct of the case's parameter ``struct``, versioned if it has none."""
    return Prepared(source, versioned=exchange.option("struct", "versioned") == "versioned")


@dataclass
class Watched:
    """An array of the producer on memory of ours: our struct's deleter tells when the producer has let go of it.

    ``values`` are its elements in row-major order, at ``address``. Whoever drops ``array`` sets it to ``None``.
    """

    array: Any
    address: int
    values: bytes
    witness: Managed

    @property
    def released(self) -> int:
        """How often the producer has released the memory."""
        return self.witness.deleter_calls


def watched(exchange: Exchange) -> Watched:
    """The producer's import of an array of the reference, to be exported again; a refusal ends the case.

    The witness is native code: it counts right with an exception in flight and on any thread. A producer whose imports are never
    released would be accused of its exports, whatever they do: it is tried first, and cannot be watched.
    """
    if not releases_imports(exchange, exchange.producer):
        told = "its imports do not release (see lifetime.deleter-once), so its exports cannot be watched"
        raise Refused(f"{exchange.producer.name}: {told}")
    array, source = _lent(exchange, exchange.producer)
    if not exchange.holds(source, source.values):
        raise Refused(f"{exchange.producer.name} changes what it imports, so its memory cannot be watched")
    if exchange.producer.describe(array).address != source.address:
        raise Refused(f"{exchange.producer.name} copies what it imports, so what it releases cannot be seen")
    return Watched(array, source.address, source.values, source.array.log.exports[-1])


def _lent(exchange: Exchange, library: Adapter) -> tuple[Any, Source]:
    """The library's import of an array of the reference, and that array; a refusal ends the case."""
    reference = exchange.library(REFERENCE)
    source = exchange.make(reference)
    source.array.override = {"deleter": Deleter.NATIVE}
    offer = reference.offer(source.array, Protocol.DLPACK)
    try:
        with exchange.step(Doing.IMPORT, Role.CONSUMER, library.name, is_lent=True):
            return library.take(offer, Protocol.DLPACK, exchange.device), source
    except Exception as error:
        exchange.check_context(error)
        raise Refused(f"{library.name} does not import what is to be watched: {brief(error)}") from error


_releases: WeakKeyDictionary[Adapter, dict[tuple[Role, Device], bool]] = WeakKeyDictionary()
"""Whether plain imports, or plain exports, of a library are released. A process measures it once, because the wait is long."""


def releases_imports(exchange: Exchange, library: Adapter) -> bool:
    """Whether a plain import of a library's is released when it is dropped, or at least by its documented call."""
    known = _releases.setdefault(library, {})
    key = Role.CONSUMER, exchange.device
    if key not in known:
        known[key] = _releases_import(exchange, library)
    return known[key]


def releases_exports(exchange: Exchange, library: Adapter) -> bool:
    """Whether a plain export of a library's is released when its consumer drops it. The array is one that the library has imported."""
    known = _releases.setdefault(library, {})
    key = Role.PRODUCER, exchange.device
    if key not in known:
        known[key] = _releases_export(exchange, library)
    return known[key]


def _releases_import(exchange: Exchange, library: Adapter) -> bool:
    with exchange.control():
        array, source = _lent(exchange, library)
        witness = source.array.log.exports[-1]
        del array
        return _is_released(library, witness)


def _releases_export(exchange: Exchange, library: Adapter) -> bool:
    reference = exchange.library(REFERENCE)
    with exchange.control():
        array, source = _lent(exchange, library)
        witness = source.array.log.exports[-1]
        try:
            with exchange.step(Doing.EXPORT, Role.PRODUCER):
                taken = reference.take(library.offer(array, Protocol.DLPACK), Protocol.DLPACK, exchange.device)
        except Exception as error:
            exchange.check_context(error)
            raise Refused(f"{library.name} does not export what it has imported: {brief(error)}") from error
        del array, taken
        return _is_released(library, witness)


def _is_released(library: Adapter, witness: Managed) -> bool:
    def is_released() -> bool:
        return bool(witness.deleter_calls)

    if happens(is_released) or (library.let_go() and at_once(is_released)):
        return True
    return _comes_true(is_released, LATE * PATIENCE)


def expect_plain_releases(exchange: Exchange, *libraries: Adapter) -> None:
    """Each of these libraries releases plain imports and plain exports; one that does not fails by that alone, and by nothing else.

    That is asked once something was not released: who leaks everything says nothing about what was special there.
    """
    for library in libraries:
        if not releases_imports(exchange, library):
            _leaks(library, Role.CONSUMER)
        if not releases_exports(exchange, library):
            _leaks(library, Role.PRODUCER)


def _leaks(library: Adapter, role: Role) -> NoReturn:
    does, cited = ("imports", "DLP-26") if role is Role.CONSUMER else ("exports", "DLP-27")
    fail(
        Code.NOT_RELEASED, cited, role=role, reason=f"the library does not release what it {does}, not even a plain array",
        expected="one call of the deleter", seen="no call", given=HELD[role], accused=ACCUSED[role], library=library.name,
    )  # fmt: skip


def export_again(exchange: Exchange, array: Any, *, versioned: bool) -> Any:
    """A capsule of something that the producer has imported; a refusal ends the case."""
    offer = exchange.offer(array)
    try:
        with exchange.step(Doing.EXPORT, Role.PRODUCER):
            return offer.__dlpack__(max_version=NEWEST) if versioned else offer.__dlpack__()
    except Exception as error:
        exchange.check_context(error)
        raise Refused(f"{exchange.producer.name} does not export what it has imported: {brief(error)}") from error


def exports_of_imports(env: Environment, on: tuple[Device, ...] = tuple(Device)) -> Iterator[Pair]:
    """Producers that also import, so that they can be given memory which is watched."""
    return (p for p in env.exports(Protocol.DLPACK, on=on) if Protocol.DLPACK in p.source.imports)


class StreamOnly:
    """The method as the array API standard had it until 2022.12: legacy capsules, ``stream`` and nothing else."""

    def __init__(self, exporter: Exporter) -> None:
        self._exporter = exporter

    def __dlpack__(self, *, stream: Any = None) -> Any:
        return self._exporter.__dlpack__(stream=stream)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._exporter.__dlpack_device__()


class StreamAndVersion(StreamOnly):
    """The method half-way to 2023.12: ``stream`` and ``max_version``."""

    def __dlpack__(self, *, stream: Any = None, max_version: Any = None) -> Any:
        return self._exporter.__dlpack__(stream=stream, max_version=max_version)


class KeywordOnly(StreamOnly):
    """The method as it has been since 2023.12, to the letter: four keywords, and nothing by position."""

    def __dlpack__(
        self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: Any = None
    ) -> Any:
        return self._exporter.__dlpack__(stream=stream, max_version=max_version, dl_device=dl_device, copy=copy)


def happens(event: Callable[[], bool]) -> bool:
    """Whether this comes true: at once, after collecting cycles, or within :data:`PATIENCE`.

    A library may release on a thread of its own: that it has not released yet says nothing before the patience is at its end.
    """
    return _comes_true(event, PATIENCE)


def comes_late(library: Adapter, event: Callable[[], bool]) -> bool:
    """Return whether this comes true only after the patience: by the documented call of the library, or by itself."""
    if happens(event):
        return False
    return bool(library.let_go() and happens(event)) or _comes_true(event, LATE * PATIENCE)


def at_once(event: Callable[[], bool]) -> bool:
    """Return whether this is true now, or after a collection of garbage."""
    settle()
    if event():
        return True
    collect()
    settle()
    return event()


def _comes_true(event: Callable[[], bool], seconds: float) -> bool:
    settle()
    if event():
        return True
    end = time.monotonic() + seconds
    while True:
        collect()
        settle()
        if event():
            return True
        if time.monotonic() > end:
            return False
        time.sleep(0.01)


def expect_not_late(
    event: Callable[[], bool], cited: str, *, role: Role, reason: str, expected: object, seen: str
) -> None:
    """Fail, as a deviation of the side ``role``, if something that was not released in time is released later; else return."""
    if _comes_true(event, LATE * PATIENCE):
        fail(
            Code.RELEASED_AFTER_A_WHILE, cited, role=role, level=Level.SHOULD, reason=f"{reason} in time", expected=expected,
            seen=f"{seen} within {PATIENCE:g} s; it came later",
        )  # fmt: skip


def unreleased(
    exchange: Exchange, event: Callable[[], bool], cited: str, *, role: Role, reason: str, expected: object, seen: str,
    what: str = "", level: Level | None = None,
) -> NoReturn:  # fmt: skip
    """Fail because something was not released in time; ``event`` returns whether it is released by now.

    ``what`` names it, by default without its special input. A library that releases it by its documented call is late, which is a deviation,
    and that library is accused. The call comes first, because other work may empty a cache meanwhile, which is the same cause. A library
    that releases it later without the call is late as well. Otherwise it is lost, which breaks the clause ``cited``.
    """
    for side, name in ((Role.CONSUMER, exchange.case.consumer), (Role.PRODUCER, exchange.case.producer)):
        call = exchange.library(name).let_go()
        if call and happens(event):
            fail(
                Code.RELEASED_LATE, _RELEASING[exchange.protocol][side], role=side, level=Level.SHOULD, reason=reason,
                expected=expected, seen=f"{seen}; released by {call}", given=f"`{call}`", accused=ACCUSED[side],
            )  # fmt: skip
    expect_not_late(event, cited, role=role, reason=reason, expected=expected, seen=seen)
    fail(
        Code.NOT_RELEASED, cited, role=role, level=level, reason=reason, expected=expected, seen=seen,
        given=what or HELD[role],
    )  # fmt: skip


def reused(exchange: Exchange, reason: str, expected: str, seen: str) -> NoReturn:
    """Fail because memory that is still in use has been released: by the side that is not the reference, as far as that is known."""
    role = exchange.suspect()
    clause = "DLP-28" if role is Role.PRODUCER else "DLP-26"
    fail(Code.RELEASED_EARLY, clause, role=role, reason=reason, expected=expected, seen=seen)


def still_held(exchange: Exchange, event: Callable[[], bool], seen: str) -> NoReturn:
    """Fail because the producer's array lives on though its import is gone; ``event`` returns whether it is released by now."""
    role = exchange.suspect()
    by_dlpack = exchange.protocol is Protocol.DLPACK
    unreleased(
        exchange, event, _RELEASING[Protocol.DLPACK][role] if by_dlpack else "CAI-27", role=role,
        reason="the producer's array is still held though the import is gone", expected="no reference to it", seen=seen,
        what=HELD[role],
    )  # fmt: skip


HELD = {Role.PRODUCER: "an exported array", Role.CONSUMER: "an import"}
"""What a side releases."""
_RELEASING = {
    Protocol.DLPACK: {Role.PRODUCER: "DLP-27", Role.CONSUMER: "DLP-26"},
    Protocol.CAI: {Role.PRODUCER: "CAI-27", Role.CONSUMER: "CAI-27"},
}
"""The clause about releasing memory. By the array interface none binds a library (CAI-27 binds the user)."""


REFUSED_IMPORT = "the struct of a refused import"
"""What is not released, or too often, by an import that fails."""


def expect_one_owner(exchange: Exchange, offer: Prepared, role: Role, what: str) -> None:
    """After a refused import: either the consumer took the capsule and has released it, or it is untouched.

    ``what`` is what has happened, in words. A struct that is released and still in an unmarked capsule will be released again. One that is marked as taken and
    not released is lost; no document says in so many words who has to release it then (G7), so that is a deviation.
    """
    happens(lambda: offer.managed.deleter_calls == int(offer.consumed))
    calls, consumed = offer.managed.deleter_calls, offer.consumed
    state = f"the capsule is marked as {'used' if consumed else 'unused'}, the deleter was called {calls} times"
    if calls > int(consumed):
        fail(
            Code.RELEASED_TWICE, "DLP-26", role=role, reason=f"{what}: the struct is released twice",
            expected="one call of the deleter, by the consumer or by the capsule", seen=state,
            given=REFUSED_IMPORT,
        )  # fmt: skip
    if calls < int(consumed):
        expect_not_late(
            lambda: offer.managed.deleter_calls >= int(offer.consumed), "DLP-26", role=Role.CONSUMER,
            reason=f"{what}: the struct is not released", expected="one call of the deleter", seen=state,
        )  # fmt: skip
        if not releases_imports(exchange, exchange.consumer):
            _leaks(exchange.consumer, Role.CONSUMER)
        fail(
            Code.NOT_RELEASED, "DLP-26", role=role, level=Level.SHOULD,
            reason=f"{what}: the struct is never released",
            expected="one call of the deleter by the consumer, which has marked the capsule as used", seen=state,
            given=REFUSED_IMPORT,
        )  # fmt: skip


def older_signature(error: BaseException) -> bool:
    """Whether a call failed because the method does not know a keyword."""
    return isinstance(error, TypeError) and tells_unknown_keyword(text_of(error))
