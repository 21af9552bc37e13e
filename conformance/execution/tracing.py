"""Trace of a crash to an earlier case: run suspect and victim again, alone together in a process.

The victim crashes its process after other cases, and survives alone. So an earlier case left some damage behind. The record of the process has
all earlier cases. The trace runs the newest of them with the victim: one, two, four, until the crash repeats. Then it drops halves of them,
down to one suspect.

In these processes the victim runs several times, because damage may show only some exchanges later. So no other case is necessary between
suspect and victim.

The suspect is the culprit only if the process crashes in the victim twice, and three controls survive:

* the victim alone;
* the victim after itself, because a case may crash in any process in which it is not the first;
* the victim after the suspect's case with the reference in place of all libraries, because any exchange of that kind may cause the crash.

A victim that crashes after itself, and not after references, is the culprit. Otherwise no case is named, and the victim stays inconclusive.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from conformance.checks.catalogue import VIA, Case, catalogue
from conformance.checks.libraries import REFERENCE
from conformance.checks.outcomes import Outcome, Side
from conformance.checks.steps import Doing, Step
from conformance.protocols.clauses import Level

from .accusations import ROLES, real_sides, trials
from .deaths import died
from .results import BAD, TRUSTED, Accused, Result

NOTE = "traced to"
"""Name of the note in a victim's result that names the culprit."""
_RUNS = 4
"""Number of runs of the victim after its suspects."""
SECONDS = 300.0
"""Time limit of the trace of one victim."""


@dataclass(frozen=True)
class Lost:
    """Loss of a process in the case with the index ``place``. ``step`` is the newest step of the case before."""

    place: int
    result: Result
    step: Step


@dataclass(frozen=True)
class Traced:
    """End of a trace: the new result of the culprit, or ``None``, and the result of the victim alone."""

    culprit: Result | None
    alone: Result | None

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of a monitor's answer."""
        return {name: None if each is None else each.to_json() for name, each in vars(self).items()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Traced:
        """Create the object from the result of :meth:`to_json`."""
        return cls(*(None if data[name] is None else Result.from_json(data[name]) for name in ("culprit", "alone")))


def is_victim(result: Result) -> bool:
    """Return whether a case lost its process after other cases and survived alone, and no trace has explained it."""
    if result.outcome is not Outcome.INCONCLUSIVE or len(result.attempts) < 2:
        return False
    first, last = result.attempts[0], result.attempts[-1]
    return first.outcome in BAD and not first.outside and bool(first.after) and last.outcome in TRUSTED


def settled(victim: Result, traced: Traced) -> tuple[Result, ...]:
    """Return the results that a trace changes: that of the culprit, and that of the victim, which counts as when it runs alone."""
    culprit, alone = traced.culprit, traced.alone
    if culprit is None:
        return ()
    if culprit.case.id == victim.case.id:
        return (replace(culprit, attempts=victim.attempts),)
    if alone is None:
        return ()
    cleared = replace(alone, attempts=victim.attempts).beside({NOTE: culprit.case.id})
    return cleared.lasting(victim.duration), culprit


Together = Callable[[Sequence[Case]], "Lost | None"]
"""Run cases in one new process, in this order. Return its loss, or ``None``."""
_Kind = tuple[str, tuple[str, ...], str, object]


class Tracer:
    """Traces victims one by one. ``together`` runs cases. Known culprits are tried first."""

    def __init__(self, together: Together) -> None:
        self._together = together
        self._culprits: dict[_Kind, Accused] = {}
        self._end = 0.0

    def culprit(self, victim: Case, before: Sequence[Case], suspects: Sequence[Case] = ()) -> Result | None:
        """Return the new result of the culprit among ``before``; ``None`` if none can be named.

        The victim survived alone before. Cases of the kind of a known culprit or of the ``suspects`` are tried first.
        """
        self._end = time.monotonic() + SECONDS
        kinds = {*self._culprits, *map(_kind, suspects)}
        known = [case for case in reversed(before) if _kind(case) in kinds]
        for suspect in known[:2]:
            found = self._proven(suspect, victim)
            if found is not None:
                return found
        pair = self._reduced(*self._reproduced(victim, before))
        return None if pair is None else self._proven(*pair)

    def _tried(self, cases: Sequence[Case]) -> Lost | None:
        """Call ``together``; return ``None`` after the time limit."""
        return self._together(cases) if time.monotonic() < self._end else None

    def _reproduced(self, victim: Case, before: Sequence[Case]) -> tuple[tuple[Case, ...], Case]:
        """Return the newest cases after which a process is lost, by doubling their number, and the case that loses it; no cases if none does."""
        many = 1
        while True:
            cases = (*before[-many:], victim)
            lost = self._tried(cases)
            if lost is not None and lost.place:
                return cases[: lost.place], cases[lost.place]
            if many >= len(before):
                return (), victim
            many *= 2

    def _reduced(self, suspects: tuple[Case, ...], victim: Case) -> tuple[Case, Case] | None:
        """Return one suspect and its victim; ``None`` if the loss needs several cases, or does not repeat."""
        while len(suspects) > 1:
            half = len(suspects) // 2
            for part in (suspects[half:], suspects[:half]):
                cases = (*part, *[victim] * _RUNS)
                lost = self._tried(cases)
                if lost is not None and lost.place:
                    suspects, victim = part[: lost.place], cases[lost.place]
                    break
            else:
                return None
        return (suspects[0], victim) if suspects else None

    def _proven(self, suspect: Case, victim: Case) -> Result | None:
        """Return the result of the suspect if it is the culprit, or of the victim if its own second run loses the process."""
        lost = self._after(suspect, victim)
        if lost is None or self._tried((victim,)) is not None:
            return None
        if suspect.id != victim.id and self._after(victim, victim) is not None:
            return self._proven(victim, victim)
        ours = _between_references(suspect)
        runs = (
            1 if suspect.id == victim.id else _RUNS
        )  # a victim that crashes after itself would crash in its second run anyway
        if ours.id == suspect.id or self._after(ours, victim, runs) is not None or self._after(suspect, victim) is None:
            return None
        kind = _kind(suspect)
        if kind not in self._culprits:
            self._culprits[kind] = self._accused(suspect, victim)
        return _judged(suspect, victim, lost, self._culprits[kind])

    def _after(self, suspect: Case, victim: Case, runs: int = _RUNS) -> Lost | None:
        """Return the loss of the process in the victim, after the suspect; ``None`` if it survives."""
        lost = self._tried((suspect, *[victim] * runs))
        return lost if lost is not None and lost.place else None

    def _accused(self, suspect: Case, victim: Case) -> Accused:
        """Return the libraries of the suspect that, in an exchange with the reference, also make the victim lose its process."""
        real = real_sides(suspect)
        if len(real) == 1:
            ((side, name),) = real.items()
            return Accused(side, (name,), "the other side is the reference")
        guilty = {side: real[side] for side, trial in trials(suspect).items() if self._after(trial, victim) is not None}
        why = "; ".join(
            f"{name} with the reference: {'the process is lost too' if side in guilty else 'the process survives'}"
            for side, name in real.items()
        )
        names = tuple(dict.fromkeys(guilty.values()))
        if not guilty:
            return Accused(Side.UNKNOWN, (), why)
        return Accused(next(iter(guilty)) if len(guilty) == 1 else Side.BOTH, names, why)


def _kind(case: Case) -> _Kind:
    return case.invariant, case.libraries, case.protocol, case.device


def _between_references(case: Case) -> Case:
    """Return the same case with the reference on every side."""
    parameters = tuple((key, REFERENCE if key == VIA else value) for key, value in case.parameters)
    return replace(case, producer=REFERENCE, consumer=REFERENCE, parameters=parameters)


def _judged(suspect: Case, victim: Case, lost: Lost, accused: Accused) -> Result:
    """Return the result of the culprit: the damage that it leaves behind loses its process later."""
    step = Step(Doing.LATER, ROLES.get(accused.side), lost.step.given, lost.step.illegal)
    if suspect.id == victim.id:
        reason = (
            f"the process is lost when the same case runs again: {lost.result.reason}. It survives alone, and after the same "
            "exchange between references"
        )
    else:
        reason = (
            f"the process is lost in a later case: {lost.result.reason}. That case, {victim.id}, survives alone, after itself, "
            "and after the same exchange between references"
        )
    found = died(
        suspect, catalogue()[suspect.invariant], step, lost.result.outcome, reason, seen=lost.result.seen,
        attachments=lost.result.attachments,
    )  # fmt: skip
    level = Level.ROBUSTNESS if step.illegal else Level.MUST
    return replace(found, accused=accused, level=level)
