"""The images of a cell: what is the same has the same key, and anything else another."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from samples import DIGESTS, FILES, below, cell, pins, recipe

from conformance.exits import UserError
from conformance.images import stages
from conformance.images.stages import Stage, all_of
from conformance.matrix import lockfile

CELL = ("numpy==2.3.5", "cupy-cuda13x==14.2.0", "pycuda==2026.1")
TORCH = ("torch==2.15.0", "nvidia-cublas==13", "nvidia-cudnn-cu13==9")


def common(one: Stage, two: Stage) -> list[str]:
    """What two cells have in common, in words."""
    return [stage.what for stage in dict.fromkeys(all_of(one)) if stage in set(all_of(two))]


def test_the_same_inputs_have_the_same_key() -> None:
    """Neither the cell's name nor where its lock lies says anything about what is inside."""
    again = stages.chain(recipe("another-name", lock="elsewhere.txt"), pins(*CELL), FILES, DIGESTS)
    assert cell(*CELL).key == again.key


def test_comments_and_order_of_a_lock_are_not_in_the_key(tmp_path: Path) -> None:
    """A lock that was made again to the same versions rebuilds nothing."""
    lines = [str(pin) for pin in reversed(pins(*CELL))]
    path = tmp_path / "again.txt"
    path.write_text("# made on another day\n" + "\n".join(lines))
    assert stages.chain(recipe(), lockfile.read(path), FILES, DIGESTS).key == cell(*CELL).key


@pytest.mark.parametrize(
    "other",
    [
        cell("numpy==2.3.4", *CELL[1:]),
        cell(*CELL[:1]),
        cell(*CELL, cuda="12"),
        cell(*CELL, python="3.13"),
        cell(*CELL, digests={"python:3.12-slim-bookworm": "sha256:other"}),
        *(cell(*CELL, files={**FILES, name: "changed"}) for name in FILES),
    ],
)
def test_whatever_changes_the_content_changes_the_key(other: Stage) -> None:
    """Lock, recipe, arguments, and what the base's name stands for today."""
    assert other.key != cell(*CELL).key


def test_cells_that_share_torch_share_its_image_and_all_below() -> None:
    """So that it lies on disk once."""
    one = cell(*TORCH, "numpy==2.1", "cvcuda-cu13==0.17")
    two = cell(*TORCH, "numpy==2.3", "cvcuda-cu13==0.19")
    assert common(one, two) == ["tools", "Python 3.12", "CUDA libraries", "torch"]


def test_a_cell_without_torch_shares_the_libraries_that_torch_pins() -> None:
    """What torch alone needs lies above them."""
    assert "CUDA libraries" in common(cell(*TORCH), cell("nvidia-cublas==13", "numpy==2.3"))


def test_pycuda_is_built_once_for_each_python_line_and_version() -> None:
    """Whatever else is in the cell."""
    wheel = "PyCUDA 2026.1 for CUDA 13, Python 3.12"
    assert wheel in common(cell(*CELL), cell(*TORCH, "pycuda==2026.1"))
    for other in (cell(*CELL, cuda="12"), cell(*CELL, python="3.13"), cell("pycuda==2025.1")):
        assert wheel not in common(cell(*CELL), other)


def test_what_a_cell_does_without_is_no_stage() -> None:
    """Nothing is compiled for a cell without PyCUDA, and an empty layer is none."""
    assert below(cell("numpy==2.3.5", "cupy-cuda13x==14.2.0")) == ["tools", "Python 3.12", "CuPy"]


def test_an_edit_of_what_one_stage_reads_leaves_the_others() -> None:
    """The check at the end is part of the cell alone; PyCUDA's recipe, of its wheel."""
    changed = cell(*CELL, *TORCH, files={**FILES, "pycuda/build": "changed"})
    assert common(cell(*CELL, *TORCH), changed) == ["tools", "Python 3.12", "CUDA libraries", "torch", "CuPy"]


def test_nothing_of_the_suite_is_given_to_a_build() -> None:
    """An edit of the suite rebuilds nothing, since no file of it can be seen from there."""
    root = Path(__file__).parents[2]
    given = {
        text for stage in all_of(cell(*CELL, files=stages.recipe_files(root / "docker"))) for _, text in stage.files
    }
    suite = {text for path in (root / "conformance").rglob("*.py") if (text := path.read_text(encoding="utf-8"))}
    assert suite.isdisjoint(given)
    assert not any("COPY conformance" in text or "COPY . " in text for text in given)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_a_recipe_that_another_user_has_put_into_a_shared_folder_is_not_built(tmp_path: Path) -> None:
    """A checkout of another user in another folder is one that this user has chosen."""
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker" / "Dockerfile").write_text("FROM scratch\n")
    os.chown(tmp_path / "docker", 12345, 12345)
    assert stages.recipe_files(tmp_path / "docker")
    tmp_path.chmod(0o1777)
    with pytest.raises(UserError, match="belongs to another user"):
        stages.recipe_files(tmp_path / "docker")


def test_what_an_interpreter_has_compiled_is_no_file_of_the_recipe(tmp_path: Path) -> None:
    """A test or a user may have imported what runs inside: no key changes, and nothing that is no text is read."""
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    compiled = tmp_path / "inside" / "__pycache__" / "check.cpython-312.pyc"
    compiled.parent.mkdir(parents=True)
    compiled.write_bytes(b"\xa7\x0d")
    assert stages.recipe_files(tmp_path) == {"Dockerfile": "FROM scratch\n"}
