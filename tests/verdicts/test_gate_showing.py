"""What people see of a judgement: what says the same is put together, and nothing that counts is left out."""

from __future__ import annotations

import io
from dataclasses import replace

from hypothesis import given, settings

from conformance.console.screen import Screen
from conformance.gate import display, judgement
from conformance.runs.model import RunFile
from conformance.runs.remarks import Judgement, Kind

from .gates import CRASH, FINDING, GPU, NUMPYS, A, B, C, D, of_finding, present, run, waiver
from .test_gate import NOW, runs


def shown(found: Judgement, *, verbose: bool = False, width: int = 160) -> str:
    """On a screen without colours."""
    stream = io.StringIO()
    display.show(Screen(stream, width, False), found, verbose=verbose)
    return stream.getvalue()


SENTENCE = "PyTorch imports a plain array as another element type, by DLPack."


def test_remarks_about_one_finding_are_one_group() -> None:
    """Under its sentence and its id, whatever the invariant and the pair; cells are counted, and the first few named."""
    cells = [f"cell-{n}" for n in range(6)]
    text = shown(judgement.judge(run({name: {A: "v", B: "v", D: "v"} for name in cells}), None, (), present(*cells)))
    at = text.splitlines().index(f"  ✗ {SENTENCE}")
    assert text.splitlines()[at + 1 : at + 3] == [f"      {FINDING}", "      new"]
    assert text.count(FINDING) == 1
    assert "in 6 cells: cell-0, cell-1, cell-2, cell-3 and 2 more" in text
    assert f"3 cases: {B}, {A}, {D}" in text


def test_a_case_that_shows_two_findings_stands_under_both() -> None:
    """Each with its id."""
    text = shown(judgement.judge(run({"one": {A: "w"}}), None, (), present()))
    numpys = "NumPy exports a plain array as another element type, by DLPack."
    at = text.splitlines().index(f"  ✗ {numpys}")
    assert text.splitlines()[at : at + 6] == [
        f"  ✗ {numpys}",
        f"      {NUMPYS}",
        "      new",
        f"    and {SENTENCE}",
        f"      {FINDING}",
        "      new",
    ]


def test_what_shows_no_finding_is_put_together_by_what_it_says() -> None:
    """Of one invariant and pair; numbers and addresses do not keep like from like, and the first sentence is told for all of them."""
    letters = {A: "r", B: "r", D: "r"}
    one, before = run({"one": letters}), run({"one": dict.fromkeys(letters, "c")})
    told = tuple(e._replace(seen=f"element 0 at {0xAB0 + n:#x}") for n, e in enumerate(one.evidence * 3))
    (cell,) = one.cells
    text = shown(
        judgement.judge(replace(one, cells=(replace(cell, evidence=(0, 1, 2)),), evidence=told), before, (), present())
    )
    assert (text.count("✗ dtype.exchange numpy-torch"), text.count("✗ layout.null-strides torch-numpy")) == (1, 1)
    assert "2 cases" in text


def test_what_remarks_of_a_finding_say_otherwise_is_counted() -> None:
    """The first one's words stand for those that differ in numbers only."""
    one = run({"one": {A: "v", B: "v", C: "v"}})
    told = tuple(one.evidence[0]._replace(reason=reason) for reason in ("at 0x10", "at 0x20", "elsewhere"))
    (cell,) = one.cells
    text = shown(
        judgement.judge(replace(one, cells=(replace(cell, evidence=(0, 1, 2)),), evidence=told), None, (), present())
    )
    assert "saw int8 (1 remark worded differently)" in text


def test_everything_fits_into_a_narrow_terminal() -> None:
    """Save names, which are whole: of findings, cases and cells."""
    letters = {A: "v", B: "w", C: "x", D: "r", GPU: "y"}
    mixed = run({"one": letters, "two": letters, "three": "killed"}, message="the element type changed " * 9)
    given = [waiver(), of_finding(CRASH, "other")]
    text = shown(judgement.judge(mixed, run({"one": {D: "c"}}), given, NOW), verbose=True, width=80)
    for line in text.splitlines():
        assert len(line) <= 80 or len(line.split()) == 1, line
    assert SENTENCE in text


def test_what_a_waiver_covers_is_shown_with_it() -> None:
    """Apart from what it does not cover."""
    text = shown(judgement.judge(run({"one": {A: "v", B: "v"}}), None, [waiver()], present()))
    assert "new violation        2  (1 waived)  exit code 22" in text
    assert [f"~ {SENTENCE}" in text, "waived: w" in text, f"✗ {SENTENCE}" in text] == [True] * 3


def test_what_does_not_count_is_counted_and_shown_on_request() -> None:
    """Fixed, still and new cases."""
    one = run({"one": {A: "v"}})
    found = judgement.judge(one, one, (), present())
    assert "still        1" in shown(found)
    assert ("violates as before" in shown(found), "violates as before" in shown(found, verbose=True)) == (False, True)


def test_what_newly_ends_a_process_is_shown_though_it_breaks_no_promise() -> None:
    """Forbidden input, and nobody asked for more; what else does not count is counted beside it."""
    one = run({"one": {A: "y", B: "b", C: "c"}})
    text = shown(judgement.judge(one, None, (), present()))
    assert "  · PyTorch crashes while it imports a plain array.\n" in text
    assert ("and 1 more group; `--verbose` shows them" in text, FINDING in text) == (True, False)
    assert text.splitlines()[-1] == "PASS: no new findings; exit code 0"
    assert CRASH not in shown(judgement.judge(one, one, (), present())), "it is as before"


def test_no_more_groups_are_shown_than_can_be_read() -> None:
    """The others are counted."""
    many, before = (run({"one": {f"dtype.exchange/a{n}-b/dlpack/host": c for n in range(45)}}) for c in "rc")
    assert "and 5 more groups; `--json FILE` has all of them" in shown(judgement.judge(many, before, (), present()))


@settings(deadline=None)
@given(runs)
def test_every_remark_is_in_one_group(one: RunFile) -> None:
    """With its cell and its case, and the verdict is the last line."""
    found = judgement.judge(one, None, (), NOW)
    groups = display.grouped(found.remarks, one.evidence)
    for remark in found.remarks:
        of = [
            g
            for g in groups
            if (g.kind, g.findings) == (remark.kind, remark.findings)
            and (g.findings or g.sentence == remark.sentence)
            and remark.cell in (*g.cells, "")
        ]
        assert any(remark.case in (*group.cases, "") for group in of)
    assert sum(len(group.cells) * max(len(group.cases), 1) for group in groups) >= len(
        [f for f in found.remarks if f.cell]
    )
    assert shown(found).splitlines()[-1].endswith(f"exit code {int(found.exit)}")
    assert all(kind.word in shown(found, verbose=True) for kind in {f.kind for f in found.remarks} - {Kind.NOTE})
