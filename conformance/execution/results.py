"""Results of cases, and the files of results and plans."""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import Enum
from operator import itemgetter
from pathlib import Path
from typing import Any

from conformance import documents, files, shapes
from conformance.adapters.base import Device
from conformance.checks.catalogue import VIA, Case
from conformance.checks.outcomes import Outcome, Side
from conformance.protocols.clauses import Level, Role
from conformance.verdict import Verdict

Line = dict[str, Any]
"""A result in JSON: a line of ``results.jsonl``, or the end of a case in the journal."""

BAD = frozenset({Outcome.CRASH, Outcome.HANG, Outcome.POISONED})
"""Outcomes that lose a process or its CUDA context: always violations, at any level of the invariant."""

ACCUSING = BAD | {Outcome.FAIL}
"""Outcomes that accuse a library."""

TRUSTED = frozenset({Outcome.PASS, Outcome.REFUSED})
"""Outcomes that accuse no library."""


class Where(str, Enum):
    """Kind of process in which a case was tried."""

    COMPANY = "in company"
    """In a shared process that had run other cases before."""
    RESTARTED = "first after a restart"
    """As the first case of a process that replaced a lost one."""
    SHARED = "in a shared process"
    """In a process that may have run other cases before."""
    SECOND = "in a second process"
    """In a process that only repeats failures of the same libraries."""
    ALONE = "alone"


@dataclass(frozen=True)
class Attempt:
    """One of several tries of a case: its end, its kind of process, and the cases that the process had run before, newest last.

    ``outside`` is whether a signal of another process ended it.
    """

    where: Where
    outcome: Outcome
    reason: str
    after: tuple[str, ...] = ()
    outside: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of ``results.jsonl``."""
        return {
            "where": self.where.value,
            "outcome": self.outcome.value,
            "reason": self.reason,
            "after": list(self.after),
            **({"outside": True} if self.outside else {}),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Attempt:
        """Create the object from the result of :meth:`to_json`."""
        return cls(
            Where(data["where"]),
            Outcome(data["outcome"]),
            data["reason"],
            tuple(data["after"]),
            data.get("outside", False),
        )


SEEN = "seen in the check"
"""Reason for an accusation by the check itself, which identified the side."""


@dataclass(frozen=True)
class Accused:
    """The accused of a failure: the side, the names of the libraries, and the reason in words."""

    side: Side
    libraries: tuple[str, ...] = ()
    why: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of ``results.jsonl``."""
        return {"side": self.side.value, "libraries": list(self.libraries), "why": self.why}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Accused:
        """Create the object from the result of :meth:`to_json`."""
        return cls(Side(data["side"]), tuple(data["libraries"]), data["why"])


@dataclass(frozen=True)
class Result:
    """Result of one case. ``duration`` is in seconds, and ``level`` is the level of the violated clause.

    ``code`` names the failure. ``clause`` is the one clause that it violates, cited against the side ``role``. They are empty without a failure;
    ``clause`` is also empty for illegal input. ``given`` describes special input. ``step`` is the step in which the process was lost. ``accused``
    is ``None`` without a failure. ``attempts`` are all tries, oldest first, if there was more than one.
    """

    case: Case
    outcome: Outcome
    level: Level
    code: str = ""
    clause: str = ""
    role: Role | None = None
    given: str = ""
    step: str = ""
    accused: Accused | None = None
    reason: str = ""
    expected: str = ""
    seen: str = ""
    duration: float = 0.0
    attachments: dict[str, str] = field(default_factory=dict)
    attempts: tuple[Attempt, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """Meaning of the outcome at this level."""
        if self.level is Level.ROBUSTNESS and self.outcome in ACCUSING:
            return Verdict.ROBUSTNESS
        if self.outcome in BAD:
            return Verdict.VIOLATES
        if self.outcome is Outcome.FAIL:
            return self.level.verdict
        return _VERDICTS.get(self.outcome, Verdict.UNDECIDED)

    def to_json(self) -> dict[str, Any]:
        """Return a line of ``results.jsonl``, as an object."""
        case = self.case.to_json()
        case.pop("missing", None)
        del case["tier"]
        invariant_id = case["invariant"]
        return {
            **case,
            "family": invariant_id.partition(".")[0],
            "outcome": self.outcome.value,
            "verdict": self.verdict.word,
            "level": self.level.value,
            "code": self.code,
            "clause": self.clause,
            "role": self.role.value if self.role else "",
            "given": self.given,
            "step": self.step,
            "accused": self.accused.to_json() if self.accused else None,
            "reason": self.reason,
            "expected": self.expected,
            "seen": self.seen,
            "duration": round(self.duration, 6),
            "attachments": self.attachments,
            "attempts": [attempt.to_json() for attempt in self.attempts],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Result:
        """Create the object from the result of :meth:`to_json`."""
        return cls(
            case=Case.from_json({**data, "tier": "full"}),
            outcome=Outcome(data["outcome"]),
            level=Level(data["level"]),
            code=data["code"],
            clause=data["clause"],
            role=Role(data["role"]) if data["role"] else None,
            given=data["given"],
            step=data["step"],
            accused=Accused.from_json(data["accused"]) if data["accused"] else None,
            reason=data["reason"],
            expected=data["expected"],
            seen=data["seen"],
            duration=data["duration"],
            attachments=data["attachments"],
            attempts=tuple(Attempt.from_json(attempt) for attempt in data["attempts"]),
        )

    def beside(self, notes: dict[str, str]) -> Result:
        """Return the result with more attachments."""
        return replace(self, attachments={**notes, **self.attachments}) if notes else self

    def lasting(self, seconds: float) -> Result:
        """Return the result with its duration."""
        return replace(self, duration=seconds)


_VERDICTS = {Outcome.PASS: Verdict.CONFORMS, Outcome.REFUSED: Verdict.REFUSED, Outcome.LOST: Verdict.LOST}


def put_together(
    first: Result, after: tuple[str, ...], where: Where, again: Result, again_where: Where = Where.ALONE
) -> Result:
    """Combine two tries of one case into one result. The second try counts, unless it passes after a failure.

    A crash or a failure that does not repeat is inconclusive, and no pass: its cause is unknown. A failure without a second try is inconclusive
    too. A crash without a second try still counts, because the crash itself may have made the GPU unusable.
    """
    attempts = (
        Attempt(where, first.outcome, first.reason, after),
        Attempt(again_where, again.outcome, again.reason),
    )
    seconds = first.duration + again.duration
    unseen = again.outcome is Outcome.LOST and first.outcome is Outcome.FAIL
    if (again.outcome in TRUSTED or unseen) and first.outcome in ACCUSING:
        reason = f"{first.outcome.value} {where.value} ({first.reason}), but {_told_again(again, again_where)}"
        first = Result(
            first.case, Outcome.INCONCLUSIVE, first.level, reason=reason, duration=first.duration,
            attachments=first.attachments,
        )  # fmt: skip
        return replace(first, attempts=attempts).lasting(seconds)
    counts = first if again.outcome is Outcome.LOST else again
    return replace(counts, attempts=attempts).lasting(seconds)


def _told_again(again: Result, where: Where) -> str:
    is_lost = again.outcome is Outcome.LOST
    return f"not tried {where.value}: {again.reason}" if is_lost else f"{again.outcome.value} {where.value}"


# -- lines of files

_TEXTS = (
    "invariant",
    "producer",
    "consumer",
    "protocol",
    "code",
    "clause",
    "given",
    "step",
    "reason",
    "expected",
    "seen",
)
_WORDS = {
    "device": frozenset(device.value for device in Device),
    "outcome": frozenset(outcome.value for outcome in Outcome),
    "verdict": frozenset(verdict.word for verdict in Verdict),
    "level": frozenset(level.value for level in Level),
    "role": frozenset(("", *(role.value for role in Role))),
}
_SIDES = frozenset(side.value for side in Side)
_SHAPE = {
    "id": str,
    **dict.fromkeys(_TEXTS, str),
    **_WORDS,
    "parameters": shapes.Each(str),
    "accused": (None, {"side": _SIDES, "libraries": [str], "why": str}),
    "duration": float,
    "attachments": shapes.Each(str),
    "attempts": [
        {
            "where": {where.value for where in Where},
            "outcome": _WORDS["outcome"],
            "reason": str,
            "after": [str],
            "outside": shapes.Maybe(bool),
        }
    ],
}
_OF_A_PASS: tuple[Any, ...] = ("outcome", "verdict", *_TEXTS[4:], "role", "accused", "attachments", "attempts")
_PASS: tuple[Any, ...] = ("pass", "conforms", *("" for _ in _TEXTS[4:]), "", None, {}, [])
"""Values in the line of a case that conforms."""
_of_a_pass = itemgetter(*_OF_A_PASS)
_texts_of = itemgetter(*_TEXTS)
_words_of = itemgetter(*_WORDS)
_KNOWN = tuple(_WORDS.values())
_ONLY_TEXT = {str}


def mistake(line: object) -> str:
    """Return why a line is not a valid result for :meth:`Result.from_json`, as the end of a sentence; empty if valid."""
    if isinstance(line, dict) and _is_plain(line):
        return ""
    told = shapes.mistake(line, _SHAPE)
    if told:
        older = ", so an older version of this suite wrote it" if isinstance(line, dict) and "clauses" in line else ""
        return f"is not a result: {told}{older}"
    assert isinstance(line, dict)
    if _id(line) != line["id"]:
        return f"is not a result: its id is {reprlib.repr(line['id'])}, which is the id of another case"
    return "" if _is_honest(line) else "is not a result: its outcome and its verdict disagree"


def _is_plain(line: dict[str, Any]) -> bool:
    """Return whether the line is a valid result without nested values. This fast path handles most lines."""
    try:
        if _of_a_pass(line) == _PASS:
            is_sound = line["level"] in _WORDS["level"] and line["device"] in _WORDS["device"]
        else:
            is_sound = (
                (line["accused"], line["attachments"], line["attempts"]) == (None, {}, [])
                and set(map(type, _texts_of(line))) == _ONLY_TEXT
                and all(map(_in, _words_of(line), _KNOWN))
                and _is_honest(line)
            )
        duration = line["duration"]
        # A value that is not a text cannot be part of an id.
        return is_sound and type(duration) is float and math.isfinite(duration) and _id(line) == line["id"]
    except (KeyError, TypeError, AttributeError):
        return False


def _is_honest(line: dict[str, Any]) -> bool:
    return bool(line["outcome"] == Outcome.PASS.value) is bool(line["verdict"] == Verdict.CONFORMS.word)


def _in(word: object, known: frozenset[str]) -> bool:
    return word in known


def _id(line: dict[str, Any]) -> str:
    """Return the id of the line's case, as :attr:`Case.id` builds it."""
    parameters = line["parameters"]
    if VIA in parameters:
        who = "-".join((line["producer"], parameters[VIA], line["consumer"]))
        values = [value for name, value in parameters.items() if name != VIA]
    else:
        who, values = "-".join((line["producer"], line["consumer"])), parameters.values()
    return "/".join((line["invariant"], who, line["protocol"], line["device"], *values))


def write_lines(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Write a file of JSON lines atomically. JSON escapes lone surrogates in the texts of libraries."""
    files.write_own(path, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a JSON Lines file. An unfinished last line is left out: its writer may still be writing.

    Raises Unreadable for an unreadable file or an invalid line.
    """
    try:
        lines = files.read(path).split(b"\n")[:-1]  # the last part may be a line that another process is writing
    except files.Missing:
        return
    for number, line in enumerate(lines, 1):
        try:
            record = documents.loads(line)
        except ValueError as error:
            raise files.Unreadable(path, f"is not valid JSON ({error})", number) from error
        if not isinstance(record, dict):
            raise files.Unreadable(path, "is not an object", number)
        yield record
