"""Checks of the device of an array: the device of its address, and the devices that both sides report."""

from __future__ import annotations

from conformance.adapters.base import Device, Protocol, View
from conformance.cuda import pointers
from conformance.protocols.clauses import Role

from .codes import Code
from .exchange import Exchange, Source
from .outcomes import ACCUSED, fail

Told = tuple[int, int]
"""A DLPack device: type and number."""


def place(exchange: Exchange, address: int, role: Role) -> Told:
    """Return the DLPack device of an address that this side reports. On CUDA the driver decides, otherwise the case does."""
    if exchange.device is not Device.CUDA:
        return exchange.device.dlpack_type, 0
    found = pointers.query(address)
    if found is None:
        by_dlpack = exchange.protocol is Protocol.DLPACK
        cited = {
            Role.PRODUCER: "DLP-59" if by_dlpack else "CAI-05", Role.CONSUMER: "DLP-58" if by_dlpack else "CAI-32",
        }[role]  # fmt: skip
        fail(
            Code.UNKNOWN_ADDRESS,
            cited,
            role=role,
            reason=f"the {role.value} reports an address that the CUDA driver does not know",
            expected="an address of CUDA memory",
            seen=hex(address),
            accused=ACCUSED[role],
        )
    return found.dlpack_device


def expect_home(exchange: Exchange, source: Source, view: View) -> None:
    """Fail if the import is not on the device of the producer's array, or if the consumer reports another device."""
    by_dlpack = exchange.protocol is Protocol.DLPACK
    home = (exchange.device.dlpack_type, 0)
    if source.view.size:
        home = place(exchange, source.address, Role.PRODUCER)
        real = home if view.address == source.address else place(exchange, view.address, Role.CONSUMER)
        _expect_kept(
            real, home, "the consumer's import lies on a wrong device", "DLP-42" if by_dlpack else exchange.sharing()
        )
    if view.device is not None:
        _expect_named(exchange, view.device, home)
        told = "DLP-42" if by_dlpack else "CAI-29" if source.view.size else "CAI-07"
        _expect_kept(view.device, home, "the consumer reports a wrong device", told)


def _expect_named(exchange: Exchange, seen: Told, home: Told) -> None:
    """Fail the producer if the consumer repeats a wrong device of the capsule."""
    named = exchange.handed.device if exchange.handed is not None else None
    if named != home and named == tuple(map(int, seen)):
        fail(
            Code.WRONG_DEVICE, "DLP-15", role=Role.PRODUCER, reason="the producer's capsule names a wrong device",
            expected=f"device {home}", seen=f"device {named}", accused=ACCUSED[Role.PRODUCER],
        )  # fmt: skip


def _expect_kept(seen: Told, home: Told, reason: str, cited: str) -> None:
    if tuple(map(int, seen)) != home:
        fail(
            Code.WRONG_DEVICE, cited, role=Role.CONSUMER, reason=reason,
            expected=home, seen=tuple(map(int, seen)),
        )  # fmt: skip
