"""Faults of element types: the consumer gets other elements than the producer gave, by type or by value."""

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
    """Imports uint8 as bool."""

    def dl_dtype(self, tensor: Tensor) -> DType:
        found = super().dl_dtype(tensor)
        return dtype("bool") if found.name == "uint8" else found


@fault("dtype.exchange", bugs="dtype-22")
class UnsignedAsSigned(Importer):
    """Imports unsigned integers as signed ones in both protocols."""

    def dl_dtype(self, tensor: Tensor) -> DType:
        return _signed(super().dl_dtype(tensor))

    def cai_dtype(self, interface: cai.ArrayInterface) -> DType:
        return _signed(super().cai_dtype(interface))


def _signed(kind: DType) -> DType:
    return DTYPES[kind.name.removeprefix("u")] if kind.code is DLCode.UINT else kind


@fault("dtype.exchange", bugs="dtype-19")
class BrainFloatsTakenForHalves(Importer):
    """Imports every 16-bit float as float16."""

    def dl_dtype(self, tensor: Tensor) -> DType:
        found = super().dl_dtype(tensor)
        return dtype("float16") if found.name == "bfloat16" else found


@fault("dtype.exchange")
class NegativeZeroLost(Importer):
    """Turns the negative zero of float32 into a positive one."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        taken = super().read_tensor(tensor)
        negative_zero = (0x80000000).to_bytes(4, sys.byteorder)
        if taken.dtype.name == "float32" and self.memory.read(taken.address, 4) == negative_zero:
            self.memory.write(taken.address, bytes(4))
        return taken


@fault("dtype.exchange", bugs="dtype-10")
class BooleansCopied(Importer):
    """Copies arrays of bool and shares all others."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        taken = super().read_tensor(tensor)
        if taken.dtype.name == "bool":
            data = self.memory.read(taken.address, taken.view.size)
            taken.holder = self.memory.allocate(len(data))
            taken.address = taken.holder.address
            self.memory.write(taken.address, data)
        return taken


@fault("dtype.self-import", bugs="dtype-26")
class BooleansRefused(Importer):
    """Refuses to import bool, which it exports."""

    def dl_dtype(self, tensor: Tensor) -> DType:
        if tensor.code == DLCode.BOOL:
            raise TypeError("bool is not supported")
        return super().dl_dtype(tensor)


@fault("dtype.self-import", bugs="dtype-21 dtype-23")
class BrainFloatsRefused(Importer):
    """Refuses to import bfloat16, which it exports."""

    def dl_dtype(self, tensor: Tensor) -> DType:
        if tensor.code == DLCode.BFLOAT:
            raise NotImplementedError("bfloat is not supported yet")
        return super().dl_dtype(tensor)


@fault("dtype.self-import", bugs="dtype-25")
class NarrowFloatsNotInTheTable(Importer):
    """Raises ``KeyError`` for the 8-bit floats, because its table of types lacks them."""

    def dl_dtype(self, tensor: Tensor) -> DType:
        if DLCode.FLOAT8_E3M4 <= tensor.code <= DLCode.FLOAT8_E8M0FNU:
            raise KeyError((tensor.code, tensor.bits))
        return super().dl_dtype(tensor)


@fault("dtype.export", bugs="dtype-06 dtype-12")
class BooleansAsBytes(Exporter):
    """Exports bool as uint8."""

    def fields(self, version: tuple[int, int] | None, *, copied: bool) -> Fields:
        made = super().fields(version, copied=copied)
        return replace(made, code=int(DLCode.UINT)) if made.code == DLCode.BOOL else made


@fault("dtype.export")
class ComplexBitsOfOnePart(Exporter):
    """Exports a complex type with half of its bits."""

    def fields(self, version: tuple[int, int] | None, *, copied: bool) -> Fields:
        made = super().fields(version, copied=copied)
        return replace(made, bits=made.bits // 2) if made.code == DLCode.COMPLEX else made


@fault("dtype.export", bugs="dtype-21 dtype-19")
class BrainFloatsExportedAsHalves(Exporter):
    """Exports bfloat16 with the type code of IEEE floats."""

    def fields(self, version: tuple[int, int] | None, *, copied: bool) -> Fields:
        made = super().fields(version, copied=copied)
        return replace(made, code=int(DLCode.FLOAT)) if made.code == DLCode.BFLOAT else made


@fault("dtype.typestr", bugs="dtype-19")
class BrainFloatsAsHalves(Exporter):
    """Publishes bfloat16 as ``<f2``, which is float16."""

    def cai_typestr(self) -> str:
        return f"{NATIVE_ORDER}f2" if self.dtype.name == "bfloat16" else super().cai_typestr()


@fault("dtype.typestr", bugs="dtype-04 dtype-18")
class TypestrTableWithHoles(Exporter):
    """Raises ``KeyError`` for the typestr of complex numbers and bfloat16, because its table lacks them."""

    def cai_typestr(self) -> str:
        if self.dtype.code in (DLCode.COMPLEX, DLCode.BFLOAT):
            raise KeyError(self.dtype.name)
        return super().cai_typestr()


@fault("dtype.typestr")
class NameAsTypestr(Exporter):
    """Publishes the name of the type as its typestr."""

    def cai_typestr(self) -> str:
        return self.dtype.name


@fault("dtype.unsupported-export")
class DatesAsIntegers(Exporter):
    """Exports dates as integers."""

    def check_dtype(self) -> None:
        """Skip the refusal."""

    def fields(self, version: tuple[int, int] | None, *, copied: bool) -> Fields:
        return replace(super().fields(version, copied=copied), code=int(DLCode.INT))


@fault("dtype.unsupported-export", bugs="readonly-04")
class RefusedByTypeError(Exporter):
    """Refuses an array that it cannot export with ``TypeError`` in place of ``BufferError``."""

    def check_dtype(self) -> None:
        try:
            super().check_dtype()
        except BufferError as error:
            raise TypeError(str(error)) from None


@fault("dtype.sub-byte-export")
class NarrowFloatsInBytes(Exporter):
    """Exports a 4-bit float with 8 bits."""

    def fields(self, version: tuple[int, int] | None, *, copied: bool) -> Fields:
        made = super().fields(version, copied=copied)
        return replace(made, bits=8) if made.bits < 8 else made


@fault("dtype.sub-byte-export")
class PaddedWithoutPadding(Exporter):
    """Sets the flag for padded elements on packed 4-bit elements."""

    def flags(self, *, copied: bool) -> int:
        return super().flags(copied=copied) | (4 if self.dtype.bits < 8 else 0)


@fault("dtype.sub-byte-import")
class NarrowFloatsAsWider(Importer):
    """Imports every 4-bit and 6-bit float as an 8-bit float."""

    def dl_dtype(self, tensor: Tensor) -> DType:
        if DLCode.FLOAT6_E2M3FN <= tensor.code <= DLCode.FLOAT4_E2M1FN:
            return dtype("float8_e4m3fn")
        return super().dl_dtype(tensor)


_FLOAT4 = DType("float4_e2m1fn", DLCode.FLOAT4_E2M1FN, 4, None)


@fault("dtype.sub-byte-import")
class NibblesTheWrongWayRound(Importer):
    """Swaps both halves of each byte when it unpacks 4-bit floats."""

    def dl_dtype(self, tensor: Tensor) -> DType:
        narrow = (tensor.code, tensor.bits, tensor.lanes) == (_FLOAT4.code, _FLOAT4.bits, 1)
        return _FLOAT4 if narrow else super().dl_dtype(tensor)

    def read_tensor(self, tensor: Tensor) -> Imported:
        taken = super().read_tensor(tensor)
        if taken.dtype is _FLOAT4:
            pairs = self.memory.read(taken.address, taken.view.size // 2)
            taken.holder = self.memory.allocate(taken.view.size)
            taken.address = taken.holder.address
            self.memory.write(taken.address, bytes(half for byte in pairs for half in (byte >> 4, byte & 0xF)))
        return taken


@fault("dtype.lanes", bugs="strides-45")
class LanesWithoutTheirStrides(Importer):
    """Turns lanes into a last dimension without scaling the other strides."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        if tensor.lanes == 1:
            return super().read_tensor(tensor)
        strides = (*tensor.strides_or_packed, 1)
        return super().read_tensor(replace(tensor, shape=(*tensor.shape, tensor.lanes), strides=strides, lanes=1))


@fault("dtype.lanes")
class LanesIgnored(Importer):
    """Imports only the first lane of a vector type."""

    def dl_dtype(self, tensor: Tensor) -> DType:
        return super().dl_dtype(replace(tensor, lanes=1))


@fault("dtype.unknown", bugs="dtype-21")
class WidthIgnored(Importer):
    """Ignores the number of bits and goes by the type code alone."""

    def dl_dtype(self, tensor: Tensor) -> DType:
        return next((d for d in DTYPES.values() if d.code == tensor.code), None) or super().dl_dtype(tensor)


@fault("dtype.unknown")
class UnknownAsFloat(Importer):
    """Imports an unknown type code as a float."""

    def dl_dtype(self, tensor: Tensor) -> DType:
        return super().dl_dtype(replace(tensor, code=2) if tensor.code > DLCode.FLOAT4_E2M1FN else tensor)


class _TypestrRewritten(Importer):
    """Base of importers that read another typestr than the producer published."""

    def cai_dtype(self, interface: cai.ArrayInterface) -> DType:
        return super().cai_dtype(replace(interface, typestr=self.rewritten(interface.typestr)))

    def rewritten(self, typestr: str) -> str:
        """Return the typestr that is read in place of the given one."""
        raise NotImplementedError


@fault("dtype.foreign-order", bugs="dtype-24")
class ByteOrderIgnored(_TypestrRewritten):
    """Ignores the byte order in a typestr."""

    def rewritten(self, typestr: str) -> str:
        return NATIVE_ORDER + typestr[1:]


@fault("dtype.structured", bugs="dtype-24")
class RecordsAsIntegers(_TypestrRewritten):
    """Imports structured elements as integers of the same width."""

    def rewritten(self, typestr: str) -> str:
        return f"{NATIVE_ORDER}u8" if typestr == "|V8" else typestr


@fault("dtype.special-typestr")
class DatesTakenForIntegers(_TypestrRewritten):
    """Imports dates as integers."""

    def rewritten(self, typestr: str) -> str:
        return f"{NATIVE_ORDER}i8" if typestr[1] in "Mm" else typestr


@fault("dtype.foreign-order")
class ComplexSwappedWhole(Importer):
    """Swaps the bytes of a whole complex number in place of the bytes of each part."""

    def cai_dtype(self, interface: cai.ArrayInterface) -> DType:
        return super().cai_dtype(replace(interface, typestr=NATIVE_ORDER + interface.typestr[1:]))

    def take_cai(self, source: Any) -> Imported:
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
    """Raw bytes with fields. ``fields`` maps a name to a typestr and an offset in bytes."""

    fields: dict[str, tuple[str, int]] = field(default_factory=dict, compare=False)


@fault("dtype.structured")
class PaddingIgnored(Importer):
    """Ignores the padding in ``descr`` when it computes the offsets of fields."""

    def read_cai(self, described: Any) -> cai.ArrayInterface:
        self._descr = described.get("descr") or []
        return super().read_cai(described)

    def cai_dtype(self, interface: cai.ArrayInterface) -> DType:
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
    """Imports a number of an unknown width as the next narrower type of its kind."""

    def rewritten(self, typestr: str) -> str:
        if typestr[1] not in "iufc" or from_typestr(typestr) is not None:
            return typestr
        narrower = [d for d in DTYPES.values() if d.kind == typestr[1] and d.itemsize < cai.typestr_bytes(typestr)]
        return max(narrower, key=lambda d: d.bits).typestr or typestr if narrower else typestr
