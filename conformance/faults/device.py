"""Faults of place: devices that are told wrongly, or not as numbers, or lost on the way."""

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
    """``__dlpack_device__`` answers with an object of the library's own where a number belongs."""

    def __dlpack_device__(self) -> Any:
        kind, number = super().__dlpack_device__()
        return kind, _Ordinal(number)


class _Ordinal:
    """A device that knows its number but is none."""

    def __init__(self, number: int) -> None:
        self.number = number


@fault("device.reported", "device.reported-empty", bugs="device-20 device-23 device-25")
class CapsuleNamesAnotherDevice(Exporter):
    """The capsule says pinned memory, whatever ``__dlpack_device__`` says."""

    def fields(self, version: tuple[int, int] | None, *, copied: bool) -> Fields:
        """With a device of its own."""
        return replace(super().fields(version, copied=copied), device=(DLDeviceType.CUDA_HOST, 0))


@fault("device.reported", bugs="device-25")
class BothNameAnotherDevice(Exporter):
    """Capsule and ``__dlpack_device__`` agree on managed memory, which it is not."""

    def device(self) -> tuple[int, int]:
        """Managed."""
        return DLDeviceType.CUDA_MANAGED, 0


@fault("device.reported", bugs="device-21")
class OneTypeLivesElsewhere(Exporter):
    """Arrays of int32 are said to lie on the device with the number 1."""

    def device(self) -> tuple[int, int]:
        """Wrong for one element type only."""
        kind, number = super().device()
        return (kind, 1) if self.dtype.name == "int32" else (kind, number)


@fault("device.reported", bugs="device-07")
class HostMemoryCalledDevice(Exporter):
    """Whatever is exported is said to be memory of the device, host memory too."""

    def device(self) -> tuple[int, int]:
        """Always CUDA."""
        return DLDeviceType.CUDA, 0


@fault("device.reported-empty", bugs="device-02")
class EmptyHasNoDevice(Exporter):
    """The device is found from the address, so an array without elements has device -1."""

    def device(self) -> tuple[int, int]:
        """Wrong without an address."""
        kind, number = super().device()
        return (kind, number if self.view.size else -1)


@fault("device.kept", bugs="device-02 device-06 device-19 device-21")
class ImportTellsAnotherDevice(Importer):
    """The import says that it lies on another device than the array it was made of."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        """Moved in name."""
        return _moved(super().read_tensor(tensor))

    def take_cai(self, source: Any) -> Imported:
        """Moved in name."""
        return _moved(super().take_cai(source))


def _moved(taken: Imported) -> Imported:
    taken.device = (taken.device[0], 1)
    return taken


@fault("device.kept", bugs="device-02")
class EmptyImportsLieOnTheHost(Importer):
    """The importer asks the driver about the address, which an array without elements has not: such imports are the host's."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        """By the capsule."""
        return self._placed(super().read_tensor(tensor))

    def take_cai(self, source: Any) -> Imported:
        """By the dictionary."""
        return self._placed(super().take_cai(source))

    def _placed(self, taken: Imported) -> Imported:
        if not taken.view.size:
            taken.device = (DLDeviceType.CPU, 0)
        return taken


@fault("device.kept", bugs="capsule-08")
class ImportForgetsItsDevice(Importer):
    """The device is read through something that went with the capsule: asking the import for it raises."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        """Without a device."""
        taken = super().read_tensor(tensor)
        del taken.device
        return taken


@fault("device.kept", bugs="device-21 device-06")
class IntegersComeToTheHost(Importer):
    """Arrays of int32 are copied to the host on the way in, as if they could only be somebody's shape."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        """By the capsule."""
        taken = super().read_tensor(tensor)
        return self.moved(taken, HostMemory()) if taken.dtype.name == "int32" else taken


@fault("device.memory-kind", bugs="device-29 device-28")
class KindsLookedUp(Importer):
    """The importer looks the device type up in a table that has neither pinned nor managed memory."""

    def check_device(self, device: Any) -> None:
        """``KeyError`` for what is not in it."""
        names = {DLDeviceType.CPU: "cpu", DLDeviceType.CUDA: "cuda"}
        names[device[0]]
        super().check_device(device)


@fault("device.memory-kind", bugs="device-07 device-29")
class ForeignKindIsNotRead(Importer):
    """Of memory of another kind than plain device memory only zeros come in."""

    def dl_address(self, tensor: Tensor) -> int:
        """Memory of its own for pinned and managed arrays."""
        return tensor.element0 if tensor.device == self.memory.device else self._zeros()

    def _zeros(self) -> int:
        self._block = self.memory.allocate(1024)
        self.memory.write(self._block.address, bytes(1024))
        return self._block.address
