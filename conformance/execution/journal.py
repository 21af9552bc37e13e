"""The journal: a line for everything that happens in a run, written the moment it happens, by the supervisor alone.

Results are derived from it. It is only ever appended to, by a run that goes on with an interrupted one too, and it never holds
half a line followed by another: what could not be written whole is taken back. Besides the planned cases it has trials: cases that were
run only to find out who is accused (``accusing.py``).
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
    """What a line of the journal tells."""

    BEGIN = "begin"
    """A run starts, or goes on: the plan's digest, how many cases are left, and how they are run."""
    START = "start"
    """A process begins a case."""
    END = "end"
    """A case has its result."""
    TROUBLE = "trouble"
    """Something of the run itself went wrong: a monitor that had to be killed, a server that ended."""
    STOP = "stop"
    """The run is over: complete, or why not."""


COMPLETE = "complete"
"""Why a run is over that was not stopped."""


class Journal:
    """The open file of a run. A line that a machine's end has cut off is removed first."""

    def __init__(self, path: Path) -> None:
        self._file = files.own(path, os.O_RDWR | os.O_APPEND)
        self._size = _whole(self._file)
        os.ftruncate(self._file, self._size)

    def write(self, record: dict[str, Any]) -> None:
        """Append one line whole. ``OSError`` where there is no room: then nothing of it is in the file."""
        line = json.dumps(record, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
        try:
            self._append(line)
        except OSError:
            os.ftruncate(self._file, self._size)
            raise
        self._size += len(line)

    def _append(self, line: bytes) -> None:
        """A disk that fills up takes a part of it first, and refuses the rest."""
        while line:
            line = line[os.write(self._file, line) :]

    def close(self) -> None:
        """See it on the disk, and let go."""
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
    """What a journal says so far: the newest result of each case, as it was written, and how often each was started."""

    results: dict[str, Line] = field(default_factory=dict)
    """By case; those of trials are among them, and nobody is accused yet but by the checks themselves."""
    starts: Counter[str] = field(default_factory=Counter)
    plan: str = ""
    """Digest of the plan that the journal belongs to."""
    is_complete: bool = True
    """Whether the run came to its end, or was never begun: then there is nothing that it would still have found out."""

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
        """Cases that were begun and have no result: whatever stopped the run was not far from them."""
        return frozenset(case for case in self.starts if case not in self.results)


_NEEDED = {Event.START.value: "case", Event.BEGIN.value: "plan", Event.STOP.value: "why"}
"""Key that must hold text, by kind of event."""


def tell(records: Iterable[object]) -> Account:
    """Return the account of these lines."""
    account = Account()
    for record in records:
        account.take(record)
    return account
