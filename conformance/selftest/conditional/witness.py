"""Witness of a conditional fault: an exchange that differs from the flawless reference's.

This module does not use the suite's checks. It takes one array through every legal exchange, and through the requests that a producer must
refuse. It compares structs, dictionaries, addresses, elements, exceptions, deleter calls, and the objects that stay alive.
"""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import zip_longest
from typing import Any

from conformance import faults
from conformance.protocols import capsule, dlpack
from conformance.protocols.strided import Index, c_strides
from conformance.reference.exporter import NEWEST, REMOVED, Exporter
from conformance.reference.importer import Imported, Importer
from conformance.reference.managed import Deleter, settle
from conformance.reference.memory import BorrowedBlock, HostMemory, Memory, gather_by_bytes, simulated

from .generating import overridden
from .knowing import Life
from .levels import COUNT, FORK, LARGE, PATH, THREAD, Level, State, of_array
from .points import Point, allowed

_FORMS: dict[str, tuple[int, int] | None] = {"newest": NEWEST, "1.0": (1, 0), "legacy": None}
_LEAKING = 2
"""The number of points at which the search includes leaks, which cost more than everything else."""
_OF_ELEMENTS = int(dlpack.DLFlags.READ_ONLY | dlpack.DLFlags.IS_COPIED)
_REPEATS = 16
"""The number of exchanges in a round. Most of them must leave a block of Python's memory behind."""
_ROUNDS = 4
"""The number of rounds. A round without growth ends the search."""


@dataclass(frozen=True)
class Witness:
    """The point and the memory at which a fault shows, and the number of the first observation that differs."""

    point: Point
    memory: str
    observation: int

    @property
    def levels(self) -> State:
        """The levels of the array."""
        kind, view = self.point.kind, self.point.view
        strides = tuple(stride * kind.itemsize for stride in view.strides)
        return of_array(int(kind.code), kind.bits, view.shape, strides)

    def __str__(self) -> str:
        view = self.point.view
        readonly = ", read-only" if self.point.readonly else ""
        return f"{self.point.dtype} of shape {view.shape}, strides {view.strides}, offset {view.offset}{readonly}, {self.memory}"


def of(fault: faults.Fault, condition: tuple[Level, ...] = ()) -> Witness | None:
    """Return the first point that the condition permits and at which the fault shows, or ``None``."""
    for number, at in enumerate(allowed(condition)):
        for name in memories(fault):
            found = _differs(fault, At(at, name, number < _LEAKING), dict(condition))
            if found is not None:
                return Witness(at, name, found)
    return None


def prepare(fault: faults.Fault, condition: tuple[Level, ...]) -> None:
    """Run the flawless reference at the first points, so that processes that are forked later share the observations."""
    for at in allowed(condition)[:_LEAKING]:
        for name in memories(fault):
            _flawless(fault.exporter is Exporter, At(at, name, True))


def memories(fault: faults.Fault) -> tuple[str, ...]:
    """Return the memory in which a fault can show: the simulated device for dictionaries, the host for capsules."""
    is_importer = fault.exporter is Exporter
    names = overridden(fault.importer, Importer) if is_importer else overridden(fault.exporter, Exporter)
    of_dictionary = [name for name in names if "cai" in name or "cuda_array" in name]
    if not of_dictionary:
        return ("host",)
    return ("simulated",) if len(of_dictionary) == len(names) else ("host", "simulated")


def is_possible(condition: tuple[Level, ...]) -> bool:
    """Return ``True`` if an array with these levels exists."""
    return bool(allowed(condition))


@dataclass(frozen=True)
class At:
    """A point, the memory of its array, and a flag that includes leaks in the search."""

    point: Point
    memory: str
    leaks: bool

    def make_memory(self) -> Memory:
        """Return the memory object."""
        return HostMemory() if self.memory == "host" else simulated()


def _differs(fault: faults.Fault, at: At, levels: dict[str, str]) -> int | None:
    right = _flawless(fault.exporter is Exporter, at)
    seen = _seen(fault, at)
    for made in (fault.exporter, fault.importer):
        remember(getattr(made, "life", None), levels)
    if THREAD in levels:
        return in_thread(lambda: _first(seen, right))
    return _first(seen, right)


def _first(seen: Iterator[Any], right: tuple[Any, ...]) -> int | None:
    for number, (one, other) in enumerate(zip_longest(_guarded(seen), right)):
        if one != other:
            return number
    return None


def in_thread(action: Callable[[], int | None]) -> int | None:
    """Return the result of an action in another thread than the main one. Return 0 if the action raises."""
    found: list[int | None] = []
    thread = threading.Thread(target=lambda: found.append(action()))
    thread.start()
    thread.join()
    return found[0] if found else 0


AFTER_REFUSAL: Level = (PATH, "after-refusal")


def aged(condition: tuple[Level, ...]) -> dict[str, str]:
    """Return the levels of a condition on the history of a library: its number of exchanges, and a refused import."""
    return {factor: level for factor, level in condition if factor == COUNT or (factor, level) == AFTER_REFUSAL}


def remember(life: Life | None, levels: dict[str, str]) -> None:
    """Set the history of a library to that of a condition, in place of real exchanges or a fork."""
    if life is None:
        return
    if FORK in levels:
        life.home = -1
    if COUNT in levels:
        life.exports = life.imports = int(levels[COUNT])
    if AFTER_REFUSAL in levels.items():
        life.refuse()


def _guarded(seen: Iterator[Any]) -> Iterator[Any]:
    """Yield the observations. An unexpected exception is an observation, too."""
    try:
        yield from seen
    except Exception as error:  # noqa: BLE001 - each exception of a fault is an observation
        yield "raised", type(error).__name__


@lru_cache(maxsize=8192)
def _flawless(of_importer: bool, at: At) -> tuple[Any, ...]:
    kind: Any = Importer if of_importer else Exporter
    return tuple(_guarded((_imports if of_importer else _exports)(kind, at)))


def _seen(fault: faults.Fault, at: At) -> Iterator[Any]:
    return _imports(fault.importer, at) if fault.exporter is Exporter else _exports(fault.exporter, at)


def _copies(at: Point) -> tuple[bool | None, ...]:
    """Return the requests for a copy. Large arrays are only shared, because the reference copies element by element."""
    return (None, True, False) if at.view.size < LARGE else (None, False)


# Exporters


def _exports(kind: type[Exporter], where: At) -> Iterator[Any]:
    at, memory = where.point, where.make_memory()
    array = at.make(kind, memory)
    yield array.__dlpack_device__()
    for version in _FORMS.values():
        for copy in _copies(at):
            yield from _exported(array, at, max_version=version, copy=copy)
    yield from _exported(array, at)
    yield from _exported(array, at, max_version=(1, 7), dl_device=memory.device)
    yield from _lives(array)
    for keywords in _refused(memory):
        yield _described(array, array_of(array, keywords))
        yield from _exported(array, at, max_version=NEWEST)
    yield from _published(array, at)
    yield from _passed_on(kind, at, memory)
    yield from _let_go(kind, at, memory)
    if not where.leaks:
        return
    yield _leaks(lambda: _used(array, memory))
    yield _leaks(lambda: _used(array, memory, unknown=1))


def _refused(memory: Memory) -> tuple[dict[str, Any], ...]:
    device = int(memory.device[0])
    streams: tuple[dict[str, Any], ...] = (
        ({"stream": 1}, {"stream": 1, "max_version": NEWEST}) if device == 1 else ({"stream": 0},)
    )
    return (*streams, {"dl_device": (7, 0)}, {"unknown": None})


def array_of(array: Exporter, keywords: dict[str, Any]) -> Any:
    """Return the result of ``__dlpack__``, or the exception that it raises."""
    try:
        return array.__dlpack__(**keywords)
    except Exception as error:  # noqa: BLE001 - each exception of a fault is an observation
        return error


def _described(array: Exporter, made: Any) -> Any:
    """Return all fields of a capsule, with addresses relative to the array's block."""
    if isinstance(made, Exception):
        return "refused", type(made).__name__
    if not capsule.is_capsule(made):
        return "no capsule", type(made).__name__
    name = capsule.name(made)
    try:
        tensor = dlpack.decode(capsule.pointer(made), name)
    except dlpack.Malformed:
        return "malformed", name
    return (
        name, tensor.version, _flags(tensor), tensor.device, tensor.code, tensor.bits, tensor.lanes, tensor.shape,
        _taken(tensor), _place(array, tensor.data), tensor.byte_offset, bool(tensor.deleter),
    )  # fmt: skip


def _flags(tensor: dlpack.Tensor) -> int | None:
    """Return the flags. The read-only and copied flags of an empty array are meaningless."""
    is_empty = 0 in tensor.shape
    return tensor.flags & ~_OF_ELEMENTS if is_empty and tensor.flags is not None else tensor.flags


def _taken(tensor: dlpack.Tensor) -> tuple[int | None, ...] | None:
    """Return the strides without those that no element uses (I04, I05)."""
    if tensor.strides is None or 0 in tensor.shape:
        return None if tensor.strides is None else ()
    return tuple(stride if extent > 1 else None for extent, stride in zip(tensor.shape, tensor.strides))


def _place(array: Exporter, address: int) -> int | str:
    if not address or not array.view.size:
        return "some" if address else "null"
    offset = address - array.block.address
    inside = 0 <= offset <= array.block.nbytes or (not array.block.nbytes and abs(offset) < 1 << 32)
    return offset if inside else "elsewhere"


def _exported(array: Exporter, at: Point, **keywords: Any) -> Iterator[Any]:
    made = array_of(array, keywords)
    yield _described(array, made)
    if not capsule.is_capsule(made):
        return
    managed = array.log.exports[-1] if array.log.exports else None
    taken = Importer(array.memory).take_capsule(made)
    yield from _elements(array, taken, at)
    del made
    taken.release()
    yield managed and (managed.deleter_calls, managed.owner is None)
    yield _place(array, array.element0())


def _elements(array: Exporter, taken: Imported, at: Point) -> Iterator[Any]:
    """Yield the elements, then the memory after a write, which is undone."""
    if not at.is_small:
        return
    data = gather_by_bytes(array.memory, taken.address, taken.view_in_bytes, taken.dtype.itemsize)
    yield data
    if taken.readonly or not data:
        return
    size = taken.dtype.itemsize
    before = array.memory.read(array.block.address, array.block.nbytes)
    array.memory.write(taken.address, bytes(byte ^ 0xFF for byte in data[:size]))
    yield array.memory.read(array.block.address, array.block.nbytes)
    array.memory.write(array.block.address, before)


def _lives(array: Exporter) -> Iterator[Any]:
    """Observe two exports that are alive at once, one of which is never consumed."""
    first, second = array_of(array, {"max_version": NEWEST}), array_of(array, {"max_version": NEWEST})
    yield _described(array, first)
    yield _described(array, second)
    yield capsule.is_capsule(second) and capsule.is_capsule(first) and capsule.pointer(first) == capsule.pointer(second)
    managed = array.log.exports[-2:]
    del second
    settle()
    yield [one.deleter_calls for one in managed]
    del first
    settle()
    yield [one.deleter_calls for one in managed]


def _published(array: Exporter, at: Point) -> Iterator[Any]:
    for _ in range(2):
        try:
            described = array.__cuda_array_interface__
        except Exception as error:  # noqa: BLE001 - each exception of a fault is an observation
            yield type(error).__name__
            return
        if not isinstance(described, dict):
            yield type(described).__name__
            return
        address, readonly = described.get("data", (0, None))
        yield _typed({**described, "data": (_place(array, address) if isinstance(address, int) else address, readonly)})
        taken = Importer(array.memory).take_cai(array)
        yield from _elements(array, taken, at)


def _typed(value: Any) -> Any:
    """Return a value with the types of all its parts, since ``0`` is not ``False``."""
    if isinstance(value, dict):
        return sorted((key, _typed(v)) for key, v in value.items())
    if isinstance(value, (tuple, list)):
        return type(value).__name__, [_typed(v) for v in value]
    return type(value).__name__, value


def _passed_on(kind: type[Exporter], at: Point, memory: Memory) -> Iterator[Any]:
    """Observe an import that is exported again."""
    array = at.make(Exporter, memory)
    taken = Importer(memory).take_dlpack(array)
    block = BorrowedBlock(taken.address, taken)
    again = kind(memory, block, taken.dtype, taken.view, readonly=taken.readonly)
    made = array_of(again, {"max_version": NEWEST})
    yield _described(again, made)
    watched = weakref.ref(taken)
    del taken, block, again
    yield watched() is not None
    if capsule.is_capsule(made):
        taken = Importer(memory).take_capsule(made)
        yield from _elements(array, taken, at)
        taken.release()
    del made
    settle()
    yield watched() is None


def _let_go(kind: type[Exporter], at: Point, memory: Memory) -> Iterator[Any]:
    """Observe an array that only its export holds, and an array after a refused export."""
    array = at.make(kind, memory)
    watched = weakref.ref(array)
    made = array_of(array, {"max_version": NEWEST})
    taken = Importer(memory).take_capsule(made) if capsule.is_capsule(made) else None
    del array
    yield watched() is not None
    del taken, made
    settle()
    yield watched() is None
    array = at.make(kind, memory)
    watched = weakref.ref(array)
    array_of(array, {"unknown": None})
    del array
    gc.collect(0)
    yield watched() is None


def _used(array: Exporter, memory: Memory, **more: Any) -> None:
    array.__dlpack_device__()
    made = array_of(array, {"max_version": NEWEST, **more})
    if capsule.is_capsule(made):
        Importer(memory).take_capsule(made).release()
    _attempt(lambda: array.__cuda_array_interface__)
    array.log.exports.clear()
    array.log.dlpack.clear()


def _attempt(action: Callable[[], Any]) -> Any:
    try:
        return action()
    except Exception as error:  # noqa: BLE001 - each exception of a fault is an observation
        return type(error).__name__


def _leaks(action: Callable[[], Any]) -> bool:
    """Return ``True`` if each repetition leaves blocks of Python's memory behind after a garbage collection.

    Other threads of the process, such as those of a test runner, also allocate. So a leak must show in each round.
    """
    for _ in range(4):
        action()
    return all(_grows(action) for _ in range(_ROUNDS))


def _grows(action: Callable[[], Any]) -> bool:
    """Return ``True`` if most repetitions leave a block of Python's memory behind."""
    before = _blocks()
    for _ in range(_REPEATS):
        action()
    return _blocks() - before >= _REPEATS * 3 // 4


def _blocks() -> int:
    settle()
    gc.collect()
    return sys.getallocatedblocks()


# Importers


def _imports(kind: type[Importer], where: At) -> Iterator[Any]:
    at, memory = where.point, where.make_memory()
    for version in _FORMS.values():
        for copy in _copies(at):
            yield from _imported(kind, at, memory, version, {} if copy is None else {"copy": copy})
        for override in _overrides(at, version):
            yield from _imported(kind, at, memory, version, {}, override)
    yield from _side_by_side(kind, at, memory)
    yield from _consumed(kind, at, memory)
    yield from _elsewhere(kind, at, memory)
    yield from _failing(kind, at, memory)
    if memory.device[0] != 1:
        yield from _dictionaries(kind, at, memory)
    if not where.leaks:
        return
    array = at.make(Exporter, memory)
    importer = kind(memory)
    yield _leaks(lambda: _taken_and_left(importer, array))


def _overrides(at: Point, version: tuple[int, int] | None) -> Iterator[str]:
    if at.view.size:
        yield "byte_offset"
    if at.view.contiguous and (version is None or version < (1, 2)):
        yield "strides"
    yield "deleter"
    yield "context"


def _with(array: Exporter, override: str) -> dict[str, Any]:
    overrides: dict[str, dict[str, Any]] = {
        "byte_offset": {"data": array.element0() - 64, "byte_offset": 64},
        "strides": {"strides": None},
        "deleter": {"deleter": Deleter.NULL},
        "context": {"has_context": False},
    }
    return overrides[override]


def _imported(
    kind: type[Importer], at: Point, memory: Memory, version: tuple[int, int] | None, asked: dict[str, Any],
    override: str = "",
) -> Iterator[Any]:  # fmt: skip
    array = at.make(Exporter, memory)
    array.newest = version
    array.override = _with(array, override) if override else {}
    watched = weakref.ref(array)
    try:
        taken = kind(memory).take_dlpack(array, **asked)
    except Exception as error:  # noqa: BLE001 - each exception of a fault is an observation
        yield "refused", type(error).__name__
        return
    yield [(call.positional, _typed(call.keywords)) for call in array.log.dlpack]
    yield from _import(kind, array, taken, at)
    part = taken.importer.part(taken, Index((slice(1, None),))) if at.view.shape and at.view.shape[0] > 1 else taken
    yield part.shape, part.strides, _place(array, part.address)
    managed = array.log.exports[-1]
    kept = not asked.get("copy") and override != "deleter"
    del taken, array
    yield kept and watched() is not None, managed.deleter_calls
    del part
    yield managed.deleter_calls
    settle()
    yield watched() is None or override == "deleter"


def _import(kind: type[Importer], array: Exporter, taken: Imported, at: Point) -> Iterator[Any]:
    low, high = taken.extent()
    yield (
        taken.shape,
        taken.strides,
        taken.dtype.name,
        taken.device,
        taken.readonly and taken.view.size > 0,
        taken.contiguous or not taken.view.size,
    )
    yield _place(array, taken.address), high - low, _place(array, low)
    yield taken.view.shape, taken.view.strides, taken.view.offset
    yield from _elements(array, taken, at)
    again = Exporter(
        taken.importer.memory, BorrowedBlock(taken.address, taken), taken.dtype, taken.view, readonly=taken.readonly
    )
    yield again.flags(copied=False) if taken.view.size else 0


def _side_by_side(kind: type[Importer], at: Point, memory: Memory) -> Iterator[Any]:
    """Observe two imports of the same array, and one of a similar array."""
    array, other = at.make(Exporter, memory), at.make(Exporter, memory)
    importer = kind(memory)
    taken = [importer.take_dlpack(one) for one in (array, array, other)]
    yield [_place(one, each.address) for one, each in zip((array, array, other), taken)]
    first = array.log.exports[-2]
    del taken[0]
    yield first.deleter_calls, array.log.exports[-1].deleter_calls
    ended = threading.Thread(target=taken.clear)
    ended.start()
    ended.join()
    yield array.log.exports[-1].deleter_calls, other.log.exports[-1].deleter_calls


def _consumed(kind: type[Importer], at: Point, memory: Memory) -> Iterator[Any]:
    """Observe a capsule, and a capsule that is offered twice."""
    for version in _FORMS.values():
        array = at.make(Exporter, memory)
        array.newest = version
        made = array_of(array, {"max_version": NEWEST})
        if capsule.is_capsule(made):
            yield from _offered_twice(kind, array, [made], memory)


def _offered_twice(kind: type[Importer], array: Exporter, held: list[Any], memory: Memory) -> Iterator[Any]:
    """Observe a capsule to which only ``held`` has a reference."""
    address, name = capsule.pointer(held[0]), capsule.name(held[0])
    before = dlpack.raw(address, name)
    taken = kind(memory).take_capsule(held[0])
    yield capsule.name(held[0])
    yield dlpack.raw(address, name) == before
    yield _attempt(lambda: kind(memory).take_capsule(held[0]).shape)
    yield array.log.exports[-1].deleter_calls
    held.clear()
    settle()
    yield array.log.exports[-1].deleter_calls
    del taken
    yield array.log.exports[-1].deleter_calls


class _Offer:
    """An offer with another device than the array's, or with an exception in place of a capsule."""

    def __init__(self, array: Exporter, device: Any, error: Exception | None = None) -> None:
        self._array = array
        self._device = device
        self._error = error

    def __dlpack_device__(self) -> Any:
        return self._device

    def __dlpack__(self, **keywords: Any) -> Any:
        if self._error is not None:
            raise self._error
        return self._array.__dlpack__(**keywords)


def _elsewhere(kind: type[Importer], at: Point, memory: Memory) -> Iterator[Any]:
    array = at.make(Exporter, memory)
    for offer in (
        _Offer(array, (7, 0)), _Offer(array, memory.device, BufferError("no")), _Offer(array, memory.device, TypeError("no")),
    ):  # fmt: skip
        yield _attempt(lambda offer=offer: kind(memory).take_dlpack(offer).shape)  # type: ignore[misc]
    array.override = {"device": (7, 0)}
    yield _attempt(lambda: kind(memory).take_dlpack(array).shape)
    yield [made.deleter_calls for made in array.log.exports]


def _failing(kind: type[Importer], at: Point, memory: Memory) -> Iterator[Any]:
    """Observe an import that must fail, because no element type has these bits."""
    array = at.make(Exporter, memory)
    array.override = {"bits": 7}
    yield _attempt(lambda: kind(memory).take_dlpack(array).shape)
    settle()
    yield [made.deleter_calls for made in array.log.exports]


def _dictionaries(kind: type[Importer], at: Point, memory: Memory) -> Iterator[Any]:
    size = at.kind.itemsize
    explicit = tuple(s * size for s in c_strides(at.view.shape))
    overrides: tuple[dict[str, Any], ...] = ({}, {"version": 2, "stream": REMOVED})
    if at.view.contiguous:
        overrides = (*overrides, {"strides": explicit}, {"strides": REMOVED})
    for override in overrides:
        array = at.make(Exporter, memory)
        array.cai_override = override
        watched = weakref.ref(array)
        try:
            taken = kind(memory).take_cai(array)
        except Exception as error:  # noqa: BLE001 - each exception of a fault is an observation
            yield "refused", type(error).__name__
            continue
        yield from _import(kind, array, taken, at)
        del array
        yield watched() is not None
        taken.release()
        del taken
        yield watched() is None


def _taken_and_left(importer: Importer, array: Exporter) -> None:
    _attempt(lambda: importer.take_dlpack(array).release())
    array.log.exports.clear()
    array.log.dlpack.clear()
