"""Faults of the C exchange API: a table with holes, functions that tell something else than ``__dlpack__``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from conformance.protocols import exchange_api
from conformance.protocols.dlpack import DLManagedTensorVersioned
from conformance.protocols.strided import c_strides
from conformance.reference.exporter import Exporter
from conformance.reference.managed import Fields
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
