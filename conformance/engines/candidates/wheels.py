"""Wheel files: name, metadata, digest, and supported Python versions and platforms."""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path

from packaging.tags import Tag, compatible_tags, cpython_tags, sys_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from conformance import files
from conformance.matrix.uv import PLATFORM

RESERVED = frozenset(
    (
        "conformance", "sitecustomize", "usercustomize", "pytest", "_pytest", "py", "pluggy", "iniconfig", "xdist", "execnet",
        *sys.stdlib_module_names,
    )
)  # fmt: skip
"""Modules of the suite, of pytest and of Python that a candidate must not replace."""
_SCHEMES = frozenset(("purelib", "platlib", "data"))
"""Folders below ``NAME-VERSION.data`` whose files installers put into ``sys.path``."""
_BESIDE = frozenset(("scripts", "headers"))
"""Folders below ``NAME-VERSION.data`` whose files installers put elsewhere."""
_MODULES = (".py", ".so")
MOST_FILES = 200_000
MOST_METADATA = 16 << 20
"""Limit of the metadata, in bytes."""
MOST_UNPACKED = 32 << 30
"""Limit of all unpacked files together, in bytes."""
MOST_RATIO = 200
"""Limit of the ratio of unpacked to packed size above :data:`SMALL`. Real wheels stay below a tenth of it."""
SMALL = 1 << 30
"""Unpacked size up to which the ratio is not checked, in bytes."""
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    OSError,
    EOFError,
    KeyError,
    ValueError,
    NotImplementedError,
    RuntimeError,
    struct.error,
)
"""Exceptions that ``zipfile`` raises for a damaged, encrypted or unsupported archive."""


class NoWheel(ValueError):
    """A file that is not a usable wheel. The text is the reason."""


@dataclass(frozen=True)
class Wheel:
    """Name, version, tags and digest of a wheel."""

    path: Path
    name: str
    version: str
    tags: frozenset[Tag]
    sha256: str

    @property
    def file(self) -> str:
        """Name of the file, without folders."""
        return self.path.name


def read(path: Path) -> Wheel:
    """Return the wheel in a file.

    Raises:
        NoWheel: the file is missing or is not a usable wheel.
    """
    if not _is_there(path):
        raise NoWheel("there is no such file; build the wheel, or correct the path")
    try:
        name, version, _, tags = parse_wheel_filename(path.name)
    except InvalidWheelFilename as error:
        raise NoWheel("its name is not that of a wheel (NAME-VERSION-PYTHON-ABI-PLATFORM.whl)") from error
    with _opened(path) as archive:
        _check(archive, name, version)
    return Wheel(path.absolute(), name, str(version), tags, digest(path))


def _is_there(path: Path) -> bool:
    try:
        return files.is_there(path)
    except files.Unreadable as error:
        raise NoWheel(f"it {error.why}; correct the path") from error


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a wheel. Raises NoWheel if the archive cannot be read, both at the start and inside the context."""
    try:
        with (
            files.opened(path) as number,
            os.fdopen(number, "rb", closefd=False) as file,
            zipfile.ZipFile(file) as archive,
        ):
            yield archive
    except NoWheel:
        raise
    except files.Unreadable as error:
        raise NoWheel(f"it {error.why}; build it again") from error
    except _BROKEN as error:
        raise NoWheel(f"it cannot be read as a wheel ({error}); build it again") from error


def _check(archive: zipfile.ZipFile, name: str, version: Version) -> None:
    _check_entries(archive)
    found = _metadata(archive, name)
    if canonicalize_name(found["Name"] or "") != name or not _equal(found["Version"] or "", version):
        raise NoWheel(
            f"its metadata names {found['Name']} {found['Version']}, its file name {name} {version}; build it again"
        )
    installed = [parts for file in archive.namelist() if (parts := _installed(file))]
    tops = {parts[0].partition(".")[0] for parts in installed}
    for word in sorted(tops.intersection(RESERVED)):
        raise NoWheel(f"it contains a module {word}, which would replace one of the suite, of pytest or of Python")
    if not any(parts[-1].endswith(_MODULES) and parts[0].partition(".")[0].isidentifier() for parts in installed):
        raise NoWheel("it contains no module, so its effect cannot be checked")


def _check_entries(archive: zipfile.ZipFile) -> None:
    """Check the central directory of the archive before any file is unpacked. Raises NoWheel."""
    entries = archive.infolist()
    if len(entries) > MOST_FILES:
        raise NoWheel(f"it contains {len(entries)} files; the limit is {MOST_FILES}")
    size = sum(entry.file_size for entry in entries)
    packed = sum(entry.compress_size for entry in entries)
    if size > MOST_UNPACKED or (size > SMALL and size > MOST_RATIO * packed):
        raise NoWheel(f"it would unpack from {packed >> 20} MiB to {size >> 20} MiB, which is above the limit")
    known: set[str] = set()
    for entry in entries:
        path = entry.orig_filename
        if not _is_plain(path):
            raise NoWheel(f"it contains a file with the path {path[:_SHOWN]!r}, which installers may read differently")
        if entry.flag_bits & _ENCRYPTED:
            raise NoWheel(f"it is encrypted ({path[:_SHOWN]}); build it again")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise NoWheel(f"it contains a link ({path[:_SHOWN]}), which a wheel must not")
        if path.rstrip("/") in known:
            raise NoWheel(f"it contains {path[:_SHOWN]} twice; build it again")
        known.add(path.rstrip("/"))
        archive.open(entry).close()  # open() also checks the name in the local header


_ENCRYPTED = 1
_SHOWN = 100
"""Number of characters of a path that a message quotes."""


def _is_plain(path: str) -> bool:
    """Return whether every installer reads a path in the same way.

    Such a path is relative and printable, and contains no ``.``, no ``..`` and no other separator.
    """
    parts = path.removesuffix("/").split("/")
    return path.isprintable() and not {"", ".", ".."}.intersection(parts) and not any(c in path for c in "\\:")


def _installed(file: str) -> tuple[str, ...]:
    """Return the parts of the path at which a file can be imported; empty for files that installers put elsewhere."""
    parts = tuple(file.removesuffix("/").split("/"))
    if not parts[0].endswith(".data"):
        return parts if not parts[0].endswith(".dist-info") else ()
    if len(parts) > 1 and parts[1] not in _SCHEMES | _BESIDE:
        raise NoWheel(f"it contains {file[:_SHOWN]}, which installers put nowhere")
    return parts[2:] if len(parts) > 2 and parts[1] in _SCHEMES else ()


def _equal(text: str, version: Version) -> bool:
    try:
        return Version(text) == version
    except ValueError:
        return False


def _metadata(archive: zipfile.ZipFile, name: str = "") -> Message:
    """Return the metadata of a wheel. Raises NoWheel unless there is exactly one valid metadata folder."""
    folders = {file.partition("/")[0] for file in archive.namelist() if file.partition("/")[0].endswith(".dist-info")}
    if len(folders) != 1:
        raise NoWheel(f"it contains {len(folders)} folders with metadata, and a wheel has one; build it again")
    (folder,) = folders
    if name and canonicalize_name(folder.partition("-")[0]) != name:
        raise NoWheel(f"its metadata is in {folder[:_SHOWN]}, but its name is that of {name}; build it again")
    with archive.open(f"{folder}/METADATA") as file:
        data = file.read(MOST_METADATA + 1)
    if len(data) > MOST_METADATA:
        raise NoWheel(f"its metadata is larger than {MOST_METADATA >> 20} MiB")
    return HeaderParser().parsestr(data.decode())


def metadata(path: Path) -> Message:
    """Return the metadata of a wheel. Raises NoWheel if it cannot be read."""
    with _opened(path) as archive:
        return _metadata(archive)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits. Raises Unreadable if the file cannot be read."""
    found = hashlib.sha256()
    with files.opened(path) as file:
        while part := os.read(file, 1 << 20):
            found.update(part)
    return found.hexdigest()


def supported(python: str) -> list[Tag]:
    """Return the wheel tags that a Python version supports, best first. An empty version stands for this interpreter."""
    if not python:
        return list(sys_tags())
    major, minor = (int(part) for part in python.split("."))
    platforms = list(_platforms())
    return [
        *cpython_tags((major, minor), platforms=platforms),
        *compatible_tags((major, minor), f"cp{major}{minor}", platforms),
    ]


def _platforms() -> Iterator[str]:
    """Yield the platforms of the lock files, newest first, and the older names of platforms."""
    machine, _, newest = PLATFORM.partition("-manylinux_2_")
    yield from (f"manylinux_2_{minor}_{machine}" for minor in range(int(newest), 4, -1))
    yield from (f"{name}_{machine}" for name in ("manylinux2014", "manylinux2010", "manylinux1", "linux"))


def misfit(file: str, python: str) -> str:
    """Return why a wheel does not support the Python of a cell; empty if it does."""
    tags = parse_wheel_filename(file)[3]
    if tags & set(supported(python)):
        return ""
    wanted = python or ".".join(map(str, sys.version_info[:2]))
    return f"{file} is for {', '.join(sorted(map(str, tags))[:3])}, and the cell has Python {wanted} on {PLATFORM if python else 'this machine'}"  # fmt: skip
