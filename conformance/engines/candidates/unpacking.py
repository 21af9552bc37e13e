"""Unpack candidates in the folder of a run, where cells can import them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path

from conformance import files
from conformance.images import output
from conformance.images.commands import Command
from conformance.images.process import Shell
from conformance.matrix.locks import find_uv

from .. import exit_states
from ..model import Candidate, Cell, Ending, Lifecycle, Placed
from ..records import CANDIDATES
from . import commands, compatibility, placement, wheels

LIMIT = 3600.0


class Unfit(Exception):
    """A candidate does not fit a cell. The text is the reason."""


class Failed(Exception):
    """A candidate could not be unpacked. The text is the reason."""


@dataclass
class Unpacking:
    """Unpacks each candidate once for all cells of a run. Every run unpacks again, so that no file of another run remains."""

    out: Path
    shell: Shell
    _done: dict[str, Path] = field(default_factory=dict)

    def prepare(self, cell: Cell) -> tuple[Placed, ...] | Ending:
        """Return the unpacked candidates of a cell, or the ending of a cell that cannot run with them."""
        if cell.unfit:
            return Ending(Lifecycle.UNFIT, cell.unfit)
        holding = (
            {**placement.held(cell), **{one.name: one.version for one in cell.candidates}} if cell.candidates else {}
        )
        try:
            return tuple(Placed(one, self._fitting(one, cell, holding)) for one in cell.candidates)
        except Unfit as error:
            return Ending(Lifecycle.UNFIT, str(error))
        except Failed as error:
            return exit_states.build_failed(str(error))

    def _fitting(self, one: Candidate, cell: Cell, holding: Mapping[str, str]) -> Path:
        """Unpack a candidate and return its folder. The metadata of a local file is checked before it is unpacked, other metadata afterwards."""
        path = Path(one.source)
        from_file = one.source.endswith(".whl")
        if from_file:
            _unchanged(one, path)
            _check(_own_metadata(path), one, cell, holding)
        folder = self._unpacked(one, cell, commands.a_wheel(path) if from_file else None)
        if not from_file and not self.shell.dry_run:
            _check(_installed(folder), one, cell, holding)
        return folder

    def _unpacked(self, one: Candidate, cell: Cell, what: Command | None) -> Path:
        if one.sha256 in self._done:
            return self._done[one.sha256]
        folder = self.out.absolute() / CANDIDATES / one.sha256
        requirement = folder.with_name(f"{one.sha256}.txt")
        try:
            if not self.shell.dry_run:
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(parents=True)
                files.write_own(requirement, f"{one.name}=={one.version} --hash=sha256:{one.sha256}\n")
            command = commands.unpack(find_uv(), cell.python, folder, what or commands.by_digest(requirement))
            answer = self.shell.do(command)
        except OSError as error:
            raise Failed(f"{one} cannot be unpacked: {error.filename or folder}: {error.strerror}") from error
        if not answer.ok:
            raise Failed(f"{one} cannot be unpacked: {output.reason(answer.stderr)}")
        self._done[one.sha256] = folder
        return folder


def _own_metadata(path: Path) -> Message:
    try:
        return wheels.metadata(path)
    except wheels.NoWheel as error:
        raise Failed(f"{path}: {error}") from error


def _unchanged(one: Candidate, path: Path) -> None:
    try:
        now = wheels.digest(path)
    except files.Unreadable as error:
        raise Failed(f"{error}; restore the file, or start a new run") from error
    if now != one.sha256:
        raise Failed(f"{path} has changed since this run was planned; start a new run")


def _check(metadata: Message, one: Candidate, cell: Cell, holding: Mapping[str, str]) -> None:
    found = compatibility.misfits(metadata, holding, cell.python)
    if found:
        raise Unfit(f"{one}: {'; '.join(found)}")


def _installed(folder: Path) -> Message:
    """Return the metadata of an unpacked wheel."""
    found = next(folder.glob("*.dist-info/METADATA"), folder / "METADATA")
    try:
        return HeaderParser().parsestr(files.text(found, wheels.MOST_METADATA))
    except files.Unreadable as error:
        raise Failed(str(error)) from error
