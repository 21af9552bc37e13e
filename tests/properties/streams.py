"""Random work of two partners on several streams of the simulated device, and what each read has to see.

All that has to wait for something else is queued while a latch holds one piece of work back. :func:`play` has the device do it;
:func:`foretold` says what comes of it, by arithmetic of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from random import Random
from typing import Any

from conformance.adapters.base import Device, Protocol
from conformance.adapters.reference import ReferenceAdapter
from conformance.faults.ordering import ForgetsTheWayBack
from conformance.ordering.handover import CAIWithout, DLPackWithoutWait, elements, filled, stream_of

from .drawing import chosen
from .exchanges import LIBRARY

DEVICE = Device.SIMULATED
ROLES = ("first", "second", "third", "default", "per-thread")
"""Three streams of our own, and the two default ones, which wait for each other by themselves (CUD-01)."""
COUNT = 8
"""32-bit elements of the array."""
UNTOUCHED = 7
"""What they are before the first write."""
LONG = 600.0
"""Seconds that the latch would hold by itself. It is always let go of."""


class Gap(str, Enum):
    """The wait that is left out of a consumer's piece of work."""

    FORWARD = "forward"
    """Its stream does not wait for the producer's."""
    BACK = "back"
    """The producer's stream does not wait for it."""


@dataclass(frozen=True)
class Piece:
    """One piece of work on the array: a write of a new value, or a read. A consumer takes the array first."""

    by_consumer: bool
    writes: bool
    role: str
    protocol: Protocol = Protocol.DLPACK


@dataclass(frozen=True)
class Sequence:
    """Pieces of work in the order in which they are queued; the first is a write of the producer's.

    ``held`` is the one that a latch holds back until all are queued. ``gap`` is left out of the piece ``gapped``.
    """

    pieces: tuple[Piece, ...]
    held: int
    gapped: int | None = None
    gap: Gap = Gap.FORWARD

    def missing(self, index: int) -> Gap | None:
        """The wait that this piece lacks."""
        return self.gap if index == self.gapped else None


def draw(chance: Random) -> Sequence:
    """Work on two or three streams, or more, with one piece held back and no gap."""
    roles = chance.sample(ROLES, chance.choice((2, 2, 3, 3, 5)))
    pieces = [Piece(False, True, chance.choice(roles))]
    for _ in range(chance.randint(1, 8)):
        by_consumer = chosen(chance, 0.7)
        pieces.append(Piece(by_consumer, chosen(chance, 0.4), chance.choice(roles), chance.choice(tuple(Protocol))))
    return Sequence(tuple(pieces), chance.randrange(len(pieces)))


def draw_gapped(chance: Random) -> Sequence | None:
    """Work in which a wait is missing, and the latch holds what should be waited for, so that somebody reads what is not there.

    ``None`` if other waits cover for each that could be missing, those of the default streams for each other for instance.
    """
    whole = draw(chance)
    gapped = [made for made in _with_a_gap(whole) if foretold(made) != in_order(made)]
    return chance.choice(gapped) if gapped else None


def _with_a_gap(whole: Sequence) -> Iterator[Sequence]:
    """The same work with each of its waits missing in turn."""
    for index, piece in enumerate(whole.pieces):
        if piece.by_consumer:
            written = max(i for i in range(index) if whole.pieces[i].writes)
            yield Sequence(whole.pieces, written, index, Gap.FORWARD)
            yield Sequence(whole.pieces, index, index, Gap.BACK)


def in_order(sequence: Sequence) -> list[int]:
    """What each read sees if all that has to wait waits: what was written last before it."""
    seen, now = [], UNTOUCHED
    for index, piece in enumerate(sequence.pieces):
        if piece.writes:
            now = _value(index)
        else:
            seen.append(now)
    return seen


def _value(index: int) -> int:
    """What a piece writes."""
    return 100 + index


# -- on the device


class _Forgetful(ReferenceAdapter):
    """The reference without a way back."""

    importer_class = ForgetsTheWayBack


_FORGETFUL = _Forgetful()


def play(sequence: Sequence) -> list[int]:
    """What each read sees on the simulated device; -1 for elements that are not all the same."""
    streams = LIBRARY.memory(DEVICE).streams()
    streams.synchronize_device()
    player = _Player(filled(LIBRARY, UNTOUCHED, DEVICE, COUNT))
    latch = None
    try:
        for index, piece in enumerate(sequence.pieces):
            stream = stream_of(LIBRARY, piece.role, DEVICE)
            if index == sequence.held:
                latch = streams.hold(stream.handle, LONG)
            player.do(index, piece, stream, sequence.missing(index))
    finally:
        if latch is not None:
            latch.release()
        streams.synchronize_device()
    return player.seen()


def expect_in_order(whole: Sequence) -> None:
    """Every read sees what was written last before it; an ``AssertionError`` says what it saw."""
    wanted, seen = in_order(whole), play(whole)
    assert seen == wanted, f"reads see {seen} instead of {wanted}"


def expect_out_of_order(gapped: Sequence) -> None:
    """The same reads see that a wait is missing, and just what arithmetic says; an ``AssertionError`` if they do not."""
    wanted, seen = foretold(gapped), play(gapped)
    assert wanted != in_order(gapped), "nobody can see this gap"
    assert seen == wanted, f"reads see {seen} instead of {wanted}"


class _Player:
    """The producer's array and all that was made of it."""

    def __init__(self, array: Any) -> None:
        self.array = array
        self.streams = LIBRARY.memory(DEVICE).streams()
        self.targets: list[Any] = []
        self.kept: list[Any] = []

    def do(self, index: int, piece: Piece, stream: Any, gap: Gap | None) -> None:
        """Queue one piece of work."""
        if piece.by_consumer:
            self._consume(index, piece, stream, gap)
        elif piece.writes:
            self._user_waits(stream.handle)
            LIBRARY.fill(self.array, _value(index), stream)
        else:
            LIBRARY.copy(self._target(), self.array, stream)

    def _user_waits(self, stream: int) -> None:
        """Who changes the stream that an array is written on has to order the two: no protocol is involved."""
        if self.array.writer is not None and self.array.writer.handle != stream:
            self.streams.wait(stream, self.array.writer.handle)

    def _consume(self, index: int, piece: Piece, stream: Any, gap: Gap | None) -> None:
        consumer = _FORGETFUL if gap is Gap.BACK else LIBRARY
        with consumer.using(stream):
            taken = consumer.take(self._offer(piece, gap), piece.protocol, DEVICE)
        self.kept.append(taken)
        if piece.writes:
            consumer.fill(taken, _value(index), stream)
        else:
            consumer.copy(self._target(), taken, stream)
        if piece.protocol is Protocol.DLPACK and gap is not Gap.BACK:
            self._user_holds_back(stream.handle)

    def _user_holds_back(self, stream: int) -> None:
        """DLPack defines no way back, so the user makes the producer's stream wait."""
        if self.array.writer.handle != stream:
            self.streams.wait(self.array.writer.handle, stream)

    def _offer(self, piece: Piece, gap: Gap | None) -> Any:
        if gap is not Gap.FORWARD:
            return LIBRARY.offer(self.array, piece.protocol)
        return DLPackWithoutWait(self.array) if piece.protocol is Protocol.DLPACK else CAIWithout(self.array, None)

    def _target(self) -> Any:
        self.targets.append(filled(LIBRARY, 0, DEVICE, COUNT))
        return self.targets[-1]

    def seen(self) -> list[int]:
        """What was copied to each target."""
        read = [LIBRARY.read(target) for target in self.targets]
        return [value if data == elements(value, COUNT) else -1 for data in read for value in [_first(data)]]


def _first(data: bytes) -> int:
    return int.from_bytes(data[:4], "little")


# -- by arithmetic


@dataclass
class _Node:
    """Something queued: what it comes after, and the piece whose work it is, if it is any."""

    after: list[_Node]
    piece: int | None = None
    late: bool = field(init=False)

    def __post_init__(self) -> None:
        self.late = any(each.late for each in self.after)


class _Queues:
    """Streams as lists of nodes. A node that comes after the latch is late."""

    def __init__(self) -> None:
        self._last: dict[str, _Node] = {}
        self.nodes: list[_Node] = []

    def add(self, role: str, piece: int | None = None, *also: str, late: bool = False) -> None:
        """Queue on a stream something that comes after the streams ``also`` too."""
        before = [self._last[name] for each in (role, *also) for name in self._covered(each) if name in self._last]
        node = _Node(before, piece)
        node.late |= late
        self._last[role] = node
        self.nodes.append(node)

    def _covered(self, role: str) -> Iterator[str]:
        """The two default streams wait for each other; the others, which are non-blocking, for nobody (CUD-02)."""
        yield role
        if role in ("default", "per-thread"):
            yield "per-thread" if role == "default" else "default"


def foretold(sequence: Sequence) -> list[int]:
    """What each read sees if all that can be done before the latch lets go is done before, and the rest then, in order."""
    queues, writer = _Queues(), None
    for index, piece in enumerate(sequence.pieces):
        if index == sequence.held:
            queues.add(piece.role, late=True)
        gap = sequence.missing(index)
        if piece.by_consumer:
            assert writer is not None
            _consumed(queues, index, piece, writer, gap)
        else:
            queues.add(piece.role, index, *((writer,) if writer else ()))
            writer = piece.role
    done = [*(n for n in queues.nodes if not n.late), *(n for n in queues.nodes if n.late)]
    return _seen(sequence, [n.piece for n in done if n.piece is not None])


def _consumed(queues: _Queues, index: int, piece: Piece, writer: str, gap: Gap | None) -> None:
    """A hand-over, the consumer's work, and the way back, of which the array interface without stream knows nothing."""
    queues.add(piece.role, index, *((writer,) if gap is not Gap.FORWARD else ()))
    forgotten = gap is Gap.BACK or (gap is Gap.FORWARD and piece.protocol is Protocol.CAI)
    if not forgotten and writer != piece.role:
        queues.add(writer, None, piece.role)


def _seen(sequence: Sequence, order: list[int]) -> list[int]:
    now, seen = UNTOUCHED, {}
    for index in order:
        if sequence.pieces[index].writes:
            now = _value(index)
        else:
            seen[index] = now
    return [seen[index] for index in sorted(seen)]
