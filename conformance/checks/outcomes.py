"""Outcomes of cases, and the exceptions that end a check. A check that returns has passed."""

from __future__ import annotations

from enum import Enum
from typing import NoReturn

from conformance.protocols.clauses import Level, Role, clause

from .codes import Code


class Outcome(str, Enum):
    """The raw outcome of a case. Waivers and baselines are applied after the run."""

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
        """The meaning in one line, for a legend."""
        return _MEANINGS[self]


_MEANINGS = {
    Outcome.PASS: "the check ran, and the invariant holds",
    Outcome.FAIL: "the check ran, and the invariant is broken",
    Outcome.REFUSED: "a library refused the exchange with a clean exception, as the protocol allows",
    Outcome.CRASH: "the process crashed",
    Outcome.HANG: "the case exceeded its timeout",
    Outcome.POISONED: "the case corrupted the CUDA context (sticky error)",
    Outcome.INCONCLUSIVE: "the check could not decide",
    Outcome.SKIPPED: "the case was skipped deliberately",
    Outcome.LOST: "the case was planned, but reported no result",
}


class Side(str, Enum):
    """The side that is accused of a failure."""

    PRODUCER = "producer"
    CONSUMER = "consumer"
    BETWEEN = "between"
    """The library in the middle of a chain of three."""
    BOTH = "both"
    NEITHER = "neither"
    """No library: each side does what the contract demands, or no clause applies."""
    UNKNOWN = "not known"
    """The evidence does not decide."""


class Failure(Exception):
    """The invariant is broken. ``expected`` and ``seen`` are texts for the reader of a report.

    ``clause`` is the broken clause, and ``role`` is the side that it binds. ``given`` is the special property of the input, if there is one.
    ``accused`` is set if the check has proven which side is at fault. Otherwise each side is later tried with the reference. ``library`` names
    the accused library if it is not the library on that side of the case.
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
    """A clean refusal that the protocol allows. The text names the library that refused, and the exception."""


class Inconclusive(Exception):
    """The check could not decide. The text gives the reason."""


def fail(
    code: Code, cited: str, *, role: Role, reason: str, expected: object, seen: object, level: Level | None = None,
    given: str | None = None, accused: Side | None = None, library: str = "",
) -> NoReturn:  # fmt: skip
    """Raise :class:`Failure` because the side ``role`` breaks the clause ``cited``.

    ``level`` can only lower the level of the clause. The other parameters are those of :class:`Failure`.

    Raises:
        NotBound: the clause does not bind this side.
    """
    demanded = clause(cited).level(role)
    lowered = demanded if level is None else demanded.at_most(level)
    raise Failure(
        code, cited, role, lowered, reason, str(expected), str(seen), given=given, accused=accused, library=library,
    )  # fmt: skip


ACCUSED = {Role.PRODUCER: Side.PRODUCER, Role.CONSUMER: Side.CONSUMER}
"""The accused side for each role, for checks that have proven which side is at fault."""
