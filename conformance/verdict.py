"""Verdicts of cases: one enum with the word, letter, symbol, colour and meaning of each, for every table, page and file."""

from __future__ import annotations

from enum import Enum


class Verdict(str, Enum):
    """Meaning of the outcome of one case, the most serious first. No verdict is ever merged with another one.

    The value is the word in ``results.jsonl``. Run files contain ``letter``, and tables contain ``symbol``. ``colour`` is a name
    that :meth:`~conformance.console.screen.Screen.paint` knows.
    """

    letter: str
    symbol: str
    colour: str
    meaning: str

    def __new__(cls, word: str, letter: str, symbol: str, colour: str, meaning: str) -> Verdict:
        """Create a member with the attributes that reports show."""
        member = str.__new__(cls, word)
        member._value_ = word
        member.letter, member.symbol, member.colour, member.meaning = letter, symbol, colour, meaning
        return member

    VIOLATES = ("violates", "v", "✗", "red", "a library breaks a promise")
    ROBUSTNESS = (
        "robustness",
        "b",
        "!",
        "magenta",
        "a library fails on input that the protocol forbids; it breaks no promise",
    )
    DEVIATES = ("deviates", "d", "~", "yellow", "a library does not follow a recommendation, or a rule that we infer")
    UNDECIDED = ("not decided", "u", "?", "blue", "the case ran, and the check could not decide")
    LOST = ("lost", "l", "○", "blue", "the case was planned and has no outcome")
    CONFORMS = ("conforms", "c", "✓", "green", "the check saw the invariant hold")
    REFUSED = ("refused", "r", "∅", "dim", "a library refused the exchange cleanly, as it may")
    OBSERVED = ("observed", "o", "i", "dim", "recorded only; no clause demands anything")

    @property
    def word(self) -> str:
        """Word in tables and files."""
        return str(self.value)

    @property
    def is_decided(self) -> bool:
        """Whether the case has a result that a gate can use."""
        return self not in (Verdict.UNDECIDED, Verdict.LOST)

    @property
    def speaks_against(self) -> bool:
        """Whether this is a finding against a library: a broken promise, a deviation, or a failure on illegal input."""
        return self in (Verdict.VIOLATES, Verdict.ROBUSTNESS, Verdict.DEVIATES)


BY_LETTER = {verdict.letter: verdict for verdict in Verdict}
"""Verdicts by their letters in run files."""
LEGEND = "   ".join(f"{verdict.symbol} {verdict.word}" for verdict in Verdict)
"""Legend below a table, in one line."""
