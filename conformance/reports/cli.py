"""The command ``python -m conformance publish``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from conformance import files
from conformance.console.screen import Screen
from conformance.exits import Exit, UserError, why
from conformance.gate import cli
from conformance.gate.waivers import Spot, Waiver
from conformance.runs import history, output_files, source_digests, trust
from conformance.runs.history import Streak
from conformance.runs.model import RunFile

from . import scripts, terminal
from .coverage import believable
from .junit import junit
from .markdown import markdown
from .page import page
from .subject import Subject
from .words import line

OUT = Path("conform-report")


def add(name: str, command: argparse.ArgumentParser) -> None:
    """Add the options of ``publish``."""
    cli.add_judged(command)
    command.add_argument(
        "--history",
        type=Path,
        metavar="FILE",
        help="a history file written by `gate --history`; shows since when each case fails",
    )
    command.add_argument(
        "--out", type=Path, default=OUT, metavar="DIR",
        help=f"the folder for index.html, summary.md and junit.xml (default: {OUT})",
    )  # fmt: skip
    command.set_defaults(run=_publish)


_MADE = (("summary.md", markdown), ("junit.xml", junit), ("index.html", page))


def _publish(options: argparse.Namespace) -> int:
    given = cli.given(options) + ([("--history", options.history)] if options.history else [])
    output_files.keep([("--out", options.out / name) for name, _ in _MADE], given)
    subject = _subject(options)
    for name, made in _MADE:
        _write(options.out, name, made(subject))
    terminal.show(Screen.of(sys.stdout), subject, str(options.out / "index.html"))
    return Exit.OK


def _subject(options: argparse.Namespace) -> Subject:
    """Return the subject of the reports. The run is judged only if an option of the gate is given."""
    if not (options.baseline or options.waivers or options.candidate or options.locks):
        run = source_digests.load(options.judged)
        return Subject(believable(run), streaks=_streaks(options.history, run), script=scripts.readable)
    judgement, waivers = cli.judged(options)
    told = {waiver.id: _told(waiver) for waiver in waivers}
    return Subject(
        believable(judgement.run), judgement, _streaks(options.history, judgement.run), told, scripts.readable
    )


def _told(waiver: Waiver) -> str:
    return f"{waiver.owner}, until {waiver.expires.isoformat()}: {waiver.reason} ({waiver.link})"


def _streaks(path: Path | None, run: RunFile) -> dict[Spot, Streak]:
    """Return the streaks with this run as the newest, even if the history does not have it yet."""
    if path is None:
        return {}
    if not files.is_there(path):
        raise UserError(f"--history: {path} does not exist; `gate --history {path}` creates it")
    if not history.is_one(path):
        raise UserError(f"--history: {path} is not a history file; name a file written by `gate --history`")
    found = history.read(path)
    for complaint in found.complaints:
        print(f"conformance: {line(complaint)}", file=sys.stderr)
    return history.streaks([*found.entries, history.entry(run, trust.canaries(), found.entries)])


def _write(out: Path, name: str, text: str) -> None:
    """Write a file. Raises UserError if it cannot be written."""
    try:
        files.make_folder(out)
        files.write(out / name, text)
    except OSError as error:
        raise UserError(f"--out: {out / name} cannot be written: {why(error)}; choose another folder") from error
