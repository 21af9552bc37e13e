"""``python -m conformance publish``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from conformance.exits import Exit, UserError
from conformance.report.screen import Screen
from conformance.verdicts import reading

from . import console, junit
from .markdown import markdown
from .page import page
from .subject import Subject

OUT = Path("conform-report")


def add(name: str, command: argparse.ArgumentParser) -> None:
    """The options of ``publish``."""
    command.add_argument(
        "--run", dest="shown", type=Path, required=True, metavar="RUN",
        help="a run file, or a folder that `conform` or `check` has made",
    )  # fmt: skip
    command.add_argument(
        "--out", type=Path, default=OUT, metavar="DIR",
        help=f"where index.html, summary.md and junit.xml go (default: {OUT})",
    )  # fmt: skip
    command.set_defaults(run=_publish)


def _publish(options: argparse.Namespace) -> int:
    subject = Subject(reading.load(options.shown))
    _write(options.out, "summary.md", lambda path: _text(path, markdown(subject)))
    _write(options.out, "junit.xml", lambda path: junit.write(subject, path))
    _write(options.out, "index.html", lambda path: _text(path, page(subject)))
    console.show(Screen.of(sys.stdout), subject, str(options.out / "index.html"))
    return Exit.OK


def _text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _write(out: Path, name: str, write: Callable[[Path], None]) -> None:
    """Write a file whole or not at all. Raises UserError where it cannot be written."""
    partial = out / f"{name}.partial"
    try:
        out.mkdir(parents=True, exist_ok=True)
        write(partial)
        partial.replace(out / name)
    except OSError as error:
        raise UserError(f"--out: {out / name} cannot be written: {error.strerror}; choose another folder") from error
