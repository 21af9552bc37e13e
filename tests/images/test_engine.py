"""With a real engine: small images, built for good, looked into, and removed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENGINE = os.environ.get("CONFORMANCE_ENGINE") or shutil.which("docker") or "docker"
PYTHONS = ("3.12", "3.13", "3.11", "3.10", "3.14")
INICONFIG = """\
iniconfig==2.3.0 \\
    --hash=sha256:f631c04d2c48c52b84d0d0549c99ff3859c98df65b3101406327ecc7d53fbf12
"""


def engine(*arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """What the engine says."""
    return subprocess.run([ENGINE, *arguments], capture_output=True, text=True, timeout=timeout, check=False)


def absent() -> str:
    """Why there can be no real build here, or nothing."""
    try:
        answers = engine("info", "--format", "{{.ServerVersion}}")
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"no engine: {error}"
    if answers.returncode or not answers.stdout.strip():
        return f"no engine answers: {answers.stderr.strip()}"
    return "" if python() else f"no base python:X.Y-slim-bookworm is here, for X.Y among {', '.join(PYTHONS)}"


def python() -> str:
    """A Python whose base is here, so that nothing has to be fetched for these tests; or nothing."""
    here = (
        version for version in PYTHONS if not engine("image", "inspect", f"python:{version}-slim-bookworm").returncode
    )
    return next(here, "")


reason = absent()
pytestmark = [pytest.mark.skipif(bool(reason), reason=reason), pytest.mark.seconds(100)]


def images(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``python -m conformance images`` in a folder with a recipe and a plan."""
    return subprocess.run(
        [sys.executable, "-m", "conformance", "images", "--plan", "plan.json", "--engine", ENGINE, *arguments],
        cwd=folder, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two cells of one small package; the lock of one has a hash that is not the package's."""
    folder = tmp_path_factory.mktemp("cells")
    shutil.copytree(ROOT / "docker", folder / "docker")
    (folder / "good.txt").write_text(INICONFIG)
    (folder / "bad.txt").write_text(INICONFIG.replace("f631", "0000"))
    plan = [{"cell": name, "python": python(), "cuda": "13", "lock": f"{name}.txt"} for name in ("good", "bad")]
    (folder / "plan.json").write_text(json.dumps(plan))
    yield folder
    for name in names(images(folder, "--dry-run").stdout).values():
        engine("image", "rm", name)  # what lies below is as other cells have it


def names(table: str) -> dict[str, str]:
    """The images of a table, by cell."""
    return dict(re.findall(r"^ +(\w+) .* (cuda-interop-cell:\w+)", table, re.MULTILINE))


@pytest.fixture(scope="module")
def first(folder: Path) -> subprocess.CompletedProcess[str]:
    """The first run, which builds."""
    return images(folder, "--jobs", "2")


@pytest.fixture(scope="module")
def image(first: subprocess.CompletedProcess[str]) -> str:
    """The image of the good cell."""
    assert first.returncode == 4, first.stderr
    return names(first.stdout)["good"]


def inside(image: str, *command: str) -> subprocess.CompletedProcess[str]:
    """A command in a container as a run has them."""
    return engine(
        "run", "--rm", "--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
        "--tmpfs", "/tmp", image, *command,
    )  # fmt: skip


def test_an_image_holds_its_lock_and_nothing_else(image: str) -> None:
    """Nor pip, nor the suite."""
    code = "import importlib.metadata as m; print([(d.name, d.version) for d in m.distributions()])"
    assert inside(image, "python", "-c", code).stdout.strip() == "[('iniconfig', '2.3.0')]"


def test_an_image_has_a_plain_user_and_no_compiler(image: str) -> None:
    """Whose files are nowhere but in the temporary folder."""
    code = "import getpass, os, shutil; print(os.getuid(), getpass.getuser(), shutil.which('gcc'), os.path.expanduser('~'))"
    assert inside(image, "python", "-c", code).stdout.split() == ["10001", "cell", "None", "/tmp"]


def test_an_image_says_what_it_was_made_from(image: str) -> None:
    """The whole key, and the lock's digest."""
    labels = json.loads(engine("image", "inspect", "--format", "{{json .Config.Labels}}", image).stdout)
    assert labels["conformance.image.key"].startswith(image.partition(":")[2])
    assert len(labels["conformance.image.lock"]) == 64


def test_a_package_that_is_not_the_locks_fails_its_cell_with_the_reason(
    first: subprocess.CompletedProcess[str], image: str
) -> None:
    """The other cell has its image all the same."""
    assert "✗ bad" in first.stdout
    assert "Hash mismatch" in first.stdout
    assert "1 built, 1 failed" in first.stdout


def test_a_second_run_builds_nothing(folder: Path, image: str) -> None:
    """Only the image's own label is looked at."""
    done = images(folder, "--cells", "good")
    assert (done.returncode, "1 present" in done.stdout) == (0, True)
    assert not [line for line in done.stderr.splitlines() if line.startswith("+") and " build " in line]


def test_no_setting_is_left_in_a_layer(image: str) -> None:
    """Neither certificates nor the index's address."""
    found = inside(image, "sh", "-c", "ls /run/secrets /run/cache /run/tools /run/group; env")
    assert not [line for line in found.stdout.splitlines() if "INDEX" in line or "CERT" in line or line in ("ca", "uv")]
