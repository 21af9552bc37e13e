"""docs/gating-a-package.md, as its reader would do it: the wheel is built, stands in for the release, and is judged."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from wheels import installed, make

import conformance

ROOT = Path(conformance.__file__).parents[1]
EXAMPLE = next(
    (
        root / "docs" / "gating-a-package"
        for root in (ROOT, Path.cwd())
        if (root / "docs" / "gating-a-package").is_dir()
    ),
    Path("docs/gating-a-package"),
)
pytestmark = pytest.mark.skipif(not EXAMPLE.is_dir(), reason="the example lies in a checkout only")
RIGHT = "return self.numpy().__dlpack__(**keywords)"
WITHOUT_OFFSET = "return Stripes(self.block, 0, self.shape, self.strides).numpy().__dlpack__(**keywords)"


def wheel(folder: Path, version: str, export: str = RIGHT) -> Path:
    """The example's wheel, as its build backend would make it."""
    project = (EXAMPLE / "pyproject.toml").read_text()
    group, entry = re.findall(r'^\[project\.entry-points\."(.+)"\]\n(.+)$', project, re.MULTILINE)[0]
    files = {f"stripes/{path.name}": path.read_text() for path in (EXAMPLE / "src" / "stripes").glob("*.py")}
    assert RIGHT in files["stripes/__init__.py"]
    files["stripes/__init__.py"] = files["stripes/__init__.py"].replace(RIGHT, export)
    points = f"[{group}]\n{entry.replace(chr(34), '')}\n"
    return make(folder, "stripes", version, files, requires=["numpy>=1.26"], python=">=3.10", entry_points=points)


@dataclass(frozen=True)
class Gated:
    """A run over one cell, and what it left."""

    code: int
    said: str
    cell: dict[str, Any]
    results: list[dict[str, Any]]

    @property
    def violated(self) -> set[str]:
        """Invariants that it breaks."""
        return {result["id"].split("/")[0] for result in self.results if result["verdict"] == "violates"}


def gated(folder: Path, candidate: Path) -> Gated:
    """The page's command, in an environment that holds release 1.0."""
    pytest.importorskip("numpy")
    released = installed(folder / "site", wheel(folder / "dist", "1.0"))
    done = subprocess.run(
        [
            sys.executable, "-m", "conformance", "conform", "--on", "here", "--gpus", "none", "--out", str(folder / "out"),
            "--candidate", f"stripes={candidate}", "--with-tests", str(EXAMPLE / "tests"),
            "--", "--between", "stripes", "--family", "pointer,layout",
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(released))), "NO_COLOR": "1"},
        cwd=folder, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    out = folder / "out" / "here"
    assert (out / "results.jsonl").is_file(), done.stdout + done.stderr
    results = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    return Gated(done.returncode, done.stdout, json.loads((out / "cell.json").read_text()), results)


def test_a_candidate_that_is_right_passes(tmp_path: Path) -> None:
    """Version 1.1 is what was imported and tested, by the suite and by the package's own tests, though 1.0 is installed."""
    found = gated(tmp_path, wheel(tmp_path / "dist", "1.1"))
    assert (found.cell["lifecycle"], found.violated, found.code) == ("done", set(), 0), found.said
    (candidate,) = found.cell["candidates"]
    assert (candidate["name"], candidate["version"], candidate["instead_of"]) == ("stripes", "1.1", "1.0")
    assert (found.cell["with_tests"]["ended"], found.cell["with_tests"]["failed"]) == ("done", 0)
    assert found.cell["with_tests"]["passed"] >= 3
    assert sum("stripes" in result["id"] for result in found.results) > 50


def test_a_candidate_that_loses_the_offset_of_a_view_is_caught_and_told(tmp_path: Path) -> None:
    """By the suite, and not by the package's own tests; the page shows its finding as the report does.

    How many cases show it depends on what is tested.
    """
    found = gated(tmp_path, wheel(tmp_path / "dist", "1.1rc1", WITHOUT_OFFSET))
    assert found.code == 1
    assert {"pointer.view-export", "pointer.misaligned"} <= found.violated
    assert (found.cell["with_tests"]["ended"], found.cell["with_tests"]["failed"]) == ("done", 0)
    page = (EXAMPLE.parent / "gating-a-package.md").read_text()
    (shown,) = re.findall(r"^    ✗ stripes .*\n      new; .*\n      stripes/.*$", page, re.MULTILINE)
    sentence, _, id = shown.splitlines()
    report = [sys.executable, "-m", "conformance", "report", str(tmp_path / "out" / "here")]
    told = subprocess.run(
        report, env={**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "120"},
        capture_output=True, text=True, check=False,
    ).stdout.splitlines()  # fmt: skip
    assert sentence in told
    assert id in told
