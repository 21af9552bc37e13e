"""Result of one case: its verdict, the combination of two tries, and its files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conformance.adapters.base import Device
from conformance.checks.catalogue import Case, catalogue
from conformance.checks.outcomes import Outcome, Side
from conformance.checks.steps import Doing, Step
from conformance.execution import results
from conformance.execution.deaths import died
from conformance.execution.results import Accused, Attempt, Result, Where, put_together
from conformance.files import Unreadable
from conformance.protocols.clauses import Level, Role

CASE = Case("pointer.values", "numpy", "reference", "dlpack", Device.HOST, (("layout", "rows"),))
FULL = Result(
    CASE,
    Outcome.FAIL,
    Level.SHOULD,
    code="dlpack-not-aligned",
    clause="DLP-46",
    role=Role.PRODUCER,
    given="strided rows",
    step="export",
    accused=Accused(Side.PRODUCER, ("numpy",), "the other side is the reference"),
    reason="not aligned",
    expected="256",
    seen="64",
    duration=1.5,
    attachments={"stderr": "words"},
    attempts=(Attempt(Where.COMPANY, Outcome.CRASH, "SIGSEGV", ("a", "b")), Attempt(Where.ALONE, Outcome.FAIL, "no")),
)
CLEARED = (Outcome.PASS, Outcome.REFUSED)
ACCUSED = (Outcome.FAIL, Outcome.CRASH, Outcome.HANG, Outcome.POISONED)


def ended(outcome: Outcome, seconds: float = 0.0) -> Result:
    """A try that ended like this, with something to say about it."""
    return Result(
        CASE, outcome, Level.MUST, "values-differ", "DLP-59", Role.PRODUCER, reason=f"it was {outcome.value}",
        expected="good", seen="bad", duration=seconds, attachments={"of": outcome.value},
    )  # fmt: skip


@pytest.mark.parametrize("level", Level)
@pytest.mark.parametrize("outcome", Outcome)
def test_the_verdict_follows_from_the_outcome_and_a_failures_level(outcome: Outcome, level: Level) -> None:
    """A lost process is a violation unless the input was illegal. A case without an end accuses no library, and never counts as a pass."""
    failed = {
        Level.MUST: "violates",
        Level.SHOULD: "deviates",
        Level.OBSERVED: "observed",
        Level.ROBUSTNESS: "robustness",
    }
    dead = "robustness" if level is Level.ROBUSTNESS else "violates"
    verdicts = {
        Outcome.PASS: "conforms",
        Outcome.FAIL: failed[level],
        Outcome.REFUSED: "refused",
        Outcome.CRASH: dead,
        Outcome.HANG: dead,
        Outcome.POISONED: dead,
        Outcome.INCONCLUSIVE: "not decided",
        Outcome.SKIPPED: "not decided",
        Outcome.LOST: "lost",
    }
    assert Result(CASE, outcome, level).verdict.word == verdicts[outcome]


def test_a_result_is_written_in_full() -> None:
    """One record, under the names of the schema; the tier is the plan's."""
    written = FULL.to_json()
    case = CASE.to_json()
    assert "tier" not in written
    assert {name: written[name] for name in case.keys() - {"tier"}} == {n: v for n, v in case.items() if n != "tier"}
    assert {name: value for name, value in written.items() if name not in case} == {
        "family": "pointer",
        "outcome": "fail",
        "verdict": "deviates",
        "level": "should",
        "code": "dlpack-not-aligned",
        "clause": "DLP-46",
        "role": "producer",
        "given": "strided rows",
        "step": "export",
        "accused": {"side": "producer", "libraries": ["numpy"], "why": "the other side is the reference"},
        "reason": "not aligned",
        "expected": "256",
        "seen": "64",
        "duration": 1.5,
        "attachments": {"stderr": "words"},
        "attempts": [
            {"where": "in company", "outcome": "crash", "reason": "SIGSEGV", "after": ["a", "b"]},
            {"where": "alone", "outcome": "fail", "reason": "no", "after": []},
        ],
    }


def test_a_result_says_nothing_that_it_was_not_given() -> None:
    """No reason, no time, no tries."""
    bare = Result(CASE, Outcome.PASS, Level.MUST)
    assert (bare.code, bare.clause, bare.role, bare.given, bare.step, bare.accused) == ("", "", None, "", "", None)
    assert (bare.reason, bare.expected, bare.seen) == ("", "", "")
    assert (bare.duration, bare.attachments, bare.attempts) == (0.0, {}, ())


def test_a_result_reads_back_as_it_was() -> None:
    """A run that goes on knows everything about what came before."""
    for result in (FULL, Result(CASE, Outcome.PASS, Level.MUST)):
        assert Result.from_json(json.loads(json.dumps(result.to_json()))) == result


def test_the_family_is_what_stands_before_the_first_dot() -> None:
    """A name may have dots of its own."""
    assert Result(Case("a.b.c", "x", "y", "cai", Device.HOST), Outcome.PASS, Level.MUST).to_json()["family"] == "a"


def test_microseconds_are_exact_enough() -> None:
    """More would be noise in every line."""
    assert ended(Outcome.PASS, 1.23456789).to_json()["duration"] == 1.234568


def test_notes_lie_beside_what_a_result_has() -> None:
    """They replace nothing of it."""
    noted = FULL.beside({"seen": "event-wait", "stderr": "others"})
    assert noted.attachments == {"seen": "event-wait", "stderr": "words"}
    assert FULL.beside({}) is FULL


@pytest.mark.parametrize("bad", [Outcome.CRASH, Outcome.HANG, Outcome.POISONED])
def test_a_lost_process_violates_whatever_the_invariant_demands(bad: Outcome) -> None:
    """The clause binds the side at work. If the process ended by itself, the expectation is that it survives."""
    told, step = {"stderr": "words", "stdout": ""}, Step(Doing.EXPORT, given="strided rows")
    lost = died(CASE, catalogue()[CASE.invariant], step, bad, "SIGSEGV", seen="signal 11", attachments=told)
    assert (lost.outcome, lost.level, lost.verdict.word, lost.role) == (bad, Level.MUST, "violates", Role.PRODUCER)
    assert (lost.step, lost.given, lost.reason) == ("export", "strided rows", "SIGSEGV")
    assert (lost.expected, lost.seen, lost.attachments) == ("the process survives", "signal 11", {"stderr": "words"})
    assert lost.clause.startswith("DLP-")


def test_a_process_that_did_not_end_by_itself_was_not_seen_to_die() -> None:
    """Then there is nothing to expect otherwise."""
    hung = died(CASE, catalogue()[CASE.invariant], Step(), Outcome.HANG, "no end")
    assert (hung.expected, hung.seen, hung.attachments) == ("", "", {})


def test_no_clause_is_broken_where_the_suite_had_made_what_is_forbidden() -> None:
    """A library should survive it all the same."""
    lost = died(CASE, catalogue()[CASE.invariant], Step(Doing.IMPORT, illegal=True), Outcome.CRASH, "SIGSEGV")
    assert (lost.clause, lost.level, lost.verdict.word) == ("", Level.ROBUSTNESS, "robustness")


@pytest.mark.parametrize("alone", CLEARED)
@pytest.mark.parametrize("first", ACCUSED)
def test_what_does_not_show_again_alone_is_undecided(first: Outcome, alone: Outcome) -> None:
    """No pass and no accusation: no code and no clause. The result has both tries and the attachments of the first."""
    together = put_together(ended(first, 1.0), ("a",), Where.COMPANY, ended(alone, 2.0))
    assert together == Result(
        CASE,
        Outcome.INCONCLUSIVE,
        Level.MUST,
        reason=f"{first.value} in company (it was {first.value}), but {alone.value} alone",
        duration=3.0,
        attachments={"of": first.value},
        attempts=(
            Attempt(Where.COMPANY, first, f"it was {first.value}", ("a",)),
            Attempt(Where.ALONE, alone, f"it was {alone.value}"),
        ),
    )


@pytest.mark.parametrize("alone", Outcome)
@pytest.mark.parametrize("first", Outcome)
def test_of_two_tries_the_one_alone_counts(first: Outcome, alone: Outcome) -> None:
    """Unless it clears what the first had accused, or was lost; then a death stands, and a failure that could not be tried alone does not."""
    together = put_together(ended(first, 1.0), (), Where.RESTARTED, ended(alone, 2.0))
    assert (together.duration, together.attempts[0].where) == (3.0, Where.RESTARTED)
    if (first in ACCUSED and alone in CLEARED) or (first, alone) == (Outcome.FAIL, Outcome.LOST):
        assert together.outcome is Outcome.INCONCLUSIVE
        return
    counts = first if alone is Outcome.LOST else alone
    assert (together.outcome, together.reason) == (counts, f"it was {counts.value}")
    assert (together.expected, together.seen, together.attachments) == ("good", "bad", {"of": counts.value})
    assert [attempt.outcome for attempt in together.attempts] == [first, alone]


# -- files


def test_lines_are_written_as_they_are_and_read_back(tmp_path: Path) -> None:
    """Text of any language stays text; another file's lines do not."""
    path = tmp_path / "results.jsonl"
    path.write_text("old\n")
    results.write_lines(path, [{"a": "größer ✓"}, {"b": [1]}])
    assert path.read_text(encoding="utf-8") == '{"a": "größer ✓"}\n{"b": [1]}\n'
    assert list(results.read_lines(path)) == [{"a": "größer ✓"}, {"b": [1]}]
    assert list(tmp_path.iterdir()) == [path]


def test_half_a_surrogate_pair_is_written_and_read_back(tmp_path: Path) -> None:
    """An exception of a library may have one, and the other results are still written."""
    results.write_lines(tmp_path / "a.jsonl", [{"a": "é\ud800"}])
    assert (tmp_path / "a.jsonl").read_bytes() == b'{"a": "\xc3\xa9\\ud800"}\n'
    assert list(results.read_lines(tmp_path / "a.jsonl")) == [{"a": "é\ud800"}]


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    """The last line is unfinished, so its content is unknown."""
    path = tmp_path / "journal.jsonl"
    path.write_text('{"a": 1}\n{"b": 2}\n{"c"')
    assert list(results.read_lines(path)) == [{"a": 1}, {"b": 2}]
    path.write_text('{"a": 1}\n2')
    assert list(results.read_lines(path)) == [{"a": 1}]


@pytest.mark.parametrize("line", ["no JSON", "5", "NaN", "[" * 100_000])
def test_a_line_that_is_no_object_is_told(line: str, tmp_path: Path) -> None:
    """The error has the line number."""
    path = tmp_path / "jobs"
    path.write_text('{"a": 1}\n' + line + "\n")
    with pytest.raises(Unreadable, match=f"line 2 of {path} is no"):
        list(results.read_lines(path))


def test_a_file_that_is_not_there_has_no_lines(tmp_path: Path) -> None:
    """A run may end before its first."""
    assert list(results.read_lines(tmp_path / "none.jsonl")) == []
