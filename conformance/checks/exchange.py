"""Exchange of an array between the producer and the consumer of a test case, and the checks of its result."""

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
"""Exceptions that mean a defect of the library. They do not count as a clean refusal (I25)."""


class _Gathered(NamedTuple):
    """Cached elements of a view, with the block and the view that they were gathered from."""

    block: bytes
    view: Strided
    values: bytes


@dataclass
class Source:
    """A producer's array, and its true description, which does not depend on any library's answer.

    ``address`` is the address of element 0. The strides and the offset of ``view`` are in elements, and the offset counts from the start of the
    block. ``block`` holds the bytes of the whole packed block, and ``values`` holds the elements of the view in row-major order. If the block is
    too large to hold, ``block`` is empty and ``elements`` holds the elements of the view.
    """

    array: Any
    dtype: DType
    view: Strided
    address: int
    block: bytes
    elements: bytes | None = None
    before: int = 0
    """Number of bytes in front of the block that belong to the suite. An address in them does not mean a copy."""
    form: Layout | None = None
    """The layout that the array was created with, or ``None``."""
    _gathered: _Gathered | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def values(self) -> bytes:
        """The elements of the view as bytes, in row-major order."""
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
        """Return the bytes of the whole block after ``data`` (row-major) is written to the elements of the view."""
        size = self.dtype.itemsize
        block = bytearray(self.block)
        for i, offset in enumerate(offsets(self.view)):
            block[offset * size : (offset + 1) * size] = data[i * size : (i + 1) * size]
        return bytes(block)


@dataclass(frozen=True)
class Answer:
    """One call of the producer's ``__dlpack__``: its keywords, and its result, decoded before the consumer received it.

    ``malformed`` is the reason why the capsule cannot be decoded, or an empty string.
    """

    keywords: dict[str, Any]
    handed: Handed | None
    malformed: str = ""


@dataclass(frozen=True)
class Partners:
    """The adapters that a case runs with. ``get`` loads an adapter by the name of its library."""

    get: Callable[[str], Adapter]


class _AtWork:
    """The context manager of :meth:`Exchange.step`.

    Every exchange enters it many times. It is a class because a generator takes three times as long.
    """

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
    """A running test case: its producer, its consumer, their arrays and hand-overs.

    Each step is recorded in ``steps``, which the parent reads if the process crashes.
    """

    def __init__(self, case: Case, partners: Partners, steps: Steps | None = None) -> None:
        self.case = case
        self._partners = partners
        self._steps = steps
        self._given: str | None = None
        self.is_illegal = False
        """True if the suite has passed input that the protocol forbids. Later failures are then reported as robustness."""
        self.handed: Handed | None = None
        """The newest description that the case's producer handed over, decoded before the consumer received it."""
        self.answers: list[Answer] = []
        """The producer's results for the newest offer, in the order of the calls."""
        self._passed_on: tuple[str, Handed] | None = None
        """The library that made the newest hand-over and its description, if that library is not the case's producer."""
        self._made: Source | None = None
        """The description of the newest array. It holds no reference to the array, because a reference would keep it alive."""
        self._is_crafted = False
        self._is_asking = False
        self._maker: Callable[[int], Source] | None = None
        self.is_locked = False
        """True if a repeated check runs on read-only arrays. This includes the arrays that the check makes in another layout or type."""
        self._worked: tuple[Doing, Role] | None = None
        """The newest step in which a library worked."""
        self._is_lent = False
        self._stand_in = ""
        """The library that works in this step, if it is not the case's producer or consumer."""
        self.notes: dict[str, str] = {}
        """Notes that are reported with the result, such as how the check reached its verdict."""
        self._mark(Doing.CHECK)

    def apart(self) -> Exchange:
        """Return a copy of this exchange for one of several threads. Hand-overs of the other threads do not appear in it."""
        own = copy.copy(self)
        own.handed = own._made = own._passed_on = None
        own.answers = []
        return own

    def at(self, case: Case, maker: Callable[[int], Source], *, readonly: bool = False) -> Exchange:
        """Return a copy of this exchange that runs another case on arrays of the same kind.

        ``maker`` makes the producer's array from a seed, unless a check asks for another type or layout. ``readonly`` makes those other arrays
        read-only as well.
        """
        own = self.apart()  # the repeated check must not overwrite the record of the case's own hand-over
        own.case, own._maker, own.is_locked, own._given = case, maker, readonly, self.given
        own.notes = {}
        return own

    def asking(self, keywords: dict[str, Any]) -> None:
        """Pass these keywords to all later imports by the consumer. No document promises that the consumer accepts the array with them."""
        if keywords:
            consumer = copy.copy(self.consumer)
            consumer.take = partial(self.consumer.take, **keywords)  # type: ignore[method-assign]
            self.consumer, self._is_asking = consumer, True

    @property
    def is_repeated(self) -> bool:
        """True if the check runs on arrays of another case."""
        return self._maker is not None

    def alone(self) -> None:
        """Stop recording steps: this exchange runs in a forked process, and the parent continues the case."""
        self._steps = None

    # -- input of the case, and steps

    @property
    def given(self) -> str:
        """The property of the input that is not the default, in words that end a sentence. Empty for a plain float32 array."""
        return special(self.case) if self._given is None else self._given

    def special(self, given: str) -> None:
        """Set the special property of the input. Findings use it to distinguish the causes of failures."""
        self._given = given

    def illegal(self, given: str) -> None:
        """Declare that the protocol forbids all later input of the case. Failures are then reported as robustness."""
        self._given, self.is_illegal = given, True

    @contextmanager
    def control(self, given: str = "") -> Iterator[None]:
        """Replace the special property of the input inside the context, where the case runs its control.

        A failure inside the context is reported for the input of the control.
        """
        before, self._given = self._given, given
        yield
        self._given = before

    def step(self, doing: Doing, role: Role | None, library: str = "", *, is_lent: bool = False) -> _AtWork:
        """Return a context in which this side works. A crash inside the context is reported for this step.

        ``library`` names the library that works, if it is not the case's producer or consumer. ``is_lent`` means that it imports from the
        reference.
        """
        return _AtWork(self, doing, role, library, is_lent)

    def begin(self, doing: Doing, role: Role | None, library: str, is_lent: bool) -> None:
        """Begin a step. :meth:`step` calls this on entry."""
        self._stand_in, self._is_lent = library, is_lent
        self._mark(doing, role)

    def end(self) -> None:
        """End the step. The suite then inspects or drops the objects of the exchange."""
        self._stand_in, self._is_lent = "", False
        self._mark(Doing.RELEASE)

    def settle(self, ended: str) -> None:
        """Begin the last step, in which the objects that the check left behind are released. ``ended`` is the check's result."""
        if self._steps is not None:
            self._steps.mark(Step(Doing.SETTLE, None, self.given, self.is_illegal, ended=ended))

    def _mark(self, doing: Doing, role: Role | None = None) -> None:
        if role is not None:
            self._worked = doing, role
        if self._steps is not None:
            library = self._stand_in if role is Role.CONSUMER else ""
            self._steps.mark(Step(doing, role, self.given, self.is_illegal, library, bool(library) and self._is_lent))

    def _watch(self, offer: Any, giver: Adapter) -> Any:
        """Record each call of the offer's export method, and decode its result before the consumer receives it."""
        answers: list[Answer] = []
        calls = getattr(
            offer, "calls", []
        )  # the closure must not hold the offer: a reference cycle would keep the array alive
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
        """Add the current elements to a description in host memory. On a GPU, a read would wait for the pending work."""
        return handed if self.device is Device.CUDA or self._is_crafted else looked_at(handed)

    def _malformed(self, answer: Any, handed: Handed | None) -> str:
        """Return the reason why a capsule cannot be decoded. It is empty if it can be, or if the suite crafted the capsule."""
        if handed is not None or self._is_crafted or self.protocol is not Protocol.DLPACK:
            return ""
        try:
            dlpack.decode(capsule.pointer(answer), capsule.name(answer))
        except dlpack.ForeignVersion:
            return ""  # a newer major version is legal: a consumer may refuse it
        except Exception as error:
            return brief(error)
        return ""

    # -- libraries and parameters

    @cached_property
    def producer(self) -> Adapter:
        """The adapter of the case's producer."""
        return self._partners.get(self.case.producer)

    @cached_property
    def consumer(self) -> Adapter:
        """The adapter of the case's consumer."""
        return self._partners.get(self.case.consumer)

    def library(self, name: str) -> Adapter:
        """Return the adapter of another library, for chains and documented claims."""
        return self._partners.get(name)

    @property
    def protocol(self) -> Protocol:
        """The protocol of the case, as an enum member."""
        return Protocol(self.case.protocol)

    @property
    def device(self) -> Device:
        """The device that holds the elements."""
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
        """Return a parameter of the case, or ``default``."""
        return self.case.option(name, default)

    # -- making arrays

    def source(self, *, seed: int = 0, kind: DType | None = None, form: Layout | None = None) -> Source:
        """Return a producer's array with the case's element type and layout, filled with a pattern."""
        if self._maker is not None and kind is None and form is None:
            return self._maker(seed)
        return self.make(self.producer, seed=seed, kind=kind, form=form, readonly=self.is_locked)

    def make(
        self, library: Adapter, *, seed: int = 0, kind: DType | None = None, form: Layout | None = None,
        block: bytes | None = None, readonly: bool = False,
    ) -> Source:  # fmt: skip
        """Return a new array of ``library``, filled with ``block`` or with a pattern.

        ``readonly`` makes the base read-only before the view is taken.
        """
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
        """Set the array that the next hand-overs must describe, and return it."""
        self._made = copy.copy(source)
        self._made.array = None  # a reference here would keep the array alive, and hide an early release
        return source

    def crafted(
        self, *, override: dict[str, Any] | None = None, cai_override: dict[str, Any] | None = None, seed: int = 0,
        kind: DType | None = None, form: Layout | None = None, readonly: bool | None = None,
        newest: tuple[int, int] | None = NEWEST,
    ) -> Source:  # fmt: skip
        """Return an array of the reference, with fields of its capsule or dictionary replaced. The producer must be the reference.

        ``newest`` is the highest DLPack version that the array offers, or ``None`` for legacy capsules only.
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
        """Run ``use`` with the producer's array in the case's ``state``.

        The notes of the case name the private constructor that made the array, if there is one, and the warnings.

        Raises:
            Refused: this version of the producer has no such state.
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
        """Return an object that exposes the array by the case's protocol only. ``giver`` owns the array if the producer does not."""
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
        """Import the array with the consumer, and return the import. A refusal ends the case.

        If the clause ``promised`` demands that the exchange works, a refusal is a failure; otherwise it is a clean refusal. By default the
        clause follows from the case's element type and layout. An empty string means that no clause applies. In a chain, ``giver`` and
        ``taker`` replace the producer and the consumer.
        """
        giver, taker = giver or self.producer, taker or self.consumer
        offer = self.offer(source) if isinstance(source, Source) else source
        action = partial(taker.take, offer, self.protocol, self.device, **keywords)
        return self.accepting(action, offer, promised=promised, giver=giver, taker=taker)

    def accepting(
        self, action: Callable[[], Any], offer: Any, *, promised: str | None = None,
        giver: Adapter | None = None, taker: Adapter | None = None,
    ) -> Any:  # fmt: skip
        """Run an import by another call than :meth:`take` uses. ``offer`` records whether the producer raised the exception."""
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
            by_cai = (
                self.protocol is Protocol.CAI
            )  # the consumer's attribute lookup may hide the producer's exception behind its own
            refusal = raised if by_cai and isinstance(raised, Exception) else error
            promised = "" if self._is_asking else promised
            self._refused(side, role, refusal, self.promises() if promised is None else promised)

    def told_device(self, offer: Any) -> tuple[int, int]:
        """Return the device that ``__dlpack_device__`` of a producer's offer reports.

        The producer fails if the result is not a pair of integers (DLP-16).
        """
        try:
            with self.step(Doing.EXPORT, Role.PRODUCER):
                told = offer.__dlpack_device__()
        except Exception as error:
            self.check_context(error)
            self._device_malformed(brief(error))
        return device_pair(told) or self._device_malformed(repr(told))

    def _expect_device(self, offer: Any) -> None:
        """Fail the producer if ``__dlpack_device__`` does not return a pair of integers."""
        try:
            told = offer.__dlpack_device__()
        except Exception:
            return  # the refusal itself is judged by the caller
        if device_pair(told) is None:
            self._device_malformed(repr(told))

    def expect_call(self, offer: Any, library: str = "") -> None:
        """Fail the consumer if the producer refused a call of ``__dlpack__`` that the protocol does not allow."""
        if getattr(offer, "raised", None) is None or self.is_illegal:
            return
        positional, called = offer.calls[-1] if offer.calls else ((), {})
        if positional:
            fail(
                Code.POSITIONAL_CALL, "DLP-30", role=Role.CONSUMER, reason="the consumer passes positional arguments to `__dlpack__`",
                expected="keyword arguments only", seen=f"__dlpack__(*{positional!r}, **{called!r}); the producer raised {brief(offer.raised)}",
                accused=Side.CONSUMER, library=library or self.case.consumer, given="",
            )  # fmt: skip
        wrong = _forbidden_stream(called, on_host=self.device is Device.HOST)
        if wrong is not None:
            cited, reason, expected = wrong
            fail(
                Code.INVALID_STREAM, cited, role=Role.CONSUMER, reason=reason, expected=expected,
                seen=f"stream={called['stream']!r}; the producer raised {brief(offer.raised)}", accused=Side.CONSUMER,
                library=library or self.case.consumer, given="",
            )  # fmt: skip

    def _expect_readable(self) -> None:
        """Fail the producer if its newest result is not a readable capsule (DLP-01)."""
        wrong = self.answers[-1].malformed if self.answers else ""
        if wrong:
            self._capsule_malformed(wrong)

    @property
    def is_unreadable(self) -> bool:
        """True if the producer's newest dictionary is malformed. A consumer may refuse it; ``cai.form`` reports the producer."""
        is_own = self.protocol is Protocol.CAI and not self._is_crafted
        return is_own and bool(self.answers) and self.answers[-1].handed is None

    def _capsule_malformed(self, seen: str) -> NoReturn:
        fail(
            Code.CAPSULE_MALFORMED, "DLP-01", role=Role.PRODUCER, reason="the producer returns no readable DLPack capsule",
            expected="a capsule", seen=seen, accused=Side.PRODUCER,
        )  # fmt: skip

    def _device_malformed(self, seen: str) -> NoReturn:
        fail(
            Code.DEVICE_MALFORMED, "DLP-16", role=Role.PRODUCER, reason="the producer's `__dlpack_device__` does not return two integers",
            expected="(type, id)", seen=seen, given="", accused=Side.PRODUCER,
        )  # fmt: skip

    def promises(self, plain: bool | None = None) -> str:
        """Return the clause that demands that this exchange works: DLP-46 for a plain array of a standard element type, otherwise none.

        ``plain`` overrides the answer that follows from the case's layout and element type.
        """
        both_bound = self.producer.traits & self.consumer.traits & {Trait.ARRAY_API}
        if plain is None:
            plain = self.option("layout", "c-order") in PLAIN and self.dtype.name in ARRAY_API
        return "DLP-46" if self.protocol is Protocol.DLPACK and both_bound and plain else ""

    def expect_refusal(
        self, action: Callable[[], Any], cited: str, *, role: Role, given: str,
        named: tuple[type[BaseException], ...] = (), class_clause: str = "", accepted: Code = Code.NOT_REFUSED,
    ) -> None:  # fmt: skip
        """Fail unless ``action`` raises: a return breaks the clause ``cited``. ``given`` describes the input that must be refused.

        ``accepted`` is the code of the failure if ``action`` returns. An exception of a class that is not in ``named`` breaks
        ``class_clause``, at most as a deviation. If ``named`` is empty, only an exception that means a defect breaks it (I25).
        """
        doing = {Role.PRODUCER: Doing.EXPORT, Role.CONSUMER: Doing.IMPORT}[role]
        try:
            with self.step(doing, role):
                result = action()
        except Exception as error:
            self.check_context(error)
            wanted = named or (Exception,)
            if not isinstance(error, wanted) or (not named and isinstance(error, UNCLEAN)):
                names = " or ".join(kind.__name__ for kind in named) or "an exception that signals a refusal"
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
                Code.REFUSED, promised, role=role, reason=f"the {role.value} refuses an exchange that must work",
                expected="the exchange succeeds", seen=text,
            )  # fmt: skip
        if isinstance(error, UNCLEAN):
            if role is Role.CONSUMER:
                self.expect_handed()
            fail(
                Code.DEFECT_EXCEPTION,
                _CLEAN_REFUSAL[self.protocol, role],
                role=role,
                level=Level.SHOULD,
                reason=f"the {role.value} refuses with an exception that indicates a defect",
                expected="BufferError, TypeError or a similar exception",
                seen=text,
                given=type(error).__name__,
            )
        raise Refused(text) from error

    def check_context(self, error: BaseException | None = None) -> None:
        """Raise :class:`Poisoned` if the CUDA context is corrupted after the step that raised ``error``."""
        if self.device is not Device.CUDA:
            return
        from conformance.cuda import context

        for ordinal in context.in_use() or (0,):
            code = context.health(ordinal)
            if code:
                if error is not None and self._worked is not None:
                    self._mark(*self._worked)  # the library's step is over, but the corruption belongs to it
                raise Poisoned(
                    f"the CUDA context is corrupted: error {code}" + (f" after {brief(error)}" if error else "")
                )

    # -- checks of the import

    def look(self, taken: Any) -> View:
        """Return the consumer's description of the import. An exception is a failure."""
        view: View = self.using(lambda: self.consumer.describe(taken), "describing the import")
        return view

    def read(self, taken: Any) -> bytes:
        """Return the elements as the consumer reads them. An exception and unmapped memory are failures."""
        if self.is_gone(taken):
            self.expect_handed()
            by_dlpack = self.protocol is Protocol.DLPACK
            role = self.suspect() if by_dlpack else Role.PRODUCER
            clause_of = {Role.PRODUCER: "DLP-28" if by_dlpack else "CAI-05", Role.CONSUMER: "DLP-26"}
            fail(
                Code.RELEASED_EARLY, clause_of[role], role=role, reason=f"the {role.value} releases the memory of an import that is still alive",
                expected="the memory stays mapped", seen=GONE,
            )  # fmt: skip
        data: bytes = self.using(lambda: self.consumer.read(taken), "reading the import")
        return data

    def is_gone(self, taken: Any) -> bool:
        """Return whether the import lies in handed-over host memory that is no longer mapped. A read would crash the process.

        On a GPU the driver reports an error instead. A copy lies in memory of the consumer, so it is never reported here.
        """
        handed = self.handed
        if handed is None or self.device is Device.CUDA or self._is_crafted or is_mapped(handed):
            return False
        return covers(handed, self.look(taken).address)

    def memory_of(self, reader: Adapter, array: Any) -> Handed | None:
        """Return the current description of an array by its library ``reader``.

        Return ``None`` if the memory is not mapped in this process, and on a GPU, where a read of freed memory raises an error.
        """
        if self.device is Device.CUDA:
            return None
        view: View = self.using(lambda: reader.describe(array), "describing an array")
        found = Handed(view.address, view.shape, view.strides, (int(self.dtype.code), self.dtype.bits, 1), None)
        return found if is_mapped(found) else None

    def write(self, source: Source, taken: Any, data: bytes, what: str = "writing through the import") -> None:
        """Write through an import.

        If the consumer cannot write its own array with this layout either, it lacks the operation, and the case is refused.
        """
        self.using(lambda: self.consumer.write(taken, data), what, own=lambda: self._write_own(source, data))

    def _write_own(self, source: Source, data: bytes) -> None:
        if source.form is not None:
            before = self._made
            own = self.make(self.consumer, kind=source.dtype, form=source.form)
            self._made = before
            self.consumer.write(own.array, data)

    def using(self, action: Callable[[], Any], what: str, *, own: Callable[[], Any] | None = None) -> Any:
        """Run an operation on an import, and fail if it raises: an accepted array must be usable.

        ``own`` runs the same operation on an array of the consumer. If it raises the same exception, the library lacks the operation, and the
        case is refused.
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
                    f"{self.consumer.name} cannot do this with its own arrays either: {brief(error)}"
                ) from error
            fail(
                Code.IMPORT_UNUSABLE,
                self.reading(),
                role=Role.CONSUMER,
                reason=f"the consumer accepted the array, but {what} raises an exception",
                expected="a usable array",
                seen=brief(error),
                accused=self.reader_at_fault(),
            )

    def reading(self) -> str:
        """Return the clause that demands that a consumer reads an array as it is described."""
        return "DLP-58" if self.protocol is Protocol.DLPACK else "CAI-32"

    def sharing(self) -> str:
        """Return the clause in which the consumer promises to share memory without a copy."""
        if self.protocol is Protocol.DLPACK:
            return "DLP-43"
        return _SHARING_CLAIMS.get(self.consumer.name, "CAI-32")

    def reader_at_fault(self) -> Side | None:
        """Return the consumer if the hand-over is known to be correct. Return ``None`` if it is not known, as in chains."""
        in_chain = VIA in dict(self.case.parameters)
        return None if self.handed is None or self._is_crafted or in_chain else Side.CONSUMER

    def expect_handed(self, source: Source | None = None) -> None:
        """Fail the exporting library if its newest hand-over does not describe the array or a copy of it.

        ``source`` is by default the newest array that :meth:`make` created. In a chain, the library in between exports that array.
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
        """Fail the exporter if ``handed`` does not describe the array ``made`` or a copy of it.

        ``library`` names the exporter if it is not the case's producer.
        """
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
        """Fail the producer if its capsule does not describe the array or a copy of it."""
        if not self._is_crafted:
            self.expect_described(source, of_tensor(tensor))

    def expect_intact(self, source: Source, taker: Adapter, protocol: Protocol | None = None) -> None:
        """Fail if the export or the import by ``taker`` changed the elements of the producer's array.

        The producer is accused if the elements were already wrong at the hand-over, and the consumer if they were correct. If the elements
        were not read at the hand-over, each side is later tried with the reference.
        """
        if self.holds(source, source.values):
            return
        lies = self.lying(source)
        giver, handed = self._passed_on or (self.case.producer, self.handed)
        if handed is not None and handed.elements not in (None, source.values):
            fail(
                Code.SOURCE_CHANGED, self.describing(), role=Role.PRODUCER, reason="the producer changes the elements of its array during the export",
                expected=show(source.values, source.dtype), seen=show(lies, source.dtype), given="", accused=Side.PRODUCER,
                library=giver,
            )  # fmt: skip
        is_seen = handed is None or handed.elements is not None
        fail(
            Code.SOURCE_CHANGED, "CAI-32" if (protocol or self.protocol) is Protocol.CAI else "DLP-58", role=Role.CONSUMER,
            reason="the elements of the producer's array change during the import", expected=show(source.values, source.dtype),
            seen=show(lies, source.dtype), given="", accused=Side.CONSUMER if is_seen else None,
            library=taker.name if is_seen else "",
        )  # fmt: skip

    def _shift(self, source: Source, handed: Handed) -> int:
        """Return the distance in bytes between the described address and the true elements, if they lie near it. Otherwise return 0."""
        if handed.elements is None or handed.elements == source.values or handed.itemsize != source.dtype.itemsize:
            return 0
        steps = [sign * n * handed.itemsize for n in range(1, _NEAR + 1) for sign in (1, -1)]
        return next((step for step in steps if elements_at(handed, handed.address - step) == source.values), 0)

    def _shifted(self, handed: Handed, shift: int) -> Mismatch:
        return Mismatch(
            Code.WRONG_ADDRESS, self.describing(), "the producer exports a wrong address: the elements lie elsewhere",
            f"element 0 at {handed.address - shift:#x}", f"element 0 at {handed.address:#x}, {shift:+d} bytes off",
        )  # fmt: skip

    def describing(self) -> str:
        """Return the clause that demands that a producer describes its elements correctly."""
        return "DLP-59" if self.protocol is Protocol.DLPACK else "CAI-05"

    def handed_elements(self) -> bytes | None:
        """Return the current elements of the handed-over memory, or ``None`` if the suite cannot read them."""
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
        """Return whether the producer handed over memory outside the array."""
        return self.handed is not None and not self._is_crafted and self.is_elsewhere(source, self.handed.address)

    def holds(self, source: Source, wanted: bytes) -> bool:
        """Return whether the array's own memory holds these row-major bytes. No library is involved in the read."""
        return self.lying(source) == wanted

    def lying(self, source: Source) -> bytes:
        """Return the current elements in the array's own memory, in row-major order."""
        size = source.dtype.itemsize
        if source.elements is not None:
            return b"".join(self.peek(source.start + offset * size, size) for offset in offsets(source.view))
        block = self.peek(source.start, len(source.block))
        return source.values if block == source.block else gather(block, source.view, size)

    def changed_by(self, source: Source, wanted: bytes) -> Side | None:
        """Return the side that is at fault if the consumer reads elements other than ``wanted``, or ``None`` if memory does not show it.

        The producer is at fault if it handed over a copy with wrong elements. The consumer is at fault if the handed-over memory holds the
        correct elements. Memory that was correct at the hand-over and is wrong now decides nothing: the consumer may have written it, or the
        producer may have released it.
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
        """Return the side that the failure is reported for.

        This is the side that memory shows to be at fault. Otherwise it is the side that is not the reference, or the consumer.
        """
        if seen is None:
            return Role.PRODUCER if self.case.consumer == REFERENCE != self.case.producer else Role.CONSUMER
        return Role.PRODUCER if seen is Side.PRODUCER else Role.CONSUMER

    def expect_address(self, source: Source, view: View, cited: str = "", *, copying: Level | None = None) -> None:
        """Fail if the import's element 0 is not at the producer's address. ``copying`` lowers the level of a failure that is a copy."""
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
                reason="the import does not share the producer's memory"
                if is_copy
                else "the import has a wrong address",
                expected=f"element 0 at {source.address:#x}",
                seen=f"element 0 at {view.address:#x}{self._relation(source, view.address)}",
                accused=self.reader_at_fault() if self._is_described(source) else None,
            )

    def _is_handed_at(self, source: Source) -> bool:
        """Return whether the newest hand-over has the array's address. Its other fields cannot cause a wrong address then."""
        handed = self._passed_on[1] if self._passed_on is not None else self.handed
        return handed is not None and handed.address == source.address

    def _is_described(self, source: Source) -> bool:
        """Return whether the producer's hand-over is fully correct.

        A consumer may copy an array that it cannot represent, and a wrong description can be such an array.
        """
        return self.handed is not None and mismatch(self.handed, source.dtype, source.view, source.address) is None

    def _other_memory(self, source: Source, address: int) -> NoReturn:
        fail(
            Code.NOT_SHARED,
            "DLP-43" if self.protocol is Protocol.DLPACK else "CAI-05",
            role=Role.PRODUCER,
            reason="the producer exports memory that is not the array's",
            expected=f"element 0 at {source.address:#x}",
            seen=f"element 0 at {address:#x}",
            accused=Side.PRODUCER,
        )

    def expect_values(self, source: Source, seen: bytes, cited: str = "", *, expected: bytes | None = None) -> None:
        """Fail if the elements differ from the producer's in any bit."""
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
                reason="the producer exports memory with elements that differ from the array's"
                if side is Side.PRODUCER
                else "the consumer reads elements that differ from the producer's",
                expected=show(wanted, source.dtype),
                seen=show(seen, source.dtype) + _beyond_shown(wanted, seen, source.dtype),
                given=self._shown_by_type(source),
                accused=side,
            )

    def _shown_by_type(self, source: Source) -> str | None:
        """Return the element type as the special property of the input, if a packed array of this type is read wrongly, too.

        Return ``None`` if it is read correctly, or if layout and type are not both special.
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
        """Fail if the shape differs, or a stride of a dimension with more than one element. The strides of a copy may differ."""
        if view.shape != source.view.shape:
            self.expect_handed(source)
            fail(
                Code.SHAPE_CHANGED,
                cited or self.reading(),
                role=Role.CONSUMER,
                reason="the consumer reads a wrong shape",
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
                reason="the consumer reads wrong strides",
                expected=f"{source.strides} bytes",
                seen=f"{view.strides} bytes",
                accused=self.reader_at_fault(),
            )

    def expect_type(self, source: Source, view: View, cited: str = "") -> None:
        """Fail if the consumer reports another element type.

        A type without a letter in the CUDA Array Interface may be reported as raw bytes.
        """
        unspoken = self.protocol is Protocol.CAI and source.dtype.kind is None
        if view.dtype != source.dtype.name and not (unspoken and is_raw(view.dtype or "")):
            self.expect_handed(source)
            fail(
                Code.DTYPE_CHANGED,
                cited or self.reading(),
                role=Role.CONSUMER,
                reason="the consumer reads a wrong element type",
                expected=source.dtype.name,
                seen=view.dtype,
                accused=self.reader_at_fault(),
            )

    def is_elsewhere(self, source: Source, address: int) -> bool:
        """Return whether an address lies outside the array's own memory."""
        end = max(source.start + len(source.block), source.address + 1)
        return not source.start - source.before <= address < end

    def _relation(self, source: Source, address: int) -> str:
        start = source.start
        if address == start:
            return ", the start of the producer's block"
        if start < address < start + len(source.block):
            return f", {address - source.address:+d} bytes off"
        return ", in other memory"

    # -- capsules and memory

    def capsule_of(self, source: Source, **keywords: Any) -> Any:
        """Return a capsule from the producer. A refusal ends the case.

        An older producer may refuse keywords that it does not know: no clause demands that it accepts them.
        """
        offer = self.offer(source)
        try:
            with self.step(Doing.EXPORT, Role.PRODUCER):
                return offer.__dlpack__(**keywords)
        except Exception as error:
            older = isinstance(error, TypeError) and bool(keywords) and dlpack.tells_unknown_keyword(text_of(error))
            self._refused(self.producer, Role.PRODUCER, error, "" if older else self.promises())

    def newest_capsule(self, array: Source | Any, *, giver: Adapter | None = None, promised: str | None = None) -> Any:
        """Return a capsule of the newest version that the library exports. A refusal ends the case.

        If the library does not know ``max_version``, it is called without it. ``giver`` owns the array if the producer does not. The clause
        ``promised`` demands that the export works. By default it follows from the case's element type and layout.
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
        """Return the value of ``__cuda_array_interface__``. A refusal ends the case. ``giver`` owns the array if the producer does not."""
        giver = giver or self.producer
        offer: Any = giver.offer(array.array if isinstance(array, Source) else array, Protocol.CAI)
        try:
            with self.step(Doing.EXPORT, Role.PRODUCER):
                return offer.__cuda_array_interface__
        except Exception as error:
            self._refused(giver, Role.PRODUCER, error)

    def decode(self, exported: Any) -> dlpack.Tensor:
        """Return the decoded content of a capsule. The producer fails if the capsule is malformed."""
        try:
            return dlpack.decode(capsule.pointer(exported), capsule.name(exported))
        except (TypeError, dlpack.Malformed) as error:
            self._capsule_malformed(brief(error))

    def rewrite(self, source: Source, *, seed: int = 1) -> bytes:
        """Overwrite the producer's elements with another pattern, and return its row-major bytes.

        The library's own operation writes them. The suite writes them itself if the library has no such operation, or if it raises.
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
        """Return bytes of memory, read by the suite and not by a library."""
        return peek(address, nbytes, self.device)

    def poke(self, address: int, data: bytes) -> None:
        """Write bytes to memory by the suite and not by a library."""
        poke(address, data, self.device)


_NEAR = 8
"""Maximum distance, in elements, in which the suite searches for the true elements near a wrong address."""


def _raised(action: Callable[[], Any]) -> Exception | None:
    """Return the exception that ``action`` raises, or ``None``."""
    try:
        action()
    except Exception as error:
        return error
    return None


def _forbidden_stream(keywords: dict[str, Any], *, on_host: bool) -> tuple[str, str, str] | None:
    """Return the clause that the ``stream`` of a consumer's call breaks, the reason and the permitted values. Return ``None`` if it breaks none."""
    stream = keywords.get("stream")
    if stream is None:
        return None
    if on_host:
        return "DLP-36", "the consumer passes a stream for an array in host memory", "stream=None, or no stream"
    if not isinstance(stream, int) or stream == 0 or stream < -1:
        return "DLP-31", "the consumer passes a stream that the protocol does not allow", "-1, 1, 2 or a handle"
    return None


_CLEAN_REFUSAL = {
    (Protocol.DLPACK, Role.PRODUCER): "DLP-23",
    (Protocol.DLPACK, Role.CONSUMER): "DLP-45",
    (Protocol.CAI, Role.PRODUCER): "PY-01",
    (Protocol.CAI, Role.CONSUMER): "G6",
}
"""The clause that says how to refuse an array, for each protocol and side."""
_SHARING_CLAIMS = {
    "cupy": "LIB-32", "torch": "LIB-33", "cvcuda": "LIB-34", "pycuda": "DOC-PC-3", "cuda_python": "LIB-36",
}  # fmt: skip
"""For each library, the clause of its documentation that says that an import by the CUDA Array Interface shares memory."""


def _speaks_of(cited: str, role: Role) -> bool:
    """Return whether a clause binds this side."""
    try:
        clause(cited).level(role)
    except NotBound:
        return False
    return True


class Poisoned(Exception):
    """The CUDA context is corrupted (sticky error): no later result of this process is reliable."""


GONE = "the memory is no longer mapped"
"""Reported in place of the elements if the memory is unmapped."""


def brief(error: BaseException | None, limit: int = 300) -> str:
    """Return the class and the text of an exception on one line."""
    if error is None:
        return "no exception"
    text = " ".join(text_of(error).split())
    return f"{type(error).__name__}: {text[:limit]}" if text else type(error).__name__


_SHOWN = 8
"""Default number of elements that a message shows."""


def show(data: bytes, kind: DType, limit: int = _SHOWN) -> str:
    """Return the first elements and the total number of bytes as text. Elements that are not numbers are shown as hexadecimal words."""
    size = kind.itemsize
    if not data:
        return f"no {kind.name} elements"
    words = [_word(data[i : i + size], kind) for i in range(0, min(len(data), limit * size), size)]
    more = f" … ({len(data)} bytes)" if len(data) > limit * size else ""
    return f"{kind.name} [{' '.join(words)}]{more}"


def _word(data: bytes, kind: DType) -> str:
    """Return one element as text, with enough digits to distinguish it from every other number.

    A NaN is shown as a hexadecimal word, because different bits can mean NaN.
    """
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
"""For each number of bits, the letter of :mod:`struct`, and the number of digits that distinguishes all numbers."""


def _beyond_shown(wanted: bytes, seen: bytes, kind: DType) -> str:
    """Return a text about the first element that differs, if it is beyond the elements that :func:`show` prints."""
    size = kind.itemsize
    first = next(
        (i for i in range(0, min(len(wanted), len(seen)), size) if wanted[i : i + size] != seen[i : i + size]), 0
    )
    if first < _SHOWN * size:
        return ""
    should, is_ = (_word(data[first : first + size], kind) for data in (wanted, seen))
    return f"; element {first // size} must be {should}, but is {is_}"


def collect() -> None:
    """Free the objects that only reference cycles keep alive."""
    gc.collect()
