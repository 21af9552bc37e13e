"""The adapters of one process, loaded when first asked for, and the running of one case with them."""

from __future__ import annotations

import time
import traceback

from conformance.adapters import registry
from conformance.adapters.base import Adapter, Unsupported
from conformance.protocols.clauses import Level
from conformance.suite.catalogue import Case, Invariant
from conformance.suite.exchange import Exchange, Partners, Poisoned, brief
from conformance.suite.outcomes import Finding, Inconclusive, Outcome, Refused

from .results import Result


class Workbench:
    """Loads each library once. ``substitutes`` take the place of adapters, which is how faults get in."""

    def __init__(self, substitutes: dict[str, Adapter] | None = None) -> None:
        self._loaded: dict[str, Adapter] = dict(substitutes or {})

    def get(self, name: str) -> Adapter:
        """The loaded adapter; the library's own exception if it cannot be loaded."""
        if name not in self._loaded:
            adapter = registry.create(name)
            adapter.load()
            self._loaded[name] = adapter
        return self._loaded[name]

    def run(self, case: Case, invariant: Invariant) -> Result:
        """Run one case here and now. Whatever it raises becomes its outcome."""
        started = time.perf_counter()
        result = self._outcome(case, invariant)
        return result.lasting(time.perf_counter() - started)

    def _outcome(self, case: Case, invariant: Invariant) -> Result:
        exchange = Exchange(case, Partners(self.get))
        result = self._judged(exchange, case, invariant)
        try:
            exchange.check_context()
        except Poisoned as poisoned:
            told = f"{poisoned}; the check had ended as {result.outcome.value} {result.reason}".rstrip()
            result = Result(case, Outcome.POISONED, Level.MUST, invariant.clauses, told)
        except Exception as error:
            told = f"whether the CUDA context is sound cannot be told: {brief(error)}"
            result = Result(case, Outcome.INCONCLUSIVE, invariant.level, invariant.clauses, told)
        return result.beside(exchange.notes)

    def _judged(self, exchange: Exchange, case: Case, invariant: Invariant) -> Result:
        clauses, level = invariant.clauses, invariant.level
        try:
            invariant.check(exchange)
        except Finding as f:
            return Result(case, Outcome.FAIL, f.level, f.clauses, f.reason, f.expected, f.seen)
        except Refused as refusal:
            return Result(case, Outcome.REFUSED, level, clauses, str(refusal))
        except Poisoned as poisoned:
            return Result(case, Outcome.POISONED, Level.MUST, clauses, str(poisoned))
        except Inconclusive as undecided:
            return Result(case, Outcome.INCONCLUSIVE, level, clauses, str(undecided))
        except Unsupported as unsupported:
            return Result(case, Outcome.INCONCLUSIVE, level, clauses, f"not supported: {unsupported}")
        except Exception as error:
            return Result(
                case,
                Outcome.INCONCLUSIVE,
                level,
                clauses,
                f"the check itself raised {brief(error)}",
                attachments={"traceback": _trace(error)},
            )
        return Result(case, Outcome.PASS, level, clauses)


def _trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(type(error), error, error.__traceback__))[-4000:]


def preload(names: tuple[str, ...]) -> list[str]:
    """Import what these libraries say may be imported before a fork; returns what could not be."""
    failed = []
    for module in dict.fromkeys(m for name in names for m in registry.create(name).preload):
        try:
            __import__(module)
        except BaseException as error:
            failed.append(f"{module}: {brief(error)}")
    return failed
