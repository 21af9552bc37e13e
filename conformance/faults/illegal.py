"""Faults with illegal input: the library accepts it, or raises an exception that signals a bug."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from conformance.protocols import cai
from conformance.protocols.dlpack import DLDeviceType, Tensor
from conformance.reference.importer import Imported, Importer

from . import fault


@fault("illegal.capsule-device", bugs="device-07 device-30")
class BelievesTheMethod(Importer):
    """Ignores the device in the capsule and relies on ``__dlpack_device__``."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        return super().read_tensor(replace(tensor, device=self.memory.device))


@fault("illegal.capsule-device")
class OtherDevicesAreADefect(Importer):
    """Raises ``AssertionError`` for a capsule on a ROCm device."""

    def check_device(self, device: Any) -> None:
        assert int(device[0]) != DLDeviceType.ROCM
        super().check_device(device)


@fault("illegal.null-address", bugs="pointer-02")
class ReadsNull(Importer):
    """Accepts elements at address NULL."""

    def check_data(self, tensor: Tensor) -> None:
        """Skip the check."""

    def check_address(self, interface: cai.ArrayInterface) -> None:
        """Skip the check."""


@fault("illegal.null-address")
class LegacyNullIsRead(Importer):
    """Accepts elements at address NULL in a legacy capsule."""

    def check_data(self, tensor: Tensor) -> None:
        if tensor.version is not None:
            super().check_data(tensor)


@fault("illegal.misaligned-address", bugs="pointer-17")
class RoundsToWideElements(Importer):
    """Rounds the address of 8-byte elements in a capsule down to a multiple of 8."""

    def dl_address(self, tensor: Tensor) -> int:
        address = super().dl_address(tensor)
        return address - address % 8 if tensor.bits == 64 else address


@fault("illegal.null-address")
class NullIsADefect(Importer):
    """Raises ``AssertionError`` for elements at address NULL."""

    def check_data(self, tensor: Tensor) -> None:
        assert tensor.data or 0 in tensor.shape

    def check_address(self, interface: cai.ArrayInterface) -> None:
        assert interface.address or 0 in interface.shape


@fault("illegal.misaligned-address", bugs="pointer-17")
class RoundsToTheElement(Importer):
    """Rounds the address down to a multiple of the element size."""

    def dl_address(self, tensor: Tensor) -> int:
        address = super().dl_address(tensor)
        return address - address % (tensor.bits // 8 or 1)

    def cai_address(self, interface: cai.ArrayInterface) -> int:
        return interface.address - interface.address % cai.typestr_bytes(interface.typestr)


@fault("illegal.misaligned-address")
class OddAddressesAreADefect(Importer):
    """Raises ``AssertionError`` for an address that is not a multiple of the element size."""

    def dl_address(self, tensor: Tensor) -> int:
        assert not tensor.element0 % (tensor.bits // 8 or 1)
        return super().dl_address(tensor)

    def cai_address(self, interface: cai.ArrayInterface) -> int:
        assert not interface.address % cai.typestr_bytes(interface.typestr)
        return super().cai_address(interface)


@fault("illegal.dictionary-stream", bugs="stream-06 stream-08")
class ZeroIsADefect(Importer):
    """Raises ``AssertionError`` for a dictionary with stream 0."""

    def read_cai(self, described: Any) -> cai.ArrayInterface:
        assert described.get("stream") != 0
        return super().read_cai(described)


@fault("illegal.dictionary-stream")
class StreamsAreIndices(Importer):
    """Raises ``IndexError`` for a dictionary with a negative stream."""

    def follow(self, published: int | None) -> None:
        if published is not None and published < 0:
            raise IndexError(published)
        super().follow(published)


@fault("illegal.dictionary-stream")
class NoStreamNoElements(Importer):
    """Starts one element late if the dictionary names a negative stream."""

    late = False

    def follow(self, published: int | None) -> None:
        self.late = published is not None and published < 0
        if not self.late:
            super().follow(published)

    def cai_address(self, interface: cai.ArrayInterface) -> int:
        return interface.address + (cai.typestr_bytes(interface.typestr) if self.late else 0)


def _typestr_of_descr(described: Any) -> str:
    """Return the typestr of the first field of ``descr``, or an empty string if there is none."""
    fields = described.get("descr")
    return str(fields[0][1]) if fields else ""


@fault("illegal.descr-width", bugs="strides-15")
class GoesByDescr(Importer):
    """Takes the element type from ``descr`` in place of ``typestr``."""

    def read_cai(self, described: Any) -> cai.ArrayInterface:
        typestr = _typestr_of_descr(described)
        return super().read_cai({**described, "typestr": typestr, "descr": None} if typestr else described)


@fault("illegal.descr-width")
class WidthsAreADefect(Importer):
    """Raises ``AssertionError`` if ``descr`` has another width than ``typestr``."""

    def read_cai(self, described: Any) -> cai.ArrayInterface:
        typestr = _typestr_of_descr(described)
        assert not typestr or cai.typestr_bytes(typestr) == cai.typestr_bytes(described["typestr"])
        return super().read_cai(described)
