"""Faults that no exchange of one ordinary array shows, so that no condition is put on them, each with the reason."""

from __future__ import annotations

_ILLEGAL = "it shows only where something illegal or foreign is handed over, which has cases of its own"
_TYPES = "it shows only with element types that are foreign to the exchange of numbers, which have cases of their own"
_STRIDES = "it shows only with strides or ranks that have cases of their own"
_STREAMS = "it shows only with a stream that is named, which has cases of its own"
_RACE = "it shows only where threads race, which has cases of its own"
_STATE = "it shows only with an array whose elements are not in memory"

UNSEEN: dict[str, str] = {}
"""Name of a fault to the rule that leaves it out."""
