"""Proposed waivers: one for each finding, with bounds from where it was seen; filled in, they cover what they were made for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from conformance.gate import judgement, proposals, waiver_file
from conformance.gate.waivers import Waiver
from conformance.runs.model import RunFile
from conformance.runs.remarks import Judgement, Kind

from .gates import AXES, CODE, CRASH, FINDING, TODAY, A, B, C, D, of_finding, present, run, waiver

CUDA = A.replace("host", "cuda")
NOW = present("one", "two", "three")


def judged(found: RunFile, baseline: RunFile | None = None, waivers: Sequence[Waiver] = ()) -> Judgement:
    """What the gate says."""
    return judgement.judge(found, baseline, waivers, NOW)


def text_of(found: RunFile, baseline: RunFile | None = None, waivers: Sequence[Waiver] = ()) -> str:
    """The proposal for a run."""
    return proposals.text(judged(found, baseline, waivers), waivers, TODAY)


def proposed(
    found: RunFile, baseline: RunFile | None = None, waivers: Sequence[Waiver] = ()
) -> list[dict[str, object]]:
    """The waivers of the proposal."""
    entries: list[dict[str, object]] = yaml.safe_load(text_of(found, baseline, waivers))["waivers"]
    return entries


def with_torch(whole: RunFile, *versions: str) -> RunFile:
    """The run with another torch in each of its cells."""
    cells = tuple(replace(c, versions={"torch": v}, axes={"cuda": AXES["cuda"]}) for c, v in zip(whole.cells, versions))
    return replace(whole, cells=cells)


def filled_in(text: str, path: Path) -> tuple[Waiver, ...]:
    """The waivers of a proposal after somebody has answered for them."""
    path.write_text(re.sub(f"'{proposals.TO_FILL_IN}: .*'", "https://example.org", text), encoding="utf-8")
    return waiver_file.read(path, ("dtype.exchange", "layout.null-strides"), TODAY)


def test_a_finding_in_many_cells_and_cases_is_one_waiver() -> None:
    """Bounds from the oldest version to the newest."""
    found = run({name: {A: "v", B: "v", C: "c", D: "v"} for name in ("one", "two", "three")})
    (waiver,) = proposed(with_torch(found, "2.9.1", "2.10.0+cu130", "2.12.0rc1"))
    assert waiver["where"] == {"torch": ">=2.9.1,<=2.12.0rc1", "cuda": "==13.0"}
    assert (waiver["id"], waiver["finding"]) == ("torch-consumer-dtype-changed-dlpack", FINDING)
    assert not waiver.keys() & {"cases", "outcome", "code"}


def test_the_sentence_of_the_finding_stands_above_it_with_its_extent() -> None:
    """As comments: a person has to read it."""
    found = run({name: {A: "v", B: "v"} for name in ("one", "two", "three")})
    lines = text_of(found).splitlines()
    at = lines.index("# PyTorch imports a plain array as another element type, by DLPack.")
    assert lines[at + 1] == "# 2 cases in 3 cells: one, three, two"


def test_each_finding_is_a_waiver() -> None:
    """Also those of one case. Each has an id of its own, and what waivers are for already is not proposed again."""
    found = run({"one": {A: "v", B: "x", D: "w"}})
    waivers = proposed(found)
    assert [waiver["finding"] for waiver in waivers] == [
        "numpy/consumer/dtype-changed/dlpack", CRASH, FINDING, "torch/producer/dtype-changed/dlpack",
    ]  # fmt: skip
    assert len({str(waiver["id"]) for waiver in waivers}) == 4
    left = proposed(found, None, [of_finding(), of_finding(CRASH, "other")])
    assert [one["finding"] for one in left] == [
        "numpy/consumer/dtype-changed/dlpack", "torch/producer/dtype-changed/dlpack",
    ]  # fmt: skip


def test_versions_that_do_not_show_it_are_left_out() -> None:
    """Or the waiver would expect what passes there."""
    found = run({"one": {A: "v"}, "three": {A: "v"}, "two": {A: "c"}})
    (waiver,) = proposed(with_torch(found, "2.9.1", "2.12.0", "2.10.0+cu130"))
    assert waiver["where"] == {"torch": ">=2.9.1,<=2.12.0,!=2.10.0", "cuda": "==13.0"}


def test_cells_that_the_librarys_version_does_not_keep_apart_are_told_by_another() -> None:
    """As few as needed."""
    found = run({"one": {A: "v"}, "two": {A: "c"}})
    (one, two) = found.cells
    axes = {**AXES, "numpy": "2.4"}
    apart = replace(found, cells=(one, replace(two, axes=axes, versions={**two.versions, "numpy": "2.4.1"})))
    (waiver,) = proposed(apart)
    assert waiver["where"] == {"torch": "==2.12.1", "cuda": "==13.0", "numpy": "==2.5.2"}


def test_cells_that_another_waiver_is_for_are_left_out() -> None:
    """Or the two would overlap; where they are the same, the cases are named."""
    found = with_torch(run({"one": {A: "v"}, "three": {A: "v"}, "two": {A: "v"}}), "2.9.1", "2.12.0", "2.10.0")
    (other,) = proposed(found, None, [of_finding(where={"torch": "==2.10.0"})])
    assert other["where"] == {"torch": ">=2.9.1,<=2.12.0,!=2.10.0", "cuda": "==13.0"}
    (narrow,) = proposed(run({"one": {A: "v", B: "v", C: "v"}}), None, [waiver()])
    assert (narrow["finding"], narrow["cases"]) == (FINDING, [A, C])


def test_a_refusal_is_proposed_by_its_cases() -> None:
    """It is no finding: a library may refuse, but not what it supported."""
    before = run({"one": {A: "c", B: "c", C: "c"}})
    (waiver,) = proposed(run({"one": {A: "r", B: "r", C: "c"}}), before)
    assert (waiver["cases"], waiver["outcome"]) == ([B, A], "refused")
    assert not waiver.keys() & {"finding", "code"}
    (waiver,) = proposed(run({"one": {A: "r"}}), before)
    assert waiver["cases"] == A


def test_an_exchange_that_is_refused_in_every_case_is_one_pattern() -> None:
    """One case alone is named."""
    before = run({"one": {A: "c", B: "c"}})
    assert proposed(run({"one": {A: "r", B: "r"}}), before)[0]["cases"] == "dtype.exchange/numpy-torch/dlpack/*"


def test_a_refusal_in_a_cell_in_which_another_conforms_is_a_waiver_of_its_own() -> None:
    """One waiver would expect what passes."""
    before = run({name: {A: "c", B: "c"} for name in ("one", "two")})
    apart = proposed(run({"one": {A: "r", B: "r"}, "two": {A: "r", B: "c"}}), before)
    assert [(waiver["cases"], waiver["id"]) for waiver in apart] == [
        (B, "dtype.exchange-numpy-torch-dlpack-refused"), (A, "dtype.exchange-numpy-torch-dlpack-refused-2"),
    ]  # fmt: skip


def test_a_refusal_is_bound_to_every_library_of_a_chain() -> None:
    """The one between may be the one that has to be mended."""
    case = "pointer.chain/reference-cvcuda-torch/dlpack/cuda"
    found, before = (run({"one": {case: letter}}) for letter in "rc")
    versions = {"torch": "2.11.0", "cvcuda": "0.17.0", "cupy": "14.2.0"}
    (waiver,) = proposed(replace(found, cells=tuple(replace(cell, versions=versions) for cell in found.cells)), before)
    assert dict(waiver["where"]).keys() - {"cuda"} == {"torch", "cvcuda"}  # type: ignore[call-overload]


def test_a_failure_without_a_finding_is_proposed_by_case_and_code() -> None:
    """A library is accused that is on neither side."""
    found = run({"one": {A: "w"}})
    found = replace(found, evidence=(found.evidence[0]._replace(accused=("cupy",)),))
    (waiver,) = proposed(found)
    assert (waiver["cases"], waiver["outcome"], waiver["code"]) == (A, "fail", CODE)


def test_what_was_only_observed_is_not_proposed() -> None:
    """No waiver can cover it."""
    assert proposed(run({"one": {A: "o"}}), run({"one": {A: "c"}})) == []


def test_what_acts_instead_of_being_seen_is_escaped() -> None:
    """A proposal is printed; titles of cells and sentences of findings are comments whatever is in them."""
    found = run({"one": {A: "v"}}, code="a\u202eb\x1b[8m\nc")
    text = text_of(replace(found, cells=(replace(found.cells[0], title="one\n- id: x\x1b[8m"),)))
    assert {"\x1b", "\u202e"}.isdisjoint(text)
    (waiver,) = yaml.safe_load(text)["waivers"]
    assert waiver["finding"] == "torch/consumer/a\u202eb\x1b[8m\nc/dlpack"


def test_what_fails_as_before_needs_no_waiver() -> None:
    """Nor does what was not decided, which none can cover."""
    found = run({"one": {A: "v", B: "u"}})
    assert proposed(found, found) == []


def test_an_id_that_is_taken_gets_a_number() -> None:
    """So that the proposal can be put into the file that is there."""
    first = str(proposed(run({"one": {A: "v"}}))[0]["id"])
    there = waiver(first, where={"torch": "<2"})
    assert [waiver["id"] for waiver in proposed(run({"one": {A: "v"}}), None, [there])] == [f"{first}-2"]


def test_a_proposal_that_is_filled_in_covers_the_cases_of_its_finding_and_no_others(tmp_path: Path) -> None:
    """Neither those of another finding, nor those in cells that it is not for."""
    found = with_torch(run({"one": {A: "v", B: "x", D: "v"}, "two": {A: "v", B: "x"}}), "2.11.0", "2.12.1")
    waivers = filled_in(text_of(found, None, [of_finding(CRASH)]), tmp_path / "waivers.yaml")
    covered = {(f.cell, f.case) for f in judged(found, None, waivers).remarks if f.waiver}
    assert covered == {("one", A), ("one", D), ("two", A)}
    newer = with_torch(found, "2.11.0", "2.13.0")
    assert {f.cell for f in judged(newer, None, waivers).remarks if f.waiver} == {"one"}


def test_a_proposal_expires_after_the_longest_time_there_is(tmp_path: Path) -> None:
    """Whoever needs it for less writes less."""
    (found,) = filled_in(text_of(run({"one": {A: "v"}})), tmp_path / "waivers.yaml")
    assert (found.opened, found.expires) == (TODAY, TODAY + timedelta(90))


messages = st.text(min_size=1).filter(
    lambda text: text.replace("*", "").strip() and proposals.TO_FILL_IN not in text.upper()
)
letters = st.dictionaries(st.sampled_from([A, B, C, CUDA, D]), st.sampled_from("cvxdrbyw"), min_size=1)
cells = st.dictionaries(st.sampled_from(["one", "two", "three"]), letters, min_size=1)
VERSIONS = {"one": "2.9.1", "two": "2.10.0+cu130", "three": "2.12.0rc1"}


def of_versions(whole: RunFile) -> RunFile:
    """The run with another torch in each of its cells, which are known by their names."""
    return with_torch(whole, *(VERSIONS[cell.name] for cell in whole.cells))


THERE = st.sampled_from([
    (), (of_finding(id="z", where={"torch": "==2.10.0"}),), (waiver("z"),), (of_finding(CRASH, "z"),),
    (of_finding("torch/*", "z", where={"torch": "<2.10"}),),
])  # fmt: skip


@settings(deadline=None)
@example(message="0\x850", found={"one": {A: "v"}}, before=None, there=())
@example(message="0\u20280\u2029", found={"one": {A: "v"}}, before=None, there=())
@given(message=messages, found=cells, before=st.none() | cells, there=THERE)
def test_a_proposal_that_is_filled_in_covers_all_that_it_was_made_for(
    tmp_path_factory: pytest.TempPathFactory,
    message: str,
    found: dict[str, dict[str, str]],
    before: dict[str, dict[str, str]] | None,
    there: tuple[Waiver, ...],
) -> None:
    """Whatever the message says, in whichever cells, beside whichever waivers; nothing is wrong with it, and no remark is gone."""
    one = of_versions(run(found, message=message))
    other = of_versions(run(before)) if before else None
    waivers = filled_in(text_of(one, other, there), tmp_path_factory.mktemp("w") / "waivers.yaml")
    first, then = judged(one, other, there), judged(one, other, [*there, *waivers])
    wrong = [{remark for remark in judgement.remarks if remark.kind is Kind.WAIVER} for judgement in (first, then)]
    assert wrong[1] <= wrong[0]
    assert {remark.kind for remark in then.remarks if remark.exit} <= {Kind.SHRUNK, Kind.WAIVER}
    kept = {replace(remark, waiver="") for remark in then.remarks}
    assert {replace(remark, waiver="") for remark in first.remarks if remark.kind is not Kind.WAIVER} <= kept
