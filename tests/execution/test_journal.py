"""The journal never has a partial line in front of another line."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from conformance.adapters.base import Device
from conformance.checks.catalogue import Case
from conformance.checks.outcomes import Outcome
from conformance.execution import journal
from conformance.execution.journal import Journal
from conformance.execution.results import Result, read_lines
from conformance.protocols.clauses import Level

CASE = Case("pointer.values", "reference", "reference", "dlpack", Device.HOST)
END = {"event": "end", "result": Result(CASE, Outcome.PASS, Level.MUST).to_json(), "process": 1}


def test_what_a_machines_end_has_cut_off_is_removed(tmp_path: Path) -> None:
    """And what comes next is a line of its own."""
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"event": "start", "case": "a"}\n{"event": "sta')
    opened = Journal(path)
    opened.write({"event": "start", "case": "b"})
    opened.close()
    assert [record["case"] for record in read_lines(path)] == ["a", "b"]


def test_a_disk_that_takes_half_a_line_has_none_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines before stay, and the error is raised."""
    path = tmp_path / "journal.jsonl"
    opened = Journal(path)
    opened.write({"event": "start", "case": "a"})
    room, write = [10], os.write

    def full(descriptor: int, data: bytes) -> int:
        if not room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data[: room.pop()])

    monkeypatch.setattr(journal.os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        opened.write({"event": "start", "case": "b"})
    assert path.read_text() == '{"event": "start", "case": "a"}\n'


def test_text_that_is_no_text_is_kept(tmp_path: Path) -> None:
    """The message of an exception may have any characters."""
    path = tmp_path / "journal.jsonl"
    opened = Journal(path)
    opened.write({"event": "trouble", "what": "broken \udcff and \x00 and\nlines ✓"})
    opened.close()
    assert [record["what"] for record in read_lines(path)] == ["broken \udcff and \x00 and\nlines ✓"]


def test_a_case_that_began_and_did_not_end_is_known(tmp_path: Path) -> None:
    """Whatever stopped the run was not far from it."""
    account = journal.tell([{"event": "start", "case": CASE.id}, END, {"event": "start", "case": "x"}])
    assert account.unended == {"x"}
    assert account.results[CASE.id]["outcome"] == "pass"
