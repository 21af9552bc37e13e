"""Objects of a library that tells a version which the consumer cannot know."""

from __future__ import annotations

from contextlib import suppress

import pytest

from conformance.adapters.base import Adapter, Device, Unsupported
from conformance.adapters.numpy import NumpyAdapter
from conformance.adapters.registry import create
from conformance.checks.catalogue import catalogue
from conformance.checks.outcomes import Outcome
from conformance.execution.case_names import everything
from conformance.faults.native import ByType, NewVersionsHidePending, VendorsVersionsEndIt
from conformance.reference.exporter import Exporter
from conformance.reference.importer import Importer

from .test_made import run

ID = "native.unknown-version"
CALL = "reference.from_dlpack"


def test_a_type_may_be_read_where_the_result_is_that_of_a_protocol() -> None:
    """By whatever version: the clause is about results."""
    for told in ("newer", "vendor"):
        assert run(ID, ByType, call=CALL, told=told).outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("importer", "more"), [(VendorsVersionsEndIt, {"told": "vendor"}), (NewVersionsHidePending, {"told": "newer", "state": "pending"})]
)  # fmt: skip
def test_what_depends_on_the_version_is_held_to_its_clause(importer: type[Importer], more: dict[str, str]) -> None:
    """The version that the library really has shows nothing."""
    failed = run(ID, importer, call=CALL, **more)
    assert (failed.outcome, failed.clause) == (Outcome.FAIL, "NAT-05")
    usual = "native.states" if "state" in more else "native.as-protocol"
    given = {"state": "pending"} if "state" in more else {"array": "c-order"}
    assert run(usual, importer, call=CALL, **given).outcome is Outcome.PASS


def test_the_true_version_is_told_again_afterwards() -> None:
    """Also where the hand-over raises."""
    pytest.importorskip("numpy")
    adapters: list[Adapter] = [NumpyAdapter(), create("reference")]
    numpy = adapters[0].module()
    for adapter in adapters:
        before = numpy.__version__, Exporter.library_version
        with suppress(ZeroDivisionError), adapter.telling(lambda true: f"{true}+told") as told:
            assert told.endswith("+told")
            assert (numpy.__version__, Exporter.library_version) != before
            raise ZeroDivisionError
        assert (numpy.__version__, Exporter.library_version) == before


def test_a_library_without_a_version_cannot_tell_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyCUDA has it elsewhere."""
    pytest.importorskip("numpy")
    adapter = NumpyAdapter()
    monkeypatch.delattr(adapter.module(), "__version__")
    with pytest.raises(Unsupported), adapter.telling(str):
        pass


def test_each_pair_is_tried_by_one_call_with_each_version() -> None:
    """In a process of its own: a consumer may look at a version once."""
    cases = [
        case
        for case in catalogue()[ID].cases(everything((Device.HOST, Device.CUDA)))
        if case.libraries == ("torch", "cuda_python")
    ]
    assert {case.option("told") for case in cases} == {"newer", "vendor"}
    assert len({case.option("call") for case in cases}) == 1
    assert catalogue()[ID].isolation.changes_others
