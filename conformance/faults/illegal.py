"""Faults with illegal input: it is believed, or it ends in an exception that means a defect."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from conformance.protocols import cai
from conformance.protocols.dlpack import DLDeviceType, Tensor
from conformance.reference.importer import Imported, Importer

from . import fault


@fault("illegal.capsule-device", bugs="device-07 device-30")
class BelievesTheMethod(Importer):
    """The device of a capsule is not read where ``__dlpack_device__`` has been asked."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        """As if the capsule said the same."""
        return super().read_tensor(replace(tensor, device=self.memory.device))


@fault("illegal.capsule-device")
class OtherDevicesAreADefect(Importer):
    """A capsule that names ROCm ends in an assertion."""

    def check_device(self, device: Any) -> None:
        """Which no user can understand."""
        assert int(device[0]) != DLDeviceType.ROCM
        super().check_device(device)


@fault("illegal.null-address", bugs="pointer-02")
class ReadsNull(Importer):
    """Elements at NULL are taken as any others."""

    def check_data(self, tensor: Tensor) -> None:
        """Not looked at."""

    def check_address(self, interface: cai.ArrayInterface) -> None:
        """Not looked at."""


@fault("illegal.null-address")
class LegacyNullIsRead(Importer):
    """The function that reads legacy capsules takes elements at NULL."""

    def check_data(self, tensor: Tensor) -> None:
        """Looked at in a versioned capsule alone."""
        if tensor.version is not None:
            super().check_data(tensor)


@fault("illegal.misaligned-address", bugs="pointer-17")
class RoundsToWideElements(Importer):
    """The address of elements of 8 bytes is rounded down to a multiple of 8."""

    def dl_address(self, tensor: Tensor) -> int:
        """Rounded for this width."""
        address = super().dl_address(tensor)
        return address - address % 8 if tensor.bits == 64 else address


@fault("illegal.null-address")
class NullIsADefect(Importer):
    """Elements at NULL end in an assertion."""

    def check_data(self, tensor: Tensor) -> None:
        """Not meant for users."""
        assert tensor.data or 0 in tensor.shape

    def check_address(self, interface: cai.ArrayInterface) -> None:
        """Not meant for users."""
        assert interface.address or 0 in interface.shape


@fault("illegal.misaligned-address", bugs="pointer-17")
class RoundsToTheElement(Importer):
    """An address is rounded down to the element's size, without a word."""

    def dl_address(self, tensor: Tensor) -> int:
        """Of a capsule."""
        address = super().dl_address(tensor)
        return address - address % (tensor.bits // 8 or 1)

    def cai_address(self, interface: cai.ArrayInterface) -> int:
        """Of a dictionary."""
        return interface.address - interface.address % cai.typestr_bytes(interface.typestr)


@fault("illegal.misaligned-address")
class OddAddressesAreADefect(Importer):
    """An address that is no multiple of the element's size ends in an assertion."""

    def dl_address(self, tensor: Tensor) -> int:
        """Of a capsule."""
        assert not tensor.element0 % (tensor.bits // 8 or 1)
        return super().dl_address(tensor)

    def cai_address(self, interface: cai.ArrayInterface) -> int:
        """Of a dictionary."""
        assert not interface.address % cai.typestr_bytes(interface.typestr)
        return super().cai_address(interface)


@fault("illegal.dictionary-stream", bugs="stream-06 stream-08")
class ZeroIsADefect(Importer):
    """A dictionary that names stream 0 ends in an assertion."""

    def read_cai(self, described: Any) -> cai.ArrayInterface:
        """Before anything else is looked at."""
        assert described.get("stream") != 0
        return super().read_cai(described)


@fault("illegal.dictionary-stream")
class StreamsAreIndices(Importer):
    """The stream of a dictionary is an index into a table of streams, and -1 is beyond its end."""

    def follow(self, published: int | None) -> None:
        """An exception of the table."""
        if published is not None and published < 0:
            raise IndexError(published)
        super().follow(published)


@fault("illegal.dictionary-stream")
class NoStreamNoElements(Importer):
    """An array whose dictionary names a stream that nobody can wait for is read one element late."""

    late = False

    def follow(self, published: int | None) -> None:
        """Remembers it."""
        self.late = published is not None and published < 0
        if not self.late:
            super().follow(published)

    def cai_address(self, interface: cai.ArrayInterface) -> int:
        """One element on."""
        return interface.address + (cai.typestr_bytes(interface.typestr) if self.late else 0)


def _told(described: Any) -> str:
    """The ``typestr`` of the first field of a ``descr``; empty without one."""
    fields = described.get("descr")
    return str(fields[0][1]) if fields else ""


@fault("illegal.descr-width", bugs="strides-15")
class GoesByDescr(Importer):
    """The element type is that of ``descr``, whatever ``typestr`` says."""

    def read_cai(self, described: Any) -> cai.ArrayInterface:
        """With the one in the place of the other."""
        told = _told(described)
        return super().read_cai({**described, "typestr": told, "descr": None} if told else described)


@fault("illegal.descr-width")
class WidthsAreADefect(Importer):
    """A ``descr`` of another width than ``typestr`` ends in an assertion."""

    def read_cai(self, described: Any) -> cai.ArrayInterface:
        """Which no user can understand."""
        told = _told(described)
        assert not told or cai.typestr_bytes(told) == cai.typestr_bytes(described["typestr"])
        return super().read_cai(described)
