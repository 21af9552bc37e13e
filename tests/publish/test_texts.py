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

from conformance.console.screen import Screen
from conformance.reports import coverage, junit, markdown, terminal
from conformance.reports.grid import grid
from conformance.reports.page import page
from conformance.reports.subject import Subject
from conformance.runs.remarks import Judgement, Kind, Remark
from conformance.verdict import Verdict

from .samples import (
    BOOL,
    CHAIN,
    CLEAN,
    HANDOVER,
    HANDOVER_ID,
    HOSTILE,
    LONG,
    NOBODY,
    RANK,
    RANK_ID,
    SMALL,
    UNDECIDED,
    VALUES,
    VIOLATION,
    Told,
    hostile,
    large,
    made,
)

MEGABYTE = 1_000_000
HEADLINE = "2 findings in 2 libraries: 2 new; 1 about robustness; 1 deviation; 2 of 5 cells not tested"


def shown(subject: Subject, width: int = 100) -> str:
    """The text that the terminal shows."""
    stream = io.StringIO()
    terminal.show(Screen(stream, width, colours=False), subject, "out/index.html")
    return stream.getvalue()


def written(subject: Subject, folder: Path) -> ElementTree.Element:
    """The JUnit file, parsed."""
    (folder / "junit.xml").write_text(junit.junit(subject), encoding="utf-8")
    return ElementTree.parse(folder / "junit.xml").getroot()


WAIVED = Subject(
    SMALL, Judgement(SMALL, None, (Remark(Kind.NEW_VIOLATION, "new", "cu12-torch2.10", HANDOVER, waiver="w1"),))
)

# -- terminal


def test_the_terminal_begins_with_the_headline_and_the_findings() -> None:
    """Then everything that was not tested, with the reasons, then the table."""
    text = shown(Subject(SMALL))
    assert text.splitlines()[0] == HEADLINE
    places = [text.index(told) for told in ("PyTorch reads an imported array", "NOT TESTED", "cu12-torch2.10  ")]
    assert places == sorted(places)
    for told in ("1 cell killed (cu13-torch2.10): ended by SIGKILL", "1 cell unresolvable", "pycuda in 1 cell", "1 case lost", "1 case not decided"):  # fmt: skip
        assert told in " ".join(text.split())


def test_a_failure_counts_only_for_the_library_that_it_accuses() -> None:
    """CuPy gave PyTorch the array that PyTorch read too early, PyTorch gave CV-CUDA the one that came out as another type."""
    lines = [line.split() for line in shown(Subject(SMALL)).splitlines()]
    header = next(line for line in lines if line[:1] == ["cell"])
    rows = {line[0]: line[1:] for line in lines if line and line[0].startswith("cu1") and "cell" not in line}
    assert header[1:] == ["reference", "cupy", "cvcuda", "numpy", "pycuda", "torch"]
    assert rows["cu12-torch2.10"] == ["✓2", "✓1", "~1", "✓2", "·", "✗2"]
    assert rows["cu12-torch2.11"] == ["i1", "!1", "✗1", "✓2", "·", "✓5"]


def test_a_finding_is_told_once_with_its_evidence() -> None:
    """Sentence, status, extent, demand, what was seen, how the accused was found, the id, and a case to repeat."""
    text = " ".join(shown(Subject(SMALL)).split())
    assert text.count("PyTorch reads an imported array before the producer's pending work is done") == 1
    for told in (
        "PyTorch torch 2.10.0, 2.11.0",
        "2 cases in 2 cells with CuPy; CUDA Array Interface on cuda; seen in 2.10.0, 2.11.0",
        "Required: CAI-18: A consumer must synchronise",
        "expected the values that the producer had queued; saw the old values",
        "Attribution: cupy to the reference: pass; torch from the reference: fail (stale-read)",
        HANDOVER_ID,
        f"python -m conformance repro {HANDOVER}",
        "~ 1 deviation: see the page",
    ):
        assert told in text


def test_the_process_that_died_is_told_loudly() -> None:
    """With the last words and the frame of the library; on input that the protocol forbids nothing is demanded."""
    text = " ".join(shown(Subject(SMALL)).split())
    assert "! CuPy crashes while it imports a negative rank. the process crashed; new" in text
    assert "No clause applies, because the protocol forbids the input." in text
    assert "Last message of the runtime: terminate called after throwing" in text
    assert "Innermost frame of a library: libnvcv_types.so.0: nvcv::Tensor::Tensor" in text


def test_a_failure_of_nobody_known_stands_in_a_column_of_its_own() -> None:
    """No library of the exchange is red, and the finding is under no library's name."""
    run = made({"cu13-torch2.11": Told({HANDOVER: NOBODY})})
    (row,) = grid(run).rows
    fields = dict(zip(grid(run).libraries, row.fields))
    assert fields["unknown"] == ((Verdict.VIOLATES, 1),)
    assert {verdict for name in ("cupy", "torch") for verdict, _ in fields[name]} == {Verdict.CONFORMS}
    text = shown(Subject(run))
    assert text.startswith("1 finding: 1 new; 1 of them accuses no known library")
    assert "\nUnknown library\n" in re.sub(" +\n", "\n", text)


def test_a_clean_run_is_short() -> None:
    """And says that nothing is missing."""
    text = shown(Subject(CLEAN))
    assert text.startswith("No violations\n")
    assert "Every planned case was tested and decided." in text


def test_where_nothing_was_tested_no_promise_is_kept() -> None:
    """The headline is never better than the run."""
    run = made({"cu13-torch2.11": Told(lifecycle="killed", reason="ended by SIGKILL")})
    assert shown(Subject(run)).startswith("Nothing was tested\n")


def test_the_reference_alone_is_nothing_tested(tmp_path: Path) -> None:
    """The rule holds for every report."""
    case = "pointer.values/reference-reference/dlpack/host/c-order/float32"
    run = coverage.believable(made({"cu13-torch2.11": Told(cases=(case,))}))
    assert shown(Subject(run)).startswith("Nothing was tested\n")
    assert "only the reference was tested" in markdown.markdown(Subject(run))
    assert elements(written(Subject(run), tmp_path), "cu13-torch2.11") == {"the cell as a whole": "error"}


def test_a_library_that_is_installed_and_was_not_tested_is_no_success_in_junit(tmp_path: Path) -> None:
    """An untested library is skipped with the reason; a library that is not installed is omitted."""
    absent = {"cupy": "installed, and cannot be loaded: ImportError: libc", "jax": "not installed (jax or jaxlib)"}
    root = written(Subject(made({"cu13-torch2.11": Told(absent=absent)})), tmp_path)
    found = elements(root, "cu13-torch2.11")
    assert found["the library cupy"] == "skipped"
    assert "the library jax" not in found


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
    """Parts that all cells have alike stand above the table; cells of other kinds of names keep them whole."""
    whole = grid(made({"cu13-py3.12-torch2.7": Told({BOOL: VIOLATION}), "cu13-py3.13-torch2.7": Told()}))
    assert (whole.common, [row.titles for row in whole.rows]) == ("cu13-torch2.7", [("py3.12",), ("py3.13",)])
    for names in (["smoke-12", "oldest-13"], ["cu13", "cu13-torch2.7"], ["cu13-torch2.7"]):
        whole = grid(made({name: Told() for name in names}))
        assert (whole.common, sorted(t for row in whole.rows for t in row.titles)) == ("", sorted(names))


def test_in_a_chain_only_the_accused_counts() -> None:
    """The libraries beside it did their part."""
    evidence = VIOLATION._replace(side="between", accused=("cvcuda",))
    whole = grid(made({"cu13": Told({CHAIN: evidence}, cases=(CHAIN, BOOL))}))
    assert dict(zip(whole.libraries, whole.rows[0].fields)) == {
        "cvcuda": ((Verdict.VIOLATES, 1), (Verdict.CONFORMS, 1)),
        "torch": ((Verdict.CONFORMS, 1),),
    }


# -- Markdown


def test_markdown_has_findings_holes_and_cases() -> None:
    """The headline first; findings by accused library before tables and before open cases."""
    text = markdown.markdown(Subject(SMALL))
    parts = ("# 2 findings in 2 libraries", "Not tested: this run", "### CV-CUDA", "### PyTorch", "### CuPy", "## Cells and libraries", "## Cases by verdict", "## Not decided", "## Lost")  # fmt: skip
    places = [text.index(told) for told in parts]
    assert places == sorted(places)
    for told in ("**the process crashed**; new", "seen in 2&#46;10&#46;0, 2&#46;11&#46;0", "Required: CAI-18", "<https://nvidia.github.io/numba-cuda/", "torch&#47;consumer&#47;not-ordered&#47;cai"):  # fmt: skip
        assert told in text


MARKUP = "a|b `c` <img> @torvalds #77 [x](http://y) *z* _u_ www.example.org"


def test_nothing_from_outside_is_markup_in_markdown() -> None:
    """No table is broken, nobody is mentioned, no element begins."""
    evil = VIOLATION._replace(reason=MARKUP, given=MARKUP, code="values-changed")
    text = markdown.markdown(Subject(made({"cu13-torch2.11": Told({BOOL: evil}, absent={"a|b": "@all"})})))
    for sign in ("a|b", "`c`", "<img>", "@torvalds", "#77", "[x]", "http:", "*z*", "_u_", "www.", "@all"):
        assert sign not in text
    assert text.count("a&#124;b &#96;c&#96; &#60;img&#62; &#64;torvalds") == 2


def test_markdown_is_never_larger_than_github_shows() -> None:
    """Nor anywhere near it, where nothing has to be left out."""
    words = Random(0)
    told = {
        f"cu13-torch2.{n}": Told({BOOL: UNDECIDED._replace(reason="".join(words.choices("abc<|@", k=300)))})
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
    assert re.search(r"\*\*\d+ more entries did not fit; index.html has all of them", text)


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
    """The element of each entry of a suite, by name."""
    (found,) = (one for one in root if one.get("name") == suite)
    return {case.get("name", ""): next((child.tag for child in case), "passes") for case in found.iter("testcase")}


def test_each_verdict_has_its_element(tmp_path: Path) -> None:
    """Deviations are no failures and no passes; what is not known is an error."""
    root = written(Subject(SMALL), tmp_path)
    first = elements(root, "cu12-torch2.10")
    assert (first[HANDOVER], first[BOOL], first["refused: 1 case"], first["conforms: 4 cases"]) == ("failure", "skipped", "skipped", "passes")  # fmt: skip
    last = elements(root, "cu13-torch2.11")
    assert Counter(last.values()) == {"failure": 1, "error": 2, "passes": 1}


def cases(root: ElementTree.Element, name: str) -> list[tuple[str, ElementTree.Element]]:
    """The entries with this name: whose each is, and what became of it."""
    return [(case.get("classname", ""), case[0]) for case in root.iter("testcase") if case.get("name") == name]


def test_an_innocent_library_never_fails(tmp_path: Path) -> None:
    """Every failure is under the name of the accused, with the code, the finding's id and its sentence."""
    root = written(Subject(SMALL), tmp_path)
    failed = {case.get("classname", "").partition(".")[0] for case in root.iter("testcase") if case.find("failure") is not None}  # fmt: skip
    assert failed == {"torch", "cvcuda"}
    for classname, element in cases(root, HANDOVER):
        assert (classname, element.tag, element.get("type")) == ("torch.ordering", "failure", "stale-read")
        assert f"[{HANDOVER_ID}]" in element.get("message", "")
        assert "PyTorch reads an imported array" in element.get("message", "")


def test_two_accused_libraries_have_an_entry_each(tmp_path: Path) -> None:
    """And a broken promise of nobody known is nobody's."""
    both = VIOLATION._replace(side="both", accused=("cupy", "torch"))
    root = written(Subject(made({"cu13-torch2.11": Told({HANDOVER: both})})), tmp_path)
    assert sorted(classname for classname, _ in cases(root, HANDOVER)) == ["cupy.ordering", "torch.ordering"]
    root = written(Subject(made({"cu13-torch2.11": Told({HANDOVER: NOBODY, VALUES: UNDECIDED})})), tmp_path)
    assert [classname for classname, _ in cases(root, HANDOVER)] == ["unknown.ordering"]
    assert [classname for classname, _ in cases(root, VALUES)] == ["nobody.pointer"]


def test_robustness_is_skipped_and_says_that_the_process_died(tmp_path: Path) -> None:
    """No promise is broken by a failure on input that the protocol forbids."""
    ((classname, element),) = cases(written(Subject(SMALL), tmp_path), RANK)
    assert (classname, element.tag, element.get("type")) == ("cupy.layout", "skipped", "crash")
    assert element.get("message", "").startswith("robustness, the process crashed: CuPy crashes")
    assert RANK_ID in element.get("message", "")


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
    """An entry for each finding, under its library, with its cells."""
    monkeypatch.setattr(junit, "MOST_ENTRIES", 3)
    root = written(Subject(SMALL), tmp_path)
    assert [suite.get("name") for suite in root] == ["cells", "cvcuda", "torch", "cupy", "nobody"]
    (case,) = next(suite for suite in root if suite.get("name") == "torch").iter("testcase")
    assert (case.get("classname"), case[0].get("type")) == ("torch.stale-read", "stale-read")
    assert "2 cases in 2 cells: cu12-torch2.10, cu13-torch2.11" in (case[0].text or "")
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
