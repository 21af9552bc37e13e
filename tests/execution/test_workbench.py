"""How one case becomes a result, whatever happens in it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from conformance.adapters.base import Device
from conformance.execution.workbench import Workbench
from conformance.suite.catalogue import Case, catalogue
from conformance.suite.exchange import Exchange, Poisoned
from conformance.suite.outcomes import Inconclusive, Outcome

CASE = Case("pointer.values", "reference", "reference", "dlpack", Device.HOST)


def undecided(exchange: Exchange) -> None:
    """A check that cannot tell."""
    exchange.notes["seen"] = "something"
    raise Inconclusive("who knows")


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [(Poisoned("the CUDA context answers 700"), Outcome.POISONED), (RuntimeError("no memory"), Outcome.INCONCLUSIVE)],
)
def test_the_context_is_looked_at_whatever_a_check_ended_as(
    answer: Exception, outcome: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lost context is this case's doing, not the next one's; and a question that fails is no pass."""

    def ask(exchange: Exchange) -> None:
        raise answer

    monkeypatch.setattr(Exchange, "check_context", ask)
    for check in (undecided, lambda exchange: None):
        result = Workbench().run(CASE, replace(catalogue()[CASE.invariant], check=check))
        assert (result.outcome, str(answer) in result.reason) == (outcome, True)


def test_what_was_noted_lies_beside_the_result() -> None:
    """Also where nothing was decided."""
    result = Workbench().run(CASE, replace(catalogue()[CASE.invariant], check=undecided))
    assert (result.outcome, result.attachments["seen"]) == (Outcome.INCONCLUSIVE, "something")
