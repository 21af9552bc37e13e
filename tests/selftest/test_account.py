"""What a selftest says of its trials: nothing that went wrong with the suite may look like success."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from conformance.adapters.base import Device
from conformance.checks.catalogue import Case
from conformance.exits import Exit
from conformance.selftest import account, running
from conformance.selftest.account import Account
from conformance.selftest.model import Stage
from conformance.selftest.trials import FLAWLESS, Trial
from conformance.selftest.worker import STOPPED, Job, Worker


def stage(*, absent: str | None = None, extra: bool = False) -> Stage:
    """Two faults, which three invariants have to catch."""
    made = Stage("paper", "nobody", dict, lambda environment: (), absent=lambda: absent, extra=extra)
    made.add("one", "It is wrong.", ("a.x", "a.y"), lambda partners: None, ())
    made.add("two", "It is wrong, too.", ("b.z",), lambda partners: None, ("key",))
    return made


def trial(fault: str, invariant: str, failed: int, **more: object) -> Trial:
    """Of three cases."""
    return replace(Trial("paper", fault, invariant, 3, 3 - failed, failed), **more)  # type: ignore[arg-type]


CAUGHT = [trial("paper.one", "a.x", 3), trial("paper.one", "a.y", 1), trial("paper.two", "b.z", 1)]
FINE = [trial(FLAWLESS, name, 0) for name in ("a.x", "a.y", "b.z")]
JOBS = [Job("paper", name, ()) for name in (FLAWLESS, "paper.one", "paper.two")]


def settled(trials: list[Trial], *, on: Stage | None = None, lost: list[tuple[Job, str]] | None = None) -> Account:
    """The account of these trials."""
    return account.settle("paper", [on or stage()], JOBS, trials, lost or [], ["a.x", "a.y", "b.z"])


def test_all_caught_and_nobody_accused_is_success() -> None:
    """And the table says by what."""
    found = settled(CAUGHT + FINE)
    assert (found.exit, found.escaped, found.accused, found.toothless) == (Exit.OK, (), (), ())
    assert [row.caught for row in found.rows] == [("a.x", "a.y"), ("b.z",)]


@pytest.mark.parametrize("missing", CAUGHT, ids=lambda t: t.invariant)
def test_a_fault_that_one_of_its_invariants_does_not_catch_has_escaped(missing: Trial) -> None:
    """Not tried is not caught either."""
    others = [t for t in CAUGHT if t is not missing]
    for trials in (others, [*others, replace(missing, failed=0)]):
        found = settled(trials + FINE)
        assert (found.exit, found.toothless) == (Exit.VOID, (missing.invariant,))
        assert [row.escaped for row in found.escaped] == [(missing.invariant,)]


def test_an_invariant_that_only_others_faults_wake_is_not_toothless() -> None:
    """It can fail, but not for what it was named for."""
    trials = [CAUGHT[0], trial("paper.one", "b.z", 1), trial("paper.one", "a.y", 1), replace(CAUGHT[2], failed=0)]
    found = settled(trials)
    assert (found.toothless, found.exit) == ((), Exit.VOID)


def test_flawless_partners_that_are_accused_void_everything() -> None:
    """The case is named, with what was said."""
    found = settled([*CAUGHT, trial(FLAWLESS, "a.x", 1, accused=(("a.x/case", "wrong strides"),))])
    assert (found.exit, found.accused) == (Exit.VOID, (("paper", "a.x/case", "wrong strides"),))


def test_an_invariant_that_no_flawless_partner_passes_voids_everything() -> None:
    """That they are only refused shows nothing."""
    found = settled([*CAUGHT, *FINE[:2], replace(FINE[2], passed=0)])
    assert (found.exit, found.unpassed) == (Exit.VOID, ("b.z",))


def test_what_was_lost_or_could_not_be_set_up_is_not_success() -> None:
    """An absent stage's invariants are not called toothless: nobody has tried."""
    lost = settled(CAUGHT + FINE, lost=[(JOBS[0], "its process ended")])
    assert (lost.exit, lost.lost) == (Exit.INCOMPLETE, (("paper flawless", "its process ended"),))
    absent = account.settle("paper", [stage(absent="no NumPy")], [], [], [], ["a.x", "a.y", "b.z"])
    assert (absent.exit, absent.absent, absent.toothless) == (Exit.INCOMPLETE, (("paper", "no NumPy"),), ())


def test_a_stage_that_is_only_extra_is_told_and_missed_by_nobody() -> None:
    """What it would have shown others show."""
    found = account.settle("paper", [stage(absent="no PyTorch", extra=True)], [], [], [], ["a.x", "a.y", "b.z"])
    assert (found.exit, found.absent, found.left_out) == (Exit.OK, (), (("paper", "no PyTorch"),))


def test_parts_of_a_trial_that_ran_apart_are_one() -> None:
    """Cases that need the GPU for themselves run later than the others."""
    parts = [trial("paper.two", "b.z", 0), trial("paper.two", "b.z", 2, said="wrong", outcome="fail")]
    (row,) = (row for row in settled(parts).rows if row.fault.name == "paper.two")
    assert row.trials == (Trial("paper", "paper.two", "b.z", 6, 4, 2, "wrong", "fail"),)


def test_differences_between_two_devices_are_sentences() -> None:
    """Who was caught by whom, and what was tried on one only."""
    one = settled(CAUGHT).to_json()
    other = settled([CAUGHT[0], CAUGHT[2], trial("paper.one", "a.y", 0)]).to_json() | {"device": "glass"}
    other["faults"] = other["faults"][:1]
    assert account.differences(one, other) == [
        "paper.one by a.y: caught on paper, not caught on glass",
        "paper.two was tried on paper only",
    ]


@pytest.mark.parametrize(("statement", "caught_by"), [("", ("a.x",)), ("It is wrong.", ())])
def test_a_fault_has_a_statement_and_something_that_has_to_catch_it(statement: str, caught_by: tuple[str, ...]) -> None:
    """Else it says nothing."""
    with pytest.raises(ValueError, match="no docstring, or nothing"):
        stage().add("three", statement, caught_by, lambda partners: None, ())


def test_two_faults_of_one_name_are_a_mistake() -> None:
    """One would hide the other."""
    with pytest.raises(ValueError, match=r"two faults are called paper\.one"):
        stage().add("one", "Again.", ("a.x",), lambda partners: None, ())


def test_a_worker_that_dies_loses_one_job(tmp_path: Path) -> None:
    """The next one has a new process."""
    worker = Worker(str(tmp_path))
    try:
        assert "exit code 1" in str(worker.run(Job("no such stage", "", ())))
        assert worker.run(Job("reference", FLAWLESS, ())) == []
    finally:
        worker.end()
    assert worker.run(Job("reference", FLAWLESS, ())) == STOPPED


def test_cases_that_need_the_gpu_for_themselves_come_last() -> None:
    """On a real one only: on the simulated device nobody is in the way."""
    order = [Case("ordering.handover", "reference", "reference", "cai", d) for d in (Device.CUDA, Device.SIMULATED)]
    plain = Case("pointer.same-address", "reference", "reference", "cai", Device.CUDA)
    together, alone = running.split([Job("reference", "", (*order, plain))])
    assert [job.cases for job in together] == [(order[1], plain)]
    assert [job.cases for job in alone] == [(order[0],)]
