"""The page in a browser, as a reader meets it."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from conformance.publish.subject import Subject
from conformance.verdict import Verdict
from conformance.verdicts.history import Streak
from conformance.verdicts.remarks import Judgement, Kind, Remark

from .browser import Browser
from .conftest import Opened
from .samples import (
    BOOL,
    CASES,
    CHAIN,
    CLEAN,
    CRASH,
    HANDOVER,
    HOSTILE,
    SMALL,
    STRIDES,
    WRAPPED,
    Told,
    hostile,
    large,
    made,
)

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
    """Counts by verdict, and every reason for a hole."""
    page = opened(Subject(SMALL))
    assert page.text("h1") == "4 violations in 3 of 3 tested cells, 2 not tested"
    tiles = [text.split() for text in page.text(".tile").splitlines()]
    assert ["✗", "4"] in tiles
    loud = page.text(".loud-box")
    for told in ("killed", "ended by SIGKILL", "unresolvable", "another cuDNN", "pycuda", "not installed", "1 case lost", "1 case not decided"):  # fmt: skip
        assert told in loud


def test_a_run_without_holes_says_so(opened: Opened) -> None:
    """And shows no warning."""
    page = opened(Subject(CLEAN))
    assert page.text("h1") == "No violation in 1 tested cell"
    assert "Everything that was planned was tested" in page.text(".complete")
    assert page.count(".loud-box") == 0


# -- the matrix


def test_each_field_has_its_worst_verdict_with_sign_and_number(opened: Opened) -> None:
    """Colour is never alone."""
    page = opened(Subject(SMALL))
    told = page.run(
        "[...document.querySelectorAll('.matrix tbody tr')].map((r) => [...r.querySelectorAll('td.field')].map((f) => f.innerText))"
    )
    signs = [[field for field in row if field != "·"] for row in told if row]
    assert sorted(signs[0]) == sorted(["✗2", "~1", "✓1", "✓1", "∅1", "✓1"])


def test_a_cell_without_results_is_a_row_that_says_why(opened: Opened) -> None:
    """Not a row of blanks."""
    page = opened(Subject(SMALL))
    assert len(rows(page)) == 5
    assert page.text("td.untested").splitlines() == [
        "not tested: killed: ended by SIGKILL from outside",
        "not tested: unresolvable: torch 2.12 needs another cuDNN",
    ]


def test_versions_on_which_cells_differ_stand_beside_their_names(opened: Opened) -> None:
    """What all have alike does not tell them apart."""
    page = opened(Subject(SMALL))
    assert page.text(".matrix .corner span").split() == ["cu", "torch"]
    assert page.text(".matrix tbody tr:nth-child(2) th span").split() == ["12", "2.10"]


def test_of_many_cells_only_those_in_view_are_in_the_document(opened: Opened) -> None:
    """A thousand rows cost no more than those that are seen; scrolling brings the others."""
    page = opened(Subject(large(1000, 500)))
    assert page.run("document.querySelector('.matrix').getAttribute('aria-rowcount')") == "1001"
    assert 10 < page.count(".matrix tbody tr[role=row]") < 60
    first = rows(page)[0]
    page.run("document.querySelector('.matrix').scrollTop = 1e9")
    page.until("document.querySelector('.matrix tbody tr[aria-rowindex=\"1001\"]')")
    assert first not in rows(page)
    assert page.count(".matrix tbody tr[role=row]") < 60


def test_the_worst_cells_can_stand_first(opened: Opened) -> None:
    """What was not tested is worst."""
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
    page = opened(Subject(SMALL))
    page.run("document.querySelector('[name=text]').focus()")
    page.type("SIGSEGV")
    page.until("location.hash.includes('SIGSEGV')")
    assert rows(page) == ["cu12-torch2.11"]
    assert "1 cell, 1 exchange: 1 violates" in page.text("#status")
    page.click("#filters button")
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
    """Torch to itself is not what was tried, whoever of the three is to blame; the library between is found by its name."""
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
    wrong = opened(Subject(made({"cu13": Told({CHAIN: CRASH}, cases=(*CASES, CHAIN))})), at("wrong"))
    assert "torch → cvcuda → torch (DLPack on cuda)" in wrong.text(".kind .place")
    assert troubles(wrong) == []


def test_a_claim_by_two_protocols_is_one_column(opened: Opened) -> None:
    """It is about a call; a second column of the same name could not be opened."""
    page = opened(Subject(made({"cu13": Told({WRAPPED[1]: CRASH}, cases=WRAPPED)})))
    assert page.run("[...document.querySelectorAll('.matrix .pairs th[title]')].map((e) => e.title)") == [
        "reference → cvcuda, Documented calls on cuda"
    ]
    page.click(FIELD)
    page.until(f"document.querySelector({json.dumps(DETAIL)})")
    assert "1 violates" in page.text(DETAIL)
    assert "1 conforms" in page.text(DETAIL)


# -- the detail


def test_a_click_on_a_field_tells_what_is_behind_it(opened: Opened) -> None:
    """Rule, clause in words, expected, seen, blame, and how to repeat it."""
    page = opened(Subject(SMALL))
    page.click(FIELD)
    page.until(f"document.querySelector({json.dumps(DETAIL)})")
    told = page.text(DETAIL)
    for part in ("cupy → torch", "ordering.handover", "What the producer has queued", "CAI-18", "must either sync", "none, out of order", "in order", f"conformance repro {HANDOVER}"):  # fmt: skip
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
    page = opened(Subject(SMALL))
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
    page = opened(Subject(SMALL))
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


def test_a_cell_tells_what_it_was(opened: Opened) -> None:
    """Versions, what became of it, what could not be used."""
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


# -- rules, and what went wrong


def test_a_rule_has_a_view_of_its_own(opened: Opened) -> None:
    """Statement, why, clauses, and where it is broken."""
    page = opened(Subject(SMALL), "#/invariant/ordering.handover")
    told = page.text("main")
    for part in ("What the producer has queued", "held by a latch", "CAI-22", "cupy → torch", FIRST, "cu13-torch2.11"):
        assert part in told
    assert page.text("table.plain tbody td.figure") == "3"


def test_rules_are_listed_with_what_became_of_their_cases(opened: Opened) -> None:
    """And lead to their views."""
    page = opened(Subject(SMALL), "#/invariants")
    lines = page.run("[...document.querySelectorAll('.rules li')].map((e) => e.querySelector('b').innerText + ' ' + e.querySelector('.signs').innerText.replace(/\\s+/g, ' '))")  # fmt: skip
    assert any(line.startswith("ordering.handover ✗ 3 violates, ✓ 3 conforms") for line in lines)
    page.click(".rules a")
    page.until("document.querySelector('.statement')")
    assert page.run("location.hash.startsWith('#/invariant/')")


def test_what_went_wrong_is_told_once(opened: Opened) -> None:
    """The same words in two cells are one kind; refusals are none."""
    page = opened(Subject(SMALL), "#/wrong")
    kinds = page.run("[...document.querySelectorAll('.kind summary')].map((e) => e.innerText.replace(/\\s+/g, ' '))")
    assert len(kinds) == 5
    assert "3 cases" in kinds[0]
    assert "in 2 cells" in kinds[0]
    assert not any("no mask" in kind for kind in kinds)


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


def test_the_gate_is_the_answer_where_there_is_one(opened: Opened) -> None:
    """Its verdict, what it counted, and what is about more than one case."""
    page = opened(judged())
    assert page.text("h1") == "The gate does not pass: not tested (exit 25)"
    told = page.text(".gate")
    for part in ("1 not tested", "1 regression", "1 fixed", "the cell cu13-torch2.10 has no results", "and 1 waived"):
        assert part in told


def test_what_changed_can_be_looked_at_alone(opened: Opened) -> None:
    """What got better, what got worse, and what is gone; nothing that stayed."""
    page = opened(judged(), at("matrix", changed="1"))
    assert rows(page) == [FIRST, "cu12-torch2.11", "cu13-torch2.11"]
    fields = page.run(
        "[...document.querySelectorAll('.matrix td.field')].map((f) => f.innerText).filter((t) => t !== '·')"
    )
    assert sorted(fields) == sorted(["✗1", "✗1", "✓1", "−1"])
    page = opened(judged(), at("wrong", changed="1"))
    assert "it conforms now" in page.text("main")
    assert troubles(page) == []


def test_what_is_waived_looks_different_and_names_its_waiver(opened: Opened) -> None:
    """It still violates."""
    page = opened(judged())
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


@pytest.mark.parametrize("place", ["matrix", "wrong", "invariants", "invariant/ordering.handover"])
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
@pytest.mark.parametrize("fragment", [at("matrix", open=PAIR), "#/wrong", "#/invariants"])
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
    "fragment", [at("matrix"), at("matrix", open=PAIR), "#/wrong", "#/invariants", "#/invariant/ordering.handover"]
)
def test_a_narrow_screen_never_scrolls_sideways(opened: Opened, fragment: str) -> None:
    """The matrix and wide tables scroll by themselves."""
    page = opened(judged(), fragment, width=360)
    assert page.run("document.documentElement.scrollWidth") == 360
    assert page.run("document.body.scrollWidth") <= 360
    assert page.run("(({scrollWidth, clientWidth}) => scrollWidth <= clientWidth)(document.getElementById('detail'))")


def test_paper_has_every_row(opened: Opened) -> None:
    """What is out of view on a screen is printed."""
    page = opened(Subject(large(100, 100)))
    assert page.count(".matrix tbody tr[role=row]") < 60
    page.run("dispatchEvent(new Event('beforeprint'))")
    assert page.count(".matrix tbody tr[role=row]") == 100


def test_who_wants_no_motion_gets_none(opened: Opened) -> None:
    """The panel does not slide in."""
    page = opened(Subject(SMALL))
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}])
    page.click(FIELD)
    assert page.run("getComputedStyle(document.getElementById('detail')).animationName") == "none"
