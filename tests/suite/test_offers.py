"""Prepared offers: what they show of a consumer, and what is concluded from it."""

from __future__ import annotations

from typing import Any

import pytest

from conformance.adapters.base import Device
from conformance.adapters.reference import ReferenceAdapter
from conformance.checks import offers
from conformance.checks.catalogue import Case
from conformance.checks.codes import Code
from conformance.checks.exchange import Exchange, Partners
from conformance.checks.offers import KeywordOnly, Offered, Prepared, StreamAndVersion, StreamOnly
from conformance.checks.outcomes import Failure, Refused, Side
from conformance.protocols import capsule
from conformance.protocols.clauses import Level, Role
from conformance.protocols.dlpack import DELETER, USED_VERSIONED
from conformance.reference.exporter import NEWEST


@pytest.fixture
def exchange() -> Exchange:
    """The reference with itself on host memory."""
    adapter = ReferenceAdapter()
    return Exchange(Case("a.b", "reference", "reference", "dlpack", Device.HOST), Partners(lambda name: adapter))


@pytest.fixture
def offer(exchange: Exchange) -> Prepared:
    """A versioned capsule that is kept."""
    return Prepared(exchange.source())


def release(offer: Prepared) -> None:
    """What a consumer does at the end."""
    DELETER(offer.managed.struct.deleter)(offer.managed.address)


def test_a_prepared_offer_hands_out_one_capsule_and_keeps_the_calls(offer: Prepared) -> None:
    """Whatever it is asked for."""
    assert offer.__dlpack__(stream=None) is offer.__dlpack__(1, max_version=NEWEST) is offer.capsule
    assert offer.calls == [((), {"stream": None}), ((1,), {"max_version": NEWEST})]
    assert offer.__dlpack_device__() == (1, 0)


@pytest.mark.parametrize(
    ("version", "asked"), [(None, False), ((0, 8), False), ((1, 0), True), ([1, 0], True), ((), False), ("1.0", False)]
)
def test_an_offer_knows_whether_it_was_asked_for_a_versioned_capsule(version: Any, asked: bool) -> None:
    """Which is what a refusal of one is judged by."""
    offer = Offered(lambda **keywords: None, (1, 0))
    offer.__dlpack__(max_version=version)
    assert offer.asked_for_versioned is asked


def test_a_capsule_is_consumed_when_it_is_renamed(offer: Prepared) -> None:
    """By its name alone (DLP-25)."""
    assert not offer.consumed
    capsule.rename(offer.capsule, USED_VERSIONED)
    assert offer.consumed


@pytest.mark.parametrize("consumed", [False, True])
def test_one_owner_is_no_finding(exchange: Exchange, offer: Prepared, consumed: bool) -> None:
    """Untouched, or taken and released."""
    if consumed:
        capsule.rename(offer.capsule, USED_VERSIONED)
        release(offer)
    offers.expect_one_owner(exchange, offer, Role.CONSUMER, "the import failed")


@pytest.mark.parametrize(("consumed", "released"), [(False, 1), (True, 2)])
def test_two_owners_are_a_violation(exchange: Exchange, offer: Prepared, consumed: bool, released: int) -> None:
    """The struct is, or will be, released twice."""
    if consumed:
        capsule.rename(offer.capsule, USED_VERSIONED)
    for _ in range(released):
        release(offer)
    with pytest.raises(Failure, match="releases the struct twice") as caught:
        offers.expect_one_owner(exchange, offer, Role.CONSUMER, "the import failed")
    assert (caught.value.code, caught.value.level) == (Code.RELEASED_TWICE, Level.MUST)


def test_no_owner_is_a_deviation(exchange: Exchange, offer: Prepared) -> None:
    """Taken and forgotten: no document says in so many words who releases it then (G7)."""
    capsule.rename(offer.capsule, USED_VERSIONED)
    with pytest.raises(Failure, match="never releases the struct") as caught:
        offers.expect_one_owner(exchange, offer, Role.CONSUMER, "the import failed")
    failure = caught.value
    assert (failure.code, failure.level, failure.given) == (
        Code.NOT_RELEASED, Level.SHOULD, "the struct of a refused import",
    )  # fmt: skip


def test_a_watched_array_tells_when_its_memory_is_released(exchange: Exchange) -> None:
    """By the deleter of the struct that the producer imported."""
    array = offers.watched(exchange)
    exported = offers.export_again(exchange, array.array, versioned=True)
    array.array = None
    offers.settle()
    assert (array.released, exchange.peek(array.address, len(array.values))) == (0, array.values)
    del exported
    assert offers.happens(lambda: array.released == 1)


def test_a_producer_that_copies_on_import_cannot_be_watched(
    exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The case ends as a refusal, not as a verdict on memory that is not looked at."""
    described = exchange.producer.describe
    monkeypatch.setattr(
        exchange.producer,
        "describe",
        lambda array: described(array) if hasattr(array, "block") else type("Copy", (), {"address": 1}),
    )
    with pytest.raises(Refused, match="copies its imports"):
        offers.watched(exchange)


def test_a_producer_whose_imports_are_never_released_cannot_be_watched(
    exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it exports again could never be seen released either, and that would be told of its exports."""
    kept: list[Any] = []
    take = exchange.producer.take

    def keeping(*arguments: Any, **keywords: Any) -> Any:
        kept.append(take(*arguments, **keywords))
        return kept[-1]

    monkeypatch.setattr(exchange.producer, "take", keeping)
    with pytest.raises(
        Refused, match=r"it does not release its imports .*so releases of its exports cannot be observed"
    ):
        offers.watched(exchange)


def test_a_producer_that_releases_when_it_is_told_to_can_be_watched(
    exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its documented call: then its exports can be told apart from its cache."""
    kept: list[Any] = []
    take = exchange.producer.take

    def keeping(*arguments: Any, **keywords: Any) -> Any:
        kept.append(take(*arguments, **keywords))
        return kept[-1]

    def let_go() -> str:
        kept.clear()
        return "cache.clear()"

    monkeypatch.setattr(exchange.producer, "take", keeping)
    monkeypatch.setattr(exchange.producer, "let_go", let_go)
    assert offers.watched(exchange).released == 0


def test_what_a_documented_call_releases_is_late_and_not_lost(
    exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the library with that call that is accused, at most of a deviation."""
    kept = ["memory"]
    monkeypatch.setattr(exchange.producer, "let_go", lambda: kept.clear() or "cache.clear()")
    with pytest.raises(Failure) as caught:
        offers.unreleased(
            exchange, lambda: not kept, "DLP-26", role=Role.CONSUMER, reason="kept", expected="released", seen="not yet"
        )
    failure = caught.value
    assert (failure.code, failure.level, failure.given) == (Code.RELEASED_LATE, Level.SHOULD, "`cache.clear()`")
    assert failure.accused is Side.CONSUMER


def test_the_documented_call_is_asked_before_more_time_passes(
    exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache that other work may empty meanwhile is one cause, not sometimes another."""
    kept = ["memory"]
    monkeypatch.setattr(exchange.producer, "let_go", lambda: kept.clear() or "cache.clear()")
    monkeypatch.setattr(offers, "expect_not_late", lambda *_, **__: pytest.fail("waits first"))
    with pytest.raises(Failure) as caught:
        offers.unreleased(
            exchange, lambda: not kept, "DLP-26", role=Role.CONSUMER, reason="kept", expected="released", seen="not yet"
        )
    assert caught.value.code is Code.RELEASED_LATE


@pytest.mark.parametrize(("role", "what"), [(Role.PRODUCER, "an exported array"), (Role.CONSUMER, "an import")])
def test_what_nothing_releases_is_lost(exchange: Exchange, role: Role, what: str) -> None:
    """It is told alike in every invariant, so that it is one cause."""
    clause = {Role.PRODUCER: "DLP-27", Role.CONSUMER: "DLP-26"}[role]
    with pytest.raises(Failure) as caught:
        offers.unreleased(exchange, lambda: False, clause, role=role, reason="kept", expected="released", seen="never")
    assert (caught.value.code, caught.value.level, caught.value.given) == (Code.NOT_RELEASED, Level.MUST, what)


@pytest.mark.parametrize(
    ("edition", "known"),
    [(StreamOnly, 1), (StreamAndVersion, 2), (KeywordOnly, 4)],
)
def test_each_edition_knows_its_own_keywords(exchange: Exchange, edition: type[StreamOnly], known: int) -> None:
    """And no others, nor any by position."""
    offer = edition(exchange.source().array)
    names = ("stream", "max_version", "dl_device", "copy")
    assert capsule.is_capsule(offer.__dlpack__(**dict.fromkeys(names[:known])))
    for name in names[known:]:
        with pytest.raises(TypeError, match=name) as caught:
            offer.__dlpack__(**{name: None})  # type: ignore[arg-type]
        assert offers.older_signature(caught.value)
    with pytest.raises(TypeError):
        offer.__dlpack__(None)  # type: ignore[misc]


def test_a_type_error_of_another_kind_is_not_about_the_signature() -> None:
    """Nor is any other exception."""
    assert not offers.older_signature(TypeError("an array of objects"))
    assert not offers.older_signature(BufferError("unexpected keyword"))


def test_what_does_not_happen_is_waited_for_and_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the patience that there is; what happens late is seen."""
    monkeypatch.setattr(offers, "PATIENCE", 0.05)
    assert not offers.happens(lambda: False)
    monkeypatch.setattr(offers, "PATIENCE", 60.0)
    looks = iter([False, False, True])
    assert offers.happens(lambda: next(looks))
