"""The structs behind the reference's capsules: what they hold, and who releases them how often."""

from __future__ import annotations

import ctypes
import gc
import weakref
from dataclasses import replace

import pytest

from conformance.protocols import capsule, dlpack
from conformance.protocols.dlpack import DELETER, LEGACY, USED_LEGACY, USED_VERSIONED, VERSIONED
from conformance.reference import managed
from conformance.reference.managed import Deleter, Fields, Managed

FIELDS = Fields(data=0x7FFF_1234_5678, device=(1, 0), code=2, bits=32, shape=(2, 3), strides=(3, 1))
LEGACY_FIELDS = replace(FIELDS, version=None)
EITHER = pytest.mark.parametrize("fields", [FIELDS, LEGACY_FIELDS], ids=["versioned", "legacy"])


class Owner:
    """Something whose end can be seen."""


def call_deleter(struct: Managed, address: int | None = None) -> None:
    """As a consumer does."""
    DELETER(struct.struct.deleter)(struct.address if address is None else address)


@EITHER
def test_the_struct_says_what_its_fields_say(fields: Fields) -> None:
    """Under the capsule's name, which goes with the version."""
    made = Managed(fields, None)
    tensor = dlpack.decode(made.address, fields.name)
    assert (tensor.data, tensor.device, tensor.code, tensor.bits, tensor.lanes) == (fields.data, (1, 0), 2, 32, 1)
    assert (tensor.shape, tensor.strides, tensor.version) == ((2, 3), (3, 1), fields.version)
    assert capsule.name(made.capsule()) == (VERSIONED if fields.version else LEGACY)


def test_any_field_can_be_wrong() -> None:
    """A rank that is not the shape's, no strides, an offset, several lanes."""
    made = Managed(replace(FIELDS, ndim=1, strides=None, byte_offset=8, lanes=4, flags=7), None)
    tensor = dlpack.decode(made.address, VERSIONED)
    assert (tensor.shape, tensor.strides, tensor.byte_offset, tensor.lanes, tensor.flags) == ((2,), None, 8, 4, 7)


@EITHER
def test_every_struct_has_a_context_of_its_own(fields: Fields) -> None:
    """Memory of ours that differs from struct to struct, as the contexts of libraries do: importers have to leave it alone."""
    first, second = Managed(fields, None), Managed(fields, None)
    contexts = [first.struct.manager_ctx, second.struct.manager_ctx]
    assert all(contexts)
    assert len(set(contexts)) == 2
    assert [ctypes.string_at(context, 16) for context in contexts] == [bytes(16)] * 2


@EITHER
def test_a_struct_may_have_no_context(fields: Fields) -> None:
    """``manager_ctx`` is the producer's own business."""
    assert Managed(replace(fields, has_context=False), None).struct.manager_ctx is None


@EITHER
def test_the_struct_holds_its_owner_until_the_deleter_is_called(fields: Fields) -> None:
    """Also when nobody holds the struct."""
    owner = Owner()
    seen = weakref.ref(owner)
    made = Managed(fields, owner)
    del owner
    assert seen() is not None
    call_deleter(made)
    assert (made.deleter_calls, seen()) == (1, None)


def test_a_second_call_is_counted_and_does_no_harm() -> None:
    """What a broken consumer does has to be told, not died of."""
    made = Managed(FIELDS, Owner())
    call_deleter(made)
    call_deleter(made)
    assert made.deleter_calls == 2


def test_a_call_with_another_pointer_is_a_stray_one() -> None:
    """It is not counted for the struct whose deleter was called."""
    made = Managed(FIELDS, None)
    before = len(managed.stray_deleter_calls)
    call_deleter(made, made.address + 8)
    assert (made.deleter_calls, managed.stray_deleter_calls[before:]) == (0, [made.address + 8])
    call_deleter(made)


@EITHER
def test_a_capsule_that_nobody_consumed_releases_the_struct(fields: Fields) -> None:
    """Once, when the last reference to it goes (DLP-24)."""
    made = Managed(fields, Owner())
    exported = made.capsule()
    managed.settle()
    assert made.deleter_calls == 0
    del exported
    assert made.deleter_calls == 1


@EITHER
def test_a_used_capsule_releases_nothing(fields: Fields) -> None:
    """The consumer does that now."""
    made = Managed(fields, None)
    exported = made.capsule()
    capsule.rename(exported, USED_VERSIONED if fields.version else USED_LEGACY)
    del exported
    managed.settle()
    gc.collect()
    assert made.deleter_calls == 0
    call_deleter(made)


def test_a_capsule_that_dies_with_an_exception_in_flight_leaves_the_exception_alone() -> None:
    """It is destroyed later: Python code cannot run at that moment without losing the exception."""
    made = Managed(FIELDS, None)
    with pytest.raises(TypeError, match="PyCapsule"):
        int(made.capsule())
    managed.settle()
    assert made.deleter_calls == 1


@EITHER
def test_native_deleters_are_counted_and_need_no_python(fields: Fields) -> None:
    """Any number of calls, told apart by the struct's first word alone; the owner stays."""
    owner = Owner()
    made = Managed(replace(fields, deleter=Deleter.NATIVE), owner)
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(made.struct.deleter)
    for calls in range(5):
        assert made.deleter_calls == calls
        function(made.address)
    assert made.owner is owner


def test_a_word_that_no_number_of_calls_explains_counts_as_very_many() -> None:
    """Somebody else has written there."""
    made = Managed(replace(FIELDS, deleter=Deleter.NATIVE), None)
    made.struct.version.major = 99
    assert made.deleter_calls == managed._MANY


def test_a_struct_without_deleter_has_null_there() -> None:
    """Which DLPack allows (DLP-26)."""
    assert Managed(replace(FIELDS, deleter=Deleter.NULL), None).struct.deleter is None


def test_live_structs_are_those_whose_deleter_has_not_run() -> None:
    """Whoever else still knows them."""
    before = managed.live_count()
    first, second = Managed(FIELDS, None), Managed(LEGACY_FIELDS, None)
    assert managed.live_count() == before + 2
    call_deleter(first)
    call_deleter(second)
    assert managed.live_count() == before
