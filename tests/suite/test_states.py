"""Arrays that are more than their memory: how they are made, and how an answer about them is judged."""

from __future__ import annotations

import inspect
import re
import warnings
from typing import Any

import pytest

from conformance.adapters.base import Device, Unsupported
from conformance.adapters.reference import ReferenceAdapter
from conformance.adapters.registry import create
from conformance.adapters.special import State, Use, on, use_state
from conformance.adapters.torch_states import STATES
from conformance.checks.catalogue import Case
from conformance.checks.codes import Code, Facet
from conformance.checks.exchange import Exchange, Partners
from conformance.checks.export_outcomes import Answer, judge
from conformance.checks.outcomes import Failure
from conformance.execution.adapter_declarations import library as declared_library
from conformance.protocols.clauses import Level, Role
from conformance.suite import test_exchange_api


def exchange(producer: str, state: str, protocol: str = "dlpack", *more: State) -> Exchange:
    """A case of a state; the reference stands in for every library, with the states of that one and ``more``."""
    adapter = ReferenceAdapter()
    adapter.states = (*create(producer).states, *more)  # type: ignore[misc]
    case = Case("state.x", producer, "reference", protocol, Device.HOST, (("state", state),))
    return Exchange(case, Partners(lambda name: adapter))


ODD = State("odd", lambda adapter, device, use: None)
"""A state that DLPack cannot express."""


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
def test_an_answer_is_a_refusal_of_the_right_kind_or_the_elements(answer: Answer, level: Level | None) -> None:
    """Raw memory and no memory at all are violations, other exceptions deviations."""
    judged = exchange("reference", "odd", "dlpack", ODD)
    if level is None:
        judge(judged, answer, b"right", "DLP-59")
        return
    with pytest.raises(Failure) as caught:
        judge(judged, answer, b"right", "DLP-59")
    assert caught.value.level is level


def test_an_array_without_elements_of_its_own_can_only_be_refused() -> None:
    """Whatever lies at the address."""
    with pytest.raises(Failure):
        judge(exchange("reference", "odd", "dlpack", ODD), Answer(address=4096, size=2, data=b"right"), None, "DLP-59")


def test_what_no_document_speaks_of_is_only_observed() -> None:
    """DLPack has no masks."""
    with pytest.raises(Failure) as caught:
        judge(exchange("numpy", "masked"), Answer(address=4096, size=2, data=b"any"), None, "DLP-59")
    assert (caught.value.level, caught.value.code) == (Level.OBSERVED, Code.MASK_DROPPED)


_LAZY = [state.name for state in STATES if state.unresolved]
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


def test_the_result_tells_of_a_private_constructor_and_of_warnings() -> None:
    """Nothing that a library says of such an array is kept from the reader."""

    def build(adapter: Any, device: Device, use: Use) -> None:
        warnings.warn("this is not what you think", stacklevel=1)
        use(1, None)

    with_one = exchange("reference", "odd", "dlpack", State("odd", build, private="made._up"))
    with_one.with_state(lambda array, elements: warnings.warn("nor is this", stacklevel=1))
    assert with_one.notes == {
        "array": "made by a private constructor of reference (made._up)",
        "warnings": "this is not what you think; nor is this",
    }


def test_every_constructor_of_torch_that_is_private_is_told() -> None:
    """A name that begins with an underscore is none of the documented calls."""
    for state in STATES:
        source = inspect.getsource(state.build)
        assert bool(re.search(r"torch\.(Tensor\.)?_[a-z]|from torch\._", source)) == bool(state.private), state.name


def test_a_state_that_this_version_cannot_make_ends_the_case() -> None:
    """As a refusal with the reason; what the use of the array raises is not taken for that."""

    def unknown(adapter: Any, device: Device, use: Use) -> None:
        raise AttributeError("module has no such thing")

    def known(adapter: Any, device: Device, use: Use) -> None:
        use(1, None)

    def broken(array: Any, elements: bytes | None) -> None:
        raise RuntimeError("from the check")

    with pytest.raises(Unsupported, match="no such thing"):
        use_state(ReferenceAdapter(), State("unknown", unknown), Device.HOST, lambda array, elements: None)
    with pytest.raises(RuntimeError, match="from the check"):
        use_state(ReferenceAdapter(), State("known", known), Device.HOST, broken)


def test_states_are_listed_for_the_devices_that_have_them() -> None:
    """And only the simple ones where an array has to exist by itself."""
    declared = declared_library("torch").sides
    assert "meta" in declared[Device.HOST].states
    assert "meta" not in declared[Device.CUDA].states
    assert "batched" in declared[Device.CUDA].states
    assert "batched" not in declared[Device.CUDA].simple_states
    assert declared[Device.HOST].states == tuple(state.name for state in on(STATES, Device.HOST))


def test_a_failure_without_exception_is_forgiven_to_the_reference_alone() -> None:
    """Its functions are Python behind ctypes, which cannot leave one."""
    named = ReferenceAdapter()
    named.name = "other"  # type: ignore[misc]
    other = Exchange(
        Case("a.b", "other", "other", "dlpack", Device.HOST, (("state", "odd"),)), Partners(lambda name: named)
    )
    test_exchange_api._judge_silence(exchange("reference", "pending"), -1)
    named.states = (ODD,)  # type: ignore[misc]
    with pytest.raises(Failure, match="without a Python exception"):
        test_exchange_api._judge_silence(other, -1)
