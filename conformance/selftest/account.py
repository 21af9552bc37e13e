"""Account of a self-test: the invariants that caught each fault, escaped faults, wrong accusations, and parts that were not run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import conformance
from conformance.exits import Exit

from .accusations import Accusation
from .model import Fault, Stage
from .trials import FLAWLESS, Trial
from .worker import Job

SHAPE = {"device": str, "faults": [{"fault": str, "trials": [{"invariant": str, "failed": int}]}]}
"""The keys of another self-test's account that this module reads."""


@dataclass(frozen=True)
class Row:
    """One fault: the trial of every invariant that was tried on it.

    ``lost``: a part of the trials has no result, so it is unknown whether the fault escapes.
    """

    stage: str
    fault: Fault
    trials: tuple[Trial, ...]
    lost: bool = False

    @property
    def caught(self) -> tuple[str, ...]:
        """The invariants that caught the fault, those of ``caught_by`` first."""
        found = [trial.invariant for trial in self.trials if trial.caught]
        return tuple(sorted(found, key=lambda name: (name not in self.fault.caught_by, name)))

    @property
    def escaped(self) -> tuple[str, ...]:
        """The invariants of ``caught_by`` that did not catch the fault, or were not tried."""
        return () if self.lost else tuple(name for name in self.fault.caught_by if name not in self.caught)


@dataclass(frozen=True)
class Account:
    """The whole self-test.

    ``accused`` are the cases of flawless partners that failed or were inconclusive: stage, case id, message. ``toothless`` are invariants
    that caught nothing although all of their faults were tried. ``unpassed`` are invariants that no flawless partner passed. ``lost`` are
    jobs without a result. ``absent`` are stages that could not be set up, and ``left_out`` are those of them that are optional, each with a
    reason.
    """

    device: str
    rows: tuple[Row, ...]
    flawless: int
    accused: tuple[tuple[str, str, str], ...]
    toothless: tuple[str, ...]
    unpassed: tuple[str, ...]
    lost: tuple[tuple[str, str], ...]
    absent: tuple[tuple[str, str], ...]
    left_out: tuple[tuple[str, str], ...]
    accusations: tuple[Accusation, ...] = ()
    """All accusations that faults have caused."""

    @property
    def wrong(self) -> tuple[Accusation, ...]:
        """The accusations of a library or side without the fault."""
        return tuple(one for one in self.accusations if one.is_wrong)

    @property
    def escaped(self) -> tuple[Row, ...]:
        """The faults that an invariant of their ``caught_by`` did not catch."""
        return tuple(row for row in self.rows if row.escaped)

    @property
    def exit(self) -> Exit:
        """The exit code: ``VOID`` if the suite's results cannot be trusted, ``INCOMPLETE`` if a part was not run."""
        if self.escaped or self.accused or self.toothless or self.unpassed or self.wrong:
            return Exit.VOID
        return Exit.INCOMPLETE if self.lost or self.absent else Exit.OK

    def to_json(self) -> dict[str, Any]:
        """Return the account as JSON data, which :func:`differences` compares with another device's."""
        return {
            "suite": conformance.__version__,
            "device": self.device,
            "faults": [_row(row) for row in self.rows],
            "flawless_cases": self.flawless,
            "accusations": len(self.accusations),
            "wrong_accusations": [asdict(one) for one in self.wrong],
            "accused": [{"stage": stage, "case": case, "said": said} for stage, case, said in self.accused],
            "toothless": list(self.toothless),
            "unpassed": list(self.unpassed),
            "lost": dict(self.lost),
            "absent": dict(self.absent),
            "left_out": dict(self.left_out),
        }


def _row(row: Row) -> dict[str, Any]:
    return {
        "stage": row.stage,
        "fault": row.fault.name,
        "statement": row.fault.statement,
        "bugs": list(row.fault.bugs),
        "has_to_be_caught_by": list(row.fault.caught_by),
        "escaped": list(row.escaped),
        "trials": [
            {"invariant": t.invariant, "cases": t.cases, "failed": t.failed, "outcome": t.outcome, "said": t.said}
            for t in row.trials
        ],
    }


def settle(
    device: str,
    stages: Sequence[Stage],
    planned: Sequence[Job],
    trials: Iterable[Trial],
    lost: Sequence[tuple[Job, str]],
    expected: Iterable[str],
) -> Account:
    """Combine the trials into an account. ``expected`` are the invariants that must catch a fault."""
    found = _together(trials)
    wanted, gone = {job.fault for job in planned}, {job.fault for job, _ in lost}
    rows = tuple(
        Row(stage.name, fault, tuple(found[stage.name, fault.name].values()), fault.name in gone)
        for stage in stages
        for fault in stage.faults
        if fault.name in wanted
    )
    flawless = [trial for stage in stages for trial in found[stage.name, FLAWLESS].values()]
    biting = {name for row in rows for name in row.caught}
    passed = {trial.invariant for trial in flawless if trial.passed}
    absent = {stage.name: why for stage in stages if (why := stage.absent())}
    untried = {
        name
        for stage in stages
        for fault in stage.faults
        if stage.name in absent or fault.name in gone
        for name in fault.caught_by
    }
    untried |= {case.invariant for job, _ in lost for case in job.cases if job.fault == FLAWLESS}
    return Account(
        device,
        rows,
        sum(trial.cases for trial in flawless),
        tuple((trial.stage, case, said) for trial in flawless for case, said in trial.accused),
        tuple(name for name in expected if name not in biting and name not in untried),
        tuple(name for name in expected if name not in passed and name not in untried),
        tuple((f"{job.stage} {job.fault or 'flawless'}", why) for job, why in lost),
        tuple((stage.name, absent[stage.name]) for stage in stages if stage.name in absent and not stage.extra),
        tuple((stage.name, absent[stage.name]) for stage in stages if stage.name in absent and stage.extra),
        tuple(one for row in rows for trial in row.trials for one in trial.accusations),
    )


def _together(trials: Iterable[Trial]) -> dict[tuple[str, str], dict[str, Trial]]:
    """Return the trials by stage and fault, then by invariant. Parts of a trial that ran separately are added up."""
    found: dict[tuple[str, str], dict[str, Trial]] = defaultdict(dict)
    for trial in trials:
        of_fault = found[trial.stage, trial.fault]
        before = of_fault.get(trial.invariant)
        of_fault[trial.invariant] = _sum(before, trial) if before else trial
    return found


def _sum(one: Trial, other: Trial) -> Trial:
    first = one if one.caught else other
    return replace(
        first,
        cases=one.cases + other.cases,
        passed=one.passed + other.passed,
        failed=one.failed + other.failed,
        accused=one.accused + other.accused,
        accusations=one.accusations + other.accusations,
    )


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Return a sentence for each difference between two accounts on the same faults."""
    caught = [
        {f["fault"]: {t["invariant"]: t["failed"] > 0 for t in f["trials"]} for f in account["faults"]}
        for account in (one, other)
    ]
    found = []
    for name in dict.fromkeys((*caught[0], *caught[1])):
        if name not in caught[0] or name not in caught[1]:
            found.append(f"{name} was tried on {one['device'] if name in caught[0] else other['device']} only")
            continue
        found += _differences(name, caught[0][name], caught[1][name], one["device"], other["device"])
    return found


def _differences(name: str, a: dict[str, bool], b: dict[str, bool], on_a: str, on_b: str) -> list[str]:
    found = []
    for invariant in dict.fromkeys((*a, *b)):
        one, other = a.get(invariant), b.get(invariant)
        if one != other:
            words = {True: "caught", False: "not caught", None: "no case"}
            found.append(f"{name} by {invariant}: {words[one]} on {on_a}, {words[other]} on {on_b}")
    return found
