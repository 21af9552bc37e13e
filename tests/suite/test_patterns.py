"""Element values that show every wrong stride, extent or copy."""

from __future__ import annotations

import pytest

from conformance.checks.patterns import pattern, raw
from conformance.protocols.dtypes import DTYPES, dtype


@pytest.mark.parametrize("name", DTYPES)
def test_a_long_pattern_begins_as_a_short_one_and_does_not_repeat_by_a_power_of_two(name: str) -> None:
    """A wrong extent is most often one of 8, 16 or 32 bits."""
    kind = dtype(name)
    long, size = pattern(kind, 70_000), kind.itemsize
    assert len(long) == 70_000 * size
    assert long.startswith(pattern(kind, 90))
    for power in (1, 6, 8, 12, 16):
        assert long[: 300 * size] != long[(1 << power) * size : (300 + (1 << power)) * size]


@pytest.mark.parametrize("name", ["float16", "float32", "float64", "bfloat16", "complex64", "complex128"])
def test_raw_floats_are_signalling_nans(name: str) -> None:
    """All bits of the exponent, and of the mantissa some without the highest."""
    kind = dtype(name)
    half = kind.itemsize // (2 if name.startswith("complex") else 1)
    mantissa = {"bfloat16": 7}.get(name, {2: 10, 4: 23, 8: 52}[half])
    exponent = ((1 << (8 * half - 1)) - 1) >> mantissa
    data = raw(kind, 40)
    assert len(data) == 40 * kind.itemsize
    words = [int.from_bytes(data[at : at + half], "little") for at in range(0, len(data), half)]
    assert all(word >> mantissa == exponent for word in words)
    assert all(0 < word & ((1 << mantissa) - 1) < 1 << (mantissa - 1) for word in words)


def test_raw_bools_are_neither_of_the_two() -> None:
    """Every byte above 1."""
    assert set(raw(dtype("bool"), 600)) == set(range(2, 256))


def test_other_types_have_no_raw_elements() -> None:
    """Each of their bits counts."""
    with pytest.raises(ValueError, match="int32"):
        raw(dtype("int32"), 3)
