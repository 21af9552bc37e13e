"""What Hypothesis draws: arrays and exchanges by the same functions as a bare seed, structs and dictionaries field by field."""

from __future__ import annotations

import os
from collections.abc import Callable
from random import Random
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st

from conformance.protocols import cai
from conformance.protocols.dlpack import DLDeviceType, DLFlags
from conformance.reference.managed import Deleter, Fields

T = TypeVar("T")
EXAMPLES = "PROPERTIES_EXAMPLES"
"""Environment variable: how many examples of each property are tried, at random, instead of the usual ones."""
_MORE = os.environ.get(EXAMPLES)
examples = settings(max_examples=int(_MORE or 100), derandomize=_MORE is None, deadline=None, print_blob=True)
"""For every property: the same examples each time, unless more are asked for."""


def drawn(draw: Callable[[Random], T]) -> st.SearchStrategy[T]:
    """What a function makes of a source of chance, which Hypothesis drives and so can shrink."""
    return st.randoms(use_true_random=False).map(draw)


# -- structs of DLPack

_INT64 = st.integers(-(2**63), 2**63 - 1)
_UINT32 = st.integers(0, 2**32 - 1)
_UINT64 = st.integers(0, 2**64 - 1)
MINORS = st.sampled_from((0, 1, 2, 3, 4, 99)) | _UINT32
DEVICES = st.tuples(
    st.sampled_from([int(each) for each in DLDeviceType]) | st.integers(-(2**31), 2**31 - 1), st.integers(-1, 2**31 - 1)
)
FLAGS = st.sampled_from([int(sum(DLFlags)) & bits for bits in range(8)]) | _UINT64
"""Every combination of the defined bits, and any bits at all."""


@st.composite
def fields(draw: st.DrawFn) -> Fields:
    """Every field of a struct that can be read, with any numbers in it."""
    rank = draw(st.integers(0, 9) | st.just(64))
    extents = st.tuples(*[_INT64] * rank)
    version = draw(st.none() | st.tuples(st.just(1), MINORS))
    return Fields(
        data=draw(_UINT64),
        device=draw(DEVICES),
        code=draw(st.integers(0, 255)),
        bits=draw(st.integers(0, 255)),
        lanes=draw(st.integers(0, 2**16 - 1)),
        shape=draw(extents) if rank else draw(st.sampled_from(((), None))),
        strides=draw(st.none() | extents),
        byte_offset=draw(_UINT64),
        version=version,
        flags=0 if version is None else draw(FLAGS),
        deleter=draw(st.sampled_from(Deleter)),
    )


# -- dictionaries of the array interface


class Masked:
    """What a mask has to be."""

    __cuda_array_interface__: dict[str, Any] = {}


class Unreadable:
    """What it has of the interface raises."""

    @property
    def __cuda_array_interface__(self) -> Any:
        raise RuntimeError("not now")


KINDS = "tbiufcmMOSUV"
VERSIONS = st.sampled_from((0, 1, 2, 3, 3, 3, 4, 1000))
_ADDRESSES = st.integers(0, 2**64 - 1)
typestrs = st.builds("{}{}{}".format, st.sampled_from("<>|"), st.sampled_from(KINDS), st.integers(0, 40))


_COUNTS = st.integers(0, 3)


@st.composite
def fields_of_records(draw: st.DrawFn, depth: int = 2, counts: st.SearchStrategy[int] = _COUNTS) -> list[Any]:
    """A ``descr``: fields, nested records, titles, and sub-arrays with this many elements along a dimension."""
    described: list[Any] = []
    for position in range(draw(st.integers(0, 3))):
        name = draw(st.sampled_from((f"f{position}", (f"title {position}", f"f{position}"))))
        nested = depth > 0 and draw(st.integers(0, 4)) == 0
        kind = draw(fields_of_records(depth - 1, counts)) if nested else draw(typestrs)
        along = draw(st.none() | st.lists(counts, max_size=2).map(tuple))
        described.append((name, kind) if along is None else (name, kind, along))
    return described


@st.composite
def dictionaries(draw: st.DrawFn) -> dict[str, Any]:
    """A well-formed dictionary of any version, with the keys that it need not have or without them."""
    shape = tuple(draw(st.lists(st.integers(0, 2**40), max_size=9)))
    typestr = draw(typestrs)
    described = {
        "shape": shape,
        "typestr": typestr,
        "data": draw(st.tuples(_ADDRESSES, st.booleans())),
        "version": draw(VERSIONS),
    }
    streams = st.none() | st.integers(1, 2**64 - 1)
    anything = streams | st.just(0) | st.text(max_size=3)
    optional: dict[str, st.SearchStrategy[Any]] = {
        "strides": st.none() | st.tuples(*[st.integers(-(2**40), 2**40)] * len(shape)),
        "descr": st.sampled_from((None, [("", f"|V{cai.typestr_bytes(typestr)}")])),
        "mask": st.sampled_from((None, Masked())),
        "stream": streams if described["version"] >= 3 else anything,
        "some_later_key": st.text(max_size=3),
    }
    for key, values in optional.items():
        if draw(st.booleans()):
            described[key] = draw(values)
    return described


garbage = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.binary(max_size=3) | st.builds(Unreadable)
    | st.builds(Masked) | typestrs,
    lambda inner: st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)  # fmt: skip
"""Anything at all."""
