"""A finding as a page for a library's tracker: what it says, what it leaves out, and what becomes of text from outside."""

from __future__ import annotations

import re
import signal
from dataclasses import replace
from pathlib import Path

import pytest

import conformance
from conformance.adapters.base import Device
from conformance.checks.catalogue import Case
from conformance.checks.codes import Code
from conformance.checks.outcomes import Outcome, Side
from conformance.execution.results import Result
from conformance.findings.model import Finding, Known, Status, Upstream
from conformance.protocols.clauses import Level, clause
from conformance.reports import finding_page
from conformance.reports.finding_page import Ran, last_lines, page, run_script, shortest
from conformance.repro.scripts import is_readable, script

from .samples import FACTS, ON_GPU, case, died, failed, found, only, plain

REVERSED = "an array with negative strides"
BY_HAND = case("reference", "torch", layout="reversed-step", dtype="float32")
"""Its script makes a capsule by hand."""
BY_NUMPY = case("numpy", "torch", layout="reversed-step", dtype="float32")
WITHOUT_SCRIPT = case("reference", "torch", invariant="lifetime.temporary", layout="reversed-step", dtype="float32")
CRASHES = [died(at, given=REVERSED) for at in (BY_HAND, BY_NUMPY)]
PLAIN = case("reference", "torch", layout="c-order", dtype="float32")


def written(results: list[Result], ran: Ran | None = None, **changes: object) -> str:
    """The page of the one finding that these results have."""
    return page(replace(only(results), **changes), results, FACTS, ran)  # type: ignore[arg-type]


def sections(text: str) -> dict[str, str]:
    """The text under each heading of the second level; what stands before them is under no name."""
    parts = re.split(r"^## (.*)\n", text, flags=re.MULTILINE)
    return dict(zip(["", *parts[1::2]], [part.strip() for part in parts[::2]]))


def table(text: str) -> dict[str, str]:
    """The rows of a table of two columns."""
    return dict(re.findall(r"^\| (\S[^|]*) \| (.*) \|$", text, flags=re.MULTILINE))


# -- what it says


def test_a_page_has_everything_that_a_tracker_asks_for() -> None:
    """The sentence, with what it was seen, what is demanded, what happened, a script, how far it goes, and what is known of it."""
    text = written([*CRASHES, plain(PLAIN)])
    assert text.startswith(f"# {only(CRASHES).sentence}\n\n| | |\n|---|---|\n")
    assert list(sections(text)) == ["", "Expected", "Seen", "Reproduce", "Extent", "Known relatives"]
    assert text.endswith("\n")
    assert not text.endswith("\n\n")


def test_its_head_says_what_it_is_about() -> None:
    """The library with its versions, the machine, what the verdict means, and the id that leads back to the run."""
    assert table(sections(written(CRASHES, known=None))[""]) == {
        "Library": "PyTorch (torch 2.11.0)",
        "On": "Python 3.12.1",
        "Verdict": "violates: a library breaks a must",
        "Found by": f"cuda-interop-conformance {conformance.__version__}, finding `{only(CRASHES).id}`",
    }


def test_partners_are_told_with_their_versions_where_the_smallest_case_has_one() -> None:
    """The reference is no library."""
    assert table(written([CRASHES[1]]))["With"] == "numpy 2.3.1"
    assert "With" not in table(written([CRASHES[0]]))


def test_a_machine_with_gpus_is_told_with_its_driver() -> None:
    """GPUs that are alike once."""
    text = page(only(CRASHES), CRASHES, ON_GPU)
    assert table(text)["On"] == "Python 3.12.1, Made-up GPU, driver 600.1, CUDA 13.9"


def test_what_is_expected_is_the_clause_as_it_binds_the_accused_side() -> None:
    """With the documents that it comes from; each clause of the cases once."""
    results = [
        failed(BY_HAND, cited="CAI-09", given=REVERSED),
        failed(BY_NUMPY, cited="DLP-21", given=REVERSED),
    ]
    first, sources, second, _ = sections(written(results))["Expected"].split("\n\n")
    assert first.startswith("CAI-09: A consumer should not refuse an array only because its `version` is newer")
    assert "A producer" not in first
    urls = ", ".join(f"<{url}>" for url in clause("CAI-09").urls)
    assert urls.startswith("<https://nvidia.github.io/numba-cuda/")
    assert sources == f"Clause CAI-09 of this suite summarizes: {clause('CAI-09').documents}, {urls}"
    assert second.startswith("DLP-21: ")
    assert second.endswith(", as we infer from the text.")


def test_a_death_is_a_violation_also_by_an_inferred_clause_and_says_so() -> None:
    """Otherwise the verdict and the words of the clause contradict each other."""
    why = "because the process ends."
    assert sections(written([replace(CRASHES[0], clause="DLP-21")]))["Expected"].endswith(why)
    assert why not in written([replace(CRASHES[0], clause="DLP-58")])
    assert why not in written([failed(BY_HAND, cited="DLP-21")])


def test_robustness_says_that_no_clause_demands_anything() -> None:
    """The suite's own input was illegal: a report that quoted a clause would be wrong."""
    crash = died(PLAIN, level=Level.ROBUSTNESS, given="a rank of -1")
    text = sections(written([crash]))
    assert text["Expected"].startswith("No clause applies, because the protocol forbids the input.")
    assert "Clause" not in text["Expected"]
    assert table(text[""])["Verdict"].startswith("robustness: a library fails on input that the protocol forbids")


def test_a_clause_of_another_version_of_the_suite_is_told_by_its_id() -> None:
    """The results may be newer than the suite that reads them."""
    assert sections(written([replace(CRASHES[0], clause="DLP-999")]))["Expected"] == "DLP-999"


def test_what_was_seen_is_the_smallest_case_with_its_evidence() -> None:
    """Last words and the like, each under a name that a stranger understands; what else was noted stays in the results."""
    notes = {
        "terminate": "terminate called after throwing",
        "frame": "libtorch.so: at::Tensor",
        "blame": "torch from the reference: out of order",
        "instead": "the default stream waits",
        "stderr": "a thousand lines",
    }
    text = sections(written([replace(CRASHES[0], attachments=notes)]))["Seen"]
    assert table(text) == {
        "Failure": "the process died of SIGSEGV while torch imported the array",
        "Expected": "a process that goes on",
        "Seen": "SIGSEGV",
        "Last message of the runtime": "terminate called after throwing",
        "Innermost frame of a library": "libtorch.so: at::Tensor",
        "Each side with the reference": "torch from the reference: out of order",
        "Ordered instead": "the default stream waits",
    }
    assert "a thousand lines" not in text


def test_why_a_library_is_accused_is_told_where_two_took_part() -> None:
    """With the reference on the other side there is nobody else."""
    result = failed(BY_NUMPY, why="numpy to the reference: pass; torch from the reference: fail (values-changed)")
    told = "How the accused side was determined: numpy to the reference: pass; torch from the reference: fail (values-changed)."
    assert told in sections(written([result]))["Seen"]
    assert "How the accused" not in written([failed(BY_HAND)])


# -- the script


def test_the_shortest_script_that_can_be_read_is_chosen() -> None:
    """A few lines with a second library convince sooner than a page that makes a capsule by hand."""
    assert script(BY_NUMPY).count("\n") < script(BY_HAND).count("\n")
    results = [*CRASHES, died(WITHOUT_SCRIPT, given=REVERSED)]
    for order in (results, results[::-1]):
        assert shortest(only(order), order).case == BY_NUMPY
    text = sections(written(results))["Reproduce"]
    assert text.startswith("```python\n#!/usr/bin/env python3\n")
    assert "numpy → torch" in text
    assert "# Seen      the process died of SIGSEGV" in text
    assert "# Seen with torch 2.11.0" in text


def test_a_case_that_shows_less_or_two_culprits_gives_no_script() -> None:
    """However short: the page is about the worst, and about one library."""
    weaker = failed(BY_NUMPY, level=Level.SHOULD)
    results = [failed(BY_HAND), weaker]
    assert shortest(only(results), results).case == BY_HAND
    both = failed(BY_NUMPY, Side.BOTH)
    results = [failed(BY_HAND), both]
    (mine,) = (one for one in found(results) if one.library == "torch")
    assert shortest(mine, results).case == BY_HAND


def test_without_a_script_that_can_be_read_the_command_for_one_is_told() -> None:
    """A bundle is too long for a tracker."""
    assert not is_readable(WITHOUT_SCRIPT)
    results = [died(WITHOUT_SCRIPT, given=REVERSED)]
    told = f"`python -m conformance repro {WITHOUT_SCRIPT.id}` prints a standalone script."
    assert sections(written(results))["Reproduce"] == told


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (1, "The script ends with exit code 1 and prints:"),
        (-signal.SIGABRT, "The script is killed by SIGABRT and prints:"),
        (-40, "The script is killed by signal 40 and prints:"),
    ],
)
def test_what_a_script_said_stands_below_it(code: int, told: str) -> None:
    """With how it ended."""
    text = sections(written(CRASHES, Ran(code, "expected: 1\nseen:     2\n")))["Reproduce"]
    assert text.endswith(f"```\n\n{told}\n\n```\nexpected: 1\nseen:     2\n```")


# -- how far it goes


def test_the_extent_counts_cases_and_names_partners_protocols_and_devices() -> None:
    """And lists the cases, so that somebody can run one."""
    by_cai = died(replace(BY_NUMPY, producer="cupy", protocol="cai", device=Device.CUDA), given=REVERSED)
    lines = sections(written([*CRASHES, by_cai]))["Extent"].splitlines()
    told = "3 cases with the reference, NumPy, CuPy: CUDA Array Interface on cuda, DLPack on host."
    who = "The reference is this suite's own producer and consumer."
    assert lines == [told, "", *(f"- `{one.case.id}`" for one in (*CRASHES, by_cai)), "", who]


def test_many_cases_are_counted() -> None:
    """Nobody reads a hundred ids."""
    results = [
        died(replace(BY_HAND, parameters=(*BY_HAND.parameters, ("n", str(n)))), given=REVERSED) for n in range(15)
    ]
    text = sections(written(results))["Extent"]
    assert text.count("- `pointer.values/") == 12
    assert "\n- and 3 more\n" in text


def test_inputs_with_which_the_same_checks_hold_are_told_as_not_affected() -> None:
    """For the accused library with the reference, so that nobody else's merit is told as its own."""
    results = [
        *CRASHES,
        plain(PLAIN),
        plain(case("reference", "torch", "cai", Device.CUDA, layout="c-order", dtype="float32")),
        plain(case("reference", "torch", layout="c-order", dtype="int8")),
        plain(case("reference", "torch", layout="broadcast-rows", dtype="float32"), Outcome.REFUSED),
        plain(case("reference", "numpy", layout="vector", dtype="int16")),
        plain(case("numpy", "torch", layout="vector", dtype="int32")),
        plain(case("torch", "reference", layout="vector", dtype="int64")),
        plain(case("reference", "torch", invariant="pointer.same-address", layout="vector", dtype="uint8")),
        plain(case("reference", "torch", layout="reversed-rows", dtype="float32")),
    ]
    text = sections(written(results))["Extent"]
    assert text.split("The same checks pass with:\n\n")[1].splitlines() == [
        "- an array of int8: DLPack on host",
        "- plain arrays: DLPack on host, CUDA Array Interface on cuda",
    ]


def test_what_only_an_invariant_knows_of_its_input_is_told_by_its_name() -> None:
    """Such an input is no plain array. Where the library fails on one of them, nobody knows what the others have in common."""

    def crafted(capsule: str, device: Device = Device.HOST) -> Case:
        return case(
            "reference", "torch", device=device, invariant="layout.impossible", layout="c-order", capsule=capsule
        )

    bad = died(crafted("negative-rank"), level=Level.ROBUSTNESS, given="a rank of -1")
    here, there = plain(crafted("huge-rank")), plain(crafted("huge-rank", Device.CUDA))
    text = sections(written([bad, here, there]))["Extent"]
    told = "- `layout.impossible`: DLPack on cuda"
    assert text.split("The same checks pass with:\n\n")[1].splitlines() == [told]
    assert "Not affected" not in written([bad, here])


def test_an_input_that_the_check_makes_special_is_no_plain_array() -> None:
    """By another protocol it is the same input that is not affected."""
    bad = failed(PLAIN, given="an array with odd strides")
    by_cai = plain(replace(PLAIN, protocol="cai"))
    text = sections(written([bad, by_cai]))["Extent"]
    told = "- the same input: CUDA Array Interface on host"
    assert text.split("The same checks pass with:\n\n")[1].splitlines() == [told]


def test_nothing_is_told_as_not_affected_where_nothing_was_seen_to_hold() -> None:
    """Silence would be a claim, too."""
    assert "Not affected" not in written(CRASHES)


# -- what is known


def known(upstream: Upstream, fixed_in: str = "", reference: str = "https://tracker.example/1") -> Known:
    """What is known upstream."""
    return Known("torch/*", upstream, reference, "An exception leaves a function.", fixed_in)


def test_a_known_fix_says_upgrade() -> None:
    """The page is for somebody who has the old version, and for no tracker."""
    text = sections(written(CRASHES, known=known(Upstream.FIXED, "2.14"), status=Status.FIXED))
    assert table(text[""])["Upstream"] == "fixed in 2.14: upgrade (https://tracker.example/1)"
    assert text["Known relatives"].startswith("- An exception leaves a function. (https://tracker.example/1)")


def test_a_fix_that_does_not_help_is_told_as_such() -> None:
    """The version is new enough, and the finding is there."""
    text = written(CRASHES, known=known(Upstream.FIXED, "2.10"), status=Status.NEW)
    assert table(text)["Upstream"] == "still present, although 2.10 is documented to fix it (https://tracker.example/1)"


def test_what_nobody_has_reported_has_no_relative_but_similar_bugs() -> None:
    """A place in somebody's source is no address, and its note is for the list of known causes."""
    unreported = known(Upstream.UNREPORTED, reference="torch/csrc/utils/tensor_numpy.cpp")
    text = sections(written(CRASHES, known=unreported, status=Status.NEW))
    assert table(text[""])["Upstream"] == "not found in a public tracker"
    assert "An exception leaves a function." not in text.get("Known relatives", "")


def test_similar_bugs_are_those_of_the_accused_library() -> None:
    """With address, year and what became of them; a few of them."""
    at = case("reference", "torch", invariant="lifetime.owner-released")
    relatives = sections(written([failed(at)], known=None))["Known relatives"].splitlines()
    assert 1 <= len(relatives) <= 4
    assert all(re.match(r"- \S+#\d+.*: .*\. \(20\d\d, .*\)$", line) for line in relatives)
    assert all("pytorch/pytorch#" in line for line in relatives)


# -- text from outside


EVIL = "a\x1b[31mred\u202etxet|cell\n\n# heading <img src=x> ![p](http://x) `code` \\| end\udc80"


@pytest.fixture
def hostile() -> str:
    """The page of a finding in which everything that comes from outside is an attack."""
    notes = {"terminate": EVIL, "frame": EVIL, "blame": EVIL}
    result = replace(
        failed(BY_NUMPY, given=EVIL, reason=EVIL, expected=EVIL, seen=EVIL, notes=notes, why=EVIL.split("\n")[0])
    )
    one: Finding = replace(only([result]), versions={EVIL: EVIL})
    return page(one, [result], FACTS, Ran(0, f"{EVIL}\n```\n# out of the block\n"))


def test_nothing_acts_instead_of_being_seen(hostile: str) -> None:
    """Escape sequences, marks of direction, halves of surrogate pairs: spelt out."""
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]", hostile)
    assert "\\u001b[31mred" in hostile
    hostile.encode()


def test_nothing_from_outside_makes_a_heading_a_row_or_an_image(hostile: str) -> None:
    """Outside of blocks of code."""
    prose = re.sub(r"^(`{3,})[^`]*\n.*?^\1$", "", hostile, flags=re.MULTILINE | re.DOTALL).replace("<!-- -->", "")
    headings = [line for line in prose.splitlines() if line.startswith("#")]
    assert [line[:3] for line in headings] == ["# P", *["## "] * (len(headings) - 1)]
    rows = [line for line in prose.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) for row in rows} == {3}
    assert not re.search(r"<(?!https:)(?!/?\w*>)", prose)
    assert "](http" not in prose
    assert "&lt;img src=x>" in prose
    assert "`code`" in prose


def test_what_a_script_says_does_not_end_its_block(hostile: str) -> None:
    """The fence is longer than any in it."""
    assert "\n````\n" in hostile
    assert "\n```\n# out of the block\n````\n" in hostile


# -- a script that is run


@pytest.mark.parametrize("linking", ["@octocat", "#1", "https://example.org/x", "www.example.org"])
def test_what_a_library_says_calls_nobody_into_the_tracker(linking: str) -> None:
    """A mention, an issue's number and an address are text there; in code they are text anyway."""
    text = written([replace(failed(PLAIN), seen=f"ask {linking} or `{linking}`")])
    (row,) = (line for line in text.splitlines() if line.startswith("| Seen |"))
    assert linking not in row.replace(f"`{linking}`", "")
    assert row.replace("<!-- -->", "") == f"| Seen | ask {linking} or `{linking}` |"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ('  File "/home/me/my-env/lib/python3.12/x.py", line 3', '  File "x.py", line 3'),
        ("/opt/a.b/lib+x/libc.so.6(abort+0x26)", "libc.so.6(abort+0x26)"),
        (
            "see https://docs.example.org/a/b.html and http://x/y",
            "see https://docs.example.org/a/b.html and http://x/y",
        ),
        ("PYTHONPATH=/srv/one/two:/srv/three", "PYTHONPATH=two:three"),
        ("and/or, 3/4, ./here/x.py, a / b, /", "and/or, 3/4, ./here/x.py, a / b, /"),
        ("in /tmp/conformance-script-1/script.py", "in script.py"),
    ],
)
def test_folders_of_this_machine_are_left_out(said: str, shown: str) -> None:
    """Files stay by their names, and addresses as they are."""
    assert last_lines(said.encode()) == shown


def test_only_the_end_of_a_long_output_is_shown() -> None:
    """Bytes that are no text are spelt out."""
    said = "".join(f"{number}\n" for number in range(100)).encode() + b"\xff\n"
    assert last_lines(said).splitlines() == [*map(str, range(61, 100)), "\\xff"]


def scripted(text: str, monkeypatch: pytest.MonkeyPatch) -> Ran:
    """What comes of a script with this text."""
    monkeypatch.setattr(finding_page, "script", lambda at, result, versions: text)
    return run_script(CRASHES[1], {"torch": "2.11.0"})


def test_a_script_is_run_in_a_fresh_interpreter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In an empty folder; both streams are kept, in their order, with its exit code."""
    text = """import os, sys
print(sorted(os.listdir()), __file__)
print("trouble", file=sys.stderr)
print(sys.stdin.read() == "")
sys.exit(3)
"""
    monkeypatch.chdir(tmp_path)
    ran = scripted(text, monkeypatch)
    assert (ran.code, ran.said) == (3, "['script.py'] script.py\ntrouble\nTrue")
    assert list(tmp_path.iterdir()) == []


def test_a_script_that_dies_is_told_with_its_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    """As ``subprocess`` has it."""
    ran = scripted("import os\nprint('before')\nos.abort()\n", monkeypatch)
    assert (ran.code, ran.said, ran.end) == (-signal.SIGABRT, "before", "is killed by SIGABRT")


def test_a_script_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what it had said until then."""
    monkeypatch.setattr(finding_page, "_SECONDS", 1.0)
    ran = scripted("import time\nprint('before')\ntime.sleep(60)\n", monkeypatch)
    assert (ran.code, ran.said) == (124, "before\n\nstopped after 1 s")


def test_a_finding_of_no_known_library_has_a_page_all_the_same() -> None:
    """Nothing is told of versions that nobody knows."""
    text = written([failed(BY_NUMPY, Side.UNKNOWN, code=Code.SHAPE_CHANGED)])
    assert text.startswith("# One of the libraries ")
    assert table(text)["Library"] == "One of the libraries (unknown version)"
    assert "Not affected" not in text
