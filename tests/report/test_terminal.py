"""What a person sees in a terminal: findings first, then the tables, what is not decided, and the sum."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from conformance.adapters.base import Device
from conformance.checks.catalogue import Case
from conformance.checks.codes import Code
from conformance.checks.libraries import Environment, Library
from conformance.checks.outcomes import Outcome, Side
from conformance.execution.environment import Facts
from conformance.execution.ledger import Status
from conformance.execution.machine import Processes
from conformance.execution.results import Attempt, Result, Where
from conformance.execution.supervisor import Run
from conformance.findings.presentation import SIDES_LEGEND
from conformance.protocols.clauses import Level
from conformance.reports import check_terminal
from conformance.verdict import LEGEND, Verdict

from .samples import FACTS, LIBRARIES, case, died, failed, found, only, plain

WIDE = 200
"""So wide that no sentence is folded."""
KEPT = plain(case(layout="c-order"))


def summary(*results: Result, verbose: bool = False, width: int = WIDE, facts: Facts = FACTS) -> str:
    """The whole summary as plain text."""
    stream = io.StringIO()
    screen = check_terminal.Screen(stream, width, colours=False)
    run = Run(results, 1.5)
    check_terminal.summarize(screen, run, facts, found(results, facts), Path("there"), verbose=verbose)
    return stream.getvalue()


def rows(text: str) -> list[list[str]]:
    """Every line by its words."""
    return [line.split() for line in text.splitlines()]


# -- findings


def test_a_finding_is_told_in_a_sentence_under_the_accused_library() -> None:
    """With versions, what is known upstream, how many cases and with whom, and the id to go on with; once for all its cases."""
    results = [failed(case(layout=name)) for name in ("c-order", "vector", "cube")]
    one, text = only(results), summary(*results)
    assert [line.rstrip() for line in text.splitlines()[:5]] == [
        "1 finding in 1 library: 1 new",
        "  PyTorch  torch 2.11.0",
        f"    ✗ {one.sentence}",
        "      new; 3 cases with numpy",
        f"      {one.id}",
    ]
    assert "`python -m conformance finding ID --results there` prints a report" in " ".join(text.split())


def test_findings_come_before_the_tables() -> None:
    """They are what a run is for; then come the tables, what is not decided, and the sum."""
    undecided = plain(case(layout="cube"), Outcome.INCONCLUSIVE, "the latch ran out")
    text = summary(failed(case()), undecided)
    parts = ["1 finding in", "DLPack on host", LEGEND, "Not decided (1)", "2 cases in 1.5 s", "everything is in there"]
    assert sorted(parts, key=text.index) == parts


def test_cases_are_listed_on_request() -> None:
    """Everything alike is one finding; its cases are many."""
    results = [failed(case(layout=name)) for name in ("c-order", "vector", "cube")]
    assert results[2].case.id not in summary(*results)
    assert all(f"        {one.case.id}\n" in summary(*results, verbose=True) for one in results)


def test_a_case_of_two_accused_stands_under_each() -> None:
    """Either has done wrong."""
    text = summary(failed(case("cupy", "torch"), Side.BOTH))
    assert text.count("    ✗ ") == 2
    assert "2 findings in 2 libraries: 2 new" in text


def test_a_failure_of_which_nobody_knows_whose_it_is_comes_last() -> None:
    """No library is named for it."""
    text = summary(failed(case(), Side.UNKNOWN), failed(case("reference", "torch")), died(case("torch", "numpy")))
    titles = [line.strip() for line in text.splitlines() if line.startswith("  ") and not line.startswith("   ")]
    assert titles[:3] == ["NumPy  numpy 2.3.1", "PyTorch  torch 2.11.0", "One of the libraries"]
    assert "1 of them accuses no known library" in text


@pytest.mark.parametrize(("level", "word"), [(Level.SHOULD, "1 deviation"), (Level.ROBUSTNESS, "1 about robustness")])
def test_what_breaks_no_promise_is_counted_apart(level: Level, word: str) -> None:
    """A recommendation that is not followed is no broken promise, nor is what comes of illegal input."""
    text = summary(failed(case(), level=level))
    assert text.startswith(f"no violations; {word}\n")
    assert f"PASS: no violations ({word}); everything is in there" in text


def test_deviations_are_shown_on_request() -> None:
    """They would hide what is worse; their number is told. Robustness is always shown."""
    deviating = failed(case(), level=Level.SHOULD)
    breaking = failed(case("torch", "numpy"))
    illegal = died(case("reference", "numpy", layout="cube"), level=Level.ROBUSTNESS, given="a rank of -1")
    results = (deviating, breaking, illegal)
    sentences = {one.verdict: one.sentence for one in found(results)}
    text = summary(*results)
    assert f"~ {sentences[Verdict.DEVIATES]}" not in text
    assert "    ~ 1 deviation; --verbose shows them\n" in text
    assert f"    ! {sentences[Verdict.ROBUSTNESS]}\n" in text
    assert f"    ✗ {sentences[Verdict.VIOLATES]}\n" in text
    assert f"    ~ {sentences[Verdict.DEVIATES]}\n" in summary(*results, verbose=True)
    assert "--verbose shows them" not in summary(*results, verbose=True)


def test_what_is_known_upstream_is_told_with_the_finding() -> None:
    """Where it is fixed already, the reader only has to upgrade."""
    crash = died(case("numpy", "torch", layout="reversed"), given="an array with negative strides")
    assert only([crash]).known is not None
    assert "fixed in 2.14: upgrade; 1 case with numpy" in summary(crash)
    assert "1 finding in 1 library: 1 fixed in a newer release" in summary(crash)


def test_a_run_without_findings_has_no_such_part() -> None:
    """It begins with the tables."""
    assert summary(KEPT).startswith("DLPack on host")
    assert "PASS: no violations; everything is in there" in summary(KEPT)


def test_a_long_sentence_is_folded_to_the_screen() -> None:
    """With what follows indented."""
    text = summary(failed(case(), given="a tensor in a state with a very long name " * 3), width=60)
    told = text.split("DLPack on host")[0].splitlines()
    assert max(len(line) for line in told if "/" not in line) <= 60


# -- tables


def test_a_cell_shows_what_is_wrong_first_and_the_rest_below() -> None:
    """Failures above with the accused side, passes and refusals in the second line."""
    text = summary(failed(case()), plain(case(layout="vector")), plain(case(layout="cube"), Outcome.REFUSED))
    assert ["numpy", "✗1c"] in rows(text)
    assert ["✓1", "∅1"] in rows(text)


@pytest.mark.parametrize(
    ("side", "cell"),
    [
        (Side.PRODUCER, "✗1p"),
        (Side.CONSUMER, "✗1c"),
        (Side.BOTH, "✗1b"),
        (Side.NEITHER, "✗1"),
        (Side.UNKNOWN, "✗1"),
    ],
)
def test_a_number_of_failures_has_the_letter_of_the_accused_side(side: Side, cell: str) -> None:
    """And none where neither is accused, or nobody knows; a legend says so."""
    text = summary(failed(case(), side))
    assert ["numpy", cell] in rows(text)
    assert SIDES_LEGEND in text


def test_each_side_is_counted_apart_worst_verdict_first() -> None:
    """A reader of a column sees at once whether its library has done anything."""
    at = iter(case(layout=str(number)) for number in range(99))
    results = [
        *(failed(next(at), Side.PRODUCER) for _ in range(2)),
        *(failed(next(at), Side.CONSUMER) for _ in range(4)),
        failed(next(at), Side.BOTH),
        failed(next(at), Side.UNKNOWN),
        failed(next(at), Side.CONSUMER, level=Level.ROBUSTNESS),
        failed(next(at), Side.PRODUCER, level=Level.SHOULD),
        plain(next(at), Outcome.INCONCLUSIVE),
        plain(next(at), Outcome.LOST),
        *(plain(next(at)) for _ in range(3)),
        failed(next(at), Side.NEITHER, level=Level.OBSERVED),
    ]
    text = summary(*results)
    assert ["numpy", "✗2p", "✗4c", "✗1b", "✗1", "!1c", "~1p", "?1", "○1"] in rows(text)
    assert ["✓3", "i1"] in rows(text)


@pytest.mark.parametrize("outcome", [Outcome.PASS, Outcome.REFUSED, Outcome.INCONCLUSIVE, Outcome.LOST])
def test_an_innocent_side_carries_no_letter(outcome: Outcome) -> None:
    """Only what speaks against somebody accuses; an observation does not, whatever it was told with."""
    symbol = plain(case(), outcome).verdict.symbol
    assert ["numpy", f"{symbol}1"] in rows(summary(plain(case(), outcome)))
    assert ["numpy", "i1"] in rows(summary(failed(case(), Side.NEITHER, level=Level.OBSERVED)))


def test_a_producer_whose_dictionary_the_suite_writes_is_named_for_what_it_is() -> None:
    """CUDA Python has no array of its own by the array interface; its users write the class."""
    told = "cuda_python as producer of the CUDA Array Interface: the class around an allocation"
    assert told in summary(plain(case("cuda_python", "torch", "cai", Device.CUDA)))
    assert told not in summary(
        plain(case("cuda_python", "torch", "dlpack", Device.CUDA)), plain(case("torch", "numpy"))
    )


def test_a_cell_without_anything_wrong_is_one_line() -> None:
    """A tick and a count."""
    text = summary(plain(case()), plain(case(layout="vector")))
    assert ["numpy", "✓2"] in rows(text)
    assert "PASS: no violations" in text


def test_a_chain_is_no_exchange_of_those_at_its_ends() -> None:
    """It stands below the table; the one between has no letter, and its finding names it."""
    chain = Case("pointer.chain", "torch", "torch", "dlpack", Device.HOST, (("via", "numpy"),))
    text = summary(died(chain, Side.BETWEEN), verbose=True)
    assert "chains of three  ✗1\n" in text
    assert "  NumPy  numpy 2.3.1\n" in text
    assert "        pointer.chain/torch-numpy-torch/dlpack/host\n" in text
    assert ["torch", "✗1"] not in rows(text)


def test_a_wide_table_is_folded_to_the_screen() -> None:
    """No line of a table is wider than the screen."""
    results = [plain(case(consumer=f"library{n}")) for n in range(12)]
    table = summary(*results, width=60).split(LEGEND[:20])[0]
    assert max(len(line) for line in table.splitlines()) <= 60
    assert all(f"library{n}" in table for n in range(12))


def handed_over(consumer: str, how: str, seen: str, outcome: Outcome = Outcome.PASS) -> Result:
    """What one hand-over from CuPy was seen to wait for."""
    at = Case("ordering.cost", "cupy", consumer, "cai", Device.CUDA, (("how", how), ("reader", "stream")))
    return Result(at, outcome, Level.OBSERVED, attachments={"seen": seen} if seen else {})


def test_what_waits_is_a_table_of_its_own() -> None:
    """A word for each pair; in brackets what differs outside of the producer's stream context."""
    text = summary(
        handed_over("torch", "inside", "event-wait, in order"),
        handed_over("torch", "outside", "none, out of order"),
        handed_over("cvcuda", "inside", "device-sync with the GIL held, in order"),
        handed_over("cvcuda", "outside", "device-sync with the GIL held, in order"),
        handed_over("pycuda", "inside", "", Outcome.REFUSED),
    )
    lines = text.splitlines()
    title = next(
        n for n, line in enumerate(lines) if line.startswith("Synchronization at hand-over: CUDA Array Interface")
    )
    assert [line.split() for line in lines[title + 1 : title + 4]] == [
        ["torch", "cvcuda", "pycuda"],
        ["cupy", "event", "device", "gil", "∅"],
        ["(none)"],
    ]


# -- what is not decided, and what is told on request


def test_what_could_not_be_decided_is_shown_with_its_reason() -> None:
    """Not run is never pass. What differs in numbers only is told once."""
    results = [plain(case(layout=str(n)), Outcome.INCONCLUSIVE, f"the latch ran out after {n} ms") for n in range(3)]
    text = summary(*results)
    assert "Not decided (3)\n" in text
    assert f"  ? {results[0].case.id} (and 2 like it)\n      inconclusive: the latch ran out after 0 ms\n" in text


def test_refusals_and_observations_are_listed_on_request() -> None:
    """Counted in the table, told in full with --verbose."""
    refused = plain(case(), Outcome.REFUSED, "torch refused")
    observed = failed(case(layout="cube"), Side.NEITHER, level=Level.OBSERVED, reason="it copies")
    results = (refused, observed)
    assert "torch refused" not in summary(*results)
    assert "it copies" not in summary(*results)
    text = summary(*results, verbose=True)
    assert "Refusals (1)\n  ∅ 1× numpy → torch, dlpack on host: torch refused\n" in text
    assert "Observations, informational: no clause applies (1)\n" in text
    assert "      it copies; expected this; saw that\n" in text


def test_an_observation_is_no_finding() -> None:
    """No clause demands anything, so nobody is accused."""
    text = summary(failed(case(), Side.NEITHER, level=Level.OBSERVED), verbose=True)
    assert "Findings" not in text
    assert "PASS: no violations; everything" in text


# -- the sum


@pytest.mark.parametrize("level", [Level.MUST, Level.SHOULD, Level.OBSERVED])
def test_a_crash_breaks_a_promise_whatever_the_level(level: Level) -> None:
    """Dying is never a deviation."""
    assert "1 finding in 1 library: 1 new; everything is in there" in summary(died(case(), level=level))


def test_a_crash_on_illegal_input_breaks_none() -> None:
    """The suite has made what the protocol forbids."""
    text = summary(died(case(), level=Level.ROBUSTNESS, given="a rank of -1"))
    assert "PASS: no violations (1 about robustness); everything" in text


def test_the_sum_counts_cases_by_outcome() -> None:
    """The most frequent first."""
    text = summary(failed(case()), KEPT, plain(case(layout="cube")), plain(case(layout="vector"), Outcome.REFUSED))
    assert "4 cases in 1.5 s: 2 pass, 1 fail, 1 refused\n" in text


@pytest.mark.parametrize("others", [(), (KEPT,), (failed(case(layout="vector"), level=Level.SHOULD),)])
def test_a_run_that_lost_cases_does_not_say_that_no_promise_is_broken(others: Sequence[Result]) -> None:
    """And says where to look."""
    text = summary(plain(case(), Outcome.LOST), *others)
    assert "1 planned case without a result: this run proves nothing about them; see there" in text
    assert "PASS" not in text


def test_a_run_that_lost_cases_tells_what_it_has_found_all_the_same() -> None:
    """A broken promise is one, whatever else was not run."""
    text = summary(plain(case(layout="cube"), Outcome.LOST), failed(case()))
    assert "1 planned case without a result" in text
    assert text.rstrip().endswith("1 finding in 1 library: 1 new; everything is in there")


def test_a_library_that_is_not_tested_makes_no_run_a_good_one() -> None:
    """It is told with what is not so, before the findings, and again at the end."""
    lying = Library.not_trusted("stripes", {"stripes": "1"}, "it says that its arrays are packed, but they are not")
    text = summary(KEPT, facts=replace(FACTS, environment=Environment((*LIBRARIES, lying))))
    assert text.startswith(f"  ✗ stripes      not tested: {lying.absent}\n")
    assert f"1 installed library was not tested: stripes ({lying.absent}); repair" in " ".join(text.split())
    assert "PASS" not in text


def canary(outcome: Outcome) -> Result:
    """The one that was built to crash."""
    return plain(Case("canary.crashes", "reference", "reference", "dlpack", Device.HOST), outcome, "SIGSEGV")


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (Outcome.CRASH, "all 1 canaries ended as expected"),
        (Outcome.LOST, "1 of 1 canaries have not ended yet"),
        (Outcome.PASS, "1 of 1 canary did not end as expected: this run is void; ignore all results above"),
    ],
)
def test_canaries_are_told_at_the_end_and_are_no_findings(outcome: Outcome, told: str) -> None:
    """They say whether the run itself can be believed."""
    text = summary(KEPT, canary(outcome))
    assert text.rstrip().endswith(told)
    assert "Findings" not in text
    assert "1 case in 1.5 s: 1 pass\n" in text


# -- before and meanwhile


def test_absent_libraries_are_named_before_anything_runs() -> None:
    """With the reason."""
    stream = io.StringIO()
    check_terminal.announce(check_terminal.Screen(stream, 100, colours=False), FACTS, 5, Processes(2), Path("there"))
    assert "cupy         not tested: not installed (cupy)" in stream.getvalue()


def test_progress_into_a_file_is_a_line_for_every_tenth() -> None:
    """Not one for every case."""
    stream = io.StringIO()
    progress = check_terminal.RunProgress(stream)
    for done in range(1001):
        progress.update(Status(1000, Counter(conforms=done), "x"))
    assert len(stream.getvalue().splitlines()) == 11


def test_progress_counts_by_verdict_worst_first() -> None:
    """By its symbol; canaries are done and count for no library."""
    stream = io.StringIO()
    counts = Counter({"conforms": 5, "violates": 2, "robustness": 1, "not decided": 1, "canary": 1})
    check_terminal.RunProgress(stream).update(Status(10, counts, "x"))
    assert stream.getvalue() == "10/10 cases  ✗ 2  ! 1  ? 1  ✓ 5\n"


def test_a_code_of_a_newer_suite_is_told_all_the_same() -> None:
    """Without words for it; nothing is left out of a report."""
    newer = replace(failed(case()), code="brand-new")
    text = summary(newer, failed(case(layout="cube"), code=Code.SHAPE_CHANGED))
    assert "PyTorch fails with a code that this version of the suite does not know." in text
    assert "2 findings in 1 library: 2 new" in text


@pytest.mark.parametrize(
    ("left", "told"), [(None, ""), (4.0, "  10 s left"), (47.0, "  50 s left"), (300.0, "  5 min left")]
)
def test_progress_tells_the_time_to_the_end(left: float | None, told: str) -> None:
    """An estimate is no better than that."""
    stream = io.StringIO()
    check_terminal.RunProgress(stream).update(Status(10, Counter(conforms=1), "x", left))
    assert stream.getvalue() == f"1/10 cases  ✓ 1{told}\n"


def test_the_quick_tier_on_a_gpu_is_shown_before_the_full_one() -> None:
    """On host memory alone a run is short."""
    shown = {}
    for device in (Device.HOST, Device.CUDA):
        stream = io.StringIO()
        result = plain(replace(case(), device=device))
        check_terminal.preview(check_terminal.Screen(stream, WIDE, colours=False), FACTS, [result])
        shown[device] = stream.getvalue()
    assert shown[Device.HOST] == ""
    assert "Quick tier: 1 case. The full tier follows." in shown[Device.CUDA]
    assert "DLPack on cuda" in shown[Device.CUDA]


def test_a_crash_that_nobody_can_explain_makes_no_run_a_good_one() -> None:
    """A library may have damaged memory, and no case shows which."""
    tries = (Attempt(Where.COMPANY, Outcome.CRASH, "died", ("another",)), Attempt(Where.ALONE, Outcome.PASS, ""))
    text = summary(replace(plain(case(), Outcome.INCONCLUSIVE, "crash in company"), attempts=tries))
    assert (
        "1 case crashed after other cases but not alone, and the suite could not find the case that causes it" in text
    )
    assert "PASS" not in text
