"""DLPack exporters of the suite with special behaviour, such as a recorded call, a kept capsule or an older signature.

The module also watches when a library releases the memory of an import or of an export.
"""

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
"""Seconds in which a library must release memory, also from another thread. A later release is reported as late."""

LATE = 5
"""After this many times the patience, memory that is still held counts as never released, not as late."""

STRUCTS = ("versioned", "legacy")
"""Values of the parameter ``struct``: the two structs that a capsule can hold."""


class Recorded(ABC):
    """An object with both methods of DLPack, which records the arguments of each call."""

    def __init__(self, device: tuple[int, int]) -> None:
        self._device = device
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    @abstractmethod
    def answer(self, *args: Any, **kwargs: Any) -> Any:
        """Return the result of ``__dlpack__``."""

    def __dlpack__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls.append((args, kwargs))
        return self.answer(*args, **kwargs)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._device

    @property
    def asked_for_versioned(self) -> bool:
        """True if any call requested a versioned capsule."""
        return any(asks_for_versioned(keywords) for _, keywords in self.calls)


def asks_for_versioned(keywords: dict[str, Any]) -> bool:
    """Return whether a call with these keywords requests a versioned capsule."""
    asked = keywords.get("max_version")
    major = asked[0] if isinstance(asked, (tuple, list)) and asked else 0
    return isinstance(major, int) and major >= 1


def expect_streams(exchange: Exchange, calls: Iterable[tuple[tuple[Any, ...], dict[str, Any]]]) -> None:
    """Fail the consumer if a call names a stream for host memory, or no permitted stream for CUDA memory.

    If the producer reports a wrong device, the consumer is not judged. Another check judges the reported device.
    """
    named = exchange.handed.device if exchange.handed is not None else None
    if named is not None and named[0] != exchange.device.dlpack_type:
        return
    for _, keywords in calls:
        stream = keywords.get("stream")
        if exchange.device is Device.HOST and stream is not None:
            fail(
                Code.INVALID_STREAM, "DLP-36", role=Role.CONSUMER, reason="the consumer passes a stream for an array in host memory",
                expected="stream=None, or no stream", seen=told_call(keywords),
            )  # fmt: skip
        if exchange.device is Device.HOST:
            continue
        if stream is None:
            fail(
                Code.NO_STREAM_NAMED, "DLP-63", role=Role.CONSUMER, reason="the consumer does not pass its stream to `__dlpack__`",
                expected="stream=1 for the legacy default stream, or a handle", seen=told_call(keywords),
            )  # fmt: skip
        if not isinstance(stream, int) or stream == 0 or stream < -1:
            fail(
                Code.INVALID_STREAM, "DLP-31", role=Role.CONSUMER, reason="the consumer passes a stream that the protocol does not allow",
                expected="-1, 1, 2 or a handle", seen=told_call(keywords),
            )  # fmt: skip


def told_call(keywords: dict[str, Any]) -> str:
    """Return a call of ``__dlpack__`` as source code."""
    return f"__dlpack__({', '.join(f'{name}={value!r}' for name, value in keywords.items())})"


class Offered(Recorded):
    """An exporter whose ``__dlpack__`` calls the given function."""

    def __init__(self, dlpack: Callable[..., Any], device: tuple[int, int]) -> None:
        super().__init__(device)
        self._dlpack = dlpack

    def answer(self, *args: Any, **kwargs: Any) -> Any:
        """Return the result of the function."""
        return self._dlpack(*args, **kwargs)


class Prepared(Recorded):
    """An exporter that returns the same capsule of the reference at each call, and keeps it for inspection."""

    def __init__(self, source: Source, *, versioned: bool = True) -> None:
        exporter: Exporter = source.array
        super().__init__(exporter.device())
        self.capsule = exporter.__dlpack__(max_version=NEWEST if versioned else None)
        self.managed: Managed = exporter.log.exports[-1]

    def answer(self, *args: Any, **kwargs: Any) -> Any:
        """Return the prepared capsule."""
        return self.capsule

    @property
    def consumed(self) -> bool:
        """True if a consumer has renamed the capsule to mark it as used (DLP-25)."""
        return capsule.name(self.capsule) in (USED_LEGACY, USED_VERSIONED)


def prepared(exchange: Exchange, source: Source) -> Prepared:
    """Return a capsule with the struct of the case's parameter ``struct``, by default the versioned one."""
    return Prepared(source, versioned=exchange.option("struct", "versioned") == "versioned")


@dataclass
class Watched:
    """An array of the producer on memory of the suite. The deleter of the suite's struct records when the producer releases it.

    ``values`` are its elements in row-major order, at ``address``. To drop the array, a check sets ``array`` to ``None``.
    """

    array: Any
    address: int
    values: bytes
    witness: Managed

    @property
    def released(self) -> int:
        """The number of times that the producer has released the memory."""
        return self.witness.deleter_calls


def watched(exchange: Exchange) -> Watched:
    """Return the producer's import of an array of the reference, which a check then exports. A refusal ends the case.

    The deleter is native code, so it counts correctly on any thread and while an exception is in flight. A producer that never releases its
    imports cannot be watched: each of its exports would look like a leak. So the import alone is tried first.
    """
    if not releases_imports(exchange, exchange.producer):
        told = (
            "it does not release its imports (see lifetime.deleter-once), so releases of its exports cannot be observed"
        )
        raise Refused(f"{exchange.producer.name}: {told}")
    array, source = _lent(exchange, exchange.producer)
    if not exchange.holds(source, source.values):
        raise Refused(f"{exchange.producer.name} changes the elements of its imports, so releases cannot be observed")
    if exchange.producer.describe(array).address != source.address:
        raise Refused(f"{exchange.producer.name} copies its imports, so releases cannot be observed")
    return Watched(array, source.address, source.values, source.array.log.exports[-1])


def _lent(exchange: Exchange, library: Adapter) -> tuple[Any, Source]:
    """Return the library's import of an array of the reference, and that array. A refusal ends the case."""
    reference = exchange.library(REFERENCE)
    source = exchange.make(reference)
    source.array.override = {"deleter": Deleter.NATIVE}
    offer = reference.offer(source.array, Protocol.DLPACK)
    try:
        with exchange.step(Doing.IMPORT, Role.CONSUMER, library.name, is_lent=True):
            return library.take(offer, Protocol.DLPACK, exchange.device), source
    except Exception as error:
        exchange.check_context(error)
        raise Refused(f"{library.name} refuses to import the array of the suite: {brief(error)}") from error


_releases: WeakKeyDictionary[Adapter, dict[tuple[Role, Device], bool]] = WeakKeyDictionary()
"""True for each library and side whose plain imports or exports are released. A process measures this once, because the wait is long."""


def releases_imports(exchange: Exchange, library: Adapter) -> bool:
    """Return whether the library releases a plain import when it is dropped, or at least at its documented call."""
    known = _releases.setdefault(library, {})
    key = Role.CONSUMER, exchange.device
    if key not in known:
        known[key] = _releases_import(exchange, library)
    return known[key]


def releases_exports(exchange: Exchange, library: Adapter) -> bool:
    """Return whether the library releases a plain export when the consumer drops it. The exported array is an import of the library."""
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
            raise Refused(f"{library.name} refuses to export an import: {brief(error)}") from error
        del array, taken
        return _is_released(library, witness)


def _is_released(library: Adapter, witness: Managed) -> bool:
    def is_released() -> bool:
        return bool(witness.deleter_calls)

    if happens(is_released) or (library.let_go() and at_once(is_released)):
        return True
    return _comes_true(is_released, LATE * PATIENCE)


def expect_plain_releases(exchange: Exchange, *libraries: Adapter) -> None:
    """Fail a library that does not release plain imports or plain exports.

    A check calls this after it has found a leak. If a library leaks plain arrays as well, the special input is not the cause.
    """
    for library in libraries:
        if not releases_imports(exchange, library):
            _leaks(library, Role.CONSUMER)
        if not releases_exports(exchange, library):
            _leaks(library, Role.PRODUCER)


def _leaks(library: Adapter, role: Role) -> NoReturn:
    does, cited = ("an import", "DLP-26") if role is Role.CONSUMER else ("an export", "DLP-27")
    fail(
        Code.NOT_RELEASED, cited, role=role, reason=f"the {role.value} does not release {does}, even of a plain array",
        expected="one call of the deleter", seen="no call of the deleter", given=HELD[role], accused=ACCUSED[role], library=library.name,
    )  # fmt: skip


def export_again(exchange: Exchange, array: Any, *, versioned: bool) -> Any:
    """Return a capsule of an array that the producer has imported. A refusal ends the case."""
    offer = exchange.offer(array)
    try:
        with exchange.step(Doing.EXPORT, Role.PRODUCER):
            return offer.__dlpack__(max_version=NEWEST) if versioned else offer.__dlpack__()
    except Exception as error:
        exchange.check_context(error)
        raise Refused(f"{exchange.producer.name} refuses to export an import: {brief(error)}") from error


def exports_of_imports(env: Environment, on: tuple[Device, ...] = tuple(Device)) -> Iterator[Pair]:
    """Yield the producers that can import as well. They can export watched memory of the suite."""
    return (p for p in env.exports(Protocol.DLPACK, on=on) if Protocol.DLPACK in p.source.imports)


class StreamOnly:
    """``__dlpack__`` of the array API standard until 2022.12: legacy capsules, and the single keyword ``stream``."""

    def __init__(self, exporter: Exporter) -> None:
        self._exporter = exporter

    def __dlpack__(self, *, stream: Any = None) -> Any:
        return self._exporter.__dlpack__(stream=stream)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._exporter.__dlpack_device__()


class StreamAndVersion(StreamOnly):
    """``__dlpack__`` with a part of the keywords of 2023.12: ``stream`` and ``max_version``."""

    def __dlpack__(self, *, stream: Any = None, max_version: Any = None) -> Any:
        return self._exporter.__dlpack__(stream=stream, max_version=max_version)


class KeywordOnly(StreamOnly):
    """``__dlpack__`` exactly as the array API standard has had it since 2023.12: four keyword-only parameters."""

    def __dlpack__(
        self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: Any = None
    ) -> Any:
        return self._exporter.__dlpack__(stream=stream, max_version=max_version, dl_device=dl_device, copy=copy)


def happens(event: Callable[[], bool]) -> bool:
    """Return whether ``event`` becomes true at once, after a garbage collection, or within :data:`PATIENCE`.

    A library may release memory on another thread, so a single check is not enough.
    """
    return _comes_true(event, PATIENCE)


def comes_late(library: Adapter, event: Callable[[], bool]) -> bool:
    """Return whether ``event`` becomes true only after :data:`PATIENCE`, by the documented call of the library or by itself."""
    if happens(event):
        return False
    return bool(library.let_go() and happens(event)) or _comes_true(event, LATE * PATIENCE)


def at_once(event: Callable[[], bool]) -> bool:
    """Return whether ``event`` is true now, or after a garbage collection."""
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
    """Fail with a deviation of ``role`` if a late release happens, and return if it never happens."""
    if _comes_true(event, LATE * PATIENCE):
        fail(
            Code.RELEASED_AFTER_A_WHILE, cited, role=role, level=Level.SHOULD, reason=f"{reason} in time", expected=expected,
            seen=f"{seen} within {PATIENCE:g} s; the release came later",
        )  # fmt: skip


def unreleased(
    exchange: Exchange, event: Callable[[], bool], cited: str, *, role: Role, reason: str, expected: object, seen: str,
    what: str = "", level: Level | None = None,
) -> NoReturn:  # fmt: skip
    """Fail because a side did not release an object in time. ``event`` returns whether it is released by now.

    ``what`` names the object; the default does not mention the special input. If a library releases the object at its documented call, that
    library is late, which is a deviation. The call is tried first: other work may empty the same cache in the meantime. A release without the
    call is late as well. If the object is never released, the failure breaks the clause ``cited``.
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
    """Fail because memory was released while it was in use. The side that is not the reference is reported, if there is one."""
    role = exchange.suspect()
    clause = "DLP-28" if role is Role.PRODUCER else "DLP-26"
    fail(Code.RELEASED_EARLY, clause, role=role, reason=reason, expected=expected, seen=seen)


def still_held(exchange: Exchange, event: Callable[[], bool], seen: str) -> NoReturn:
    """Fail because the producer's array is still alive after its import is gone. ``event`` returns whether it is released by now."""
    role = exchange.suspect()
    by_dlpack = exchange.protocol is Protocol.DLPACK
    unreleased(
        exchange, event, _RELEASING[Protocol.DLPACK][role] if by_dlpack else "CAI-27", role=role,
        reason="the producer's array stays alive after its import is gone", expected="no reference to the array", seen=seen,
        what=HELD[role],
    )  # fmt: skip


HELD = {Role.PRODUCER: "an exported array", Role.CONSUMER: "an import"}
"""The object that each side has to release."""
_RELEASING = {
    Protocol.DLPACK: {Role.PRODUCER: "DLP-27", Role.CONSUMER: "DLP-26"},
    Protocol.CAI: {Role.PRODUCER: "CAI-27", Role.CONSUMER: "CAI-27"},
}
"""The clause about the release of memory. For the CUDA Array Interface no clause binds a library (CAI-27 binds the user)."""


REFUSED_IMPORT = "the struct of a refused import"
"""The object that a failed import releases never, or more than once."""


def expect_one_owner(exchange: Exchange, offer: Prepared, role: Role, what: str) -> None:
    """Fail unless the struct of a refused import has exactly one owner: the consumer, which has released it, or the capsule.

    ``what`` describes the event. A released struct in an unmarked capsule will be released twice. A struct in a capsule that is marked as used is
    leaked if the consumer does not release it. No document says explicitly which side has to release it then (G7), so this is a deviation.
    """
    happens(lambda: offer.managed.deleter_calls == int(offer.consumed))
    calls, consumed = offer.managed.deleter_calls, offer.consumed
    state = f"the capsule is marked as {'used' if consumed else 'unused'}; the deleter was called {calls} times"
    if calls > int(consumed):
        fail(
            Code.RELEASED_TWICE, "DLP-26", role=role, reason=f"{what}: the {role.value} releases the struct twice",
            expected="one call of the deleter, by the consumer or by the capsule", seen=state,
            given=REFUSED_IMPORT,
        )  # fmt: skip
    if calls < int(consumed):
        expect_not_late(
            lambda: offer.managed.deleter_calls >= int(offer.consumed), "DLP-26", role=Role.CONSUMER,
            reason=f"{what}: the consumer does not release the struct", expected="one call of the deleter", seen=state,
        )  # fmt: skip
        if not releases_imports(exchange, exchange.consumer):
            _leaks(exchange.consumer, Role.CONSUMER)
        fail(
            Code.NOT_RELEASED, "DLP-26", role=role, level=Level.SHOULD,
            reason=f"{what}: the {role.value} never releases the struct",
            expected="one call of the deleter by the consumer, which marked the capsule as used", seen=state,
            given=REFUSED_IMPORT,
        )  # fmt: skip


def older_signature(error: BaseException) -> bool:
    """Return whether a call failed because the method does not know a keyword."""
    return isinstance(error, TypeError) and tells_unknown_keyword(text_of(error))
