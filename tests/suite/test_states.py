"""Arrays that are more than their memory: how they are made, and how an answer about them is judged."""

from __future__ import annotations

from typing import Any

import pytest

from conformance.adapters import states
from conformance.adapters.base import Device, Unsupported
from conformance.adapters.reference import ReferenceAdapter
from conformance.adapters.states import STATES, State, use_state
from conformance.protocols.clauses import Level
from conformance.suite import test_exchange_api
from conformance.suite.catalogue import Case
from conformance.suite.exchange import Exchange, Partners
from conformance.suite.outcomes import Finding
from conformance.suite.test_state import Answer, _judge


def exchange(producer: str, state: str) -> Exchange:
    """A case of a state; the reference stands in for every library."""
    adapter = ReferenceAdapter()
    case = Case("state.x", producer, "reference", "dlpack", Device.HOST, (("state", state),))
    return Exchange(case, Partners(lambda name: adapter))


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch) -> str:
    """A state that DLPack cannot express, of the reference."""
    monkeypatch.setitem(STATES, ("reference", "odd"), State("reference", "odd", lambda module, device, use: None))
    return "odd"


@pytest.mark.parametrize(
    ("answer", "level"),
    [
        (Answer(BufferError("no")), None),
        (Answer(RuntimeError("no")), Level.SHOULD),
        (Answer(AssertionError("no")), Level.SHOULD),
        (Answer(address=4096, size=2, data=b"right"), None),
        (Answer(address=4096, size=2, data=b"wrong"), Level.MUST),
        (Answer(address=0, size=2), Level.MUST),
    ],
)
def test_an_answer_is_a_refusal_of_the_right_kind_or_the_elements(
    state: str, answer: Answer, level: Level | None
) -> None:
    """Raw memory and no memory at all are violations, other exceptions deviations."""
    judged = exchange("reference", state)
    if level is None:
        _judge(judged, answer, b"right")
        return
    with pytest.raises(Finding) as caught:
        _judge(judged, answer, b"right")
    assert caught.value.level is level


def test_an_array_without_elements_of_its_own_can_only_be_refused(state: str) -> None:
    """Whatever lies at the address."""
    with pytest.raises(Finding):
        _judge(exchange("reference", state), Answer(address=4096, size=2, data=b"right"), None)


def test_what_no_document_speaks_of_is_only_observed() -> None:
    """DLPack has no masks."""
    with pytest.raises(Finding) as caught:
        _judge(exchange("numpy", "masked"), Answer(address=4096, size=2, data=b"any"), None)
    assert caught.value.level is Level.OBSERVED


def test_a_state_that_this_version_cannot_make_ends_the_case(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a refusal with the reason; what the use of the array raises is not taken for that."""

    def unknown(module: Any, device: str, use: states.Use) -> None:
        raise AttributeError("module has no such thing")

    def known(module: Any, device: str, use: states.Use) -> None:
        use(1, None)

    def broken(array: Any, elements: bytes | None) -> None:
        raise RuntimeError("from the check")

    monkeypatch.setitem(STATES, ("a", "unknown"), State("a", "unknown", unknown))
    monkeypatch.setitem(STATES, ("a", "known"), State("a", "known", known))
    with pytest.raises(Unsupported, match="no such thing"):
        use_state("a", "unknown", None, "cpu", lambda array, elements: None)
    with pytest.raises(RuntimeError, match="from the check"):
        use_state("a", "known", None, "cpu", broken)


def test_states_are_listed_for_the_devices_that_have_them() -> None:
    """And only the simple ones where an array has to exist by itself."""
    assert "meta" in states.states("torch", Device.HOST)
    assert "meta" not in states.states("torch", Device.CUDA)
    assert "batched" in states.states("torch", Device.CUDA)
    assert "batched" not in states.states("torch", Device.CUDA, simple=True)


def test_a_failure_without_exception_is_forgiven_to_the_reference_alone() -> None:
    """Its functions are Python behind ctypes, which cannot leave one."""
    named = ReferenceAdapter()
    named.name = "other"  # type: ignore[misc]
    other = Exchange(Case("a.b", "other", "other", "dlpack", Device.HOST), Partners(lambda name: named))
    test_exchange_api._judge_silence(exchange("reference", "pending"), -1)
    with pytest.raises(Finding, match="without a Python exception"):
        test_exchange_api._judge_silence(other, -1)
