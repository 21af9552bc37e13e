"""The verdicts: each is told apart from every other, by whatever sign stands for it."""

from __future__ import annotations

import json
from importlib import resources

import pytest

from conformance.console.screen import Screen
from conformance.protocols.clauses import Level
from conformance.verdict import BY_LETTER, LEGEND, Verdict

SIGNS = ("word", "letter", "symbol", "meaning")


@pytest.mark.parametrize("sign", SIGNS)
def test_no_two_verdicts_share_a_sign(sign: str) -> None:
    """Tables, run files and legends have only these to tell them apart."""
    signs = [getattr(verdict, sign) for verdict in Verdict]
    assert len({*signs}) == len(signs) == 8
    assert all(signs)


@pytest.mark.parametrize("verdict", Verdict)
def test_letters_and_symbols_are_one_sign_wide(verdict: Verdict) -> None:
    """A run file has a letter for each case, and a table a symbol; a letter is no letter of a side, a symbol no digit."""
    assert (len(verdict.letter), len(verdict.symbol)) == (1, 1)
    assert verdict.letter.isascii()
    assert verdict.letter.islower()
    assert not verdict.symbol.isspace()
    assert not verdict.symbol.isdigit()


@pytest.mark.parametrize("verdict", Verdict)
def test_each_verdict_is_found_by_its_word_and_its_letter(verdict: Verdict) -> None:
    """As files have them; the word is the value."""
    assert Verdict(verdict.word) is verdict
    assert BY_LETTER[verdict.letter] is verdict
    assert (verdict.word, verdict) == (verdict.value, verdict.value)


def test_there_are_no_other_letters() -> None:
    """One for each verdict."""
    assert len(BY_LETTER) == len(Verdict)


def test_the_legend_has_every_symbol_with_its_word_worst_first() -> None:
    """In one line."""
    assert LEGEND.split("   ") == [f"{verdict.symbol} {verdict.word}" for verdict in Verdict]
    assert len(LEGEND.splitlines()) == 1
    assert LEGEND.startswith("✗ violates   ! robustness   ~ deviates   ? not decided")


@pytest.mark.parametrize("verdict", Verdict)
def test_a_screen_knows_each_colour(verdict: Verdict) -> None:
    """A name that it does not know would be an error in the middle of a report."""
    screen = Screen(None, 80, colours=True)  # type: ignore[arg-type]
    assert screen.paint("x", verdict.colour).endswith("x\x1b[0m")


@pytest.mark.parametrize("verdict", Verdict)
def test_a_meaning_ends_a_legend_line(verdict: Verdict) -> None:
    """No sentence of its own."""
    assert verdict.meaning[0].islower()
    assert not verdict.meaning.endswith(".")


def test_what_speaks_against_somebody_comes_first() -> None:
    """Then what nothing is known of, then what accuses nobody."""
    kinds = [(verdict.speaks_against, verdict.is_decided) for verdict in Verdict]
    assert kinds == [(True, True)] * 3 + [(False, False)] * 2 + [(False, True)] * 3
    assert [verdict for verdict in Verdict if verdict.speaks_against] == [
        Verdict.VIOLATES,
        Verdict.ROBUSTNESS,
        Verdict.DEVIATES,
    ]
    assert [verdict for verdict in Verdict if not verdict.is_decided] == [Verdict.UNDECIDED, Verdict.LOST]


def test_each_level_of_a_clause_has_a_verdict_of_its_own() -> None:
    """What is only observed speaks against nobody; what the protocol forbids is robustness."""
    assert {level: level.verdict for level in Level} == {
        Level.MUST: Verdict.VIOLATES,
        Level.SHOULD: Verdict.DEVIATES,
        Level.OBSERVED: Verdict.OBSERVED,
        Level.ROBUSTNESS: Verdict.ROBUSTNESS,
    }


def test_the_words_are_those_of_the_schema() -> None:
    """Whoever reads results knows them by these words."""
    schema = resources.files("conformance.execution").joinpath("schemas", "results.schema.json")
    told = json.loads(schema.read_text(encoding="utf-8"))["properties"]["verdict"]["enum"]
    assert {verdict.word for verdict in Verdict} == set(told)
