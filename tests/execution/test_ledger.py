"""Results of a run in the ledger, and a journal that cannot be written."""

from __future__ import annotations

import errno
import os
import time
from collections import Counter
from pathlib import Path

import pytest

from conformance.adapters.base import Device
from conformance.checks.catalogue import Case
from conformance.checks.outcomes import Outcome
from conformance.execution import journal, ledger
from conformance.execution.journal import Event
from conformance.execution.ledger import Ledger, NoRoom
from conformance.execution.results import Result, read_lines
from conformance.protocols.clauses import Level


def case(invariant: str, layout: str = "rows") -> Case:
    """A case on host memory."""
    return Case(invariant, "reference", "reference", "dlpack", Device.HOST, (("layout", layout),))


ONE, TWO, THREE = (case("pointer.values", layout) for layout in ("rows", "columns", "stepped"))
CANARY = case("canary.crashes")
FULL = OSError(errno.ENOSPC, "no room")


def opened(tmp_path: Path, known: tuple[Result, ...] = ()) -> Ledger:
    """A ledger of four cases of which these results are known."""
    return Ledger([ONE, TWO, THREE, CANARY], {r.case.id: r for r in known}, tmp_path / journal.FILE)


def passed(case: Case) -> Result:
    """The case's result."""
    return Result(case, Outcome.PASS, Level.MUST)


def test_what_has_no_result_is_left_and_would_be_lost(tmp_path: Path) -> None:
    """In the order of the plan, with the reason; what is known stays what it is."""
    book = opened(tmp_path, (passed(TWO),))
    book.take(passed(CANARY))
    assert book.left() == [ONE, THREE]
    why = "no result: no time"
    assert book.results("no time") == (
        Result(ONE, Outcome.LOST, Level.MUST, reason=why),
        passed(TWO),
        Result(THREE, Outcome.LOST, Level.MUST, reason=why),
        passed(CANARY),
    )


def test_the_status_counts_verdicts_of_before_and_of_now(tmp_path: Path) -> None:
    """Canaries apart: they say nothing about a library."""
    book = opened(tmp_path, (passed(ONE),))
    assert (book.status().planned, book.status().done, book.status().newest) == (4, 1, "")
    book.take(Result(TWO, Outcome.FAIL, Level.SHOULD))
    book.take(Result(THREE, Outcome.PASS, Level.MUST))
    assert book.status().newest == THREE.id
    book.take(Result(CANARY, Outcome.CRASH, Level.MUST))
    assert book.status().verdicts == Counter({"conforms": 2, "deviates": 1, "canary": 1})
    assert (book.status().done, book.status().newest, book.status("other").newest) == (4, CANARY.id, "other")


def test_cases_beside_the_plan_count_for_nothing_but_are_run_once(tmp_path: Path) -> None:
    """Trials determine the accused. A trial with an earlier result does not run again."""
    before, new = case("pointer.values", "trial"), case("pointer.values", "other trial")
    book = opened(tmp_path, (passed(ONE), passed(before)))
    book.add_trials([before, new])
    assert (book.decided, book.status().done, book.status().planned) == (1, 1, 4)
    assert book.left() == [TWO, THREE, CANARY, new]
    book.take(passed(new))
    assert (book.decided, book.status().done, book.left()) == (1, 1, [TWO, THREE, CANARY])
    assert [result.case for result in book.results("no time")] == [ONE, TWO, THREE, CANARY]


def test_a_failure_that_is_tried_again_is_left_and_counts_once(tmp_path: Path) -> None:
    """What it was counts until the second result is there; a trial is tried again, too."""
    failed, trial = (
        Result(ONE, Outcome.FAIL, Level.MUST),
        Result(case("pointer.values", "trial"), Outcome.FAIL, Level.MUST),
    )
    book = opened(tmp_path, (failed, trial, passed(TWO)))
    book.repeat([ONE, trial.case])
    assert book.left() == [ONE, THREE, CANARY, trial.case]
    assert book.again == {ONE.id: failed, trial.case.id: trial}
    assert book.status().done == 2
    book.take(Result(ONE, Outcome.INCONCLUSIVE, Level.MUST))
    book.take(trial)
    assert (book.left(), book.again) == ([THREE, CANARY], {})
    assert +book.status().verdicts == Counter({"not decided": 1, "conforms": 1})


def test_what_it_is_given_stays_the_givers(tmp_path: Path) -> None:
    """The results of before are looked at again by whoever read them."""
    known = {ONE.id: passed(ONE)}
    Ledger([ONE, TWO], known, tmp_path / journal.FILE).take(passed(TWO))
    assert list(known) == [ONE.id]


def test_an_event_is_noted_with_its_time_and_its_facts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In milliseconds; and it is told that there was room."""
    monkeypatch.setattr(time, "time", lambda: 1234.56789)
    book = opened(tmp_path)
    assert book.note(Event.TROUBLE, what="a worker ended") is True
    assert book.write({"event": "start", "case": ONE.id}) is True
    book.close()
    assert list(read_lines(tmp_path / journal.FILE)) == [
        {"event": "trouble", "at": 1234.568, "what": "a worker ended"},
        {"event": "start", "case": ONE.id},
    ]


def test_without_room_nothing_more_is_written_and_the_end_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the number of cases that are known, and what the disk said; a hole in the middle would be a lie."""
    book = opened(tmp_path, (passed(ONE), passed(TWO)))
    write = journal.Journal.write

    def full(self: journal.Journal, record: object) -> None:
        raise FULL

    monkeypatch.setattr(journal.Journal, "write", full)
    assert book.write({"event": "start", "case": THREE.id}) is False
    monkeypatch.setattr(journal.Journal, "write", write)
    assert book.note(Event.TROUBLE) is False
    with pytest.raises(NoRoom, match="no room") as caught:
        book.close()
    assert (caught.value.error, caught.value.decided, caught.value.__cause__) == (FULL, 2, FULL)
    assert (tmp_path / journal.FILE).read_bytes() == b""


@pytest.mark.parametrize("before", [None, OSError("before")])
def test_what_is_not_on_the_disk_at_the_end_is_told(
    before: OSError | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first error counts: what came after may follow from it."""
    book = opened(tmp_path)
    book.full = before

    def full(descriptor: int) -> None:
        raise FULL

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NoRoom) as caught:
        book.close()
    assert caught.value.error is (before or FULL)
    assert book.full is (before or FULL)


def test_a_journal_that_cannot_be_had_is_no_room(tmp_path: Path) -> None:
    """What is known from before is told."""
    with pytest.raises(NoRoom, match="No such file") as caught:
        opened(tmp_path / "none", (passed(ONE),))
    assert (caught.value.decided, caught.value.error) == (1, caught.value.__cause__)
    assert isinstance(caught.value.error, FileNotFoundError)


def test_the_time_to_the_end_follows_from_the_results_of_this_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As soon as there are enough of them; results of before took no time now."""
    now = [100.0]
    monkeypatch.setattr(ledger.time, "monotonic", lambda: now[0])
    cases = [case("pointer.values", f"n{number}") for number in range(4 * ledger._TELLING)]
    before = {each.id: passed(each) for each in cases[: ledger._TELLING]}
    book = Ledger(cases, before, tmp_path / journal.FILE)
    now[0] += 10
    assert book.status().left is None
    for each in cases[ledger._TELLING : 2 * ledger._TELLING]:
        book.take(passed(each))
    assert book.status().left == pytest.approx(20)
    book.close()
