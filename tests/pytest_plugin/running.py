"""Run pytest over the suite in a subprocess, as a user does, and read its JUnit XML."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

SUITE = ("--pyargs", "conformance.suite")
PLUGIN = ("-p", "conformance.pytest_plugin")
"""Loads the plugin where the package is not installed; where it is, this names the same entry point."""
_JUNIT = "junit.xml"
_ENDINGS = ("failure", "error", "skipped")


@dataclass(frozen=True)
class Told:
    """A test case in JUnit XML: ``ending`` is its element, empty for a pass, ``message`` and ``text`` are what it says."""

    ending: str
    kind: str
    message: str
    text: str
    properties: dict[str, str]


@dataclass(frozen=True)
class Finished:
    """A finished run of pytest."""

    code: int
    stdout: str
    stderr: str
    cases: dict[str, Told]
    """By the id of the case."""

    def ended(self, ending: str) -> set[str]:
        """Return the ids of the cases that ended in this way."""
        return {id for id, told in self.cases.items() if told.ending == ending}


def variables(*path: Path, **more: str) -> dict[str, str]:
    """Return an environment without settings of this run, with folders at the front of the path."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("CONFORMANCE_", "PYTEST_"))}
    folders = [*map(str, path), *filter(None, [kept.get("PYTHONPATH", "")])]
    return {**kept, "PYTHONPATH": os.pathsep.join(folders), **more}


def pytest_over_suite(folder: Path, *arguments: str, path: tuple[Path, ...] = (), given: str = "", **more: str) -> Finished:  # fmt: skip
    """Run pytest over the suite in a folder. ``given`` is what a user types."""
    return pytest_in(folder, *SUITE, *arguments, path=path, given=given, **more)


def pytest_in(folder: Path, *arguments: str, path: tuple[Path, ...] = (), given: str = "", **more: str) -> Finished:
    """Run pytest with the plugin in a folder."""
    junit = folder / _JUNIT
    junit.unlink(missing_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *PLUGIN, f"--junitxml={junit}", *arguments],
        cwd=folder, env=variables(*path, **more), input=given, capture_output=True, text=True, timeout=1200, check=False,
    )  # fmt: skip
    return Finished(done.returncode, done.stdout, done.stderr, dict(_cases(junit)))


def _cases(junit: Path) -> Iterator[tuple[str, Told]]:
    if not junit.exists():
        return
    for case in ElementTree.parse(junit).getroot().iter("testcase"):
        name = case.get("name", "")
        yield name.partition("[")[2].removesuffix("]") or name, _told(case)


def _told(case: Element) -> Told:
    properties = {one.get("name", ""): one.get("value", "") for one in case.iter("property")}
    for ending in _ENDINGS:
        found = case.find(ending)
        if found is not None:
            return Told(ending, found.get("type", ""), found.get("message", ""), found.text or "", properties)
    return Told("", "", "", "", properties)
