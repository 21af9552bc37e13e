"""Final result of each case from the answers of a monitor. ``check`` does the same work for all cases at the end of a run.

* A failure in a shared process has to show alone. ``check`` repeats the smallest failure of each kind after all other cases.
  Here the first failure of a kind in this process is repeated (``execution/repeats.py``).
* Trials, which are the same case with the reference on one side, find the accused (``execution/accusations.py``). They run here at once,
  each only once in a process. They may be cases that the user did not select.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from conformance.checks.catalogue import Case, Isolation, catalogue
from conformance.checks.outcomes import Outcome
from conformance.execution import accusations, repeats
from conformance.execution.hazards import isolation_of
from conformance.execution.results import Result, Where, put_together

from .monitor_client import Answer

Ask = Callable[[Case, Isolation], Answer]


@dataclass(frozen=True)
class Told:
    """Result of a case with the accused. ``culprits`` are results that replace earlier ones (``monitor_client.Answer``)."""

    result: Result
    culprits: tuple[Result, ...] = ()


class Judge:
    """Runs the cases of one process and determines their final results. ``plan`` has every case of this environment, selected or not."""

    def __init__(self, ask: Ask, plan: Mapping[str, Case]) -> None:
        self._ask = ask
        self._plan = plan
        self._known: dict[str, Result] = {}
        self._trials: set[str] = set()
        """Cases that ran as trials and were not reported."""
        self._proven: dict[str, list[Result]] = defaultdict(list)
        """Failures that occurred alone, by invariant."""
        self._culprits: list[Result] = []

    def judged(self, case: Case) -> Told:
        """Run a case, its repeat and its trials."""
        if case.id not in self._trials:
            self._known.pop(case.id, None)
        self._trials.discard(case.id)
        self._culprits = []
        result = self._settled(self._run(case))
        return Told(result, tuple(map(self._settled, self._culprits)))

    def _run(self, case: Case) -> Result:
        """Return the result of the case, which runs only once."""
        if case.id not in self._known:
            self._known[case.id] = self._proven_result(case)
        return self._known[case.id]

    def _proven_result(self, case: Case) -> Result:
        invariant = catalogue()[case.invariant]
        answer = self._heard(case, isolation_of(case, invariant))
        result = answer.result
        if repeats.unproven([*self._proven[case.invariant], result]):
            alone = self._heard(case, isolation_of(case, invariant, (case.id,)))
            result = put_together(result, answer.before, Where.SHARED, alone.result)
        if result.outcome is Outcome.FAIL and not repeats.unproven([result]):
            self._proven[case.invariant].append(result)
        return result

    def _heard(self, case: Case, isolation: Isolation) -> Answer:
        answer = self._ask(case, isolation)
        self._culprits += answer.culprits
        self._known.update({culprit.case.id: culprit for culprit in answer.culprits})
        return answer

    def _settled(self, result: Result) -> Result:
        """Return the result with the accused."""
        trials = {trial.id: trial for trial in accusations.trials(result.case).values()}
        wanted = {trial.id for trial in accusations.untried({result.case.id: result})}

        def find(id: str) -> Result | None:
            if id in trials and id not in self._known and (id in wanted or id in self._plan):
                self._trials.add(id)
                self._run(trials[id])
            return self._known.get(id)

        return accusations.accused(result, find)
