"""What a person sees in a terminal."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import pytest

from conformance.adapters.base import Device
from conformance.execution.environment import Facts
from conformance.execution.ledger import Status
from conformance.execution.results import Result
from conformance.execution.supervisor import Run
from conformance.protocols.clauses import Level
from conformance.report import terminal
from conformance.suite.catalogue import Case
from conformance.suite.libraries import Environment, Library
from conformance.suite.outcomes import Outcome

FACTS = Facts(
    Environment((Library("cupy", {}, absent="not installed (cupy)"),)), {"available": False, "reason": "none"}
)


def result(
    outcome: Outcome, layout: str = "c-order", level: Level = Level.MUST, consumer: str = "torch", reason: str = "why"
) -> Result:
    """A result of NumPy to somebody."""
    case = Case("pointer.values", "numpy", consumer, "dlpack", Device.HOST, (("layout", layout),))
    return Result(case, outcome, level, ("DLP-43",), reason, "this", "that")


def summary(*results: Result, verbose: bool = False, width: int = 100) -> str:
    """The whole summary as plain text."""
    stream = io.StringIO()
    screen = terminal.Screen(stream, width, colours=False)
    terminal.summarize(screen, Run(results, 1.5), FACTS, Path("there"), verbose=verbose)
    return stream.getvalue()


def test_a_cell_shows_what_is_wrong_first_and_the_rest_below() -> None:
    """Violations above, passes and refusals in the second line."""
    text = summary(result(Outcome.FAIL), result(Outcome.PASS, "vector"), result(Outcome.REFUSED, "cube"))
    rows = [line.split() for line in text.splitlines()]
    assert ["numpy", "✗1"] in rows
    assert ["✓1", "∅1"] in rows


def test_a_cell_without_anything_wrong_is_one_line() -> None:
    """A tick and a count."""
    text = summary(result(Outcome.PASS), result(Outcome.PASS, "vector"))
    assert ["numpy", "✓2"] in [line.split() for line in text.splitlines()]
    assert "nothing is violated" in text


def test_a_chain_is_no_exchange_of_those_at_its_ends() -> None:
    """It stands below the table, and its violation names all three."""
    case = Case("pointer.chain", "torch", "torch", "dlpack", Device.HOST, (("via", "jax"),))
    text = summary(Result(case, Outcome.CRASH, Level.MUST, ("DLP-43",), "SIGSEGV", "a living process", "SIGSEGV"))
    assert "chains of three  ✗1" in text
    assert "✗ pointer.chain: torch → jax → torch, DLPack on host" in text
    assert not [line for line in text.splitlines() if line.split() == ["torch", "✗1"]]


def test_alike_violations_are_told_once_with_the_others_named() -> None:
    """The first in full, the rest by their parameters."""
    text = summary(
        *(result(Outcome.FAIL, name, reason=f"off by {n}") for n, name in enumerate(("vector", "cube", "rows")))
    )
    assert text.count("Promised:") == 1
    assert "also numpy-torch/dlpack/host/cube, numpy-torch/dlpack/host/rows" in " ".join(text.split())
    assert "Violations (3 cases, 1 kind)" in text


def test_a_crash_is_a_violation_whatever_the_level() -> None:
    """Dying is never a deviation."""
    assert "1 case in violation" in summary(result(Outcome.CRASH, level=Level.OBSERVED))


@pytest.mark.parametrize(("level", "heading"), [(Level.SHOULD, "Deviations"), (Level.MUST, "Violations")])
def test_a_failure_is_called_by_its_level(level: Level, heading: str) -> None:
    """A recommendation that is not followed is no violation."""
    assert heading in summary(result(Outcome.FAIL, level=level))


def test_what_could_not_be_decided_is_shown_with_its_reason() -> None:
    """Not run is never pass."""
    text = summary(result(Outcome.INCONCLUSIVE, reason="the latch ran out"))
    assert "Not decided (1)" in text
    assert "the latch ran out" in text


def test_a_run_that_lost_cases_does_not_say_that_nothing_is_violated() -> None:
    """And says where to look."""
    text = summary(result(Outcome.LOST))
    assert "without an outcome" in text
    assert "see there" in text
    assert "nothing is violated" not in text


def test_refusals_and_observations_are_listed_on_request() -> None:
    """Counted in the table, told in full with --verbose."""
    results = (result(Outcome.REFUSED, reason="torch refused"), result(Outcome.FAIL, "cube", Level.OBSERVED))
    assert "torch refused" not in summary(*results)
    assert "torch refused" in summary(*results, verbose=True)
    assert "Observations" in summary(*results, verbose=True)


def test_a_wide_table_is_folded_to_the_screen() -> None:
    """No line of a table is wider than the screen."""
    results = [result(Outcome.PASS, consumer=f"library{n}") for n in range(12)]
    table = summary(*results, width=60).split("✓ conforms")[0]
    assert max(len(line) for line in table.splitlines()) <= 60
    assert all(f"library{n}" in table for n in range(12))


def test_absent_libraries_are_named_before_anything_runs() -> None:
    """With the reason."""
    stream = io.StringIO()
    terminal.announce(terminal.Screen(stream, 100, colours=False), FACTS, 5, 2, Path("there"))
    assert "cupy         not tested: not installed (cupy)" in stream.getvalue()


def test_progress_into_a_file_is_a_line_for_every_tenth() -> None:
    """Not one for every case."""
    stream = io.StringIO()
    progress = terminal.Progress(stream)
    for done in range(1001):
        progress.update(Status(1000, Counter(conforms=done), "x"))
    assert len(stream.getvalue().splitlines()) == 11


def handed_over(consumer: str, how: str, seen: str, outcome: Outcome = Outcome.PASS) -> Result:
    """What one hand-over from CuPy was seen to wait for."""
    parameters = (("how", how), ("reader", "stream"))
    case = Case("ordering.cost", "cupy", consumer, "cai", Device.CUDA, parameters)
    return Result(case, outcome, Level.OBSERVED, attachments={"seen": seen} if seen else {})


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
    title = next(n for n, line in enumerate(lines) if line.startswith("What waits at hand-over: CUDA Array Interface"))
    assert [line.split() for line in lines[title + 1 : title + 4]] == [
        ["torch", "cvcuda", "pycuda"],
        ["cupy", "event", "device", "gil", "∅"],
        ["(none)"],
    ]


def test_blame_is_told_with_the_violation() -> None:
    """Who was tried with whom, and what came of it."""
    bad = Result(
        result(Outcome.FAIL).case,
        Outcome.FAIL,
        Level.MUST,
        ("DLP-33",),
        "too early",
        "new",
        "old",
        attachments={"blame": "cupy with the reference: in order", "instead": "the default stream waits"},
    )
    text = summary(bad)
    assert "Blame: cupy with the reference: in order" in text
    assert "Instead: the default stream waits" in text
