"""Tables of DLPack's C exchange API, found and read."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from conformance.protocols import capsule, exchange_api

KEPT: list[Any] = []
"""Capsules hold addresses only."""


def struct(version: tuple[int, int] = (1, 3), previous: int = 0) -> exchange_api.Table:
    """A table whose functions are at 1, 2, 3, …"""
    made = exchange_api.Table()
    made.header.version.major, made.header.version.minor = version
    made.header.prev_api = previous or None
    for number, name in enumerate(exchange_api.FUNCTIONS, 1):
        setattr(made, name, number)
    KEPT.append(made)
    return made


def type_with(offered: Any) -> type[Any]:
    """A type with this under the attribute."""
    return type("Offering", (), {exchange_api.ATTRIBUTE: offered})


def test_the_struct_has_the_size_of_the_header() -> None:
    """A version, a pointer and five functions."""
    assert (ctypes.sizeof(exchange_api.Header), ctypes.sizeof(exchange_api.Table)) == (16, 56)


def test_the_attribute_and_the_capsule_have_the_names_of_the_header() -> None:
    """Whoever looks elsewhere finds no table at all (DLX-01)."""
    assert exchange_api.ATTRIBUTE == "__dlpack_c_exchange_api__"
    assert exchange_api.NAME == b"dlpack_exchange_api"


def test_the_functions_stand_in_the_order_of_the_header() -> None:
    """Behind the version and the older table, each a pointer; the order is how they are told apart."""
    assert {name: getattr(exchange_api.Table, name).offset for name in exchange_api.FUNCTIONS} == {
        "managed_tensor_allocator": 16,
        "managed_tensor_from_py_object_no_sync": 24,
        "managed_tensor_to_py_object_no_sync": 32,
        "dltensor_from_py_object_no_sync": 40,
        "current_work_stream": 48,
    }


def test_the_functions_are_called_as_the_header_declares_them() -> None:
    """With the GIL, save for the one that tells an error; each gives 0 or an error code."""
    pointer, string, number, thing = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32, ctypes.py_object
    to = ctypes.POINTER
    declared = {
        exchange_api.FROM_PY: (ctypes.c_int, (thing, to(pointer))),
        exchange_api.TO_PY: (ctypes.c_int, (pointer, to(thing))),
        exchange_api.BORROW: (ctypes.c_int, (thing, pointer)),
        exchange_api.CURRENT_STREAM: (ctypes.c_int, (number, number, to(pointer))),
        exchange_api.ALLOCATE: (ctypes.c_int, (pointer, to(pointer), pointer, exchange_api.SET_ERROR)),
        exchange_api.SET_ERROR: (None, (pointer, string, string)),
    }
    assert {kind: (kind._restype_, kind._argtypes_) for kind in declared} == declared


def test_a_table_is_found_on_the_type_and_read() -> None:
    """Address, version and functions."""
    made = struct()
    found = exchange_api.table(type_with(capsule.new(ctypes.addressof(made), exchange_api.NAME)))
    assert found is not None
    assert (found.address, found.version, found.previous) == (ctypes.addressof(made), (1, 3), 0)
    assert list(found.functions.values()) == [1, 2, 3, 4, 5]


def test_a_function_that_is_missing_is_at_address_0() -> None:
    """One of them may be (DLX-05), and its place must not pass for a function."""
    made = struct()
    setattr(made, exchange_api.OPTIONAL[0], None)
    assert exchange_api.decode(ctypes.addressof(made)).functions[exchange_api.OPTIONAL[0]] == 0


def test_a_type_without_the_attribute_has_no_table() -> None:
    """That is no error."""
    assert exchange_api.table(int) is None


@pytest.mark.parametrize(("offered", "told"), [(4096, "is a int"), (None, None), ("capsule", "named b'other'")])
def test_what_is_no_capsule_of_the_right_name_is_refused(offered: Any, told: str | None) -> None:
    """As with DLPack 1.2, whose attribute was an integer (X9); ``None`` means that there is none."""
    if offered == "capsule":
        offered = capsule.new(ctypes.addressof(struct()), b"other")
    if told is None:
        assert exchange_api.table(type_with(offered)) is None
        return
    with pytest.raises(ValueError, match=told):
        exchange_api.table(type_with(offered))


def test_functions_of_another_major_version_are_not_read() -> None:
    """Only the header is the same in all of them (DLX-02)."""
    found = exchange_api.decode(ctypes.addressof(struct((2, 0))))
    assert (found.version, found.functions) == ((2, 0), {})


def test_the_chain_ends_with_null() -> None:
    """Older tables in their order."""
    oldest = struct((1, 1))
    older = struct((1, 2), ctypes.addressof(oldest))
    newest = exchange_api.decode(ctypes.addressof(struct((1, 3), ctypes.addressof(older))))
    assert [each.version for each in exchange_api.chain(newest)] == [(1, 2), (1, 1)]


def test_a_chain_without_end_is_cut() -> None:
    """A table that names itself as the older one."""
    made = struct()
    made.header.prev_api = ctypes.addressof(made)
    assert len(list(exchange_api.chain(exchange_api.decode(ctypes.addressof(made))))) == exchange_api.MAX_TABLES
