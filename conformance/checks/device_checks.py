"""The device of an array, by its address and by the names that both sides give to it."""

from __future__ import annotations

from conformance.adapters.base import Device, Protocol, View
from conformance.cuda import pointers
from conformance.protocols.clauses import Role

from .codes import Code
from .exchange import Exchange, Source
from .outcomes import ACCUSED, fail

Told = tuple[int, int]
"""A device as DLPack writes it: type and number."""


def place(exchange: Exchange, address: int, role: Role) -> Told:
    """Return the DLPack device of an address that this side gives: on CUDA by the driver, else the device of the case."""
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
            reason=f"the driver does not know the address that the {role.value} gives",
            expected="an address of CUDA memory",
            seen=hex(address),
            accused=ACCUSED[role],
        )
    return found.dlpack_device


def expect_home(exchange: Exchange, source: Source, view: View) -> None:
    """Expect that the import lies on the device of the producer's array, and that the consumer says so."""
    by_dlpack = exchange.protocol is Protocol.DLPACK
    home = (exchange.device.dlpack_type, 0)
    if source.view.size:
        home = place(exchange, source.address, Role.PRODUCER)
        real = home if view.address == source.address else place(exchange, view.address, Role.CONSUMER)
        _expect_kept(real, home, "the address of the import", "DLP-42" if by_dlpack else exchange.sharing())
    if view.device is not None:
        _expect_named(exchange, view.device, home)
        told = "DLP-42" if by_dlpack else "CAI-29" if source.view.size else "CAI-07"
        _expect_kept(view.device, home, "the consumer", told)


def _expect_named(exchange: Exchange, seen: Told, home: Told) -> None:
    """Fail if the consumer repeats a wrong device of the capsule: the producer is at fault."""
    named = exchange.handed.device if exchange.handed is not None else None
    if named != home and named == tuple(map(int, seen)):
        fail(
            Code.WRONG_DEVICE, "DLP-15", role=Role.PRODUCER, reason="the capsule names another device than that of the array",
            expected=f"device {home}", seen=f"device {named}", accused=ACCUSED[Role.PRODUCER],
        )  # fmt: skip


def _expect_kept(seen: Told, home: Told, what: str, cited: str) -> None:
    if tuple(map(int, seen)) != home:
        fail(
            Code.WRONG_DEVICE, cited, role=Role.CONSUMER, reason=f"{what} names another device than the producer's array",
            expected=home, seen=tuple(map(int, seen)),
        )  # fmt: skip
