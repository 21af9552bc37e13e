"""Wrappers around real libraries that are wrong only under a condition, which is checked on the opened capsule.

A wrapper knows less than the reference. It knows no offsets, views or second exports, and no array in a method that runs before a capsule
exists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache, partial, reduce
from itertools import zip_longest
from typing import Any

from conformance.adapters import registry
from conformance.adapters.base import Adapter, Device, Protocol, Trait
from conformance.checks import points as suite_points
from conformance.checks.catalogue import Case, catalogue
from conformance.checks.forks import in_child
from conformance.checks.offers import Offered
from conformance.checks.outcomes import Side
from conformance.checks.patterns import pattern
from conformance.protocols import capsule, dlpack
from conformance.reference.exporter import NEWEST, Exporter
from conformance.reference.managed import settle
from conformance.reference.memory import HostMemory
from conformance.selftest import real
from conformance.selftest.model import Fault, Stage
from conformance.selftest.wrapping import Opened, Real, Wrapper, wrap

from .generating import Decide, overridden
from .knowing import Life
from .levels import ACCESS, DEFAULTS, LAYOUT, RANK, SIZE, THREAD, Level, State
from .points import Point, choices, point
from .reach import Note, Noted
from .subjects import Subject
from .witness import aged, in_thread, remember

OF_EXPORTS = frozenset({"told_device", "asked", "exported", "outgoing"})
KNOWING = frozenset({"asked", "exported", "outgoing", "incoming"})
"""Methods that run when a capsule exists, or just before the library makes it."""
_NAMES = ("told_device", "asked", "exported", "outgoing", "request", "incoming", "taken")
_VERSIONS: tuple[tuple[int, int] | None, ...] = (NEWEST, (1, 0), None)


def generated(kind: type[Wrapper], decide: Decide, names: tuple[str, ...] | None = None) -> type[Wrapper]:
    """Return a subclass of a wrapper that decides at each call of these methods if it is wrong.

    The default is all methods that it overrides.
    """
    names = overridden(kind, Wrapper) if names is None else names
    life = Life(notes_refusals=False)
    made: Any = type(kind.__name__, (kind,), {name: _called(kind, name, decide, life) for name in names})
    exports, takes = made.exported, made.taken

    def exported(self: Wrapper, array: Any, keywords: dict[str, Any]) -> Any:
        known = _peeked(array, life)
        with life.asking(keywords), life.importing(known, 0):
            return exports(self, array, keywords)

    def taken(self: Wrapper, take: Callable[..., Any], offer: Any, keywords: dict[str, Any]) -> Any:
        with life.asking(keywords), life.importing(frozenset(), 0):
            return takes(self, take, offer, keywords)

    made.exported, made.taken, made.life = exported, taken, life
    whole: type[Wrapper] = made
    return whole


def _called(kind: type[Wrapper], name: str, decide: Decide, life: Life) -> Callable[..., Any]:
    wrong, right = getattr(kind, name), getattr(Wrapper, name)

    def method(self: Wrapper, *args: Any) -> Any:
        def state() -> State:
            if args and isinstance(args[0], Opened):
                return life.of_importer(args[0].capsule)
            return life.of_importer(None)

        return (wrong if decide(name, state) else right)(self, *args)

    return method


def _peeked(array: Any, life: Life) -> State:
    """Return the levels in a capsule of the array, which is exported for this purpose only."""
    for keywords in ({"max_version": (1, 0)}, {}):
        with suppress(Exception):
            return life.of_importer(array.__dlpack__(**keywords))
    return frozenset()


def noted(library: str, side: Side, note: Note) -> Noted:
    """Return a flawless wrapper around a library, with the reference, that notes the levels its methods know."""

    def decide(name: str, state: Callable[[], State]) -> bool:
        note(name, state())
        return False

    kind: Any = generated(Wrapper, decide, _NAMES)
    partners: dict[str, Adapter] = real.partners(library)
    wrap(Real(library, lambda array: array, lambda array: 0), kind, partners)
    return Noted(partners, kind.life.begin, lambda case: case)


class OfLibrary(Subject):
    """A wrapper around a real library."""

    def __init__(self, stage: Stage, fault: Fault) -> None:
        self.name, self.statement, self.caught_by, self.library = (
            fault.name,
            fault.statement,
            fault.caught_by,
            stage.library,
        )
        self.stands_for = stage.library
        self._real, self._kind = fault.spoil.args  # type: ignore[attr-defined]
        self.methods = overridden(self._kind, Wrapper)
        self.side = Side.PRODUCER if OF_EXPORTS.intersection(self.methods) else Side.CONSUMER

    def partners(self, condition: tuple[Level, ...]) -> dict[str, Adapter]:
        """Return the faulty library and the reference, with the history that the condition names."""
        partners, life = self._made(condition)
        remember(life, aged(condition))
        return partners

    def flawless(self) -> dict[str, Adapter]:
        """Return the library itself, which violates some rules, and the reference."""
        return real.partners(self.library)

    def _made(self, condition: tuple[Level, ...]) -> tuple[dict[str, Adapter], Life]:
        wanted = frozenset(condition)
        kind: Any = generated(self._kind, lambda name, state: wanted <= state())
        partners: dict[str, Adapter] = real.partners(self.library)
        wrap(self._real, kind, partners)
        return partners, kind.life

    def placed(self, case: Case) -> Case:
        """Return the case unchanged: the library is on one side of each of its cases."""
        return case

    def witness(self, condition: tuple[Level, ...]) -> tuple[str, State]:
        """Return the first exchange with the reference that differs from the library's own."""
        for chosen in choices(condition):
            if dict(chosen).get(LAYOUT) == "reversed" and not _survives(self.library, self.side, chosen):
                continue
            differs = partial(self._differs, condition, chosen)
            if (in_thread(differs) if THREAD in dict(condition) else differs()) is not None:
                text = ", ".join(f"{factor} {level}" for factor, level in chosen)
                return text or "an ordinary array", frozenset(chosen)
        return "", frozenset()

    def _differs(self, condition: tuple[Level, ...], chosen: tuple[Level, ...]) -> int | None:
        """Return the number of the first observation that differs from the library's own."""
        right = _flawless(self.library, self.side, chosen)
        partners, life = self._made(condition)
        remember(life, dict(condition))
        seen = _seen(partners[self.library], self.side, dict(chosen))
        return next((number for number, (one, other) in enumerate(zip_longest(seen, right)) if one != other), None)

    def prepare(self, condition: tuple[Level, ...]) -> None:
        """Do nothing: some of the libraries cannot be used before a fork."""


def runs_threads(library: str) -> bool:
    """Return ``True`` if a library documents that a fork of its process may deadlock."""
    return Trait.THREADED in registry.create(library).traits


def _survives(library: str, side: Side, chosen: tuple[Level, ...]) -> bool:
    """Return ``True`` if the library survives these exchanges in a fork. Negative strides end the process of some libraries."""
    return in_child(lambda: str(len(_flawless(library, side, chosen)))).isdecimal()


@lru_cache(maxsize=4096)
def _flawless(library: str, side: Side, chosen: tuple[Level, ...]) -> tuple[Any, ...]:
    return tuple(_seen(real.partners(library)[library], side, dict(chosen)))


def _seen(adapter: Adapter, side: Side, levels: dict[str, str]) -> Iterator[Any]:
    at = point(levels)
    if at is None or at.view.size > suite_points.PAGE:
        return
    try:
        yield from _exports(adapter, at, levels) if side is Side.PRODUCER else _imports(adapter, at)
    except Exception as error:  # noqa: BLE001 - each exception of a fault is an observation
        yield "raised", type(error).__name__


def _exports(adapter: Adapter, at: Point, levels: dict[str, str]) -> Iterator[Any]:
    """Observe two arrays of the library, each exported in every form."""
    chosen = {**DEFAULTS, **levels}
    form = suite_points.Point(
        at.dtype,
        chosen[LAYOUT],
        f"rank-{chosen[RANK]}",
        chosen[SIZE],
        path="view" if levels.get("path") == "view" else "own",
    ).array()
    for _ in range(2):
        base = adapter.array(at.kind, form.base, pattern(at.kind, form.elements), Device.HOST)
        if chosen[ACCESS] == "readonly":
            adapter.freeze(base)
        start, array = adapter.describe(base).address, reduce(adapter.view, form.steps, base)
        offer = adapter.exporter(array, Protocol.DLPACK)
        yield offer.__dlpack_device__()
        for version in _VERSIONS:
            for copy in (None, True, False):
                yield _described(offer, start, form.elements * at.kind.itemsize, max_version=version, copy=copy)
        yield _described(offer, start, 0, dl_device=(7, 0))
        first, second = (_attempt(lambda: offer.__dlpack__(max_version=NEWEST)) for _ in range(2))  # noqa: B023
        yield first is second


def _described(offer: Any, start: int, nbytes: int, **keywords: Any) -> Any:
    made = _attempt(lambda: offer.__dlpack__(**keywords))
    if not capsule.is_capsule(made):
        return made
    name = capsule.name(made)
    try:
        tensor = dlpack.decode(capsule.pointer(made), name)
    except dlpack.Malformed:
        return name
    inside = start <= tensor.data <= start + nbytes
    return (
        name, tensor.version, tensor.flags, tensor.device, tensor.code, tensor.bits, tensor.lanes, tensor.shape, tensor.strides,
        tensor.data - start if inside else "elsewhere", tensor.byte_offset, bool(tensor.deleter),
    )  # fmt: skip


def _attempt(action: Callable[[], Any]) -> Any:
    try:
        return action()
    except Exception as error:  # noqa: BLE001 - each exception of a fault is an observation
        return type(error).__name__


def _imports(adapter: Adapter, at: Point) -> Iterator[Any]:
    """Observe an array of the reference, imported in every form, and an exception of the producer."""
    memory = HostMemory()
    for version in _VERSIONS:
        for keywords in ({}, {"copy": True}, {"copy": False}):
            array = at.make(Exporter, memory)
            array.newest = version
            yield from _imported(adapter, array, keywords)
    if at.view.size:
        array = at.make(Exporter, memory)
        array.override = {"data": array.element0() - 64, "byte_offset": 64}
        yield from _imported(adapter, array, {})

    def refuse(*args: Any, **keywords: Any) -> Any:
        raise BufferError("no")

    yield _attempt(lambda: adapter.take(Offered(refuse, memory.device), Protocol.DLPACK, Device.HOST))


def _imported(adapter: Adapter, array: Exporter, keywords: dict[str, Any]) -> Iterator[Any]:
    held: list[Any] = []

    def answer(*args: Any, **asked: Any) -> Any:
        held.append(array.__dlpack__(*args, **asked))
        return held[-1]

    taken = _attempt(lambda: adapter.take(Offered(answer, array.device()), Protocol.DLPACK, Device.HOST, **keywords))
    yield [(call.positional, sorted(call.keywords.items())) for call in array.log.dlpack]
    if isinstance(taken, str):
        yield taken
        return
    found = adapter.describe(taken)
    offset = found.address - array.block.address
    yield (
        found.shape,
        found.strides,
        found.dtype,
        found.readonly,
        offset if 0 <= offset <= array.block.nbytes else "elsewhere",
    )
    yield adapter.read(taken)
    names = [capsule.name(one) for one in held]
    yield names
    yield [_attempt(lambda: dlpack.decode(capsule.pointer(one), capsule.name(one)).flags) for one in held]  # noqa: B023
    yield _attempt(
        lambda: bool(
            adapter.take(Offered(lambda *a, **k: held[-1], array.device()), Protocol.DLPACK, Device.HOST) is not None
        )
    )
    del taken
    held.clear()
    settle()
    yield [made.deleter_calls for made in array.log.exports]


def subjects(stage: Stage) -> list[Subject]:
    """Return the faults of a stage that are wrappers."""
    return [OfLibrary(stage, fault) for fault in stage.faults if isinstance(fault.spoil, partial)]


def cases(library: str) -> Iterator[Case]:
    """Return all cases between a library and the reference on host memory."""
    return real.between(library, (name for name, invariant in catalogue().items() if invariant.canary is None))
