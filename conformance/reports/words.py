"""Wording common to all reports, and functions that make text from outside safe to print."""

from __future__ import annotations

from collections.abc import Mapping

from conformance.console.screen import harmless
from conformance.runs.model import Evidence
from conformance.runs.remarks import Kind

CUT = " […] "
NOTES: Mapping[str, str] = {
    "terminate": "Last message of the runtime",
    "frame": "Innermost frame of a library",
    "blame": "Each side with the reference",
    "instead": "Ordered instead",
    "seen": "Seen in detail",
    "stderr": "Standard error",
    "python stack": "Python stack",
    "native stack": "Native stack",
}
"""Labels of attachments in reports; other attachments have their own names. Evidence of a crash comes first."""

MEANINGS: Mapping[Kind, str] = {
    Kind.INTEGRITY: "digests of suite, lock, image, candidate or results do not match",
    Kind.STALE: "a cell ran with another lock or suite than the current one",
    Kind.NOT_TESTED: "a cell has no results, or a case is lost or not decided",
    Kind.SHRUNK: "the baseline has a cell or a case that this run does not plan",
    Kind.REGRESSION: "the case conformed before, or was supported, but is not now",
    Kind.NEW_VIOLATION: "the case violates, and the baseline does not have it",
    Kind.OWN_TESTS: "some of the package's own tests did not pass",
    Kind.WAIVER: "a waiver is expired, matches nothing, overlaps another, or expects a failure that no longer happens",
    Kind.STILL: "the case conforms neither in the baseline nor now",
    Kind.FIXED: "the case did not conform before; now it conforms or has a better verdict",
    Kind.NEW_CASE: "the baseline does not have the case, and it does not violate",
    Kind.NOTE: "information without effect on the exit code",
}
"""The meaning of a remark of the gate, by its kind."""


def plain(text: str, most: int = 4000) -> str:
    """Return the text without control characters, cut in the middle to at most ``most`` characters."""
    return _cut(harmless(_cut(text, most)), most)


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    tail = most // 4
    return text[: most - tail - len(CUT)] + CUT + text[len(text) - tail :]


def line(text: str, most: int = 400) -> str:
    """Return the text on one line, cut to at most ``most`` characters."""
    return " ".join(plain(text, most).split())


def seen_in_short(evidence: Evidence) -> str:
    """Return the result of a case on one line: reason, expected and seen."""
    outcome = "" if evidence.outcome == "fail" else f"{line(evidence.outcome)}: "
    return f"{outcome}{line(evidence.reason)}{expected_and_seen(evidence.expected, evidence.seen)}"


def expected_and_seen(expected: str, seen: str) -> str:
    """Return expected and seen on one line, each after a semicolon; empty if there is neither."""
    told = f"; expected {line(expected)}" if expected else ""
    return told + (f"; saw {line(seen)}" if seen else "")
