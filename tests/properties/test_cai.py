"""Dictionaries of the CUDA Array Interface: what is well-formed is read, and nothing else raises anything but what is documented."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from random import Random
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from conformance.adapters.base import Device, Protocol
from conformance.adapters.reference import ReferenceAdapter
from conformance.checks.patterns import pattern
from conformance.protocols import cai
from conformance.protocols.clauses import clause
from conformance.protocols.dtypes import DType
from conformance.protocols.strided import Strided, offsets, packed, span
from conformance.reference.exporter import Exporter
from conformance.reference.importer import Importer
from conformance.reference.memory import Block, BorrowedBlock, simulated
from conformance.reference.streams import NoSuchStream

from .drawing import element, shape, window
from .strategies import KINDS, dictionaries, drawn, examples, fields_of_records, garbage, typestrs


class Offering:
    """Has a dictionary."""

    def __init__(self, described: Any) -> None:
        self.__cuda_array_interface__ = described


@examples
@given(dictionaries())
def test_a_well_formed_dictionary_is_read_as_it_stands(described: dict[str, Any]) -> None:
    """Of any version, with any of the keys that it need not have."""
    assert cai.problems(described) == []
    read = cai.parse(described)
    assert (read.shape, read.typestr, read.version) == (described["shape"], described["typestr"], described["version"])
    assert (read.address, read.readonly) == described["data"]
    assert (read.strides, read.stream, read.mask) == tuple(described.get(key) for key in ("strides", "stream", "mask"))


@examples
@given(dictionaries())
def test_building_and_reading_are_each_others_reverse(described: dict[str, Any]) -> None:
    """What is built of what was read is read the same; a version without streams loses one."""
    read = cai.parse(described)
    stream = read.stream if read.version >= 3 else None
    built = cai.build(
        read.shape, read.typestr, read.address, strides=read.strides, readonly=read.readonly, version=read.version,
        stream=stream, mask=read.mask,
    )  # fmt: skip
    again = cai.parse(built)
    assert again == cai.ArrayInterface(
        read.shape, read.typestr, read.address, read.readonly, read.strides, read.version, stream, read.mask
    )


@examples
@given(dictionaries(), st.sampled_from(("shape", "typestr", "data", "version")))
def test_a_dictionary_without_a_required_key_is_refused(described: dict[str, Any], key: str) -> None:
    """With the key's name."""
    with pytest.raises(ValueError, match=key):
        cai.parse(cai.without(described, key))


@examples
@given(dictionaries(), st.sampled_from((*cai.REQUIRED, "strides", "descr", "mask", "stream")), garbage)
def test_a_dictionary_with_anything_in_a_key_is_read_or_refused_for_that_key(
    described: dict[str, Any], key: str, value: Any
) -> None:
    """Never with another exception, and never for a key that has nothing to do with it."""
    spoilt = {**described, key: value}
    found = cai.problems(spoilt)
    related = {"shape": {"shape", "strides"}, "typestr": {"typestr", "descr"}, "version": {"version", "stream"}}
    assert {problem.key.partition("[")[0] for problem in found} <= related.get(key, {key})
    assert all(clause(problem.clause) and problem.expected and problem.seen for problem in found)
    if found:
        with pytest.raises(ValueError, match=re.escape(found[0].key)):
            cai.parse(spoilt)
    else:
        assert cai.parse(spoilt).shape == spoilt["shape"]


@examples
@given(garbage)
def test_whatever_the_attribute_yields_is_read_or_refused(described: Any) -> None:
    """With ``ValueError``."""
    with suppress(ValueError):
        assert isinstance(cai.parse(described), cai.ArrayInterface)


@examples
@given(
    dictionaries()
    | st.dictionaries(st.sampled_from((*cai.REQUIRED, "strides", "descr", "mask", "stream")), garbage)
    | garbage
)
def test_the_reference_refuses_any_dictionary_by_the_exceptions_that_it_documents(described: Any) -> None:
    """``ValueError`` for what is malformed or lies nowhere, ``TypeError`` for what it lacks, the device's own for no stream of it."""
    with suppress(ValueError, TypeError, NoSuchStream):
        taken = Importer(simulated()).take_cai(Offering(described))
        assert taken.shape == described["shape"]


@examples
@given(typestrs | st.text(alphabet=f"<>|={KINDS}0123456789[]sn", max_size=8) | st.text(max_size=5))
def test_a_typestr_is_as_wide_as_numpy_says(typestr: str) -> None:
    """Wherever both know it; NumPy has no bit fields (``t``), and all objects are pointers to it. What is no typestr raises ``ValueError``."""
    numpy = pytest.importorskip("numpy")
    try:
        width = cai.typestr_bytes(typestr)
    except ValueError:
        return
    with suppress(TypeError):
        theirs = numpy.dtype(typestr)
        assume(theirs.names is None and theirs.str[1:2] == typestr[1:2] != "O")
        assert width == theirs.itemsize


@examples
@given(fields_of_records())
def test_a_descr_is_as_wide_as_numpy_says(described: list[Any]) -> None:
    """Nested records, sub-arrays and titles included; to NumPy every object is a pointer, whatever its width is said to be."""
    numpy = pytest.importorskip("numpy")
    width = cai.descr_bytes(described)
    assert width is not None
    with suppress(TypeError, ValueError):
        theirs = numpy.dtype(described)
        assert theirs.hasobject or theirs.itemsize == width


@examples
@given(fields_of_records(counts=st.integers(-3, 3)))
def test_a_descr_with_fewer_elements_than_none_is_malformed(described: list[Any]) -> None:
    """Two such counts must not make up for each other."""
    counts = [count for field in _flat(described) if len(field) == 3 for count in field[2]]
    assert (cai.descr_bytes(described) is None) == any(count < 0 for count in counts)


def _flat(described: list[Any]) -> Iterator[Any]:
    for field in described:
        yield field
        if isinstance(field[1], list):
            yield from _flat(field[1])


@examples
@given(garbage)
def test_a_descr_of_anything_is_a_number_of_bytes_or_malformed(described: Any) -> None:
    """Never an exception, and never fewer bytes than none."""
    assert (cai.descr_bytes(described) or 0) >= 0


@examples
@given(drawn(window), drawn(element), st.integers(0, 3))
def test_the_reference_takes_its_own_dictionary_for_the_same_array(made: Any, kind: Any, shift: int) -> None:
    """Every layout and element type that the interface has a letter for, element by element."""
    assume(kind.kind is not None)
    memory = simulated()
    array = Exporter(memory, memory.allocate(made.elements * kind.itemsize), kind, made.view, readonly=bool(shift & 1))
    memory.write(array.block.address, pattern(kind, made.elements, shift))
    taken = Importer(memory).take_cai(array)
    assert (taken.shape, taken.dtype, taken.readonly) == (made.view.shape, kind, array.readonly)
    assert ReferenceAdapter().read(taken) == ReferenceAdapter().read(array)


def spread(chance: Random) -> tuple[Strided, int]:
    """A view that counts bytes, whose strides need not be multiples of the element's size, and that size."""
    extents = shape(chance)
    strides = tuple(chance.randint(-40, 40) for _ in extents)
    low, _ = span(Strided(extents, strides))
    return Strided(extents, strides, -low), chance.choice((1, 2, 4, 8, 16))


@examples
@given(drawn(spread))
def test_strides_that_are_no_multiple_of_an_element_are_read_and_written_to_the_byte(made: tuple[Strided, int]) -> None:
    """As the field of a record has them; they are never rounded (CAI-11)."""
    view, size = made
    kind = next(each for each in map(element, map(Random, range(200))) if each.itemsize == size and each.kind)
    memory, library = simulated(), ReferenceAdapter()
    block = memory.allocate(span(view)[1] + size)
    content = bytes(i * 37 % 251 for i in range(block.nbytes))
    memory.write(block.address, content)
    described = cai.build(
        view.shape, str(kind.typestr), block.address + view.offset if view.size else 0, strides=view.strides
    )
    taken = library.take(Offering(described), Protocol.CAI, Device.SIMULATED)
    assert library.describe(taken).strides == view.strides
    assert library.read(taken) == b"".join(content[o : o + size] for o in offsets(view))
    _expect_a_copy_and_a_write_to_the_byte(view, kind, block)


def _expect_a_copy_and_a_write_to_the_byte(view: Strided, kind: DType, block: Block) -> None:
    """The producer's own array with these strides: what is copied of it, and what a write leaves alone."""
    memory, library, size = simulated(), ReferenceAdapter(), kind.itemsize
    array = Exporter(memory, BorrowedBlock(block.address + view.offset, block), kind, packed(view.shape))
    array.byte_strides = view.strides
    assert library.read(
        library.take(library.offer(array, Protocol.CAI), Protocol.CAI, Device.SIMULATED)
    ) == library.read(array)
    copied = array.copied()
    assert (library.read(copied), copied.byte_strides) == (library.read(array), None)
    data = pattern(kind, view.size, 1)
    expected = bytearray(memory.read(block.address, block.nbytes))
    for i, offset in enumerate(offsets(view)):
        expected[offset : offset + size] = data[i * size : (i + 1) * size]
    library.write(array, data)
    assert memory.read(block.address, block.nbytes) == bytes(expected)
