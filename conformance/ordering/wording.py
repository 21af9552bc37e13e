"""Descriptions of streams and elements for reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from conformance.reference.streams import LEGACY, PER_THREAD

_WIDTH = 4


def stream(handle: object) -> str:
    """Describe a stream by its handle, in the form that libraries and debuggers show."""
    if handle == LEGACY:
        return "the legacy default stream (1)"
    if handle == PER_THREAD:
        return "the per-thread default stream (2)"
    if handle is None:
        return "no stream"
    return f"stream {handle:#x}" if isinstance(handle, int) and handle else f"stream {handle!r}"


def elements(data: bytes, known: Mapping[int, str]) -> str:
    """Describe the values of 32-bit elements, the most frequent first: "the old value in 256 of 256 elements"."""
    words = [int.from_bytes(data[i : i + _WIDTH], "little") for i in range(0, len(data), _WIDTH)]
    found = Counter(known.get(word, "another value") for word in words).most_common()
    return " and ".join(f"{name} in {count} of {len(words)} elements" for name, count in found)
