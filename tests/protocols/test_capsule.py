"""PyCapsules by the C API."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from typing import Any

import pytest

from conformance.protocols import capsule

NAME, OTHER = b"one_name", b"another_name"
POINTER = 0x1000


def test_a_capsule_has_the_pointer_and_the_name_that_it_was_given() -> None:
    """And is recognised as one."""
    made = capsule.new(POINTER, NAME)
    assert (capsule.is_capsule(made), capsule.pointer(made), capsule.name(made)) == (True, POINTER, NAME)


def test_a_renamed_capsule_still_opens() -> None:
    """Whatever its name says."""
    made = capsule.new(POINTER, NAME)
    capsule.rename(made, OTHER)
    assert (capsule.pointer(made), capsule.name(made)) == (POINTER, OTHER)


def test_a_capsule_may_be_without_a_name() -> None:
    """NULL reads as no name at all; whoever opens the capsule meets it under the name that it has."""
    made = capsule.new(POINTER, None)  # type: ignore[arg-type]
    assert (capsule.pointer(made), capsule.name(made)) == (POINTER, b"")


def test_the_destructor_sees_the_name_and_the_pointer_of_the_dying_capsule() -> None:
    """By its address only: there is no object any more."""
    seen: list[tuple[bytes, int]] = []
    destroy = capsule.DESTRUCTOR(lambda address: seen.append((capsule.name_at(address), capsule.pointer_at(address))))
    made = capsule.new(POINTER, NAME, ctypes.cast(destroy, ctypes.c_void_p).value or 0)
    assert capsule.destructor(made)
    capsule.rename(made, OTHER)
    del made
    gc.collect()
    assert seen == [(OTHER, POINTER)]


def test_a_destructor_can_be_given_later() -> None:
    """It is the one that is called at the end."""
    seen: list[int] = []
    destroy = capsule.DESTRUCTOR(lambda address: seen.append(capsule.pointer_at(address)))
    address = ctypes.cast(destroy, ctypes.c_void_p).value or 0
    made = capsule.new(POINTER, NAME)
    assert capsule.destructor(made) == 0
    capsule.set_destructor(made, address)
    assert capsule.destructor(made) == address
    del made
    assert seen == [POINTER]


def test_a_destructor_can_be_taken_away() -> None:
    """Then nothing happens at the end."""
    seen: list[int] = []
    destroy = capsule.DESTRUCTOR(seen.append)
    made = capsule.new(POINTER, NAME, ctypes.cast(destroy, ctypes.c_void_p).value or 0)
    capsule.set_destructor(made, 0)
    assert capsule.destructor(made) == 0
    del made
    assert seen == []


@pytest.mark.parametrize(
    "function",
    [
        capsule.name,
        capsule.pointer,
        capsule.destructor,
        lambda thing: capsule.rename(thing, NAME),
        lambda thing: capsule.set_destructor(thing, 0),
    ],
)
def test_anything_else_is_refused(function: Callable[[Any], Any]) -> None:
    """The C API would read its memory as if it were a capsule."""
    assert not capsule.is_capsule(object())
    with pytest.raises(TypeError, match="expected a PyCapsule, got object"):
        function(object())
