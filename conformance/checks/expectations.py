"""Changes of documented behaviour by release, and whether the installed versions have them.

A check that depends on such a change calls :func:`holds`. If the version is unknown, the check expects the older behaviour, which demands less.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import total_ordering

ANY = "any"
"""Stands for any version. A plan that does not depend on versions uses it, and includes all cases."""


class Change(str, Enum):
    """The names of the changes."""

    BUFFER_ERROR = "buffer-error"
    NEGATIVE_STRIDES = "negative-strides"
    WAIT_STREAM = "wait-stream"
    THREAD_CONTEXTS = "thread-contexts"


@total_ordering
@dataclass(frozen=True)
class Release:
    """The numbers of a version without trailing zeros, and whether it is a pre-release.

    A vendor build such as ``2.12.0a0+nv25.10`` is a pre-release of the release with the same numbers.
    """

    numbers: tuple[int, ...]
    is_before: bool = False

    def __lt__(self, other: Release) -> bool:
        return (self.numbers, not self.is_before) < (other.numbers, not other.is_before)


_VERSION = re.compile(r"\s*v?(?P<numbers>\d{1,9}(?:\.\d{1,9})*)(?!\d)(?P<rest>[^+]*)")
_BEFORE = re.compile(r"[-_.]?(a|b|c|rc|alpha|beta|pre|preview|dev)[-_.]?\d*", re.IGNORECASE)


def release(version: str) -> Release | None:
    """Return the release that a version string names, or ``None`` if it cannot be parsed."""
    found = _VERSION.match(version)
    if found is None:
        return None
    numbers = [int(number) for number in found["numbers"].split(".")]
    while len(numbers) > 1 and not numbers[-1]:  # 2.14 and 2.14.0 are one release
        numbers.pop()
    return Release(tuple(numbers), _BEFORE.match(found["rest"]) is not None)


@dataclass(frozen=True)
class Expectation:
    """The behaviour of a library ``before`` a release, and ``after`` it. ``since`` is the release with the change.

    ``clause`` is the clause that documents the change, empty if there is none. ``source`` cites the document.
    """

    change: Change
    library: str
    since: str
    before: str
    after: str
    source: str
    clause: str = ""


EXPECTATIONS = (
    Expectation(
        Change.BUFFER_ERROR, "numpy", "2.5", "from_dlpack raises RuntimeError for an unsupported device, data type or rank",
        "from_dlpack raises BufferError", "NumPy 2.5 release notes, compatibility notes (numpy#30937)", "DLP-51",
    ),
    Expectation(
        Change.NEGATIVE_STRIDES, "torch", "2.14", "from_dlpack of negative strides aborts the process",
        "from_dlpack raises RuntimeError", "pytorch#188023, test of pytorch#188047",
    ),
    Expectation(
        Change.WAIT_STREAM, "cvcuda", "0.17", "a stream has no method wait_stream", "Stream.wait_stream orders two streams",
        "CV-CUDA 0.17 release notes, new features", "STR-08",
    ),
    Expectation(
        Change.THREAD_CONTEXTS, "cvcuda", "0.18", "all threads share one stream context (CVCUDA#274)",
        "each thread has its own stream context; an exit out of order or in another thread raises RuntimeError; Stream.default is read-only",
        "CV-CUDA 0.18 release notes, compatibility changes", "STR-09",
    ),
)  # fmt: skip
"""All changes that checks depend on."""


def expectation(change: Change) -> Expectation:
    """Return the entry for a change."""
    return next(entry for entry in EXPECTATIONS if entry.change is change)


def holds(change: Change, versions: Mapping[str, str]) -> bool:
    """Return whether a library with these versions, by distribution, has the change. The first version that can be parsed decides.

    A pre-release of the release with the change does not need to have it yet.
    """
    if ANY in versions.values():
        return True
    known = next(filter(None, map(release, versions.values())), None)
    since = release(expectation(change).since)
    return known is not None and since is not None and known >= since


def changed(versions: Iterable[tuple[str, Mapping[str, str]]]) -> dict[Change, bool]:
    """Return, for each change of these libraries, whether the installed version has it."""
    known = dict(versions)
    return {entry.change: holds(entry.change, known[entry.library]) for entry in EXPECTATIONS if entry.library in known}
