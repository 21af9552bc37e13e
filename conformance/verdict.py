"""Verdicts of cases: the word, letter, symbol, colour and meaning of each, for every table, page and file."""

from __future__ import annotations

from enum import Enum


class Verdict(str, Enum):
    """Meaning of the outcome of one case, worst first. A report never combines two verdicts.

    The value is the word in ``results.jsonl``. Run files use ``letter`` and tables use ``symbol``. ``colour`` is a name that
    :meth:`~conformance.console.screen.Screen.paint` knows.
    """

    letter: str
    symbol: str
    colour: str
    meaning: str

    def __new__(cls, word: str, letter: str, symbol: str, colour: str, meaning: str) -> Verdict:
        """Create a member with everything that reports show about it."""
        member = str.__new__(cls, word)
        member._value_ = word
        member.letter, member.symbol, member.colour, member.meaning = letter, symbol, colour, meaning
        return member

    VIOLATES = ("violates", "v", "✗", "red", "a library breaks a must")
    ROBUSTNESS = (
        "robustness",
        "b",
        "!",
        "magenta",
        "a library fails on input that the protocol forbids; no must is broken",
    )
    DEVIATES = ("deviates", "d", "~", "yellow", "a library does not follow a recommendation or an inferred rule")
    UNDECIDED = ("not decided", "u", "?", "blue", "the case ran, but its check was inconclusive")
    LOST = ("lost", "l", "○", "blue", "the case was planned but has no result")
    CONFORMS = ("conforms", "c", "✓", "green", "the check observed that the invariant holds")
    REFUSED = ("refused", "r", "∅", "dim", "a library raised a clean exception, which the protocol allows")
    OBSERVED = ("observed", "o", "i", "dim", "informational: no clause applies")

    @property
    def word(self) -> str:
        """The word in tables and files."""
        return str(self.value)

    @property
    def is_decided(self) -> bool:
        """Whether a gate can base its decision on the case."""
        return self not in (Verdict.UNDECIDED, Verdict.LOST)

    @property
    def speaks_against(self) -> bool:
        """Whether the verdict counts against a library: a violation, a deviation, or a failure on illegal input."""
        return self in (Verdict.VIOLATES, Verdict.ROBUSTNESS, Verdict.DEVIATES)


BY_LETTER = {verdict.letter: verdict for verdict in Verdict}
"""Each verdict by its letter in run files."""
LEGEND = "   ".join(f"{verdict.symbol} {verdict.word}" for verdict in Verdict)
"""One line under a table."""
