"""What an image checks of itself at the end of its build."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

from samples import lock

FILE = Path(__file__).parents[2] / "docker" / "inside" / "check.py"
spec = importlib.util.spec_from_file_location("inside", FILE)
assert spec is not None
assert spec.loader is not None
inside = importlib.util.module_from_spec(spec)
spec.loader.exec_module(inside)


def test_a_lock_is_read_as_versions_by_name() -> None:
    """Names as the index compares them; hashes and markers aside."""
    text = lock("Typing_Extensions==4", "numpy==2.3.5") + "mako==1.4.3 ; python_version > '3' \\\n    --hash=sha256:a\n"
    assert inside.wanted(text) == {"typing-extensions": "4", "numpy": "2.3.5", "mako": "1.4.3"}


def test_what_is_missing_surplus_or_another_version_is_said() -> None:
    """Each in a sentence; what is right is not mentioned."""
    assert inside.differences({"a": "1", "b": "1", "d": "1"}, {"a": "1", "b": "2", "c": "1"}) == [
        "b: the lock has 1, the image 2",
        "c: the lock has none, the image 1",
        "d: the lock has 1, the image none",
    ]


def test_a_package_that_leaves_this_python_out_is_said() -> None:
    """By its upper bound too, at which no resolver looks."""
    required = {"cvcuda-cu12": ">=3.10,<3.15", "nvimgcodec": "<3.14", "old": ">=2.7, !=3.0.*"}
    assert inside.refusals(required, "3.14.0") == ["nvimgcodec requires Python <3.14, this is 3.14.0"]
    assert inside.refusals(required, "3.12.3") == []


def test_an_environment_that_is_not_its_lock_fails_the_build(tmp_path: Path) -> None:
    """This one is not."""
    (tmp_path / "lock.txt").write_text(lock("no-such-package==1"))
    done = subprocess.run([sys.executable, FILE, tmp_path / "lock.txt"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "no-such-package: the lock has 1, the image none" in done.stderr
