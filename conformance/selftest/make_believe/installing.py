"""Simulated third-party libraries, installed like packages for interpreters that are started meanwhile."""

from __future__ import annotations

import os
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import TypeVar
from unittest import mock

import conformance
from conformance.adapters import registry
from conformance.adapters.base import Device, Protocol
from conformance.adapters.reference import ReferenceAdapter

from ..model import Partners, Stage

_BOTH = (Protocol.DLPACK, Protocol.CAI)
_MODULE = """\
from {module} import {kind}

class Adapter({kind}):
    name = "{name}"

Adapter.imported()
"""
_METADATA = "Metadata-Version: 2.1\nName: {name}-library\nVersion: 1.0\n"
_ENTRY_POINTS = "[{group}]\n{name} = {target}\n"


class MadeUpLibrary(ReferenceAdapter):
    """A flawless library: the reference under another name, on host memory and on a GPU."""

    distributions = ("cuda-interop-conformance",)
    exports = {Device.HOST: (Protocol.DLPACK,), Device.CUDA: _BOTH}
    imports = exports
    candidate_dtypes = ("float32", "int32")

    @classmethod
    def imported(cls) -> None:
        """Do nothing at the import of the module. A fault overrides this."""


Kind = TypeVar("Kind", bound=type[MadeUpLibrary])


def announce(folder: Path, name: str, target: str) -> None:
    """Write the metadata of an installed package with an entry point for an adapter."""
    info = folder / f"{name}_library-1.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text(_METADATA.format(name=name))
    (info / "entry_points.txt").write_text(_ENTRY_POINTS.format(group=registry.ENTRY_POINTS, name=name, target=target))


class Site:
    """A folder at the front of ``PYTHONPATH`` for new interpreters, with flawless libraries of these names.

    These interpreters call the functions in ``first`` before anything else.
    """

    def __init__(self, *names: str, first: tuple[Callable[[], None], ...] = ()) -> None:
        self._names = names
        self._first = first
        self._folder = Path()

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Create the folder and set ``PYTHONPATH`` within a block, as a stage's ``around``."""
        self._folder = Path(tempfile.mkdtemp(prefix="site-"))
        for name in self._names:
            self.install(name, MadeUpLibrary)
        (self._folder / "conformance").symlink_to(Path(conformance.__file__).parent, target_is_directory=True)
        (self._folder / "sitecustomize.py").write_text("".join(map(_called, self._first)))
        path = os.pathsep.join([str(self._folder), os.environ.get("PYTHONPATH", "")])
        with mock.patch.dict(os.environ, PYTHONPATH=path):
            yield

    def install(self, name: str, kind: type[MadeUpLibrary]) -> None:
        """Write the library of this name, and replace an existing one."""
        module = _MODULE.format(module=kind.__module__, kind=kind.__qualname__, name=name)
        (self._folder / f"{name}.py").write_text(module)
        announce(self._folder, name, f"{name}:Adapter")

    def fault(self, stage: Stage, name: str, *caught_by: str, bugs: str = "") -> Callable[[Kind], Kind]:
        """Register the decorated class, installed under this name, as a fault. Its docstring is the statement."""

        def register(kind: Kind) -> Kind:
            def spoil(_: Partners) -> None:
                self.install(name, kind)

            stage.add(kind.__name__, kind.__doc__ or "", caught_by, spoil, tuple(bugs.split()))
            return kind

        return register


def _called(function: Callable[[], None]) -> str:
    return textwrap.dedent(f"""\
        from {function.__module__} import {function.__qualname__}
        {function.__qualname__}()
        """)


def come_first() -> None:
    """Let announced adapters replace built-in ones of the same name in this process."""
    for point in metadata.entry_points(group=registry.ENTRY_POINTS):
        registry._OURS.pop(point.name, None)
