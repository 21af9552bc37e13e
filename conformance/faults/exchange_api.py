"""Faults of the C exchange API: a table with holes, functions that tell something else than ``__dlpack__``."""

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
    """As the attribute is called in DLPack 1.2."""

    name = b"dlpack_c_exchange_api"


@fault("exchange-api.table")
class TableUnderAnotherName(Exporter):
    """The capsule with the table has another name than the header gives."""

    table_class = OldName


class Holes(Table):
    """Without allocator."""

    without = frozenset({"managed_tensor_allocator"})


@fault("exchange-api.table")
class TableWithHoles(Exporter):
    """A function that must be there is NULL."""

    table_class = Holes


class Silent(Table):
    """Functions that report success and do nothing."""

    def current_stream(self, device_type: int, device_id: int, out: Any) -> int:
        """No answer."""
        return 0

    def allocate(self, prototype: int, out: Any, context: int, set_error: Any) -> int:
        """Errors are not told."""
        return super().allocate(prototype, out, context, exchange_api.SET_ERROR(lambda context, kind, message: None))

    def to_py(self, address: int, out: Any) -> int:
        """An array that does not own what it was given: its deleter is never called."""
        DLManagedTensorVersioned.from_address(address).deleter = None
        return super().to_py(address, out)


@fault("exchange-api.current-stream", "exchange-api.allocate", "exchange-api.import", bugs="stream-28")
class TableSaysNothing(Exporter):
    """Streams, errors and releases are left out of the table's functions."""

    table_class = Silent


@fault("exchange-api.export", "exchange-api.borrow", bugs="strides-16")
class TableForgetsStrides(Exporter):
    """The functions describe every array as if it were packed."""

    def table_fields(self) -> Fields:
        """Row-major."""
        return replace(super().table_fields(), strides=c_strides(self.view.shape))


@fault("exchange-api.holds-nothing", bugs="lifetime-21")
class TableCachesArrays(Exporter):
    """The functions remember each array that they are shown."""

    cache: ClassVar[list[Any]] = []

    def table_fields(self) -> Fields:
        """Remembered."""
        self.cache.append(self)
        return super().table_fields()


@fault("exchange-api.inexpressible", bugs="dtype-14 dtype-05")
class TableSkipsChecks(Exporter):
    """The functions leave out what ``__dlpack__`` checks, to be fast."""

    def table_fields(self) -> Fields:
        """Without a look at the array's state."""
        pending, self.pending = self.pending, False
        try:
            return super().table_fields()
        finally:
            self.pending = pending


class Unowned(Table):
    """Exports structs that hold an array's memory, but not the array."""

    def from_py(self, thing: int, out: Any) -> int:
        """With the block as owner, so that it can still be read."""
        array: Exporter = ctypes.cast(thing, ctypes.py_object).value
        out[0] = Managed(array.table_fields(), array.block).address
        return 0


@fault("exchange-api.export", bugs="lifetime-15")
class StructDoesNotHoldTheArray(Exporter):
    """The struct does not keep the array alive, which hands its memory out again when it goes."""

    table_class = Unowned

    def __del__(self) -> None:
        if hasattr(type(self), exchange_api.ATTRIBUTE):
            self.block.release()


@fault("exchange-api.export", "exchange-api.borrow", bugs="dtype-06")
class TableKnowsNoBooleans(Exporter):
    """The functions describe booleans as 8-bit unsigned integers, though a capsule does not."""

    def table_fields(self) -> Fields:
        """Code 1 for bool."""
        made = super().table_fields()
        return replace(made, code=int(DLCode.UINT)) if made.code == DLCode.BOOL else made


class Unset(Table):
    """Lends structs without a byte offset."""

    def borrow(self, thing: int, out: int) -> int:
        """What the caller's memory held there before stays."""
        lent = DLTensor.from_address(out)
        before = lent.byte_offset
        code = super().borrow(thing, out)
        lent.byte_offset = before
        return code


@fault("exchange-api.borrow", bugs="pointer-18")
class BorrowLeavesTheOffsetUnset(Exporter):
    """A borrowed description has every field but the byte offset, which is always 0 and so not written."""

    table_class = Unset


class Leaking(Table):
    """Exports structs whose deleter gives nothing back."""

    def from_py(self, thing: int, out: Any) -> int:
        """With a deleter that knows no owner."""
        array: Exporter = ctypes.cast(thing, ctypes.py_object).value
        out[0] = Managed(replace(array.table_fields(), deleter=Deleter.NATIVE), array).address
        return 0


@fault("exchange-api.holds-nothing", bugs="lifetime-04 lifetime-27")
class TableReleasesNothing(Exporter):
    """The deleter of a struct that the table exports does not let go of the array."""

    table_class = Leaking


class Counting(Table):
    """Lends descriptions, and takes a reference for each."""

    def borrow(self, thing: int, out: int) -> int:
        """One reference more, that nobody gives back."""
        ctypes.pythonapi.Py_IncRef(ctypes.cast(thing, ctypes.py_object))
        return super().borrow(thing, out)


@fault("exchange-api.holds-nothing")
class BorrowTakesAReference(Exporter):
    """A borrowed description takes a reference to the array, as if somebody would release it."""

    table_class = Counting


class Copying(Table):
    """Imports by copying."""

    def to_py(self, address: int, out: Any) -> int:
        """An array on memory of its own; the struct is released at once."""
        taken = Importer(self.memory).read_tensor(dlpack.decode(address, dlpack.VERSIONED))
        data = gather(self.memory, taken.address, taken.view, taken.dtype.itemsize)
        array = self.kind(self.memory, self.memory.allocate(len(data)), taken.dtype, packed(taken.shape))
        self.memory.write(array.element0(), data)
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(array))
        out[0] = id(array)
        return 0


@fault("exchange-api.import", bugs="perf-05")
class TableCopies(Exporter):
    """The table's function that imports makes a copy."""

    table_class = Copying


class Hasty(Table):
    """Imports structs, and releases them before anybody has used the array."""

    def to_py(self, address: int, out: Any) -> int:
        """The deleter is called here, and not when the array dies."""
        struct = DLManagedTensorVersioned.from_address(address)
        deleter, struct.deleter = struct.deleter, None
        code = super().to_py(address, out)
        if deleter:
            DELETER(deleter)(address)
        return code


@fault("exchange-api.import", bugs="lifetime-26")
class TableReleasesAtOnce(Exporter):
    """What the table imports is released as soon as there is an array of it."""

    table_class = Hasty


class DeviceOnly(Table):
    """Knows streams of the device."""

    def current_stream(self, device_type: int, device_id: int, out: Any) -> int:
        """-1 for host memory."""
        return -1 if device_type == DLDeviceType.CPU else super().current_stream(device_type, device_id, out)


@fault("exchange-api.current-stream", bugs="stream-19")
class NoStreamForTheHost(Exporter):
    """``current_work_stream`` fails for host memory, where NULL would do."""

    table_class = DeviceOnly


class Bytes(Table):
    """Allocates in bytes."""

    def allocate(self, prototype: int, out: Any, context: int, set_error: Any) -> int:
        """The prototype's shape, of bytes, if its element type is one."""
        wanted = DLTensor.from_buffer_copy(DLTensor.from_address(prototype))
        if from_dlpack(wanted.dtype.code, wanted.dtype.bits) is not None:
            wanted.dtype.code, wanted.dtype.bits = DLCode.UINT, 8
        return super().allocate(ctypes.addressof(wanted), out, context, set_error)


@fault("exchange-api.allocate", bugs="pointer-12")
class AllocatesBytes(Exporter):
    """The allocator makes as many bytes as the prototype has elements."""

    table_class = Bytes


class Anything(Table):
    """Allocates whatever is asked for."""

    def allocate(self, prototype: int, out: Any, context: int, set_error: Any) -> int:
        """Unsigned integers of the width, where there is no such type."""
        wanted = DLTensor.from_buffer_copy(DLTensor.from_address(prototype))
        if from_dlpack(wanted.dtype.code, wanted.dtype.bits) is None:
            wanted.dtype.code = DLCode.UINT
        return super().allocate(ctypes.addressof(wanted), out, context, set_error)


@fault("exchange-api.allocate", bugs="dtype-15")
class AllocatesUnknownTypes(Exporter):
    """The allocator goes by the width alone: a type code that there is not is no error."""

    table_class = Anything


@fault("exchange-api.inexpressible", bugs="lifetime-25")
class PendingHasNoMemory(Exporter):
    """The functions describe an array whose elements are still to be computed, with NULL where they will be."""

    def table_fields(self) -> Fields:
        """No refusal, and no address."""
        if not self.pending:
            return super().table_fields()
        self.pending = False
        try:
            return replace(super().table_fields(), data=0)
        finally:
            self.pending = True
