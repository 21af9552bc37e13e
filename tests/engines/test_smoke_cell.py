"""A cell of the matrix, for real: its image is built from its lock, and the suite runs in it on host memory."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from conformance.exits import Exit

from .test_real_engine import ENGINE, absent, engine

ROOT = Path(__file__).parents[2]
CELL = "smoke-12"
"""The smaller of the smoke cells: half a gigabyte to fetch, and PyCUDA is compiled."""
SECONDS = 1500
UNREACHABLE = re.compile(
    r"dns error|invalid peer certificate|Connection refused|timed out|Network is unreachable|name resolution", re.I
)
"""Words of uv and pip where the world cannot be reached."""


def reason_to_skip() -> str:
    """Building wants the base of this very cell."""
    missing = absent()
    if missing:
        return missing
    answer = engine("image", "inspect", "python:3.12-slim-bookworm")
    return "the base python:3.12-slim-bookworm is not here" if answer.returncode else ""


pytestmark = pytest.mark.skipif(bool(reason_to_skip()), reason=reason_to_skip())


def conformance(*arguments: str) -> subprocess.CompletedProcess[str]:
    """As a user does, in the project's folder."""
    path = os.pathsep.join(p for p in (str(Path(ENGINE).parent), os.environ.get("PATH", "")) if p)
    return subprocess.run(
        [sys.executable, "-m", "conformance", *arguments],
        cwd=ROOT, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip


@pytest.mark.seconds(300)
def test_the_suite_runs_in_a_cell_of_the_matrix(tmp_path: Path) -> None:
    """Every planned case has an outcome, and every library is imported, or its reason is told in a sentence.

    A second time nothing is built: same lock, same recipe, same base.
    """
    out = tmp_path / "out"
    done = conformance(
        "conform", "--cells", CELL, "--on", "docker", "--gpus", "none", "--out", str(out), "--", "--tier", "quick"
    )
    (cell,) = (folder for folder in out.iterdir() if folder.is_dir())
    record = json.loads((cell / "cell.json").read_text())
    if record["lifecycle"] == "build failed" and UNREACHABLE.search(record["reason"] + done.stderr):
        pytest.skip(f"a build reaches no package index here: {record['reason'][-300:]}")
    assert done.returncode in (Exit.OK, Exit.VIOLATIONS), done.stdout[-3000:] + done.stderr[-3000:]
    assert (record["lifecycle"], record["alias"]) == ("done", CELL)
    planned, reported = (
        [json.loads(line)["id"] for line in (cell / f"{name}.jsonl").read_text().splitlines()]
        for name in ("plan", "results")
    )
    assert planned == reported
    libraries = {
        library["name"]: library for library in json.loads((cell / "environment.json").read_text())["libraries"]
    }
    assert libraries["numpy"]["versions"]["numpy"].startswith("1.26")
    for name in ("cvcuda", "pycuda"):
        assert libraries[name]["versions"], f"{name} is not in the cell"
        assert "libcuda.so.1" in libraries[name]["absent"]
    for name in ("cupy", "cuda_python"):
        assert libraries[name]["versions"], f"{name} is not in the cell"
        assert libraries[name]["devices"] or "driver" in json.dumps(libraries[name])
    assert libraries["torch"]["absent"].startswith("not installed")
    again = conformance("images", "--cells", CELL, "--engine", ENGINE)
    assert again.returncode == Exit.OK, again.stdout + again.stderr
    assert " build " not in again.stdout + again.stderr
