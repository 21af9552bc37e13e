"""The reference's table of DLPack's C exchange API, called as a consumer in C would."""

from __future__ import annotations

import ctypes
import sys

import pytest

from conformance.protocols import dlpack, exchange_api
from conformance.protocols.dlpack import DELETER, DLManagedTensorVersioned, DLTensor
from conformance.protocols.dtypes import dtype
from conformance.protocols.exchange_api import ExchangeAPI
from conformance.protocols.strided import Strided, packed
from conformance.reference.exporter import Exporter
from conformance.reference.managed import Managed
from conformance.reference.memory import HostMemory
from conformance.reference.table import tabled


@pytest.fixture
def array() -> Exporter:
    """Two rows and two columns of float32 with gaps, of the type that carries the table."""
    memory = HostMemory()
    made = Exporter(memory, memory.allocate(48), dtype("float32"), Strided((2, 2), (4, 2), 5))
    memory.write(made.block.address, bytes(range(48)))
    return tabled(made)


@pytest.fixture
def table(array: Exporter) -> ExchangeAPI:
    """Its table."""
    found = exchange_api.table(type(array))
    assert found is not None
    return found


def test_the_type_with_the_table_is_made_once(array: Exporter, table: ExchangeAPI) -> None:
    """And an array that has it already is left as it is."""
    memory = HostMemory()
    other = tabled(Exporter(memory, memory.allocate(4), dtype("float32"), packed((1,))))
    assert type(other) is type(array)
    assert tabled(other) is other
    assert table.functions.keys() == set(exchange_api.FUNCTIONS)
    assert all(table.functions.values())


def test_a_plain_exporter_offers_no_table() -> None:
    """No consumer of capsules takes another way in by accident."""
    assert exchange_api.table(Exporter) is None


def test_an_array_becomes_a_struct_that_holds_it(array: Exporter, table: ExchangeAPI) -> None:
    """Until its deleter is called."""
    out = ctypes.c_void_p()
    before = sys.getrefcount(array)
    export = exchange_api.FROM_PY(table.functions["managed_tensor_from_py_object_no_sync"])
    assert export(array, ctypes.byref(out)) == 0
    tensor = dlpack.decode(out.value or 0, dlpack.VERSIONED)
    assert (tensor.element0, tensor.shape, tensor.strides) == (array.element0(), (2, 2), (4, 2))
    assert sys.getrefcount(array) > before
    DELETER(tensor.deleter)(tensor.address)
    assert sys.getrefcount(array) == before


def test_a_struct_becomes_an_array_that_owns_it(array: Exporter, table: ExchangeAPI) -> None:
    """The deleter is called when the array dies."""
    managed = Managed(array.table_fields(), None)
    out = ctypes.py_object()
    take = exchange_api.TO_PY(table.functions["managed_tensor_to_py_object_no_sync"])
    assert take(managed.address, ctypes.byref(out)) == 0
    taken = out.value
    ctypes.pythonapi.Py_DecRef(ctypes.py_object(taken))
    out.value = None
    assert isinstance(taken, type(array))
    assert (taken.element0(), taken.view, managed.deleter_calls) == (array.element0(), Strided((2, 2), (4, 2)), 0)
    del taken
    assert managed.deleter_calls == 1


def test_a_borrowed_description_is_written_where_the_caller_says(array: Exporter, table: ExchangeAPI) -> None:
    """And costs no reference."""
    managed = DLManagedTensorVersioned()
    managed.version.major = 1
    before = sys.getrefcount(array)
    borrow = exchange_api.BORROW(table.functions["dltensor_from_py_object_no_sync"])
    assert borrow(array, ctypes.addressof(managed.dl_tensor)) == 0
    tensor = dlpack.decode(ctypes.addressof(managed), dlpack.VERSIONED)
    assert (tensor.element0, tensor.shape, tensor.strides) == (array.element0(), (2, 2), (4, 2))
    assert sys.getrefcount(array) == before


def test_what_cannot_be_expressed_is_refused(array: Exporter, table: ExchangeAPI) -> None:
    """By -1; a function in Python cannot leave an exception as well."""
    array.pending = True
    out = ctypes.c_void_p()
    export = exchange_api.FROM_PY(table.functions["managed_tensor_from_py_object_no_sync"])
    assert (export(array, ctypes.byref(out)), out.value) == (-1, None)


def test_the_stream_is_the_legacy_default_one(table: ExchangeAPI) -> None:
    """NULL."""
    out = ctypes.c_void_p(7)
    stream = exchange_api.CURRENT_STREAM(table.functions["current_work_stream"])
    assert (stream(1, 0, ctypes.byref(out)), out.value) == (0, None)


@pytest.mark.parametrize(("code", "answer"), [(2, 0), (200, -1)])
def test_the_allocator_makes_what_the_prototype_says_or_tells_why_not(
    table: ExchangeAPI, code: int, answer: int
) -> None:
    """An error goes to the callback, once."""
    shape = (ctypes.c_int64 * 2)(3, 4)
    prototype = DLTensor()
    prototype.device.device_type, prototype.ndim, prototype.shape = 1, 2, ctypes.addressof(shape)
    prototype.dtype.code, prototype.dtype.bits, prototype.dtype.lanes = code, 32, 1
    told: list[bytes] = []
    tell = exchange_api.SET_ERROR(lambda context, kind, message: told.append(kind))
    out = ctypes.c_void_p()
    allocate = exchange_api.ALLOCATE(table.functions["managed_tensor_allocator"])
    assert allocate(ctypes.addressof(prototype), ctypes.byref(out), None, tell) == answer
    assert told == ([] if answer == 0 else [b"BufferError"])
    if answer == 0:
        tensor = dlpack.decode(out.value or 0, dlpack.VERSIONED)
        assert (tensor.shape, tensor.strides) == ((3, 4), (4, 1))
        DELETER(tensor.deleter)(tensor.address)
