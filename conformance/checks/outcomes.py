"""How a check ends: silently for a pass, else by one of these exceptions."""

from __future__ import annotations

from enum import Enum
from typing import NoReturn

from conformance.protocols.clauses import Level, Role, clause

from .codes import Code


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


class Side(str, Enum):
    """Who is accused of a failure."""

    PRODUCER = "producer"
    CONSUMER = "consumer"
    BETWEEN = "between"
    """The library between the two, in a chain of three."""
    BOTH = "both"
    NEITHER = "neither"
    """No library: each side does its part, or no clause demands anything. The contract leaves a gap."""
    UNKNOWN = "not known"
    """The evidence does not decide."""


class Failure(Exception):
    """The invariant is broken. ``expected`` and ``seen`` are ready to be read by a person.

    ``clause`` is the one that was broken, held against the side ``role``. ``given`` says what is special about the input, if anything.
    ``accused`` is set where the check itself has proven which side is at fault; else each side is tried with the reference later.
    ``library`` names who is accused, where that is not the library on that side of the case.
    """

    def __init__(
        self, code: Code, clause: str, role: Role, level: Level, reason: str, expected: str, seen: str,
        *, given: str | None = None, accused: Side | None = None, library: str = "",
    ) -> None:  # fmt: skip
        self.code = code
        self.clause = clause
        self.role = role
        self.level = level
        self.reason = reason
        self.expected = expected
        self.seen = seen
        self.given = given
        self.accused = accused
        self.library = library
        super().__init__(f"{reason} (expected {expected}; saw {seen})")


class Refused(Exception):
    """A clean refusal that the protocol allows. The text says who refused, and how."""


class Inconclusive(Exception):
    """The check could not decide; the text says why."""


def fail(
    code: Code, cited: str, *, role: Role, reason: str, expected: object, seen: object, level: Level | None = None,
    given: str | None = None, accused: Side | None = None, library: str = "",
) -> NoReturn:  # fmt: skip
    """Report a broken invariant: the clause ``cited`` is held against the side ``role``.

    ``level`` can only lower what the clause demands of that side. Raises :class:`~conformance.protocols.clauses.NotBound` for a clause
    that binds only the other side. The rest is as in :class:`Failure`.
    """
    demanded = clause(cited).level(role)
    lowered = demanded if level is None else demanded.at_most(level)
    raise Failure(
        code, cited, role, lowered, reason, str(expected), str(seen), given=given, accused=accused, library=library,
    )  # fmt: skip


ACCUSED = {Role.PRODUCER: Side.PRODUCER, Role.CONSUMER: Side.CONSUMER}
"""The side of a role, where a check has proven who is at fault."""
