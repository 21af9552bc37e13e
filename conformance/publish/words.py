"""The words and signs that all reports have in common, and text from outside made safe to show, megabytes without a blank, too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from conformance.report.screen import harmless
from conformance.verdict import Verdict
from conformance.verdicts.model import Evidence
from conformance.verdicts.remarks import Kind

CUT = " […] "


@dataclass(frozen=True)
class Sign:
    """How a state is shown: one character, a colour of the terminal, and what it means."""

    symbol: str
    colour: str
    meaning: str


SIGNS: Mapping[Verdict, Sign] = {
    Verdict.VIOLATES: Sign("✗", "red", "a promise is broken"),
    Verdict.DEVIATES: Sign("~", "yellow", "a recommendation, or a rule that is only inferred, is not followed"),
    Verdict.UNDECIDED: Sign("?", "blue", "it ran, and nobody can say what it means"),
    Verdict.LOST: Sign("!", "blue", "it was planned, and there is no outcome"),
    Verdict.CONFORMS: Sign("✓", "green", "it was seen to hold"),
    Verdict.REFUSED: Sign("∅", "dim", "it was not done, as a library may"),
    Verdict.OBSERVED: Sign("i", "dim", "told only: no contract asks for anything"),
}
"""Worst first; what speaks for nobody last."""

MEANINGS: Mapping[Kind, str] = {
    Kind.INTEGRITY: "digests of suite, lock, image, candidate or results do not match",
    Kind.STALE: "a cell was run for another lock or suite than there is now",
    Kind.NOT_TESTED: "a cell has no results, or a case is lost or not decided",
    Kind.SHRUNK: "the baseline has a cell or a case that was not even planned",
    Kind.REGRESSION: "it conformed before, or was supported, and does not now",
    Kind.NEW_VIOLATION: "it violates, and the baseline does not have it",
    Kind.OWN_TESTS: "the tests that were run beside ours did not all pass",
    Kind.WAIVER: "a waiver is expired, matches nothing, overlaps another, or expects a failure that no longer happens",
    Kind.STILL: "it did not conform before and does not now",
    Kind.FIXED: "it did not conform before, and now it does, or is better than it was",
    Kind.NEW_CASE: "the baseline does not have it, and it violates nothing",
    Kind.NOTE: "to be known",
}
"""What a remark of the gate says, by its kind."""

LEGEND = "   ".join(f"{sign.symbol} {state.word}" for state, sign in SIGNS.items())


def plain(text: str, most: int = 4000) -> str:
    """The text made harmless, and no longer than ``most``: else its middle is cut out."""
    return _cut(harmless(_cut(text, most)), most)


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    tail = most // 4
    return text[: most - tail - len(CUT)] + CUT + text[len(text) - tail :]


def line(text: str, most: int = 400) -> str:
    """The same on one line."""
    return " ".join(plain(text, most).split())


def seen_in_short(evidence: Evidence) -> str:
    """What was expected and what was seen, on one line."""
    outcome = "" if evidence.outcome == "fail" else f"{line(evidence.outcome)}: "
    expected = f"; expected {line(evidence.expected)}" if evidence.expected else ""
    seen = f"; saw {line(evidence.seen)}" if evidence.seen else ""
    return f"{outcome}{line(evidence.reason)}{expected}{seen}"
