"""Fork server that starts during the probes, and imports the libraries meanwhile. So the first case begins some seconds earlier.

It imports only libraries of the built-in adapters that seem to be installed. If the run needs other libraries, or cannot use one of these, it
starts another server. So a library that fails to import has no effect.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from conformance import private
from conformance.adapters import registry

from .forkserver import Server
from .workbench import WITH_STATES


@dataclass
class Started:
    """A server, the descriptor of its output, and the libraries that it imports."""

    server: Server
    output: int
    libraries: tuple[str, ...]
    is_taken: bool = False
    """Whether a run uses the server. That run then ends it."""

    def end(self) -> None:
        """End the server if no run has taken it."""
        if not self.is_taken:
            self.is_taken = True
            self.server.close()
            os.close(self.output)

    def serves(self, names: Iterable[str]) -> bool:
        """Return whether a run of these libraries can use the server: it must have imported exactly those that may be preloaded."""
        known = {name.removesuffix(WITH_STATES) for name in self.libraries}
        needed = {name for name in names if not registry.is_ours(name) or registry.create(name).preload}
        return needed == known


def start(libraries: tuple[str, ...], path: Path, neutral: Path) -> Started:
    """Start a server with its socket at ``path`` and its working folder ``neutral``."""
    reading, writing = os.pipe()
    try:
        return Started(Server(libraries, str(path), writing, neutral), reading, libraries)
    finally:
        os.close(writing)


@contextmanager
def begun(names: Iterable[str], *, states: bool) -> Iterator[Started]:
    """Yield a server that imports those of these libraries that seem to be installed. It ends with the block, unless a run uses it.

    With ``states`` it also imports the modules that create arrays in special states.
    """
    found = (name for name in names if registry.is_ours(name) and _seems_installed(name))
    libraries = tuple(
        f"{name}{WITH_STATES * (states and bool(registry.create(name).preload_for_states))}" for name in found
    )
    with private.folder() as ours:
        neutral = ours / "neutral"
        neutral.mkdir(mode=0o700)
        started = start(libraries, ours / "server", neutral)
        try:
            yield started
        finally:
            started.end()


def _seems_installed(name: str) -> bool:
    """Return whether there is a module to import before a fork. This imports nothing."""
    modules = registry.create(name).preload
    try:
        return bool(modules) and find_spec(modules[0].partition(".")[0]) is not None
    except (ImportError, ValueError):
        return False
