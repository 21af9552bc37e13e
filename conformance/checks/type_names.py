"""Checks of the element type that each side reports."""

from __future__ import annotations

from typing import Any, NoReturn

from conformance.adapters.base import Protocol
from conformance.protocols import cai
from conformance.protocols.clauses import Level, Role
from conformance.protocols.dtypes import DType, from_typestr, is_raw

from .codes import Code
from .exchange import Exchange, Source, brief
from .libraries import REFERENCE
from .outcomes import Inconclusive, Side, fail
from .steps import Doing


def expect_typestr(exchange: Exchange, wanted: DType) -> None:
    """Fail if the dictionary names another type, for a type without a letter in the CUDA Array Interface."""
    handed = exchange.handed
    if wanted.typestr is None and handed is not None and isinstance(handed.type, str) and not says(handed.type, wanted):
        fail(
            Code.DTYPE_CHANGED,
            "CAI-03",
            role=Role.PRODUCER,
            reason=f"the producer publishes {wanted.name} as another element type",
            expected=truly(wanted),
            seen=handed.type,
            accused=Side.PRODUCER,
        )


def expect_name(exchange: Exchange, source: Source, taken: Any, seen: str | None) -> None:
    """Fail if the consumer does not report the element type by its usual name."""
    if seen is None:
        raise Inconclusive(f"{exchange.consumer.name} does not report the element type")
    unspoken = exchange.protocol is Protocol.CAI and source.dtype.kind is None
    if seen == source.dtype.name or (unspoken and is_raw(seen)):
        return
    exchange.expect_handed(source)
    intact = exchange.read(taken) == source.values
    if intact:
        _note_other_protocol(exchange, source.dtype)
    type_changed(exchange, source.dtype.name, seen, intact=intact, accused=exchange.reader_at_fault())


def type_changed(exchange: Exchange, wanted: str, seen: str, *, intact: bool, accused: Side | None = None) -> NoReturn:
    """Fail because the consumer reports another type. This is only a deviation if every byte is unchanged: no data are lost."""
    fail(
        Code.DTYPE_CHANGED,
        exchange.reading(),
        role=Role.CONSUMER,
        level=Level.SHOULD if intact else None,
        reason="the consumer reports a wrong element type"
        + (" of the same width, but every byte is unchanged" if intact else ""),
        expected=wanted,
        seen=seen,
        accused=accused,
    )


def _note_other_protocol(exchange: Exchange, kind: DType) -> None:
    """Add a note about the element type that the same consumer reports by the CUDA Array Interface."""
    consumer, device, reference = exchange.consumer, exchange.device, exchange.library(REFERENCE)
    offered = Protocol.CAI in reference.protocols(device)[0] and Protocol.CAI in consumer.protocols(device)[1]
    if exchange.protocol is not Protocol.DLPACK or not offered:
        return
    array = reference.array(kind, (2, 2), bytes(4 * kind.itemsize), device)
    try:
        with exchange.step(Doing.IMPORT, Role.CONSUMER):
            name = consumer.describe(consumer.take(reference.offer(array, Protocol.CAI), Protocol.CAI, device)).dtype
        told = f"imports {kind.name} as {name}"
    except Exception as error:
        exchange.check_context(error)
        told = f"refuses {kind.name}: {brief(error)}"
    exchange.notes["other protocol"] = f"by the CUDA Array Interface {consumer.name} {told}"


def truly(kind: DType) -> str:
    """Return the correct ``typestr`` of this type."""
    return kind.typestr or f"raw bytes, such as |V{kind.itemsize}"


def says(typestr: str, kind: DType) -> bool:
    """Return whether a well-formed ``typestr`` correctly names this type."""
    if kind.typestr is not None:
        return from_typestr(typestr) is kind
    return typestr[1] == "V" and cai.typestr_bytes(typestr) == kind.itemsize
