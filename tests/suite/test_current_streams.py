"""Which stream is current: in two threads, after a choice, and what of it is judged by the version of a library."""

from __future__ import annotations

from dataclasses import replace

import pytest

from conformance.adapters.base import Device
from conformance.checks.catalogue import Case, catalogue
from conformance.checks.libraries import Environment
from conformance.checks.outcomes import Outcome
from conformance.execution.workbench import Workbench
from conformance.faults import all_faults
from conformance.protocols.clauses import Level
from conformance.selftest.make_believe import streaming
from conformance.selftest.stages import stream_claims

from .conftest import Runner

PROMISED = ("stream-claim.thread-contexts", "stream-claim.contexts-left", "stream-claim.default-read-only")


def of_version(version: str) -> Environment:
    """The make-believe libraries, with a CV-CUDA of this version."""
    found = streaming.environment()
    versions = {"cvcuda-cu13": version}
    return Environment(
        tuple(replace(lib, versions=versions) if lib.name == "cvcuda" else lib for lib in found.libraries)
    )


@pytest.mark.parametrize(
    ("version", "waits", "contexts"),
    [
        ("0.16.0", False, False),
        ("0.17.0", True, False),
        ("0.18.0a0", True, False),
        ("0.18.0", True, True),
        ("", False, False),
    ],
)
def test_what_release_notes_promise_is_planned_from_that_release_on(version: str, waits: bool, contexts: bool) -> None:
    """An older CV-CUDA has promised nothing of it."""
    here = of_version(version)
    assert bool(list(catalogue()["stream-claim.wait-stream"].cases(here))) is waits
    assert {bool(list(catalogue()[name].cases(here))) for name in PROMISED} == {contexts}


def test_one_current_stream_for_all_threads_is_only_noted_where_nobody_promises_more(run_reference: Runner) -> None:
    """No protocol says how a stream becomes current."""
    results = run_reference("current.per-thread", all_faults()["current.OneStreamForAllThreads"], (Device.SIMULATED,))
    assert {(r.outcome, r.level) for r in results} == {(Outcome.FAIL, Level.OBSERVED)}
    assert {r.code for r in results} == {"wrong-current-stream"}


@pytest.mark.parametrize(
    ("fault", "name", "parameters", "told"),
    [
        ("one-context-for-all-threads", "thread-contexts", {"thread": "begun-before"}, "a thread outside any block"),
        (
            "threads-have-streams-of-their-own",
            "thread-contexts",
            {"thread": "begun-inside"},
            "another stream is current",
        ),
        ("leaves-in-any-order", "contexts-left", {"left": "out-of-order"}, "before the inner one"),
        ("leaves-by-value-error", "contexts-left", {"left": "elsewhere"}, "in another thread"),
        ("the-default-is-replaced", "default-read-only", {}, "raises no exception"),
        ("waits-for-no-stream", "wait-stream", {}, "overtakes"),
    ],
)
def test_a_promise_of_the_release_notes_that_is_broken_violates(
    fault: str, name: str, parameters: dict[str, str], told: str
) -> None:
    """CV-CUDA itself has published it."""
    found = streaming.libraries()
    next(f for f in stream_claims.STAGE.faults if f.name == f"stream-claims.{fault}").spoil(found)
    case = Case(f"stream-claim.{name}", "reference", "cvcuda", "cai", Device.SIMULATED, tuple(parameters.items()))
    result = Workbench(found).run(case, catalogue()[case.invariant])
    assert (result.outcome, result.level) == (Outcome.FAIL, Level.MUST), (result.reason, result.attachments)
    assert told in result.reason


def test_a_wait_of_the_host_keeps_the_order_and_is_noted() -> None:
    """The notes speak of order alone."""
    found = streaming.libraries()
    next(f for f in stream_claims.STAGE.faults if f.name == "stream-claims.waits-with-the-host").spoil(found)
    case = Case("stream-claim.wait-stream", "reference", "cvcuda", "cai", Device.SIMULATED)
    result = Workbench(found).run(case, catalogue()[case.invariant])
    assert (result.outcome, result.level) == (Outcome.FAIL, Level.OBSERVED)
    assert "control" in result.attachments


def test_a_default_stream_of_the_first_gpu_deviates(run_reference: Runner) -> None:
    """The clause is inferred, so it violates nothing; both ways to be wrong are told with the GPU."""
    for fault, seen in (("DefaultsRememberTheirGpu", "an event of GPU"), ("DefaultsOfTheFirstGpu", "RuntimeError")):
        results = run_reference("current.default-of-each-gpu", all_faults()[f"current.{fault}"], (Device.SIMULATED,))
        failed = [result for result in results if result.outcome is Outcome.FAIL]
        assert {(r.clause, r.level) for r in failed} == {("STR-07", Level.SHOULD)}
        assert all(seen in result.seen for result in failed)
