"""Runs put together: in any order, any number of times, and never by a silent choice."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.exits import UserError
from conformance.runs import run_file
from conformance.runs.merge import merge
from conformance.runs.model import RunFile
from conformance.verdict import Verdict

from .gates import run

CASES = [f"layout.x/{pair}/dlpack/host" for pair in ("numpy-torch", "torch-numpy", "numpy-reference")]
cells = st.dictionaries(
    st.sampled_from(CASES), st.sampled_from([state.letter for state in Verdict]), min_size=1, max_size=3
)


def planned(*names: str, lifecycle: str = "not run", reason: str = "nobody has brought it") -> RunFile:
    """A run that never began."""
    return run(dict.fromkeys(names, lifecycle), reason=reason, id="", began="", suite="")


@st.composite
def runs(draw: st.DrawFn) -> list[RunFile]:
    """Parts of one big run, and plans of it: each cell has one result only."""
    whole = draw(st.dictionaries(st.sampled_from("abcdef"), cells, min_size=1))
    names = st.lists(st.sampled_from(sorted(whole)), unique=True)
    parts = [run({name: whole[name] for name in chosen}, id=f"r{n}") for n, chosen in enumerate(draw(st.lists(names)))]
    reasons = st.sampled_from(["nobody has brought it", "the run has not come to it"])
    return [*parts, run(whole, id="whole"), planned(*sorted(whole), "g", reason=draw(reasons))]


@settings(deadline=None)
@given(runs(), st.randoms())
def test_the_order_and_the_grouping_of_runs_change_nothing(parts: list[RunFile], chance: object) -> None:
    """Not even a byte."""
    mixed = list(parts)
    chance.shuffle(mixed)  # type: ignore[attr-defined]
    half = len(mixed) // 2
    grouped = merge([merge(mixed[:half]), merge(mixed[half:])])
    assert run_file.encoded(merge(parts)) == run_file.encoded(merge(mixed)) == run_file.encoded(grouped)


@settings(deadline=None)
@given(runs())
def test_a_run_twice_is_the_run_once(parts: list[RunFile]) -> None:
    """Also its own result merged with its parts."""
    whole = merge(parts)
    assert merge([whole, whole, *parts]) == whole


@settings(deadline=None)
@given(runs())
def test_a_run_file_says_what_was_written(parts: list[RunFile]) -> None:
    """Plans and evidence that are kept once come back where they belong."""
    whole = merge(parts)
    assert run_file.from_json(run_file.to_json(whole)) == whole


def test_two_results_of_a_cell_are_a_mistake_and_all_are_named() -> None:
    """Even where only one case differs."""
    one = run({"a": {CASES[0]: "c"}, "b": {CASES[0]: "c"}, "d": {CASES[0]: "c"}})
    other = run({"a": {CASES[0]: "v"}, "b": {CASES[0]: "c", CASES[1]: "c"}, "d": {CASES[0]: "c"}})
    with pytest.raises(UserError) as caught:
        merge([one, other])
    assert [line.split()[0] for line in str(caught.value).splitlines()] == ["a", "b"]


def test_a_planned_cell_without_results_is_in_it_with_its_reason() -> None:
    """One that has results has them, whichever comes first; that it cannot be resolved is worth more than that nobody brought it."""
    plan = planned("a", "b", "c")
    whole = merge([plan, run({"a": {CASES[0]: "c"}}), planned("c", lifecycle="unresolvable", reason="numpy and torch")])
    assert [(cell.name, cell.lifecycle, cell.is_tested) for cell in whole.cells] == [
        ("a", "done", True),
        ("b", "not run", False),
        ("c", "unresolvable", False),
    ]


@pytest.mark.parametrize("name", ["run.json", "run.json.gz"])
def test_a_run_file_that_was_changed_is_not_read(name: str, tmp_path: Path) -> None:
    """Its digest is in it."""
    path = tmp_path / name
    digest = run_file.write(run({"a": {CASES[0]: "v"}}), path)
    assert run_file.digest(run_file.read(path)) == digest
    plain = tmp_path / "plain.json"
    run_file.write(run_file.read(path), plain)
    plain.write_text(plain.read_text().replace('"v"', '"d"'))
    with pytest.raises(UserError, match="its digest does not match"):
        run_file.read(plain)


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"digest": "x", "format": "conformance-run/2"}', "\x1f\x8b"])
def test_what_is_no_run_file_is_a_sentence(text: str, tmp_path: Path) -> None:
    """Whatever it is instead."""
    path = tmp_path / "run.json"
    path.write_text(text)
    with pytest.raises(UserError, match="is not a readable run file"):
        run_file.read(path)
