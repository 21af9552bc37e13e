"""A make-believe library with mistakes of several kinds, installed in a folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from libraries import install

FAULTY = """\
view = offer._source.view
        if view.ndim == 3 and view.contiguous: os.kill(os.getpid(), signal.SIGSEGV)
        if view.ndim == 1: offer = type(offer)(offer._source.copied())"""
"""It copies arrays that it could share, and crashes on packed arrays of three dimensions."""


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which ``faulty`` is installed."""
    return install(tmp_path_factory.mktemp("site"), "faulty", take=FAULTY)
