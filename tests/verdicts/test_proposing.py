"""Proposed waivers: one for each group of failures that are the same, with bounds from where they were seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from conformance.verdicts import gate, proposing, waiver_file
from conformance.verdicts.model import RunFile

from .gates import AXES, TODAY, A, B, C, D, present, run

CUDA = A.replace("host", "cuda")


def text_of(found: RunFile, baseline: RunFile | None = None) -> str:
    """The proposal for a run."""
    return proposing.text(gate.judge(found, baseline, (), present()), (), TODAY)


def proposed(found: RunFile, baseline: RunFile | None = None) -> list[dict[str, object]]:
    """The waivers of the proposal."""
    waivers: list[dict[str, object]] = yaml.safe_load(text_of(found, baseline))["waivers"]
    return waivers


def with_torch(whole: RunFile, *versions: str) -> RunFile:
    """The run with another torch in each of its cells."""
    cells = tuple(replace(c, versions={"torch": v}, axes={"cuda": AXES["cuda"]}) for c, v in zip(whole.cells, versions))
    return replace(whole, cells=cells)


def test_the_same_failure_in_many_cells_and_cases_is_one_waiver() -> None:
    """Bounds from the oldest version to the newest."""
    found = run({name: {A: "v", B: "v", C: "c"} for name in ("one", "two", "three")})
    (waiver,) = proposed(with_torch(found, "2.9.1", "2.10.0+cu130", "2.12.0rc1"))
    assert waiver["where"] == {"torch": ">=2.9.1,<=2.12.0rc1", "cuda": "==13.0"}
    assert (waiver["cases"], waiver["outcome"]) == ([B, A], "fail")


def test_other_invariants_outcomes_and_messages_are_other_waivers() -> None:
    """Each has an id of its own."""
    waivers = proposed(run({"one": {A: "v", B: "x", D: "v"}}))
    assert len({str(waiver["id"]) for waiver in waivers}) == len(waivers) == 3


def test_an_exchange_that_fails_in_every_case_is_one_pattern() -> None:
    """One case alone is named."""
    assert proposed(run({"one": {A: "v", B: "v"}}))[0]["cases"] == "dtype.exchange/numpy-torch/dlpack/*"
    assert proposed(run({"one": {A: "v"}}))[0]["cases"] == A


def test_a_waiver_is_bound_to_every_library_of_a_chain() -> None:
    """The one between may be the one that has to be mended."""
    found = run({"one": {"pointer.chain/reference-cvcuda-torch/dlpack/cuda": "v"}})
    versions = {"torch": "2.11.0", "cvcuda": "0.17.0", "cupy": "14.2.0"}
    (waiver,) = proposed(replace(found, cells=tuple(replace(cell, versions=versions) for cell in found.cells)))
    assert dict(waiver["where"]).keys() - {"cuda"} == {"torch", "cvcuda"}


def test_addresses_are_no_part_of_a_message() -> None:
    """They are others in each run."""
    (waiver,) = proposed(run({"one": {A: "v"}}, message="at 0x7f00beef, not 0x10"))
    assert waiver["message"] == "at *, not *"


def test_what_acts_instead_of_being_seen_is_escaped() -> None:
    """A proposal is printed; and the title of a cell is a comment whatever is in it."""
    found = run({"one": {A: "v"}}, message="a\u202eb\x1b[8m")
    text = text_of(replace(found, cells=(replace(found.cells[0], title="one\n- id: x\x1b[8m"),)))
    assert {"\x1b", "\u202e"}.isdisjoint(text)
    (waiver,) = yaml.safe_load(text)["waivers"]
    assert waiver["message"] == "a\u202eb\x1b[8m"


def test_what_fails_as_before_needs_no_waiver() -> None:
    """Nor does what was not decided, which none can cover."""
    found = run({"one": {A: "v", B: "u"}})
    assert proposed(found, found) == []


def test_an_id_that_is_taken_gets_a_number() -> None:
    """So that the proposal can be put into the file that is there."""
    found = gate.judge(run({"one": {A: "v"}}), None, (), present())
    first = yaml.safe_load(proposing.text(found, (), TODAY))["waivers"][0]["id"]
    second = yaml.safe_load(proposing.text(found, [first], TODAY))["waivers"][0]["id"]
    assert second == f"{first}-2"


messages = st.text(min_size=1).filter(
    lambda text: text.replace("*", "").strip() and proposing.TO_FILL_IN not in text.upper()
)


@settings(deadline=None)
@example(message="0\x850", letters={A: "v"})
@example(message="0\u20280\u2029", letters={A: "v"})
@given(
    message=messages, letters=st.dictionaries(st.sampled_from([A, B, C, CUDA, D]), st.sampled_from("cvxdr"), min_size=1)
)
def test_a_proposal_that_is_filled_in_covers_all_that_it_was_made_for(
    tmp_path_factory: object, message: str, letters: dict[str, str]
) -> None:
    """Whatever the message says."""
    found = run({"one": letters}, message=message)
    text = text_of(found)
    path = Path(tmp_path_factory.mktemp("w")) / "waivers.yaml"  # type: ignore[attr-defined]
    for key in ("owner", "reason", "link"):
        text = "\n".join(
            f"  {key}: https://example.org" if line.startswith(f"  {key}: '{proposing.TO_FILL_IN}") else line
            for line in text.split("\n")
        )
    path.write_text(text, encoding="utf-8")
    waivers = waiver_file.read(path, ("dtype.exchange", "layout.null-strides"), TODAY)
    assert gate.judge(found, None, waivers, present()).exit == 0
