"""Read waivers.yaml. All mistakes in the file are reported at once, with their lines."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import date, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from conformance.checks.codes import BY_SLUG
from conformance.checks.outcomes import Outcome
from conformance.matrix.document import Node, Reader, Table, Text, load
from conformance.matrix.mistakes import Mistakes, nearest
from conformance.suggestions import meant
from conformance.wildcards import STAR, may_begin

from .waivers import Waiver

TOP = "waivers"
NEEDED = ("id", "owner", "reason", "link", "opened", "expires", "where")
BY_CASE = ("cases", "outcome", "code")
"""Keys that select failures if the waiver names no finding."""
KEYS = (*NEEDED, "finding", *BY_CASE)
MESSAGE = "message"
"""Key of older files, replaced by ``finding`` and ``code``."""
_INSTEAD = "replace it by the `finding` that `gate` prints, or by the `code` of the failure"
MOST_DAYS = 90
"""Maximum days from ``opened`` to ``expires``."""
OUTCOMES = (Outcome.FAIL, Outcome.CRASH, Outcome.HANG, Outcome.POISONED, Outcome.REFUSED)
"""Outcomes that can be waived. The other outcomes are inconclusive."""
TO_FILL_IN = "FILL IN"
"""Placeholder in a proposed waiver. A file that contains it is rejected."""
_ID = re.compile(r"[a-z0-9][a-z0-9._-]*")
_BARE = re.compile(r"\d+(\.\d+)*")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]*")


def read(path: Path, invariants: Collection[str], today: date) -> tuple[Waiver, ...]:
    """Return the waivers of a file, in order. ``invariants`` are the ids of all known invariants.

    Raises:
        UserError: the file cannot be read or has mistakes; the text names every mistake with its line.
    """
    mistakes = Mistakes(path)
    top = load(path, mistakes, keys=f"the key {TOP}", option="--waivers")
    found = _Reading(mistakes, invariants, today).waivers(top)
    mistakes.settle()
    return found


class _Reading:
    """Reads one document."""

    def __init__(self, mistakes: Mistakes, invariants: Collection[str], today: date) -> None:
        self.mistakes = mistakes
        self.reader = Reader(mistakes)
        self.invariants = invariants
        self.today = today

    def waivers(self, top: Table) -> tuple[Waiver, ...]:
        """Read the whole file."""
        self.reader.table(top, "the file", (TOP,), needed=(TOP,))
        found = [self.waiver(node) for node in self.reader.items(top.get(TOP), TOP)]
        lines: dict[str, int] = {}
        for waiver in (waiver for waiver in found if waiver.id):
            if waiver.id in lines:
                self.mistakes.add(waiver.line, f"waiver {waiver.id} appears twice, first in line {lines[waiver.id]}")
            lines.setdefault(waiver.id, waiver.line)
        return tuple(found)

    def waiver(self, node: Node) -> Waiver:
        """Read one entry."""
        old = node.get(MESSAGE) if isinstance(node, Table) else None
        table = self.reader.table(_without(node, MESSAGE), "a waiver", KEYS, needed=NEEDED)
        id = self.id(table.get("id"))
        what = f"waiver {id}" if id else "a waiver"
        opened, expires = self.dates(table, what)
        if old is None:
            self.check_scope(table, what, node.line)
        else:
            self.mistakes.add(old.line, f"{what} uses `message`, which is no longer supported; {_INSTEAD}")
        return Waiver(
            id, self.written(table.get("owner"), f"owner of {what}"), self.written(table.get("reason"), f"reason of {what}"),
            self.link(table.get("link"), what), opened, expires, self.where(table.get("where"), what),
            self.cases(table.get("cases"), what), self.outcomes(table.get("outcome"), what),
            self.codes(table.get("code"), what), self.finding(table.get("finding"), what), node.line,
        )  # fmt: skip

    def id(self, node: Node | None) -> str:
        """Read the id, by which remarks name the waiver."""
        text = self.reader.text(node, "id of a waiver")
        if text and node and not _ID.fullmatch(text):
            self.mistakes.add(
                node.line, f"id {text!r}: an id has lower-case letters, digits, dots, dashes and underscores"
            )
        return text

    def written(self, node: Node | None, what: str) -> str:
        """Read a text that a person must write."""
        text = self.reader.text(node, what).strip()
        if node and TO_FILL_IN in text.upper():
            self.mistakes.add(node.line, f"{what} is not filled in; read the proposed waiver and complete it")
        return text

    def link(self, node: Node | None, what: str) -> str:
        """Read the address of the issue."""
        text = self.written(node, f"link of {what}")
        if text and node and TO_FILL_IN not in text.upper() and not _is_web_address(text):
            self.mistakes.add(node.line, f"link of {what} must begin with https:// or http://, not {text!r}")
        return text

    def dates(self, table: Table, what: str) -> tuple[date, date]:
        """Read the opening date, and the last day on which the waiver is in effect."""
        opened = self.reader.day(table.get("opened"), f"opened of {what}")
        expires = self.reader.day(table.get("expires"), f"expires of {what}")
        opened_node, expires_node = table.get("opened"), table.get("expires")
        if opened and opened_node and opened > self.today:
            self.mistakes.add(
                opened_node.line, f"opened of {what} is in the future: {opened}, and today is {self.today}"
            )
        if opened and expires and expires_node:
            if expires < opened:
                self.mistakes.add(expires_node.line, f"{what} expires on {expires}, before it was opened on {opened}")
            if (expires - opened).days > MOST_DAYS:
                last = opened + timedelta(MOST_DAYS)
                told = f"{what} expires more than {MOST_DAYS} days after it was opened; the latest date is {last}"
                self.mistakes.add(expires_node.line, told)
        return opened or self.today, expires or self.today

    def where(self, node: Node | None, what: str) -> tuple[tuple[str, SpecifierSet], ...]:
        """Read the version bounds, by library or axis."""
        if node is None:
            return ()
        table = self.reader.table(node, f"where of {what}")
        if isinstance(node, Table) and not table.entries:
            self.mistakes.add(node.line, f"where of {what} is empty; give the versions that show the failure")
        found = []
        for key, entry in table.entries:
            bound = self.bound(key, entry, what)
            if bound is not None:
                found.append((key.text, bound))
        return tuple(found)

    def bound(self, key: Text, node: Node, what: str) -> SpecifierSet | None:
        """Read a PEP 440 specifier. A bare version ``1.2`` means ``==1.2.*``."""
        told = f"{key.text} in where of {what}"
        if not _NAME.fullmatch(key.text):
            self.mistakes.add(key.line, f"where of {what}: {key.text!r} is not the name of a library or an axis")
        text = self.reader.text(node, told).strip()
        if not text:
            return None
        try:
            return SpecifierSet(f"=={text}.*" if _BARE.fullmatch(text) else text)
        except InvalidSpecifier:
            self.mistakes.add(node.line, f'{told} must be a version or a bound such as ">=2.10,<2.13", not {text!r}')
            return None

    def cases(self, node: Node | None, what: str) -> tuple[str, ...]:
        """Read patterns of case ids."""
        texts = self.reader.texts(node, f"cases of {what}")
        if node is not None and not texts:
            self.mistakes.add(node.line, f"cases of {what} names no case")
        for text in (text for text in texts if text.text):
            self.check_pattern(text, what)
        return tuple(text.text for text in texts if text.text)

    def check_pattern(self, pattern: Text, what: str) -> None:
        """Add a mistake if the pattern cannot match any case id."""
        if STAR not in pattern.text and pattern.text.count("/") < 3:
            told = f"{pattern.text} is not a case id (family.name/producer-consumer/protocol/device); add a * at its end to match by prefix"
            self.mistakes.add(pattern.line, f"cases of {what}: {told}")
        elif not any(may_begin(pattern.text, f"{name}/") for name in self.invariants):
            name = pattern.text.partition("/")[0]
            told = f"cases of {what}: no case can match {pattern.text}: there is no invariant {name}"
            self.mistakes.add(pattern.line, told + meant(name, self.invariants, "`list` shows all"))

    def outcomes(self, node: Node | None, what: str) -> tuple[str, ...]:
        """Read raw outcomes."""
        known = tuple(outcome.value for outcome in OUTCOMES)
        texts = [text for text in self.reader.texts(node, f"outcome of {what}") if text.text]
        if node is not None and not texts:
            self.mistakes.add(node.line, f"outcome of {what} names no outcome")
        for text in texts:
            if text.text in {outcome.value for outcome in Outcome} - set(known):
                told = f"outcome of {what}: {text.text} cannot be waived, only {', '.join(known)} can"
                self.mistakes.add(text.line, told)
            elif text.text not in known:
                self.mistakes.add(
                    text.line, f"outcome of {what}: there is no outcome {text.text}{nearest(text.text, known)}"
                )
        return tuple(text.text for text in texts)

    def codes(self, node: Node | None, what: str) -> tuple[str, ...]:
        """Read codes of failures."""
        texts = [text for text in self.reader.texts(node, f"code of {what}") if text.text]
        if node is not None and not texts:
            self.mistakes.add(node.line, f"code of {what} names no code")
        for text in texts:
            if text.text not in BY_SLUG:
                told = f"code of {what}: there is no code {text.text}"
                self.mistakes.add(text.line, told + meant(text.text, BY_SLUG, "results.jsonl has that of each failure"))
        return tuple(text.text for text in texts)

    def finding(self, node: Node | None, what: str) -> str:
        """Read the finding that the waiver covers."""
        text = self.written(node, f"finding of {what}")
        if text and node and ("/" not in text or not text.replace(STAR, "").strip("/")):
            told = "must be an id such as torch/consumer/not-ordered/cai, as `gate` and `check` print it"
            self.mistakes.add(node.line, f"finding of {what} {told}, not {text!r}")
        return text

    def check_scope(self, table: Table, what: str, line: int) -> None:
        """Add a mistake unless the waiver selects failures: by a finding, or by cases with outcome and code."""
        if table.get("finding") is not None:
            return
        if all(table.get(key) is None for key in BY_CASE):
            told = f"{what} selects no failures; give `finding`, or `cases`, `outcome` and `code`"
            self.mistakes.add(line, told)
            return
        missing = [key for key in ("cases", "outcome") if table.get(key) is None]
        outcomes = {text.text for text in self.reader.texts(table.get("outcome"), f"outcome of {what}")}
        if table.get("code") is None and outcomes != {Outcome.REFUSED.value}:
            missing.append("code")
        if missing:
            self.mistakes.add(line, f"{what} names no finding, so it needs {', '.join(missing)}")


def _is_web_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("https", "http") and bool(parts.hostname) and not any(c.isspace() for c in text)
    except ValueError:
        return False


def _without(node: Node, key: str) -> Node:
    """Return the mapping without one of its keys."""
    if not isinstance(node, Table):
        return node
    return Table(tuple(entry for entry in node.entries if entry[0].text != key), node.line)
