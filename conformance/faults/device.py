"""Faults of devices: a device is reported wrongly, in a wrong form, or lost during the exchange."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from conformance.protocols.dlpack import DLDeviceType, Tensor
from conformance.reference.exporter import Exporter
from conformance.reference.importer import Imported, Importer
from conformance.reference.managed import Fields
from conformance.reference.memory import HostMemory

from . import fault


@fault("device.reported", bugs="device-05")
class DeviceObjectForANumber(Exporter):
    """Returns an object of its own class in place of the device number from ``__dlpack_device__``."""

    def __dlpack_device__(self) -> Any:
        kind, number = super().__dlpack_device__()
        return kind, _Ordinal(number)


class _Ordinal:
    """A device that holds its number but is not an integer."""

    def __init__(self, number: int) -> None:
        self.number = number


@fault("device.reported", "device.reported-empty", bugs="device-20 device-23 device-25")
class CapsuleNamesAnotherDevice(Exporter):
    """Writes pinned memory into the capsule, whatever ``__dlpack_device__`` returns."""

    def fields(self, version: tuple[int, int] | None, *, copied: bool) -> Fields:
        return replace(super().fields(version, copied=copied), device=(DLDeviceType.CUDA_HOST, 0))


@fault("device.reported", bugs="device-25")
class BothNameAnotherDevice(Exporter):
    """Reports managed memory in the capsule and in ``__dlpack_device__`` for memory that is not managed."""

    def device(self) -> tuple[int, int]:
        return DLDeviceType.CUDA_MANAGED, 0


@fault("device.reported", bugs="device-21")
class OneTypeLivesElsewhere(Exporter):
    """Reports device number 1 for arrays of int32."""

    def device(self) -> tuple[int, int]:
        kind, number = super().device()
        return (kind, 1) if self.dtype.name == "int32" else (kind, number)


@fault("device.reported", bugs="device-07")
class HostMemoryCalledDevice(Exporter):
    """Reports CUDA device memory for every export, including host memory."""

    def device(self) -> tuple[int, int]:
        return DLDeviceType.CUDA, 0


@fault("device.reported-empty", bugs="device-02")
class EmptyHasNoDevice(Exporter):
    """Finds the device from the address, and so reports device -1 for an array without elements."""

    def device(self) -> tuple[int, int]:
        kind, number = super().device()
        return (kind, number if self.view.size else -1)


@fault("device.kept", bugs="device-02 device-06 device-19 device-21")
class ImportTellsAnotherDevice(Importer):
    """Reports another device for the import than the producer's array is on."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        return _moved(super().read_tensor(tensor))

    def take_cai(self, source: Any) -> Imported:
        return _moved(super().take_cai(source))


def _moved(taken: Imported) -> Imported:
    taken.device = (taken.device[0], 1)
    return taken


@fault("device.kept", bugs="device-02")
class EmptyImportsLieOnTheHost(Importer):
    """Asks the driver about the address to find the device, and so places imports without elements on the host."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        return self._placed(super().read_tensor(tensor))

    def take_cai(self, source: Any) -> Imported:
        return self._placed(super().take_cai(source))

    def _placed(self, taken: Imported) -> Imported:
        if not taken.view.size:
            taken.device = (DLDeviceType.CPU, 0)
        return taken


@fault("device.kept", bugs="capsule-08")
class ImportForgetsItsDevice(Importer):
    """Reads the device from the capsule after it is consumed, and so raises when the import's device is requested."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        taken = super().read_tensor(tensor)
        del taken.device
        return taken


@fault("device.kept", bugs="device-21 device-06")
class IntegersComeToTheHost(Importer):
    """Copies imported arrays of int32 to the host, as if they could only be shapes."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        taken = super().read_tensor(tensor)
        return self.moved(taken, HostMemory()) if taken.dtype.name == "int32" else taken


@fault("device.memory-kind", bugs="device-29 device-28")
class KindsLookedUp(Importer):
    """Raises ``KeyError`` for pinned and managed memory, because its table of device types lacks both."""

    def check_device(self, device: Any) -> None:
        names = {DLDeviceType.CPU: "cpu", DLDeviceType.CUDA: "cuda"}
        names[device[0]]
        super().check_device(device)


@fault("device.memory-kind", bugs="device-07 device-29")
class ForeignKindIsNotRead(Importer):
    """Reads only zeros from pinned and managed memory."""

    def dl_address(self, tensor: Tensor) -> int:
        return tensor.element0 if tensor.device == self.memory.device else self._zeros()

    def _zeros(self) -> int:
        self._block = self.memory.allocate(1024)
        self.memory.write(self._block.address, bytes(1024))
        return self._block.address
