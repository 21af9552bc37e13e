"""The table of element types against itself, against the header's numbers and against NumPy."""

from __future__ import annotations

import pytest

from conformance.protocols.dtypes import (
    ARRAY_API,
    DTYPES,
    NATIVE_ORDER,
    DLCode,
    DType,
    dtype,
    from_dlpack,
    from_typestr,
)

SPOKEN = [d for d in DTYPES.values() if d.kind is not None]
FOREIGN_ORDER = ">" if NATIVE_ORDER == "<" else "<"


def test_type_codes_are_those_of_the_header() -> None:
    """The numbers are written down in dlpack.h; a name that slips by one would misname every array."""
    assert {code.name: int(code) for code in DLCode} == {
        "INT": 0, "UINT": 1, "FLOAT": 2, "OPAQUE": 3, "BFLOAT": 4, "COMPLEX": 5, "BOOL": 6,
        "FLOAT8_E3M4": 7, "FLOAT8_E4M3": 8, "FLOAT8_E4M3B11FNUZ": 9, "FLOAT8_E4M3FN": 10, "FLOAT8_E4M3FNUZ": 11,
        "FLOAT8_E5M2": 12, "FLOAT8_E5M2FNUZ": 13, "FLOAT8_E8M0FNU": 14,
        "FLOAT6_E2M3FN": 15, "FLOAT6_E3M2FN": 16, "FLOAT4_E2M1FN": 17,
    }  # fmt: skip


def test_each_type_has_the_code_and_the_width_that_its_name_says() -> None:
    """A row that says another type's would misname every array of it."""
    assert {d.name: (d.code.name, d.bits) for d in DTYPES.values()} == {
        "bool": ("BOOL", 8),
        **{f"int{bits}": ("INT", bits) for bits in (8, 16, 32, 64)},
        **{f"uint{bits}": ("UINT", bits) for bits in (8, 16, 32, 64)},
        **{f"float{bits}": ("FLOAT", bits) for bits in (16, 32, 64)},
        **{f"complex{bits}": ("COMPLEX", bits) for bits in (32, 64, 128)},
        "bfloat16": ("BFLOAT", 16),
        **{
            f"float8_{kind}": (f"FLOAT8_{kind.upper()}", 8)
            for kind in ("e3m4", "e4m3", "e4m3b11fnuz", "e4m3fn", "e4m3fnuz", "e5m2", "e5m2fnuz", "e8m0fnu")
        },
    }


@pytest.mark.parametrize("kind", DTYPES.values(), ids=list(DTYPES))
def test_code_and_bits_lead_back_to_the_type(kind: DType) -> None:
    """No two types share them."""
    assert from_dlpack(kind.code, kind.bits) is kind


@pytest.mark.parametrize("kind", SPOKEN, ids=[d.name for d in SPOKEN])
def test_the_typestr_leads_back_to_the_type(kind: DType) -> None:
    """In native order, however it is spelled, and for one byte in any: order means nothing there."""
    assert kind.typestr is not None
    assert from_typestr(kind.typestr) is kind
    assert from_typestr("=" + kind.typestr[1:]) is kind
    if kind.itemsize == 1:
        assert {from_typestr(f"{order}{kind.kind}1") for order in "|<>"} == {kind}


@pytest.mark.parametrize("kind", SPOKEN, ids=[d.name for d in SPOKEN])
def test_numpy_means_the_same_by_the_typestr(kind: DType) -> None:
    """Name, width and spelling are NumPy's own."""
    numpy = pytest.importorskip("numpy")
    theirs = numpy.dtype(kind.typestr)
    assert (theirs.name, theirs.itemsize, theirs.str) == (kind.name, kind.itemsize, kind.typestr)


@pytest.mark.parametrize("typestr", [f"{FOREIGN_ORDER}f4", f"{FOREIGN_ORDER}i2", f"{FOREIGN_ORDER}c16"])
def test_foreign_byte_order_is_no_type_of_ours(typestr: str) -> None:
    """The same letters in the other order are other elements."""
    assert from_typestr(typestr) is None


@pytest.mark.parametrize(
    "typestr", ["", "f4", "<f", "|V4", "<M8[s]", "|O8", "<f16", "<c4", f"{NATIVE_ORDER}f44", "Xu1"]
)
def test_a_typestr_of_something_else_is_no_type_of_ours(typestr: str) -> None:
    """Nothing near a known one passes for it."""
    assert from_typestr(typestr) is None


@pytest.mark.parametrize(
    ("code", "bits"), [(0, 4), (2, 24), (2, 128), (4, 32), (5, 16), (6, 1), (3, 64), (17, 4), (200, 32)]
)
def test_a_code_with_other_bits_is_no_type_of_ours(code: int, bits: int) -> None:
    """Both have to fit."""
    assert from_dlpack(code, bits) is None


def test_an_element_takes_whole_bytes() -> None:
    """A type of fewer than 8 bits still counts one byte when it stands alone."""
    assert DType("float4_e2m1fn", DLCode.FLOAT4_E2M1FN, 4, None).itemsize == 1
    assert dtype("complex128").itemsize == 16


def test_types_without_a_letter_have_no_typestr() -> None:
    """The array interface cannot name bfloat16, complex32 or the 8-bit floats; two bytes do not make a float16."""
    assert all(d.typestr is None for d in DTYPES.values() if d.kind is None)
    assert dtype("bfloat16").typestr is None


def test_the_standard_types_are_all_there() -> None:
    """The array API's thirteen, each with a typestr."""
    assert len(ARRAY_API) == 13
    assert all(dtype(name).typestr for name in ARRAY_API)


def test_an_unknown_name_is_an_error() -> None:
    """A typing mistake in a case must not pass for a type."""
    with pytest.raises(KeyError):
        dtype("float31")
