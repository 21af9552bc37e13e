"""The command ``repro``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from conformance import files
from conformance.checks.catalogue import catalogue
from conformance.execution import check_folder, environment, run_folder
from conformance.execution.case_names import case_named
from conformance.execution.results import Result
from conformance.exits import Exit, UserError, given_by

from .scripts import script


def add(name: str, command: argparse.ArgumentParser) -> None:
    """Give the command of this name its options."""
    command.add_argument("case", metavar="CASE", help="the id of a case, as `list --cases` and results name it")
    command.add_argument("--out", type=Path, metavar="FILE", help="write it to a file instead of printing it")
    command.add_argument(
        "--results",
        type=Path,
        metavar="DIR",
        help="the folder of a run: what was seen there, and with which versions, is told at the top",
    )
    command.add_argument(
        "--bundle", action="store_true", help="the suite's own check, even where there is a readable script"
    )
    command.set_defaults(run=repro)


def repro(options: argparse.Namespace) -> int:
    """Print the script, or write it."""
    case = case_named(options.case, lambda: environment.measure().environment)
    if catalogue()[case.invariant].canary is not None:
        raise UserError(
            f"{case.id} is a canary, which tests a run and no library, so it has no script; `check --case` runs it"
        )
    if options.out and options.results:
        run_folder.refuse("--out", options.out, "--results", options.results)
    result, versions = _known(options.results, case.id) if options.results else (None, {})
    text = script(case, result, versions=versions, bundled=options.bundle)
    if options.out is None:
        sys.stdout.write(text)
        return Exit.OK
    with given_by("--out", options.out):
        files.write(options.out, text)
    print(f"{options.out}: `python {options.out}` ends with 1 if it is wrong, with 0 if it is right")
    return Exit.OK


def _known(out: Path, id: str) -> tuple[Result | None, dict[str, str]]:
    """What a run has found out about a case, and the versions that it ran with."""
    try:
        left = check_folder.left(out)
    except files.Unreadable as error:
        raise UserError(
            f"--results: {out} holds no run that can be read ({error.brief}); give the folder that `check --out` made"
        ) from error
    found = left.result(id)
    if found is None:
        raise UserError(
            f"--results: {out} knows nothing of {id}; leave the option out, or give the folder of another run"
        )
    partners = set(found.case.libraries)
    versions: dict[str, str] = {}
    for library in left.environment["libraries"]:
        versions.update(library["versions"] if library["name"] in partners else {})
    versions.pop("cuda-interop-conformance", None)
    return found, versions
