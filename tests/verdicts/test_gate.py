"""The gate: every exit code, every precedence, and nothing green that is not proved."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import resources
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.gate import document, judgement
from conformance.gate.compare import CHANGE
from conformance.gate.waivers import Waiver
from conformance.runs.model import RunFile
from conformance.runs.remarks import Kind
from conformance.verdict import Verdict
from conformance.wildcards import fits

from .gates import CODE, CRASH, FINDING, GPU, MESSAGE, NUMPYS, TODAY, A, B, C, D, of_finding, present, run, waiver
from .scenarios import SCENARIOS


@pytest.fixture(scope="module")
def schema() -> Any:
    """The one that comes with the package."""
    return json.loads(resources.files("conformance.gate").joinpath("schemas", "gate.schema.json").read_text())


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_gate_says(name: str, schema: Any) -> None:
    """Exit code, remarks and their order, a sentence, and a document that keeps to its schema."""
    scenario = SCENARIOS[name]
    found = scenario.judged()
    told = [remark for remark in found.remarks if remark.kind is not Kind.NOTE]
    assert (found.exit, sorted(f.kind.word for f in told)) == (scenario.exit, sorted(k.word for k in scenario.kinds))
    assert not scenario.says or any(scenario.says in remark.sentence for remark in found.remarks)
    assert sum(bool(remark.waiver) for remark in told) == scenario.waived
    assert [f.exit for f in found.remarks] == sorted((f.exit for f in found.remarks), reverse=True)
    written = document.to_json(found, TODAY)
    jsonschema.validate(written, schema)
    assert (written["exit"], len(written["remarks"])) == (scenario.exit, len(found.remarks))
    assert judgement.verdict(found).startswith("FAIL" if scenario.exit else "PASS")


def test_the_scenarios_have_every_exit_code_of_the_gate() -> None:
    """Green, and 20 to 27."""
    assert {scenario.exit for scenario in SCENARIOS.values()} == {kind.exit for kind in Kind}


@pytest.mark.parametrize("before", Verdict)
@pytest.mark.parametrize("now", Verdict)
def test_every_change_of_state_is_decided(before: Verdict, now: Verdict) -> None:
    """By rules that the table was written from."""
    kind = CHANGE[before][now]
    better = [Verdict.VIOLATES, Verdict.DEVIATES, Verdict.ROBUSTNESS, Verdict.OBSERVED, Verdict.CONFORMS]
    unsupported = [Verdict.VIOLATES, Verdict.ROBUSTNESS]
    if not now.is_decided:
        assert kind is Kind.NOT_TESTED
    elif not before.is_decided:
        assert kind is (Kind.NEW_VIOLATION if now is Verdict.VIOLATES else Kind.NEW_CASE)
    elif before is now:
        assert kind is (Kind.STILL if now.speaks_against else None)
    elif now is Verdict.REFUSED:
        assert kind is (Kind.FIXED if before in unsupported else Kind.REGRESSION)
    elif before is Verdict.REFUSED:
        as_new = {Verdict.CONFORMS: Kind.FIXED, Verdict.VIOLATES: Kind.NEW_VIOLATION}
        assert kind is as_new.get(now, Kind.NEW_CASE)
    else:
        assert kind is (Kind.FIXED if better.index(now) > better.index(before) else Kind.REGRESSION)


letters = st.sampled_from([*"crodbvul", *"xyw"])
cases = st.dictionaries(st.sampled_from([A, B, C, D, GPU]), letters, min_size=1)
runs = st.dictionaries(
    st.sampled_from(["one", "two", "three"]), st.one_of(cases, st.sampled_from(["not run", "unresolvable"])), min_size=1
).map(run)
patterns = st.sampled_from([A, B, "dtype.*", "*", "layout.null-strides/*", f"{C[:-4]}*"])
some = {
    "days": st.integers(-3, 30),
    "where": st.sampled_from([{"torch": ">=2.10"}, {"torch": "<2"}, {"cuda": "==13.*"}]),
    "cases": st.lists(patterns, min_size=1, max_size=2, unique=True).map(tuple),
    "outcomes": st.lists(st.sampled_from(["fail", "crash", "refused"]), min_size=1, unique=True).map(tuple),
}
by_case = st.builds(
    waiver, st.sampled_from("abc"), codes=st.sampled_from([(CODE,), (CODE, "crash"), ("stale-read",)]), **some
)
narrowing = {**some, **{name: some[name] | st.just(()) for name in ("cases", "outcomes")}}
findings = st.sampled_from([FINDING, CRASH, NUMPYS, "torch/*", "*/crash", "torch/consumer/stale-read/dlpack"])
by_finding = st.builds(of_finding, findings, st.sampled_from("abc"), **narrowing)
waivers = by_case | by_finding
given_waivers = st.lists(waivers, max_size=3, unique_by=lambda waiver: waiver.id)
NOW = present("one", "two", "three")


@settings(deadline=None)
@given(runs, given_waivers)
def test_a_run_is_neither_better_nor_worse_than_itself(one: RunFile, given: list[Waiver]) -> None:
    """Whatever is wrong with it."""
    kinds = {remark.kind for remark in judgement.judge(one, one, given, NOW).remarks}
    assert not kinds & {Kind.REGRESSION, Kind.FIXED, Kind.NEW_CASE, Kind.NEW_VIOLATION, Kind.SHRUNK}


@settings(deadline=None)
@given(runs, st.none() | runs, given_waivers, waivers)
def test_a_waiver_makes_no_finding_disappear(
    one: RunFile, other: RunFile | None, given: list[Waiver], more: Waiver
) -> None:
    """It only covers some; and what it covers has an outcome that it names, and shows its finding."""
    before = judgement.judge(one, other, given, NOW).remarks
    after = judgement.judge(one, other, [*given, replace(more, id="more")], NOW).remarks
    assert {replace(f, waiver="") for f in before} <= {replace(f, waiver="") for f in after}
    covered = set(after) - set(before)
    assert all("more" in f.waiver.split(", ") or f.kind in (Kind.WAIVER, Kind.NOTE) for f in covered)
    for remark in (f for f in covered if f.waiver and f.evidence is not None):
        assert not more.outcomes or one.evidence[remark.evidence].outcome in more.outcomes
        assert not more.finding or any(fits(more.finding, finding) for finding in remark.findings)


@settings(deadline=None)
@given(runs, st.none() | runs, given_waivers)
def test_what_waivers_cover_shows_no_finding_that_none_is_for(
    one: RunFile, other: RunFile | None, given: list[Waiver]
) -> None:
    """Or the mistake of one library would be excused by a waiver for another's."""
    by_id = {waiver.id: waiver for waiver in given}
    for remark in judgement.judge(one, other, given, NOW).remarks:
        covering = [by_id[id] for id in remark.waiver.split(", ") if id]
        if covering:
            assert all(any(w.among([finding]) for w in covering) for finding in remark.findings)


@settings(deadline=None)
@given(runs, runs, given_waivers, st.randoms())
def test_the_order_of_cells_changes_nothing(one: RunFile, other: RunFile, given: list[Waiver], chance: Any) -> None:
    """Of neither run."""

    def mixed(whole: RunFile) -> RunFile:
        cells = list(whole.cells)
        chance.shuffle(cells)
        return replace(whole, cells=tuple(cells))

    assert (
        judgement.judge(one, other, given, NOW).remarks == judgement.judge(mixed(one), mixed(other), given, NOW).remarks
    )


@settings(deadline=None)
@given(runs, st.none() | runs, given_waivers)
def test_green_means_that_every_cell_has_results_and_every_case_a_verdict(
    one: RunFile, other: RunFile | None, given: list[Waiver]
) -> None:
    """Save cells that were unresolvable before, and what a waiver covers."""
    found = judgement.judge(one, other, given, NOW)
    if found.exit:
        return
    before = other.by_name() if other else {}
    for cell in one.cells:
        assert cell.is_tested or (cell.lifecycle == "unresolvable" == before[cell.name].lifecycle)
        assert not {"u", "l"} & set(cell.states)


def test_remarks_refer_to_their_evidence_in_the_document() -> None:
    """Each is in it once."""
    twice = run({"one": {A: "v", B: "v"}, "two": {A: "v"}})
    written = document.to_json(judgement.judge(twice, None, (), present()), TODAY)
    assert [written["evidence"][f["evidence"]]["reason"] for f in written["remarks"] if f["case"]] == [MESSAGE] * 3
    assert len(written["evidence"]) == 1


def test_remarks_refer_to_their_findings_in_the_document(schema: Any) -> None:
    """Each finding is in it once, with its sentence, its verdict and what is known upstream; those that no remark refers to are not."""
    mixed = run({"one": {A: "v", B: "w", C: "c", D: "x", GPU: "y"}, "two": {A: "v", B: "b"}})
    written = document.to_json(judgement.judge(mixed, None, [of_finding()], present()), TODAY)
    jsonschema.validate(written, schema)
    shown = {(f["cell"], f["case"]): f["findings"] for f in written["remarks"] if f["case"]}
    assert shown["one", B] == [NUMPYS, FINDING]
    assert (shown["two", A], shown["one", GPU]) == ([FINDING], [CRASH])
    told = {finding["id"]: finding for finding in written["findings"]}
    assert sorted(told) == sorted(f["id"] for f in written["findings"]) == [NUMPYS, CRASH, FINDING]
    assert told[NUMPYS] == {
        "id": NUMPYS, "library": "numpy", "verdict": "violates", "status": "new", "upstream": "",
        "sentence": "NumPy exports a plain array as another element type, by DLPack.",
    }  # fmt: skip
    green = document.to_json(judgement.judge(mixed, mixed, (), present()), TODAY)
    assert len(green["findings"]) == 3
    assert document.to_json(judgement.judge(run({"one": {A: "c"}}), mixed, (), present()), TODAY)["findings"] == []
