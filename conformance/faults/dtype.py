"""Faults of meaning: other elements than were given, by name or by bytes."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from typing import Any

from conformance.protocols import cai
from conformance.protocols.dlpack import Tensor
from conformance.protocols.dtypes import DTYPES, NATIVE_ORDER, DLCode, DType, dtype, from_typestr
from conformance.reference.exporter import Exporter
from conformance.reference.importer import Imported, Importer
from conformance.reference.managed import Fields

from . import fault


@fault("dtype.exchange", bugs="dtype-01")
class BytesAsBooleans(Importer):
    """The importer takes 8-bit unsigned integers for booleans."""

    def dl_dtype(self, tensor: Tensor) -> DType:
        """Bool for uint8."""
        found = super().dl_dtype(tensor)
        return dtype("bool") if found.name == "uint8" else found


@fault("dtype.exchange", bugs="dtype-22")
class UnsignedAsSigned(Importer):
    """The importer takes unsigned integers for signed ones, in both protocols."""

    def dl_dtype(self, tensor: Tensor) -> DType:
        """Signed for unsigned."""
        return _signed(super().dl_dtype(tensor))

    def cai_dtype(self, interface: cai.ArrayInterface) -> DType:
        """Signed for unsigned."""
        return _signed(super().cai_dtype(interface))


def _signed(kind: DType) -> DType:
    return DTYPES[kind.name.removeprefix("u")] if kind.code is DLCode.UINT else kind


@fault("dtype.exchange", bugs="dtype-19")
class BrainFloatsTakenForHalves(Importer):
    """The importer takes every float of 16 bits for float16."""

    def dl_dtype(self, tensor: Tensor) -> DType:
        """float16 for bfloat16."""
        found = super().dl_dtype(tensor)
        return dtype("float16") if found.name == "bfloat16" else found


@fault("dtype.exchange")
class NegativeZeroLost(Importer):
    """The importer converts on the way, and float32's negative zero does not survive it."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        """Import, then write a zero over a negative one."""
        taken = super().read_tensor(tensor)
        negative_zero = (0x80000000).to_bytes(4, sys.byteorder)
        if taken.dtype.name == "float32" and self.memory.read(taken.address, 4) == negative_zero:
            self.memory.write(taken.address, bytes(4))
        return taken


@fault("dtype.exchange", bugs="dtype-10")
class BooleansCopied(Importer):
    """The importer shares every element type but bool, which takes another way and is copied."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        """Import, then move booleans to a block of their own."""
        taken = super().read_tensor(tensor)
        if taken.dtype.name == "bool":
            data = self.memory.read(taken.address, taken.view.size)
            taken.holder = self.memory.allocate(len(data))
            taken.address = taken.holder.address
            self.memory.write(taken.address, data)
        return taken


@fault("dtype.self-import", bugs="dtype-26")
class BooleansRefused(Importer):
    """The importer's table lacks bool, which the exporter's has."""

    def dl_dtype(self, tensor: Tensor) -> DType:
        """``TypeError`` for bool."""
        if tensor.code == DLCode.BOOL:
            raise TypeError("bool is not supported")
        return super().dl_dtype(tensor)


@fault("dtype.self-import", bugs="dtype-21 dtype-23")
class BrainFloatsRefused(Importer):
    """The importer's table lacks bfloat16, which the exporter's has."""

    def dl_dtype(self, tensor: Tensor) -> DType:
        """``NotImplementedError`` for bfloat16."""
        if tensor.code == DLCode.BFLOAT:
            raise NotImplementedError("bfloat is not supported yet")
        return super().dl_dtype(tensor)


@fault("dtype.self-import", bugs="dtype-25")
class NarrowFloatsNotInTheTable(Importer):
    """The importer's table lacks the 8-bit floats, and what is not in it ends in a ``KeyError``."""

    def dl_dtype(self, tensor: Tensor) -> DType:
        """For codes 7 to 14."""
        if DLCode.FLOAT8_E3M4 <= tensor.code <= DLCode.FLOAT8_E8M0FNU:
            raise KeyError((tensor.code, tensor.bits))
        return super().dl_dtype(tensor)


@fault("dtype.export", bugs="dtype-06 dtype-12")
class BooleansAsBytes(Exporter):
    """Booleans are exported as 8-bit unsigned integers."""

    def fields(self, version: tuple[int, int] | None, *, copied: bool) -> Fields:
        """Code 1 for bool."""
        made = super().fields(version, copied=copied)
        return replace(made, code=int(DLCode.UINT)) if made.code == DLCode.BOOL else made


@fault("dtype.export")
class ComplexBitsOfOnePart(Exporter):
    """A complex type is exported with the bits of one of its parts."""

    def fields(self, version: tuple[int, int] | None, *, copied: bool) -> Fields:
        """Half the bits."""
        made = super().fields(version, copied=copied)
        return replace(made, bits=made.bits // 2) if made.code == DLCode.COMPLEX else made


@fault("dtype.export", bugs="dtype-21 dtype-19")
class BrainFloatsExportedAsHalves(Exporter):
    """bfloat16 is exported as an IEEE float with as many bits."""

    def fields(self, version: tuple[int, int] | None, *, copied: bool) -> Fields:
        """Code 2 for bfloat16."""
        made = super().fields(version, copied=copied)
        return replace(made, code=int(DLCode.FLOAT)) if made.code == DLCode.BFLOAT else made


@fault("dtype.typestr", bugs="dtype-19")
class BrainFloatsAsHalves(Exporter):
    """bfloat16 is published as ``<f2``, which is float16."""

    def cai_typestr(self) -> str:
        """``<f2`` for whatever has 16 bits and no letter."""
        return f"{NATIVE_ORDER}f2" if self.dtype.name == "bfloat16" else super().cai_typestr()


@fault("dtype.typestr", bugs="dtype-04 dtype-18")
class TypestrTableWithHoles(Exporter):
    """The typestr comes from a table without complex numbers and bfloat16, and what is not in it ends in a ``KeyError``."""

    def cai_typestr(self) -> str:
        """By a look at the table."""
        if self.dtype.code in (DLCode.COMPLEX, DLCode.BFLOAT):
            raise KeyError(self.dtype.name)
        return super().cai_typestr()


@fault("dtype.typestr")
class NameAsTypestr(Exporter):
    """The typestr is the type's name."""

    def cai_typestr(self) -> str:
        """NumPy would take it, the grammar does not."""
        return self.dtype.name


@fault("dtype.unsupported-export")
class DatesAsIntegers(Exporter):
    """Dates are exported as the integers behind them."""

    def check_dtype(self) -> None:
        """No refusal."""

    def fields(self, version: tuple[int, int] | None, *, copied: bool) -> Fields:
        """Code 0."""
        return replace(super().fields(version, copied=copied), code=int(DLCode.INT))


@fault("dtype.unsupported-export", bugs="readonly-04")
class RefusedByTypeError(Exporter):
    """What cannot be exported is refused with a ``TypeError``."""

    def check_dtype(self) -> None:
        """Another class of exception."""
        try:
            super().check_dtype()
        except BufferError as error:
            raise TypeError(str(error)) from None


@fault("dtype.sub-byte-export")
class NarrowFloatsInBytes(Exporter):
    """A 4-bit float is exported with 8 bits."""

    def fields(self, version: tuple[int, int] | None, *, copied: bool) -> Fields:
        """Whole bytes."""
        made = super().fields(version, copied=copied)
        return replace(made, bits=8) if made.bits < 8 else made


@fault("dtype.sub-byte-export")
class PaddedWithoutPadding(Exporter):
    """The capsule says that each 4-bit element has a byte of its own, though two share one."""

    def flags(self, *, copied: bool) -> int:
        """The padded bit."""
        return super().flags(copied=copied) | (4 if self.dtype.bits < 8 else 0)


@fault("dtype.sub-byte-import")
class NarrowFloatsAsWider(Importer):
    """The importer takes every 4- and 6-bit float for an 8-bit one."""

    def dl_dtype(self, tensor: Tensor) -> DType:
        """An 8-bit float for codes 15 to 17."""
        if DLCode.FLOAT6_E2M3FN <= tensor.code <= DLCode.FLOAT4_E2M1FN:
            return dtype("float8_e4m3fn")
        return super().dl_dtype(tensor)


_FLOAT4 = DType("float4_e2m1fn", DLCode.FLOAT4_E2M1FN, 4, None)


@fault("dtype.sub-byte-import")
class NibblesTheWrongWayRound(Importer):
    """The importer knows 4-bit floats, and takes the upper half of each byte for the first of the two."""

    def dl_dtype(self, tensor: Tensor) -> DType:
        """float4 with its own bits; it is unpacked on the way."""
        narrow = (tensor.code, tensor.bits, tensor.lanes) == (_FLOAT4.code, _FLOAT4.bits, 1)
        return _FLOAT4 if narrow else super().dl_dtype(tensor)

    def read_tensor(self, tensor: Tensor) -> Imported:
        """A byte for each element, in memory of its own."""
        taken = super().read_tensor(tensor)
        if taken.dtype is _FLOAT4:
            pairs = self.memory.read(taken.address, taken.view.size // 2)
            taken.holder = self.memory.allocate(taken.view.size)
            taken.address = taken.holder.address
            self.memory.write(taken.address, bytes(half for byte in pairs for half in (byte >> 4, byte & 0xF)))
        return taken


@fault("dtype.lanes", bugs="strides-45")
class LanesWithoutTheirStrides(Importer):
    """The importer makes a last dimension of the lanes, and leaves the other strides as they were: too short."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        """Strides that count vectors, taken for such that count numbers."""
        if tensor.lanes == 1:
            return super().read_tensor(tensor)
        strides = (*tensor.strides_or_packed, 1)
        return super().read_tensor(replace(tensor, shape=(*tensor.shape, tensor.lanes), strides=strides, lanes=1))


@fault("dtype.lanes")
class LanesIgnored(Importer):
    """The importer takes a vector for its first lane."""

    def dl_dtype(self, tensor: Tensor) -> DType:
        """As if there were one lane."""
        return super().dl_dtype(replace(tensor, lanes=1))


@fault("dtype.unknown", bugs="dtype-21")
class WidthIgnored(Importer):
    """The importer goes by the type code and overlooks the bits."""

    def dl_dtype(self, tensor: Tensor) -> DType:
        """The first type of that code."""
        return next((d for d in DTYPES.values() if d.code == tensor.code), None) or super().dl_dtype(tensor)


@fault("dtype.unknown")
class UnknownAsFloat(Importer):
    """The importer takes a type code that it does not know for a float."""

    def dl_dtype(self, tensor: Tensor) -> DType:
        """Code 2 for all that are not listed."""
        return super().dl_dtype(replace(tensor, code=2) if tensor.code > DLCode.FLOAT4_E2M1FN else tensor)


class _TypestrRewritten(Importer):
    """An importer that reads another typestr than was given."""

    def cai_dtype(self, interface: cai.ArrayInterface) -> DType:
        """By the rewritten typestr."""
        return super().cai_dtype(replace(interface, typestr=self.rewritten(interface.typestr)))

    def rewritten(self, typestr: str) -> str:
        """What is read instead."""
        raise NotImplementedError


@fault("dtype.foreign-order", bugs="dtype-24")
class ByteOrderIgnored(_TypestrRewritten):
    """The importer drops the byte order of a typestr."""

    def rewritten(self, typestr: str) -> str:
        """Native order."""
        return NATIVE_ORDER + typestr[1:]


@fault("dtype.structured", bugs="dtype-24")
class RecordsAsIntegers(_TypestrRewritten):
    """The importer takes structured elements for integers of their width."""

    def rewritten(self, typestr: str) -> str:
        """``u`` for ``V``."""
        return f"{NATIVE_ORDER}u8" if typestr == "|V8" else typestr


@fault("dtype.special-typestr")
class DatesTakenForIntegers(_TypestrRewritten):
    """The importer takes dates for the integers behind them."""

    def rewritten(self, typestr: str) -> str:
        """``i`` for ``M`` and ``m``."""
        return f"{NATIVE_ORDER}i8" if typestr[1] in "Mm" else typestr


@fault("dtype.foreign-order")
class ComplexSwappedWhole(Importer):
    """The importer turns foreign elements round from end to end, complex numbers too, whose parts change places."""

    def cai_dtype(self, interface: cai.ArrayInterface) -> DType:
        """As if it were native."""
        return super().cai_dtype(replace(interface, typestr=NATIVE_ORDER + interface.typestr[1:]))

    def take_cai(self, source: Any) -> Imported:
        """Turned round in memory of its own."""
        taken = super().take_cai(source)
        assert taken.interface is not None
        if taken.interface.typestr[0] not in ("|", NATIVE_ORDER):
            self._turn(taken, taken.dtype.itemsize)
        return taken

    def _turn(self, taken: Imported, size: int) -> None:
        data = self.memory.read(taken.address, taken.view.size * size)
        taken.holder = self.memory.allocate(len(data))
        taken.address = taken.holder.address
        self.memory.write(taken.address, b"".join(data[i : i + size][::-1] for i in range(0, len(data), size)))


@dataclass(frozen=True)
class _Record(DType):
    """Raw bytes with fields: name to typestr and offset in bytes."""

    fields: dict[str, tuple[str, int]] = field(default_factory=dict, compare=False)


@fault("dtype.structured")
class PaddingIgnored(Importer):
    """The importer reads the fields of ``descr``, and gives no room to those without a name."""

    def read_cai(self, described: Any) -> cai.ArrayInterface:
        """Keeps ``descr``."""
        self._descr = described.get("descr") or []
        return super().read_cai(described)

    def cai_dtype(self, interface: cai.ArrayInterface) -> DType:
        """Each field right behind the last one with a name."""
        if interface.typestr[1] != "V":
            return super().cai_dtype(interface)
        fields: dict[str, tuple[str, int]] = {}
        offset = 0
        for name, typestr in self._descr:
            if name:
                fields[name] = (typestr, offset)
                offset += cai.typestr_bytes(typestr)
        bits = 8 * cai.typestr_bytes(interface.typestr)
        return _Record(f"void{bits}", DLCode.OPAQUE, bits, "V", fields)


@fault("dtype.special-typestr")
class UnusualWidthsNarrowed(_TypestrRewritten):
    """The importer takes a number of a width that it does not know for the next narrower one of its kind."""

    def rewritten(self, typestr: str) -> str:
        """The letter with a width that it has."""
        if typestr[1] not in "iufc" or from_typestr(typestr) is not None:
            return typestr
        narrower = [d for d in DTYPES.values() if d.kind == typestr[1] and d.itemsize < cai.typestr_bytes(typestr)]
        return max(narrower, key=lambda d: d.bits).typestr or typestr if narrower else typestr
