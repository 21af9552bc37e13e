"""The reports without a browser: terminal, Markdown, JUnit XML, and the size of the page."""

from __future__ import annotations

import io
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random
from xml.etree import ElementTree

import pytest

from conformance.publish import console, junit, markdown
from conformance.publish.grid import grid
from conformance.publish.kinds import kinds
from conformance.publish.page import page
from conformance.publish.subject import Subject
from conformance.report.screen import Screen
from conformance.verdicts.remarks import Remark, Judgement, Kind
from conformance.verdict import Verdict

from .samples import BOOL, CHAIN, CLEAN, HANDOVER, HOSTILE, LONG, SMALL, VIOLATION, Told, hostile, large, made

MEGABYTE = 1_000_000


def shown(subject: Subject, width: int = 100) -> str:
    """What the terminal shows."""
    stream = io.StringIO()
    console.show(Screen(stream, width, colours=False), subject, "out/index.html")
    return stream.getvalue()


def written(subject: Subject, folder: Path) -> ElementTree.Element:
    """The JUnit file, parsed."""
    (folder / "junit.xml").write_text(junit.junit(subject), encoding="utf-8")
    return ElementTree.parse(folder / "junit.xml").getroot()


WAIVED = Subject(
    SMALL, Judgement(SMALL, None, (Remark(Kind.NEW_VIOLATION, "new", "cu12-torch2.10", HANDOVER, waiver="w1"),))
)

# -- terminal


def test_the_terminal_says_what_was_not_tested_before_what_failed() -> None:
    """With the reasons, and the cases that nobody knows about."""
    text = shown(Subject(SMALL))
    assert text.index("NOT TESTED") < text.index("Violations (")
    for told in ("1 cell killed (cu13-torch2.10): ended by SIGKILL", "1 cell unresolvable", "pycuda in 1 cell", "1 case lost", "1 case not decided"):  # fmt: skip
        assert told in " ".join(text.split())


def test_the_terminal_shows_cells_by_libraries() -> None:
    """What is wrong where a library has a part; a dot where it has none."""
    lines = [line.split() for line in shown(Subject(SMALL)).splitlines()]
    header = next(line for line in lines if line[:1] == ["cell"])
    row = next(line for line in lines if line[:1] == ["cu12-torch2.10"])
    assert header[1:] == ["reference", "cupy", "cvcuda", "numpy", "pycuda", "torch"]
    assert row[1:] == ["✓1", "✗2", "~1", "✓2", "·", "✗2", "~1"]


def test_the_same_violation_is_told_once_with_its_cells() -> None:
    """The rule, the clause, what was seen, and how to repeat it."""
    text = " ".join(shown(Subject(SMALL)).split())
    assert text.count("the consumer reads before the producer has written") == 1
    assert "In 2 cells, 3 cases: cu12-torch2.10, cu13-torch2.11" in text
    assert f"python -m conformance check --case {HANDOVER}" in text
    assert "Violations (4 cases, 2 kinds)" in text


def test_a_clean_run_is_short() -> None:
    """And says that nothing is missing."""
    text = shown(Subject(CLEAN))
    assert "No violation in 1 tested cell" in text
    assert "Everything that was planned has been tested and decided." in text


@pytest.mark.parametrize("width", [60, 100, 160])
def test_the_terminal_keeps_to_its_width(width: int) -> None:
    """Save for names and commands that cannot be folded."""
    long = [line for line in shown(Subject(SMALL), width).splitlines() if len(line) > width]
    assert [line for line in long if "python -m conformance" not in line] == []


def test_no_escape_sequence_reaches_the_terminal() -> None:
    """Nor a mark that turns the direction of the text around."""
    assert re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", shown(Subject(hostile()))) is None


def test_cells_that_look_alike_are_one_row() -> None:
    """The row names one and counts the others."""
    run = made({f"cu13-torch2.{n}": Told({BOOL: VIOLATION}) for n in range(30)} | {"cu12-torch2.1": Told()})
    assert [len(row.titles) for row in grid(run).rows] == [30, 1]
    assert "cu13-torch2.0 and 29 alike" in shown(Subject(run))


def test_rows_say_only_what_tells_cells_apart() -> None:
    """What all cells have alike stands above the table; cells of other kinds of names keep them whole."""
    whole = grid(made({"cu13-py3.12-torch2.7": Told({BOOL: VIOLATION}), "cu13-py3.13-torch2.7": Told()}))
    assert (whole.common, [row.titles for row in whole.rows]) == ("cu13-torch2.7", [("py3.12",), ("py3.13",)])
    for names in (["smoke-12", "oldest-13"], ["cu13", "cu13-torch2.7"], ["cu13-torch2.7"]):
        whole = grid(made({name: Told() for name in names}))
        assert (whole.common, sorted(t for row in whole.rows for t in row.titles)) == ("", sorted(names))


# -- kinds


def test_kinds_are_told_worst_first_and_numbers_do_not_keep_them_apart() -> None:
    """An address in a message makes no other kind of it; another rule or another state does."""
    run = made(
        {
            f"cu13-torch2.{n}": Told({BOOL: VIOLATION._replace(reason=f"at {0xABC + n:#x}, {n} bytes"), HANDOVER: VIOLATION._replace(state=Verdict.DEVIATES, reason=f"at {0xABC + n:#x}, {n} bytes")})
            for n in range(5)
        }
    )  # fmt: skip
    found = kinds(run, frozenset({Verdict.VIOLATES, Verdict.DEVIATES}), {})
    assert [(kind.verdict, kind.cases, len(kind.cells)) for kind in found] == [
        (Verdict.VIOLATES, 5, 5),
        (Verdict.DEVIATES, 5, 5),
    ]


def test_of_a_chain_all_three_libraries_are_told() -> None:
    """An exchange of the two at its ends is another one, whoever is to blame."""
    run = made({"cu13": Told({CHAIN: VIOLATION, BOOL: VIOLATION}, cases=(CHAIN, BOOL))})
    told = [kind.where() for kind in kinds(run, frozenset({Verdict.VIOLATES}), {})]
    assert sorted(told) == ["torch → cvcuda → torch, DLPack on cuda", "torch → cvcuda, DLPack on cuda"]
    whole = grid(run)
    assert dict(zip(whole.libraries, whole.rows[0].fields)) == {
        "cvcuda": ((Verdict.VIOLATES, 2),),
        "torch": ((Verdict.VIOLATES, 2),),
    }


# -- Markdown


def test_markdown_has_counts_holes_and_kinds() -> None:
    """In this order."""
    text = markdown.markdown(Subject(SMALL))
    places = [text.index(told) for told in ("4 violations", "Not tested: this run", "## Cells and libraries", "## Violations", "## Deviations", "## Not decided", "## Lost")]  # fmt: skip
    assert places == sorted(places)


def test_nothing_from_outside_is_markup_in_markdown() -> None:
    """No table is broken, nobody is mentioned, no element begins."""
    evil = VIOLATION._replace(reason="a|b `c` <img> @torvalds #77 [x](http://y) *z* _u_ www.example.org")
    text = markdown.markdown(Subject(made({"cu13-torch2.11": Told({BOOL: evil}, absent={"a|b": "@all"})})))
    for sign in ("a|b", "`c`", "<img>", "@torvalds", "#77", "[x]", "http:", "*z*", "_u_", "www.", "@all"):
        assert sign not in text
    assert "a&#124;b &#96;c&#96; &#60;img&#62; &#64;torvalds" in text


def test_markdown_is_never_larger_than_github_shows() -> None:
    """Nor anywhere near it, where nothing has to be left out."""
    words = Random(0)
    told = {
        f"cu13-torch2.{n}": Told({BOOL: VIOLATION._replace(reason="".join(words.choices("abc<|@", k=300)))})
        for n in range(900)
    }
    text = markdown.markdown(Subject(made(told)))
    assert MEGABYTE * 0.2 < len(text.encode()) <= MEGABYTE
    assert len(markdown.markdown(Subject(hostile())).encode()) < MEGABYTE


def test_what_does_not_fit_in_markdown_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader knows that there is more, and where."""
    monkeypatch.setattr(markdown, "MOST_BYTES", 4000)
    text = markdown.markdown(Subject(SMALL))
    assert len(text.encode()) <= 4000
    assert re.search(r"\*\*\d+ more entries did not fit; index.html has them all", text)


# -- JUnit

ALLOWED = {
    "testsuites": ({"name"}, {"testsuite"}),
    "testsuite": ({"name", "tests", "failures", "errors", "skipped", "time", "timestamp"}, {"properties", "testcase"}),
    "properties": (set(), {"property"}),
    "property": ({"name", "value"}, set()),
    "testcase": ({"name", "classname"}, {"skipped", "error", "failure"}),
    "skipped": ({"type", "message"}, set()),
    "error": ({"type", "message"}, set()),
    "failure": ({"type", "message"}, set()),
}
"""Attributes and children, by element: what every reader of the format takes."""


@pytest.mark.parametrize("run", [SMALL, CLEAN, hostile(), large(60, 4000)], ids=["small", "clean", "hostile", "large"])
def test_junit_is_as_every_reader_takes_it(run: object, tmp_path: Path) -> None:
    """Well-formed, known elements and attributes, properties first, numbers that fit."""
    root = written(Subject(run), tmp_path)  # type: ignore[arg-type]
    for element in root.iter():
        attributes, children = ALLOWED[element.tag]
        assert set(element.attrib) <= attributes
        assert {child.tag for child in element} <= children
    for suite in root:
        assert [child.tag for child in suite].index("properties") == 0
        found = Counter(child.tag for case in suite.iter("testcase") for child in case)
        told = {name: int(suite.attrib[name]) for name in ("tests", "failures", "errors", "skipped")}
        assert told == {
            "tests": len(suite.findall("testcase")), "failures": found["failure"], "errors": found["error"], "skipped": found["skipped"],
        }  # fmt: skip
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.get("timestamp", "2026-01-01T00:00:00"))


def elements(root: ElementTree.Element, suite: str) -> dict[str, str]:
    """What became of the entries of a suite, by name."""
    (found,) = (one for one in root if one.get("name") == suite)
    return {case.get("name", ""): next((child.tag for child in case), "passes") for case in found.iter("testcase")}


def test_each_verdict_has_its_element(tmp_path: Path) -> None:
    """Deviations are no failures and no passes; what is not known is an error."""
    root = written(Subject(SMALL), tmp_path)
    first = elements(root, "cu12-torch2.10")
    assert (first[HANDOVER], first[BOOL], first["1 case refused"], first["3 cases conforms"]) == ("failure", "skipped", "skipped", "passes")  # fmt: skip
    last = elements(root, "cu13-torch2.11")
    assert Counter(last.values()) == {"failure": 1, "error": 2, "passes": 1}


def test_a_cell_without_results_is_no_empty_success(tmp_path: Path) -> None:
    """Killed is an error; versions that cannot be put together are skipped."""
    root = written(Subject(SMALL), tmp_path)
    assert elements(root, "cu13-torch2.10") == {"the cell as a whole": "error"}
    assert elements(root, "cu13-torch2.12") == {"the cell as a whole": "skipped"}


def test_what_is_waived_is_skipped_with_its_waiver(tmp_path: Path) -> None:
    """The other case of the same kind still fails."""
    found = elements(written(WAIVED, tmp_path), "cu12-torch2.10")
    assert found[HANDOVER] == "skipped"
    assert Counter(found.values())["failure"] == 1


def test_a_large_run_is_grouped_and_still_has_every_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry for each kind of trouble, with its cells."""
    monkeypatch.setattr(junit, "MOST_ENTRIES", 3)
    root = written(Subject(SMALL), tmp_path)
    assert [suite.get("name") for suite in root] == ["cells", "claim", "dtype", "layout", "ordering", "pointer"]
    (case,) = next(suite for suite in root if suite.get("name") == "ordering").iter("testcase")
    assert "3 cases in 2 cells: cu12-torch2.10, cu13-torch2.11" in (case[0].text or "")
    whole = next(suite for suite in root if suite.get("name") == "cells")
    assert {case.get("classname") for case in whole.iter("testcase")} == {cell.title for cell in SMALL.cells}


# -- the page


def test_a_page_of_a_thousand_cells_stays_small() -> None:
    """Everything in it is there once."""
    assert len(page(Subject(large(1000, 5000))).encode()) < 5 * MEGABYTE


def test_a_page_of_many_long_messages_stays_small() -> None:
    """They are shortened, and the page says so."""
    told = {f"cu13-torch2.{n}": Told({BOOL: VIOLATION._replace(seen=f"{n:x}" * 3000, reason=f"{n * 7919:x}" * 2000)}) for n in range(3000)}  # fmt: skip
    assert len(page(Subject(made(told))).encode()) < 5 * MEGABYTE


def test_nothing_in_the_page_ends_its_script_early() -> None:
    """Data is in base64; the only ends are the page's own."""
    text = page(Subject(hostile()))
    assert text.count("</script>") == 2
    assert HOSTILE not in text
    assert LONG not in text


def test_the_page_is_the_same_for_the_same_run() -> None:
    """To the byte: it can be compared, and cached."""
    assert page(Subject(SMALL)) == page(Subject(replace(SMALL)))
