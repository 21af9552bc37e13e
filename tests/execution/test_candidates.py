"""Candidates in a cell: only the candidate at the front of the path is imported, and the cell reports it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Command
from libraries import install
from wheels import installed, make

import conformance
from conformance.execution.candidates import roots

SUITE = Path(conformance.__file__).parent
STARTUP = SUITE / "checks" / "startup"
LOOK = """
import json, stripes
from importlib import metadata
all_of_them = sorted(found.version for found in metadata.distributions() if found.metadata["Name"] == "stripes")
print(json.dumps([stripes.__version__, metadata.version("Stripes"), all_of_them]))
"""
ENTRY_POINTS = """
from importlib import metadata
print([p.name for p in metadata.entry_points(group="cuda_interop_conformance.adapters") if p.name == "stripes"])
"""


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """A released version as if installed, and a candidate."""
    return (
        installed(tmp_path / "site", make(tmp_path / "dist", "stripes", "1.0")),
        installed(tmp_path / "candidate", make(tmp_path / "dist", "stripes", "1.1rc1")),
    )


def run(*command: str, path: list[Path], candidates: list[Path]) -> subprocess.CompletedProcess[str]:
    """An interpreter with these folders in its path."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    environment["CONFORMANCE_CANDIDATES"] = os.pathsep.join(map(str, candidates))
    return subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, check=False)


def seen(path: list[Path], candidates: list[Path]) -> list[Any]:
    """Return the imported file, the version by name, and all distributions that are found."""
    done = run("-c", LOOK, path=path, candidates=candidates)
    assert done.returncode == 0, done.stderr
    found: list[Any] = json.loads(done.stdout)
    return found


def test_what_a_candidate_replaces_is_not_found(folders: tuple[Path, Path]) -> None:
    """Without us both are, and everything else is found as ever."""
    released, candidate = folders
    assert seen([STARTUP, candidate, released], [candidate]) == ["1.1rc1", "1.1rc1", ["1.1rc1"]]
    assert seen([candidate, released], [candidate]) == ["1.1rc1", "1.1rc1", ["1.0", "1.1rc1"]]
    done = run("-c", "from importlib import metadata; print(metadata.version('pytest'))", path=[STARTUP, candidate], candidates=[candidate])  # fmt: skip
    assert done.stdout.strip() == pytest.__version__


def test_entry_points_of_what_is_replaced_are_gone(tmp_path: Path) -> None:
    """An adapter that the candidate announces no more is none."""
    points = "[cuda_interop_conformance.adapters]\nstripes = stripes:Adapter\n"
    released = installed(tmp_path / "site", make(tmp_path / "dist", "stripes", "1.0", entry_points=points))
    candidate = installed(tmp_path / "candidate", make(tmp_path / "dist", "stripes", "1.1"))
    assert run("-c", ENTRY_POINTS, path=[released], candidates=[]).stdout.strip() == "['stripes']"
    done = run("-c", ENTRY_POINTS, path=[STARTUP, candidate, released], candidates=[candidate])
    assert done.stdout.strip() == "[]"


def test_a_sitecustomize_that_was_there_still_runs(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """The machine's own, or a coverage tool's."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "sitecustomize.py").write_text("import sys; sys.was_here = True")
    done = run("-c", "import sys; print(sys.was_here)", path=[STARTUP, folders[1], other], candidates=[folders[1]])
    assert done.stdout.strip() == "True", done.stderr


def test_names_of_their_own_are_packages_and_single_modules() -> None:
    """Packages below packages are not, what lies in a namespace is, and what is no module is not."""
    files = (
        "cupy/__init__.py", "cupy/linalg/__init__.py", "cupy/x.py", "cuda/bindings/__init__.py", "cuda/bindings/a/b.py",
        "single.py", "_fast.so", "cupy.libs/libx.so", "cupy-1.dist-info/RECORD",
        "../../bin/tool", "cupy/lib/libx.so.1",
    )  # fmt: skip
    assert roots(files) == ["_fast", "cuda.bindings", "cupy", "single"]


def test_a_cell_tells_what_became_of_its_candidate(conformance: Command, tmp_path: Path) -> None:
    """In ``environment.json``, from the libraries' own processes: the version that is tested is the candidate's."""
    released, candidate = install(tmp_path / "site", "stripes"), install(tmp_path / "candidate", "stripes")
    info = candidate / "stripes_library-1.0.dist-info"
    info = info.rename(candidate / "stripes_library-1.1.dist-info")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stripes-library\nVersion: 1.1\n")
    (info / "RECORD").write_text("stripes_module.py,,\n")
    path = Path(os.pathsep.join(map(str, (STARTUP, candidate, SUITE.parent, released))))
    done = conformance(
        "check", "--between", "stripes", "--family", "pointer", "-n", "1", path=path, CONFORMANCE_CANDIDATES=str(candidate)
    )  # fmt: skip
    environment = json.loads((done.out / "environment.json").read_text())
    (told,) = environment["candidates"]
    assert (told["distribution"], told["found"]) == ("stripes-library", [{"version": "1.1", "folder": str(candidate)}])
    (module,) = told["modules"]
    assert (module["file"], module["error"]) == (str(candidate / "stripes_module.py"), None)
    (library,) = (one for one in environment["libraries"] if one["name"] == "stripes")
    assert library["versions"] == {"stripes-library": "1.1"}
