"""Adapters of one process, loaded on first use, and the run of a case with them."""

from __future__ import annotations

import time
import traceback

from conformance.adapters import registry
from conformance.adapters.base import Adapter, Protocol, Unsupported
from conformance.checks import deadline, time_spent
from conformance.checks.base_exceptions import stand_in
from conformance.checks.catalogue import Case, Invariant, Isolation
from conformance.checks.codes import Code
from conformance.checks.exchange import Exchange, Partners, Poisoned, brief
from conformance.checks.outcomes import Failure, Inconclusive, Outcome, Refused
from conformance.checks.steps import Steps
from conformance.protocols.clauses import Level, Role
from conformance.reference.guards import GUARDS

from .cleanup import settle
from .deaths import after, declares, died, when
from .results import SEEN, Accused, Result


class Workbench:
    """Loads each library once. ``substitutes`` replace adapters; the self-test injects its faults in this way."""

    def __init__(self, substitutes: dict[str, Adapter] | None = None) -> None:
        self._loaded: dict[str, Adapter] = dict(substitutes or {})

    def get(self, name: str) -> Adapter:
        """Return the loaded adapter. Raises the library's own exception if it cannot be loaded."""
        if name not in self._loaded:
            adapter = registry.create(name)
            with deadline.not_counted(), time_spent.on(time_spent.Purpose.IMPORT):
                adapter.load()
            self._loaded[name] = adapter
        return self._loaded[name]

    def run(self, case: Case, invariant: Invariant, steps: Steps | None = None) -> Result:
        """Run one case in this process. Any exception becomes its outcome. ``steps`` records the current step."""
        started = time.perf_counter()
        result = self._outcome(case, invariant, steps or Steps())
        return result.lasting(time.perf_counter() - started)

    def _outcome(self, case: Case, invariant: Invariant, steps: Steps) -> Result:
        used: dict[str, Adapter] = {}
        exchange = Exchange(case, Partners(lambda name: used.setdefault(name, self.get(name))), steps)
        GUARDS.begin()
        result = self._judged(exchange, case, invariant, steps)
        if result.outcome is not Outcome.POISONED:
            result = self._looked_at(exchange, result, invariant, steps)
        if result.outcome is not Outcome.POISONED and invariant.isolation is not Isolation.EXIT:
            with time_spent.on(time_spent.Purpose.SETTLE):
                settle(exchange, result, used.values())
            result = self._looked_at(exchange, result, invariant, steps)
        return outside(exchange, invariant, result).beside(exchange.notes)

    def _looked_at(self, exchange: Exchange, result: Result, invariant: Invariant, steps: Steps) -> Result:
        """Return the result if the CUDA context is usable after the case. A corrupted context is blamed on this case, not on the next one."""
        try:
            exchange.check_context()
        except Poisoned as poisoned:
            step, ended = steps.newest, f"{result.outcome.value} {result.reason}".rstrip()
            told = f"{poisoned}, seen {after(result.case, step)}; the check had ended as {ended}"
            return died(result.case, invariant, step, Outcome.POISONED, told)
        except Exception as error:
            told = f"the state of the CUDA context is unknown: {brief(error)}"
            return Result(result.case, Outcome.INCONCLUSIVE, invariant.level, reason=told)
        return result

    def _judged(self, exchange: Exchange, case: Case, invariant: Invariant, steps: Steps) -> Result:
        level = invariant.level
        try:
            invariant.check(exchange)
        except Failure as failure:
            return failed(case, invariant, failure, exchange)
        except Refused as refusal:
            return Result(case, Outcome.REFUSED, level, reason=str(refusal))
        except Poisoned as poisoned:
            step = steps.newest
            return died(case, invariant, step, Outcome.POISONED, f"{poisoned}, seen {when(case, step)}")
        except Inconclusive as undecided:
            return Result(case, Outcome.INCONCLUSIVE, level, reason=str(undecided))
        except Unsupported as unsupported:
            return Result(case, Outcome.INCONCLUSIVE, level, reason=f"not supported: {unsupported}")
        except BaseException as error:
            if not isinstance(error, Exception) and stand_in(error) is None:
                raise
            return Result(
                case,
                Outcome.INCONCLUSIVE,
                level,
                reason=f"the check itself raised {brief(error)}",
                attachments={"traceback": _trace(error)},
            )
        return Result(case, Outcome.PASS, level)


_READING = {Protocol.DLPACK.value: "DLP-58", Protocol.CAI.value: "CAI-32"}
"""Clause that makes a consumer use an array as described, by protocol."""


def outside(exchange: Exchange, invariant: Invariant, result: Result) -> Result:
    """Return the result, or a failure if the guard bytes around a block of the reference changed. An earlier failure stays, with a note.

    The reference never writes there, so its only partner is accused, on either side. If there are two partners, trials with the reference decide
    (``accusations.py``). If the bytes do not change in the trials, the accused side stays unknown.
    """
    spills = GUARDS.spills()
    if not spills:
        return result
    told = "; ".join(spill.told for spill in spills)
    exchange.notes["beside a block"] = told
    if result.outcome not in (Outcome.PASS, Outcome.REFUSED, Outcome.INCONCLUSIVE):
        return result
    failure = Failure(
        Code.WRITE_OUTSIDE, _READING.get(result.case.protocol, "PY-02"), Role.CONSUMER, Level.MUST,
        "bytes beside the memory of the array change during the exchange", "no change", told,
    )  # fmt: skip
    return failed(result.case, invariant, failure, exchange)


def failed(case: Case, invariant: Invariant, failure: Failure, exchange: Exchange) -> Result:
    """Return the result of a failure. A failure with a clause that its invariant does not declare is a mistake of the suite: inconclusive."""
    given = exchange.given if failure.given is None else failure.given
    if not exchange.is_illegal and not declares(invariant, failure.role, failure.clause):
        told = (
            f"the suite cites {failure.clause} against the {failure.role.value}, which {invariant.id} does not declare"
        )
        return Result(case, Outcome.INCONCLUSIVE, invariant.level, reason=f"{told}: {failure}")
    return Result(
        case,
        Outcome.FAIL,
        _level(failure, exchange),
        code=failure.code.value,
        clause="" if exchange.is_illegal else failure.clause,
        role=failure.role,
        given=given,
        accused=_accused(failure),
        reason=failure.reason,
        expected=failure.expected,
        seen=failure.seen,
    )


def _accused(failure: Failure) -> Accused | None:
    if failure.accused is None:
        return None
    return Accused(failure.accused, (failure.library,) if failure.library else (), SEEN)


def _level(failure: Failure, exchange: Exchange) -> Level:
    """Return the level of a failure. A consumer that only accepts illegal input shows no misbehaviour, so that is only observed."""
    if not exchange.is_illegal:
        return failure.level
    return Level.OBSERVED if failure.code is Code.ILLEGAL_ACCEPTED else Level.ROBUSTNESS


def _trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(type(error), error, error.__traceback__))[-4000:]


WITH_STATES = "+states"
"""Suffix of a library's name that requests the import of its modules for states, too."""


def preload(names: tuple[str, ...]) -> list[str]:
    """Import the modules that these libraries declare safe before a fork. Return the failures."""
    failed = []
    for name in names:
        try:
            adapter = registry.create(name.removesuffix(WITH_STATES))
            modules = (*adapter.preload, *(adapter.preload_for_states if name.endswith(WITH_STATES) else ()))
        except BaseException as error:
            failed.append(f"{name}: {brief(error)}")
            continue
        for module in modules:
            try:
                __import__(module)
            except BaseException as error:
                failed.append(f"{name}: {module}: {brief(error)}")
    return failed
