"""Read known.yaml, the upstream status of known causes. Every cell reads it, so it must not need a YAML library.

The file is a list of flat mappings with plain or double-quoted texts, and uses nothing else of YAML. ``schemas/known.schema.json``
describes it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

from conformance.checks.expectations import release
from conformance.exits import UserError
from conformance.wildcards import fits

from .model import Known, Status, Upstream

_LINE = re.compile(r"^(?P<start>- |  )(?P<key>[a-z_]+): (?P<value>\S.*)$")
_VERSION = re.compile(r"\d{1,9}(\.\d{1,9})*")
_FIELDS = ("finding", "upstream", "reference", "note", "fixed_in", "distribution")
_NEEDED = ("finding", "upstream", "reference", "note")


class BadKnown(UserError):
    """known.yaml cannot be read. The message has every mistake with its line."""


@dataclass(frozen=True)
class Book:
    """All entries of known.yaml."""

    entries: tuple[Known, ...] = ()

    def about(self, finding: str) -> Known | None:
        """Return the first entry that matches a finding's id."""
        return next((entry for entry in self.entries if fits(entry.finding, finding)), None)

    @staticmethod
    def status(known: Known | None, tested: Sequence[Mapping[str, str]]) -> Status:
        """Return the status of an entry for the tested versions: one mapping by distribution for each cell."""
        if known is None or known.upstream is Upstream.UNREPORTED:
            return Status.NEW
        if known.upstream is Upstream.INTENDED:
            return Status.INTENDED
        if known.upstream in (Upstream.OPEN, Upstream.MERGED):
            return Status.KNOWN
        is_older = [_is_older(known, versions) for versions in tested]
        return Status.FIXED if is_older and all(is_older) else Status.NEW


def _is_older(known: Known, versions: Mapping[str, str]) -> bool:
    """Return whether the version is known and precedes the fix. A pre-release of the fixed version precedes it."""
    version = versions.get(known.distribution) if known.distribution else next(iter(versions.values()), None)
    tested, fixed = release(version or ""), release(known.fixed_in)
    return tested is not None and fixed is not None and tested < fixed


@lru_cache(maxsize=1)
def book() -> Book:
    """Return the entries that come with this version of the suite."""
    path = resources.files(__package__).joinpath("known.yaml")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise BadKnown(f"{path} cannot be read ({error}); install the suite again") from error
    return parsed(text, str(path))


def parsed(text: str, path: str = "known.yaml") -> Book:
    """Parse the entries of a file. Raises :class:`BadKnown` with all its mistakes, each with file and line."""
    mistakes: list[str] = []
    entries = [_entry(line, fields, mistakes) for line, fields in _mappings(text, mistakes)]
    lines: dict[str, int] = {}
    for entry in filter(None, entries):
        if lines.setdefault(entry.finding, entry.line) != entry.line:
            mistakes.append(f"{entry.line}: {entry.finding} is also the entry of line {lines[entry.finding]}")
    if mistakes:
        raise BadKnown("\n".join(f"{path}:{mistake}" for mistake in mistakes))
    return Book(tuple(entry for entry in entries if entry is not None))


def _mappings(text: str, mistakes: list[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield each mapping of the list with its first line."""
    start = 0
    fields: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _LINE.match(line)
        if found is None:
            mistakes.append(f"{number}: write `- key: text` or `  key: text`")
            continue
        if found["start"] == "- ":
            if fields:
                yield start, fields
            start, fields = number, {}
        key = found["key"]
        if key not in _FIELDS or key in fields or not start:
            mistakes.append(f"{number}: {key} is unknown, duplicated, or outside an entry")
            continue
        fields[key] = _text(found["value"], number, mistakes)
    if fields:
        yield start, fields


def _text(value: str, line: int, mistakes: list[str]) -> str:
    if not value.startswith('"'):
        return value.rstrip()
    try:
        text: str = json.loads(value)
    except ValueError:
        mistakes.append(f"{line}: the double-quoted text has no end, or text follows its end")
        return ""
    return text


def _entry(line: int, fields: dict[str, str], mistakes: list[str]) -> Known | None:
    missing = [name for name in _NEEDED if name not in fields]
    if missing:
        mistakes.append(f"{line}: the entry has no {' and no '.join(missing)}")
        return None
    try:
        upstream = Upstream(fields.pop("upstream"))
    except ValueError:
        mistakes.append(f"{line}: upstream must be one of {', '.join(one.value for one in Upstream)}")
        return None
    if upstream is Upstream.FIXED and not fields.get("fixed_in"):
        mistakes.append(f"{line}: `upstream: fixed` needs fixed_in, the first fixed version")
        return None
    if not _VERSION.fullmatch(fields.get("fixed_in", "0")):
        mistakes.append(f"{line}: fixed_in is {fields['fixed_in']}; write a version of numbers and dots, such as 2.14")
        return None
    return Known(upstream=upstream, line=line, **fields)
