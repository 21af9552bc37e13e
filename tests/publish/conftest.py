"""A browser for all tests of the page, and pages for it to open."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conformance.reports.page import page
from conformance.reports.subject import Subject

from .browser import Browser, program

Opened = Callable[..., Browser]


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all tests."""
    if program() is None:
        pytest.skip("no browser here: install chromium to test the page")
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def opened(chromium: Browser, tmp_path: Path) -> Opened:
    """Opens the page of a subject, 1400 pixels wide and in light colours unless told otherwise, at a fragment."""

    def open_page(subject: Subject, fragment: str = "", *, width: int = 1400, scheme: str = "light") -> Browser:
        path = tmp_path / "index.html"
        path.write_text(page(subject), encoding="utf-8")
        chromium.size(width)
        chromium.scheme(scheme)
        chromium.open(path, fragment)
        return chromium

    return open_page
