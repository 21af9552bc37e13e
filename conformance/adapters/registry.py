"""Registry of adapters: the built-in ones by name, and those that other packages announce by an entry point."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable
from importlib import metadata

from .base import Adapter

_OURS = {
    "reference": "conformance.adapters.reference:ReferenceAdapter",
    "numpy": "conformance.adapters.numpy:NumpyAdapter",
    "torch": "conformance.adapters.torch:TorchAdapter",
    "jax": "conformance.adapters.jax:JaxAdapter",
    "cupy": "conformance.adapters.cupy:CupyAdapter",
    "cvcuda": "conformance.adapters.cvcuda:CvcudaAdapter",
    "pycuda": "conformance.adapters.pycuda:PycudaAdapter",
    "cuda_python": "conformance.adapters.cuda_python:CudaPythonAdapter",
}
ENTRY_POINTS = "cuda_interop_conformance.adapters"
_NAME = re.compile(r"[a-z][a-z0-9_]*")


class BadAnnouncement(ValueError):
    """Raised if the suite cannot use an adapter that another package announces. The message is for the authors of that package."""


def names() -> tuple[str, ...]:
    """Return every adapter's name: built-in ones in the order of tables and plans, then announced ones.

    Raises :class:`BadAnnouncement` if a name cannot be part of a case id.
    """
    return (*_OURS, *sorted(_announced()))


def is_ours(name: str) -> bool:
    """Return whether the adapter is part of this package, so that importing its module runs no third-party code."""
    return name in _OURS


def create(name: str) -> Adapter:
    """Return a new adapter, without importing its library. Raises ``KeyError`` for an unknown name.

    The module of a third-party adapter can run any code on import, and can even end the process. Only processes that
    the suite starts for this purpose may create one.
    """
    target = _OURS.get(name) or _announced()[name]
    module, _, attribute = target.partition(":")
    made: Adapter = getattr(importlib.import_module(module), attribute)()
    return made


def _announced() -> dict[str, str]:
    found: dict[str, metadata.EntryPoint] = {}
    complaints = []
    for point in _points():
        if point.name in _OURS:
            continue  # a package cannot replace a built-in adapter
        if not _NAME.fullmatch(point.name):
            complaints.append(
                f"{_by(point)} announces an adapter as {point.name!r}, but a case id needs a name of "
                "lower-case letters, digits and _ that begins with a letter; rename the entry point"
            )
        elif point.name in found and point.value != found[point.name].value:
            complaints.append(
                f"{_by(found[point.name])} and {_by(point)} both announce an adapter as {point.name!r}, so the name is ambiguous; "
                "uninstall one of them"
            )
        found[point.name] = point
    if complaints:
        raise BadAnnouncement("\n".join(complaints))
    return {name: point.value for name, point in found.items()}


def _points() -> Iterable[metadata.EntryPoint]:
    """Return the entry points of our group. Raises :class:`BadAnnouncement` for the distributions with damaged files."""
    try:
        return metadata.entry_points(group=ENTRY_POINTS)
    except Exception as error:
        damaged = [named for one in metadata.distributions() if (named := _damaged(one))]
        raise BadAnnouncement(
            "\n".join(damaged) or f"entry points of installed packages cannot be read: {error}"
        ) from error


def _damaged(one: metadata.Distribution) -> str:
    try:
        tuple(one.entry_points)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        return f"the entry_points.txt of {one.metadata['Name']} cannot be read ({reason}); reinstall or uninstall the package"
    return ""


def _by(point: metadata.EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else f"an unknown package (group {ENTRY_POINTS})"
