"""Family ``capsule``: ownership of a capsule's struct, which the capsule's name alone states."""

from __future__ import annotations

from typing import Any, NoReturn

from conformance.adapters.base import Protocol
from conformance.checks.catalogue import dtypes, every, invariant, layouts
from conformance.checks.codes import Code
from conformance.checks.concurrency import together
from conformance.checks.exchange import Exchange, Source, brief, show
from conformance.checks.interleaving import meet
from conformance.checks.layouts import OFFSET
from conformance.checks.offers import (
    STRUCTS,
    Prepared,
    Watched,
    expect_one_owner,
    expect_plain_releases,
    export_again,
    exports_of_imports,
    happens,
    prepared,
    unreleased,
    watched,
)
from conformance.checks.outcomes import Side, fail
from conformance.checks.steps import Doing
from conformance.protocols import capsule, dlpack
from conformance.protocols.clauses import Level, Role
from conformance.protocols.dlpack import DELETER, LEGACY, USED_LEGACY, USED_VERSIONED, VERSIONED
from conformance.reference.managed import Deleter, settle

STEPS = 1000
"""The maximum number of steps of an import at which the case makes a second import."""
ROUNDS = 20
"""Unsynchronized races in one case, whose outcome depends on timing."""


def _versioned(exchange: Exchange) -> bool:
    return exchange.option("struct") == "versioned"


def _take(exchange: Exchange, offer: Prepared) -> Any:
    """Import a prepared capsule. A consumer may refuse a versioned struct, because it did not ask for one."""
    return exchange.take(offer, promised="" if _versioned(exchange) else None)


def _expect_released(exchange: Exchange, array: Watched, cited: str, reason: str, what: str) -> None:
    """Fail unless the producer releases the memory exactly once; ``what`` describes the memory in words."""
    happens(lambda: array.released >= 1)
    if array.released > 1:
        fail(
            Code.RELEASED_TWICE, cited, role=Role.PRODUCER, reason=f"{reason}: the producer releases the memory again",
            expected="released once", seen=f"released {array.released} times", given=what,
        )  # fmt: skip
    if not array.released:
        expect_plain_releases(exchange, exchange.producer)
        unreleased(
            exchange, lambda: array.released == 1, cited, role=Role.PRODUCER,
            reason=f"{reason}: the producer does not release the memory",
            expected="released once", seen="not released", what=what,
        )  # fmt: skip


def _expect_held(exchange: Exchange, array: Watched, what: str) -> None:
    """Fail unless the producer still holds the memory with its original content."""
    if array.released:
        fail(
            Code.RELEASED_EARLY, "DLP-28", role=Role.PRODUCER,
            reason=f"{what}: the producer has already released the memory",
            expected="memory that is held", seen=f"released {array.released} times",
        )  # fmt: skip
    seen = exchange.peek(array.address, len(array.values))
    if seen != array.values:
        fail(
            Code.RELEASED_EARLY, "DLP-28", role=Role.PRODUCER,
            reason=f"{what}: the elements of the memory change, because the producer no longer holds it",
            expected=show(array.values, exchange.dtype), seen=show(seen, exchange.dtype),
        )  # fmt: skip


_UNCONSUMED = "the memory of a capsule that nobody has consumed"
_DELETED = "the memory of a struct whose deleter was called"


# -- capsules of a producer


@invariant(
    "capsule.name",
    producer="DLP-01",
    level=Level.MUST,
    cases=lambda env: every(env.exports(Protocol.DLPACK), struct=STRUCTS, dtype=dtypes("float32", "uint8")),
)
def test_name(exchange: Exchange) -> None:
    """A producer must return a capsule with one of the two names of DLPack and a struct, both valid after the array is gone."""
    source = exchange.source()
    exported = exchange.capsule_of(source, **({"max_version": (1, 0)} if _versioned(exchange) else {}))
    pointer = exchange.decode(exported).address
    before = capsule.name(exported)
    del source
    if before not in (LEGACY, VERSIONED) or capsule.name(exported) != before or not pointer:
        fail(
            Code.CAPSULE_MALFORMED,
            "DLP-01",
            role=Role.PRODUCER,
            reason="the producer returns no capsule that a consumer can recognise",
            expected=f"{LEGACY!r} or {VERSIONED!r}, also after the array is gone",
            seen=f"{before!r}, then {capsule.name(exported)!r}, pointer {pointer:#x}",
        )


@invariant(
    "capsule.unconsumed",
    producer="DLP-24 DLP-28",
    bugs="I20",
    level=Level.MUST,
    cases=lambda env: every(exports_of_imports(env), struct=STRUCTS, dies=("array-first", "capsule-first")),
)
def test_unconsumed(exchange: Exchange) -> None:
    """A producer must keep the memory of an unconsumed capsule alive until the capsule is destroyed, and then release it."""
    array = watched(exchange)
    exported = export_again(exchange, array.array, versioned=_versioned(exchange))
    if exchange.option("dies") == "array-first":
        array.array = None
        _expect_held(exchange, array, "the capsule lives")
        del exported
    else:
        del exported
        settle()
        _expect_held(exchange, array, "the array lives")
        array.array = None
    _expect_released(exchange, array, "DLP-24", "capsule and array are gone", _UNCONSUMED)


@invariant(
    "capsule.many-exports",
    producer="DLP-24 DLP-28",
    bugs="I22",
    level=Level.MUST,
    cases=lambda env: every(exports_of_imports(env), struct=STRUCTS),
)
def test_many_exports(exchange: Exchange) -> None:
    """A producer must give each export of an array a struct of its own, and must hold the memory until the last capsule is gone."""
    array = watched(exchange)
    exported = [export_again(exchange, array.array, versioned=_versioned(exchange)) for _ in range(3)]
    decoded = [exchange.decode(each) for each in exported]
    _expect_address(array, decoded)
    if len({tensor.address for tensor in decoded}) != 3 or {tensor.element0 for tensor in decoded} != {array.address}:
        fail(
            Code.EXPORTS_ENTANGLED, "DLP-24", role=Role.PRODUCER, reason="several exports of one array share a struct",
            expected=f"three structs with element 0 at {array.address:#x}",
            seen=", ".join(f"a struct at {t.address:#x} with element 0 at {t.element0:#x}" for t in decoded),
        )  # fmt: skip
    array.array = None
    while exported:
        _expect_held(exchange, array, f"{len(exported)} capsules live")
        exported.pop()
        settle()
    _expect_released(exchange, array, "DLP-24", "all capsules are gone", _UNCONSUMED)


def _expect_address(array: Watched, decoded: list[dlpack.Tensor]) -> None:
    """Fail if an export points elsewhere in the array's memory than at its first element."""
    for tensor in decoded:
        off = tensor.element0 - array.address
        if off and abs(off) < len(array.values):
            fail(
                Code.WRONG_ADDRESS, "DLP-59", role=Role.PRODUCER, reason="the producer exports a different address than the array's",
                expected=f"element 0 at {array.address:#x}", seen=f"element 0 at {tensor.element0:#x}, {off:+d} bytes off",
                accused=Side.PRODUCER,
            )  # fmt: skip


@invariant(
    "capsule.used-is-inert",
    producer="DLP-24 DLP-27 DLP-28",
    bugs="I20",
    level=Level.MUST,
    cases=lambda env: every(exports_of_imports(env), struct=STRUCTS),
)
def test_used_is_inert(exchange: Exchange) -> None:
    """A producer must not release the memory when a used capsule is destroyed, but when the consumer calls the deleter."""
    array = watched(exchange)
    exported = export_again(exchange, array.array, versioned=_versioned(exchange))
    tensor = exchange.decode(exported)
    capsule.rename(exported, USED_LEGACY if tensor.version is None else USED_VERSIONED)
    array.array = None
    del exported
    settle()
    _expect_held(exchange, array, "the used capsule is gone and the deleter not yet called")
    if tensor.deleter:
        with exchange.step(Doing.RELEASE, Role.PRODUCER):
            DELETER(tensor.deleter)(tensor.address)
    _expect_released(exchange, array, "DLP-27", "the consumer has called the deleter", _DELETED)


@invariant(
    "capsule.exception-in-flight",
    producer="DLP-24",
    bugs="I20",
    level=Level.MUST,
    cases=lambda env: every(exports_of_imports(env), struct=STRUCTS),
)
def test_exception_in_flight(exchange: Exchange) -> None:
    """A producer must release the memory of a capsule that is destroyed while an exception propagates. It should keep that exception.

    ``int(capsule)`` raises ``TypeError`` and destroys the capsule while this exception propagates.
    """
    array = watched(exchange)
    export_again(exchange, array.array, versioned=_versioned(exchange))
    offer = exchange.offer(array.array)
    keywords = {"max_version": (1, 0)} if _versioned(exchange) else {}
    try:
        int(offer.__dlpack__(**keywords))
        seen = "no exception"
    except TypeError:
        seen = ""
    except Exception as error:
        seen = brief(error)
    if seen:
        # Only an example in the specification saves the exception; no text requires it. So this is a deviation, not a violation.
        fail(
            Code.EXCEPTION_LOST, "DLP-24", role=Role.PRODUCER, level=Level.SHOULD,
            reason="the capsule's destructor loses an exception that propagates",
            expected="TypeError from int()", seen=seen,
        )  # fmt: skip
    array.array = offer = None
    _expect_released(exchange, array, "DLP-24", "the capsule was destroyed while an exception propagated", _UNCONSUMED)


# -- capsules in a consumer


@invariant(
    "capsule.renamed",
    consumer="DLP-25",
    level=Level.MUST,
    cases=lambda env: every(env.imports(Protocol.DLPACK), struct=STRUCTS),
)
def test_renamed(exchange: Exchange) -> None:
    """A consumer must rename the capsule to the name for a used capsule of its kind: legacy or versioned."""
    offer = prepared(exchange, exchange.source())
    taken = _take(exchange, offer)
    wanted = USED_VERSIONED if _versioned(exchange) else USED_LEGACY
    seen = capsule.name(offer.capsule)
    del taken
    if seen != wanted:
        _not_renamed(wanted, seen)


def _not_renamed(wanted: bytes, seen: bytes) -> NoReturn:
    fail(
        Code.CAPSULE_NOT_RENAMED, "DLP-25", role=Role.CONSUMER,
        reason="the consumer does not rename the capsule to its used name",
        expected=wanted.decode(), seen=seen.decode(errors="replace"),
    )  # fmt: skip


@invariant(
    "capsule.second-import",
    consumer="DLP-25 DLP-26",
    bugs="I22",
    level=Level.MUST,
    cases=lambda env: every(env.imports(Protocol.DLPACK), struct=STRUCTS),
)
def test_second_import(exchange: Exchange) -> None:
    """A consumer must refuse a capsule that is already used, and must leave the first import unchanged."""
    source = exchange.crafted(override={"deleter": Deleter.NATIVE})
    offer = prepared(exchange, source)
    taken = _take(exchange, offer)
    exchange.expect_refusal(
        lambda: exchange.consumer.take(offer, exchange.protocol, exchange.device),
        "DLP-25",
        role=Role.CONSUMER,
        given="a capsule that is used already",
    )
    exchange.expect_values(source, exchange.read(taken))
    del taken
    expect_one_owner(exchange, offer, Role.CONSUMER, "the second import was refused")


@invariant(
    "capsule.dies-before-the-view",
    consumer="DLP-26 DLP-25",
    bugs="I20",
    level=Level.MUST,
    cases=lambda env: every(env.imports(Protocol.DLPACK), struct=STRUCTS),
)
def test_dies_before_the_view(exchange: Exchange) -> None:
    """A consumer must keep an import valid after its capsule is destroyed, and must release the memory exactly once."""
    source = exchange.source()
    offer = prepared(exchange, source)
    managed = offer.managed
    taken = _take(exchange, offer)
    name = capsule.name(offer.capsule)
    del offer
    settle()
    is_copy = exchange.is_elsewhere(source, exchange.consumer.describe(taken).address)
    early = 0 if is_copy else managed.deleter_calls  # a copy does not need the producer's memory
    if early and name in (LEGACY, VERSIONED):
        _not_renamed(USED_VERSIONED if _versioned(exchange) else USED_LEGACY, name)
    if early:
        fail(
            Code.RELEASED_EARLY, "DLP-26", role=Role.CONSUMER, reason="the memory is released with the capsule",
            expected="memory that the import holds", seen=f"{early} calls of the deleter while the import lives",
        )  # fmt: skip
    exchange.expect_values(source, exchange.read(taken))
    del taken
    happens(lambda: managed.deleter_calls >= 1)
    if managed.deleter_calls > 1:
        fail(
            Code.RELEASED_TWICE, "DLP-26", role=Role.CONSUMER, reason="the consumer releases the memory more than once",
            expected="one call of the deleter", seen=f"{managed.deleter_calls} calls", given="memory",
        )  # fmt: skip
    if not managed.deleter_calls:
        unreleased(
            exchange, lambda: managed.deleter_calls == 1, "DLP-26", role=Role.CONSUMER,
            reason="the consumer does not release the memory when the import dies",
            expected="one call of the deleter", seen="no call",
        )  # fmt: skip


@invariant(
    "capsule.struct-untouched",
    consumer="DLP-26",
    bugs="I08",
    level=Level.SHOULD,
    cases=lambda env: every(
        env.imports(Protocol.DLPACK), struct=STRUCTS, layout=layouts("c-order", "fortran", "columns", *OFFSET)
    ),
)
def test_struct_untouched(exchange: Exchange) -> None:
    """A consumer should not write to the struct, its shape or its strides. They belong to the producer."""
    offer = prepared(exchange, exchange.source())
    address, name = offer.managed.address, capsule.name(offer.capsule)
    before = dlpack.raw(address, name)
    taken = _take(exchange, offer)
    exchange.read(taken)
    after = dlpack.raw(address, name)
    if after != before:
        fail(
            Code.STRUCT_WRITTEN,
            "DLP-26",
            role=Role.CONSUMER,
            level=Level.SHOULD,
            reason="the consumer writes to the producer's struct",
            expected=before.hex(),
            seen=after.hex(),
        )
    del taken


@invariant(
    "capsule.race",
    consumer="DLP-25 DLP-26 DLP-41",
    level=Level.MUST,
    cases=lambda env: every(env.imports(Protocol.DLPACK), struct=STRUCTS),
)
def test_race(exchange: Exchange) -> None:
    """A consumer must let exactly one of two threads import a capsule, and must release its memory once.

    The case makes the second import at each step of the first, so the result does not depend on timing. It also runs races that
    depend on timing, and only records their results.
    """
    # The mistake would be a gap between the check of the capsule's name and its change: a second thread sees an unused capsule there.
    # So the second import starts, in turn, at each point of the first at which Python can switch threads, from the call of __dlpack__
    # on. Such points lie only in Python code, as long as the consumer holds the GIL: its C code between two of them cannot be
    # interrupted. If the second import has to wait for the first, the consumer holds a lock, and later points need no try.
    source = exchange.crafted(override={"deleter": Deleter.NATIVE})
    exchange.read(_take(exchange, prepared(exchange, source)))
    step, waited, reached = 0, False, True
    while reached and not waited and step < STEPS:
        race = _Race(exchange, prepared(exchange, source))
        reached, waited = race.at(step)
        race.expect_one_import(f"a second thread imports the capsule at step {step} of the first one's import")
        step += 1
    guarded = "; at the last the second import waits for the first" if waited else ""
    exchange.notes["steps"] = f"a second import was made at {step - (not reached)} steps of the first{guarded}"
    exchange.notes["luck"] = f"of {ROUNDS} races that luck decides {_lucky(exchange, source)} had two winners"


def _lucky(exchange: Exchange, source: Source) -> int:
    """Return how many unsynchronized races both threads win. The load of the machine decides them, so the case only records the number.

    No step can show a consumer that releases the GIL inside its C code, or that runs without a GIL. These races could.
    """
    races = [_Race(exchange, prepared(exchange, source)) for _ in range(ROUNDS)]
    for race in races:
        together(lambda _, race=race: race.attempt(), 2)  # type: ignore[misc]
    return sum(race.winners == 2 for race in races)


class _Race:
    """Two imports of one capsule."""

    def __init__(self, exchange: Exchange, offer: Prepared) -> None:
        self._exchange = exchange
        self._offer = offer
        self._won: list[Any] = []
        self._lost: list[str] = []

    def attempt(self) -> None:
        """Import once; the consumer may refuse."""
        exchange = self._exchange
        try:
            self._won.append(exchange.consumer.take(self._offer, exchange.protocol, exchange.device))
        except Exception as error:
            self._lost.append(brief(error))

    def at(self, step: int) -> tuple[bool, bool]:
        """Make the second import at this step of the first. Return whether the first has so many steps, and whether the second waited."""
        with self._exchange.step(Doing.IMPORT, Role.CONSUMER):
            meeting = meet(self.attempt, self.attempt, step, begun=lambda: bool(self._offer.calls))
        return meeting.reached, meeting.waited

    @property
    def winners(self) -> int:
        """The number of imports that succeeded."""
        return len(self._won)

    def expect_one_import(self, when: str) -> None:
        """Fail unless one import succeeds, one is refused, and the struct is released once."""
        self._exchange.check_context()
        winners = self.winners
        self._won.clear()
        if winners != 1:
            code, cited, level = _MISTAKES[min(winners, 2)]
            fail(
                code, cited, role=Role.CONSUMER, level=level, reason=f"{when}: {winners} of the two imports succeed",
                expected="one import and one refusal", seen="; ".join([f"{winners} imports", *self._lost]),
                given="a capsule that two threads import at once",
            )  # fmt: skip
        expect_one_owner(self._exchange, self._offer, Role.CONSUMER, when)


_MISTAKES: dict[int, tuple[Code, str, Level | None]] = {
    0: (Code.REFUSED, "DLP-41", Level.SHOULD),
    2: (Code.CAPSULE_TAKEN_TWICE, "DLP-25", None),
}
"""By the number of imports: the code, the clause and the level of the failure."""
