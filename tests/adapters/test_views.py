"""Views, re-exports and reserved memory that the adapters make for the pointer and layout families."""

from __future__ import annotations

import gc
import resource
import weakref
from typing import Any

import pytest

from conformance.adapters.base import Device, Protocol, Trait, View, by_keywords, last_address
from conformance.adapters.reference import ReferenceAdapter
from conformance.protocols.dtypes import dtype
from conformance.protocols.strided import Index, Strided, packed

FLOAT = dtype("float32")
BYTES = dtype("uint8")


@pytest.fixture
def reference() -> ReferenceAdapter:
    """The flawless reference."""
    return ReferenceAdapter()


def test_an_import_is_exported_again_from_the_same_address_and_kept_alive(reference: ReferenceAdapter) -> None:
    """The second import holds the first, which holds the array."""
    array = reference.array(FLOAT, (3,), b"abcdefghijkl", Device.HOST)
    owner = weakref.ref(array)
    first = reference.take(reference.offer(array, Protocol.DLPACK), Protocol.DLPACK, Device.HOST)
    second = reference.take(reference.offer(first, Protocol.DLPACK), Protocol.DLPACK, Device.HOST)
    assert second.address == array.element0()
    del array, first
    gc.collect()
    assert owner() is not None
    assert reference.read(second) == b"abcdefghijkl"


def test_strides_of_part_of_an_element_are_refused_by_dlpack(reference: ReferenceAdapter) -> None:
    """Unless the extent is 1, where nobody takes the step (DLP-23, I05)."""
    with pytest.raises(BufferError):
        reference.restride(reference.empty(FLOAT, (4,), Device.HOST), (6,)).__dlpack__()
    reference.restride(reference.empty(FLOAT, (1,), Device.HOST), (6,)).__dlpack__()


def test_strides_of_part_of_an_element_are_stated_by_the_array_interface(reference: ReferenceAdapter) -> None:
    """There they are bytes (CAI-11)."""
    array = reference.restride(reference.empty(FLOAT, (4,), Device.SIMULATED), (6,))
    assert array.__cuda_array_interface__["strides"] == (6,)


def test_an_empty_array_is_exported_whatever_its_strides(reference: ReferenceAdapter) -> None:
    """None of them is ever taken, an extent above 1 or not (I05)."""
    array = reference.restride(reference.empty(FLOAT, (4, 0), Device.HOST), (6, 7))
    assert reference.take(reference.offer(array, Protocol.DLPACK), Protocol.DLPACK, Device.HOST).shape == (4, 0)


def test_strides_of_part_of_an_element_lead_to_the_bytes_that_they_say(reference: ReferenceAdapter) -> None:
    """Of an array, of its import and of a part of that, of a copy, and in a write: nothing is rounded (CAI-11)."""
    array = reference.array(BYTES, (24,), bytes(range(24)), Device.SIMULATED)
    floats = reference.exporter_class(array.memory, array.block, FLOAT, packed((4,)))
    floats.byte_strides = (6,)
    wanted = bytes(i for first in (0, 6, 12, 18) for i in range(first, first + 4))
    taken = reference.take(reference.offer(floats, Protocol.CAI), Protocol.CAI, Device.SIMULATED)
    part = reference.view(taken, Index((slice(None, None, -2),)))
    assert [reference.read(each) for each in (floats, taken, floats.copied())] == [wanted] * 3
    assert reference.read(part) == wanted[12:] + wanted[4:8]
    assert not reference.contiguous(taken)
    assert reference.extent(taken) == (floats.element0(), floats.element0() + 22)
    reference.write(taken, bytes(16))
    assert reference.read(array) == bytes(i if i % 6 > 3 else 0 for i in range(24))


def test_numpy_makes_a_view_without_dimensions() -> None:
    """An index for every dimension is still a view of the same memory."""
    numpy = pytest.importorskip("numpy")
    from conformance.adapters.numpy import NumpyAdapter

    adapter = NumpyAdapter()
    adapter.load()
    whole = numpy.arange(5.0)
    one = adapter.view(whole, Index((3,)))
    assert one.shape == ()
    assert numpy.shares_memory(one, whole)


@pytest.mark.parametrize("shape", [(4, 5, 3), (3, 7)])
@pytest.mark.parametrize("name", ["uint8", "int16", "complex128"])
def test_pitched_rows_are_padded(reference: ReferenceAdapter, shape: tuple[int, ...], name: str) -> None:
    """Rows start at round addresses; what is inside a row is packed."""
    kind = dtype(name)
    view = reference.describe(reference.pitched(kind, shape, Device.HOST))
    assert view.strides[0] % 64 == 0
    assert view.strides[0] >= shape[1] * view.strides[1]
    assert view.strides[1:] == tuple(s * kind.itemsize for s in packed(shape).strides[1:])


def test_reserved_memory_is_not_taken(reference: ReferenceAdapter) -> None:
    """Three gigabytes of address space cost next to nothing until they are touched."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    array = reference.reserved(BYTES, packed((3 * 2**30,)), Device.HOST)
    array.memory.write(array.element0() + 3 * 2**30 - 1, b"x")
    assert reference.last(array) == b"x"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024


def test_the_last_element_lies_where_all_strides_have_been_taken() -> None:
    """Backwards too."""
    assert last_address(View(100, (3, 4), (-16, 4), None, None)) == 100 - 32 + 12


def test_jax_states_the_order_of_its_dimensions() -> None:
    """A transposed array is imported without a copy, with strides that are not those of a packed one."""
    pytest.importorskip("jax")
    from conformance.adapters.jax import JaxAdapter

    adapter, reference = JaxAdapter(), ReferenceAdapter()
    adapter.load()
    memory = reference.memory(Device.HOST)
    array = reference.exporter_class(memory, memory.allocate(48), FLOAT, Strided((4, 3), (1, 4)))
    taken = adapter.take(reference.offer(array, Protocol.DLPACK), Protocol.DLPACK, Device.HOST)
    assert adapter.describe(taken).strides == (4, 16)


def _old(array: Any, /) -> Any:
    return array


def _new(array: Any, /, *, device: Any = None, copy: Any = None) -> Any:
    return array


@pytest.mark.parametrize(("function", "kept"), [(_old, set()), (_new, {Trait.COPY_KEYWORD, Trait.DEVICE_KEYWORD})])
def test_keywords_are_found_in_the_signature(function: Any, kept: set[Trait]) -> None:
    """An older ``from_dlpack`` takes the traits away, and no other."""
    keywords = frozenset({Trait.COPY_KEYWORD, Trait.DEVICE_KEYWORD})
    assert by_keywords(keywords | {Trait.WRITES}, function) == kept | {Trait.WRITES}
