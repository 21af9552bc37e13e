"""The command ``finding``: a report on one root cause, ready for the tracker of the accused library."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from conformance import files
from conformance.checks.catalogue import catalogue
from conformance.console.screen import Screen, many
from conformance.execution import check_folder, run_folder
from conformance.execution.environment import Facts
from conformance.execution.results import Result
from conformance.exits import Exit, UserError, given_by
from conformance.findings.model import Finding, Status
from conformance.findings.presentation import by_library
from conformance.verdict import Verdict
from conformance.wildcards import STAR, fits

from . import check_findings
from .finding_page import page, run_script, shortest


def add(name: str, command: argparse.ArgumentParser) -> None:
    """Add the options of ``finding``."""
    command.add_argument(
        "id", nargs="?", metavar="ID", help="the id of the finding; * matches any text (default: list all findings)"
    )
    command.add_argument(
        "--results",
        type=Path,
        default=check_findings.RESULTS,
        metavar="DIR",
        help=f"the folder of a run (default: {check_findings.RESULTS})",
    )
    command.add_argument(
        "--out", type=Path, metavar="PATH", help="write the report to this file; with --new, the pages to this folder"
    )
    command.add_argument(
        "--new", action="store_true", help="write a page for each violation that is not known upstream"
    )
    command.add_argument("--run", dest="tried", action="store_true", help="run the script and include its output")
    command.set_defaults(run=finding)


def finding(options: argparse.Namespace) -> int:
    """List the findings of a run, or print a report."""
    _check_options(options)
    results, facts = _read(options.results)
    found = check_findings.of_run(results, facts)
    if options.new:
        return _write_new(options, found, results, facts)
    if options.id is None:
        return _list(found)
    text = _page(_chosen(found, options.id, options.results), results, facts, tried=options.tried)
    if options.out is None:
        sys.stdout.write(text)
    else:
        run_folder.refuse("--out", options.out, "--results", options.results)
        _refuse_to_overwrite(options.out)
        with given_by("--out", options.out):
            files.write(options.out, text)
    return Exit.OK


def _check_options(options: argparse.Namespace) -> None:
    """Raise UserError for options that would have no effect."""
    if options.new and options.id is not None:
        raise UserError("--new selects the findings itself; omit the id or --new")
    if options.new and options.out is None:
        raise UserError("--new writes a page for each finding; name the folder with --out")
    if not options.new and options.id is None and (options.out is not None or options.tried):
        raise UserError("--out and --run need a finding id, or --new for all new findings")


def _read(path: Path) -> tuple[Sequence[Result], Facts]:
    if not files.is_folder(path):
        raise UserError(f"there is no run in {path}; name the folder written by `check --out` with --results DIR")
    try:
        left = check_folder.left(path)
    except files.Unreadable as error:
        raise UserError(
            f"--results: {path} holds no readable run ({error.brief}); give the folder written by `check --out`"
        ) from error
    unknown = [case.id for case in left.cases if case.invariant not in catalogue()]
    if unknown:
        raise UserError(f"--results: this suite has no case {unknown[0]}; {path} comes from another version of it")
    return left.results, Facts.from_json(left.environment)


def _refuse_to_overwrite(*paths: Path) -> None:
    there = [str(path) for path in paths if files.is_kept(path)]
    if there:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise UserError(f"--out: {there[0]}{more} already exists; choose another place, or remove it")


def _list(found: Sequence[Finding]) -> int:
    screen = Screen.of(sys.stdout)
    for one in (one for _, members in by_library(found) for one in members):
        screen.line(f"{screen.paint(one.verdict.symbol, one.verdict.colour)} {one.id}")
        screen.wrapped(f"{one.sentence} {check_findings.extent(one)}", "    ")
    screen.wrapped(check_findings.headline(found), "")
    return Exit.OK


def _chosen(found: Sequence[Finding], id: str, path: Path) -> Finding:
    fitting = [one for one in found if (fits(id, one.id) if STAR in id else one.id == id)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise UserError(f"{path} has {len(fitting)} findings that match {id}; name one of {_names(fitting)}")
    ids = [one.id for one in found]
    close = difflib.get_close_matches(id, ids, _CLOSE) or [
        one for one in ids if one.partition("/")[0] == id.partition("/")[0]
    ]
    hint = f"did you mean {', '.join(close[:_CLOSE])}?" if close else "`finding` without an id lists all"
    raise UserError(f"{path} has no finding {id}; {hint}")


_CLOSE = 3
"""Maximum number of ids that a message suggests."""


def _names(found: Sequence[Finding]) -> str:
    more = f" and {len(found) - _CLOSE} more" if len(found) > _CLOSE else ""
    return ", ".join(one.id for one in found[:_CLOSE]) + more


def _page(one: Finding, results: Sequence[Result], facts: Facts, *, tried: bool) -> str:
    ran = run_script(shortest(one, results), one.versions) if tried else None
    return page(one, results, facts, ran)


def _write_new(options: argparse.Namespace, found: Sequence[Finding], results: Sequence[Result], facts: Facts) -> int:
    new = [one for one in found if one.status is Status.NEW and one.verdict is Verdict.VIOLATES]
    index = options.out / "README.md"
    _refuse_to_overwrite(index, *(options.out / file_name(one) for one in new))
    with given_by("--out", options.out):
        files.make_folder(options.out)
        for one in new:
            files.write(options.out / file_name(one), _page(one, results, facts, tried=options.tried))
        files.write(index, _index(new, check_findings.headline(found)))
    print(f"{many(len(new), 'page')} and an index in {options.out}")
    return Exit.OK


def file_name(one: Finding) -> str:
    """Return the id as a file name."""
    return re.sub(r"[^a-z0-9._=-]+", ".", one.id) + ".md"


def _index(new: Sequence[Finding], headline: str) -> str:
    lines = [f"- [{one.sentence}]({file_name(one)})" for one in new]
    return "\n".join(
        (
            "# Findings that are in no public tracker",
            "",
            f"Result of the run: {headline}. Each page is a report that can be pasted into the library's tracker.",
            "",
            *lines,
            "",
        )
    )
