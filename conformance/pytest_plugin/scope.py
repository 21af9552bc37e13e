"""Detection of runs that collect the suite, from the command line alone: other runs must not notice the plugin."""

from __future__ import annotations

import os
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

import pytest

PACKAGE = __package__.partition(".")[0]
ROOT = Path(__file__).resolve().parent.parent
SUITE = ROOT / "suite"
"""Folder of the invariants."""
JOBS = "CONFORMANCE_JOBS"
"""Environment variable of a run that a supervisor drives, as in ``execution/jobs.py``, which is too heavy to import here."""
_ENVIRONMENTS = ("pyvenv.cfg", "conda-meta")
"""Entries by which pytest recognizes a virtual environment, which it does not search for tests."""


def concerns(config: pytest.Config) -> bool:
    """Return whether this run collects the suite."""
    if is_driven():
        return True
    skipped = tuple(config.getini("norecursedirs"))
    environments = bool(config.getoption("collect_in_virtualenv", False))
    folder = config.invocation_params.dir
    return any(
        leads_to_suite(
            path_of(argument, folder, packages=bool(config.option.pyargs)), skipped, environments=environments
        )
        for argument in config.args
    )


def is_driven() -> bool:
    """Return whether a supervisor started this run with a file of jobs."""
    return JOBS in os.environ


def path_of(argument: str, folder: Path, *, packages: bool) -> Path:
    """Return the path that an argument of pytest names, without the test in it. ``packages`` is ``--pyargs``."""
    name = argument.partition("[")[0].partition("::")[0]
    if packages and (name == PACKAGE or name.startswith(f"{PACKAGE}.")):
        inside = ROOT.joinpath(*name.split(".")[1:])
        return inside if inside.is_dir() else inside.with_suffix(".py")
    return (folder / name).resolve()


def leads_to_suite(path: Path, skipped: Sequence[str], *, environments: bool) -> bool:
    """Return whether pytest reaches the suite from this path.

    ``skipped`` are the patterns of folders that it does not enter. It enters an environment only with ``environments``,
    so a project that has the package in its ``.venv`` does not run the suite.
    """
    if path == SUITE or SUITE in path.parents:
        return True
    if path not in SUITE.parents:
        return False
    between = [SUITE, *SUITE.parents[: SUITE.parents.index(path)]]
    return not any(_is_skipped(one, skipped, environments) for one in between)


def _is_skipped(folder: Path, skipped: Sequence[str], environments: bool) -> bool:
    if any(fnmatch(folder.name, pattern) for pattern in skipped):
        return True
    return not environments and any((folder / name).exists() for name in _ENVIRONMENTS)
