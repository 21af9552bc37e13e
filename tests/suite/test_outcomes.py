"""How a check tells what it found."""

from __future__ import annotations

import json
from importlib import resources

import pytest

from conformance.protocols.clauses import Level, Role
from conformance.suite.outcomes import Finding, Outcome, fail


def test_the_outcomes_are_those_of_the_schema() -> None:
    """Whoever reads results knows them by these words."""
    schema = resources.files("conformance.execution").joinpath("schemas", "results.schema.json")
    told = json.loads(schema.read_text(encoding="utf-8"))["properties"]["outcome"]["enum"]
    assert {outcome.value for outcome in Outcome} == set(told)


def test_every_outcome_has_a_meaning_of_its_own() -> None:
    """A legend explains each."""
    meanings = {outcome.meaning for outcome in Outcome}
    assert len(meanings) == len(Outcome)
    assert all(meanings)


def test_a_finding_tells_all_that_a_report_needs() -> None:
    """What was promised, how much that demands, what was expected and seen, ready to be read."""
    with pytest.raises(Finding) as caught:
        fail("DLP-43", "G9", role=Role.PRODUCER, reason="copied", expected=4096, seen=8192)
    found = caught.value
    assert (found.clauses, found.level) == (("DLP-43", "G9"), Level.MUST)
    assert (found.reason, found.expected, found.seen) == ("copied", "4096", "8192")
    assert str(found) == "copied (expected 4096; saw 8192)"


def test_the_strictest_clause_for_the_side_accused_is_the_level() -> None:
    """What is a producer's duty may be good manners in a consumer."""
    for role, level in ((Role.PRODUCER, Level.MUST), (Role.CONSUMER, Level.SHOULD)):
        with pytest.raises(Finding) as caught:
            fail("DLP-30", "G9", role=role, reason="", expected="", seen="")
        assert caught.value.level is level


def test_a_level_that_is_given_counts_instead() -> None:
    """Where a clause demands less in one situation than in another."""
    with pytest.raises(Finding) as caught:
        fail("DLP-43", role=Role.PRODUCER, reason="", expected="", seen="", level=Level.OBSERVED)
    assert caught.value.level is Level.OBSERVED
