"""Checks of wheels: damaged wheels, and wheels that could run code or replace a module, are rejected before unpacking."""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from wheels import make

from conformance.engines.candidates import wheels

ENCRYPTED = 1
MODULE = {"other/__init__.py": ""}


def told(path: Path) -> str:
    """Return why the file is not a valid wheel."""
    with pytest.raises(wheels.NoWheel) as raised:
        wheels.read(path)
    return str(raised.value)


@pytest.mark.parametrize(
    "file",
    [
        "conformance/__init__.py",
        "conformance/data.txt",
        "conformance.py",
        "conformance.pyc",
        "conformance.so",
        "conformance.cpython-312-x86_64-linux-gnu.so",
        "conformance.pth",
        "other-1.data/purelib/conformance/x.py",
        "other-1.data/platlib/conformance.py",
        "other-1.data/data/conformance.py",
        "pytest.py",
        "_pytest/x.py",
        "xdist/__init__.py",
        "pluggy/__init__.py",
        "sitecustomize.py",
        "usercustomize/__init__.py",
        "json.py",
        "json/__init__.py",
    ],
)
def test_what_stands_in_the_place_of_the_suite_or_of_pytest_is_no_candidate(file: str, tmp_path: Path) -> None:
    """The check covers every form that Python imports; such a candidate would provide the code that runs the cases."""
    word = file.replace("other-1.data/", "").removeprefix("purelib/").removeprefix("platlib/").removeprefix("data/")
    name = word.partition("/")[0].partition(".")[0]
    assert f"it contains a module {name}, which would replace" in told(
        make(tmp_path, "other", "1", {**MODULE, file: ""})
    )


@pytest.mark.parametrize(
    "file",
    [
        "./conformance/__init__.py",
        "x/../conformance/__init__.py",
        "../x.py",
        "/x.py",
        "x//y.py",
        "x/./y.py",
        "x\\y.py",
        "C:x.py",
        "x/\ny.py",
        "x/\u202ey.py",
    ],
)
def test_a_path_that_leads_elsewhere_than_it_says_is_told(file: str, tmp_path: Path) -> None:
    """Installers interpret such a path differently."""
    assert "which installers may read differently" in told(make(tmp_path, "other", "1", {**MODULE, file: ""}))


def test_a_path_with_a_zero_is_told(tmp_path: Path) -> None:
    """Python cuts the path at the zero; other programs do not."""
    path = make(tmp_path, "other", "1", {**MODULE, "conformanceX.py": ""})
    path.write_bytes(path.read_bytes().replace(b"conformanceX.py", b"conformance\0.py"))
    assert "which installers may read differently" in told(path)


def test_a_file_that_lies_there_under_another_name_is_told(tmp_path: Path) -> None:
    """Some installers read the archive's central directory, others its local headers."""
    path = make(tmp_path, "other", "1", {**MODULE, "harmless123.py": ""})
    path.write_bytes(path.read_bytes().replace(b"harmless123.py", b"conformance.py", 1))
    assert "cannot be read as a wheel" in told(path)


def test_a_link_is_told(tmp_path: Path) -> None:
    """A link can point out of the folder that receives the unpacked wheel."""
    path = make(tmp_path, "other", "1", MODULE)
    with zipfile.ZipFile(path, "a") as archive:
        entry = zipfile.ZipInfo("other/link")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, "/etc")
    assert "it contains a link (other/link)" in told(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_file_that_is_there_twice_is_told(tmp_path: Path) -> None:
    """The checked copy may differ from the unpacked one."""
    path = make(tmp_path, "other", "1", MODULE)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("other/__init__.py", "other")
    assert "it contains other/__init__.py twice" in told(path)


def test_a_place_that_no_installer_knows_is_told(tmp_path: Path) -> None:
    """The place is below the folder for files outside the path."""
    assert "which installers put nowhere" in told(
        make(tmp_path, "other", "1", {**MODULE, "other-1.data/x/conformance.py": ""})
    )


def test_metadata_of_two_distributions_is_told(tmp_path: Path) -> None:
    """One of the two metadata folders could describe another distribution."""
    path = make(tmp_path, "other", "1", {**MODULE, "pytest-9.dist-info/METADATA": "Name: pytest\nVersion: 9\n"})
    assert "it contains 2 folders with metadata" in told(path)


def encrypted(path: Path) -> None:
    """Set the encryption flag of all files."""
    data = bytearray(path.read_bytes())
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = data.find(mark)
        while place >= 0:
            data[place + at] |= ENCRYPTED
            place = data.find(mark, place + 4)
    path.write_bytes(data)


def cut(path: Path) -> None:
    """Keep the first half of the file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def unknown_packing(path: Path) -> None:
    """Set a compression method that Python does not support."""
    data = bytearray(path.read_bytes())
    for mark, at in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        place = data.find(mark)
        while place >= 0:
            data[place + at : place + at + 2] = b"\x63\x00"
            place = data.find(mark, place + 4)
    path.write_bytes(data)


def spoilt(path: Path) -> None:
    """Damage the metadata, so that its checksum does not match."""
    path.write_bytes(path.read_bytes().replace(b"Metadata-Version", b"Metadata-Versiom"))


def no_text(path: Path) -> None:
    """Replace the metadata by invalid UTF-8 with a matching checksum."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("other/__init__.py", "")
        archive.writestr("other-1.dist-info/METADATA", b"\xff")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (encrypted, "it is encrypted"),
        (cut, "cannot be read as a wheel"),
        (unknown_packing, "cannot be read as a wheel"),
        (spoilt, "cannot be read as a wheel"),
        (no_text, "cannot be read as a wheel"),
    ],
)
def test_a_damaged_wheel_is_a_sentence(damage: Callable[[Path], None], words: str, tmp_path: Path) -> None:
    """Every kind of damage leads to one message."""
    path = make(tmp_path, "other", "1", MODULE)
    damage(path)
    assert words in told(path)
    with pytest.raises(wheels.NoWheel):
        wheels.metadata(path)


def test_what_is_unpacked_without_end_is_told(tmp_path: Path) -> None:
    """The check uses the sizes in the archive, before it unpacks any file."""
    path = make(tmp_path, "other", "1", MODULE)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("other/zeros", "w") as file:
        for _ in range(8):
            file.write(bytes(8 << 20))
    assert wheels.read(path).name == "other"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wheels, "SMALL", 1 << 20)
        assert "it would unpack from 0 MiB to 64 MiB, which is above the limit" in told(path)
        patch.setattr(wheels, "MOST_FILES", 2)
        assert "it contains 5 files; the limit is 2" in told(path)


def test_metadata_without_end_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check stops before all of the metadata is in memory."""
    monkeypatch.setattr(wheels, "MOST_METADATA", 20)
    assert "its metadata is larger than" in told(make(tmp_path, "other", "1", MODULE))


def test_what_is_no_file_is_told_and_not_waited_for(tmp_path: Path) -> None:
    """The file with the name of a wheel is a pipe."""
    path = tmp_path / "other-1-py3-none-any.whl"
    os.mkfifo(path)
    assert told(path)
