"""Small matrices, written as a user would."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Written = Callable[[str], Path]

SMALL = """\
suite: ["pytest>=7"]
axes:
  cuda:
    tag: cu
    what: the toolkit
    requires: "cuda-toolkit=={version}.*"
    values: {"13.0": , "12.8": }
  python:
    tag: py
    what: CPython
    values: {"3.12": , "3.11": }
  lib:
    tag: lib
    what: a library
    requires: {"12": "lib-cu12=={version}.*", "13": "lib-cu13=={version}.*"}
    values: {"2.10": {released: 2026-01-02, note: the newest}, "2.9": , none: }
rules:
  lib-wheels:
    forbid: {lib: "<2.10", python: ">=3.12"}
    reason: no wheels
cells:
  oldest: {cuda: "12.8", python: "3.11", lib: "2.9"}
tiers:
  smoke:
    what: the end
    cells: [oldest]
  nightly:
    what: all pairs
    extends: smoke
    cover: {each: 2}
"""
"""A matrix without mistakes: 12 combinations, 10 of them allowed, 13 allowed pairs and more."""


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """Write a text to ``matrix.yaml``; returns its path."""

    def write(text: str) -> Path:
        path = tmp_path / "matrix.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write
