"""An array as the suite knows it: its elements are those of its block as it is now."""

from __future__ import annotations

from conformance.checks.exchange import Source
from conformance.protocols.dtypes import dtype
from conformance.protocols.strided import Strided


def test_the_elements_follow_the_block_and_the_view() -> None:
    """Elements that were gathered before a write are not those of the block."""
    source = Source(None, dtype("uint8"), Strided((2,), (2,), 1), 1, b"abcd")
    assert source.values == b"bd"
    source.block = b"ABCD"
    assert source.values == b"BD"
    source.view = Strided((2,), (1,), 0)
    assert source.values == b"AB"


def test_elements_are_gathered_once() -> None:
    """A case compares large arrays many times."""
    source = Source(None, dtype("uint8"), Strided((2,), (2,), 1), 1, b"abcd")
    assert source.values is source.values
