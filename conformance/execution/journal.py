"""Journal of a run: one line for each event, which the supervisor alone writes at once.

The results are derived from the journal. A run only appends to it, also a run with ``--resume``. A partial line is never followed by
another line: if a write fails, the supervisor truncates the file to the last whole line. Besides the planned cases the journal has trials,
which only determine the accused sides (``accusations.py``).
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from conformance import files

from .results import Line, mistake

FILE = "journal.jsonl"
_PIECE = 1 << 16
"""Size of the blocks in which the end of a line is searched, in bytes."""


class Event(str, Enum):
    """Kind of a line of the journal."""

    BEGIN = "begin"
    """A run starts or resumes. The line has the digest of the plan, the numbers of cases, and the settings."""
    START = "start"
    """A process starts a case."""
    END = "end"
    """A case has its result."""
    TROUBLE = "trouble"
    """The run itself had a problem, such as a killed monitor or a server that ended."""
    STOP = "stop"
    """The run ends: it is complete, or the line has the reason why not."""


COMPLETE = "complete"
"""Reason in the last line of a run that was not stopped."""


class Journal:
    """The open journal of a run. Opening it removes an unfinished last line, such as after a power failure."""

    def __init__(self, path: Path) -> None:
        self._file = files.own(path, os.O_RDWR | os.O_APPEND)
        self._size = _whole(self._file)
        os.ftruncate(self._file, self._size)

    def write(self, record: dict[str, Any]) -> None:
        """Append one whole line. Raises ``OSError`` if the disk is full; the file then has no part of the line."""
        line = json.dumps(record, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
        try:
            self._append(line)
        except OSError:
            os.ftruncate(self._file, self._size)
            raise
        self._size += len(line)

    def _append(self, line: bytes) -> None:
        """Write the whole line. A disk that is almost full accepts a part of it first."""
        while line:
            line = line[os.write(self._file, line) :]

    def close(self) -> None:
        """Flush the file to the disk, and close it."""
        try:
            os.fsync(self._file)
        finally:
            os.close(self._file)


def _whole(file: int) -> int:
    """Return the size of the complete lines, in bytes."""
    end = os.fstat(file).st_size
    while end:
        start = max(0, end - _PIECE)
        found = os.pread(file, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


@dataclass
class Account:
    """Summary of a journal: the newest result of each case, as written, and the number of starts of each case."""

    results: dict[str, Line] = field(default_factory=dict)
    """Results by case, with those of trials. A side is accused only where the check itself names it."""
    starts: Counter[str] = field(default_factory=Counter)
    plan: str = ""
    """Digest of the plan that the journal belongs to."""
    is_complete: bool = True
    """Whether the run ended normally, or never began. Otherwise some accused sides may be undetermined."""

    def take(self, record: object) -> str:
        """Add one line. Return why the line is invalid, as the end of a sentence, or an empty string."""
        if not isinstance(record, dict):
            return "is not an object"
        event = record.get("event")
        if event == Event.END.value:
            told = mistake(record.get("result"))
            if told:
                return told
            self.results[record["result"]["id"]] = record["result"]
        key = _NEEDED.get(event) if isinstance(event, str) else None
        if key and not isinstance(record.get(key), str):
            return f"is not an event: its {key} is not a string"
        if event == Event.START.value:
            self.starts[record["case"]] += 1
        elif event == Event.BEGIN.value:
            self.plan, self.is_complete = record["plan"], False
        elif event == Event.STOP.value:
            self.is_complete = record["why"] == COMPLETE
        elif not isinstance(event, str):
            return "is not an event"
        return ""

    @property
    def unended(self) -> frozenset[str]:
        """Cases that started and have no result: they ran when the run was stopped."""
        return frozenset(case for case in self.starts if case not in self.results)


_NEEDED = {Event.START.value: "case", Event.BEGIN.value: "plan", Event.STOP.value: "why"}
"""Key that must have a string as its value, by kind of event."""


def tell(records: Iterable[object]) -> Account:
    """Return the account of these lines."""
    account = Account()
    for record in records:
        account.take(record)
    return account
