"""Contents of a ``check`` folder, read by one reader: the file that counts for each case, and the accused."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conformance.adapters.base import Device
from conformance.checks.catalogue import Case
from conformance.checks.libraries import Environment, Library
from conformance.checks.outcomes import Outcome, Side
from conformance.execution import check_folder, journal, run_folder
from conformance.execution.environment import Facts
from conformance.execution.ledger import Ledger, lost
from conformance.execution.results import Accused, Result, write_lines
from conformance.files import Unreadable
from conformance.protocols.clauses import Level, Role

ENVIRONMENT = Facts(
    Environment((Library("numpy", {"numpy": "2.4"}),)), {"available": False, "reason": "no driver"}
).to_json()


def case(producer: str = "numpy", consumer: str = "torch", layout: str = "rows") -> Case:
    """A case on host memory."""
    return Case("pointer.values", producer, consumer, "dlpack", Device.HOST, (("layout", layout),))


ONE, TWO, THREE = case(), case(layout="columns"), case(layout="stepped")
OF_NUMPY, OF_TORCH = case(consumer="reference"), case(producer="reference")
"""The trials of the first."""


def passed(case: Case) -> Result:
    """The case conforms."""
    return Result(case, Outcome.PASS, Level.MUST)


def failed(case: Case, role: Role = Role.CONSUMER, accused: Accused | None = None) -> Result:
    """The case violates; no library is accused yet."""
    clause = "DLP-58" if role is Role.CONSUMER else "DLP-59"
    return Result(
        case, Outcome.FAIL, Level.MUST, "values-differ", clause, role, accused=accused,
        reason="the consumer reads other values", expected="1", seen="2",
    )  # fmt: skip


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder in which three cases are planned, and nothing has been run."""
    run_folder.prepare([ONE, TWO, THREE], ENVIRONMENT, tmp_path)
    return tmp_path


def settle(out: Path, *results: Result) -> None:
    """Write ``results.jsonl``."""
    write_lines(out / run_folder.RESULTS, (result.to_json() for result in results))


def note(out: Path, *results: Result, begun: Iterable[Case] = (), torn: str = "") -> None:
    """Write a journal in which these cases have ended."""
    lines: list[dict[str, Any]] = [{"event": "begin", "plan": run_folder.digest(out)}]
    lines += [{"event": "start", "case": case.id} for case in (*(r.case for r in results), *begun)]
    lines += [{"event": "end", "result": result.to_json()} for result in results]
    (out / journal.FILE).write_text("".join(json.dumps(line) + "\n" for line in lines) + torn)


def outcomes(out: Path) -> list[str]:
    """In the order of the plan, as both sides read them."""
    found = check_folder.read(out)
    told = [found.results[id]["outcome"] for id in found.plan.ids]
    assert [result.outcome.value for result in check_folder.left(out).results] == told
    return told


def test_a_complete_account_needs_no_journal(out: Path) -> None:
    """Every written result is read."""
    settle(out, passed(ONE), passed(TWO), passed(THREE))
    assert (outcomes(out), check_folder.read(out).is_complete) == (["pass"] * 3, True)
    assert check_folder.left(out).known.keys() == {ONE.id, TWO.id, THREE.id}


def test_without_an_account_the_journal_counts(out: Path) -> None:
    """As far as it goes; the rest is lost, with the reason."""
    note(out, passed(ONE), failed(TWO), begun=[THREE])
    found = check_folder.read(out)
    assert (outcomes(out), found.is_complete) == (["pass", "fail", "lost"], False)
    assert found.results[THREE.id]["reason"] == "no result: the run has not reached the case"
    assert check_folder.left(out).unended == {THREE.id}


def test_a_folder_with_a_plan_alone_has_lost_everything(out: Path) -> None:
    """And one without a plan holds nothing."""
    assert outcomes(out) == ["lost"] * 3
    (out / run_folder.PLAN).unlink()
    assert check_folder.read(out).plan.ids == ()
    with pytest.raises(Unreadable, match=r"plan\.jsonl is empty or missing"):
        check_folder.left(out)


def test_an_account_that_is_older_than_the_journal_is_filled_in(out: Path) -> None:
    """A run was stopped, wrote what it had, went on and was killed: nothing of either is lost."""
    settle(out, passed(ONE), lost(TWO, "the run was stopped by SIGTERM"), lost(THREE, "the run was stopped by SIGTERM"))
    note(out, passed(ONE), passed(TWO))
    assert outcomes(out) == ["pass", "pass", "lost"]
    assert "SIGTERM" in check_folder.read(out).results[THREE.id]["reason"]


def test_an_account_that_does_not_cover_the_plan_fills_in_a_journal_that_was_cut(out: Path) -> None:
    """Whichever file decides a case."""
    settle(out, passed(ONE))
    note(out, passed(TWO))
    assert outcomes(out) == ["pass", "pass", "lost"]


def test_what_was_lost_and_decided_later_is_decided(out: Path) -> None:
    """A GPU that could not be used any more, for a while; in whichever of the files it is."""
    settle(out, passed(ONE), lost(TWO, "no GPU"), passed(THREE))
    note(out, lost(ONE, "no GPU"), passed(TWO), lost(THREE, "no GPU"))
    assert outcomes(out) == ["pass"] * 3


def test_a_complete_account_counts_against_a_journal_that_says_otherwise(out: Path) -> None:
    """A decided case never runs again, so a journal that differs was altered. A resumed run does not use it either."""
    settle(out, failed(ONE, accused=Accused(Side.CONSUMER, ("torch",), "tried")), passed(TWO), passed(THREE))
    note(out, passed(ONE), passed(TWO), passed(THREE))
    assert outcomes(out) == ["fail", "pass", "pass"]
    assert check_folder.left(out).known[ONE.id].outcome is Outcome.FAIL


def test_a_complete_account_is_read_alone(out: Path) -> None:
    """The journal is the larger file, and says nothing new."""
    settle(out, passed(ONE), passed(TWO), passed(THREE))
    (out / journal.FILE).write_text("no journal\n")
    assert check_folder.read(out).is_complete


# -- who is accused


def test_who_is_accused_is_found_out_from_the_journal(out: Path) -> None:
    """With the trials in it, as the run would have done at its end."""
    note(out, failed(ONE), passed(OF_NUMPY), failed(OF_TORCH))
    told = check_folder.read(out).results[ONE.id]
    assert told["accused"] == {
        "side": "consumer",
        "libraries": ["torch"],
        "why": "numpy to the reference: pass; torch from the reference: fail (values-differ)",
    }
    known = {result.case.id: result for result in (failed(ONE), passed(OF_NUMPY), failed(OF_TORCH))}
    book = Ledger([ONE, TWO, THREE], known, out / "other")
    assert [result.to_json() for result in book.results(check_folder.NOT_COME_TO)] == list(
        check_folder.read(out).results.values()
    )


def test_trials_are_no_results_of_the_run_and_are_not_run_again(out: Path) -> None:
    """They were not planned."""
    note(out, failed(ONE), passed(OF_NUMPY), failed(OF_TORCH))
    left = check_folder.left(out)
    assert [result.case.id for result in left.results] == [ONE.id, TWO.id, THREE.id]
    assert left.known.keys() == {ONE.id, OF_NUMPY.id, OF_TORCH.id}


def test_who_could_not_be_accused_is_tried_again_with_what_is_known_since(out: Path) -> None:
    """The account was written before the trials were run."""
    nobody = Accused(Side.UNKNOWN, (), "numpy to the reference: not tried; torch from the reference: not tried")
    settle(out, failed(ONE, accused=nobody), passed(TWO), lost(THREE, "stopped"))
    note(out, passed(OF_NUMPY), failed(OF_TORCH))
    assert check_folder.read(out).results[ONE.id]["accused"]["libraries"] == ["torch"]


def test_a_run_that_goes_on_accuses_nobody_by_what_was_known_before(out: Path) -> None:
    """One side had been tried when the account was written; the other may have failed since."""
    settle(out, failed(ONE, accused=Accused(Side.CONSUMER, ("torch",), "…")), passed(TWO), lost(THREE, "stopped"))
    note(out, failed(ONE), passed(TWO), failed(OF_TORCH))
    assert check_folder.left(out).known[ONE.id].accused is None


def test_a_failure_of_an_invariant_that_this_suite_does_not_know_accuses_nobody(out: Path) -> None:
    """A folder may come from another version."""
    strange = replace(ONE, invariant="pointer.of-tomorrow")
    run_folder.prepare([strange], {}, out)
    note(out, failed(strange))
    assert check_folder.read(out).results[strange.id]["accused"]["side"] == "not known"


# -- what cannot be read


def test_a_result_that_was_not_planned_is_a_mistake(out: Path) -> None:
    """In the account; in the journal it is a trial."""
    settle(out, passed(OF_NUMPY))
    told = r"line 1 of .*/results\.jsonl is a result of pointer\.values/numpy-reference.*, which is not in the plan"
    with pytest.raises(Unreadable, match=told):
        check_folder.read(out)


def test_the_journal_of_another_plan_is_a_mistake(out: Path) -> None:
    """It was copied there."""
    note(out, passed(ONE))
    write_lines(out / run_folder.PLAN, [ONE.to_json()])
    with pytest.raises(Unreadable, match=r"journal\.jsonl belongs to another plan"):
        check_folder.read(out)


def test_a_line_of_the_journal_that_was_cut_off_is_left_out(out: Path) -> None:
    """The reader ignores an unfinished last line."""
    note(out, passed(ONE), torn='{"event": "end", "resu')
    assert (outcomes(out), check_folder.read(out).damage) == (["pass", "lost", "lost"], ())


SPOILT: dict[str, object] = {
    "no JSON": '{"event": "end", "resu',
    "a list": [],
    "a number": 5,
    "nothing": "",
    "no UTF-8": b"\xff\xfe{",
    "nested too deeply": "[" * 100_000,
    "no event": {},
    "an event that is no text": {"event": [1]},
    "a start of no case": {"event": "start", "case": 5},
    "a run without a plan": {"event": "begin"},
    "an end without a reason": {"event": "stop"},
    "an end without a result": {"event": "end"},
    "a result that is a text": {"event": "end", "result": "pass"},
    "a result of another kind": {"event": "end", "result": {**passed(TWO).to_json(), "reason": None}},
    "an unknown outcome": {"event": "end", "result": {**passed(TWO).to_json(), "outcome": "fine"}},
    "a duration without end": {"event": "end", "result": {**passed(TWO).to_json(), "duration": float("inf")}},
    "a duration that is too large": {"event": "end", "result": {**passed(TWO).to_json(), "duration": 10**400}},
    "the id of another case": {"event": "end", "result": {**passed(TWO).to_json(), "layout": "x", "id": THREE.id}},
    "a lost case that conforms": {"event": "end", "result": {**passed(TWO).to_json(), "outcome": "lost"}},
}
"""Damaged lines of a journal."""


@pytest.mark.parametrize("name", SPOILT)
def test_a_damaged_line_of_the_journal_costs_what_it_said_and_no_other(name: str, out: Path) -> None:
    """The damage is reported, also in the case that the line may have held; an unreadable line is never a pass."""
    spoilt = SPOILT[name]
    line = spoilt if isinstance(spoilt, (str, bytes)) else json.dumps(spoilt)
    note(out, passed(ONE), passed(THREE))
    lines = (out / journal.FILE).read_bytes().splitlines()
    lines.insert(4, line if isinstance(line, bytes) else line.encode())
    (out / journal.FILE).write_bytes(b"\n".join([*lines, b""]))
    assert outcomes(out) == ["pass", "lost", "pass"]
    (told,) = check_folder.left(out).damage
    assert told.startswith(f"line 5 of {out / journal.FILE} ")
    assert "line 5 of journal.jsonl" in check_folder.read(out).results[TWO.id]["reason"]


def test_a_damaged_account_is_filled_in_by_the_journal(out: Path) -> None:
    """The journal has the same results."""
    settle(out, passed(ONE), passed(TWO), passed(THREE))
    note(out, passed(ONE), passed(TWO), passed(THREE))
    lines = (out / run_folder.RESULTS).read_text().splitlines(keepends=True)
    (out / run_folder.RESULTS).write_text("".join([lines[0], lines[1][:40] + "\n", lines[2]]))
    assert (outcomes(out), len(check_folder.read(out).damage)) == (["pass"] * 3, 1)
    (out / run_folder.RESULTS).write_text("no results\n")
    assert outcomes(out) == ["pass"] * 3


def test_two_results_of_a_case_that_differ_are_none(out: Path) -> None:
    """The reader cannot choose between two results; a repeated line is harmless."""
    settle(out, passed(ONE), passed(ONE), failed(TWO), passed(TWO), passed(THREE))
    assert outcomes(out) == ["pass", "lost", "pass"]
    note(out, failed(TWO))
    assert outcomes(out) == ["pass", "fail", "pass"]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (ONE.to_json(), "line 4 of .*repeats the case of line 1"),
        ({**ONE.to_json(), "id": 5}, "line 4 of .*has 5 as its id, which is not a case id"),
        ([], r"line 4 of .*has None as its id"),
        ("x", r"line 4 of .*has None as its id"),
        ({"id": "a.b/c-d/e/f"}, r"line 4 of .*is not a case: it has no 'invariant'"),
        ({**ONE.to_json(), "id": TWO.id + "/x"}, r"line 4 of .*is not a case: its id is"),
        ({**case(layout="x").to_json(), "device": "moon"}, r"line 4 of .*is not a case: device is 'moon'"),
    ],
)
def test_a_damaged_plan_is_told(line: object, told: str, out: Path) -> None:
    """Without a complete plan the missing cases are unknown."""
    with (out / run_folder.PLAN).open("a") as plan:
        plan.write(json.dumps(line) + "\n")
    with pytest.raises(Unreadable, match=told):
        check_folder.left(out)


@pytest.mark.parametrize("name", [run_folder.PLAN, run_folder.ENVIRONMENT, run_folder.RESULTS, journal.FILE])
def test_what_is_no_file_is_told_and_not_waited_for(name: str, out: Path) -> None:
    """The check holds for any entry that replaces the file."""
    (out / name).unlink(missing_ok=True)
    os.mkfifo(out / name)
    with pytest.raises(Unreadable, match=rf"{re.escape(name)} is a FIFO, not a file"):
        check_folder.left(out)
    (out / name).unlink()
    (out / name).symlink_to(out / name)
    with pytest.raises(Unreadable, match="Too many levels of symbolic links"):
        check_folder.left(out)


@pytest.mark.parametrize(
    "change",
    [
        {"libraries": {}},
        {"libraries": [5]},
        {"libraries": [{**ENVIRONMENT["libraries"][0], "traits": ["wings"]}]},
        {"libraries": [{**ENVIRONMENT["libraries"][0], "devices": {"host": []}}]},
        {"libraries": [{**ENVIRONMENT["libraries"][0], "versions": {"numpy": 2.4}}]},
        {"libraries": [{**ENVIRONMENT["libraries"][0], "devices": {"moon": {}}}]},
        {"python": None},
        {"driver": None},
        {"driver": {"available": True}},
        {"suite": 1},
    ],
)
def test_an_environment_of_another_kind_is_told(change: dict[str, object], out: Path) -> None:
    """The message names the first invalid part."""
    (out / run_folder.ENVIRONMENT).write_text(json.dumps({**ENVIRONMENT, **change}))
    with pytest.raises(Unreadable, match=r"environment\.json is not in the expected format: "):
        check_folder.left(out)


def test_a_plan_is_read_once_for_all_folders_that_have_it(out: Path, tmp_path: Path) -> None:
    """By whatever parses lines."""
    asked: list[bytes] = []

    def loads(line: bytes) -> Any:
        asked.append(line)
        return json.loads(line)

    settle(out, passed(ONE), passed(TWO), passed(THREE))
    plans: dict[str, check_folder.Plan] = {}
    first, again = check_folder.read(out, loads, plans), check_folder.read(out, loads, plans)
    assert (first.plan is again.plan, len(asked)) == (True, 3 + 3 + 3)


def test_cases_that_kill_are_known_from_either_file(out: Path) -> None:
    """They run alone in the next run."""
    died = Result(ONE, Outcome.CRASH, Level.MUST)
    settle(out, died, passed(TWO), passed(THREE))
    assert check_folder.deadly(out) == {ONE.id}
    (out / run_folder.RESULTS).unlink()
    note(out, died, Result(OF_TORCH, Outcome.HANG, Level.MUST))
    assert check_folder.deadly(out) == {ONE.id, OF_TORCH.id}
    (out / journal.FILE).write_text("no journal\n")
    assert check_folder.deadly(out) == frozenset()
