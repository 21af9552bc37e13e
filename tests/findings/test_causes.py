"""Which cases share a root cause: by rule, never by a list of ids."""

from __future__ import annotations

import random
from dataclasses import replace

from conformance.checks.codes import Code
from conformance.checks.outcomes import Side
from conformance.findings.causes import findings
from conformance.findings.known import Book
from conformance.findings.model import UNKNOWN, Finding, Known, Observation, Status, Upstream
from conformance.verdict import Verdict

from .samples import seen

REVERSED = "an array with negative strides"


EMPTY = Book()


def found(*observations: Observation, book: Book = EMPTY, version: str = "2.11.0") -> list[Finding]:
    """Findings of libraries that all have one version."""
    names = {name for one in observations for name in one.libraries}
    cells = {one.cell for one in observations}
    return findings(observations, {cell: {name: {name: version} for name in names} for cell in cells}, book)


def ids(*observations: Observation) -> list[str]:
    """The ids of their findings."""
    return [one.id for one in found(*observations)]


def test_cases_that_accuse_the_same_of_the_same_mistake_are_one_finding() -> None:
    """Whatever the invariant, the partner, the device and the parameters."""
    (one,) = found(
        seen("ordering.handover/reference-torch/cai/cuda/inside", Code.STALE_READ),
        seen("crossing.threads/cupy-torch/cai/cuda/inside", Code.STALE_READ),
        seen("flight.consumer-writes/reference-torch/cai/cuda/inside/read", Code.EARLY_WRITE),
    )
    assert (one.id, len(one.cases), one.partners) == ("torch/consumer/not-ordered/cai", 3, ("reference", "cupy"))


def test_a_library_has_findings_of_its_own() -> None:
    """No finding is shared by two libraries, though both make the same mistake."""
    assert ids(
        seen("negotiation.foreign-major/reference-cvcuda/dlpack/cuda", Code.NOT_REFUSED, given="major version 2"),
        seen("negotiation.foreign-major/reference-cupy/dlpack/cuda", Code.NOT_REFUSED, given="major version 2"),
    ) == ["cupy/consumer/not-refused/major-version-2", "cvcuda/consumer/not-refused/major-version-2"]


def test_the_sign_of_a_number_is_part_of_an_id() -> None:
    """Stream -1 asks for no order, stream 1 for the legacy default stream."""
    assert ids(
        seen("negotiation.stream-request/reference-torch/dlpack/cuda", Code.KEYWORD_REFUSED, given="`stream=1`"),
        seen("negotiation.stream-request/reference-torch/dlpack/cuda/none", Code.KEYWORD_REFUSED, given="`stream=-1`"),
    ) == ["torch/consumer/keyword-refused/stream=1", "torch/consumer/keyword-refused/stream=minus-1"]


def test_protocols_are_kept_apart_where_other_code_handles_them() -> None:
    """Order by DLPack and by the array interface; a crash in the same step is one, whatever the protocol."""
    assert len(ids(
        seen("ordering.handover/reference-torch/cai/cuda", Code.STALE_READ),
        seen("ordering.handover/reference-torch/dlpack/cuda", Code.STALE_READ),
    )) == 2  # fmt: skip
    assert ids(
        seen("pointer.values/reference-torch/cai/cuda/r", Code.CRASH, given=REVERSED, step="import"),
        seen("pointer.values/numpy-torch/dlpack/host/r", Code.CRASH, given=REVERSED, step="import"),
    ) == ["torch/consumer/crash/import/array-with-negative-strides"]


def test_a_crash_does_not_join_the_wrong_values_that_the_reference_sees() -> None:
    """Otherwise a waiver for the values would cover the crash, and nobody would read of it."""
    assert ids(
        seen("pointer.values/reference-torch/dlpack/host", Code.VALUES_CHANGED),
        seen("pointer.values/numpy-torch/dlpack/host", Code.CRASH, step="import", outcome="crash"),
    ) == ["torch/consumer/crash/import", "torch/consumer/values-changed/dlpack"]


def test_a_special_input_is_a_part_of_the_cause_only_where_a_plain_array_does_not_show_it() -> None:
    """Else every layout and every element type would be a finding."""
    special = seen("pointer.values/reference-torch/dlpack/host/reversed", given=REVERSED)
    assert ids(special) == ["torch/consumer/values-changed/dlpack/array-with-negative-strides"]
    assert ids(special, seen("pointer.values/reference-torch/dlpack/host/c-order")) == [
        "torch/consumer/values-changed/dlpack"
    ]


def test_a_case_joins_what_the_accused_shows_with_the_reference() -> None:
    """Two libraries may show it in other words."""
    (one,) = found(
        seen("pointer.values/cupy-reference/dlpack/cuda/r", Code.STRIDES_CHANGED, Side.PRODUCER, given=REVERSED),
        seen("pointer.values/cupy-cuda_python/dlpack/cuda/r", Code.IMPORT_UNUSABLE, Side.PRODUCER, given=REVERSED),
    )
    assert one.id == "cupy/producer/strides-changed/dlpack/array-with-negative-strides"


def test_a_case_in_which_two_mistakes_meet_is_evidence_for_both() -> None:
    """Each accused library's own finding has it, and neither has the other's."""
    both = found(
        seen("pointer.values/cupy-reference/dlpack/cuda/r", Code.STRIDES_CHANGED, Side.PRODUCER, given=REVERSED),
        seen("pointer.values/reference-torch/dlpack/cuda/r", Code.CRASH, given=REVERSED, step="import"),
        seen("pointer.values/cupy-torch/dlpack/cuda/r", Code.CRASH, Side.BOTH, given=REVERSED, step="import"),
    )
    assert [(one.library, len(one.cases)) for one in both] == [("cupy", 2), ("torch", 2)]
    assert [one.code for one in both] == ["strides-changed", "crash"]


def test_late_releases_are_one_finding_whichever_side_keeps_the_memory() -> None:
    """A cache is one cause."""
    call = "`cvcuda.clear_cache()`"
    assert len(ids(
        seen("lifetime.deleter-once/reference-cvcuda/dlpack/cuda", Code.RELEASED_LATE, given=call),
        seen("capsule.unconsumed/cvcuda-reference/dlpack/cuda", Code.RELEASED_LATE, Side.PRODUCER, given=call),
    )) == 1  # fmt: skip


def test_what_accuses_nobody_is_no_finding_of_a_library() -> None:
    """Observed cases are none at all; where nobody knows, that is said and stands last."""
    unknown = seen("pointer.values/a-b/dlpack/host", Code.CRASH, Side.UNKNOWN, step="import")
    assert found(seen("x.y/a-b/dlpack/host", verdict=Verdict.OBSERVED)) == []
    assert [one.library for one in found(unknown, seen("x.y/reference-z/dlpack/host"))] == ["z", UNKNOWN]


def test_the_smallest_case_is_the_worst_with_the_reference_and_few_parameters() -> None:
    """It is what the script is made of."""
    (one,) = found(
        seen("p.v/numpy-torch/dlpack/host/a", Code.CRASH, step="import"),
        seen("p.v/reference-torch/dlpack/cuda/a/b", Code.CRASH, step="import"),
        seen("p.v/reference-torch/dlpack/cuda/a", Code.CRASH, step="import"),
    )
    assert one.smallest.case == "p.v/reference-torch/dlpack/cuda/a"


def test_the_order_of_results_changes_nothing() -> None:
    """Ids and their order are the same in every run that shows the same."""
    some = [
        seen("a.b/reference-torch/dlpack/host/x", Code.DTYPE_CHANGED, given="bool"),
        seen("a.b/reference-torch/dlpack/host/y", Code.DTYPE_CHANGED, given="int4"),
        seen("a.c/cupy-torch/cai/cuda", Code.STALE_READ),
        seen("a.d/jax-reference/dlpack/host", Code.NOT_RELEASED, Side.PRODUCER),
    ]
    first = ids(*some)
    for _ in range(20):
        random.shuffle(some)
        assert ids(*some) == first


def test_the_worst_verdict_of_its_cases_is_the_findings() -> None:
    """Most serious first within a library."""
    one, other = found(
        seen("a.b/reference-torch/dlpack/host", Code.REFUSED, verdict=Verdict.DEVIATES, given="x"),
        seen("a.c/reference-torch/dlpack/host/1", verdict=Verdict.DEVIATES),
        seen("a.c/reference-torch/dlpack/host/2"),
    )
    assert (one.verdict, other.verdict) == (Verdict.VIOLATES, Verdict.DEVIATES)


def test_known_causes_are_told_by_the_version_that_was_tested() -> None:
    """Fixed in a newer release, or seen although a fix is claimed."""
    book = Book((Known("torch/consumer/*", Upstream.FIXED, "https://example.org/1", "note", "2.15"),))
    case = seen("a.b/reference-torch/dlpack/host")
    (old,), (new,) = found(case, book=book), found(case, book=book, version="2.15.0")
    assert (old.status, old.advice) == (Status.FIXED, "fixed in 2.15: upgrade")
    assert (new.status, new.advice) == (Status.NEW, "still present, although 2.15 is documented to fix it")


def test_a_fix_counts_only_for_the_cells_that_show_the_cause() -> None:
    """Seen in the fixed version, too, it is new; the versions of other cells say nothing."""
    book = Book((Known("torch/consumer/*", Upstream.FIXED, "r", "note", "2.14"),))
    versions = {cell: {"torch": {"torch": version}} for cell, version in (("old", "2.13.0"), ("new", "2.15.0"))}
    old, new = (seen("a.b/reference-torch/dlpack/host", cell=cell) for cell in versions)
    (only_old,), (both,) = findings([old], versions, book), findings([old, new], versions, book)
    assert (only_old.status, only_old.versions) == (Status.FIXED, {"torch": "2.13.0"})
    assert (both.status, both.versions) == (Status.NEW, {"torch": "2.13.0, 2.15.0"})


def test_a_code_of_a_newer_suite_is_a_finding_of_its_own() -> None:
    """A run file may come from one."""
    strange = replace(seen("a.b/reference-torch/dlpack/host"), code="not-invented-yet")
    (one,) = found(strange)
    assert one.id == "torch/consumer/not-invented-yet/dlpack"
    assert one.sentence.startswith("PyTorch fails")


def test_a_death_with_several_special_respects_joins_the_one_that_dies_alone() -> None:
    """A process that has died cannot try which respect it was."""
    point = "combination.exchange/reference-torch/dlpack/host"
    crash = {"step": "import", "outcome": "crash"}
    both = seen(
        f"{point}/int8/reversed", Code.CRASH, given=f"an array of int8 that is also {REVERSED}, `copy=True`", **crash
    )
    assert ids(both) == [
        "torch/consumer/crash/import/array-of-int8-that-is-also-an-array-with-negative-strides-copy=true"
    ]
    alone = seen("pointer.values/reference-torch/dlpack/host/reversed", Code.CRASH, given=REVERSED, **crash)
    assert ids(both, alone) == ["torch/consumer/crash/import/array-with-negative-strides"]


BRAIN, STRIDED_BRAIN = "an array of bfloat16", "an array of bfloat16 that is also a strided view"
SCALAR_BRAIN = "an array of bfloat16 that is also a 0-d array"
TAKEN = "combination.exchange/cupy-cupy/cai/cuda/bfloat16"


def test_a_consumer_that_misreads_every_array_of_an_element_type_has_one_cause() -> None:
    """Whether it shows in strides, in elements, or in an import that cannot be used; the cause has the sentence of its own cases."""
    (one,) = found(
        seen(TAKEN, Code.STRIDES_CHANGED, given=BRAIN),
        seen(f"{TAKEN}/stepped", Code.IMPORT_UNUSABLE, given=STRIDED_BRAIN),
        seen(f"{TAKEN}/rank-0", Code.VALUES_CHANGED, given=SCALAR_BRAIN),
        seen("pointer.values/reference-cupy/cai/cuda/bfloat16/x/y", Code.VALUES_CHANGED, given=BRAIN),
    )
    assert (one.id, len(one.cases)) == ("cupy/consumer/values-changed/cai/array-of-bfloat16", 4)
    assert (one.code, one.smallest.code) == ("values-changed", "values-changed")


def test_a_type_that_is_misread_only_in_some_arrays_is_as_many_causes() -> None:
    """No array of the type alone shows it, or only less of it."""
    strided = seen(f"{TAKEN}/stepped", Code.IMPORT_UNUSABLE, given=STRIDED_BRAIN)
    scalar = seen(f"{TAKEN}/rank-0", Code.VALUES_CHANGED, given=SCALAR_BRAIN)
    assert len(found(strided, scalar)) == 2
    milder = seen(TAKEN, Code.VALUES_CHANGED, given=BRAIN, verdict=Verdict.DEVIATES)
    assert len(found(strided, milder)) == 2
    assert len(found(strided, seen(TAKEN, Code.DTYPE_CHANGED, given=BRAIN))) == 2
