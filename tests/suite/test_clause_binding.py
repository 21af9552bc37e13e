"""A clause is held only against the side that it binds."""

from __future__ import annotations

import pytest

from conformance.checks.catalogue import Invariant, catalogue, invariant
from conformance.checks.codes import Code
from conformance.checks.outcomes import Failure, fail
from conformance.execution.deaths import GENERAL
from conformance.protocols.clauses import Level, NotBound, Role, all_clauses, clause


@pytest.mark.parametrize("name", sorted(catalogue()))
@pytest.mark.parametrize("role", Role)
def test_every_clause_that_an_invariant_holds_against_a_side_binds_that_side(name: str, role: Role) -> None:
    """Or binds nobody, and then demands nothing."""
    for id in catalogue()[name].duties[role]:
        found = clause(id)
        assert found.binds(role) or found.level(role) is Level.OBSERVED


@pytest.mark.parametrize("found", [one for one in catalogue().values() if one.canary is None], ids=lambda one: one.id)
def test_every_invariant_has_a_duty_of_somebody_or_demands_nothing(found: Invariant) -> None:
    """An invariant above the level of an observation accuses by some clause."""
    assert any(found.duties.values()) or found.level in (Level.OBSERVED, Level.ROBUSTNESS)


@pytest.mark.parametrize("key", GENERAL, ids=str)
def test_the_clauses_that_any_invariant_may_cite_bind_their_side(key: tuple[str, Role]) -> None:
    """Or demand nothing."""
    for id in GENERAL[key]:
        assert clause(id).level(key[1]) in Level


def test_an_invariant_cannot_cite_a_clause_against_the_other_side() -> None:
    """It is an error at import, so that no run can accuse anybody by it."""
    with pytest.raises(NotBound, match="DLP-20 does not bind the consumer"):
        invariant("x.y", consumer="DLP-20", level=Level.MUST, cases=lambda env: ())


def test_a_check_cannot_cite_a_clause_against_the_other_side() -> None:
    """Neither can a failure."""
    with pytest.raises(NotBound):
        fail(Code.STRIDES_CHANGED, "DLP-20", role=Role.CONSUMER, reason="r", expected="e", seen="s")


@pytest.mark.parametrize("one", all_clauses(), ids=lambda one: one.id)
@pytest.mark.parametrize("role", Role)
def test_a_failure_is_never_above_what_its_clause_demands_of_the_side(one: object, role: Role) -> None:
    """A level that is given can only lower it."""
    found = clause(one.id)  # type: ignore[attr-defined]
    try:
        demanded = found.level(role)
    except NotBound:
        return
    with pytest.raises(Failure) as raised:
        fail(Code.REFUSED, found.id, role=role, reason="r", expected="e", seen="s", level=Level.MUST)
    assert raised.value.level is demanded
