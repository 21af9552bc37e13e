"""Faults of the array interface: dictionaries that break its form, and readers that take or drop what they should not."""

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
    """The dictionary has no version."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return cai.without(super().__cuda_array_interface__, "version")


@fault("cai.required-keys")
class InterfaceAsTuple(Exporter):
    """The attribute yields the items instead of a dict."""

    @property
    def __cuda_array_interface__(self) -> Any:
        return tuple(super().__cuda_array_interface__.items())


@fault("cai.form")
class ShapeAsList(Exporter):
    """The shape is a list."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        described = super().__cuda_array_interface__
        return {**described, "shape": list(described["shape"])}


@fault("cai.form")
class ReadonlyAsNumber(Exporter):
    """The read-only bit is 0 instead of False."""

    def cai_readonly(self) -> bool:
        """An int."""
        return int(super().cai_readonly())  # type: ignore[return-value]


@fault("cai.form", bugs="strides-12")
class ReversedCountsBackwards(Exporter):
    """An array that runs backwards publishes how many steps back it takes: a negative extent."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        described = super().__cuda_array_interface__
        signs = ((extent, -1 if stride < 0 else 1) for extent, stride in zip(self.view.shape, self.view.strides))
        return {**described, "shape": tuple(extent * sign for extent, sign in signs)}


@fault("cai.form", bugs="stream-10")
class StreamZero(Exporter):
    """The stream is 0, which could mean either default stream."""

    def cai_stream(self) -> int | None:
        """0."""
        return 0


@fault("cai.device-address", bugs="device-07")
class HandleForAddress(Exporter):
    """The dictionary holds the address of the Python object instead of its memory."""

    def cai_address(self) -> int:
        """``id``, which is an address, but on the host."""
        return id(self)


@fault("cai.device-address", bugs="device-06 device-19")
class HostCopyPublished(Exporter):
    """The dictionary holds the address of a copy in pageable memory of the host."""

    def cai_address(self) -> int:
        """The copy's; it lives as long as the array."""
        data = gather(self.memory, self.element0(), self.view, self.dtype.itemsize)
        self._copy = ctypes.create_string_buffer(data, max(len(data), 1))
        return ctypes.addressof(self._copy)


@fault("cai.device-address")
class AddressIn32Bits(Exporter):
    """The address has been through an integer of 32 bits."""

    def cai_address(self) -> int:
        """Its lower half."""
        return super().cai_address() & 0xFFFF_FFFF


@fault("cai.empty-address", bugs="pointer-04 pointer-06")
class EmptyKeepsItsAddress(Exporter):
    """An array without elements publishes where its first element would be."""

    def cai_address(self) -> int:
        """Never 0."""
        return self.element0()


@fault("cai.empty-address")
class EmptyHasAPlaceholder(Exporter):
    """An array without elements has no memory, and publishes a number in its place that is aligned and not 0."""

    def cai_address(self) -> int:
        """What an allocator gives for no bytes where it must not give NULL."""
        return super().cai_address() or ALIGNMENT


@fault("cai.empty-address", "cai.form", bugs="pointer-02 pointer-06")
class EmptyHasNoAddress(Exporter):
    """An array without elements publishes ``None`` for its address."""

    def cai_address(self) -> int:
        """No int."""
        return super().cai_address() or None  # type: ignore[return-value]


@fault("cai.host-absent", bugs="capsule-02")
class HostMemoryPublished(Exporter):
    """An array in host memory has the attribute as well."""

    def check_cai(self) -> None:
        """No refusal."""


@fault("cai.host-absent", bugs="capsule-02")
class HostMemoryRefusedByTypeError(Exporter):
    """Asking a host array for the attribute raises ``TypeError``, so that ``hasattr`` raises too."""

    def check_cai(self) -> None:
        """Another class of exception."""
        try:
            super().check_cai()
        except AttributeError as error:
            raise TypeError(str(error)) from None


@fault("cai.optional-keys", bugs="strides-15")
class StridesKeyRequired(Importer):
    """The reader takes the strides for a key that is always there."""

    def read_cai(self, described: Any) -> cai.ArrayInterface:
        """``KeyError`` without it."""
        described["strides"]
        return super().read_cai(described)


@fault("cai.optional-keys", bugs="strides-11")
class NoneIsNoTuple(Importer):
    """The reader takes strides that are there for a tuple, without a look."""

    def read_cai(self, described: Any) -> cai.ArrayInterface:
        """``TypeError`` for ``None``."""
        tuple(described.get("strides", ()))
        return super().read_cai(described)


@fault("cai.optional-keys", bugs="strides-07")
class NoStridesMeansColumnMajor(Importer):
    """The reader puts the columns of an array without strides where its rows are."""

    def cai_strides(self, interface: cai.ArrayInterface, dtype: DType) -> tuple[int, ...]:
        """Column-major where nothing is said."""
        if interface.strides is not None:
            return interface.strides
        return tuple(s * dtype.itemsize for s in reversed(c_strides(interface.shape[::-1])))


@fault("cai.optional-keys", "cai.versions", bugs="stream-07 stream-10")
class StreamKeyRequired(Importer):
    """The reader asks for the stream whatever the version is, though it may be left out and older ones have none."""

    def read_cai(self, described: Any) -> cai.ArrayInterface:
        """``KeyError`` without it."""
        described["stream"]
        return super().read_cai(described)


@fault("cai.versions")
class LaterVersionsCopied(Importer):
    """The reader sends a version that it does not know down a slow path, which ends in a copy."""

    def cai_address(self, interface: cai.ArrayInterface) -> int:
        """That of a packed array's copy."""
        if interface.version <= cai.NEWEST_VERSION:
            return interface.address
        nbytes = prod(interface.shape) * self.cai_dtype(interface).itemsize
        self._block = self.memory.allocate(nbytes)
        self.memory.write(self._block.address, self.memory.read(interface.address, nbytes))
        return self._block.address


@fault("cai.versions")
class ThisVersionOnly(Importer):
    """The reader refuses every version but its own."""

    def read_cai(self, described: Any) -> cai.ArrayInterface:
        """``ValueError`` for others."""
        if described["version"] != cai.NEWEST_VERSION:
            raise ValueError(f"version {described['version']} is not supported")
        return super().read_cai(described)


@fault("cai.unknown-keys")
class OffsetKeyRead(Importer):
    """The reader adds an ``offset`` that the interface does not have."""

    def read_cai(self, described: Any) -> cai.ArrayInterface:
        """The address moves."""
        address, readonly = described["data"]
        return super().read_cai({**described, "data": (address + described.get("offset", 0), readonly)})


@fault("cai.unknown-keys")
class UnknownKeysRefused(Importer):
    """The reader refuses a dictionary with more keys than it knows."""

    def read_cai(self, described: Any) -> cai.ArrayInterface:
        """``ValueError`` for what is left over."""
        unknown = set(described) - {*cai.REQUIRED, "strides", "descr", "mask", "stream"}
        if unknown:
            raise ValueError(f"unknown keys: {unknown}")
        return super().read_cai(described)


@fault("cai.mask")
class MaskDropped(Importer):
    """The reader overlooks the mask."""

    def check_mask(self, interface: cai.ArrayInterface) -> None:
        """No refusal."""


class _WithoutMask(Imported):
    mask = False
    """As ``numpy.ma.nomask`` is."""


@fault("cai.mask")
class MaskBecomesNoMask(Importer):
    """The reader makes a masked array, whose mask hides nothing."""

    def check_mask(self, interface: cai.ArrayInterface) -> None:
        """No refusal."""

    def take_cai(self, source: Any) -> Imported:
        """With a mask in name."""
        taken = super().take_cai(source)
        taken.__class__ = _WithoutMask
        return taken


@fault("cai.owner-held", bugs="lifetime-05 lifetime-07 lifetime-10")
class OwnerForgotten(Importer):
    """The import does not hold the exporter."""

    def take_cai(self, source: Any) -> Imported:
        """Import, then let go."""
        taken = super().take_cai(source)
        taken.holder = None
        return taken


@fault("cai.malformed")
class MissingTypeIsDouble(Importer):
    """The reader takes a missing typestr for float64, as ``numpy.dtype(None)`` is."""

    def read_cai(self, described: Any) -> cai.ArrayInterface:
        """A default where there is none."""
        return super().read_cai({"typestr": f"{NATIVE_ORDER}f8", **described})


@fault("cai.malformed")
class NegativeExtentsTaken(Importer):
    """The reader takes a shape as it comes, negative extents too."""

    def read_cai(self, described: Any) -> cai.ArrayInterface:
        """Judges all but the shape."""
        shape = described["shape"]
        interface = super().read_cai({**described, "shape": tuple(abs(int(extent)) for extent in shape)})
        return cai.ArrayInterface(**{**vars(interface), "shape": tuple(int(extent) for extent in shape)})


@fault("cai.garbage-address", bugs="device-07")
class AddressUnchecked(Importer):
    """The reader takes any number for an address."""

    def check_address(self, interface: cai.ArrayInterface) -> None:
        """No refusal."""


@fault("cai.owner-held", bugs="lifetime-05 lifetime-15")
class NewestOwnerHeld(Importer):
    """The reader holds the exporter of the newest import, not each import its own."""

    newest: ClassVar[Any] = None

    def take_cai(self, source: Any) -> Imported:
        """Import, and let the last one's exporter go."""
        taken = super().take_cai(source)
        type(self).newest, taken.holder = source, None
        return taken


@fault("cai.garbage-address", bugs="device-07")
class AddressJudgedByItsLooks(Importer):
    """The reader takes any number that could be an address of a user's, without asking the driver."""

    def check_address(self, interface: cai.ArrayInterface) -> None:
        """Neither in the first page, nor beyond a user's half of the address space."""
        if 0 not in interface.shape and not 1 << 12 <= interface.address < 1 << 47:
            raise ValueError(f"{interface.address:#x} does not look like an address")
