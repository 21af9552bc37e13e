"""Find the case that ends a later one: run suspect and victim a second time, alone together in a process.

A process dies in a case which survives alone. One of the cases before it has left something behind, and the record of the process has them all.
The newest of them run again with the victim: one, two, four, until it dies again. Then halves are left out, down to one suspect.

In these processes the victim runs several times, because damage may show only some exchanges later. So a suspect needs no third case between it and the victim.

The suspect is the culprit only if the process dies in the victim twice, and three controls survive. These are the victim alone; the victim after
itself, because a case may die whenever it was not the first; and the victim after the suspect's case with the reference in the place of all
libraries, because any exchange of that kind might do. A victim that dies after itself, and not after references, is the culprit. Otherwise
nobody is named, and the victim stays undecided.
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
"""Name of the note beside a victim that says which case has ended its process."""
_RUNS = 4
"""How often the victim runs after its suspects."""
SECONDS = 300.0
"""How long the trace of one victim may take."""


@dataclass(frozen=True)
class Lost:
    """A process that was lost in the case number ``place`` of those that it ran. ``step`` is the newest one of the case before."""

    place: int
    result: Result
    step: Step


@dataclass(frozen=True)
class Traced:
    """The end of a trace: the new result of the culprit, if one can be named, and the result of the victim alone."""

    culprit: Result | None
    alone: Result | None

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {name: None if each is None else each.to_json() for name, each in vars(self).items()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Traced:
        """Return the reverse of :meth:`to_json`."""
        return cls(*(None if data[name] is None else Result.from_json(data[name]) for name in ("culprit", "alone")))


def is_victim(result: Result) -> bool:
    """Return whether a case has ended its process after other cases, and survived alone, and no trace has said why."""
    if result.outcome is not Outcome.INCONCLUSIVE or len(result.attempts) < 2:
        return False
    first, last = result.attempts[0], result.attempts[-1]
    return first.outcome in BAD and not first.outside and bool(first.after) and last.outcome in TRUSTED


def settled(victim: Result, traced: Traced) -> tuple[Result, ...]:
    """Return the results that a trace changes: of the culprit, and of the victim, which is what it is alone."""
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
"""Runs cases in one new process, in this order; ``None`` if it is not lost."""
_Kind = tuple[str, tuple[str, ...], str, object]


class Tracer:
    """Traces victims, one after the other. ``together`` runs cases; culprits that are known are tried first."""

    def __init__(self, together: Together) -> None:
        self._together = together
        self._culprits: dict[_Kind, Accused] = {}
        self._end = 0.0

    def culprit(self, victim: Case, before: Sequence[Case], suspects: Sequence[Case] = ()) -> Result | None:
        """The result of the case among ``before`` that ends the process in ``victim``; ``None`` if none can be named.

        The victim has survived alone before. Cases of the kind of a culprit or of the ``suspects`` are tried first.
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
        """As ``together``; nothing is lost any more once the time is up."""
        return self._together(cases) if time.monotonic() < self._end else None

    def _reproduced(self, victim: Case, before: Sequence[Case]) -> tuple[tuple[Case, ...], Case]:
        """The newest cases, as few as a doubling finds, after which the victim or one of themselves ends the process; none if it does not."""
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
        """One suspect and its victim; ``None`` if it takes several cases to end the process, or none does."""
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
        """The result of a suspect, if it is the culprit; of the victim, if it ends the process whenever it runs a second time."""
        lost = self._after(suspect, victim)
        if lost is None or self._tried((victim,)) is not None:
            return None
        if suspect.id != victim.id and self._after(victim, victim) is not None:
            return self._proven(victim, victim)
        ours = _between_references(suspect)
        runs = 1 if suspect.id == victim.id else _RUNS  # a victim that dies after itself would do so behind any case
        if ours.id == suspect.id or self._after(ours, victim, runs) is not None or self._after(suspect, victim) is None:
            return None
        kind = _kind(suspect)
        if kind not in self._culprits:
            self._culprits[kind] = self._accused(suspect, victim)
        return _judged(suspect, victim, lost, self._culprits[kind])

    def _after(self, suspect: Case, victim: Case, runs: int = _RUNS) -> Lost | None:
        """How the process is lost in the victim, after the suspect."""
        lost = self._tried((suspect, *[victim] * runs))
        return lost if lost is not None and lost.place else None

    def _accused(self, suspect: Case, victim: Case) -> Accused:
        """The libraries of the suspect after whose exchange with the reference the victim ends the process as well."""
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
    """The same case with the reference on every side."""
    parameters = tuple((key, REFERENCE if key == VIA else value) for key, value in case.parameters)
    return replace(case, producer=REFERENCE, consumer=REFERENCE, parameters=parameters)


def _judged(suspect: Case, victim: Case, lost: Lost, accused: Accused) -> Result:
    """The result of the culprit: what it has left behind ends its process later."""
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
