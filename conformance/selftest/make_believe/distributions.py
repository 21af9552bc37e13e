"""Simulated distributions, which ``importlib.metadata`` finds through its interface for finders."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType


class MadeUp(metadata.Distribution):
    """A distribution with this wheel tag and one file of this size. Without ``tag``, its installation is not recorded."""

    def __init__(self, name: str, *, tag: str | None = "cp312-cp312-linux_x86_64", nbytes: int = 0) -> None:
        self.called = name
        self._texts = {
            "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
            "RECORD": f"library.so,,{nbytes}\n",
        }
        if tag is not None:
            self._texts["WHEEL"] = f"Wheel-Version: 1.0\nTag: {tag}\n"

    def read_text(self, filename: str) -> str | None:
        return self._texts.get(filename)

    def locate_file(self, path: object) -> Path:
        """Return an existing file, because :attr:`files` omits missing ones."""
        return Path(__file__)


class _Finder(metadata.DistributionFinder):
    def __init__(self, found: tuple[MadeUp, ...]) -> None:
        self._found = found

    def find_distributions(
        self, context: metadata.DistributionFinder.Context = metadata.DistributionFinder.Context()  # noqa: B008
    ) -> Iterator[MadeUp]:  # fmt: skip
        """Return the distributions of the requested name, or all of them."""
        return (each for each in self._found if context.name in (None, each.called))

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return ``None``: there are no modules."""
        return None


def install(*made_up: MadeUp) -> Callable[[], None]:
    """Make these distributions visible before all others, until the returned function is called."""
    finder = _Finder(made_up)
    sys.meta_path.insert(0, finder)
    return lambda: sys.meta_path.remove(finder)


@contextmanager
def installed(*made_up: MadeUp) -> Iterator[None]:
    """Make these distributions visible within a block."""
    remove = install(*made_up)
    try:
        yield
    finally:
        remove()
