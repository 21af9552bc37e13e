"""Element values that reveal every mistake of layout or type: neighbouring elements differ, and checks compare every bit."""

from __future__ import annotations

from functools import lru_cache

from conformance.protocols.dtypes import DLCode, DType

_GOLDEN = 0x9E3779B97F4A7C15
_FLOAT_SPECIALS = {
    16: (0x8000, 0x7C00, 0xFC00, 0x7E2A, 0x7BFF, 0x0001, 0xFBFF),
    32: (0x80000000, 0x7F800000, 0xFF800000, 0x7FC0002A, 0x7F7FFFFF, 0x00000001, 0xFF7FFFFF),
    64: (
        0x8000000000000000, 0x7FF0000000000000, 0xFFF0000000000000, 0x7FF800000000002A,
        0x7FEFFFFFFFFFFFFF, 0x0000000000000001, 0xFFEFFFFFFFFFFFFF,
    ),
}  # fmt: skip
"""Negative zero, both infinities, a quiet NaN with a payload, the largest, the smallest subnormal, the lowest."""
_BFLOAT_SPECIALS = (0x8000, 0x7F80, 0xFF80, 0x7FEA, 0x7F7F, 0x0001, 0xFF7F)
_BITS = "1101000110010111"


_FEW = 100
_PERIOD = 1021
"""Number of elements after which a pattern repeats. It is prime, so a wrong stride or shape does not read equal elements."""


def pattern(dtype: DType, count: int, seed: int = 0) -> bytes:
    """Return ``count`` elements: first the special values of the type, then distinct values.

    Signalling NaNs are left out, because a copy through a floating-point register may quiet them. Another ``seed`` gives another pattern.
    """
    if count <= _FEW:
        return _short(dtype, count, seed)
    return (_period(dtype, seed) * (count // _PERIOD + 1))[: count * dtype.itemsize]


@lru_cache(maxsize=1024)
def _short(dtype: DType, count: int, seed: int) -> bytes:
    return b"".join(_element(dtype, i, seed) for i in range(count))


@lru_cache(maxsize=64)
def _period(dtype: DType, seed: int) -> bytes:
    return b"".join(_element(dtype, i, seed) for i in range(_PERIOD))


def raw(dtype: DType, count: int) -> bytes:
    """Return ``count`` elements that arithmetic changes: signalling NaNs, or bool bytes other than 0 and 1.

    Raises:
        ValueError: arithmetic preserves every bit of the type.
    """
    if dtype.code is DLCode.BOOL:
        return (bytes(range(2, 256)) * (count // 254 + 1))[:count]
    half = dtype.bits // 2 if dtype.code is DLCode.COMPLEX else dtype.bits
    exponent = _BFLOAT_INFINITY if dtype.code is DLCode.BFLOAT else _INFINITIES.get(half)
    if exponent is None or dtype.code not in (DLCode.FLOAT, DLCode.COMPLEX, DLCode.BFLOAT):
        raise ValueError(f"arithmetic preserves every bit of {dtype.name}")
    period = b"".join(_word(exponent | 1 + index, half) for index in range(31))
    nbytes = count * dtype.itemsize
    return (period * (nbytes // len(period) + 1))[:nbytes]


_INFINITIES = {16: 0x7C00, 32: 0x7F800000, 64: 0x7FF0000000000000}
_BFLOAT_INFINITY = 0x7F80
"""Bit patterns of infinity. With a low bit of the mantissa set and its highest bit clear, they become signalling NaNs."""


def _element(dtype: DType, index: int, seed: int) -> bytes:
    if dtype.code is DLCode.BOOL:
        return bytes([int(_BITS[(index + 5 * seed) % len(_BITS)]) if index < len(_BITS) else _mixed(index, seed, 1)])
    if dtype.code is DLCode.COMPLEX:
        half = dtype.bits // 2
        return _float(half, 2 * index, seed) + _float(half, 2 * index + 1, seed)
    if dtype.code is DLCode.FLOAT:
        return _float(dtype.bits, index, seed)
    if dtype.code is DLCode.BFLOAT:
        return _word(_special(_BFLOAT_SPECIALS, index, seed, _mixed(index, seed, 7) | 0x3F00), 16)
    if dtype.code in (DLCode.INT, DLCode.UINT):
        top = 1 << (dtype.bits - 1)
        return _word(_special((top, top - 1, 2 * top - 1, 1), index, seed, _mixed(index, seed, dtype.bits)), dtype.bits)
    return _word(_mixed(index, seed, dtype.bits) or 1, dtype.bits)


def _float(bits: int, index: int, seed: int) -> bytes:
    """Return a special value, or a normal number with a magnitude between 1 and 2 and a distinct mantissa."""
    exponent = {16: 0x3C00, 32: 0x3F800000, 64: 0x3FF0000000000000}[bits]
    mantissa = {16: 10, 32: 23, 64: 52}[bits]
    sign = (index & 1) << (bits - 1)
    return _word(_special(_FLOAT_SPECIALS[bits], index, seed, sign | exponent | _mixed(index, seed, mantissa)), bits)


def _special(values: tuple[int, ...], index: int, seed: int, otherwise: int) -> int:
    position = index - seed
    return values[position] if 0 <= position < len(values) else otherwise


def _mixed(index: int, seed: int, bits: int) -> int:
    """Return the top ``bits`` bits of a multiplicative hash. Neighbours differ, and small counts do not collide with 8 bits or more."""
    return ((index + 1 + 1000 * seed) * _GOLDEN & 0xFFFFFFFFFFFFFFFF) >> (64 - bits)


def _word(value: int, bits: int) -> bytes:
    import sys

    return (value & ((1 << bits) - 1)).to_bytes(bits // 8, sys.byteorder)


def first_elements(kind: DType) -> bytes:
    """Return the first eight bit patterns of a type below 8 bits in ascending order, packed from the low bits up (DLP-11)."""
    whole = sum(code << code * kind.bits for code in range(8))
    return whole.to_bytes(kind.bits, "little")


def unpacked(block: bytes, bits: int) -> bytes:
    """Return elements that are packed from the low bits up as one byte each, with the element in the low bits."""
    whole = int.from_bytes(block, "little")
    return bytes((whole >> i) & ((1 << bits) - 1) for i in range(0, 8 * len(block), bits))
