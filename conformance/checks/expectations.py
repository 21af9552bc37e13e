"""What a release of a library has changed: pure data, and the answer for the versions of an environment.

A check that judges by such a change asks :func:`holds`. Where the version is not known, the older behaviour is expected, which demands less.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import total_ordering

ANY = "any"
"""In the place of a version: whichever. What could be planned somewhere is planned with it."""


class Change(str, Enum):
    """What changed, by name."""

    BUFFER_ERROR = "buffer-error"
    NEGATIVE_STRIDES = "negative-strides"
    WAIT_STREAM = "wait-stream"
    THREAD_CONTEXTS = "thread-contexts"


@total_ordering
@dataclass(frozen=True)
class Release:
    """The numbers of a version, without zeros at their end, and whether it comes before the release itself.

    A build for one vendor (``2.12.0a0+nv25.10``) has the numbers of the release that it was made on the way to.
    """

    numbers: tuple[int, ...]
    is_before: bool = False

    def __lt__(self, other: Release) -> bool:
        return (self.numbers, not self.is_before) < (other.numbers, not other.is_before)


_VERSION = re.compile(r"\s*v?(?P<numbers>\d{1,9}(?:\.\d{1,9})*)(?!\d)(?P<rest>[^+]*)")
_BEFORE = re.compile(r"[-_.]?(a|b|c|rc|alpha|beta|pre|preview|dev)[-_.]?\d*", re.IGNORECASE)


def release(version: str) -> Release | None:
    """The release that a version's text names; ``None`` for a text that names none."""
    found = _VERSION.match(version)
    if found is None:
        return None
    numbers = [int(number) for number in found["numbers"].split(".")]
    while len(numbers) > 1 and not numbers[-1]:  # 2.14 and 2.14.0 are one release
        numbers.pop()
    return Release(tuple(numbers), _BEFORE.match(found["rest"]) is not None)


@dataclass(frozen=True)
class Expectation:
    """What a library does ``before`` a release, and what it does from that release on (``since``).

    ``clause`` is the one that says so, empty if no document does; ``source`` names the place.
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
        Change.THREAD_CONTEXTS, "cvcuda", "0.18", "the stream context of one thread is that of all (CVCUDA#274)",
        "each thread has its own; leaving it out of order or in another thread raises RuntimeError; Stream.default is read-only",
        "CV-CUDA 0.18 release notes, compatibility changes", "STR-09",
    ),
)  # fmt: skip
"""Every change that a judgement depends on."""


def expectation(change: Change) -> Expectation:
    """The entry of a change."""
    return next(entry for entry in EXPECTATIONS if entry.change is change)


def holds(change: Change, versions: Mapping[str, str]) -> bool:
    """Whether a library of these versions, by distribution, is of the release or a later one; the first version that can be read counts.

    A preview of the release itself does not have to have the change yet.
    """
    if ANY in versions.values():
        return True
    known = next(filter(None, map(release, versions.values())), None)
    since = release(expectation(change).since)
    return known is not None and since is not None and known >= since


def changed(versions: Iterable[tuple[str, Mapping[str, str]]]) -> dict[Change, bool]:
    """Of each change whose library is among these, with its versions: whether it has it."""
    known = dict(versions)
    return {entry.change: holds(entry.change, known[entry.library]) for entry in EXPECTATIONS if entry.library in known}
