"""Digests distinguish two builds of one version, and ``--resume`` refuses to mix their results."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Command
from libraries import install

from conformance.execution import fingerprint
from conformance.execution.run_folder import CONTENTS
from conformance.exits import Exit


def tree(folder: Path) -> Path:
    """Create a package with sources, a native module, a cache and a hidden folder."""
    package = folder / "stripes"
    for name in (
        "__init__.py", "inner/core.so", "__pycache__/x.pyc", ".git/HEAD", "__init__.pyc", "inner/y.pyc", ".libs/one.so",
        "inner/y",
    ):  # fmt: skip
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_bytes(b"one")
    (folder / "linked").mkdir()
    (folder / "linked" / "two.py").write_bytes(b"one")
    (package / "two").symlink_to(folder / "linked")
    (package / "loop").symlink_to(package)
    return package


def touch(path: Path) -> None:
    """Change the modification time of a file, but not its content."""
    os.utime(path, ns=(1, 1))


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "content of the same size": (
        lambda p: (p / "inner/core.so").write_bytes(b"two"),
        "stripes/inner/core.so has changed",
    ),
    "a new file": (lambda p: (p / "a.py").write_bytes(b""), "stripes/a.py is new"),
    "a file less": (lambda p: (p / "__init__.py").unlink(), "stripes/__init__.py is missing"),
    "a cache": (lambda p: (p / "__pycache__/x.pyc").write_bytes(b"two"), ""),
    "a hidden file": (lambda p: (p / ".git/HEAD").write_bytes(b"two"), ""),
    "compiled code beside its source": (lambda p: (p / "__init__.pyc").write_bytes(b"two"), ""),
    "compiled code alone": (lambda p: (p / "inner/y.pyc").write_bytes(b"two"), "stripes/inner/y.pyc has changed"),
    "a folder of libraries": (lambda p: (p / ".libs/one.so").write_bytes(b"two"), "stripes/.libs/one.so has changed"),
    "a file in a linked folder": (lambda p: (p / "two/two.py").write_bytes(b"two"), "stripes/two/two.py has changed"),
    "the time of a small file": (lambda p: touch(p / "inner/core.so"), ""),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_makes_another_build(change: str, tmp_path: Path) -> None:
    """Content and names count; files that Python writes do not."""
    make, told = CHANGES[change]
    package = tree(tmp_path)
    before = fingerprint.of_trees([package])
    assert fingerprint.of_trees([package]) == before
    make(package)
    now = fingerprint.of_trees([package])
    assert fingerprint.first_difference(before, now) == told
    assert (fingerprint.digest(before) == fingerprint.digest(now)) is (told == "")


def test_a_large_file_counts_by_size_and_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The content of a large file is not read."""
    monkeypatch.setattr(fingerprint, "BY_CONTENT", 2)
    package = tree(tmp_path)
    before = fingerprint.of_trees([package])
    touch(package / "inner/core.so")
    assert fingerprint.first_difference(before, fingerprint.of_trees([package])) == "stripes/inner/core.so has changed"


def test_loaded_modules_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files beside a package count; the standard library does not."""
    package = tmp_path / "stripes"
    (tmp_path / "stripes.libs").mkdir()
    (tmp_path / "stripes.libs" / "libone.so").write_bytes(b"one")
    (tmp_path / "dots.py").write_text("")
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        __import__("stripes")
        __import__("dots")
        found = fingerprint.loaded()
    finally:
        sys.modules.pop("stripes", None)
        sys.modules.pop("dots", None)
    ours = [name for name in found if name.partition("/")[0] in ("dots.py", "stripes", "stripes.libs")]
    assert ours == ["dots.py", "stripes/__init__.py", "stripes.libs/libone.so"]
    assert not [name for name in found if name.startswith(("json/", "conformance/"))]


SMALL = ("--between", "sound", "--family", "pointer", "--tier", "quick", "--device", "host")


def test_a_run_goes_on_with_the_same_builds_only(conformance: Command, tmp_path: Path) -> None:
    """The message names the library and the file; without a list of files it names the library alone."""
    site = install(tmp_path / "site", "sound")
    first = conformance("check", *SMALL, path=site)
    assert first.code == Exit.OK, first.stdout + first.stderr
    assert conformance("check", "--resume", str(first.out), path=site).code == Exit.OK
    module = site / "sound_module.py"
    module.write_text(module.read_text() + "\n# another build\n")
    again = conformance("check", "--resume", str(first.out), path=site)
    assert again.code == Exit.USAGE
    assert len(again.stderr.splitlines()) == 1
    assert (
        "sound was rebuilt: sound_module.py has changed; results of two environments are not combined" in again.stderr
    )
    (first.out / CONTENTS).write_bytes(b"\xff nonsense")
    again = conformance("check", "--resume", str(first.out), path=site)
    assert again.code == Exit.USAGE
    assert "sound was rebuilt: its files differ, but the file with their digests is missing" in again.stderr


def test_a_library_that_starts_with_python_is_looked_at(conformance: Command, tmp_path: Path) -> None:
    """A ``sitecustomize`` may import it before the probe asks for it."""
    site = install(tmp_path / "site", "sound", load="import stripes")
    (site / "sitecustomize.py").write_text("import stripes\n")
    (site / "stripes.py").write_text("")
    first = conformance("check", *SMALL, path=site)
    assert first.code == Exit.OK, first.stdout + first.stderr
    (site / "stripes.py").write_text("# another build\n")
    again = conformance("check", "--resume", str(first.out), path=site)
    assert (again.code, "sound was rebuilt: stripes.py has changed" in again.stderr) == (Exit.USAGE, True), again.stderr
