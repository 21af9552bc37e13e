"""The words that all reports have in common, and text from outside made safe to show, megabytes without a blank, too."""

from __future__ import annotations

from collections.abc import Mapping

from conformance.console.screen import harmless
from conformance.runs.model import Evidence
from conformance.runs.remarks import Kind

CUT = " […] "
NOTES: Mapping[str, str] = {
    "terminate": "Last words",
    "frame": "Innermost frame of a library",
    "blame": "Each side with the reference",
    "instead": "Ordered instead",
    "seen": "Seen in detail",
    "stderr": "Standard error",
    "python stack": "Python stack",
    "native stack": "Native stack",
}
"""How reports name attachments; others go by their own names. Evidence of a crash stands first."""

MEANINGS: Mapping[Kind, str] = {
    Kind.INTEGRITY: "digests of suite, lock, image, candidate or results do not match",
    Kind.STALE: "a cell ran with another lock or suite than there is now",
    Kind.NOT_TESTED: "a cell has no results, or a case is lost or not decided",
    Kind.SHRUNK: "the baseline has a cell or a case that this run does not plan",
    Kind.REGRESSION: "the case conformed before, or was supported, and does not now",
    Kind.NEW_VIOLATION: "the case violates, and the baseline does not have it",
    Kind.OWN_TESTS: "some tests that ran beside ours did not pass",
    Kind.WAIVER: "a waiver is expired, matches nothing, overlaps another, or expects a failure that no longer happens",
    Kind.STILL: "the case did not conform before and does not now",
    Kind.FIXED: "the case did not conform before, and now it does, or is better than it was",
    Kind.NEW_CASE: "the baseline does not have the case, and it violates nothing",
    Kind.NOTE: "a reader should know it, and it counts for nothing",
}
"""The meaning of a remark of the gate, by its kind."""


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
    """The end of a case on one line: reason, expected and seen."""
    outcome = "" if evidence.outcome == "fail" else f"{line(evidence.outcome)}: "
    return f"{outcome}{line(evidence.reason)}{expected_and_seen(evidence.expected, evidence.seen)}"


def expected_and_seen(expected: str, seen: str) -> str:
    """The same two on one line, each after a semicolon; empty where there is neither."""
    told = f"; expected {line(expected)}" if expected else ""
    return told + (f"; saw {line(seen)}" if seen else "")
