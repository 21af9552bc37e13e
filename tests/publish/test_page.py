"""The page in a browser, as a reader meets it."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from conformance.checks.catalogue import catalogue
from conformance.reports.subject import Subject
from conformance.runs.history import Streak
from conformance.runs.remarks import Judgement, Kind, Remark
from conformance.verdict import Verdict

from .browser import Browser
from .conftest import Opened
from .samples import (
    BOOL,
    BOOL_ID,
    CASES,
    CHAIN,
    CLEAN,
    CRASH,
    CRASH_ID,
    HANDOVER,
    HANDOVER_ID,
    HOSTILE,
    RANK_ID,
    SMALL,
    STRIDES,
    UNDECIDED,
    WRAPPED,
    Told,
    hostile,
    large,
    made,
)

HEADLINE = "2 findings in 2 libraries: 2 new; 1 about robustness; 1 deviation; 2 of 5 cells not tested"
FIELD = ".matrix td.field.state-v"
DETAIL = "#detail:not([hidden])"
FIRST = "cu12-torch2.10"
PAIR = f"{FIRST}~cai/cuda/cupy-torch"


def at(place: str, **given: str) -> str:
    """A fragment."""
    query = "&".join(f"{name}={quote(value)}" for name, value in given.items())
    return f"#/{place}{'?' if query else ''}{query}"


def rows(page: Browser) -> list[str]:
    """The names of the cells in the matrix."""
    return page.text(".matrix tbody th b").splitlines()


def troubles(page: Browser) -> list[object]:
    """Everything that a page should never do: raise, log an error, ask the network, open a dialog."""
    asked = [event["request"]["url"] for event in page.happened("Network.requestWillBeSent")]
    outside = [url for url in asked if not url.startswith(("file:", "data:"))]
    others = [url for url in asked if url.startswith("file:") and not url.split("#")[0].endswith("/index.html")]
    logged = page.happened("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled")
    return [*outside, *others, *logged, *page.happened("Page.javascriptDialogOpening")]


# -- the answer


def test_the_page_asks_nobody_for_anything(opened: Opened) -> None:
    """It opens from a file, logs no error and sends no request."""
    page = opened(Subject(SMALL))
    assert page.run("document.documentElement.dataset.ready") == "yes"
    assert troubles(page) == []


def test_the_top_says_what_was_found_and_what_was_not_tested(opened: Opened) -> None:
    """Findings by status, cases by verdict, and every reason for a hole."""
    page = opened(Subject(SMALL))
    assert page.text("h1") == HEADLINE
    tiles = page.run("[...document.querySelectorAll('.tile')].map((e) => e.innerText.split(/\\s+/).join(' '))")
    assert tiles == ["✗ 2 new", "! 1 about robustness", "~ 1 deviations"]
    assert "✗ 4 violates" in " ".join(page.text(".signs.cases").split())
    loud = page.text(".loud-box")
    for told in ("killed", "ended by SIGKILL", "unresolvable", "another cuDNN", "pycuda", "not installed", "1 case lost", "1 case not decided"):  # fmt: skip
        assert told in loud


def test_a_run_without_holes_says_so(opened: Opened) -> None:
    """And shows no warning."""
    page = opened(Subject(CLEAN))
    assert page.text("h1") == "No violations"
    assert "Every planned case was tested" in page.text(".complete")
    assert page.count(".loud-box") == 0
    assert "The tested cells have no findings." in page.text("main")


# -- findings


def sentences(page: Browser) -> list[str]:
    """The findings in the list, as far as they are not folded."""
    return page.text(".finding .said").splitlines()


def test_findings_are_the_start_page(opened: Opened) -> None:
    """By accused library, those that break a promise first, with sentence, status, extent, versions and id."""
    page = opened(Subject(SMALL))
    assert page.text("#views a[aria-current]") == "Findings"
    assert [title.split()[0] for title in page.text(".accused h2").splitlines()] == ["CV-CUDA", "PyTorch", "CuPy"]
    assert "torch 2.10.0, 2.11.0" in page.text(".accused h2")
    told = page.text("main")
    for part in (
        "CV-CUDA crashes while it imports NULL strides.",
        "the process crashed",
        "2 cases in 2 cells · with CuPy · CUDA Array Interface on cuda · seen in 2.10.0, 2.11.0",
        HANDOVER_ID,
        "1 deviation",
    ):
        assert part in told
    assert troubles(page) == []


def test_robustness_has_a_sign_of_its_own(opened: Opened) -> None:
    """Another one than a broken promise, with its entry in the legend."""
    page = opened(Subject(SMALL), at("findings", accused="cupy"))
    assert page.text(".finding .sign").splitlines() == ["! robustness", "the process crashed", "new"]
    assert page.count(".finding .state-v") == 0
    assert "! robustness" in opened(Subject(SMALL), at("matrix")).text(".legend")


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"accused": "torch"}, ["PyTorch reads"]),
        ({"library": "cupy"}, ["PyTorch reads", "CuPy crashes"]),
        ({"verdict": "deviates"}, ["CV-CUDA imports"]),
        ({"verdict": "violates", "status": "new"}, ["CV-CUDA crashes", "PyTorch reads"]),
        ({"status": "known"}, []),
        ({"text": "not-ordered"}, ["PyTorch reads"]),
        ({"text": "cu13 torch2.11"}, ["PyTorch reads"]),
        ({"exchange": "DLPack on host"}, []),
    ],
)
def test_filters_leave_the_findings_that_they_name(opened: Opened, filters: dict[str, str], found: list[str]) -> None:
    """By the accused, by a library that takes part, by status, by verdict, and by words."""
    page = opened(Subject(SMALL), at("findings", **filters))
    assert [" ".join(sentence.split()[:2]) for sentence in sentences(page)] == found
    assert troubles(page) == []


def test_a_finding_opens_by_its_fragment(opened: Opened) -> None:
    """Everything about it: demand with its source, evidence, how the accused was found, versions, cases, script and id."""
    page = opened(Subject(SMALL), f"#/finding/{HANDOVER_ID}")
    told = page.text(DETAIL)
    for part in (
        "PyTorch reads an imported array before the producer's pending work is done",
        "PyTorch, the consumer",
        "torch from the reference: fail (stale-read)",
        "seen in 2.10.0, 2.11.0",
        "CAI-18 A consumer must synchronise",
        "the values that the producer had queued",
        "the old values",
        HANDOVER,
        f"python -m conformance repro {HANDOVER}",
        HANDOVER_ID,
        "cupy → torch",
    ):
        assert part in told
    assert page.run("document.querySelector('#detail .clause a').href").startswith("https://nvidia.github.io/")
    assert page.text(".finding[aria-current] .id") == HANDOVER_ID
    assert troubles(page) == []


def test_a_demand_that_we_infer_says_so(opened: Opened) -> None:
    """Next to the evidence of the crash."""
    told = opened(Subject(SMALL), f"#/finding/{CRASH_ID}").text(DETAIL)
    for part in ("as we infer from the text", "Last message of the runtime", "std::bad_function_call", "Innermost frame of a library", "nvcv::Tensor"):  # fmt: skip
        assert part in told


def test_nothing_is_demanded_on_forbidden_input(opened: Opened) -> None:
    """And the process that died is told all the same."""
    told = opened(Subject(SMALL), f"#/finding/{RANK_ID}").text(DETAIL)
    assert "No clause applies, because the protocol forbids the input." in told
    assert "the process crashed" in told


def test_a_folded_deviation_opens_by_its_fragment(opened: Opened) -> None:
    """Its line in the list is seen, too."""
    page = opened(Subject(SMALL), f"#/finding/{BOOL_ID}")
    assert page.text(".finding[aria-current] .id") == BOOL_ID
    assert "bool" in page.text(DETAIL)


def test_a_finding_of_another_run_is_told_as_missing(opened: Opened) -> None:
    """It is not a blank panel."""
    page = opened(Subject(SMALL), "#/finding/torch/consumer/gone")
    assert "This run has no finding with the id torch/consumer/gone." in page.text(DETAIL)
    assert troubles(page) == []


def test_a_finding_is_read_by_keyboard_alone(opened: Opened) -> None:
    """Enter opens it, Escape closes it and leaves the reader where they were; going back opens it again."""
    page = opened(Subject(SMALL))
    page.run("document.querySelector('.finding').focus()")
    page.press("Enter")
    page.until("document.activeElement.id === 'detail-title'")
    assert page.run("location.hash") == f"#/finding/{CRASH_ID}"
    page.press("Escape")
    page.until("document.getElementById('detail').hidden")
    assert page.run("location.hash") == "#/findings"
    assert page.run("document.activeElement.classList.contains('finding')") is True
    page.run("history.back()")
    page.until(f"document.querySelector({json.dumps(DETAIL)})")
    assert troubles(page) == []


def test_a_field_leads_to_its_finding(opened: Opened) -> None:
    """From the matrix, by a link."""
    page = opened(Subject(SMALL), at("matrix", open=PAIR))
    page.click(f"{DETAIL} .told a")
    page.until("location.hash.startsWith('#/finding/')")
    assert page.run("location.hash") == f"#/finding/{HANDOVER_ID}"


def test_filters_fold_on_a_narrow_screen(opened: Opened) -> None:
    """The search stays, a button brings the others, and one that is set is never hidden."""
    page = opened(Subject(SMALL), width=380)
    seen = "[...document.querySelectorAll('#filters select')].filter((e) => e.offsetParent).length"
    assert page.run(seen) == 0
    page.click("#filters .fold")
    assert page.run(seen) == 4
    assert opened(Subject(SMALL), at("findings", accused="torch"), width=380).run(seen) == 4


# -- the matrix


def test_each_field_has_its_worst_verdict_with_sign_and_number(opened: Opened) -> None:
    """Colour is never alone, and a failure says which side it accuses."""
    page = opened(Subject(SMALL), at("matrix"))
    told = page.run(
        "[...document.querySelectorAll('.matrix tbody tr')].map((r) => [...r.querySelectorAll('td.field')].map((f) => f.innerText))"
    )
    signs = [[field for field in row if field != "·"] for row in told if row]
    assert sorted(signs[0]) == sorted(["✗2c", "~1c", "✓1", "✓1", "∅1", "✓1", "✓1"])


def test_a_cell_without_results_is_a_row_that_says_why(opened: Opened) -> None:
    """Not a row of blanks."""
    page = opened(Subject(SMALL), at("matrix"))
    assert len(rows(page)) == 5
    assert page.text("td.untested").splitlines() == [
        "not tested: killed: ended by SIGKILL from outside",
        "not tested: unresolvable: torch 2.12 needs another cuDNN",
    ]


def test_versions_on_which_cells_differ_stand_beside_their_names(opened: Opened) -> None:
    """An axis that all have alike does not tell them apart."""
    page = opened(Subject(SMALL), at("matrix"))
    assert page.text(".matrix .corner span").split() == ["cu", "torch"]
    assert page.text(".matrix tbody tr:nth-child(2) th span").split() == ["12", "2.10"]


def test_of_many_cells_only_those_in_view_are_in_the_document(opened: Opened) -> None:
    """A thousand rows cost no more than those that are seen; scrolling brings the others."""
    page = opened(Subject(large(1000, 500)), at("matrix"))
    assert page.run("document.querySelector('.matrix').getAttribute('aria-rowcount')") == "1001"
    assert 10 < page.count(".matrix tbody tr[role=row]") < 60
    first = rows(page)[0]
    page.run("document.querySelector('.matrix').scrollTop = 1e9")
    page.until("document.querySelector('.matrix tbody tr[aria-rowindex=\"1001\"]')")
    assert first not in rows(page)
    assert page.count(".matrix tbody tr[role=row]") < 60


def test_the_worst_cells_can_stand_first(opened: Opened) -> None:
    """Nothing is worse than a cell that was not tested."""
    page = opened(Subject(SMALL), at("matrix", order="worst"))
    assert rows(page)[:3] == ["cu13-torch2.10", "cu13-torch2.12", FIRST]


# -- filters


@pytest.mark.parametrize(
    ("filters", "cells"),
    [
        ({"library": "numpy"}, 5),
        ({"family": "layout"}, 5),
        ({"verdict": "deviates"}, 1),
        ({"verdict": "lost"}, 1),
        ({"verdict": "not tested"}, 3),
        ({"text": "SIGSEGV"}, 1),
        ({"text": "torch2.11"}, 2),
        ({"text": "sigkill"}, 1),
        ({"text": "cu12 sigsegv"}, 1),
        ({"text": "no such words"}, 0),
        ({"exchange": "DLPack on host"}, 5),
        ({"verdict": "violates", "family": "layout"}, 1),
        ({"verdict": "robustness"}, 1),
        ({"accused": "torch"}, 2),
        ({"accused": "cupy"}, 1),
        ({"status": "new"}, 3),
        ({"text": "null-strides process"}, 1),
    ],
)
def test_filters_leave_what_they_name(opened: Opened, filters: dict[str, str], cells: int) -> None:
    """And stand in the address, so that a view can be linked."""
    page = opened(Subject(SMALL), at("matrix", **filters))
    assert len(rows(page)) == cells
    for name, value in filters.items():
        assert page.run(f"document.querySelector('[name={name}]').value") == value
    assert troubles(page) == []


def test_a_filter_that_is_chosen_changes_the_address_and_the_counts(opened: Opened) -> None:
    """Typed, and taken back with one button."""
    page = opened(Subject(SMALL), at("matrix"))
    page.run("document.querySelector('[name=text]').focus()")
    page.type("SIGSEGV")
    page.until("location.hash.includes('SIGSEGV')")
    assert rows(page) == ["cu12-torch2.11"]
    assert "1 cell, 1 exchange: 1 violates" in page.text("#status")
    page.click("#filters button[type=reset]")
    assert len(rows(page)) == 5
    assert page.run("location.hash") == "#/matrix"


def test_a_library_that_is_chosen_leaves_its_exchanges_alone(opened: Opened) -> None:
    """As producer or consumer."""
    page = opened(Subject(SMALL), at("matrix", library="cvcuda"))
    assert page.run("[...document.querySelectorAll('.matrix .pairs th[title]')].map((e) => e.title.split(',')[0])") == [
        "reference → cvcuda",
        "torch → cvcuda",
    ]


def test_what_breaks_in_a_chain_is_no_field_of_those_at_its_ends(opened: Opened) -> None:
    """Torch to itself is another exchange, whichever of the three is accused; the library between is found by its name."""
    page = opened(
        Subject(made({"cu13": Told({CHAIN: CRASH}, cases=(*CASES, CHAIN))})),
        at("matrix", library="cvcuda", verdict="violates"),
    )
    assert page.run("[...document.querySelectorAll('.matrix .pairs th[title]')].map((e) => e.title)") == [
        "chains of three, DLPack on cuda"
    ]
    page.click(FIELD)
    page.until(f"document.querySelector({json.dumps(DETAIL)})")
    assert CHAIN in page.text(DETAIL)
    cell = opened(Subject(made({"cu13": Told({CHAIN: CRASH}, cases=(*CASES, CHAIN))})), at("matrix"))
    assert cell.text(".grids tr:last-child th").splitlines()[-1] != "torch"
    assert "chains of three" in cell.text(".grids")
    run = made({"cu13": Told({CHAIN: UNDECIDED}, cases=(*CASES, CHAIN))})
    undecided = opened(Subject(run), at("cases"))
    assert "torch → cvcuda → torch (DLPack on cuda)" in undecided.text(".kind .place")
    assert troubles(undecided) == []


def test_a_claim_by_two_protocols_is_one_column(opened: Opened) -> None:
    """It is about a call; a second column of the same name could not be opened."""
    page = opened(Subject(made({"cu13": Told({WRAPPED[1]: CRASH}, cases=WRAPPED)})), at("matrix"))
    assert page.run("[...document.querySelectorAll('.matrix .pairs th[title]')].map((e) => e.title)") == [
        "reference → cvcuda, Documented calls on cuda"
    ]
    page.click(FIELD)
    page.until(f"document.querySelector({json.dumps(DETAIL)})")
    assert "1 violates" in page.text(DETAIL)
    assert "1 conforms" in page.text(DETAIL)


# -- the detail


def test_a_click_on_a_field_tells_what_is_behind_it(opened: Opened) -> None:
    """Finding, rule, demand, expected, seen, why the accused is accused, and how to repeat it."""
    page = opened(Subject(SMALL), at("matrix"))
    page.click(FIELD)
    page.until(f"document.querySelector({json.dumps(DETAIL)})")
    told = page.text(DETAIL)
    for part in ("cupy → torch", "PyTorch reads an imported array", "ordering.handover", "CAI-18", "must synchronise", "the old values", "PyTorch, the consumer because", "torch from the reference: fail", f"conformance repro {HANDOVER}"):  # fmt: skip
        assert part in told
    assert "open=" in page.run("location.hash")
    assert troubles(page) == []


def test_a_deep_link_opens_the_detail(opened: Opened) -> None:
    """With the filters that it was made with."""
    page = opened(Subject(SMALL), at("matrix", verdict="violates", open=PAIR))
    assert "cupy → torch" in page.text(f"{DETAIL} h2")
    assert rows(page) == [FIRST, "cu12-torch2.11", "cu13-torch2.11"]


def test_the_matrix_is_read_by_keyboard_alone(opened: Opened) -> None:
    """Arrows move, Enter opens, Escape closes and leaves the reader where they were."""
    page = opened(Subject(SMALL), at("matrix"))
    page.run("document.querySelector('.matrix').focus()")
    page.press("ArrowDown", "ArrowRight", "End")
    assert page.run("document.querySelector('.matrix').getAttribute('aria-activedescendant')").startswith("field-1-")
    page.press("Home", "Enter")
    page.until(f"document.querySelector({json.dumps(DETAIL)})")
    assert page.text(f"{DETAIL} h2") == "cu12-torch2.11"
    assert page.run("document.activeElement.id") == "detail-title"
    page.press("Escape")
    assert page.run("document.getElementById('detail').hidden") is True
    assert page.run("document.activeElement.classList.contains('matrix')") is True
    page.press("End", control=True)
    assert page.run("document.querySelector('.active').dataset.row") == "4"
    assert troubles(page) == []


def test_a_link_to_a_field_opens_it_and_going_back_closes_it(opened: Opened) -> None:
    """From the cell's own table of producers and consumers."""
    page = opened(Subject(SMALL), at("matrix", open=FIRST))
    page.click("#detail .grids a.state-v")
    page.until("document.activeElement.id === 'detail-title'")
    assert page.text(f"{DETAIL} h2") == "cupy → torch"
    page.run("history.back()")
    page.until(f"document.querySelector('#detail h2')?.innerText === {json.dumps(FIRST)}")
    assert troubles(page) == []


def test_what_has_the_focus_can_be_seen(opened: Opened) -> None:
    """The field, too."""
    page = opened(Subject(SMALL), at("matrix"))
    page.run("document.querySelector('.matrix').focus()")
    page.press("ArrowRight")
    assert page.run("getComputedStyle(document.querySelector('.active')).outlineStyle") == "solid"


def test_tab_leads_out_of_the_detail(opened: Opened) -> None:
    """Nobody is trapped in it."""
    page = opened(Subject(SMALL), at("matrix", open=PAIR))
    page.run("document.getElementById('detail-title').focus()")
    inside = "document.getElementById('detail').contains(document.activeElement)"
    for _ in range(60):
        page.press("Tab")
        if not page.run(inside):
            break
    assert page.run(inside) is False


def test_a_cell_tells_its_versions_and_its_end(opened: Opened) -> None:
    """And the libraries that could not be used."""
    page = opened(Subject(SMALL), at("matrix", open="cu12-torch2.11"))
    told = page.text(DETAIL)
    for part in ("2.11.0", "pycuda", "not installed (pycuda)", "12.5 s", "SIGSEGV", "5555555555555555"):
        assert part in told


def test_a_field_that_was_not_tested_says_why(opened: Opened) -> None:
    """The library was absent."""
    run = made({"a-1": Told(cases=CASES[:3], absent={"numpy": "not installed (numpy)"}), "a-2": Told()})
    page = opened(Subject(run), at("matrix", open="a-1~dlpack/host/numpy-torch"))
    assert "not installed (numpy)" in page.text(DETAIL)


def test_a_script_that_exists_is_in_the_page_and_else_the_command(opened: Opened) -> None:
    """Each script once, whatever the number of its cases."""
    subject = Subject(SMALL, script=lambda case: "import torch\nprint('hand-over')\n" if "handover" in case else "")
    page = opened(subject, at("matrix", open=PAIR))
    page.click(f"{DETAIL} details.script summary")
    page.until("document.querySelector('details.script pre')")
    assert "print('hand-over')" in page.text(f"{DETAIL} details.script pre")
    page.click(f"{DETAIL} details.script button.copy")
    page.until("document.querySelector('details.script button.copy').textContent !== 'Copy'")
    page = opened(subject, at("matrix", open="cu12-torch2.11~dlpack/cuda/reference-cvcuda"))
    assert f"python -m conformance repro {STRIDES}" in page.text(DETAIL)


# -- rules, and cases that accuse nobody


def test_a_rule_has_a_view_of_its_own(opened: Opened) -> None:
    """Statement, why, clauses, and where it is broken."""
    page = opened(Subject(SMALL), "#/invariant/ordering.handover")
    told = page.text("main")
    for part in (
        statement("ordering.handover"),
        "A latch holds the producer",
        "CAI-22",
        "cupy → torch",
        FIRST,
        "cu13-torch2.11",
    ):
        assert part in told
    assert page.text("table.plain tbody td.figure") == "3"


def statement(rule: str) -> str:
    """Its first words."""
    return catalogue()[rule].statement.split("`")[0][:40]


def test_rules_are_listed_with_what_became_of_their_cases(opened: Opened) -> None:
    """And lead to their views."""
    page = opened(Subject(SMALL), "#/invariants")
    lines = page.run("[...document.querySelectorAll('.rules li')].map((e) => e.querySelector('b').innerText + ' ' + e.querySelector('.signs').innerText.replace(/\\s+/g, ' '))")  # fmt: skip
    assert any(line.startswith("ordering.handover ✗ 3 violates, ✓ 3 conforms") for line in lines)
    page.click(".rules a")
    page.until("document.querySelector('.statement')")
    assert page.run("location.hash.startsWith('#/invariant/')")


def test_cases_that_accuse_nobody_are_told_once(opened: Opened) -> None:
    """Not decided and lost ones; with a verdict chosen those that have it."""
    page = opened(Subject(SMALL), "#/cases")
    kinds = page.run("[...document.querySelectorAll('.kind summary')].map((e) => e.innerText.replace(/\\s+/g, ' '))")
    assert [kind.split(" ")[1] for kind in kinds] == ["not", "lost"]
    assert "torch refused to import" in opened(Subject(SMALL), at("cases", verdict="refused")).text("main")


# -- baseline, waivers, history


def judged() -> Subject:
    """The small run against a baseline in which one hand-over was right and a type was wrong."""
    remarks = (
        Remark(Kind.NOT_TESTED, "the cell cu13-torch2.10 has no results", "cu13-torch2.10"),
        Remark(Kind.REGRESSION, "it conformed and violates now", FIRST, HANDOVER, Verdict.CONFORMS, Verdict.VIOLATES, 0),
        Remark(Kind.NEW_VIOLATION, "it is new", "cu12-torch2.11", STRIDES, None, Verdict.VIOLATES, 3, waiver="cvcuda-null-strides"),
        Remark(Kind.FIXED, "it conforms now", "cu12-torch2.11", BOOL, Verdict.DEVIATES, Verdict.CONFORMS),
        Remark(Kind.SHRUNK, "it is not planned any more", "cu13-torch2.11", "dtype.gone/torch-cupy/dlpack/cuda", Verdict.CONFORMS),
        Remark(Kind.STILL, "as before", FIRST, BOOL, Verdict.DEVIATES, Verdict.DEVIATES, 1),
    )  # fmt: skip
    streak = Streak(True, "night-7", "2026-11-02T02:00:00+00:00", 7, 2)
    return Subject(
        SMALL, Judgement(SMALL, CLEAN, remarks), {(FIRST, HANDOVER): streak},
        {"cvcuda-null-strides": "owner Ada until 2026-12-01: https://example.org/7"},
    )  # fmt: skip


def test_the_gate_answers_where_there_is_one(opened: Opened) -> None:
    """Below the findings its verdict, its counts, and the remarks about more than one case."""
    page = opened(judged())
    assert page.text("h1") == HEADLINE
    assert page.text(".gate h2") == "The gate fails: not tested (exit 25)"
    told = page.text(".gate")
    for part in ("1 not tested", "1 regression", "1 fixed", "the cell cu13-torch2.10 has no results", "and 1 waived"):
        assert part in told


def test_what_changed_can_be_looked_at_alone(opened: Opened) -> None:
    """Better, worse and gone; nothing that stayed."""
    page = opened(judged(), at("matrix", changed="1"))
    assert rows(page) == [FIRST, "cu12-torch2.11", "cu13-torch2.11"]
    fields = page.run(
        "[...document.querySelectorAll('.matrix td.field')].map((f) => f.innerText).filter((t) => t !== '·')"
    )
    assert sorted(fields) == sorted(["✗1c", "✗1c", "✓1", "□1"])
    page = opened(judged(), at("cases", changed="1"))
    assert "it conforms now" in page.text("main")
    assert troubles(page) == []


def test_what_is_waived_looks_different_and_names_its_waiver(opened: Opened) -> None:
    """It still violates."""
    page = opened(judged(), at("matrix"))
    assert page.count(".matrix td.waived") == 1
    page.click(".matrix td.waived")
    assert "owner Ada until 2026-12-01" in page.text(DETAIL)


def test_since_when_it_fails_is_told(opened: Opened) -> None:
    """And whether it flaps."""
    page = opened(judged(), at("matrix", open=PAIR))
    assert (
        "2026-11-02 02:00:00 UTC (run night-7), 7 runs in a row; it changed 2 times between failing and not"
        in page.text(DETAIL)
    )
    assert "regression, before: ✓ conforms" in " ".join(page.text(DETAIL).split())


# -- whatever is in it


@pytest.mark.parametrize(
    "place",
    [
        "findings",
        "finding/torch/consumer/not-ordered/cai",
        "matrix",
        "cases",
        "invariants",
        "invariant/ordering.handover",
    ],
)
def test_text_from_outside_is_only_text(opened: Opened, place: str) -> None:
    """Markup, ends of scripts, marks of direction, escape sequences, very long lines: all are shown, none acts."""
    page = opened(Subject(hostile()), f"#/{place}")
    page.run("document.querySelectorAll('details').forEach((box) => { box.open = true; })")
    page.run("new Promise((done) => setTimeout(done, 50))")
    assert page.run("window.hacked === undefined")
    assert page.count("#content script, #content img, #detail img, #answer img") == 0
    assert page.run("document.documentElement.scrollWidth <= innerWidth") is True
    assert page.run("/[\\u202e\\u001b]/.test(document.body.textContent)") is False
    assert troubles(page) == []


def test_a_hostile_sentence_is_shown_as_text(opened: Opened) -> None:
    """The input in it comes from outside, and so may the id of the finding and the name of the clause."""
    page = opened(Subject(hostile()), at("findings", accused="cvcuda"))
    (sentence,) = sentences(page)
    assert sentence.startswith("CV-CUDA reads wrong elements from <script>window.hacked = 1; alert(1)</script>")
    assert "\\u202eabc\\u001b[31m" in sentence
    page.click(".finding")
    page.until("document.activeElement.id === 'detail-title'")
    assert HOSTILE.split("\u202e")[0] in page.text(DETAIL)
    assert page.run("window.hacked === undefined")
    assert page.run("document.documentElement.scrollWidth <= innerWidth") is True
    assert troubles(page) == []


def test_hostile_text_is_shown_in_the_detail(opened: Opened) -> None:
    """As it was written, with what cannot be seen spelt out."""
    page = opened(Subject(hostile()), at("matrix", open="cu13-torch2.11~cai/cuda/cupy-torch"))
    told = page.text(DETAIL)
    assert HOSTILE.split("\u202e")[0] in told
    assert "\\u202eabc\\u001b[31m" in told
    assert troubles(page) == []


def test_the_policy_lets_nothing_out_and_nothing_in(opened: Opened) -> None:
    """Even if somebody could run a line of script in it."""
    page = opened(Subject(SMALL))
    page.run(
        "window.broken = []; addEventListener('securitypolicyviolation', (e) => broken.push(e.effectiveDirective))"
    )
    assert page.run("fetch('https://example.org/').then(() => 'sent', () => 'refused')") == "refused"
    page.run("new Image().src = 'https://example.org/a.png'; document.body.append(Object.assign(document.createElement('script'), {text: 'hacked = 1'}))")  # fmt: skip
    page.until("broken.length >= 3")
    assert page.run("window.hacked === undefined")
    assert [
        event for event in page.happened("Network.responseReceived") if "example.org" in event["response"]["url"]
    ] == []


def test_a_browser_that_cannot_unpack_says_so(opened: Opened) -> None:
    """It is not a blank page."""
    page = opened(Subject(SMALL))
    script = page.call("Page.addScriptToEvaluateOnNewDocument", source="delete window.DecompressionStream")
    try:
        page = opened(Subject(SMALL))
        assert page.run("document.documentElement.dataset.ready") == "failed"
        assert "cannot unpack" in page.text("main")
    finally:
        page.call("Page.removeScriptToEvaluateOnNewDocument", identifier=script["identifier"])


# -- how it looks

CONTRAST = """
(() => {
  const parts = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = (color) => { const [r, g, b] = parts(color).map((v) => v / 255).map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = (e) => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor, p = parts(c); if (p.length < 4 || p[3] > 0) return c; } return 'rgb(255,255,255)'; };
  const ratio = (e) => { const [a, b] = [light(getComputedStyle(e).color), light(behind(e))].sort((x, y) => y - x); return (a + 0.05) / (b + 0.05); };
  const chosen = [...document.querySelectorAll('h1, p, a, li, th, td.field, .sign, .tile, small, label span, dt, dd, button, select')].filter((e) => e.innerText && e.innerText.trim());
  return chosen.filter((e) => ratio(e) < 4.5).map((e) => `${e.tagName}.${e.className} ${e.innerText.slice(0, 30)} ${ratio(e).toFixed(2)}`);
})()
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "fragment", [at("matrix", open=PAIR), "#/findings", f"#/finding/{RANK_ID}", "#/cases", "#/invariants"]
)
def test_text_can_be_read_in_light_and_dark(opened: Opened, scheme: str, fragment: str) -> None:
    """A contrast of 4.5 to 1 everywhere."""
    page = opened(judged(), fragment, scheme=scheme)
    assert page.run(CONTRAST) == []


def test_dark_is_dark(opened: Opened) -> None:
    """As the reader's system prefers."""
    background = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0]"
    assert opened(Subject(SMALL), scheme="light").run(background) > 200
    assert opened(Subject(SMALL), scheme="dark").run(background) < 60


@pytest.mark.parametrize(
    "fragment",
    [
        at("matrix"),
        at("matrix", open=PAIR),
        "#/findings",
        f"#/finding/{CRASH_ID}",
        "#/cases",
        "#/invariants",
        "#/invariant/ordering.handover",
    ],
)
def test_a_narrow_screen_never_scrolls_sideways(opened: Opened, fragment: str) -> None:
    """The matrix and wide tables scroll by themselves."""
    page = opened(judged(), fragment, width=360)
    assert page.run("document.documentElement.scrollWidth") == 360
    assert page.run("document.body.scrollWidth") <= 360
    assert page.run("(({scrollWidth, clientWidth}) => scrollWidth <= clientWidth)(document.getElementById('detail'))")


def test_paper_has_every_row(opened: Opened) -> None:
    """Rows that are out of view on a screen are printed."""
    page = opened(Subject(large(100, 100)), at("matrix"))
    assert page.count(".matrix tbody tr[role=row]") < 60
    page.run("dispatchEvent(new Event('beforeprint'))")
    assert page.count(".matrix tbody tr[role=row]") == 100


def test_a_reader_without_motion_gets_none(opened: Opened) -> None:
    """The panel does not slide in."""
    page = opened(Subject(SMALL), at("matrix"))
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}])
    page.click(FIELD)
    assert page.run("getComputedStyle(document.getElementById('detail')).animationName") == "none"
