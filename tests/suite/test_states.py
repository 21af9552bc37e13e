"""Arrays that are more than their memory: how they are made, and how an answer about them is judged."""

from __future__ import annotations

import inspect
import re
import warnings
from typing import Any

import pytest

from conformance.adapters import states
from conformance.adapters.base import Device, Unsupported
from conformance.adapters.reference import ReferenceAdapter
from conformance.adapters.states import STATES, State, use_state
from conformance.protocols.clauses import Level, Role
from conformance.suite import test_exchange_api
from conformance.suite.catalogue import Case
from conformance.suite.codes import Code, Facet
from conformance.suite.exchange import Exchange, Partners
from conformance.suite.exported import Answer, judge
from conformance.suite.outcomes import Failure


def exchange(producer: str, state: str, protocol: str = "dlpack") -> Exchange:
    """A case of a state; the reference stands in for every library."""
    adapter = ReferenceAdapter()
    case = Case("state.x", producer, "reference", protocol, Device.HOST, (("state", state),))
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
        judge(judged, answer, b"right", "DLP-59")
        return
    with pytest.raises(Failure) as caught:
        judge(judged, answer, b"right", "DLP-59")
    assert caught.value.level is level


def test_an_array_without_elements_of_its_own_can_only_be_refused(state: str) -> None:
    """Whatever lies at the address."""
    with pytest.raises(Failure):
        judge(exchange("reference", state), Answer(address=4096, size=2, data=b"right"), None, "DLP-59")


def test_what_no_document_speaks_of_is_only_observed() -> None:
    """DLPack has no masks."""
    with pytest.raises(Failure) as caught:
        judge(exchange("numpy", "masked"), Answer(address=4096, size=2, data=b"any"), None, "DLP-59")
    assert (caught.value.level, caught.value.code) == (Level.OBSERVED, Code.MASK_DROPPED)


_LAZY = [name for (library, name), state in STATES.items() if library == "torch" and state.unresolved]
_EMPTY = ["masked", "storage-freed", "batched", "functionalised", "zero", "fake", "functional", "wrapper"]


@pytest.mark.parametrize(
    ("names", "answer", "code"),
    [
        (_EMPTY, Answer(address=0, size=2), Code.NULL_ADDRESS),
        (_LAZY, Answer(address=4096, size=2, data=b"as it lies"), Code.UNRESOLVED_ELEMENTS),
    ],
)
@pytest.mark.parametrize("cited", ["DLP-59", "DLX-09", "CAI-05"])
def test_states_that_go_wrong_alike_share_one_cause(names: list[str], answer: Answer, code: Code, cited: str) -> None:
    """By whichever way the array was exported: the code and the side are all that tells causes apart."""
    assert len(names) > 1
    assert code.facets == (Facet.SIDE,)
    for name in names:
        with pytest.raises(Failure) as caught:
            judge(exchange("torch", name), answer, b"elements", cited)
        assert (caught.value.code, caught.value.clause, caught.value.role) == (code, cited, Role.PRODUCER)


def test_what_only_a_private_constructor_makes_is_observed() -> None:
    """Users get no such array from a documented call; the same mistake with one that they can make is a violation."""
    levels = {}
    for name in _EMPTY:
        with pytest.raises(Failure) as caught:
            judge(exchange("torch", name), Answer(address=0, size=2), None, "DLP-59")
        levels[name] = caught.value.level
    public = {"masked", "storage-freed", "batched", "functionalised"}
    assert levels == {name: Level.MUST if name in public else Level.OBSERVED for name in _EMPTY}


def test_an_exception_that_means_a_defect_is_one_cause_for_every_state() -> None:
    """A property that raises ``KeyError`` breaks ``hasattr``, whichever array it is asked of."""
    by_cai = exchange("torch", "quantised", "cai")
    with pytest.raises(Failure) as caught:
        judge(by_cai, Answer(KeyError("qint8")), None, "CAI-05")
    failure = caught.value
    assert (failure.code, failure.clause, failure.given) == (Code.DEFECT_EXCEPTION, "PY-01", "KeyError")
    assert failure.level is Level.SHOULD


def test_the_result_tells_of_a_private_constructor_and_of_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that a library says of such an array is kept from the reader."""

    def build(module: Any, device: str, use: states.Use) -> None:
        warnings.warn("this is not what you think", stacklevel=1)
        use(1, None)

    monkeypatch.setitem(STATES, ("reference", "odd"), State("reference", "odd", build, private="made._up"))
    with_one = exchange("reference", "odd")
    with_one.with_state(lambda array, elements: warnings.warn("nor is this", stacklevel=1))
    assert with_one.notes == {
        "array": "made by a private constructor of reference (made._up)",
        "warnings": "this is not what you think; nor is this",
    }


def test_every_constructor_of_torch_that_is_private_is_told() -> None:
    """A name that begins with an underscore is none of the documented calls."""
    for state in STATES.values():
        source = inspect.getsource(state.build)
        assert bool(re.search(r"torch\.(Tensor\.)?_[a-z]|from torch\._", source)) == bool(state.private), state.name


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


def test_a_failure_without_exception_is_forgiven_to_the_reference_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its functions are Python behind ctypes, which cannot leave one."""
    named = ReferenceAdapter()
    named.name = "other"  # type: ignore[misc]
    other = Exchange(
        Case("a.b", "other", "other", "dlpack", Device.HOST, (("state", "odd"),)), Partners(lambda name: named)
    )
    test_exchange_api._judge_silence(exchange("reference", "pending"), -1)
    monkeypatch.setitem(STATES, ("other", "odd"), State("other", "odd", lambda module, device, use: None))
    with pytest.raises(Failure, match="without a Python exception"):
        test_exchange_api._judge_silence(other, -1)
