"""Faults of the C exchange API: a table with missing functions, and functions that contradict ``__dlpack__``."""

from __future__ import annotations

import ctypes
from dataclasses import replace
from typing import Any, ClassVar

from conformance.protocols import dlpack, exchange_api
from conformance.protocols.dlpack import DELETER, DLDeviceType, DLManagedTensorVersioned, DLTensor
from conformance.protocols.dtypes import DLCode, from_dlpack
from conformance.protocols.strided import c_strides, packed
from conformance.reference.exporter import Exporter
from conformance.reference.importer import Importer
from conformance.reference.managed import Deleter, Fields, Managed
from conformance.reference.memory import gather
from conformance.reference.table import Table

from . import fault


class OldName(Table):
    """A table under the attribute name of DLPack 1.2."""

    name = b"dlpack_c_exchange_api"


@fault("exchange-api.table")
class TableUnderAnotherName(Exporter):
    """Names the capsule of the table differently from the header."""

    table_class = OldName


class Holes(Table):
    """A table without an allocator."""

    without = frozenset({"managed_tensor_allocator"})


@fault("exchange-api.table")
class TableWithHoles(Exporter):
    """Leaves a required function of the table NULL."""

    table_class = Holes


class Silent(Table):
    """A table with functions that report success and do nothing."""

    def current_stream(self, device_type: int, device_id: int, out: Any) -> int:
        return 0

    def allocate(self, prototype: int, out: Any, context: int, set_error: Any) -> int:
        return super().allocate(prototype, out, context, exchange_api.SET_ERROR(lambda context, kind, message: None))

    def to_py(self, address: int, out: Any) -> int:
        """Return an array that never calls the deleter of its struct."""
        DLManagedTensorVersioned.from_address(address).deleter = None
        return super().to_py(address, out)


@fault("exchange-api.current-stream", "exchange-api.allocate", "exchange-api.import", bugs="stream-28")
class TableSaysNothing(Exporter):
    """Sets no stream, reports no errors and calls no deleter in the table's functions."""

    table_class = Silent


@fault("exchange-api.export", "exchange-api.borrow", bugs="strides-16")
class TableForgetsStrides(Exporter):
    """Describes every array with packed strides in the table's functions."""

    def table_fields(self) -> Fields:
        return replace(super().table_fields(), strides=c_strides(self.view.shape))


@fault("exchange-api.holds-nothing", bugs="lifetime-21")
class TableCachesArrays(Exporter):
    """Keeps a reference to each array in the table's functions."""

    cache: ClassVar[list[Any]] = []

    def table_fields(self) -> Fields:
        self.cache.append(self)
        return super().table_fields()


@fault("exchange-api.inexpressible", bugs="dtype-14 dtype-05")
class TableSkipsChecks(Exporter):
    """Skips the check for lazy states in the table's functions."""

    def table_fields(self) -> Fields:
        pending, self.pending = self.pending, False
        try:
            return super().table_fields()
        finally:
            self.pending = pending


class Unowned(Table):
    """A table that exports structs with a reference to the block, but not to the array."""

    def from_py(self, thing: int, out: Any) -> int:
        array: Exporter = ctypes.cast(thing, ctypes.py_object).value
        out[0] = Managed(array.table_fields(), array.block).address
        return 0


@fault("exchange-api.export", bugs="lifetime-15")
class StructDoesNotHoldTheArray(Exporter):
    """Holds no reference to the array in the struct that the table exports."""

    table_class = Unowned

    def __del__(self) -> None:
        if hasattr(type(self), exchange_api.ATTRIBUTE):
            self.block.release()


@fault("exchange-api.export", "exchange-api.borrow", bugs="dtype-06")
class TableKnowsNoBooleans(Exporter):
    """Describes bool as uint8 in the table's functions, although its capsules are right."""

    def table_fields(self) -> Fields:
        made = super().table_fields()
        return replace(made, code=int(DLCode.UINT)) if made.code == DLCode.BOOL else made


class Unset(Table):
    """A table that lends descriptions without a byte offset."""

    def borrow(self, thing: int, out: int) -> int:
        """Keep the value that the caller's memory had before."""
        lent = DLTensor.from_address(out)
        before = lent.byte_offset
        code = super().borrow(thing, out)
        lent.byte_offset = before
        return code


@fault("exchange-api.borrow", bugs="pointer-18")
class BorrowLeavesTheOffsetUnset(Exporter):
    """Leaves ``byte_offset`` of a borrowed description uninitialized."""

    table_class = Unset


class Leaking(Table):
    """A table that exports structs with a deleter that releases nothing."""

    def from_py(self, thing: int, out: Any) -> int:
        array: Exporter = ctypes.cast(thing, ctypes.py_object).value
        out[0] = Managed(replace(array.table_fields(), deleter=Deleter.NATIVE), array).address
        return 0


@fault("exchange-api.holds-nothing", bugs="lifetime-04 lifetime-27")
class TableReleasesNothing(Exporter):
    """Has a deleter in structs of the table that does not release the array."""

    table_class = Leaking


class Counting(Table):
    """A table that takes a reference for each description that it lends."""

    def borrow(self, thing: int, out: int) -> int:
        ctypes.pythonapi.Py_IncRef(ctypes.cast(thing, ctypes.py_object))
        return super().borrow(thing, out)


@fault("exchange-api.holds-nothing")
class BorrowTakesAReference(Exporter):
    """Takes a reference to the array for each borrowed description, which is never released."""

    table_class = Counting


class Copying(Table):
    """A table that imports by copying."""

    def to_py(self, address: int, out: Any) -> int:
        taken = Importer(self.memory).read_tensor(dlpack.decode(address, dlpack.VERSIONED))
        data = gather(self.memory, taken.address, taken.view, taken.dtype.itemsize)
        array = self.kind(self.memory, self.memory.allocate(len(data)), taken.dtype, packed(taken.shape))
        self.memory.write(array.element0(), data)
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(array))
        out[0] = id(array)
        return 0


@fault("exchange-api.import", bugs="perf-05")
class TableCopies(Exporter):
    """Copies in the table's import function."""

    table_class = Copying


class Hasty(Table):
    """A table that imports structs and releases them at once."""

    def to_py(self, address: int, out: Any) -> int:
        """Call the deleter here, and not when the array dies."""
        struct = DLManagedTensorVersioned.from_address(address)
        deleter, struct.deleter = struct.deleter, None
        code = super().to_py(address, out)
        if deleter:
            DELETER(deleter)(address)
        return code


@fault("exchange-api.import", bugs="lifetime-26")
class TableReleasesAtOnce(Exporter):
    """Releases a struct as soon as the table's import function has made an array of it."""

    table_class = Hasty


class DeviceOnly(Table):
    """A table that knows streams of the device only."""

    def current_stream(self, device_type: int, device_id: int, out: Any) -> int:
        return -1 if device_type == DLDeviceType.CPU else super().current_stream(device_type, device_id, out)


@fault("exchange-api.current-stream", bugs="stream-19")
class NoStreamForTheHost(Exporter):
    """Fails in ``current_work_stream`` for host memory, for which NULL is right."""

    table_class = DeviceOnly


class Bytes(Table):
    """A table that allocates bytes in place of elements."""

    def allocate(self, prototype: int, out: Any, context: int, set_error: Any) -> int:
        wanted = DLTensor.from_buffer_copy(DLTensor.from_address(prototype))
        if from_dlpack(wanted.dtype.code, wanted.dtype.bits) is not None:
            wanted.dtype.code, wanted.dtype.bits = DLCode.UINT, 8
        return super().allocate(ctypes.addressof(wanted), out, context, set_error)


@fault("exchange-api.allocate", bugs="pointer-12")
class AllocatesBytes(Exporter):
    """Allocates as many bytes as the prototype has elements."""

    table_class = Bytes


class Anything(Table):
    """A table that allocates any type code."""

    def allocate(self, prototype: int, out: Any, context: int, set_error: Any) -> int:
        wanted = DLTensor.from_buffer_copy(DLTensor.from_address(prototype))
        if from_dlpack(wanted.dtype.code, wanted.dtype.bits) is None:
            wanted.dtype.code = DLCode.UINT
        return super().allocate(ctypes.addressof(wanted), out, context, set_error)


@fault("exchange-api.allocate", bugs="dtype-15")
class AllocatesUnknownTypes(Exporter):
    """Allocates elements of an unknown type code by their width alone."""

    table_class = Anything


@fault("exchange-api.inexpressible", bugs="lifetime-25")
class PendingHasNoMemory(Exporter):
    """Describes an array in a lazy state with a NULL data pointer in the table's functions."""

    def table_fields(self) -> Fields:
        if not self.pending:
            return super().table_fields()
        self.pending = False
        try:
            return replace(super().table_fields(), data=0)
        finally:
            self.pending = True
