"""The commands ``python -m conformance gate``, ``waivers`` and ``history``."""

from __future__ import annotations

import argparse
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from datetime import date, datetime, timezone
from pathlib import Path

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

import conformance
from conformance import files
from conformance.checks.catalogue import catalogue
from conformance.console.screen import Screen, harmless, many
from conformance.engines import digests, records
from conformance.engines.candidates import requests, wheels
from conformance.exits import Exit, UserError, given_by
from conformance.matrix.lockfile import LOCKED
from conformance.runs import history, output_files, reader, source_digests, trust
from conformance.runs.model import RunFile
from conformance.runs.remarks import Judgement, Kind
from conformance.runs.run_file import Altered

from . import display, document, history_display, judgement, proposals, waiver_file, waivers
from .integrity import LOCK, Present
from .waivers import Waiver

WAIVERS = Path("waivers.yaml")
LOCKS = Path("locks")
_FEW = 10
_PIN = re.compile(r"^([\w.-]+)==", re.MULTILINE)
"""A pinned distribution in a lock file."""
_NOTHING = RunFile("", "", "", "", ())
"""Stands in for a run that was altered, so that nothing in it counts."""


def add(name: str, command: argparse.ArgumentParser) -> None:
    """Add the options of ``gate``, ``waivers`` or ``history``."""
    {"gate": _add_gate, "waivers": _add_waivers, "history": _add_history}[name](command)


def _add_gate(command: argparse.ArgumentParser) -> None:
    _add_run(command, needed=True)
    _add_present(command)
    command.add_argument("--json", type=Path, metavar="FILE", help="also write all remarks to this JSON file")
    command.add_argument("--history", type=Path, metavar="FILE", help="also append the run to this history file")
    command.add_argument(
        "--verbose",
        action="store_true",
        help="also show remarks that do not affect the exit code: fixed, still, new cases",
    )
    command.set_defaults(run=_gate)


def _add_waivers(command: argparse.ArgumentParser) -> None:
    _add_run(command, needed=False)
    command.add_argument(
        "--propose",
        action="store_true",
        help="write waivers for failures that no waiver covers; a person fills them in",
    )
    command.add_argument("--out", type=Path, metavar="FILE", help="write the proposal to this file (default: print it)")
    command.set_defaults(run=_waivers)


def _add_history(command: argparse.ArgumentParser) -> None:
    command.add_argument("file", type=Path, metavar="FILE", help="a history file written by `gate --history`")
    command.set_defaults(run=_history)


def _add_run(command: argparse.ArgumentParser, *, needed: bool) -> None:
    told = "a run file, or a folder written by `conform` or `check`"
    command.add_argument("--run", dest="judged", type=Path, metavar="RUN", required=needed, help=told)
    command.add_argument(
        "--baseline", type=Path, metavar="RUN", help="the run to compare with (default: none, every violation is new)"
    )
    command.add_argument(
        "--waivers", type=Path, metavar="FILE", help=f"the file of waivers (default: {WAIVERS}, if it exists)"
    )
    command.add_argument(
        "--today", type=_day, metavar="DATE", help="judge waivers as of this day (default: today, in UTC)"
    )


def _add_present(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--candidate", action="append", default=[], metavar="NAME=FILE",
        help="a file to be released; the gate fails unless the run tested it (repeatable, also for one name)",
    )  # fmt: skip
    command.add_argument(
        "--locks", type=Path, metavar="DIR", help=f"the folder of current lock files (default: {LOCKS})"
    )


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise UserError(f"--today: {text!r} is not a date; write it as 2026-11-20") from error


def _today(options: argparse.Namespace) -> date:
    return options.today or datetime.now(timezone.utc).date()


# -- gate


def _gate(options: argparse.Namespace) -> int:
    _check_can_be_written("--json", options.json)
    output_files.check(options.json, options.history, given(options))
    found = _judged(options, _read_waivers(options))
    screen = Screen.of(sys.stdout)
    if options.json:
        with given_by("--json", options.json):
            files.write(options.json, records.encoded(document.to_json(found, _today(options))))
    if options.history and found.run.cells:
        _append(options.history, found.run)
    display.show(screen, found, verbose=options.verbose)
    return found.exit


def given(options: argparse.Namespace) -> list[tuple[str, Path]]:
    """Return the files and folders that the judgement reads, each with its option."""
    named = [("--run", options.judged), ("--baseline", options.baseline), ("--waivers", options.waivers or WAIVERS)]
    named += [("--candidate", Path(text.partition("=")[2])) for text in options.candidate]
    return [(option, path) for option, path in named if path]


def add_judged(command: argparse.ArgumentParser) -> None:
    """Add the options by which another command judges a run as ``gate`` does."""
    _add_run(command, needed=True)
    _add_present(command)


def judged(options: argparse.Namespace) -> tuple[Judgement, tuple[Waiver, ...]]:
    """Return the judgement of ``gate`` with these options, and the waivers that it applied."""
    given = _read_waivers(options)
    return _judged(options, given), given


def _judged(options: argparse.Namespace, given: Sequence[Waiver]) -> Judgement:
    altered: list[str] = []
    run = (
        _load(reader.load, options.judged, altered) or _NOTHING
    )  # `judgement.judge` compares the results of each cell with their digest
    baseline = _load(source_digests.load, options.baseline, altered) if options.baseline else None
    return judgement.judge(run, baseline, given, _present(options, run, altered))


def _judged_by_cases(options: argparse.Namespace, run: RunFile, given: Sequence[Waiver]) -> Judgement:
    """Judge only the cases, for commands about waivers. Stale results are not reported."""
    baseline = source_digests.load(options.baseline) if options.baseline else None
    present = Present(_today(options), canaries=trust.canaries())
    return judgement.judge(run, baseline, given, present)


def _load(load: Callable[[Path], RunFile], path: Path, altered: list[str]) -> RunFile | None:
    """Load a run. An altered run becomes a remark, and ``None`` is returned."""
    try:
        return load(path)
    except Altered as error:
        altered.append(str(error))
        return None


def _present(options: argparse.Namespace, run: RunFile, altered: Sequence[str]) -> Present:
    """Return the current state to compare with: this package, the locks and the candidates."""
    candidates = _candidates(options.candidate)
    return Present(
        _today(options), conformance.__version__, digests.of_suite(), _locks(options.locks, run), candidates,
        source_digests.results(options.judged, run), tuple(altered), trust.canaries(),
        _pinned(options.locks or LOCKS) if candidates else {},
    )  # fmt: skip


def _locks(folder: Path | None, run: RunFile) -> dict[str, str] | None:
    wanted = any(LOCK in cell.digests for cell in run.cells)
    if not files.is_folder(folder or LOCKS):
        if wanted or folder:
            raise UserError(
                f"--locks: {folder or LOCKS} is not a folder; the gate needs the locks to find stale results"
            )
        return None
    return {path.name.removesuffix(LOCKED): digests.of_file(path) for path in (folder or LOCKS).glob(f"*{LOCKED}")}


def _pinned(folder: Path) -> dict[str, frozenset[str]]:
    locks = {path.name.removesuffix(LOCKED): files.text(path) for path in folder.glob(f"*{LOCKED}")}
    return {name: frozenset(_PIN.findall(text)) for name, text in locks.items()}


def _candidates(given: Sequence[str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for text in given:
        name, equals, file = text.partition("=")
        if not (name and equals and file):
            raise UserError(f"--candidate: {text!r} is not NAME=FILE, such as torch=dist/torch-2.13.0.whl")
        if not files.is_file(Path(file)):
            raise UserError(f"--candidate: {file} is not a file; give the wheel that the cells were run with")
        try:
            found[_distribution(name, Path(file))][wheels.digest(Path(file))] = Path(file).name
        except files.Unreadable as error:
            raise UserError(f"--candidate: {error}; give the wheel that the cells were run with") from error
    return found


def _distribution(called: str, file: Path) -> str:
    """Return the name of the distribution: from the wheel's file name, as in `conform`, or else as given."""
    try:
        name = parse_wheel_filename(file.name)[0]
    except InvalidWheelFilename:
        return called
    if not requests.same(called, name):
        raise UserError(f"--candidate: {file} is a wheel of {name}, not of {called}; give the name of its distribution")
    return name


def _check_can_be_written(option: str, path: Path | None) -> None:
    """Raise UserError if the folder of an output is missing. Called before the run is judged."""
    if path and not files.is_folder(path.absolute().parent):
        raise UserError(
            f"{option}: {path} cannot be written: the folder {path.parent} does not exist; choose another place"
        )


def _append(path: Path, run: RunFile) -> None:
    added, complaints = history.append(path, run, trust.canaries())
    for complaint in complaints:
        print(f"conformance: {harmless(complaint)}", file=sys.stderr)
    if not added:
        print(f"conformance: {path} already has this run; nothing was added", file=sys.stderr)


# -- waivers


def _read_waivers(options: argparse.Namespace) -> tuple[Waiver, ...]:
    if options.waivers is None and not files.is_there(WAIVERS):
        return ()
    invariants = [name for name, found in catalogue().items() if found.canary is None]
    return waiver_file.read(options.waivers or WAIVERS, invariants, _today(options))


def _waivers(options: argparse.Namespace) -> int:
    if options.propose:
        return _propose(options)
    if options.out:
        raise UserError("--out needs --propose")
    given = _read_waivers(options)
    if not given and options.waivers is None and not files.is_there(WAIVERS):
        raise UserError(f"{WAIVERS} does not exist; name the file with --waivers")
    screen, today = Screen.of(sys.stdout), _today(options)
    run = source_digests.load(options.judged) if options.judged else None
    covered = waivers.coverage(trust.without_canaries(run, trust.canaries()), given, today) if run else None
    for waiver in given:
        _show_waiver(screen, waiver, today, covered)
    expired = sum(waiver.is_expired(today) for waiver in given)
    screen.line(f"{many(len(given), 'waiver')}; {expired} expired")
    if run is None:
        return Exit.WAIVER if expired else Exit.OK
    found = [f for f in _judged_by_cases(options, run, given).remarks if f.kind is Kind.WAIVER]
    for remark in found:
        screen.wrapped(remark.sentence, "  ")
    return max((remark.exit for remark in found), default=Exit.OK)


def _show_waiver(screen: Screen, waiver: Waiver, today: date, covered: waivers.Coverage | None) -> None:
    expired = waiver.is_expired(today)
    left = (
        f"expired {many(-waiver.days_left(today), 'day')} ago"
        if expired
        else f"{many(waiver.days_left(today), 'day')} left"
    )
    screen.line(
        screen.paint(waiver.id, "bold") + f"  {waiver.owner}  " + screen.paint(left, "red" if expired else "green")
    )
    screen.wrapped(f"{waiver.reason} ({waiver.link})", "    ")
    if covered is not None:
        screen.wrapped(_covers(covered.spots(waiver.id)), "    ")


def _covers(spots: Collection[waivers.Spot]) -> str:
    if not spots:
        return "covers nothing"
    cells = sorted({cell for cell, _ in spots})
    more = f" and {len(cells) - _FEW} more" if len(cells) > _FEW else ""
    cases = many(len({case for _, case in spots}), "case")
    return f"covers {cases} in {many(len(cells), 'cell')}: {', '.join(cells[:_FEW])}{more}"


def _propose(options: argparse.Namespace) -> int:
    if not options.judged:
        raise UserError("--propose needs --run")
    given = _read_waivers(options)
    text = proposals.text(
        _judged_by_cases(options, source_digests.load(options.judged), given),
        given,
        _today(options),
    )
    if options.out is None:
        sys.stdout.write(text)
        return Exit.OK
    if files.is_kept(options.out):
        raise UserError(f"--out: {options.out} exists and is not overwritten; choose another name")
    with given_by("--out", options.out):
        files.write(options.out, text)
    return Exit.OK


# -- history


def _history(options: argparse.Namespace) -> int:
    if not files.is_there(options.file):
        raise UserError(f"{options.file} does not exist; `gate --history {options.file}` creates it")
    if not history.is_one(options.file):
        raise UserError(f"{options.file} is not a history file; name a file written by `gate --history`")
    found = history.read(options.file)
    for complaint in found.complaints:
        print(f"conformance: {harmless(complaint)}", file=sys.stderr)
    history_display.show(Screen.of(sys.stdout), found.entries)
    return Exit.OK
