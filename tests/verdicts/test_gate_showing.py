"""What people see of a judgement: what says the same is put together, and nothing that counts is left out."""

from __future__ import annotations

import io
from dataclasses import replace

from hypothesis import given, settings

from conformance.report.screen import Screen
from conformance.verdicts import gate, gate_showing
from conformance.verdicts.model import RunFile
from conformance.verdicts.remarks import Judgement, Kind

from .gates import A, B, D, present, run, waiver
from .test_gate import NOW, runs


def shown(found: Judgement, *, verbose: bool = False) -> str:
    """On a wide screen without colours."""
    stream = io.StringIO()
    gate_showing.show(Screen(stream, 160, False), found, verbose=verbose)
    return stream.getvalue()


def test_findings_that_say_the_same_are_one_group() -> None:
    """Cells are counted, and the first few named."""
    cells = [f"cell-{n}" for n in range(6)]
    found = gate.judge(run({name: {A: "v", B: "v", D: "c"} for name in cells}), None, (), present(*cells))
    text = shown(found)
    assert text.count("✗ dtype.exchange numpy-torch") == 1
    assert "in 6 cells: cell-0, cell-1, cell-2, cell-3 and 2 more" in text
    assert f"2 cases: {B}, {A}" in text


def test_numbers_and_addresses_do_not_keep_like_from_like() -> None:
    """The first sentence is told, for all of them."""
    one = run({"one": {A: "v", B: "v"}})
    told = tuple(e._replace(seen=f"element 0 at {0xAB0 + n:#x}") for n, e in enumerate((one.evidence[0],) * 2))
    (cell,) = one.cells
    text = shown(gate.judge(replace(one, cells=(replace(cell, evidence=(0, 1)),), evidence=told), None, (), present()))
    assert text.count("✗ dtype.exchange numpy-torch") == 1
    assert "2 cases" in text


def test_what_a_waiver_covers_is_shown_with_it() -> None:
    """Apart from what it does not cover."""
    text = shown(gate.judge(run({"one": {A: "v", B: "v"}}), None, [waiver()], present()))
    assert "new violation        2  (1 waived)  exit code 22" in text
    assert ("~ dtype.exchange numpy-torch" in text, "waived: w" in text, "✗ dtype.exchange" in text) == (
        True,
        True,
        True,
    )


def test_what_does_not_count_is_counted_and_shown_on_request() -> None:
    """Fixed, still and new cases."""
    one = run({"one": {A: "v"}})
    found = gate.judge(one, one, (), present())
    assert "still        1" in shown(found)
    assert ("violates as before" in shown(found), "violates as before" in shown(found, verbose=True)) == (False, True)


def test_no_more_groups_are_shown_than_can_be_read() -> None:
    """The others are counted."""
    many = run({"one": {f"dtype.exchange/a{n}-b/dlpack/host": "v" for n in range(45)}})
    assert "and 5 more groups; `--json FILE` has all of them" in shown(gate.judge(many, None, (), present()))


@settings(deadline=None)
@given(runs)
def test_every_finding_is_in_one_group(one: RunFile) -> None:
    """With its cell and its case, and the verdict is the last line."""
    found = gate.judge(one, None, (), NOW)
    groups = gate_showing.grouped(found.remarks)
    for remark in found.remarks:
        of = [
            g
            for g in groups
            if g.kind is remark.kind and g.sentence == remark.sentence and remark.cell in (*g.cells, "")
        ]
        assert any(remark.case in (*group.cases, "") for group in of)
    assert sum(len(group.cells) * max(len(group.cases), 1) for group in groups) >= len(
        [f for f in found.remarks if f.cell]
    )
    assert shown(found).splitlines()[-1].endswith(f"exit code {int(found.exit)}")
    assert all(kind.word in shown(found, verbose=True) for kind in {f.kind for f in found.remarks} - {Kind.NOTE})
