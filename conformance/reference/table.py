"""The reference library's table of DLPack's C exchange API, with Python functions behind ctypes.

Such a function cannot leave an exception for its caller, so -1 is the only report of an error. Everything else follows the header (DLX-01
to DLX-06). Tables live as long as the process.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

from conformance.protocols import capsule, dlpack, exchange_api
from conformance.protocols.dlpack import DLDeviceType
from conformance.protocols.dtypes import from_dlpack
from conformance.protocols.strided import packed

from . import streams
from .exporter import NEWEST, Exporter
from .importer import Importer
from .managed import Deleter, Managed
from .memory import BorrowedBlock, Memory
from .streams import LEGACY

_OUT = ctypes.POINTER(ctypes.c_void_p)
_PROTOTYPES: dict[str, Any] = {
    "managed_tensor_allocator": exchange_api.ALLOCATE,
    "managed_tensor_from_py_object_no_sync": ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, _OUT),
    "managed_tensor_to_py_object_no_sync": ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, _OUT),
    "dltensor_from_py_object_no_sync": ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p),
    "current_work_stream": exchange_api.CURRENT_STREAM,
}


def tabled(array: Exporter) -> Exporter:
    """Return the same array as an instance of a class with the table. An array that has the table is returned unchanged."""
    if hasattr(type(array), exchange_api.ATTRIBUTE):
        return array
    table = _table(type(array), array.memory)
    made: Exporter = table.kind.__new__(table.kind)
    made.__dict__.update(array.__dict__)
    return made


_tables: dict[tuple[Any, ...], Table] = {}


def _table(kind: type[Exporter], memory: Memory) -> Table:
    """Return the table of an exporter class for a kind of memory. Arrays that the table imports or allocates are in that memory."""
    key = (kind, type(memory), memory.device)
    if key not in _tables:
        _tables[key] = (kind.table_class or Table)(kind, memory)
    return _tables[key]


def _refusing(function: Callable[..., int]) -> Callable[..., int]:
    """Return the same function with the result -1 for an exception. ctypes would print the exception and return an arbitrary value."""

    def called(*arguments: Any) -> int:
        try:
            return function(*arguments)
        except Exception:  # noqa: BLE001 - no exception can cross into C
            return -1

    return called


class Table:
    """One table, its functions, and the class that offers it.

    ``name`` is the name of its capsule. The functions in ``without`` are NULL.
    """

    name: ClassVar[bytes] = exchange_api.NAME
    version: ClassVar[tuple[int, int]] = NEWEST
    without: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, exporter: type[Exporter], memory: Memory) -> None:
        self.memory = memory
        written: dict[str, Callable[..., int]] = {
            "managed_tensor_allocator": self.allocate,
            "managed_tensor_from_py_object_no_sync": self.from_py,
            "managed_tensor_to_py_object_no_sync": self.to_py,
            "dltensor_from_py_object_no_sync": self.borrow,
            "current_work_stream": self.current_stream,
        }
        self.functions = {name: _PROTOTYPES[name](_refusing(function)) for name, function in written.items()}
        self.struct = exchange_api.Table()
        self.struct.header.version.major, self.struct.header.version.minor = self.version
        for name in exchange_api.FUNCTIONS:
            address = ctypes.cast(self.functions[name], ctypes.c_void_p).value
            setattr(self.struct, name, None if name in self.without else address)
        offered = capsule.new(ctypes.addressof(self.struct), self.name)
        self.kind: type[Exporter] = type(f"Tabled{exporter.__name__}", (exporter,), {exchange_api.ATTRIBUTE: offered})

    def from_py(self, thing: int, out: Any) -> int:
        """Export an array as a new struct, which the caller releases."""
        array: Exporter = ctypes.cast(thing, ctypes.py_object).value
        managed = Managed(array.table_fields(), array)
        array.log.exports.append(managed)
        out[0] = managed.address
        return 0

    def to_py(self, address: int, out: Any) -> int:
        """Return a new array that owns this struct."""
        taken = Importer(self.memory).read_tensor(dlpack.decode(address, dlpack.VERSIONED))
        array = self.kind(taken.importer.memory, BorrowedBlock(taken.address, taken), taken.dtype, taken.view)
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(array))
        out[0] = id(array)
        return 0

    def borrow(self, thing: int, out: int) -> int:
        """Fill in the caller's ``DLTensor``. The memory that it points to belongs to the array."""
        array: Exporter = ctypes.cast(thing, ctypes.py_object).value
        lent = Managed(replace(array.table_fields(), deleter=Deleter.NULL), None)
        array.log.lent.append(lent)
        ctypes.memmove(out, ctypes.addressof(lent.struct.dl_tensor), ctypes.sizeof(dlpack.DLTensor))
        return 0

    def current_stream(self, device_type: int, device_id: int, out: Any) -> int:
        """Return the current stream: NULL for the legacy stream, and for host memory, which has none."""
        handle = streams.current() if device_type == self.memory.device[0] != DLDeviceType.CPU else LEGACY
        out[0] = None if handle == LEGACY else handle
        return 0

    def allocate(self, prototype: int, out: Any, context: int, set_error: Any) -> int:
        """Allocate a packed array with the prototype's element type, shape and device."""
        wanted = dlpack.DLTensor.from_address(prototype)
        dtype = from_dlpack(wanted.dtype.code, wanted.dtype.bits)
        device = (wanted.device.device_type, wanted.device.device_id)
        if dtype is None or wanted.dtype.lanes != 1 or device != tuple(self.memory.device):
            set_error(context, b"BufferError", b"no such element type, or not this device")
            return -1
        view = packed(tuple((ctypes.c_int64 * wanted.ndim).from_address(wanted.shape)) if wanted.ndim else ())
        array = self.kind(self.memory, self.memory.allocate(view.size * dtype.itemsize), dtype, view)
        managed = Managed(array.table_fields(), array)
        out[0] = managed.address
        return 0
