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
from conformance.protocols.strided import packed

from .exchange import GONE, Exchange, Source, brief, collect, show
from .handed import own_memory
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


def made(exchange: Exchange, change: Change, seed: int = 0) -> Source:
    """A vector of the producer's that the change accepts, filled with a pattern."""
    library, data = exchange.producer, pattern(FLOAT32, COUNT, seed)
    if change.make is not None:
        array = change.make(library, data, exchange.device)
    else:
        array = library.array(FLOAT32, (COUNT,), data, exchange.device)
    return Source(array, FLOAT32, packed((COUNT,)), library.describe(array).address, data)


def under_pressure(exchange: Exchange, change: Change, memory: Memory) -> str:
    """What has become of memory once the producer has made other arrays of its size, in words; empty if it is as it was."""
    collect()
    others = [made(exchange, change, seed) for seed in range(1, PRESSURE + 1)]
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


def through(exchange: Exchange, change: Change, taker: Adapter) -> Seen:
    """Import an array, change it, and look at the memory of the import. A refused or copying import ends the case."""
    source = exchange.made(made(exchange, change))
    memory = Memory(source.address, source.block)
    taken = exchange.take(source, taker=taker)
    exchange.expect_handed(source)
    if taker.describe(taken).address != source.address:
        raise Refused(f"{taker.name} copies the array, so that nothing can be seen")
    held, source.array = [source.array], None
    seen = applied(exchange, change, held)
    seen.lost = under_pressure(exchange, change, memory)
    seen.held += [taken, held]
    return seen


def control(exchange: Exchange, change: Change) -> str:
    """See the memory of an array that nobody else has be used again after the change, and say how.

    A library without such a call ends the case as refused. Where the memory stays as it is, the case is inconclusive.
    """
    for _ in range(TRIES):
        source = made(exchange, change)
        memory = Memory(source.address, source.block)
        held, source.array = [source.array], None
        seen = applied(exchange, change, held)
        if seen.refusal:
            raise Refused(f"{exchange.producer.name} refuses that without an export as well: {seen.refusal}")
        lost = under_pressure(exchange, change, memory)
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
