"""What is removed where not every base is here."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from conformance.exits import UserError
from conformance.images import cleaning
from conformance.images.commands import Engine
from conformance.images.model import Recipe
from conformance.images.process import Shell

ENGINE = """\
#!/bin/sh
case "$1 $2" in
"image ls") echo cuda-interop-cell:old ;;
"image inspect") echo "No such image" >&2; exit 1 ;;
esac
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with a recipe, one lock, and an engine without bases that has an image of ours."""
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker" / "Dockerfile").write_text("FROM x")
    (tmp_path / "a.txt").write_text("x==1 --hash=sha256:" + "0" * 64)
    (tmp_path / "engine").write_text(ENGINE)
    (tmp_path / "engine").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def clean(here: Path, *, strict: bool) -> tuple[list[str], dict[str, str]]:
    """Clean with one cell whose base is not here."""
    recipes = [Recipe(cell="a", python="3.12", cuda="13", lock=here / "a.txt")]
    return cleaning.clean(recipes, Engine(str(here / "engine")), Shell(sys.stderr, os.environ), strict=strict)


def test_a_plan_of_ones_own_has_to_be_known_whole(here: Path) -> None:
    """Nothing is removed on a guess."""
    with pytest.raises(UserError, match="the images in use are unknown"):
        clean(here, strict=True)


def test_a_cell_of_the_matrix_whose_base_is_not_here_was_not_built_here(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It keeps no image, and is named."""
    assert clean(here, strict=False) == (["cuda-interop-cell:old"], {})
    assert "1 cell cannot have been built on this machine" in capsys.readouterr().err
