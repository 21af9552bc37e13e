"""Other projects with the package in their environment: the plugin does nothing there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import conformance

from .running import variables

OURS = """\
import sys
print('modules', sorted(name for name in sys.modules if name.split('.')[0] == 'conformance'))
"""
TESTS = f"""\
import pytest

@pytest.mark.parametrize('exchange', [1, 2])
def test_exchange(exchange):
    assert exchange

def test_fails(request):
    assert request.config.pluginmanager.hasplugin('conformance.pytest_plugin') == HAS

@pytest.mark.exclusive
def test_mark():
{"".join(f"    {line}" + chr(10) for line in OURS.splitlines())}
"""
LIGHT = [
    "conformance",
    "conformance.pytest_plugin",
    "conformance.pytest_plugin.options",
    "conformance.pytest_plugin.scope",
]
"""All that such a run imports of the package."""


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder in which the package is installed, as far as pytest can see: with its entry point."""
    site = tmp_path / "site"
    info = site / "cuda_interop_conformance-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: cuda-interop-conformance\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[pytest11]\nconformance.pytest_plugin = conformance.pytest_plugin\n")
    (site / "conformance").symlink_to(Path(conformance.__file__).parent, target_is_directory=True)
    return site


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with tests of its own."""
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


def foreign(project: Path, site: Path, *arguments: str, has: bool = True) -> subprocess.CompletedProcess[str]:
    """Run pytest in the project, as its users do."""
    (project / "test_own.py").write_text(TESTS.replace("HAS", str(has)))
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-rP", *arguments], cwd=project, env=variables(site), capture_output=True,
        text=True, timeout=300, check=False,
    )  # fmt: skip


def test_the_entry_point_is_loaded_and_imports_next_to_nothing(project: Path, installed: Path) -> None:
    """No module of the suite, no probe, no thread, no marker."""
    done = foreign(project, installed)
    assert done.returncode == pytest.ExitCode.OK, done.stdout
    assert f"modules {LIGHT}" in done.stdout
    assert "interop" not in done.stdout.replace("cuda-interop-conformance", "").replace("cuda_interop_conformance", "")


def test_markers_of_the_suite_are_not_known_in_other_projects(project: Path, installed: Path) -> None:
    """``--strict-markers`` refuses them there, as it would without the package."""
    done = foreign(project, installed, "--strict-markers")
    assert "'exclusive' not found in `markers` configuration option" in done.stdout


def test_workers_of_another_project_import_next_to_nothing(project: Path, installed: Path) -> None:
    """With xdist as well, and ``-n auto`` is xdist's own number."""
    done = foreign(project, installed, "-n", "2")
    assert done.returncode == pytest.ExitCode.OK, done.stdout
    assert f"modules {LIGHT}" in done.stdout


def test_the_plugin_can_be_left_out_by_its_name(project: Path, installed: Path) -> None:
    """As every plugin."""
    done = foreign(project, installed, "-p", "no:conformance.pytest_plugin", has=False)
    assert done.returncode == pytest.ExitCode.OK, done.stdout
    assert "modules []" in done.stdout


def test_nothing_is_left_behind(project: Path, installed: Path, tmp_path: Path) -> None:
    """No folder for temporary files, no file in the project but pytest's own."""
    place = tmp_path / "tmp"
    place.mkdir()
    (project / "test_own.py").write_text("def test_one(): pass\n")
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q"], cwd=project, env=variables(installed, TMPDIR=str(place)), timeout=300,
        capture_output=True, check=True,
    )  # fmt: skip
    assert os.listdir(place) == []
    assert set(os.listdir(project)) <= {"test_own.py", "__pycache__", ".pytest_cache"}
