"""Distributions that are not installed, and found as if they were: by the door that ``importlib.metadata`` has for finders."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType


class MadeUp(metadata.Distribution):
    """One whose wheel had this tag, with one file of this many bytes; ``tag`` is ``None`` if nothing tells how it was installed."""

    def __init__(self, name: str, *, tag: str | None = "cp312-cp312-linux_x86_64", nbytes: int = 0) -> None:
        self.called = name
        self._texts = {
            "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
            "RECORD": f"library.so,,{nbytes}\n",
        }
        if tag is not None:
            self._texts["WHEEL"] = f"Wheel-Version: 1.0\nTag: {tag}\n"

    def read_text(self, filename: str) -> str | None:
        """A file of the distribution's own folder."""
        return self._texts.get(filename)

    def locate_file(self, path: object) -> Path:
        """A file that is there: what is not is left out of :attr:`files`."""
        return Path(__file__)


class _Finder(metadata.DistributionFinder):
    def __init__(self, found: tuple[MadeUp, ...]) -> None:
        self._found = found

    def find_distributions(
        self, context: metadata.DistributionFinder.Context = metadata.DistributionFinder.Context()  # noqa: B008
    ) -> Iterator[MadeUp]:  # fmt: skip
        """Those of the name that is looked for; all, if none is."""
        return (each for each in self._found if context.name in (None, each.called))

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """There are no modules."""
        return None


def install(*made_up: MadeUp) -> Callable[[], None]:
    """From now on they are found, before all others, until what this returns is called."""
    finder = _Finder(made_up)
    sys.meta_path.insert(0, finder)
    return lambda: sys.meta_path.remove(finder)


@contextmanager
def installed(*made_up: MadeUp) -> Iterator[None]:
    """The same for a block."""
    remove = install(*made_up)
    try:
        yield
    finally:
        remove()
