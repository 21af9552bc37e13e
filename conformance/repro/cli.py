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
    """Add the options of ``repro``."""
    command.add_argument("case", metavar="CASE", help="the id of a case, as in `list --cases` and in results")
    command.add_argument(
        "--out", type=Path, metavar="FILE", help="write the script to this file instead of printing it"
    )
    command.add_argument(
        "--results",
        type=Path,
        metavar="DIR",
        help="the folder of a run; its result and versions are added to the head of the script",
    )
    command.add_argument(
        "--bundle", action="store_true", help="bundle the suite's own check, even if there is a hand-written script"
    )
    command.set_defaults(run=repro)


def repro(options: argparse.Namespace) -> int:
    """Print the script or write it to a file."""
    case = case_named(options.case, lambda: environment.measure().environment)
    if catalogue()[case.invariant].canary is not None:
        raise UserError(
            f"{case.id} is a canary, which tests the run and not a library, so it has no script; `check --case` runs it"
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
    print(f"{options.out}: `python {options.out}` exits with 1 on a failure, with 0 on success")
    return Exit.OK


def _known(out: Path, id: str) -> tuple[Result | None, dict[str, str]]:
    """Return the result of a case in a run, and the versions of the run."""
    try:
        left = check_folder.left(out)
    except files.Unreadable as error:
        raise UserError(
            f"--results: {out} holds no readable run ({error.brief}); give the folder written by `check --out`"
        ) from error
    found = left.result(id)
    if found is None:
        raise UserError(f"--results: {out} has no result of {id}; omit the option, or give the folder of another run")
    partners = set(found.case.libraries)
    versions: dict[str, str] = {}
    for library in left.environment["libraries"]:
        versions.update(library["versions"] if library["name"] in partners else {})
    versions.pop("cuda-interop-conformance", None)
    return found, versions
