"""Memory while its array is changed: what has become of it, seen by addresses and by reads that cannot fail.

Memory that was freed is not touched by this process. On the host the kernel reads it for us, on a GPU the driver does. A new array that
lies in it proves by its address alone that it was free.
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
"""Elements of an array: 16 KiB, which is more than allocators keep aside for small objects, and less than they map by itself."""
PRESSURE = 16
"""Arrays that are made to fill whatever memory has become free."""
TRIES = 3
"""How often a control is tried: an allocator may find another place first."""
MOST = 2
"""How often one array is changed: a library may keep the memory that the array had before the newest change."""


@dataclass(frozen=True)
class Export:
    """Which export of an array lives while the array is changed.

    ``part`` exports a view of the array, without its first element. ``later`` makes two exports, of which the first one is gone.
    ``legacy`` asks for a capsule without a version, and ``readonly`` freezes the array before.
    """

    count: int = COUNT
    part: bool = False
    later: bool = False
    legacy: bool = False
    readonly: bool = False

    def given(self, change: str) -> str:
        """Return the special input, with the change in words."""
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
"""Others than the usual export: a library may hold the memory by the object that is exported, by its size, or by what is asked for."""


@dataclass(frozen=True)
class Memory:
    """Where the elements of an array lay, and what they were."""

    address: int
    values: bytes

    def overlaps(self, address: int, nbytes: int) -> bool:
        """Whether other memory has bytes in common with this."""
        return address < self.address + len(self.values) and self.address < address + nbytes


@dataclass
class Seen:
    """What was seen after a change: ``lost`` is what became of the memory, empty if it was kept. ``refusal`` is how the change was refused."""

    lost: str = ""
    refusal: str = ""
    held: list[Any] = field(default_factory=list, repr=False)
    """Whatever has to live until it was looked at."""


def made(exchange: Exchange, change: Change, seed: int = 0, count: int = COUNT) -> Source:
    """A vector of the producer's that the change accepts, filled with a pattern."""
    library, data = exchange.producer, pattern(FLOAT32, count, seed)
    if change.make is not None:
        array = change.make(library, data, exchange.device)
    else:
        array = library.array(FLOAT32, (count,), data, exchange.device)
    return Source(array, FLOAT32, packed((count,)), library.describe(array).address, data)


def under_pressure(exchange: Exchange, change: Change, memory: Memory, count: int = COUNT) -> str:
    """What has become of memory once the producer has made other arrays of its size, in words; empty if it is as it was."""
    collect()
    others = [made(exchange, change, seed, count) for seed in range(1, PRESSURE + 1)]
    return fate(exchange, memory, others)


def fate(exchange: Exchange, memory: Memory, others: Iterable[Source]) -> str:
    """What has become of memory, in words; empty if it has its elements and no other array lies in it."""
    if any(memory.overlaps(other.address, len(other.block)) for other in others):
        return "an array that was made later lies in it"
    found = lying_at(exchange, memory.address, len(memory.values))
    if found is None:
        return GONE
    return "" if found == memory.values else show(found, FLOAT32)


def lying_at(exchange: Exchange, address: int, nbytes: int) -> bytes | None:
    """Bytes of memory that may be free; ``None`` where there is no memory any more."""
    if exchange.device is not Device.CUDA:
        return own_memory(address, nbytes)
    try:
        return exchange.peek(address, nbytes)
    except Exception as error:
        exchange.check_context(error)
        return None


def applied(exchange: Exchange, change: Change, held: list[Any]) -> Seen:
    """Make the change to the array in ``held``; an exception is a refusal."""
    try:
        with exchange.step(Doing.RELEASE, Role.PRODUCER):
            kept = change.apply(exchange.producer, held, exchange.device)
    except Exception as error:
        exchange.check_context(error)
        return Seen(refusal=brief(error))
    return Seen(held=[kept])


def repeatedly(exchange: Exchange, change: Change, held: list[Any], times: int) -> Seen:
    """Make the change so many times, as long as the array is there and the library does not refuse."""
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
    """Import an array, change it, and look at the memory of the import. A refused or copying import ends the case."""
    whole = made(exchange, change, count=export.count)
    source = exchange.made(_exported(exchange, export, whole))
    memory = Memory(source.address, source.values)
    first = _take(exchange, export, source, taker) if export.later else None
    taken = _take(exchange, export, source, taker)
    del first
    if not export.legacy:
        exchange.expect_handed(source)
    if taker.describe(taken).address != source.address:
        raise Refused(f"{taker.name} copies the array, so that nothing can be seen")
    held, whole.array, source.array = [whole.array], None, None
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
        raise Refused(f"{exchange.producer.name} gives no legacy capsule: {brief(error)}") from error
    with exchange.step(Doing.IMPORT, Role.CONSUMER, taker.name):
        return taker.take_capsule(capsule)


def control(exchange: Exchange, change: Change, count: int = COUNT, times: int = 1) -> str:
    """See the memory of an array that nobody else has be used again after the change, and say how.

    A library without such a call ends the case as refused. Where the memory stays as it is, the case is inconclusive.
    """
    for _ in range(TRIES):
        source = made(exchange, change, count=count)
        memory = Memory(source.address, source.block)
        held, source.array = [source.array], None
        seen = repeatedly(exchange, change, held, times)
        if seen.refusal:
            raise Refused(f"{exchange.producer.name} refuses that without an export as well: {seen.refusal}")
        lost = under_pressure(exchange, change, memory, count)
        if lost:
            return f"without an export: {lost}"
    raise Inconclusive("without an export the memory stays as it was, too, so nothing can be seen")


def comparison(exchange: Exchange, change: Change) -> str:
    """What becomes of the memory under a view by a call of the producer's own; empty where it has none."""
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
