"""Wheels made by hand: of a few files, without a build backend and without a network."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path


def make(
    folder: Path,
    name: str,
    version: str,
    files: Mapping[str, str] | None = None,
    *,
    requires: Sequence[str] = (),
    python: str = "",
    tag: str = "py3-none-any",
    entry_points: str = "",
) -> Path:
    """A wheel with these files; without any, a package with the distribution's name that says its version."""
    module = name.replace("-", "_")
    content = dict(files if files is not None else {f"{module}/__init__.py": f"__version__ = {version!r}\n"})
    info = f"{module}-{version}.dist-info"
    metadata = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    metadata += [f"Requires-Python: {python}"] if python else []
    metadata += [f"Requires-Dist: {text}" for text in requires]
    content[f"{info}/METADATA"] = "\n".join(metadata) + "\n"
    content[f"{info}/WHEEL"] = f"Wheel-Version: 1.0\nGenerator: by hand\nRoot-Is-Purelib: true\nTag: {tag}\n"
    if entry_points:
        content[f"{info}/entry_points.txt"] = entry_points
    content[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in (*content, f"{info}/RECORD"))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{module}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in content.items():
            archive.writestr(file, text)
    return path


def installed(folder: Path, wheel: Path) -> Path:
    """What a wheel holds, unpacked into a folder for ``PYTHONPATH``."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder
