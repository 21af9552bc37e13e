"""Memory of an exported array after a change of the array, such as a resize: is it still allocated and unchanged?

This process does not access memory that may be free: the kernel reads host memory for it, and the driver reads GPU memory. A new array whose
address lies in the memory also proves that it was free.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from conformance.adapters.base import Adapter, Device, Unsupported
from conformance.adapters.changes import Change
from conformance.protocols.clauses import Role
from conformance.protocols.dtypes import dtype
from conformance.protocols.strided import Index, packed

from .exchange import GONE, Exchange, Source, brief, collect, show
from .handover_record import own_memory
from .outcomes import Inconclusive, Refused
from .patterns import pattern
from .steps import Doing

FLOAT32 = dtype("float32")
COUNT = 4096
"""Number of elements of an array. 16 KiB is above the small-object caches of allocators, and below their limit for separate mappings."""
PRESSURE = 16
"""Number of arrays that are created to reuse free memory."""
TRIES = 3
"""Number of tries of a control, because an allocator may use other free memory first."""
MOST = 2
"""Number of changes of one array. A library may keep the memory from before the newest change."""


@dataclass(frozen=True)
class Export:
    """The export that is alive while the array is changed.

    ``part`` exports a view without the first element. ``later`` makes two exports and releases the first. ``legacy`` requests a legacy capsule.
    ``readonly`` makes the array read-only before the export.
    """

    count: int = COUNT
    part: bool = False
    later: bool = False
    legacy: bool = False
    readonly: bool = False

    def given(self, change: str) -> str:
        """Return the phrase for the special input, which includes the change."""
        return f"{change}{self._words()}"

    def _words(self) -> str:
        told = {
            " of an array of 48 bytes": self.count < COUNT, " of a large array": self.count > COUNT, " while a view of the array is exported": self.part,
            " after an earlier export": self.later, " while a legacy capsule lives": self.legacy, " of a read-only array": self.readonly,
        }  # fmt: skip
        return "".join(words for words, holds in told.items() if holds)


USUAL = Export()
EXPORTS = {
    "small": Export(count=12), "large": Export(count=1 << 17), "part": Export(part=True), "later": Export(later=True),
    "legacy": Export(legacy=True), "readonly": Export(readonly=True),
}  # fmt: skip
"""Other exports. A library may keep the memory of some exports only, depending on the exported object, its size or the requested struct."""


@dataclass(frozen=True)
class Memory:
    """The former address and the former elements of an array."""

    address: int
    values: bytes

    def overlaps(self, address: int, nbytes: int) -> bool:
        """Return whether other memory has bytes in common with this memory."""
        return address < self.address + len(self.values) and self.address < address + nbytes


@dataclass
class Seen:
    """The observation after a change. ``lost`` says what happened to the memory, and is empty if it was kept.

    ``refusal`` is the exception if the library refused the change.
    """

    lost: str = ""
    refusal: str = ""
    held: list[Any] = field(default_factory=list, repr=False)
    """Objects that must stay alive until the memory is checked."""


def made(exchange: Exchange, change: Change, seed: int = 0, count: int = COUNT) -> Source:
    """Return a 1-d array of the producer that the change accepts, filled with a pattern."""
    library, data = exchange.producer, pattern(FLOAT32, count, seed)
    if change.make is not None:
        array = change.make(library, data, exchange.device)
    else:
        array = library.array(FLOAT32, (count,), data, exchange.device)
    return Source(array, FLOAT32, packed((count,)), library.describe(array).address, data)


def under_pressure(exchange: Exchange, change: Change, memory: Memory, count: int = COUNT) -> str:
    """Create other arrays of the same size, and say what happened to the memory. Return an empty string if it is unchanged."""
    collect()
    others = [made(exchange, change, seed, count) for seed in range(1, PRESSURE + 1)]
    return fate(exchange, memory, others)


def fate(exchange: Exchange, memory: Memory, others: Iterable[Source]) -> str:
    """Say what happened to the memory. Return an empty string if it holds its elements and no other array overlaps it."""
    if any(memory.overlaps(other.address, len(other.block)) for other in others):
        return "a new array uses the same memory"
    found = lying_at(exchange, memory.address, len(memory.values))
    if found is None:
        return GONE
    return "" if found == memory.values else show(found, FLOAT32)


def lying_at(exchange: Exchange, address: int, nbytes: int) -> bytes | None:
    """Return bytes of memory that may be free, or ``None`` if the memory is no longer mapped."""
    if exchange.device is not Device.CUDA:
        return own_memory(address, nbytes)
    try:
        return exchange.peek(address, nbytes)
    except Exception as error:
        exchange.check_context(error)
        return None


def applied(exchange: Exchange, change: Change, held: list[Any]) -> Seen:
    """Apply the change to the array in ``held``. An exception is a refusal."""
    try:
        with exchange.step(Doing.RELEASE, Role.PRODUCER):
            kept = change.apply(exchange.producer, held, exchange.device)
    except Exception as error:
        exchange.check_context(error)
        return Seen(refusal=brief(error))
    return Seen(held=[kept])


def repeatedly(exchange: Exchange, change: Change, held: list[Any], times: int) -> Seen:
    """Apply the change this many times, until the library refuses or the array is gone."""
    seen = applied(exchange, change, held)
    for _ in range(times - 1):
        if seen.refusal or not held:
            break
        again = applied(exchange, change, held)
        seen.held += again.held
    return seen


def through(
    exchange: Exchange, change: Change, taker: Adapter, export: Export = USUAL, times: int = 1
) -> Seen:  # fmt: skip
    """Import an array, change the array, and check the memory of the import. A refused or copying import ends the case."""
    whole = made(exchange, change, count=export.count)
    source = exchange.made(_exported(exchange, export, whole))
    memory = Memory(source.address, source.values)
    first = _take(exchange, export, source, taker) if export.later else None
    taken = _take(exchange, export, source, taker)
    del first
    if not export.legacy:
        exchange.expect_handed(source)
    if taker.describe(taken).address != source.address:
        raise Refused(f"{taker.name} copies the array, so the producer's memory cannot be checked")
    held, whole.array, source.array = [whole.array], None, None  # the change must get the only reference
    seen = repeatedly(exchange, change, held, times)
    seen.lost = under_pressure(exchange, change, memory, export.count)
    seen.held += [taken, held]
    return seen


def _exported(exchange: Exchange, export: Export, whole: Source) -> Source:
    """Return the exported object: the array itself, or a view of it."""
    library = exchange.producer
    if export.readonly:
        library.freeze(whole.array)
    if not export.part:
        return Source(whole.array, whole.dtype, whole.view, whole.address, whole.block)
    step = Index((slice(1, None),))
    view = library.view(whole.array, step)
    block = whole.block[FLOAT32.itemsize :]
    return Source(view, FLOAT32, packed((export.count - 1,)), whole.address + FLOAT32.itemsize, block)


def _take(exchange: Exchange, export: Export, source: Source, taker: Adapter) -> Any:
    if not export.legacy:
        return exchange.take(source, taker=taker, promised="" if export.readonly else None)
    try:
        with exchange.step(Doing.EXPORT, Role.PRODUCER):
            capsule = exchange.offer(source).__dlpack__()
    except Exception as error:
        exchange.check_context(error)
        raise Refused(f"{exchange.producer.name} refused to export a legacy capsule: {brief(error)}") from error
    with exchange.step(Doing.IMPORT, Role.CONSUMER, taker.name):
        return taker.take_capsule(capsule)


def control(exchange: Exchange, change: Change, count: int = COUNT, times: int = 1) -> str:
    """Run the control: without an export, the change must free the memory for reuse. Return a description of the reuse.

    Raises:
        Refused: the library refuses the change without an export as well.
        Inconclusive: the memory is not reused, so the check could not detect a fault.
    """
    for _ in range(TRIES):
        source = made(exchange, change, count=count)
        memory = Memory(source.address, source.block)
        held, source.array = [source.array], None
        seen = repeatedly(exchange, change, held, times)
        if seen.refusal:
            raise Refused(f"{exchange.producer.name} refuses the change without an export as well: {seen.refusal}")
        lost = under_pressure(exchange, change, memory, count)
        if lost:
            return f"without an export: {lost}"
    raise Inconclusive("the control fails: without an export the memory is not reused either")


def comparison(exchange: Exchange, change: Change) -> str:
    """Say what the change does to memory that a call of the producer itself has lent. Return an empty string without such a call."""
    source = made(exchange, change)
    try:
        view, call = exchange.producer.lent(source.array)
    except Unsupported:
        return ""
    memory = Memory(source.address, source.block)
    held, source.array = [source.array], None
    seen = applied(exchange, change, held)
    lost = under_pressure(exchange, change, memory)
    del view
    if lost:
        return f"under {call}: {lost}"
    return f"under {call}: " + (f"refused: {seen.refusal}" if seen.refusal else "the memory is kept")
