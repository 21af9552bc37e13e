"""How a check ends: silently for a pass, else by one of these exceptions."""

from __future__ import annotations

from enum import Enum
from typing import NoReturn

from conformance.protocols.clauses import Level, Role, strictest


class Outcome(str, Enum):
    """What happened in a case, raw. Judging it (waivers, baseline) comes later and elsewhere."""

    PASS = "pass"
    FAIL = "fail"
    REFUSED = "refused"
    CRASH = "crash"
    HANG = "hang"
    POISONED = "poisoned"
    INCONCLUSIVE = "inconclusive"
    SKIPPED = "skipped"
    LOST = "lost"

    @property
    def meaning(self) -> str:
        """One line for a legend."""
        return _MEANINGS[self]


_MEANINGS = {
    Outcome.PASS: "the invariant was seen to hold",
    Outcome.FAIL: "the invariant was seen to be broken",
    Outcome.REFUSED: "the exchange was refused with a clean exception where the protocol allows refusing",
    Outcome.CRASH: "the process died",
    Outcome.HANG: "the deadline was reached",
    Outcome.POISONED: "the CUDA context was unusable afterwards",
    Outcome.INCONCLUSIVE: "the check could not decide",
    Outcome.SKIPPED: "not run, by somebody's decision",
    Outcome.LOST: "planned, but nothing was reported",
}


class Finding(Exception):
    """The invariant is broken. ``expected`` and ``seen`` are ready to be read by a person."""

    def __init__(self, clauses: tuple[str, ...], level: Level, reason: str, expected: str, seen: str) -> None:
        self.clauses = clauses
        self.level = level
        self.reason = reason
        self.expected = expected
        self.seen = seen
        super().__init__(f"{reason} (expected {expected}; saw {seen})")


class Refused(Exception):
    """A clean refusal that the protocol allows. The text says who refused, and how."""


class Inconclusive(Exception):
    """The check could not decide; the text says why."""


def fail(
    *clauses: str, role: Role, reason: str, expected: object, seen: object, level: Level | None = None
) -> NoReturn:
    """Report a broken invariant. Its level is that of the strictest clause cited, unless given."""
    raise Finding(clauses, level or strictest(clauses, role), reason, str(expected), str(seen))
