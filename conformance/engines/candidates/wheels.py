"""A wheel as a file: its name, its metadata, its digest, and which Pythons and platforms it is for."""

from __future__ import annotations

import hashlib
import re
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path

from packaging.tags import Tag, compatible_tags, cpython_tags, sys_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from conformance.matrix.uv import PLATFORM

RESERVED = ("conformance", "sitecustomize")
"""Modules that stand in front of the path themselves."""
_INSTALLED = re.compile(r"(?:[^/]+\.data/(?:purelib|platlib)/)?(?P<module>[A-Za-z_]\w*[./].*(?<=\.)(?:py|so))")
"""Files that are put into the path; some wheels have them below a folder of their own."""


class NoWheel(ValueError):
    """A file that is no wheel that could be tried, and why."""


@dataclass(frozen=True)
class Wheel:
    """What a wheel says of itself."""

    path: Path
    name: str
    version: str
    tags: frozenset[Tag]
    sha256: str

    @property
    def file(self) -> str:
        """Its name without folders."""
        return self.path.name


def read(path: Path) -> Wheel:
    """The wheel in a file.

    Raises:
        NoWheel: there is none that could be tried.
    """
    if not path.is_file():
        raise NoWheel("there is no such file; build the wheel, or mend the path")
    try:
        name, version, _, tags = parse_wheel_filename(path.name)
    except InvalidWheelFilename as error:
        raise NoWheel("its name is not that of a wheel (NAME-VERSION-PYTHON-ABI-PLATFORM.whl)") from error
    try:
        with zipfile.ZipFile(path) as archive:
            _check(archive, name, version)
    except (zipfile.BadZipFile, OSError, KeyError, UnicodeDecodeError) as error:
        raise NoWheel(f"it cannot be read as a wheel ({error}); build it anew") from error
    return Wheel(path.absolute(), name, str(version), tags, digest(path))


def _check(archive: zipfile.ZipFile, name: str, version: Version) -> None:
    told = _metadata(archive)
    if canonicalize_name(told["Name"] or "") != name or not _equal(told["Version"] or "", version):
        raise NoWheel(
            f"its metadata is of {told['Name']} {told['Version']}, its name of {name} {version}; build it anew"
        )
    modules = {
        re.split("[./]", found["module"])[0] for file in archive.namelist() if (found := _INSTALLED.fullmatch(file))
    }
    if not modules:
        raise NoWheel("it holds no module, so nobody could see whether it comes into effect")
    for word in modules.intersection(RESERVED):
        raise NoWheel(f"it holds a module {word}, which would stand in the place of the suite's own")


def _equal(text: str, version: Version) -> bool:
    try:
        return Version(text) == version
    except ValueError:
        return False


def _metadata(archive: zipfile.ZipFile) -> Message:
    found = (file for file in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", file))
    return HeaderParser().parsestr(archive.read(next(found, "METADATA")).decode())


def metadata(path: Path) -> Message:
    """The metadata in a wheel."""
    with zipfile.ZipFile(path) as archive:
        return _metadata(archive)


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            found.update(part)
    return found.hexdigest()


def supported(python: str) -> list[Tag]:
    """What a cell with this minor version of Python takes, the best first; of this interpreter, if it is empty."""
    if not python:
        return list(sys_tags())
    major, minor = (int(part) for part in python.split("."))
    platforms = list(_platforms())
    return [
        *cpython_tags((major, minor), platforms=platforms),
        *compatible_tags((major, minor), f"cp{major}{minor}", platforms),
    ]


def _platforms() -> Iterator[str]:
    """Those that the locks are resolved for, and what is built for nobody else."""
    machine, _, newest = PLATFORM.partition("-manylinux_2_")
    yield from (f"manylinux_2_{minor}_{machine}" for minor in range(int(newest), 4, -1))
    yield from (f"{name}_{machine}" for name in ("manylinux2014", "manylinux2010", "manylinux1", "linux"))


def misfit(file: str, python: str) -> str:
    """Why a wheel of this name is not for a cell with this Python; empty where it is."""
    tags = parse_wheel_filename(file)[3]
    if tags & set(supported(python)):
        return ""
    wanted = python or ".".join(map(str, sys.version_info[:2]))
    return f"{file} is for {', '.join(sorted(map(str, tags))[:3])}, and the cell has Python {wanted} on {PLATFORM if python else 'this machine'}"  # fmt: skip
