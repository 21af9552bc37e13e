"""What a check works with: the two partners, the arrays, and the judgement of what they do."""

from __future__ import annotations

import copy
import gc
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial, reduce
from typing import Any, NamedTuple, NoReturn

from conformance.adapters.base import Adapter, Device, Protocol, Trait, Unsupported, View, peek, poke
from conformance.adapters.reference import ReferenceAdapter
from conformance.adapters.special import Use, named, use_state
from conformance.cuda.memory import together
from conformance.protocols import capsule, dlpack
from conformance.protocols.clauses import Level, NotBound, Role, clause
from conformance.protocols.dtypes import ARRAY_API, DLCode, DType, dtype, is_raw
from conformance.protocols.strided import Strided, gather, offsets, same_strides
from conformance.reference.exporter import NEWEST, Exporter

from .base_exceptions import Escaped, stand_in, text_of
from .catalogue import VIA, Case
from .codes import Code
from .handover_record import (
    Handed,
    Mismatch,
    covers,
    decoded,
    device_pair,
    elements_at,
    is_mapped,
    looked_at,
    mismatch,
    of_tensor,
)
from .input_words import described, special
from .layouts import PLAIN, Layout, layout
from .libraries import REFERENCE
from .outcomes import ACCUSED, Failure, Inconclusive, Refused, Side, fail
from .patterns import pattern
from .steps import Doing, Step, Steps

UNCLEAN = (
    KeyError, IndexError, AssertionError, SystemError, NameError, ArithmeticError, RecursionError, MemoryError, Escaped,
)  # fmt: skip
"""Exceptions that say that something broke, not that something was refused (I25)."""


class _Gathered(NamedTuple):
    """Elements, and the block and view that they were gathered from."""

    block: bytes
    view: Strided
    values: bytes


@dataclass
class Source:
    """A producer's array and what the suite knows about it without asking anybody.

    ``address`` is that of element 0; ``view`` counts elements from the block's start; ``block`` holds the
    bytes of the whole packed block, ``values`` those of the view in row-major order. A block that is too large to be held is empty here, and
    ``elements`` are the view's.
    """

    array: Any
    dtype: DType
    view: Strided
    address: int
    block: bytes
    elements: bytes | None = None
    before: int = 0
    """Bytes in front of the block that are the suite's own: an address there leads to no copy."""
    form: Layout | None = None
    """The layout that it was made with, if it is one."""
    _gathered: _Gathered | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def values(self) -> bytes:
        """The view's elements in row-major order."""
        if self.elements is not None:
            return self.elements
        known = self._gathered
        if known is None or known.block is not self.block or known.view is not self.view:
            values = gather(self.block, self.view, self.dtype.itemsize)
            known = self._gathered = _Gathered(self.block, self.view, values)
        return known.values

    @property
    def strides(self) -> tuple[int, ...]:
        """Strides in bytes."""
        return tuple(s * self.dtype.itemsize for s in self.view.strides)

    @property
    def start(self) -> int:
        """Address of the whole block."""
        return self.address - self.view.offset * self.dtype.itemsize

    def block_with(self, data: bytes) -> bytes:
        """The whole block as it is once the view's elements have these row-major bytes."""
        size = self.dtype.itemsize
        block = bytearray(self.block)
        for i, offset in enumerate(offsets(self.view)):
            block[offset * size : (offset + 1) * size] = data[i * size : (i + 1) * size]
        return bytes(block)


@dataclass(frozen=True)
class Answer:
    """One answer of a producer to ``__dlpack__``: what it was asked with, and what it handed over, decoded before the consumer got it.

    ``malformed`` says why a capsule cannot be read.
    """

    keywords: dict[str, Any]
    handed: Handed | None
    malformed: str = ""


@dataclass(frozen=True)
class Partners:
    """The adapters that a case runs with; ``get`` loads one by name."""

    get: Callable[[str], Adapter]


class _AtWork:
    """The context of :meth:`Exchange.step`. It is a class, because every exchange enters it many times: a generator takes three times as long."""

    __slots__ = ("_doing", "_exchange", "_is_lent", "_library", "_role")

    def __init__(self, exchange: Exchange, doing: Doing, role: Role | None, library: str, is_lent: bool) -> None:
        self._exchange, self._doing, self._role = exchange, doing, role
        self._library, self._is_lent = library, is_lent

    def __enter__(self) -> None:
        self._exchange.begin(self._doing, self._role, self._library, self._is_lent)

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._exchange.end()
        if error is not None and (escaped := stand_in(error)) is not None:
            raise escaped from error


class Exchange:
    """One case while it runs. ``steps`` is where it tells what it is doing."""

    def __init__(self, case: Case, partners: Partners, steps: Steps | None = None) -> None:
        self.case = case
        self._partners = partners
        self._steps = steps
        self._given: str | None = None
        self.is_illegal = False
        """Whether the suite has made something that the protocol forbids: no failure from here on breaks a promise."""
        self.handed: Handed | None = None
        """The newest description that a producer has handed over, decoded before the consumer got it."""
        self.answers: list[Answer] = []
        """The answers of the case's producer to the newest offer, in order."""
        self._passed_on: tuple[str, Handed] | None = None
        """The newest description, if a library that is not the case's producer has handed it over, and the library."""
        self._made: Source | None = None
        """The array that was made last, without the array itself, which must not be held."""
        self._is_crafted = False
        self._is_asking = False
        self._maker: Callable[[int], Source] | None = None
        self.is_locked = False
        """Whether a check is made on arrays that are read-only: those of the case that it is made for, and those in a form of its own."""
        self._worked: tuple[Doing, Role] | None = None
        """The newest step of a library."""
        self._is_lent = False
        self._stand_in = ""
        """The library at work in this step, where it is not the one that stands on that side of the case."""
        self.notes: dict[str, str] = {}
        """What belongs beside the result, whatever it is: how a verdict was come to."""
        self._mark(Doing.CHECK)

    def apart(self) -> Exchange:
        """This exchange for one of several threads: what the others hand over meanwhile does not show in it."""
        own = copy.copy(self)
        own.handed = own._made = own._passed_on = None
        own.answers = []
        return own

    def at(self, case: Case, maker: Callable[[int], Source], *, readonly: bool = False) -> Exchange:
        """This exchange as another case on arrays of the same kind: ``maker`` makes the producer's by a seed, where a check asks for no other.

        ``readonly`` says whether the others are read-only as well.
        """
        own = self.apart()
        own.case, own._maker, own.is_locked, own._given = case, maker, readonly, self.given
        own.notes = {}
        return own

    def asking(self, keywords: dict[str, Any]) -> None:
        """Have the consumer import with these keywords from here on. No document promises that it then takes the array."""
        if keywords:
            consumer = copy.copy(self.consumer)
            consumer.take = partial(self.consumer.take, **keywords)  # type: ignore[method-assign]
            self.consumer, self._is_asking = consumer, True

    @property
    def is_repeated(self) -> bool:
        """Whether the check runs on arrays of another case."""
        return self._maker is not None

    def alone(self) -> None:
        """Report no more steps from here on: this exchange runs in a fork, and its parent goes on with the case."""
        self._steps = None

    # -- what is special, and what is going on

    @property
    def given(self) -> str:
        """What is special about the input, in words that end a sentence; empty for a plain array of float32."""
        return special(self.case) if self._given is None else self._given

    def special(self, given: str) -> None:
        """Say what is special about what the suite hands over: it tells the causes of failures apart."""
        self._given = given

    def illegal(self, given: str) -> None:
        """Say that what the suite hands over from here on is forbidden by the protocol: a failure is one of robustness."""
        self._given, self.is_illegal = given, True

    @contextmanager
    def control(self, given: str = "") -> Iterator[None]:
        """Inside, this is all that is special about the input: a control goes before what the case is about, or beside it.

        A failure inside is told of the control.
        """
        before, self._given = self._given, given
        yield
        self._given = before

    def step(self, doing: Doing, role: Role | None, library: str = "", *, is_lent: bool = False) -> _AtWork:
        """Inside, that side is at work; a death there is told as one in this step, of ``library`` if it stands on no such side.

        ``is_lent`` says that this library imports from the reference.
        """
        return _AtWork(self, doing, role, library, is_lent)

    def begin(self, doing: Doing, role: Role | None, library: str, is_lent: bool) -> None:
        """Begin a step; :meth:`step` does, and ends it."""
        self._stand_in, self._is_lent = library, is_lent
        self._mark(doing, role)

    def end(self) -> None:
        """End the step: from now on the suite looks at things and drops them."""
        self._stand_in, self._is_lent = "", False
        self._mark(Doing.RELEASE)

    def settle(self, ended: str) -> None:
        """Begin the last step: the check has ended in this way, and what it leaves behind is to end as well."""
        if self._steps is not None:
            self._steps.mark(Step(Doing.SETTLE, None, self.given, self.is_illegal, ended=ended))

    def _mark(self, doing: Doing, role: Role | None = None) -> None:
        if role is not None:
            self._worked = doing, role
        if self._steps is not None:
            library = self._stand_in if role is Role.CONSUMER else ""
            self._steps.mark(Step(doing, role, self.given, self.is_illegal, library, bool(library) and self._is_lent))

    def _watch(self, offer: Any, giver: Adapter) -> Any:
        """Have an offer tell when its library is asked, and decode what it answers."""
        answers: list[Answer] = []
        calls = getattr(offer, "calls", [])  # and not the offer itself: a cycle would keep its array alive
        if giver is self.producer:
            self.answers = answers

        def asked() -> None:
            self._mark(Doing.EXPORT, Role.PRODUCER)

        def answered(answer: Any) -> None:
            handed = self._looked_at(decoded(self.protocol, answer))
            if giver is self.producer:
                answers.append(Answer(dict(calls[-1][1]) if calls else {}, handed, self._malformed(answer, handed)))
            self.handed = handed if giver is self.producer else None
            self._passed_on = None if giver is self.producer or handed is None else (giver.name, handed)
            self._mark(Doing.IMPORT, Role.CONSUMER)

        offer.asked, offer.answered = asked, answered
        return offer

    def _looked_at(self, handed: Handed | None) -> Handed | None:
        """With the elements that lie there, on the host: on a GPU a look would have to wait for pending work."""
        return handed if self.device is Device.CUDA or self._is_crafted else looked_at(handed)

    def _malformed(self, answer: Any, handed: Handed | None) -> str:
        """The reason why a capsule cannot be read; empty if it can, or if the suite itself has crafted it."""
        if handed is not None or self._is_crafted or self.protocol is not Protocol.DLPACK:
            return ""
        try:
            dlpack.decode(capsule.pointer(answer), capsule.name(answer))
        except dlpack.ForeignVersion:
            return ""  # a consumer may refuse it, and that is all
        except Exception as error:
            return brief(error)
        return ""

    # -- who and what

    @cached_property
    def producer(self) -> Adapter:
        """The giving side."""
        return self._partners.get(self.case.producer)

    @cached_property
    def consumer(self) -> Adapter:
        """The taking side."""
        return self._partners.get(self.case.consumer)

    def library(self, name: str) -> Adapter:
        """Another library, for chains and claims."""
        return self._partners.get(name)

    @property
    def protocol(self) -> Protocol:
        """The protocol of the exchange."""
        return Protocol(self.case.protocol)

    @property
    def device(self) -> Device:
        """Where the elements lie."""
        return self.case.device

    @property
    def dtype(self) -> DType:
        """The element type of the case, float32 if it has none."""
        return dtype(self.case.option("dtype", "float32"))

    @property
    def layout(self) -> Layout:
        """The layout of the case, ``c-order`` if it has none."""
        return layout(self.case.option("layout", "c-order"))

    def option(self, name: str, default: str | None = None) -> str:
        """A parameter of the case."""
        return self.case.option(name, default)

    # -- making arrays

    def source(self, *, seed: int = 0, kind: DType | None = None, form: Layout | None = None) -> Source:
        """The producer's array with the case's element type and layout, filled with a pattern."""
        if self._maker is not None and kind is None and form is None:
            return self._maker(seed)
        return self.make(self.producer, seed=seed, kind=kind, form=form, readonly=self.is_locked)

    def make(
        self, library: Adapter, *, seed: int = 0, kind: DType | None = None, form: Layout | None = None,
        block: bytes | None = None, readonly: bool = False,
    ) -> Source:  # fmt: skip
        """An array of any library's own, with a pattern in its block if nothing else is given; ``readonly`` is made so before the view is."""
        kind, form = kind or self.dtype, form or self.layout
        block = pattern(kind, form.elements, seed) if block is None else block
        base = library.array(kind, form.base, block, self.device)
        start = library.describe(base).address
        if readonly:
            library.freeze(base)
        array = reduce(library.view, form.steps, base)
        address = start + form.view.offset * kind.itemsize
        return self.made(Source(array, kind, form.view, address, block, form=form))

    def made(self, source: Source) -> Source:
        """Note the array that the newest hand-over has to describe."""
        self._made = copy.copy(source)
        self._made.array = None
        return source

    def crafted(
        self, *, override: dict[str, Any] | None = None, cai_override: dict[str, Any] | None = None, seed: int = 0,
        kind: DType | None = None, form: Layout | None = None, readonly: bool | None = None,
        newest: tuple[int, int] | None = NEWEST,
    ) -> Source:  # fmt: skip
        """An array of the reference with fields of its capsule or dictionary replaced; the producer has to be it.

        ``newest`` is the highest version of DLPack that it offers, ``None`` for legacy capsules only.
        """
        assert isinstance(self.producer, ReferenceAdapter)
        source = self.source(seed=seed, kind=kind, form=form)
        self._is_crafted = True
        exporter: Exporter = source.array
        exporter.override = override or {}
        exporter.cai_override = {**exporter.cai_override, **(cai_override or {})}
        exporter.readonly = exporter.readonly if readonly is None else readonly
        if newest != NEWEST:
            exporter.newest = newest
        return source

    def require_versioned(self, source: Source) -> None:
        """End the case as refused if the consumer asked the reference for a legacy capsule."""
        exporter: Exporter = source.array
        if exporter.log.exports and exporter.log.exports[-1].fields.version is None:
            raise Refused(f"{self.consumer.name} asks for legacy capsules only")

    def with_state(self, use: Use) -> None:
        """Have the producer's array in the case's ``state`` used; a version that has no such state refuses the case.

        Notes which private constructor has made the array, if one has, and what was warned of meanwhile.
        """
        state = named(self.producer.states, self.option("state"))
        if state.private:
            self.notes["array"] = f"made by a private constructor of {self.producer.name} ({state.private})"
        warned: list[str] = []
        try:
            use_state(self.producer, state, self.device, use, warned)
        except Unsupported as missing:
            raise Refused(str(missing)) from missing
        finally:
            if warned:
                self.notes["warnings"] = "; ".join(warned)

    # -- the exchange

    def offer(self, source: Source | Any, *, giver: Adapter | None = None) -> Any:
        """The array behind the case's protocol only; ``giver`` has it, if the producer has not."""
        giver = giver or self.producer
        array = source.array if isinstance(source, Source) else source
        try:
            with self.step(Doing.EXPORT, Role.PRODUCER):
                return self._watch(giver.offer(array, self.protocol), giver)
        except Unsupported:
            raise
        except Exception as error:
            self._refused(giver, Role.PRODUCER, error)

    def take(
        self, source: Any, *, promised: str | None = None,
        giver: Adapter | None = None, taker: Adapter | None = None, **keywords: Any,
    ) -> Any:  # fmt: skip
        """Import by the consumer; a refusal ends the case.

        It ends it as a failure where the clause ``promised`` says that the exchange has to work (by default the one that
        holds for the case's element type and layout; empty for none), else as a clean refusal. In a chain ``giver`` and ``taker``
        stand in for producer and consumer.
        """
        giver, taker = giver or self.producer, taker or self.consumer
        offer = self.offer(source) if isinstance(source, Source) else source
        action = partial(taker.take, offer, self.protocol, self.device, **keywords)
        return self.accepting(action, offer, promised=promised, giver=giver, taker=taker)

    def accepting(
        self, action: Callable[[], Any], offer: Any, *, promised: str | None = None,
        giver: Adapter | None = None, taker: Adapter | None = None,
    ) -> Any:  # fmt: skip
        """As :meth:`take`, by another call than the usual one; ``offer`` knows whether it was the producer that raised."""
        giver, taker = giver or self.producer, taker or self.consumer
        stand_in = taker.name if taker.name != self.case.consumer else ""
        try:
            with self.step(Doing.IMPORT, Role.CONSUMER, stand_in, is_lent=giver.name == REFERENCE):
                return action()
        except Exception as error:
            raised = getattr(offer, "raised", None)
            raised_by_producer = raised is not None
            if giver is self.producer and self.protocol is Protocol.DLPACK:
                self._expect_device(offer)
                self.expect_call(offer, taker.name)
                if not raised_by_producer:
                    self._expect_readable()
            role = Role.PRODUCER if raised_by_producer else Role.CONSUMER
            side = giver if raised_by_producer else taker
            by_cai = self.protocol is Protocol.CAI  # a consumer that finds no such attribute raises an error of its own
            refusal = raised if by_cai and isinstance(raised, Exception) else error
            promised = "" if self._is_asking else promised
            self._refused(side, role, refusal, self.promises() if promised is None else promised)

    def told_device(self, offer: Any) -> tuple[int, int]:
        """The device that an offer of the producer's tells; anything but a pair of integers is a failure of the producer (DLP-16)."""
        try:
            with self.step(Doing.EXPORT, Role.PRODUCER):
                told = offer.__dlpack_device__()
        except Exception as error:
            self.check_context(error)
            self._device_malformed(brief(error))
        return device_pair(told) or self._device_malformed(repr(told))

    def _expect_device(self, offer: Any) -> None:
        """What the offer told its consumer of a device was a pair of integers; else the producer fails, whatever came of it."""
        try:
            told = offer.__dlpack_device__()
        except Exception:
            return  # there is nothing to judge
        if device_pair(told) is None:
            self._device_malformed(repr(told))

    def expect_call(self, offer: Any, library: str = "") -> None:
        """The call that the producer has refused is one that the protocol allows; else it is the consumer that fails."""
        if getattr(offer, "raised", None) is None or self.is_illegal:
            return
        positional, called = offer.calls[-1] if offer.calls else ((), {})
        if positional:
            fail(
                Code.POSITIONAL_CALL, "DLP-30", role=Role.CONSUMER, reason="the consumer calls `__dlpack__` in another form than the protocol's",
                expected="keywords alone", seen=f"__dlpack__(*{positional!r}, **{called!r}), and the producer raises {brief(offer.raised)}",
                accused=Side.CONSUMER, library=library or self.case.consumer, given="",
            )  # fmt: skip
        wrong = _forbidden_stream(called, on_host=self.device is Device.HOST)
        if wrong is not None:
            cited, reason, expected = wrong
            fail(
                Code.INVALID_STREAM, cited, role=Role.CONSUMER, reason=reason, expected=expected,
                seen=f"stream={called['stream']!r}, and the producer raises {brief(offer.raised)}", accused=Side.CONSUMER,
                library=library or self.case.consumer, given="",
            )  # fmt: skip

    def _expect_readable(self) -> None:
        """The producer's newest answer is a capsule that can be read (DLP-01); else it fails, whatever came of it."""
        wrong = self.answers[-1].malformed if self.answers else ""
        if wrong:
            self._capsule_malformed(wrong)

    @property
    def is_unreadable(self) -> bool:
        """Whether the producer's newest dictionary is malformed, so that a consumer may refuse it; ``cai.form`` judges that."""
        is_own = self.protocol is Protocol.CAI and not self._is_crafted
        return is_own and bool(self.answers) and self.answers[-1].handed is None

    def _capsule_malformed(self, seen: str) -> NoReturn:
        fail(
            Code.CAPSULE_MALFORMED, "DLP-01", role=Role.PRODUCER, reason="no readable DLPack capsule",
            expected="a capsule", seen=seen, accused=Side.PRODUCER,
        )  # fmt: skip

    def _device_malformed(self, seen: str) -> NoReturn:
        fail(
            Code.DEVICE_MALFORMED, "DLP-16", role=Role.PRODUCER, reason="`__dlpack_device__` does not return two integers",
            expected="(type, id)", seen=seen, given="", accused=Side.PRODUCER,
        )  # fmt: skip

    def promises(self, plain: bool | None = None) -> str:
        """The clause that demands that this exchange works: DLP-46 for a plain array of a standard element type, else none.

        ``plain`` says whether it is one, where the case's layout and element type do not.
        """
        both_bound = self.producer.traits & self.consumer.traits & {Trait.ARRAY_API}
        if plain is None:
            plain = self.option("layout", "c-order") in PLAIN and self.dtype.name in ARRAY_API
        return "DLP-46" if self.protocol is Protocol.DLPACK and both_bound and plain else ""

    def expect_refusal(
        self, action: Callable[[], Any], cited: str, *, role: Role, given: str,
        named: tuple[type[BaseException], ...] = (), class_clause: str = "", accepted: Code = Code.NOT_REFUSED,
    ) -> None:  # fmt: skip
        """``action`` has to raise: returning breaks the clause ``cited``. ``given`` is what has to be refused, in words.

        ``accepted`` is the code of a failure to refuse, where that is more than taking what should not be taken.

        An exception that is none of ``named`` breaks ``class_clause``, at most as a deviation; where no class is
        named, only an exception that means that something broke does (I25).
        """
        doing = {Role.PRODUCER: Doing.EXPORT, Role.CONSUMER: Doing.IMPORT}[role]
        try:
            with self.step(doing, role):
                result = action()
        except Exception as error:
            self.check_context(error)
            wanted = named or (Exception,)
            if not isinstance(error, wanted) or (not named and isinstance(error, UNCLEAN)):
                names = " or ".join(kind.__name__ for kind in named) or "an exception that means a refusal"
                fail(
                    Code.WRONG_EXCEPTION,
                    class_clause or cited,
                    role=role,
                    level=Level.SHOULD,
                    reason=f"the {role.value} refuses {given} with the wrong kind of exception",
                    expected=names,
                    seen=brief(error),
                    given=given,
                    accused=ACCUSED[role],
                )
            return
        fail(
            Code.ILLEGAL_ACCEPTED if self.is_illegal else accepted,
            cited,
            role=role,
            reason=f"the {role.value} accepts {given}",
            expected="an exception",
            seen=f"{type(result).__name__}",
            given=given,
            accused=ACCUSED[role],
        )

    def _refused(self, side: Adapter, role: Role, error: Exception, promised: str = "") -> NoReturn:
        self.check_context(error)
        text = f"{side.name} refused to {'export' if role is Role.PRODUCER else 'import'}: {brief(error)}"
        if promised and _speaks_of(promised, role) and not (role is Role.CONSUMER and self.is_unreadable):
            if role is Role.CONSUMER:
                self.expect_handed()
            fail(
                Code.REFUSED, promised, role=role, reason=f"the {role.value} refuses the exchange",
                expected="the array is exchanged", seen=text,
            )  # fmt: skip
        if isinstance(error, UNCLEAN):
            if role is Role.CONSUMER:
                self.expect_handed()
            fail(
                Code.DEFECT_EXCEPTION,
                _CLEAN_REFUSAL[self.protocol, role],
                role=role,
                level=Level.SHOULD,
                reason=f"the {role.value} refuses with an exception that means a defect",
                expected="BufferError, TypeError or the like",
                seen=text,
                given=type(error).__name__,
            )
        raise Refused(text) from error

    def check_context(self, error: BaseException | None = None) -> None:
        """Raise :class:`Poisoned` if the CUDA context does not survive what just happened: the step that ``error`` came out of."""
        if self.device is not Device.CUDA:
            return
        from conformance.cuda import context

        for ordinal in context.in_use() or (0,):
            code = context.health(ordinal)
            if code:
                if error is not None and self._worked is not None:
                    self._mark(*self._worked)
                raise Poisoned(f"the CUDA context answers {code}" + (f" after {brief(error)}" if error else ""))

    # -- looking at what came of it

    def look(self, taken: Any) -> View:
        """How the consumer describes what it took; an exception there is a failure."""
        view: View = self.using(lambda: self.consumer.describe(taken), "describing the import")
        return view

    def read(self, taken: Any) -> bytes:
        """The elements as the consumer reads them; an exception there, and memory that is gone, are failures."""
        if self.is_gone(taken):
            self.expect_handed()
            by_dlpack = self.protocol is Protocol.DLPACK
            role = self.suspect() if by_dlpack else Role.PRODUCER
            clause_of = {Role.PRODUCER: "DLP-28" if by_dlpack else "CAI-05", Role.CONSUMER: "DLP-26"}
            fail(
                Code.RELEASED_EARLY, clause_of[role], role=role, reason="the system takes back the memory of an import while the import lives",
                expected="memory", seen=GONE,
            )  # fmt: skip
        data: bytes = self.using(lambda: self.consumer.read(taken), "reading the import")
        return data

    def is_gone(self, taken: Any) -> bool:
        """Return whether an import is on handed-over memory that the system has taken back: a read would end the process.

        On a GPU the driver answers a read with an error. The memory of a copy is the consumer's own.
        """
        handed = self.handed
        if handed is None or self.device is Device.CUDA or self._is_crafted or is_mapped(handed):
            return False
        return covers(handed, self.look(taken).address)

    def memory_of(self, reader: Adapter, array: Any) -> Handed | None:
        """Return the memory of an array of the case's element type, as its library describes it now.

        ``None`` where this process has no such memory, and on a GPU: there a read of lost memory is an error.
        """
        if self.device is Device.CUDA:
            return None
        view: View = self.using(lambda: reader.describe(array), "describing an array")
        found = Handed(view.address, view.shape, view.strides, (int(self.dtype.code), self.dtype.bits, 1), None)
        return found if is_mapped(found) else None

    def write(self, source: Source, taken: Any, data: bytes, what: str = "writing through the import") -> None:
        """Write through an import. A consumer that cannot write an array of its own with this layout either has no such operation."""
        self.using(lambda: self.consumer.write(taken, data), what, own=lambda: self._write_own(source, data))

    def _write_own(self, source: Source, data: bytes) -> None:
        if source.form is not None:
            before = self._made
            own = self.make(self.consumer, kind=source.dtype, form=source.form)
            self._made = before
            self.consumer.write(own.array, data)

    def using(self, action: Callable[[], Any], what: str, *, own: Callable[[], Any] | None = None) -> Any:
        """Run an operation on an import: what was accepted has to be usable.

        ``own`` is the same with an array of the consumer's own. Where that raises the same exception, the library lacks the operation, and the case is refused.
        """
        try:
            with self.step(Doing.USE, Role.CONSUMER):
                return action()
        except (Failure, Refused, Inconclusive, Unsupported):
            raise
        except Exception as error:
            self.check_context(error)
            self.expect_handed()
            if own is not None and type(_raised(own)) is type(error):
                raise Refused(
                    f"{self.consumer.name} cannot do that with an array of its own either: {brief(error)}"
                ) from error
            fail(
                Code.IMPORT_UNUSABLE,
                self.reading(),
                role=Role.CONSUMER,
                reason=f"{what} raised, though the consumer had accepted it",
                expected="a usable array",
                seen=brief(error),
                accused=self.reader_at_fault(),
            )

    def reading(self) -> str:
        """The clause by which a consumer has to read what it takes as it is described."""
        return "DLP-58" if self.protocol is Protocol.DLPACK else "CAI-32"

    def sharing(self) -> str:
        """The clause by which the consumer promises to share memory rather than copy."""
        if self.protocol is Protocol.DLPACK:
            return "DLP-43"
        return _SHARING_CLAIMS.get(self.consumer.name, "CAI-32")

    def reader_at_fault(self) -> Side | None:
        """The consumer, where what it was handed is known to be right; ``None`` where nothing is known, as in chains."""
        in_chain = VIA in dict(self.case.parameters)
        return None if self.handed is None or self._is_crafted or in_chain else Side.CONSUMER

    def expect_handed(self, source: Source | None = None) -> None:
        """The last hand-over describes the producer's array, or a copy of it; else the library that gave it fails, whatever came of it.

        Without ``source`` the newest array that :meth:`make` has made is meant. A library in between exports the array that it passes on.
        """
        made = source or self._made
        if made is None or self._is_crafted:
            return
        self._expect_readable()
        if self._passed_on is not None:
            giver, handed = self._passed_on
            self.expect_described(made, handed, library=giver)
        elif self.handed is not None:
            self.expect_described(made, self.handed)

    def expect_described(self, made: Source, handed: Handed, *, library: str = "") -> None:
        """A hand-over of this array describes it, or a copy of it; else its giver fails: ``library``, if not the case's producer."""
        is_copy = self.is_elsewhere(made, handed.address)
        shift = self._shift(made, handed) if is_copy else 0
        wrong = mismatch(handed, made.dtype, made.view, made.address, copied=is_copy)
        if wrong is None and shift:
            wrong = self._shifted(handed, shift)
        if wrong is not None:
            fail(
                wrong.code, wrong.clause, role=Role.PRODUCER, reason=wrong.reason, expected=wrong.expected,
                seen=wrong.seen, accused=Side.PRODUCER, library=library, given="" if library else None,
            )  # fmt: skip

    def expect_tensor(self, source: Source, tensor: dlpack.Tensor) -> None:
        """The content of a capsule of the producer's describes its array, or a copy of it; else the producer fails."""
        if not self._is_crafted:
            self.expect_described(source, of_tensor(tensor))

    def expect_intact(self, source: Source, taker: Adapter, protocol: Protocol | None = None) -> None:
        """The array has its elements still, once ``taker`` has had it.

        Else the export has changed them, if they were wrong already when they were handed over, or the import, if they were right. Where
        nobody has looked in between, each side is tried.
        """
        if self.holds(source, source.values):
            return
        lies = self.lying(source)
        giver, handed = self._passed_on or (self.case.producer, self.handed)
        if handed is not None and handed.elements not in (None, source.values):
            fail(
                Code.SOURCE_CHANGED, self.describing(), role=Role.PRODUCER, reason="the export changes the elements of the array",
                expected=show(source.values, source.dtype), seen=show(lies, source.dtype), given="", accused=Side.PRODUCER,
                library=giver,
            )  # fmt: skip
        is_seen = handed is None or handed.elements is not None
        fail(
            Code.SOURCE_CHANGED, "CAI-32" if (protocol or self.protocol) is Protocol.CAI else "DLP-58", role=Role.CONSUMER,
            reason="the elements of the array change during the import", expected=show(source.values, source.dtype),
            seen=show(lies, source.dtype), given="", accused=Side.CONSUMER if is_seen else None,
            library=taker.name if is_seen else "",
        )  # fmt: skip

    def _shift(self, source: Source, handed: Handed) -> int:
        """By how many bytes a hand-over misses elements that lie beside it: those of the array, or of a copy; 0 if it does not."""
        if handed.elements is None or handed.elements == source.values or handed.itemsize != source.dtype.itemsize:
            return 0
        steps = [sign * n * handed.itemsize for n in range(1, _NEAR + 1) for sign in (1, -1)]
        return next((step for step in steps if elements_at(handed, handed.address - step) == source.values), 0)

    def _shifted(self, handed: Handed, shift: int) -> Mismatch:
        return Mismatch(
            Code.WRONG_ADDRESS, self.describing(), "the producer hands over another address than that of the elements",
            f"element 0 at {handed.address - shift:#x}", f"element 0 at {handed.address:#x}, {shift:+d} bytes off",
        )  # fmt: skip

    def describing(self) -> str:
        """The clause by which a producer describes its elements."""
        return "DLP-59" if self.protocol is Protocol.DLPACK else "CAI-05"

    def handed_elements(self) -> bytes | None:
        """The elements that lie now where the producer has handed over; ``None`` if they cannot be read by our own instruments."""
        handed = self.handed
        if handed is None:
            return None
        if self.device is not Device.CUDA:
            return elements_at(handed, handed.address)
        if not handed.itemsize or any(stride % handed.itemsize for stride in handed.strides):
            return None
        return elements_at(handed, handed.address, self._peeked)

    def _peeked(self, address: int, nbytes: int) -> bytes | None:
        try:
            return self.peek(address, nbytes)
        except Exception:
            return None

    def _is_handed_elsewhere(self, source: Source) -> bool:
        """Whether the producer handed over other memory than the array's."""
        return self.handed is not None and not self._is_crafted and self.is_elsewhere(source, self.handed.address)

    def holds(self, source: Source, wanted: bytes) -> bool:
        """Whether these row-major bytes lie in the producer's memory, read by our own instruments."""
        return self.lying(source) == wanted

    def lying(self, source: Source) -> bytes:
        """The elements that lie in the array's own memory now, in row-major order."""
        size = source.dtype.itemsize
        if source.elements is not None:
            return b"".join(self.peek(source.start + offset * size, size) for offset in offsets(source.view))
        block = self.peek(source.start, len(source.block))
        return source.values if block == source.block else gather(block, source.view, size)

    def changed_by(self, source: Source, wanted: bytes) -> Side | None:
        """Who is at fault where the consumer reads others than these elements, as far as memory shows it; ``None`` if it does not.

        A copy that had other elements before the consumer got it is the producer's doing. Where the right elements lie in what was handed
        over, the consumer reads them wrongly. Memory that was right then and is wrong now says nothing: the consumer may have written it,
        or the producer may have released it.
        """
        if self.handed is None or self.reader_at_fault() is None:
            return None
        intact = self.holds(source, wanted)
        if not self._is_handed_elsewhere(source):
            return Side.CONSUMER if intact else None
        before = self.handed.elements
        if before is not None and before != wanted and wanted == source.values and intact:
            return Side.PRODUCER
        return Side.CONSUMER if self.handed_elements() == wanted else None

    def suspect(self, seen: Side | None = None) -> Role:
        """The side that a failure is held against: the one that memory shows, else the one that is not the reference, else the consumer."""
        if seen is None:
            return Role.PRODUCER if self.case.consumer == REFERENCE != self.case.producer else Role.CONSUMER
        return Role.PRODUCER if seen is Side.PRODUCER else Role.CONSUMER

    def expect_address(self, source: Source, view: View, cited: str = "", *, copying: Level | None = None) -> None:
        """The consumer's element 0 is the producer's. ``copying`` is how much it says against a consumer that it copies, if not all."""
        if source.view.size and view.address != source.address:
            if not self._is_handed_at(source):
                self.expect_handed(source)
            if self.handed is not None and self._is_handed_elsewhere(source):
                self._other_memory(source, self.handed.address)
            is_copy = self.is_elsewhere(source, view.address)
            fail(
                Code.NOT_SHARED if is_copy else Code.WRONG_ADDRESS,
                cited or (self.sharing() if is_copy else self.reading()),
                role=Role.CONSUMER,
                level=copying if is_copy else None,
                reason="the import is not on the producer's memory",
                expected=f"element 0 at {source.address:#x}",
                seen=f"element 0 at {view.address:#x}{self._relation(source, view.address)}",
                accused=self.reader_at_fault() if self._is_described(source) else None,
            )

    def _is_handed_at(self, source: Source) -> bool:
        """Whether what was handed over last has the array's address: then nothing else in it leads to another one."""
        handed = self._passed_on[1] if self._passed_on is not None else self.handed
        return handed is not None and handed.address == source.address

    def _is_described(self, source: Source) -> bool:
        """Whether the producer's hand-over is right in all: a consumer may copy what it cannot hold, as a wrong one may be."""
        return self.handed is not None and mismatch(self.handed, source.dtype, source.view, source.address) is None

    def _other_memory(self, source: Source, address: int) -> NoReturn:
        fail(
            Code.NOT_SHARED,
            "DLP-43" if self.protocol is Protocol.DLPACK else "CAI-05",
            role=Role.PRODUCER,
            reason="the producer hands over other memory than the array's",
            expected=f"element 0 at {source.address:#x}",
            seen=f"element 0 at {address:#x}",
            accused=Side.PRODUCER,
        )

    def expect_values(self, source: Source, seen: bytes, cited: str = "", *, expected: bytes | None = None) -> None:
        """The elements are bit for bit the producer's."""
        wanted = source.values if expected is None else expected
        if seen != wanted:
            self.expect_handed(source)
            side = self.changed_by(source, wanted)
            role = Role.CONSUMER if cited and side is not Side.PRODUCER else self.suspect(side)
            by_producer = role is Role.PRODUCER
            fail(
                Code.VALUES_CHANGED,
                self.describing() if by_producer else cited or self.reading(),
                role=role,
                reason="the producer hands over memory with other elements than the array's"
                if side is Side.PRODUCER
                else "the consumer reads other elements than the producer's",
                expected=show(wanted, source.dtype),
                seen=show(seen, source.dtype) + _beyond_shown(wanted, seen, source.dtype),
                given=self._shown_by_type(source),
                accused=side,
            )

    def _shown_by_type(self, source: Source) -> str | None:
        """What is special about the input, if the elements of a packed array of this type are read wrongly, too: its type alone.

        ``None`` where that is not so, or where layout and type are not special both.
        """
        by_type = described(kind=source.dtype.name)
        if self._given is not None or not by_type or self.given == by_type or VIA in dict(self.case.parameters):
            return None
        try:
            plain = self.make(self.producer, kind=source.dtype, form=layout("c-order"))
            with self.step(Doing.IMPORT, Role.CONSUMER):
                offer = self.producer.offer(plain.array, self.protocol)
                seen = self.consumer.read(self.consumer.take(offer, self.protocol, self.device))
        except Exception as error:
            self.check_context(error)
            return None
        return None if seen == plain.values else by_type

    def expect_shape(self, source: Source, view: View, cited: str = "") -> None:
        """Same shape; same strides wherever an extent is above 1. A copy has strides of its own."""
        if view.shape != source.view.shape:
            self.expect_handed(source)
            fail(
                Code.SHAPE_CHANGED,
                cited or self.reading(),
                role=Role.CONSUMER,
                reason="the consumer reads another shape",
                expected=source.view.shape,
                seen=view.shape,
                accused=self.reader_at_fault(),
            )
        is_copy = self.is_elsewhere(source, view.address)
        if not is_copy and not same_strides(view.shape, view.strides, source.strides):
            self.expect_handed(source)
            fail(
                Code.STRIDES_CHANGED,
                cited or self.reading(),
                role=Role.CONSUMER,
                reason="the consumer reads other strides",
                expected=f"{source.strides} bytes",
                seen=f"{view.strides} bytes",
                accused=self.reader_at_fault(),
            )

    def expect_type(self, source: Source, view: View, cited: str = "") -> None:
        """The consumer names the producer's element type, or calls it bytes where the array interface has no letter for it."""
        unspoken = self.protocol is Protocol.CAI and source.dtype.kind is None
        if view.dtype != source.dtype.name and not (unspoken and is_raw(view.dtype or "")):
            self.expect_handed(source)
            fail(
                Code.DTYPE_CHANGED,
                cited or self.reading(),
                role=Role.CONSUMER,
                reason="the consumer reads another element type",
                expected=source.dtype.name,
                seen=view.dtype,
                accused=self.reader_at_fault(),
            )

    def is_elsewhere(self, source: Source, address: int) -> bool:
        """Whether an address is none of the array's own memory."""
        end = max(source.start + len(source.block), source.address + 1)
        return not source.start - source.before <= address < end

    def _relation(self, source: Source, address: int) -> str:
        start = source.start
        if address == start:
            return ", the start of the producer's block"
        if start < address < start + len(source.block):
            return f", {address - source.address:+d} bytes off"
        return ", memory of its own"

    # -- capsules and memory

    def capsule_of(self, source: Source, **keywords: Any) -> Any:
        """A capsule by the producer; a refusal ends the case. No promise covers a keyword that an older producer does not know."""
        offer = self.offer(source)
        try:
            with self.step(Doing.EXPORT, Role.PRODUCER):
                return offer.__dlpack__(**keywords)
        except Exception as error:
            older = isinstance(error, TypeError) and bool(keywords) and dlpack.tells_unknown_keyword(text_of(error))
            self._refused(self.producer, Role.PRODUCER, error, "" if older else self.promises())

    def newest_capsule(self, array: Source | Any, *, giver: Adapter | None = None, promised: str | None = None) -> Any:
        """A capsule of the newest version that there is to be had; a refusal ends the case.

        A producer that knows no ``max_version`` is asked without. ``giver`` has the array, if the producer has not. The clause
        ``promised`` demands that it works, by default the one that holds for the case's element type and layout.
        """
        giver = giver or self.producer
        offer: Any = giver.offer(array.array if isinstance(array, Source) else array, Protocol.DLPACK)
        try:
            with self.step(Doing.EXPORT, Role.PRODUCER):
                try:
                    return offer.__dlpack__(max_version=NEWEST)
                except TypeError as error:
                    if not dlpack.tells_unknown_keyword(text_of(error)):
                        raise
                    return offer.__dlpack__()
        except Exception as error:
            if promised is None:
                promised = self.promises() if giver is self.producer else ""
            self._refused(giver, Role.PRODUCER, error, promised)

    def dictionary_of(self, array: Source | Any, *, giver: Adapter | None = None) -> Any:
        """What ``__cuda_array_interface__`` yields; a refusal ends the case. ``giver`` as above."""
        giver = giver or self.producer
        offer: Any = giver.offer(array.array if isinstance(array, Source) else array, Protocol.CAI)
        try:
            with self.step(Doing.EXPORT, Role.PRODUCER):
                return offer.__cuda_array_interface__
        except Exception as error:
            self._refused(giver, Role.PRODUCER, error)

    def decode(self, exported: Any) -> dlpack.Tensor:
        """What a capsule says; a malformed one is a failure of the producer."""
        try:
            return dlpack.decode(capsule.pointer(exported), capsule.name(exported))
        except (TypeError, dlpack.Malformed) as error:
            self._capsule_malformed(brief(error))

    def rewrite(self, source: Source, *, seed: int = 1) -> bytes:
        """Overwrite the producer's elements with another pattern, and return its row-major bytes.

        By the library's own operation; by our instruments where it has none, or has one that does not take such an array of its own.
        """
        data = pattern(source.dtype, source.view.size, seed)
        if Trait.WRITES in self.producer.traits:
            try:
                self.producer.write(source.array, data)
                return data
            except Exception as error:
                self.check_context(error)
        size = source.dtype.itemsize
        with together():
            for i, offset in enumerate(offsets(source.view)):
                self.poke(source.start + offset * size, data[i * size : (i + 1) * size])
        return data

    def peek(self, address: int, nbytes: int) -> bytes:
        """Memory by our own instruments."""
        return peek(address, nbytes, self.device)

    def poke(self, address: int, data: bytes) -> None:
        """Memory by our own instruments."""
        poke(address, data, self.device)


_NEAR = 8
"""Elements. How far off an address is looked for the elements that it should have led to."""


def _raised(action: Callable[[], Any]) -> Exception | None:
    """The exception of an action, if it raises one."""
    try:
        action()
    except Exception as error:
        return error
    return None


def _forbidden_stream(keywords: dict[str, Any], *, on_host: bool) -> tuple[str, str, str] | None:
    """The clause that a consumer's call breaks by its ``stream``, in which way, and what is allowed; ``None`` if it does not."""
    stream = keywords.get("stream")
    if stream is None:
        return None
    if on_host:
        return "DLP-36", "the consumer passes a stream for host memory", "stream=None, or no stream"
    if not isinstance(stream, int) or stream == 0 or stream < -1:
        return "DLP-31", "the consumer passes a stream that the protocol does not allow", "-1, 1, 2 or a handle"
    return None


_CLEAN_REFUSAL = {
    (Protocol.DLPACK, Role.PRODUCER): "DLP-23",
    (Protocol.DLPACK, Role.CONSUMER): "DLP-45",
    (Protocol.CAI, Role.PRODUCER): "PY-01",
    (Protocol.CAI, Role.CONSUMER): "G6",
}
"""The clause about how to refuse an array."""
_SHARING_CLAIMS = {
    "cupy": "LIB-32", "torch": "LIB-33", "cvcuda": "LIB-34", "pycuda": "DOC-PC-3", "cuda_python": "LIB-36",
}  # fmt: skip
"""Where each library's documentation says that its import of the array interface shares memory."""


def _speaks_of(cited: str, role: Role) -> bool:
    """Whether a clause can be held against this side, or at least cited for what it does."""
    try:
        clause(cited).level(role)
    except NotBound:
        return False
    return True


class Poisoned(Exception):
    """The CUDA context is lost: nothing in this process can be believed any more."""


GONE = "no memory: the system has taken it back"
"""Stands for the elements where the system has unmapped the memory."""


def brief(error: BaseException | None, limit: int = 300) -> str:
    """Exception class and text on one line."""
    if error is None:
        return "no exception"
    text = " ".join(text_of(error).split())
    return f"{type(error).__name__}: {text[:limit]}" if text else type(error).__name__


_SHOWN = 8
"""Elements that a sentence shows where no other number is asked for."""


def show(data: bytes, kind: DType, limit: int = _SHOWN) -> str:
    """The first elements, and how many bytes there are in all: numbers as such, everything else as hexadecimal words."""
    size = kind.itemsize
    if not data:
        return f"no {kind.name} elements"
    words = [_word(data[i : i + size], kind) for i in range(0, min(len(data), limit * size), size)]
    more = f" … ({len(data)} bytes)" if len(data) > limit * size else ""
    return f"{kind.name} [{' '.join(words)}]{more}"


def _word(data: bytes, kind: DType) -> str:
    """One element. Each number has digits enough to tell it from every other; a NaN has many forms, and so stays a word."""
    word = int.from_bytes(data, sys.byteorder)
    if kind.code in (DLCode.INT, DLCode.UINT) and kind.bits == 8 * len(data):
        return str(int.from_bytes(data, sys.byteorder, signed=kind.code is DLCode.INT))
    if kind.code is DLCode.FLOAT and kind.bits in _FLOATS and kind.bits == 8 * len(data):
        letter, digits = _FLOATS[kind.bits]
        (value,) = struct.unpack(f"={letter}", data)
        if value == value:
            return f"{value:.{digits}g}"
    return f"0x{word:0{2 * len(data)}x}"


_FLOATS = {16: ("e", 5), 32: ("f", 9), 64: ("d", 17)}
"""By the number of bits: the letter of :mod:`struct`, and the digits that tell all numbers apart."""


def _beyond_shown(wanted: bytes, seen: bytes, kind: DType) -> str:
    """The first element that differs, where :func:`show` would show the same of both."""
    size = kind.itemsize
    first = next(
        (i for i in range(0, min(len(wanted), len(seen)), size) if wanted[i : i + size] != seen[i : i + size]), 0
    )
    if first < _SHOWN * size:
        return ""
    should, is_ = (_word(data[first : first + size], kind) for data in (wanted, seen))
    return f"; element {first // size} should be {should} and is {is_}"


def collect() -> None:
    """Let go of whatever only cycles keep alive."""
    gc.collect()
