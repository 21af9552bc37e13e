"""Faults of the CUDA Array Interface: malformed dictionaries, and consumers that accept or drop what they must not."""

from __future__ import annotations

import ctypes
from math import prod
from typing import Any, ClassVar

from conformance.protocols import cai
from conformance.protocols.dtypes import NATIVE_ORDER, DType
from conformance.protocols.strided import c_strides
from conformance.reference.exporter import Exporter
from conformance.reference.importer import Imported, Importer
from conformance.reference.memory import ALIGNMENT, gather

from . import fault


@fault("cai.required-keys", "cai.form")
class VersionMissing(Exporter):
    """Publishes a dictionary without ``version``."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return cai.without(super().__cuda_array_interface__, "version")


@fault("cai.required-keys")
class InterfaceAsTuple(Exporter):
    """Publishes a tuple of items in place of a dict."""

    @property
    def __cuda_array_interface__(self) -> Any:
        return tuple(super().__cuda_array_interface__.items())


@fault("cai.form")
class ShapeAsList(Exporter):
    """Publishes the shape as a list."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        described = super().__cuda_array_interface__
        return {**described, "shape": list(described["shape"])}


@fault("cai.form")
class ReadonlyAsNumber(Exporter):
    """Publishes the read-only flag as 0 or 1 in place of a bool."""

    def cai_readonly(self) -> bool:
        return int(super().cai_readonly())  # type: ignore[return-value]


@fault("cai.form", bugs="strides-12")
class ReversedCountsBackwards(Exporter):
    """Publishes a negative extent for a dimension with a negative stride."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        described = super().__cuda_array_interface__
        signs = ((extent, -1 if stride < 0 else 1) for extent, stride in zip(self.view.shape, self.view.strides))
        return {**described, "shape": tuple(extent * sign for extent, sign in signs)}


@fault("cai.form", bugs="stream-10")
class StreamZero(Exporter):
    """Publishes stream 0, which is ambiguous between both default streams."""

    def cai_stream(self) -> int | None:
        return 0


@fault("cai.device-address", bugs="device-07")
class HandleForAddress(Exporter):
    """Publishes the address of the Python object in place of the address of its memory."""

    def cai_address(self) -> int:
        return id(self)


@fault("cai.device-address", bugs="device-06 device-19")
class HostCopyPublished(Exporter):
    """Publishes the address of a copy in pageable host memory."""

    def cai_address(self) -> int:
        data = gather(self.memory, self.element0(), self.view, self.dtype.itemsize)
        self._copy = ctypes.create_string_buffer(data, max(len(data), 1))
        return ctypes.addressof(self._copy)


@fault("cai.device-address")
class AddressIn32Bits(Exporter):
    """Truncates the published address to 32 bits."""

    def cai_address(self) -> int:
        return super().cai_address() & 0xFFFF_FFFF


@fault("cai.empty-address", bugs="pointer-04 pointer-06")
class EmptyKeepsItsAddress(Exporter):
    """Publishes an address other than 0 for an array without elements."""

    def cai_address(self) -> int:
        return self.element0()


@fault("cai.empty-address")
class EmptyHasAPlaceholder(Exporter):
    """Publishes an aligned placeholder address for an array without elements."""

    def cai_address(self) -> int:
        return super().cai_address() or ALIGNMENT


@fault("cai.empty-address", "cai.form", bugs="pointer-02 pointer-06")
class EmptyHasNoAddress(Exporter):
    """Publishes ``None`` as the address of an array without elements."""

    def cai_address(self) -> int:
        return super().cai_address() or None  # type: ignore[return-value]


@fault("cai.host-absent", bugs="capsule-02")
class HostMemoryPublished(Exporter):
    """Publishes the attribute for an array in host memory."""

    def check_cai(self) -> None:
        """Skip the refusal."""


@fault("cai.host-absent", bugs="capsule-02")
class HostMemoryRefusedByTypeError(Exporter):
    """Raises ``TypeError`` for the attribute of a host array, so that ``hasattr`` raises too."""

    def check_cai(self) -> None:
        try:
            super().check_cai()
        except AttributeError as error:
            raise TypeError(str(error)) from None


@fault("cai.optional-keys", bugs="strides-15")
class StridesKeyRequired(Importer):
    """Requires the key ``strides``."""

    def read_cai(self, described: Any) -> cai.ArrayInterface:
        described["strides"]
        return super().read_cai(described)


@fault("cai.optional-keys", bugs="strides-11")
class NoneIsNoTuple(Importer):
    """Requires a tuple in the key ``strides`` and fails on ``None``."""

    def read_cai(self, described: Any) -> cai.ArrayInterface:
        tuple(described.get("strides", ()))
        return super().read_cai(described)


@fault("cai.optional-keys", bugs="strides-07")
class NoStridesMeansColumnMajor(Importer):
    """Reads an array without strides in column-major order."""

    def cai_strides(self, interface: cai.ArrayInterface, dtype: DType) -> tuple[int, ...]:
        if interface.strides is not None:
            return interface.strides
        return tuple(s * dtype.itemsize for s in reversed(c_strides(interface.shape[::-1])))


@fault("cai.optional-keys", "cai.versions", bugs="stream-07 stream-10")
class StreamKeyRequired(Importer):
    """Requires the key ``stream``, which is optional and absent from older versions."""

    def read_cai(self, described: Any) -> cai.ArrayInterface:
        described["stream"]
        return super().read_cai(described)


@fault("cai.versions")
class LaterVersionsCopied(Importer):
    """Copies arrays of interface versions that it does not know."""

    def cai_address(self, interface: cai.ArrayInterface) -> int:
        if interface.version <= cai.NEWEST_VERSION:
            return interface.address
        nbytes = prod(interface.shape) * self.cai_dtype(interface).itemsize
        self._block = self.memory.allocate(nbytes)
        self.memory.write(self._block.address, self.memory.read(interface.address, nbytes))
        return self._block.address


@fault("cai.versions")
class ThisVersionOnly(Importer):
    """Refuses every interface version except its own."""

    def read_cai(self, described: Any) -> cai.ArrayInterface:
        if described["version"] != cai.NEWEST_VERSION:
            raise ValueError(f"version {described['version']} is not supported")
        return super().read_cai(described)


@fault("cai.unknown-keys")
class OffsetKeyRead(Importer):
    """Adds the value of a key ``offset``, which the interface does not have, to the address."""

    def read_cai(self, described: Any) -> cai.ArrayInterface:
        address, readonly = described["data"]
        return super().read_cai({**described, "data": (address + described.get("offset", 0), readonly)})


@fault("cai.unknown-keys")
class UnknownKeysRefused(Importer):
    """Refuses a dictionary with unknown keys."""

    def read_cai(self, described: Any) -> cai.ArrayInterface:
        unknown = set(described) - {*cai.REQUIRED, "strides", "descr", "mask", "stream"}
        if unknown:
            raise ValueError(f"unknown keys: {unknown}")
        return super().read_cai(described)


@fault("cai.mask")
class MaskDropped(Importer):
    """Ignores the mask."""

    def check_mask(self, interface: cai.ArrayInterface) -> None:
        """Skip the refusal."""


class _WithoutMask(Imported):
    mask = False
    """Like ``numpy.ma.nomask``."""


@fault("cai.mask")
class MaskBecomesNoMask(Importer):
    """Imports a masked array with a mask that hides nothing."""

    def check_mask(self, interface: cai.ArrayInterface) -> None:
        """Skip the refusal."""

    def take_cai(self, source: Any) -> Imported:
        taken = super().take_cai(source)
        taken.__class__ = _WithoutMask
        return taken


@fault("cai.owner-held", bugs="lifetime-05 lifetime-07 lifetime-10")
class OwnerForgotten(Importer):
    """Holds no reference to the exporter."""

    def take_cai(self, source: Any) -> Imported:
        taken = super().take_cai(source)
        taken.holder = None
        return taken


@fault("cai.malformed")
class MissingTypeIsDouble(Importer):
    """Reads a missing typestr as float64, as ``numpy.dtype(None)`` does."""

    def read_cai(self, described: Any) -> cai.ArrayInterface:
        return super().read_cai({"typestr": f"{NATIVE_ORDER}f8", **described})


@fault("cai.malformed")
class NegativeExtentsTaken(Importer):
    """Accepts negative extents."""

    def read_cai(self, described: Any) -> cai.ArrayInterface:
        shape = described["shape"]
        interface = super().read_cai({**described, "shape": tuple(abs(int(extent)) for extent in shape)})
        return cai.ArrayInterface(**{**vars(interface), "shape": tuple(int(extent) for extent in shape)})


@fault("cai.garbage-address", bugs="device-07")
class AddressUnchecked(Importer):
    """Accepts any number as an address."""

    def check_address(self, interface: cai.ArrayInterface) -> None:
        """Skip the check."""


@fault("cai.owner-held", bugs="lifetime-05 lifetime-15")
class NewestOwnerHeld(Importer):
    """Holds a reference to the exporter of the latest import only."""

    newest: ClassVar[Any] = None

    def take_cai(self, source: Any) -> Imported:
        taken = super().take_cai(source)
        type(self).newest, taken.holder = source, None
        return taken


@fault("cai.garbage-address", bugs="device-07")
class AddressJudgedByItsLooks(Importer):
    """Accepts any number in the range of user addresses, without asking the driver."""

    def check_address(self, interface: cai.ArrayInterface) -> None:
        if 0 not in interface.shape and not 1 << 12 <= interface.address < 1 << 47:
            raise ValueError(f"{interface.address:#x} does not look like an address")
