"""Stage ``entry-points``: a library that the suite only knows by the declarations of its adapter, like a third-party library."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from conformance.adapters.base import Device, Protocol
from conformance.adapters.reference import ReferenceAdapter
from conformance.adapters.special import Foreign, State, Use
from conformance.checks.catalogue import Case
from conformance.checks.libraries import REFERENCE, Environment, Library, Side
from conformance.protocols.dlpack import DLFlags
from conformance.protocols.dtypes import NARROW, DLCode, DType, dtype
from conformance.reference.exporter import Exporter
from conformance.selftest.make_believe.environments import planned
from conformance.selftest.model import Partners, Stage

_NAME = "plugin"
_FOREIGN, _NARROW = "dtype.unsupported-export", "dtype.sub-byte-export"
_STATE, _RELEASES = "state.resolved-or-refused", "state.refusal-releases"
_SWAPPED = DType("float32 of foreign byte order", DLCode.OPAQUE, 32, None)
_RECORD = DType("record", DLCode.OPAQUE, 64, None)


def _foreign(kind: DType) -> Callable[[Any], Any]:
    return lambda adapter: adapter.empty(kind, (3,), Device.HOST)


def _lazy(adapter: ReferenceAdapter, device: Device, use: Use) -> None:
    """Build an array in a lazy state."""
    array = adapter.array(dtype("float32"), (3,), bytes(12), device)
    array.pending = True
    use(array, None)


class Adapter(ReferenceAdapter):
    """The reference under a name that the suite does not know."""

    name = _NAME
    distributions = ("plugin-library",)
    exports = {Device.HOST: (Protocol.DLPACK,)}
    imports = exports
    narrow_dtypes = tuple(NARROW)
    foreign = (
        Foreign("foreign-order", _foreign(_SWAPPED), clause="DLP-12", given="an array of foreign byte order"),
        Foreign("record", _foreign(_RECORD)),
    )
    states = (State("lazy", _lazy, (Device.HOST,)),)


def _partners() -> Partners:
    return {REFERENCE: ReferenceAdapter(), _NAME: Adapter()}


def _cases(here: Environment) -> Iterator[Case]:
    reference = here.get(REFERENCE)
    assert reference is not None
    protocols = (Protocol.DLPACK,)
    side = Side(("float32",), ("c-order",), protocols, protocols).with_special(Adapter(), Device.HOST)
    plugin = Library(_NAME, {}, reference.traits, sides={Device.HOST: side})
    environment = Environment((replace(reference, sides={Device.HOST: side}), plugin))
    for case in planned(environment, _FOREIGN, _NARROW, _STATE, _RELEASES):
        if (case.producer, case.consumer) == (_NAME, REFERENCE):
            yield case


STAGE = Stage("entry-points", "a library that an entry point announces", _partners, _cases, library=_NAME)


def _exporting(found: Partners, **methods: Any) -> None:
    adapter = found[_NAME]
    assert isinstance(adapter, Adapter)
    adapter.exporter_class = type("Exporting", (adapter.exporter_class,), methods)


def _as(kind: DType, code: DLCode) -> dict[str, Any]:
    """Return methods of an exporter that exports the opaque elements ``kind`` with another type code."""

    def fields(self: Exporter, version: tuple[int, int] | None, *, copied: bool) -> Any:
        made = Exporter.fields(self, version, copied=copied)
        return replace(made, code=int(code)) if self.dtype is kind else made

    def check_dtype(self: Exporter) -> None:
        if self.dtype is not kind:
            Exporter.check_dtype(self)

    return {"fields": fields, "check_dtype": check_dtype}


@STAGE.fault(_FOREIGN)
def exports_foreign_order_as_native(found: Partners) -> None:
    """Exports foreign byte order as native."""
    _exporting(found, **_as(_SWAPPED, DLCode.FLOAT))


@STAGE.fault(_FOREIGN)
def exports_records_as_integers(found: Partners) -> None:
    """Exports structured elements as integers of the same width."""
    _exporting(found, **_as(_RECORD, DLCode.INT))


@STAGE.fault(_NARROW)
def exports_six_bits_as_four(found: Partners) -> None:
    """Exports a 6-bit float with 4 bits."""

    def fields(self: Exporter, version: tuple[int, int] | None, *, copied: bool) -> Any:
        made = Exporter.fields(self, version, copied=copied)
        return replace(made, bits=4) if made.bits == 6 else made

    _exporting(found, fields=fields)


@STAGE.fault(_NARROW)
def says_that_six_bits_have_a_byte(found: Partners) -> None:
    """Sets the flag for padded elements on packed 6-bit floats."""

    def flags(self: Exporter, *, copied: bool) -> int:
        return Exporter.flags(self, copied=copied) | (DLFlags.SUBBYTE_PADDED if self.dtype.bits == 6 else 0)

    _exporting(found, flags=flags)


@STAGE.fault(_STATE)
def exports_lazy_elements_as_they_lie(found: Partners) -> None:
    """Exports an array in a lazy state with the present content of its memory."""
    _exporting(found, check_pending=lambda self: None)


@STAGE.fault(_STATE)
def refuses_lazy_elements_by_a_key(found: Partners) -> None:
    """Refuses an array in a lazy state with ``KeyError``."""

    def check_pending(self: Exporter) -> None:
        if self.pending:
            raise KeyError("pending")

    _exporting(found, check_pending=check_pending)


@STAGE.fault(_RELEASES)
def keeps_what_it_refuses(found: Partners) -> None:
    """Keeps a reference to every array that it refuses to export."""
    kept: list[Exporter] = []

    def check_pending(self: Exporter) -> None:
        kept.append(self)
        Exporter.check_pending(self)

    _exporting(found, check_pending=check_pending)
