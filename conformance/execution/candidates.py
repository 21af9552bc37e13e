"""State of candidates in a cell: ``python -m conformance.execution.candidates FOLDER ANSWER`` writes JSON to ANSWER.

A candidate is a folder at the front of the path, with one distribution in it. A separate process checks that the
candidate takes effect: the version that ``importlib.metadata`` reports, and the file of each imported module.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import os
import re
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any

from conformance.checks.exchange import brief

from . import answers

SUFFIXES = tuple(importlib.machinery.all_suffixes())
_PACKAGE = "__init__"


def measure(folder: str) -> dict[str, Any]:
    """Return the facts about one candidate, as ``environment.json`` has them."""
    (own,) = metadata.distributions(path=[folder])
    name = canonical(own.metadata["Name"])
    found = [d for d in metadata.distributions() if canonical(d.metadata["Name"] or "") == name]
    return {
        "folder": folder,
        "distribution": name,
        "found": [{"version": d.version, "folder": str(d.locate_file(""))} for d in found],
        "modules": [_module(module) for module in roots(str(file) for file in own.files or ())],
        "trouble": None,
    }


def died(folder: str, reason: str) -> dict[str, Any]:
    """Return the facts about a candidate after its probe returned none."""
    return {"folder": folder, "distribution": None, "found": [], "modules": [], "trouble": reason}


def canonical(name: str) -> str:
    """Return the normalized name of a distribution, as the package index compares names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def roots(files: Iterable[str]) -> list[str]:
    """Return the top-level names that these files provide: packages that are in no other package, and modules outside packages."""
    modules = [parts for file in files if (parts := _parts(file))]
    packages = {parts[:-1] for parts in modules if parts[-1] == _PACKAGE}
    return sorted({".".join(_root(parts, packages)) for parts in modules})


def _parts(file: str) -> tuple[str, ...]:
    """Return the parts of the dotted name of a file; empty if the file is not a module."""
    path = PurePosixPath(file)
    suffix = next((suffix for suffix in SUFFIXES if path.name.endswith(suffix)), None)
    if suffix is None or path.name.endswith(".pyc"):
        return ()
    parts = (*path.parts[:-1], path.name.removesuffix(suffix))
    return parts if all(part.isidentifier() for part in parts) else ()


def _root(parts: tuple[str, ...], packages: set[tuple[str, ...]]) -> tuple[str, ...]:
    above = (parts[:length] for length in range(1, len(parts)))
    return next((package for package in above if package in packages), parts)


def _module(name: str) -> dict[str, Any]:
    """Return the file from which a module is imported, and its ``__version__``."""
    told: dict[str, Any] = {"module": name, "file": None, "version": None, "error": None}
    try:
        spec = importlib.util.find_spec(name)
        told["file"] = spec.origin if spec else None
        version = getattr(importlib.import_module(name), "__version__", None)
        told["version"] = version if isinstance(version, str) else None
    except (Exception, SystemExit) as error:
        told["error"] = brief(error)
    return told


def main(folder: str, answer: str) -> None:
    """Write the facts about the candidate in ``folder`` to the file ``answer``, and exit."""
    answers.say(Path(answer), measure(folder))
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
