"""The clauses that invariants cite, and what breaking them means."""

from __future__ import annotations

import pytest

from conformance.protocols.clauses import Level, Role, all_clauses, clause, strictest


def test_every_clause_says_what_who_and_where() -> None:
    """With a level for either side."""
    clauses = all_clauses()
    assert len({c.id for c in clauses}) == len(clauses) > 100
    for each in clauses:
        assert each.statement
        assert each.source
        assert {each.level(role) for role in Role} <= set(Level)


def test_an_unknown_clause_is_an_error() -> None:
    """A typing mistake must not pass for a clause."""
    with pytest.raises(KeyError):
        clause("DLP-999")


@pytest.mark.parametrize(
    ("id", "level"),
    [
        ("DLP-43", Level.MUST),
        ("DLP-23", Level.SHOULD),
        ("DLP-28", Level.SHOULD),
        ("G9", Level.OBSERVED),
        ("LIB-09", Level.OBSERVED),
        ("LIB-01", Level.MUST),
    ],
)
def test_the_keyword_decides_the_level(id: str, level: Level) -> None:
    """A starred must is a should, a library's documented promise binds it, grey areas and facts are observed."""
    assert clause(id).level(Role.PRODUCER) is level


def test_a_clause_may_bind_the_two_sides_differently() -> None:
    """The four keywords are a duty of the producer; asking again with fewer is recommended to the consumer."""
    assert (clause("DLP-30").level(Role.PRODUCER), clause("DLP-30").level(Role.CONSUMER)) == (Level.MUST, Level.SHOULD)


@pytest.mark.parametrize(
    ("ids", "level"),
    [
        (("G9", "DLP-23", "DLP-43"), Level.MUST),
        (("G9", "DLP-23"), Level.SHOULD),
        (("G9", "G7"), Level.OBSERVED),
        ((), Level.OBSERVED),
    ],
)
def test_the_strictest_of_several_clauses_counts(ids: tuple[str, ...], level: Level) -> None:
    """None at all is only observed."""
    assert strictest(ids, Role.PRODUCER) is level


def test_the_strictest_clause_is_that_for_the_side_accused() -> None:
    """What is a producer's duty may be good manners in a consumer."""
    assert strictest(("DLP-30",), Role.PRODUCER) is Level.MUST
    assert strictest(("DLP-30",), Role.CONSUMER) is Level.SHOULD


@pytest.mark.parametrize(
    ("level", "verdict"), [(Level.MUST, "violates"), (Level.SHOULD, "deviates"), (Level.OBSERVED, "observed")]
)
def test_each_level_has_a_word_for_its_breach(level: Level, verdict: str) -> None:
    """The word that reports use."""
    assert level.verdict_on_failure == verdict
