"""Attribution of a failure to a library: by the check itself, by elimination, or by trials with the reference.

A failed exchange of two libraries does not show which library is at fault. A trial runs the same invariant with the reference on one side.
Most trials are in the plan anyway; :func:`untried` returns the others. A trial accuses its library only if it fails in the same way as the
case, or loses its process. If the consumer's trial accuses it and the producer's trial violates a clause in another way, both are accused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache

from conformance.checks.catalogue import VIA, Case, catalogue
from conformance.checks.codes import BY_SLUG
from conformance.checks.libraries import REFERENCE
from conformance.checks.outcomes import ACCUSED, Outcome, Side
from conformance.checks.steps import Doing
from conformance.protocols.clauses import Level, NotBound, Role, clause
from conformance.verdict import Verdict

from .deaths import clause_of, general_clause
from .results import ACCUSING, BAD, Accused, Result

Find = Callable[[str], "Result | None"]
ROLES = {Side.PRODUCER: Role.PRODUCER, Side.CONSUMER: Role.CONSUMER}
"""Role of each side that has one."""


def accuse(results: Iterable[Result], known: Mapping[str, Result]) -> Iterator[Result]:
    """Yield each result with the accused side. ``known`` also has the results of trials."""
    for result in results:
        yield accused(result, known.get)


def untried(results: Mapping[str, Result]) -> list[Case]:
    """Return the trials that are still needed to find the accused side of each failure."""
    wanted = {
        case.id: case
        for result in results.values()
        if _needs_trial(result)
        for case in trials(result.case).values()
        if case.id not in results
    }
    return list(wanted.values())


def unsettled(results: Mapping[str, Result]) -> Iterator[str]:
    """Yield the ids of failures without a known accused side, because a trial has no result."""
    for id, result in results.items():
        if _needs_trial(result) and any(trial.id not in results for trial in trials(result.case).values()):
            yield id


def accused(result: Result, find: Find) -> Result:
    """Return the result with the accused side and with the clause that binds that side."""
    if result.outcome not in ACCUSING:
        return replace(result, accused=None)
    if result.verdict is Verdict.OBSERVED:
        return replace(result, accused=Accused(Side.NEITHER, (), "no clause applies"))
    found = _without_ours(result, _found(result, find))
    return _cleared(_lowered(_with_clause(replace(result, accused=found), find)))


def _needs_trial(result: Result) -> bool:
    if result.outcome not in ACCUSING or result.verdict is Verdict.OBSERVED or _is_known(result.accused):
        return False
    return len(real_sides(result.case)) > 1


def _is_known(accused: Accused | None) -> bool:
    """Return whether a side is accused already. ``UNKNOWN`` does not count: later trials may decide it."""
    return accused is not None and accused.side is not Side.UNKNOWN


def _sides(case: Case) -> dict[Side, str]:
    """Return the libraries of a case by side. A chain also has the library between the two."""
    via = dict(case.parameters).get(VIA)
    between = {Side.BETWEEN: via} if via else {}
    return {Side.PRODUCER: case.producer, **between, Side.CONSUMER: case.consumer}


def real_sides(case: Case) -> dict[Side, str]:
    """Return the libraries of a case by side, without the reference."""
    return {side: name for side, name in _sides(case).items() if name != REFERENCE}


def trials(case: Case) -> dict[Side, Case]:
    """Return, for each side with a real library, the same case with the reference on all other sides."""
    return {side: _only(case, side) for side in real_sides(case)}


def _only(case: Case, side: Side) -> Case:
    names = {other: name if other is side else REFERENCE for other, name in _sides(case).items()}
    parameters = tuple((key, names[Side.BETWEEN] if key == VIA else value) for key, value in case.parameters)
    return replace(case, producer=names[Side.PRODUCER], consumer=names[Side.CONSUMER], parameters=parameters)


def _found(result: Result, find: Find) -> Accused:
    real = real_sides(result.case)
    if not real:
        return Accused(Side.UNKNOWN, (), "only the reference takes part")
    named = () if result.accused is None else result.accused.libraries
    if result.accused is not None and named and REFERENCE not in named and _is_known(result.accused):
        return result.accused  # the check names the library itself, which need not be on that side of the case
    if len(real) == 1:
        ((side, name),) = real.items()
        return Accused(side, (name,), "the other side is the reference")
    if result.accused is not None and _is_known(result.accused):
        return replace(result.accused, libraries=_libraries(result.accused.side, _sides(result.case)))
    return _tried(result, real, find)


def _libraries(side: Side, sides: Mapping[Side, str]) -> tuple[str, ...]:
    if side is Side.BOTH:
        return tuple(dict.fromkeys(sides.values()))
    return (sides[side],) if side in sides else ()


def _tried(result: Result, real: Mapping[Side, str], find: Find) -> Accused:
    seen = {side: find(trial.id) for side, trial in trials(result.case).items()}
    why = "; ".join(f"{_told(side, real[side])}: {_outcome(trial)}" for side, trial in seen.items())
    guilty = [side for side, trial in seen.items() if _is_alike(result, trial)]
    producers = seen.get(Side.PRODUCER)
    if guilty == [Side.CONSUMER] and producers is not None and producers.verdict is Verdict.VIOLATES:
        # Two faults coincide: the consumer receives a wrong hand-over, and also fails by itself.
        guilty = [Side.PRODUCER, Side.CONSUMER]
    if guilty:
        names = tuple(dict.fromkeys(real[side] for side in guilty))
        return Accused(guilty[0] if len(guilty) == 1 else Side.BOTH, names, why)
    if len(set(real.values())) == 1:
        return _with_itself(result, next(iter(real.values())), why)
    return Accused(Side.UNKNOWN, (), why)


def _with_itself(result: Result, name: str, why: str) -> Accused:
    """Accuse the library that is on every side. The trials cannot show the side, so the role of the failure decides it."""
    side = Side.BOTH if result.role is None else ACCUSED[result.role]
    return Accused(side, (name,), f"{name} is on every side; {why}")


def _is_alike(result: Result, trial: Result | None) -> bool:
    """Return whether a trial fails in the same way as the case, or loses its process.

    A use-after-free or a destroyed stream shows in many ways: a crash, a hang, a corrupted context or wrong data. So any loss of the process
    counts. A trial without a failure accuses no library.
    """
    if trial is None or not trial.verdict.speaks_against:
        return False
    return trial.outcome in BAD or _is_same(result, trial)


def _is_same(result: Result, trial: Result) -> bool:
    """Return whether both have the same outcome, and failure codes of the same cause."""
    return trial.outcome is result.outcome and _cause(trial.code) == _cause(result.code)


def _cause(code: str) -> str:
    """Return the cause of a failure code. Several codes can show the same mistake."""
    return BY_SLUG[code].cause if code in BY_SLUG else code


def _told(side: Side, name: str) -> str:
    other = {Side.PRODUCER: "to the reference", Side.CONSUMER: "from the reference"}.get(side, "between references")
    return f"{name} {other}"


def _outcome(trial: Result | None) -> str:
    if trial is None:
        return "not tried"
    return f"{trial.outcome.value} ({trial.code})" if trial.code else trial.outcome.value


def _with_clause(result: Result, find: Find) -> Result:
    """Return the result with a clause that binds the accused side, in place of one that binds only the other side."""
    assert result.accused is not None
    role = ROLES.get(result.accused.side, result.role)
    if role is None or result.level is Level.ROBUSTNESS or (result.role is role and result.clause):
        return result
    if result.role is not role and result.accused.side in ROLES:
        trial = find(_only(result.case, result.accused.side).id)
        speaks = trial is not None and trial.verdict.speaks_against and _is_same(result, trial)
        if trial is not None and speaks and trial.role is role and trial.clause:
            return replace(result, role=role, clause=trial.clause, level=trial.level, code=trial.code)
    invariant = catalogue()[result.case.invariant]
    if result.step in (Doing.SETTLE.value, Doing.LATER.value):
        cited = clause_of(result.case, invariant, role, Doing(result.step), result.given)
    else:
        cited = general_clause(result.case, invariant, role)
    level = result.level if result.outcome in BAD or not cited else clause(cited).level(role)
    if _is_lowered(result):
        level = level.at_most(result.level)
    return replace(result, role=role, clause=cited, level=level)


def _is_lowered(result: Result) -> bool:
    """Return whether the check has chosen a lower level than its clause demands, such as for a late release."""
    if not result.clause or result.role is None:
        return False
    try:
        return clause(result.clause).level(result.role) is not result.level
    except NotBound:
        return False


def _without_ours(result: Result, found: Accused) -> Accused:
    """Accuse only the consumer, out of both sides, where the suite itself wrote the producer's dictionary."""
    if found.side is not Side.BOTH or not _is_ours(result, result.case.producer):
        return found
    return Accused(Side.CONSUMER, (result.case.consumer,), found.why)


def _cleared(result: Result) -> Result:
    """Return an inconclusive result where the accused dictionary was written by the suite: the mistake is then in the suite."""
    accused = result.accused
    if result.outcome in BAD or accused is None or result.role is not Role.PRODUCER:
        return result
    ours = next((name for name in accused.libraries if _is_ours(result, name)), "")
    if not ours:
        return result
    told = f"{result.reason} (expected {result.expected}; actual {result.seen})"
    return Result(
        result.case, Outcome.INCONCLUSIVE, result.level, reason=f"{own_exporter(ours)} is at fault: {told}",
        duration=result.duration, attachments=result.attachments, attempts=result.attempts,
    )  # fmt: skip


def _is_ours(result: Result, name: str) -> bool:
    return result.clause.startswith(("CAI-", "PY-01")) and bool(own_exporter(name))


@lru_cache
def own_exporter(name: str) -> str:
    """Return the name of the suite's own exporter of the array interface for this library; empty if the library has one itself.

    Only adapters of this package can provide it: the module that judges results imports no other adapter.
    """
    from conformance.adapters import registry

    return registry.create(name).own_exporter if registry.is_ours(name) else ""


def _lowered(result: Result) -> Result:
    """Lower the level to a recommendation where the clause comes from another library's document."""
    if result.outcome in BAD or not (result.accused and result.accused.libraries and result.clause and result.role):
        return result
    levels = [clause(result.clause).level_for(result.role, name) for name in result.accused.libraries]
    level = result.level
    for demanded in levels:
        level = level.at_most(demanded) if level is not Level.ROBUSTNESS else level
    return replace(result, level=level)
