"""``conform`` without a word: what is installed is tested on host memory, where there is no GPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conformance.engines import gpus, here

pytestmark = pytest.mark.skipif(bool(gpus.present()), reason="there is a GPU here, so the smoke cells would be run")


def test_without_a_gpu_and_without_arguments_it_is_check_in_this_environment(conformance: Callable[..., Any]) -> None:
    """What stands after -- is for ``check``; results are where ``check`` puts them."""
    done = conformance("conform", "--", "--tier", "quick", "--between", "numpy", "--family", "dtype")
    assert done.code == 0
    assert "no GPU is to be used" in done.stdout
    assert done.results
    assert len(done.results) == len(done.plan)


def test_here_is_a_cell_too(conformance: Callable[..., Any]) -> None:
    """With a record of its own."""
    done = conformance("conform", "--on", "here", "--out", "cells", "--", "--between", "numpy", "--family", "dtype")
    assert done.code == 0
    folder = done.out.parent / "cells" / "here"
    assert {path.name for path in folder.iterdir()} >= {"cell.json", "results.jsonl", "environment.json", "check.log"}


def test_a_cell_of_the_matrix_is_only_here_if_it_is_what_is_installed(conformance: Callable[..., Any]) -> None:
    """A folder without a matrix is told, too."""
    done = conformance("conform", "--on", "here", "--cells", "smoke-12")
    assert (done.code, "matrix.yaml" in done.stderr) == (2, True)


def test_a_folder_without_metadata_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupted installation by pip leaves such folders."""
    (tmp_path / "~umpy-2.0.dist-info").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert "pytest" in here.installed()
