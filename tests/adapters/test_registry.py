"""Which adapters there are, and what other packages may announce."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance.adapters import registry
from conformance.cli import main
from conformance.exits import Exit


def announce(folder: Path, distribution: str, *points: str) -> None:
    """An installed package that announces these adapters."""
    info = folder / f"{distribution}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("\n".join([f"[{registry.ENTRY_POINTS}]", *points]) + "\n")


def test_what_a_package_announces_comes_after_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name of ours stays ours, whoever else announces it."""
    announce(tmp_path, "stripes", "stripes_2 = stripes.adapter:Adapter", "torch = somewhere:Else")
    monkeypatch.syspath_prepend(tmp_path)
    assert registry.names()[-1] == "stripes_2"
    assert type(registry.create("torch")).__module__ == "conformance.adapters.torch"


@pytest.mark.parametrize("name", ["my-lib", "my/lib", "My", "a b", "2d", "ümlaut"])
def test_a_name_that_cannot_stand_in_a_case_id_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the exchange of `my-lib` with another would be read as a chain through `my` and `lib`."""
    announce(tmp_path, "stripes", f"{name} = stripes.adapter:Adapter")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(registry.BadAnnouncement, match=f"stripes 1.0 announces an adapter as '{name}'"):
        registry.names()


def test_everything_that_is_wrong_is_told_at_once_and_by_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two packages that mean different things by one name, and one with a bad name: one message, no traceback."""
    announce(tmp_path, "stripes", "stripes = stripes.adapter:Adapter", "my-lib = stripes:Other")
    announce(tmp_path, "zebra", "stripes = zebra:Adapter")
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["list"]) == Exit.USAGE
    told = capsys.readouterr().err
    assert told.startswith("conformance: ")
    for part in (
        "'my-lib'",
        "rename the entry point",
        "'stripes'",
        "stripes 1.0",
        "zebra 1.0",
        "uninstall one of them",
    ):
        assert part in told
    assert "Traceback" not in told


@pytest.mark.parametrize("content", [b"[a\xff]\nb = c\n", b"[a]\nno equals sign\n"])
def test_a_damaged_list_of_entry_points_names_its_package(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any installed package can have one."""
    announce(tmp_path, "stripes")
    (tmp_path / "stripes-1.0.dist-info" / "entry_points.txt").write_bytes(content)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        registry.BadAnnouncement, match=r"^the entry_points.txt of stripes cannot be read \(.*\); reinst"
    ):
        registry.names()
