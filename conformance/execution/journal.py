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

from .results import Line

FILE = "journal.jsonl"


class Event(str, Enum):
    """What a line of the journal tells."""

    BEGIN = "begin"
    """A run starts, or goes on: the plan's digest, how many cases are left, and how they are run."""
    START = "start"
    """A process begins a case."""
    END = "end"
    """A case has its result."""
    TROUBLE = "trouble"
    """Something of the run itself went wrong: a worker that had to be killed, a server that ended."""
    STOP = "stop"
    """The run is over: complete, or why not."""


COMPLETE = "complete"
"""Why a run is over that was not stopped."""


class Journal:
    """The open file of a run. A line that a machine's end has cut off is removed first."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o644)
        whole = path.read_bytes().rfind(b"\n") + 1
        os.ftruncate(self._file, whole)
        self._size = whole

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

    def take(self, record: dict[str, Any]) -> None:
        """One line more."""
        event = record["event"]
        if event == Event.START.value:
            self.starts[record["case"]] += 1
        elif event == Event.END.value:
            self.results[record["result"]["id"]] = record["result"]
        elif event == Event.BEGIN.value:
            self.plan, self.is_complete = record["plan"], False
        elif event == Event.STOP.value:
            self.is_complete = record["why"] == COMPLETE

    @property
    def unended(self) -> frozenset[str]:
        """Cases that were begun and have no result: whatever stopped the run was not far from them."""
        return frozenset(case for case in self.starts if case not in self.results)


def tell(records: Iterable[dict[str, Any]]) -> Account:
    """The account that these lines give. ``KeyError`` or ``TypeError`` if they are none of a journal."""
    account = Account()
    for record in records:
        account.take(record)
    return account
