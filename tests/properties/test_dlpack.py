"""Structs of DLPack: what was put in is what is read, by our reader and by one that knows nothing but the header's offsets."""

from __future__ import annotations

import ctypes
import struct
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.protocols import capsule, dlpack
from conformance.protocols.dlpack import LEGACY, MAX_NDIM, USED_LEGACY, USED_VERSIONED, VERSIONED, DLFlags, Malformed
from conformance.protocols.dtypes import DType
from conformance.protocols.strided import c_strides
from conformance.reference.exporter import Exporter
from conformance.reference.managed import Deleter, Fields, Managed
from conformance.reference.memory import HostMemory

from .drawing import Window, element, version, window
from .strategies import drawn, examples, fields

HEAD = "=IIQQQ"
"""Version, context, deleter and flags, which a legacy struct has not."""
TENSOR = "QiiiBBHQQQ"
TAIL = "QQ"
"""Context and deleter of a legacy struct."""
NAMES = {LEGACY: USED_LEGACY, VERSIONED: USED_VERSIONED}


class Struct(Managed):
    """A struct that is given back at the end."""

    def __enter__(self) -> Struct:
        return self

    def __exit__(self, *raised: object) -> None:
        self.run_deleter()


def unpacked(address: int, *, versioned: bool) -> dict[str, Any]:
    """The fields by their places in memory alone."""
    form = HEAD + TENSOR if versioned else f"={TENSOR}{TAIL}"
    values = struct.unpack(form, ctypes.string_at(address, struct.calcsize(form)))
    major, minor, _, deleter, flags = values[:5] if versioned else (None, None, *values[-2:], None)
    data, kind, ordinal, ndim, code, bits, lanes, shape, strides, offset = values[5:] if versioned else values[:-2]
    return {
        "version": None if major is None else (major, minor), "flags": flags, "deleter": deleter, "data": data,
        "device": (kind, ordinal), "code": code, "bits": bits, "lanes": lanes, "byte_offset": offset,
        "shape": int64s(shape, ndim), "strides": int64s(strides, ndim) if strides else None,
    }  # fmt: skip


def int64s(address: int, count: int) -> tuple[int, ...]:
    """Numbers of 64 bits with a sign."""
    return struct.unpack(f"={count}q", ctypes.string_at(address, 8 * count)) if count else ()


@examples
@given(fields())
def test_what_is_put_into_a_struct_is_what_is_read(put: Fields) -> None:
    """Every field of every version, whatever the numbers; without dimensions no strides are the same as any."""
    with Struct(put, None) as made:
        for name in (put.name, NAMES[put.name]):
            tensor = dlpack.decode(made.address, name)
            seen = {
                name: getattr(tensor, name)
                for name in ("data", "device", "code", "bits", "lanes", "byte_offset", "version")
            }
            assert seen == {name: getattr(put, name) for name in seen}
            assert tensor.flags == (None if put.version is None else put.flags)
            assert tensor.shape == (put.shape or ())
            assert tensor.strides == (put.strides if tensor.shape else ())
            assert (tensor.deleter == 0) == (put.deleter is Deleter.NULL)
            assert tensor.element0 == put.data + put.byte_offset


@examples
@given(fields())
def test_the_reader_agrees_with_the_bytes_in_memory(put: Fields) -> None:
    """A reader that only knows where the header puts each field says the same."""
    with Struct(put, None) as made:
        tensor = dlpack.decode(made.address, put.name)
        plain = unpacked(made.address, versioned=put.version is not None)
        strides = plain.pop("strides") if tensor.shape else plain.pop("strides") and ()
        assert {name: getattr(tensor, name) for name in plain} == plain
        assert tensor.strides == (strides if tensor.shape else ())


@examples
@given(fields(), st.integers(0, 9))
def test_reading_changes_nothing_and_every_call_of_the_deleter_is_counted(put: Fields, calls: int) -> None:
    """As often as it was called, by whichever of the two deleters there are."""
    with Struct(put, None) as made:
        before = dlpack.raw(made.address, put.name)
        tensor = dlpack.decode(made.address, put.name)
        assert dlpack.raw(made.address, put.name) == before
        if tensor.deleter:
            for _ in range(calls):
                dlpack.DELETER(tensor.deleter)(tensor.address)
            assert made.deleter_calls == calls


@examples
@given(fields(), st.integers(2, 2**32 - 1) | st.just(0), st.integers(0, 2**32 - 1))
def test_another_major_version_is_not_read(put: Fields, major: int, minor: int) -> None:
    """Whatever stands behind its flags (DLP-04)."""
    with Struct(replace(put, version=(major, minor)), None) as made, pytest.raises(Malformed, match="major version"):
        dlpack.decode(made.address, VERSIONED)


@examples
@given(fields(), st.integers(-(2**31), -1) | st.integers(MAX_NDIM + 1, 2**31 - 1))
def test_an_absurd_rank_is_malformed(put: Fields, rank: int) -> None:
    """Nothing is followed."""
    with Struct(replace(put, ndim=rank), None) as made, pytest.raises(Malformed, match="ndim"):
        dlpack.decode(made.address, put.name)


@examples
@given(fields(), st.integers(1, MAX_NDIM))
def test_a_rank_without_a_shape_is_malformed(put: Fields, rank: int) -> None:
    """NULL is not followed either."""
    with Struct(replace(put, shape=None, ndim=rank), None) as made, pytest.raises(Malformed, match="shape is NULL"):
        dlpack.decode(made.address, put.name)


@examples
@given(fields(), st.binary(max_size=30).filter(lambda name: name not in {*NAMES, *NAMES.values()}))
def test_a_capsule_of_any_other_name_is_malformed(put: Fields, name: bytes) -> None:
    """Four names there are, to the letter (DLP-01)."""
    with Struct(put, None) as made, pytest.raises(Malformed, match="not a DLPack capsule"):
        dlpack.decode(made.address, name)


def exported(chance: Random) -> tuple[Window, DType, Exporter]:
    """An array of the reference on host memory, with a version of its own."""
    form, kind = window(chance), element(chance)
    memory = HostMemory()
    array = Exporter(
        memory, memory.allocate(form.elements * kind.itemsize), kind, form.view, readonly=chance.random() < 0.3
    )
    array.newest = version(chance) or (1, 0)
    return form, kind, array


@examples
@given(drawn(exported))
def test_a_capsule_of_the_reference_says_what_the_array_is(made: tuple[Window, DType, Exporter]) -> None:
    """Of every layout, element type and version; of a newer major version, by the bytes where version 1 has them."""
    form, kind, array = made
    offered = array.__dlpack__(max_version=(1, 3))
    said = unpacked(capsule.pointer(offered), versioned=capsule.name(offered) == VERSIONED)
    assert (said["code"], said["bits"], said["lanes"]) == (int(kind.code), kind.bits, 1)
    assert (said["version"], said["device"]) == (array.newest, array.device())
    assert said["shape"] == form.view.shape
    assert (said["strides"] or ()) == form.view.strides
    first = array.block.address + form.view.offset * kind.itemsize if form.view.size else 0
    assert said["data"] + said["byte_offset"] == first
    assert said["flags"] == (DLFlags.READ_ONLY if array.readonly else 0)


@examples
@given(st.lists(st.integers(0, 9), max_size=9).map(tuple))
def test_strides_that_are_left_out_are_row_major(shape: tuple[int, ...]) -> None:
    """For a reader of the struct the two spellings are one (DLP-20)."""
    plain = Fields(0, (1, 0), 2, 32, shape, None, version=None, deleter=Deleter.NULL)
    spelled = replace(plain, strides=c_strides(shape))
    with Struct(plain, None) as first, Struct(spelled, None) as second:
        bare, stated = (dlpack.decode(each.address, LEGACY) for each in (first, second))
        assert bare.strides_or_packed == stated.strides_or_packed == c_strides(shape)
