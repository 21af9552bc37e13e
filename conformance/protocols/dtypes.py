"""Element types of arrays, in the notation of DLPack and of the array interface (DLP-13, CAI-03)."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import IntEnum

NATIVE_ORDER = "<" if sys.byteorder == "little" else ">"


class DLCode(IntEnum):
    """``DLDataTypeCode`` of dlpack.h 1.3."""

    INT = 0
    UINT = 1
    FLOAT = 2
    OPAQUE = 3
    BFLOAT = 4
    COMPLEX = 5
    BOOL = 6
    FLOAT8_E3M4 = 7
    FLOAT8_E4M3 = 8
    FLOAT8_E4M3B11FNUZ = 9
    FLOAT8_E4M3FN = 10
    FLOAT8_E4M3FNUZ = 11
    FLOAT8_E5M2 = 12
    FLOAT8_E5M2FNUZ = 13
    FLOAT8_E8M0FNU = 14
    FLOAT6_E2M3FN = 15
    FLOAT6_E3M2FN = 16
    FLOAT4_E2M1FN = 17


@dataclass(frozen=True)
class DType:
    """One element type.

    ``bits`` is the width of an element as DLPack counts it: a complex number has the bits of both its parts. ``kind`` is the array interface's
    letter, or ``None`` for a type without one (bfloat16, 8-bit floats: grey area G4).
    """

    name: str
    code: DLCode
    bits: int
    kind: str | None

    @property
    def itemsize(self) -> int:
        """The bytes of one element."""
        return (self.bits + 7) // 8

    @property
    def typestr(self) -> str | None:
        """The array interface's notation in native byte order, such as ``<f4``."""
        if self.kind is None:
            return None
        order = "|" if self.itemsize == 1 else NATIVE_ORDER
        return f"{order}{self.kind}{self.itemsize}"


DTYPES: dict[str, DType] = {
    d.name: d
    for d in (
        DType("bool", DLCode.BOOL, 8, "b"),
        DType("int8", DLCode.INT, 8, "i"),
        DType("int16", DLCode.INT, 16, "i"),
        DType("int32", DLCode.INT, 32, "i"),
        DType("int64", DLCode.INT, 64, "i"),
        DType("uint8", DLCode.UINT, 8, "u"),
        DType("uint16", DLCode.UINT, 16, "u"),
        DType("uint32", DLCode.UINT, 32, "u"),
        DType("uint64", DLCode.UINT, 64, "u"),
        DType("float16", DLCode.FLOAT, 16, "f"),
        DType("float32", DLCode.FLOAT, 32, "f"),
        DType("float64", DLCode.FLOAT, 64, "f"),
        DType("complex64", DLCode.COMPLEX, 64, "c"),
        DType("complex128", DLCode.COMPLEX, 128, "c"),
        DType("bfloat16", DLCode.BFLOAT, 16, None),
        DType("complex32", DLCode.COMPLEX, 32, None),
        DType("float8_e3m4", DLCode.FLOAT8_E3M4, 8, None),
        DType("float8_e4m3", DLCode.FLOAT8_E4M3, 8, None),
        DType("float8_e4m3b11fnuz", DLCode.FLOAT8_E4M3B11FNUZ, 8, None),
        DType("float8_e4m3fn", DLCode.FLOAT8_E4M3FN, 8, None),
        DType("float8_e4m3fnuz", DLCode.FLOAT8_E4M3FNUZ, 8, None),
        DType("float8_e5m2", DLCode.FLOAT8_E5M2, 8, None),
        DType("float8_e5m2fnuz", DLCode.FLOAT8_E5M2FNUZ, 8, None),
        DType("float8_e8m0fnu", DLCode.FLOAT8_E8M0FNU, 8, None),
    )
}

NARROW: dict[str, DType] = {
    d.name: d
    for d in (
        DType("float4_e2m1fn", DLCode.FLOAT4_E2M1FN, 4, None),
        DType("float6_e2m3fn", DLCode.FLOAT6_E2M3FN, 6, None),
        DType("float6_e3m2fn", DLCode.FLOAT6_E3M2FN, 6, None),
    )
}
"""Types narrower than a byte. Elements are packed from the low bits up, unless a flag gives each a byte of its own (DLP-11)."""

ARRAY_API = (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float32", "float64", "complex64", "complex128",
)  # fmt: skip
"""The types that every array-API library must be able to exchange (DLP-46)."""


def dtype(name: str) -> DType:
    """Return the type of this name. Raise ``KeyError`` if there is none."""
    return DTYPES[name]


def from_dlpack(code: int, bits: int) -> DType | None:
    """Return the type with this DLPack code and width in bits, or ``None`` if no scalar type has them."""
    return next((d for d in DTYPES.values() if (d.code, d.bits) == (code, bits)), None)


def from_typestr(typestr: str) -> DType | None:
    """Return the type of an array-interface ``typestr`` in native byte order, or ``None``."""
    return next((d for d in DTYPES.values() if d.typestr and _same(d.typestr, typestr)), None)


def is_raw(name: str) -> bool:
    """Return ``True`` for a type name that stands for raw bytes, such as NumPy's ``void16`` or a typestr ``|V2``."""
    return name.startswith("void") or name[1:2] == "V"


def _same(ours: str, theirs: str) -> bool:
    if len(theirs) < 3 or theirs[1:] != ours[1:]:
        return False
    return theirs[0] in ("|", "=", NATIVE_ORDER) or (ours[0] == "|" and theirs[0] in "<>")
