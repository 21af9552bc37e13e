"""Random exchanges of the flawless reference with itself, followed from the first export to the last release by the suite's own judgement.

What is drawn is plain data and holds all that is needed to run the exchange again.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Any

from conformance.adapters.base import Device, Protocol
from conformance.adapters.reference import ReferenceAdapter
from conformance.checks.catalogue import Case
from conformance.checks.codes import Code
from conformance.checks.exchange import Exchange, Partners, Source
from conformance.checks.offers import Offered, happens
from conformance.checks.outcomes import Refused, fail
from conformance.checks.patterns import pattern
from conformance.ordering.handover import stream_of
from conformance.protocols.clauses import Role
from conformance.protocols.dlpack import DLFlags
from conformance.protocols.dtypes import NATIVE_ORDER, DType, dtype
from conformance.protocols.strided import Step, Strided, apply, packed
from conformance.reference.exporter import REMOVED, Exporter
from conformance.reference.managed import Deleter, Managed, settle, stray_deleter_calls
from conformance.reference.memory import BorrowedBlock

from . import drawing
from .drawing import Window, chosen

LIBRARY = ReferenceAdapter()
"""Both sides. There is only one, so that its streams are few."""
STREAMS = ("default", "per-thread", "producer", "consumer")
"""Roles of :func:`conformance.ordering.handover.stream_of`."""
ACTS = ("producer-writes", "consumer-writes", "part", "again", "passed-on", "settle")
"""What may happen between the import and the last release."""
CAPSULES = ("given", "given", "given", "kept", "consumed-twice", "never-consumed")
"""How a capsule reaches the consumer: it asks for one itself, or is given one that somebody holds on to, or nobody takes it."""


@dataclass(frozen=True)
class Act:
    """Something that happens to the imports; ``step`` is the view that a part is, ``seed`` makes what is written."""

    kind: str
    step: Step | None = None
    seed: int = 0
    protocol: Protocol = Protocol.DLPACK


@dataclass(frozen=True)
class Drawn:
    """One exchange, before it happens.

    ``shift`` moves the whole block by bytes, so that nothing is aligned. ``split`` bytes of the address are told as ``byte_offset``.
    ``bare`` leaves out the strides of what is C-contiguous, or states them where the interface would leave them out.
    """

    device: Device
    protocol: Protocol
    dtype: str
    form: Window
    shift: int = 0
    readonly: bool = False
    newest: tuple[int, int] | None = (1, 3)
    split: int = 0
    bare: bool = False
    deleter: Deleter = Deleter.COUNTING
    copy: bool | None = None
    keys: tuple[tuple[str, Any], ...] = ()
    """What the dictionary has in place of what it would have; ``REMOVED`` for a key that it lacks."""
    writer: str | None = None
    """The stream that the producer's array was last written on; ``None`` if nothing can be pending."""
    reader: str | None = None
    """The consumer's current stream; ``None`` for the one that is current when none was chosen."""
    capsule: str = "given"
    temporary: bool = False
    acts: tuple[Act, ...] = ()
    ends: int = 0
    """Seed of the order in which all is let go of."""

    @property
    def kind(self) -> DType:
        """The element type."""
        return dtype(self.dtype)

    @property
    def refusal(self) -> str:
        """Why the protocol has a flawless partner refuse this exchange; empty if it has to come off."""
        if self.protocol is Protocol.CAI:
            return _cai_refusal(self)
        if self.readonly and self.newest is None and not self.copy:
            return "a legacy capsule cannot say that an array is read-only"
        if self.newest is not None and self.newest[0] != 1:
            return "another major version"
        return "a capsule that is consumed already" if self.capsule == "consumed-twice" else ""


def _cai_refusal(drawn: Drawn) -> str:
    keys = dict(drawn.keys)
    if drawn.kind.kind is None:
        return "the array interface has no letter for the element type"
    if keys.get("mask") is not None and keys["mask"] is not REMOVED:
        return "a mask"
    return "the other byte order" if "typestr" in keys else ""


class _Mask:
    """What a masked array's dictionary points to."""

    __cuda_array_interface__: dict[str, Any] = {}

    def __repr__(self) -> str:
        return "a mask"


MASK = _Mask()


# -- drawing


def draw(chance: Random, devices: tuple[Device, ...]) -> Drawn:
    """An exchange on one of these devices."""
    device = chance.choice(devices)
    protocol = chance.choice(tuple(LIBRARY.exports[device]))
    form = drawing.window(chance)
    common: dict[str, Any] = {
        "dtype": drawing.element(chance).name,
        "form": form,
        "shift": chance.choice((0, 0, 0, 1, 2, 3, 4, 8, 100)),
        "readonly": chosen(chance, 0.15),
        "bare": chosen(chance, 0.3),
        "acts": tuple(_act(chance, form, device) for _ in range(chance.choice((0, 1, 1, 2, 3, 5)))),
        "ends": chance.randrange(1 << 16),
        "temporary": chosen(chance, 0.25),
    }
    if device is not Device.HOST:
        common["writer"] = chance.choice((None, *STREAMS))
        common["reader"] = chance.choice((None, *STREAMS))
    if protocol is Protocol.CAI:
        return Drawn(device, protocol, **common, keys=_keys(chance, common["dtype"]))
    return Drawn(device, protocol, **common, **_capsule(chance, form))


def _capsule(chance: Random, form: Window) -> dict[str, Any]:
    """What only DLPack has a word for."""
    route = chance.choice(CAPSULES)
    return {
        "capsule": route,
        "newest": drawing.version(chance),
        "split": chance.choice((0, 0, 0, 1, 4, 256, form.view.offset)),
        "copy": chance.choice((None, None, None, False, True)) if route == "given" else None,
        "deleter": Deleter.NULL if chosen(chance, 0.04) else Deleter.COUNTING,
    }


def _keys(chance: Random, name: str) -> tuple[tuple[str, Any], ...]:
    """A dictionary of some version, with optional keys there or not."""
    version = chance.choice((0, 1, 2, 3, 3, 3, 3, 4, 1000))
    keys: dict[str, Any] = {"version": version}
    if version < 3:
        keys["stream"] = chance.choice((REMOVED, REMOVED, None, 0, 77, "no contract"))
    typestr = dtype(name).typestr
    keys["descr"] = chance.choice((REMOVED, REMOVED, None, [("", typestr)]) if typestr else (REMOVED,))
    keys["mask"] = MASK if chosen(chance, 0.04) else chance.choice((REMOVED, REMOVED, None))
    if chosen(chance, 0.2):
        keys["some_later_key"] = "whatever it means"
    if typestr and typestr[0] == NATIVE_ORDER and chosen(chance, 0.04):
        keys["typestr"] = (">" if NATIVE_ORDER == "<" else "<") + typestr[1:]
    return tuple(keys.items())


def _act(chance: Random, form: Window, device: Device) -> Act:
    kind = chance.choice(ACTS)
    taken = drawing.step(chance, form.view.shape) if kind == "part" else None
    return Act(kind, taken, chance.randint(1, 9), chance.choice(tuple(LIBRARY.exports[device])))


# -- running


class DrawnExchange(Exchange):
    """The suite's own exchange, of what was drawn."""

    def __init__(self, drawn: Drawn) -> None:
        case = Case("drawn", LIBRARY.name, LIBRARY.name, drawn.protocol.value, drawn.device, (("dtype", drawn.dtype),))
        super().__init__(case, Partners(lambda name: LIBRARY))
        self.drawn = drawn

    @property
    def layout(self) -> Window:
        """The window."""
        return self.drawn.form

    def promises(self, plain: bool | None = None) -> str:
        """No clause: an array that was drawn may have to be refused, as by a legacy capsule that cannot call it read-only."""
        return ""

    def offered(self) -> Source:
        """The producer's array, as it was drawn."""
        drawn, kind, form = self.drawn, self.drawn.kind, self.drawn.form
        memory = LIBRARY.memory(drawn.device)
        data = pattern(kind, form.elements)
        whole = memory.allocate(len(data) + drawn.shift)
        start = whole.address + drawn.shift
        memory.write(start, data)
        block = BorrowedBlock(start, whole) if drawn.shift else whole
        array = LIBRARY.exporter_class(memory, block, kind, form.view, readonly=drawn.readonly)
        address = start + form.view.offset * kind.itemsize
        array.newest = drawn.newest
        array.override = self._override(address)
        array.cai_override = self._cai_override()
        array.writer = stream_of(LIBRARY, drawn.writer, drawn.device) if drawn.writer else None
        return Source(array, kind, form.view, address, data)

    def _override(self, address: int) -> dict[str, Any]:
        """What the capsule says in place of what it would say; a copy says what it is."""
        drawn = self.drawn
        changed: dict[str, Any] = {} if drawn.deleter is Deleter.COUNTING else {"deleter": drawn.deleter}
        if drawn.split and drawn.form.view.size and not drawn.copy:
            split = min(drawn.split, address)
            changed |= {"data": address - split, "byte_offset": split}
        if drawn.bare and drawn.form.view.contiguous and (drawn.newest or (0, 0)) < (1, 2):
            changed["strides"] = None
        return changed

    def _cai_override(self) -> dict[str, Any]:
        keys = dict(self.drawn.keys)
        if self.drawn.bare and self.drawn.form.view.contiguous:
            size = self.drawn.kind.itemsize
            keys["strides"] = tuple(s * size for s in self.drawn.form.view.strides)
        return keys


@dataclass
class Held:
    """Something that keeps the memory, and what its elements have to be.

    ``struct`` is what an import gives back in the end, ``None`` if it has none; ``truth`` the memory that it is a view of.
    """

    thing: Any
    truth: Source
    struct: Managed | None = None
    readonly: bool = False


def follow(drawn: Drawn) -> None:
    """Have the exchange happen, and be refused where it has to be. What is raised accuses a flawless partner."""
    strays = len(stray_deleter_calls)
    exchange = DrawnExchange(drawn)
    life = Life(exchange)
    with life.current():
        refused = life.begin()
        code = Code.REFUSED if refused else Code.NOT_REFUSED
        ends = {True: "refused", False: "made"}
        expect(code, exchange.reading(), "the exchange", ends[bool(drawn.refusal)], ends[refused])
        for act in drawn.acts:
            life.happen(act)
    life.end()
    strange = len(stray_deleter_calls) - strays
    expect(Code.DELETER_ARGUMENT_WRONG, "DLP-26", "calls of the deleter with a strange pointer", 0, strange)


def expect(code: Code, cited: str, what: str, wanted: object, seen: object, *, role: Role = Role.CONSUMER) -> None:
    """What has nothing to do with elements: counts and bits."""
    if wanted != seen:
        fail(code, cited, role=role, reason=what, expected=wanted, seen=seen)


class Life:
    """An exchange from its beginning to its end. ``held`` is all that anybody has of the array."""

    def __init__(self, exchange: DrawnExchange) -> None:
        self.exchange = exchange
        self.drawn = exchange.drawn
        self.source = exchange.offered()
        self.owner = weakref.ref(self.source.array)
        self.log = self.source.array.log
        self.imports: list[Held] = []
        self.others: list[Any] = []
        """Capsules, and the producer's array."""

    @contextmanager
    def current(self) -> Iterator[None]:
        """The consumer's stream is its current one."""
        if self.drawn.reader is None:
            yield
            return
        with LIBRARY.using(stream_of(LIBRARY, self.drawn.reader, self.drawn.device)):
            yield

    # -- the exchange

    def begin(self) -> bool:
        """Export and import; whether a partner refused."""
        try:
            self._begin()
        except Refused:
            refused = True
        else:
            refused = False
        if not self.drawn.temporary:
            self.others.append(self.source.array)
        self.source.array = None
        return refused

    def _begin(self) -> None:
        exchange = self.exchange
        if self.drawn.protocol is Protocol.CAI or self.drawn.capsule == "given":
            self._imported(exchange.offer(self.source))
            return
        legacy = self.drawn.newest is None
        exported = exchange.capsule_of(self.source) if legacy else exchange.newest_capsule(self.source)
        self.others.append(exported)
        if self.drawn.capsule == "never-consumed":
            if self.drawn.newest is not None and self.drawn.newest[0] != 1:
                raise Refused("nobody reads it")
            return
        self._imported(Offered(lambda **_: exported, self.source.array.device()))
        if self.drawn.capsule == "consumed-twice":
            self._imported(Offered(lambda **_: exported, self.source.array.device()))

    def _imported(self, offer: Any) -> None:
        keywords = {} if self.drawn.copy is None else {"copy": self.drawn.copy}
        taken = self.exchange.take(offer, promised="", **keywords)
        struct = self.log.exports[-1] if self.drawn.protocol is Protocol.DLPACK else None
        held = Held(taken, self.source, struct, self.drawn.readonly and not self.drawn.copy)
        if self.drawn.copy:
            self._expect_copy(held)
        self.imports.append(held)
        self._judge(held)

    def _expect_copy(self, held: Held) -> None:
        """Memory of its own, packed, and called a copy."""
        source, address = self.source, self.exchange.look(held.thing).address
        inside = source.start <= address < source.start + max(len(source.block), 1)
        shares = inside and source.view.size > 0
        expect(Code.COPY_SHARED, "DLP-44", "copy=True shares the memory", False, shares)
        held.truth = Source(None, source.dtype, packed(source.view.shape), address, source.values)
        flags = None if held.struct is None else held.struct.fields.flags
        wanted = None if self.drawn.newest is None else int(DLFlags.IS_COPIED)
        told = None if self.drawn.newest is None else flags
        expect(Code.COPIED_FLAG_MISSING, "DLP-10", "the flags of a copy", wanted, told, role=Role.PRODUCER)

    def _judge(self, held: Held) -> None:
        """Address, shape, strides, element type, read-only bit and elements, by the suite's own judgement."""
        exchange, view = self.exchange, self.exchange.look(held.thing)
        exchange.expect_address(held.truth, view)
        exchange.expect_shape(held.truth, view)
        exchange.expect_values(held.truth, exchange.read(held.thing))
        cited, device = exchange.reading(), LIBRARY.memory(self.drawn.device).device
        locked = Code.READONLY_LOST if held.readonly else Code.READONLY_INVENTED
        whole, told = held.truth.view.contiguous, LIBRARY.contiguous(held.thing)
        expect(Code.DTYPE_CHANGED, cited, "the element type", self.drawn.dtype, view.dtype)
        expect(locked, cited, "the read-only bit", held.readonly, view.readonly)
        expect(Code.WRONG_DEVICE, cited, "the device", device, view.device)
        expect(Code.CONTIGUITY_WRONG, cited, "contiguity", whole, told)

    def _judge_all(self) -> None:
        for held in self.imports:
            self._judge(held)
        self.expect_held()

    # -- what happens to it

    def happen(self, act: Act) -> None:
        """One thing, and a look at everything afterwards."""
        {
            "producer-writes": self._producer_writes,
            "consumer-writes": self._consumer_writes,
            "part": self._part,
            "again": self._again,
            "passed-on": self._passed_on,
            "settle": lambda act: settle(),
        }[act.kind](act)
        self._judge_all()

    def _producer_writes(self, act: Act) -> None:
        if self.drawn.temporary:
            return
        array = next(each for each in self.others if isinstance(each, Exporter))
        self._write(array, self.source, act, readonly=self.drawn.readonly)

    def _consumer_writes(self, act: Act) -> None:
        if self.imports:
            held = self.imports[act.seed % len(self.imports)]
            self._write(held.thing, held.truth, act, readonly=held.readonly)

    def _write(self, array: Any, truth: Source, act: Act, *, readonly: bool) -> None:
        """Overwrite all elements; what is read-only refuses."""
        data = pattern(truth.dtype, truth.view.size, act.seed)
        if readonly:
            self.exchange.expect_refusal(
                lambda: LIBRARY.write(array, data), "CAI-08", role=Role.CONSUMER, given="a write", named=(BufferError,)
            )
            return
        LIBRARY.write(array, data)
        written = truth.block_with(data)
        for each in (truth, self.source, *(held.truth for held in self.imports)):
            if each.start == truth.start:
                each.block = written

    def _part(self, act: Act) -> None:
        """A view of the first import; it keeps the whole."""
        if not self.imports or act.step is None:
            return
        whole = self.imports[0]
        part = LIBRARY.view(whole.thing, act.step)
        self._add(part, apply(whole.truth.view, act.step), whole, whole.readonly)

    def _again(self, act: Act) -> None:
        """The same array is imported once more."""
        if (
            self.drawn.temporary
            or not self.imports
            or self.drawn.protocol is Protocol.CAI
            or self.drawn.capsule != "given"
        ):
            return
        array = next(each for each in self.others if isinstance(each, Exporter))
        self.source.array = array
        self._imported(self.exchange.offer(self.source))
        self.source.array = None

    def _passed_on(self, act: Act) -> None:
        """The first import is exported by its consumer and imported again."""
        if not self.imports or (act.protocol is Protocol.CAI and self.drawn.kind.kind is None):
            return
        whole = self.imports[0]
        taken = LIBRARY.take(LIBRARY.offer(whole.thing, act.protocol), act.protocol, self.drawn.device)
        self._add(taken, whole.truth.view, whole, whole.readonly)

    def _add(self, thing: Any, view: Strided, whole: Held, readonly: bool) -> None:
        truth = whole.truth
        address = truth.start + view.offset * truth.dtype.itemsize
        made = Source(None, truth.dtype, view, address, truth.block)
        self.imports.append(Held(thing, made, whole.struct, readonly))

    # -- the end

    def expect_held(self) -> None:
        """Nothing is released while anybody has it."""
        for held in self.imports:
            if held.struct is not None:
                calls = held.struct.deleter_calls
                expect(Code.RELEASED_EARLY, "DLP-26", "calls of the deleter while an import lives", 0, calls)

    def end(self) -> None:
        """All is let go of, in any order: each struct is released when its last import is gone, once, and so is the array."""
        self.expect_held()
        everything = [
            *((self.imports, held) for held in self.imports),
            *((self.others, other) for other in self.others),
        ]
        Random(self.drawn.ends).shuffle(everything)
        structs = list(self.log.exports)
        self.source.array = None
        while everything:
            owners, last = everything.pop()
            owners[:] = [each for each in owners if each is not last]
            del last
            self.expect_held()
        settle()
        once = 0 if self.drawn.deleter is Deleter.NULL else 1
        calls = [each.deleter_calls for each in structs]
        code = Code.RELEASED_TWICE if sum(calls) > once * len(calls) else Code.NOT_RELEASED
        expect(code, "DLP-26", "calls of the deleter in the end", [once] * len(structs), calls)
        del structs
        self.log.exports.clear()
        gone = happens(lambda: self.owner() is None)
        expect(Code.MEMORY_LEAKED, self.exchange.reading(), "the producer's array is gone", True, gone)
