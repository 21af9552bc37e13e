"""How a check tells what it found."""

from __future__ import annotations

import json
from importlib import resources

import pytest

from conformance.checks.codes import Code
from conformance.checks.outcomes import Failure, Outcome, Side, fail
from conformance.protocols.clauses import Level, NotBound, Role


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


def test_a_failure_tells_all_that_a_report_needs() -> None:
    """What kind of mistake, whose, which clause it breaks, how much that demands, what was expected and seen, ready to be read."""
    with pytest.raises(Failure) as caught:
        fail(
            Code.NOT_SHARED, "DLP-43", role=Role.PRODUCER, reason="copied", expected=4096, seen=8192,
            given="a strided view", accused=Side.PRODUCER, library="cupy",
        )  # fmt: skip
    found = caught.value
    assert (found.code, found.clause, found.role, found.level) == (
        Code.NOT_SHARED, "DLP-43", Role.PRODUCER, Level.MUST,
    )  # fmt: skip
    assert (found.reason, found.expected, found.seen) == ("copied", "4096", "8192")
    assert (found.given, found.accused, found.library) == ("a strided view", Side.PRODUCER, "cupy")
    assert str(found) == "copied (expected 4096; saw 8192)"


def test_a_failure_that_is_told_no_more_leaves_the_rest_open() -> None:
    """What is special comes from the case then, and who is accused from trials; an empty text is not the same as none."""
    found = raised("DLP-43", Role.PRODUCER)
    assert (found.given, found.accused, found.library) == (None, None, "")


def raised(cited: str, role: Role, level: Level | None = None) -> Failure:
    """The failure by a clause against a side."""
    with pytest.raises(Failure) as caught:
        fail(Code.REFUSED, cited, role=role, reason="", expected="", seen="", level=level)
    return caught.value


def test_what_the_clause_demands_of_the_side_is_the_level() -> None:
    """What is a producer's duty may be good manners in a consumer, and what we infer is no more than that."""
    assert raised("DLP-30", Role.PRODUCER).level is Level.MUST
    assert raised("DLP-30", Role.CONSUMER).level is Level.SHOULD
    assert raised("DLP-21", Role.CONSUMER).level is Level.SHOULD


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("cited", ["G9", "CAI-27", "CAI-30"])
def test_a_clause_that_binds_no_library_gives_an_observation(cited: str, role: Role) -> None:
    """A rule of our own, a duty of the user's, a fact: whatever level is asked for."""
    assert raised(cited, role).level is Level.OBSERVED
    assert raised(cited, role, Level.MUST).level is Level.OBSERVED


def test_a_clause_of_the_other_side_cannot_be_held_against_this_one() -> None:
    """The check itself fails instead, so that nobody is accused by it."""
    with pytest.raises(NotBound, match="DLP-20 does not bind the consumer"):
        raised("DLP-20", Role.CONSUMER)


@pytest.mark.parametrize(
    ("given", "level"),
    [
        (Level.MUST, Level.SHOULD),
        (Level.SHOULD, Level.SHOULD),
        (Level.OBSERVED, Level.OBSERVED),
        (Level.ROBUSTNESS, Level.ROBUSTNESS),
    ],
)
def test_a_level_that_is_given_can_only_lower_the_demand(given: Level, level: Level) -> None:
    """Where a clause demands less in one situation than in another."""
    assert raised("DLP-30", Role.CONSUMER, given).level is level
