"""Faults of layout: strides that are wrong, lost, rounded or checked too strictly, and shapes that are empty or very large."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from conformance.protocols import cai, capsule
from conformance.protocols.dlpack import (
    VERSIONED,
    DLDeviceType,
    DLManagedTensor,
    DLManagedTensorVersioned,
    DLTensor,
    Tensor,
)
from conformance.protocols.dtypes import DType, dtype
from conformance.protocols.strided import Strided, c_strides, packed
from conformance.reference.exporter import Exporter
from conformance.reference.importer import Imported, Importer
from conformance.reference.managed import Fields

from . import fault

# -- exporters


@fault("layout.capsule-strides", bugs="strides-48")
class StridesUnsigned(Exporter):
    """Divides a negative stride by an unsigned element size, so that -1 becomes 2**62 - 1 for float32."""

    def dl_strides(self, version: tuple[int, int] | None) -> tuple[int, ...] | None:
        return tuple((s % 2**64) // self.dtype.itemsize for s in self.strides_bytes())


@fault("layout.capsule-strides", bugs="strides-36")
class StridesInBytes(Exporter):
    """Writes strides in bytes into a capsule, which counts them in elements."""

    def dl_strides(self, version: tuple[int, int] | None) -> tuple[int, ...] | None:
        return self.strides_bytes()


@fault("layout.capsule-strides", bugs="strides-05 strides-43")
class StridesNull(Exporter):
    """Writes NULL strides into a capsule of version 1.3 for C-contiguous arrays."""

    def dl_strides(self, version: tuple[int, int] | None) -> tuple[int, ...] | None:
        return None if self.view.contiguous else self.view.strides


@fault("layout.capsule-strides", bugs="strides-44")
class LegacyStridesLost(Exporter):
    """Writes row-major strides into a legacy capsule, whatever the layout."""

    def dl_strides(self, version: tuple[int, int] | None) -> tuple[int, ...] | None:
        return c_strides(self.view.shape) if version is None else super().dl_strides(version)


@fault("layout.interface-strides")
class StridesInElements(Exporter):
    """Publishes strides in elements in the dictionary, which counts them in bytes."""

    def cai_strides(self) -> tuple[int, ...] | None:
        return None if self.view.contiguous else self.view.strides


@fault("layout.interface-strides", "layout.import-strides", bugs="strides-16 strides-37")
class StridesUnpublished(Exporter):
    """Publishes no strides in the dictionary, whatever the layout."""

    def cai_strides(self) -> tuple[int, ...] | None:
        return None


@fault("layout.empty-export", bugs="pointer-04")
class EmptyHasAddress(Exporter):
    """Exports an address other than 0 for an array without elements."""

    def cai_address(self) -> int:
        return self.element0()

    def dl_data(self) -> int:
        return self.element0()


@fault("layout.unit-strides-export", bugs="strides-20")
class UnitStridesChecked(Exporter):
    """Refuses a stride that is not a multiple of the element size even for a dimension of extent 1."""

    def whole_elements(self, extent: int, stride: int) -> int:
        return super().whole_elements(max(extent, 2), stride)


@fault("layout.partial-strides-export", bugs="strides-20")
class PartialStridesRounded(Exporter):
    """Rounds strides that are not a multiple of the element size down."""

    def whole_elements(self, extent: int, stride: int) -> int:
        return stride // self.dtype.itemsize


@fault("layout.padded-rows", bugs="strides-34 strides-38")
class PitchDropped(Exporter):
    """Exports padded rows with packed strides."""

    def dl_strides(self, version: tuple[int, int] | None) -> tuple[int, ...] | None:
        return c_strides(self.view.shape)

    def cai_strides(self) -> tuple[int, ...] | None:
        return None


@fault("layout.empty-export", bugs="pointer-04")
class EmptySliceHasAddress(Exporter):
    """Exports an address other than 0 for an empty slice of a block that has elements."""

    def cai_address(self) -> int:
        return self.element0() if self.block.nbytes else 0

    def dl_data(self) -> int:
        return self.cai_address()


@fault("layout.empty-export", bugs="pointer-02 pointer-06")
class EmptyAddressIsNone(Exporter):
    """Publishes ``None`` as the address of an array without elements."""

    def cai_address(self) -> Any:
        return self.element0() if self.view.size else None


@fault("layout.unit-strides-export", bugs="strides-29")
class ZeroStrideRefused(Exporter):
    """Refuses a stride of 0 even for a dimension of extent 1."""

    def dl_strides(self, version: tuple[int, int] | None) -> tuple[int, ...] | None:
        self.check_repeated()
        return super().dl_strides(version)

    def cai_strides(self) -> tuple[int, ...] | None:
        self.check_repeated()
        return super().cai_strides()

    def check_repeated(self) -> None:
        """Raise ``BufferError`` for a stride of 0, whatever the extent."""
        if 0 in self.strides_bytes():
            raise BufferError("arrays with repeated elements are not exported")


@fault("layout.partial-strides-export", bugs="strides-20")
class PartialStridesRoundedInBytes(Exporter):
    """Rounds the published strides down to a multiple of the element size."""

    def cai_strides(self) -> tuple[int, ...] | None:
        strides, size = super().cai_strides(), self.dtype.itemsize
        return strides and tuple(s // size * size for s in strides)


@fault("layout.partial-strides-export", bugs="stream-17")
class PartialStridesByAttributeError(Exporter):
    """Refuses strides that are not a multiple of the element size with ``AttributeError`` in place of ``BufferError``."""

    def whole_elements(self, extent: int, stride: int) -> int:
        try:
            return super().whole_elements(extent, stride)
        except BufferError as error:
            raise AttributeError(str(error)) from error


@fault("layout.zero-dimensional", "pointer.view-export", bugs="strides-43")
class ScalarOffsetDropped(Exporter):
    """Exports a zero-dimensional view with the address of its block and drops the offset."""

    def element0(self) -> int:
        return super().element0() if self.view.shape else self.block.address


@fault("layout.zero-dimensional")
class ScalarExportedAsVector(Exporter):
    """Exports a zero-dimensional array as a capsule of shape ``(1,)``."""

    def fields(self, version: tuple[int, int] | None, *, copied: bool) -> Fields:
        made = super().fields(version, copied=copied)
        return made if made.shape else replace(made, shape=(1,), strides=(1,))


@fault("layout.rank", "layout.rank-beyond-limits", bugs="strides-18")
class StridesBeyondEightLost(Exporter):
    """Writes 0 as the stride of every dimension after the eighth."""

    def dl_strides(self, version: tuple[int, int] | None) -> tuple[int, ...] | None:
        strides = super().dl_strides(version)
        return strides and (*strides[:8], *(0 for _ in strides[8:]))


@fault("layout.capsule-strides", "layout.interface-strides", bugs="strides-02")
class SliceLengthRoundedDown(Exporter):
    """Exports an extent that is too short by one for a slice with a step."""

    def fields(self, version: tuple[int, int] | None, *, copied: bool) -> Fields:
        return replace(super().fields(version, copied=copied), shape=self.rounded())

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {**super().__cuda_array_interface__, "shape": self.rounded()}

    def rounded(self) -> tuple[int, ...]:
        """Return the shape in which each strided extent is one element too short."""
        whole = packed(self.view.shape)
        return tuple(
            extent - (extent > 1 and stride > step)
            for extent, stride, step in zip(self.view.shape, self.view.strides, whole.strides)
        )


# -- importers


@fault("layout.import-strides", bugs="strides-07 strides-16")
class TransposeForgotten(Importer):
    """Sorts the strides in descending order, so that every array is read in row-major order."""

    def dl_strides(self, tensor: Tensor) -> tuple[int, ...]:
        return tuple(sorted(super().dl_strides(tensor), reverse=True))

    def cai_strides(self, interface: cai.ArrayInterface, dtype: DType) -> tuple[int, ...]:
        return tuple(sorted(super().cai_strides(interface, dtype), reverse=True))


def _check_units(shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
    if any(extent < 2 and s != c for extent, s, c in zip(shape, strides, c_strides(shape))):
        raise BufferError(f"strides {strides} are invalid for shape {shape}")


@fault("layout.unit-strides-import", bugs="strides-32 strides-50 strides-29")
class UnitStridesJudged(Importer):
    """Refuses strides that differ from those of a packed array even for extents of 0 and 1."""

    def dl_strides(self, tensor: Tensor) -> tuple[int, ...]:
        _check_units(tensor.shape, tensor.strides_or_packed)
        return super().dl_strides(tensor)

    def cai_strides(self, interface: cai.ArrayInterface, dtype: DType) -> tuple[int, ...]:
        strides = super().cai_strides(interface, dtype)
        _check_units(interface.shape, tuple(s // dtype.itemsize for s in strides))
        return strides


class _StrictlyContiguous(Imported):
    """An import that is contiguous only if every stride is that of a packed array."""

    @property
    def view(self) -> Strided:
        return _Strict(self.shape, tuple(s // self.dtype.itemsize for s in self.strides))


class _Strict(Strided):
    @property
    def contiguous(self) -> bool:
        return self.strides == c_strides(self.shape)


@fault("layout.contiguity", "layout.unit-strides-import", bugs="strides-26 strides-31")
class UnitStridesDecideContiguity(Importer):
    """Reports an import as not contiguous because of the stride of a dimension of extent 1."""

    def take_capsule(self, offered: Any) -> Imported:
        return self.strict(super().take_capsule(offered))

    def take_cai(self, source: Any) -> Imported:
        return self.strict(super().take_cai(source))

    def strict(self, taken: Imported) -> Imported:
        """Return the same import with the stricter rule for contiguity."""
        taken.__class__ = _StrictlyContiguous
        return taken


@fault("layout.null-strides", "layout.zero-dimensional-null", bugs="strides-08 strides-14")
class NullStridesRefused(Importer):
    """Refuses a capsule with NULL strides."""

    def take_capsule(self, offered: Any) -> Imported:
        taken = super().take_capsule(offered)
        if taken.tensor is not None and not _struct(taken.tensor).strides:
            raise BufferError("NULL strides")
        return taken


def _struct(tensor: Tensor) -> DLTensor:
    """Return the struct itself, because a decoded tensor without dimensions does not show which of its pointers are NULL."""
    kind = DLManagedTensor if tensor.version is None else DLManagedTensorVersioned
    struct: DLTensor = kind.from_address(tensor.address).dl_tensor
    return struct


@fault("layout.null-strides", bugs="strides-08")
class NullStridesColumnMajor(Importer):
    """Reads a capsule with NULL strides in column-major order."""

    def dl_strides(self, tensor: Tensor) -> tuple[int, ...]:
        if tensor.strides is not None:
            return tensor.strides
        return tuple(reversed(c_strides(tuple(reversed(tensor.shape)))))


@fault("layout.stride-forms", bugs="strides-15 strides-11")
class StridesRequired(Importer):
    """Refuses a dictionary without a tuple of strides."""

    def cai_strides(self, interface: cai.ArrayInterface, dtype: DType) -> tuple[int, ...]:
        if interface.strides is None:
            raise TypeError("strides must be a tuple")
        return interface.strides


@fault("layout.stride-forms", bugs="pointer-06")
class ExplicitStridesRefused(Importer):
    """Refuses a dictionary with explicit strides, as if the array were not contiguous."""

    def cai_strides(self, interface: cai.ArrayInterface, dtype: DType) -> tuple[int, ...]:
        if interface.strides is not None:
            raise BufferError("not contiguous")
        return super().cai_strides(interface, dtype)


@fault("layout.partial-strides-import")
class StridesInWholeElements(Importer):
    """Rounds the strides of a dictionary down to a multiple of the element size."""

    def cai_strides(self, interface: cai.ArrayInterface, dtype: DType) -> tuple[int, ...]:
        return tuple(s // dtype.itemsize * dtype.itemsize for s in super().cai_strides(interface, dtype))


@fault("layout.zero-dimensional")
class ScalarBecomesVector(Importer):
    """Imports a zero-dimensional array with shape ``(1,)``."""

    def take_capsule(self, offered: Any) -> Imported:
        return self.vector(super().take_capsule(offered))

    def take_cai(self, source: Any) -> Imported:
        return self.vector(super().take_cai(source))

    def vector(self, taken: Imported) -> Imported:
        if not taken.shape:
            taken.shape, taken.strides = (1,), (taken.dtype.itemsize,)
        return taken


@fault("layout.empty-import", "layout.empty-spelling", bugs="pointer-05 pointer-11 pointer-13")
class NullRefused(Importer):
    """Refuses a NULL pointer even for an array without elements."""

    def dl_address(self, tensor: Tensor) -> int:
        return _not_null(super().dl_address(tensor))

    def cai_address(self, interface: cai.ArrayInterface) -> int:
        return _not_null(super().cai_address(interface))


def _not_null(address: int) -> int:
    if not address:
        raise BufferError("NULL buffer not accepted")
    return address


@fault("layout.empty-spelling")
class EmptyMustBeNull(Importer):
    """Refuses an address other than 0 for an array without elements."""

    def dl_address(self, tensor: Tensor) -> int:
        if 0 in tensor.shape and tensor.data:
            raise BufferError("an empty array must have a NULL pointer")
        return super().dl_address(tensor)


@fault("layout.empty-import")
class EmptyLosesShape(Importer):
    """Imports every array without elements with shape ``(0,)``."""

    def take_capsule(self, offered: Any) -> Imported:
        return self.flat(super().take_capsule(offered))

    def take_cai(self, source: Any) -> Imported:
        return self.flat(super().take_cai(source))

    def flat(self, taken: Imported) -> Imported:
        if 0 in taken.shape:
            taken.shape, taken.strides = (0,), (taken.dtype.itemsize,)
        return taken


@fault("layout.rank", "layout.rank-beyond-limits", bugs="strides-18")
class DimensionsCutOff(Importer):
    """Drops every dimension after the seventh."""

    def take_capsule(self, offered: Any) -> Imported:
        return self.cut(super().take_capsule(offered))

    def take_cai(self, source: Any) -> Imported:
        return self.cut(super().take_cai(source))

    def cut(self, taken: Imported) -> Imported:
        taken.shape, taken.strides = taken.shape[:7], taken.strides[:7]
        return taken


@fault("layout.beyond-2gib", bugs="strides-35")
class StridesIn32Bits(Importer):
    """Truncates strides to 31 bits."""

    def dl_strides(self, tensor: Tensor) -> tuple[int, ...]:
        return tuple(s % 2**31 for s in super().dl_strides(tensor))

    def cai_strides(self, interface: cai.ArrayInterface, dtype: DType) -> tuple[int, ...]:
        return tuple(s % 2**31 for s in super().cai_strides(interface, dtype))


@fault("layout.beyond-2gib", bugs="strides-35")
class ExtentsIn32Bits(Importer):
    """Truncates extents to 31 bits."""

    def take_capsule(self, offered: Any) -> Imported:
        return self.narrow(super().take_capsule(offered))

    def take_cai(self, source: Any) -> Imported:
        return self.narrow(super().take_cai(source))

    def narrow(self, taken: Imported) -> Imported:
        taken.shape = tuple(extent % 2**31 for extent in taken.shape)
        return taken


@fault("layout.refusal-says-why")
class RefusesInSilence(Importer):
    """Refuses an array that is not contiguous with an exception without a message."""

    def take_capsule(self, offered: Any) -> Imported:
        return self.judged(super().take_capsule(offered))

    def take_cai(self, source: Any) -> Imported:
        return self.judged(super().take_cai(source))

    def judged(self, taken: Imported) -> Imported:
        if not taken.view.contiguous:
            raise BufferError
        return taken


@fault("layout.impossible")
class ExtentsUnchecked(Importer):
    """Accepts a negative extent."""

    def check_extents(self, tensor: Tensor) -> None:
        """Skip the check."""


@fault("layout.impossible")
class ElementsCountedIn64Bits(Importer):
    """Counts elements modulo 2**64, and imports an array with a count of 0 as empty."""

    def take_capsule(self, offered: Any) -> Imported:
        taken = super().take_capsule(offered)
        if math.prod(taken.shape) % 2**64 == 0:
            taken.shape, taken.strides = (0,), (taken.dtype.itemsize,)
        return taken


@fault("layout.impossible")
class NegativeRankIsNone(Importer):
    """Reads a negative number of dimensions as 0."""

    def take_capsule(self, offered: Any) -> Imported:
        """Import after setting the field in the struct, so that the decoder agrees."""
        if self.check_name(offered) == VERSIONED:
            tensor = DLManagedTensorVersioned.from_address(capsule.pointer(offered)).dl_tensor
            tensor.ndim = max(tensor.ndim, 0)
        return super().take_capsule(offered)


@fault("layout.import-strides", bugs="strides-48")
class StridesReadUnsigned(Importer):
    """Reads strides as unsigned integers."""

    def dl_strides(self, tensor: Tensor) -> tuple[int, ...]:
        return tuple(s % 2**64 for s in super().dl_strides(tensor))

    def cai_strides(self, interface: cai.ArrayInterface, dtype: DType) -> tuple[int, ...]:
        return tuple(s % 2**64 for s in super().cai_strides(interface, dtype))


@fault("layout.import-strides", "layout.partial-strides-import", bugs="strides-36")
class BytesTakenForElements(Importer):
    """Multiplies the strides of a dictionary by the element size although they are in bytes."""

    def cai_strides(self, interface: cai.ArrayInterface, dtype: DType) -> tuple[int, ...]:
        strides = super().cai_strides(interface, dtype)
        return strides if interface.strides is None else tuple(s * dtype.itemsize for s in strides)


@fault("layout.padded-rows", "layout.import-strides", bugs="strides-25 strides-34 strides-45")
class PixelsFolded(Importer):
    """Ignores the outer stride of an array with packed inner dimensions."""

    def dl_strides(self, tensor: Tensor) -> tuple[int, ...]:
        return _folded(tensor.shape, super().dl_strides(tensor))

    def cai_strides(self, interface: cai.ArrayInterface, dtype: DType) -> tuple[int, ...]:
        size = dtype.itemsize
        strides = tuple(s // size for s in super().cai_strides(interface, dtype))
        return tuple(s * size for s in _folded(interface.shape, strides))


def _folded(shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[int, ...]:
    whole = c_strides(shape)
    return whole if len(shape) > 2 and strides[1:] == whole[1:] else strides


class _AlwaysContiguous(Imported):
    """An import that always reports itself as contiguous."""

    @property
    def view(self) -> Strided:
        return _Flagged(self.shape, tuple(s // self.dtype.itemsize for s in self.strides))


class _Flagged(Strided):
    @property
    def contiguous(self) -> bool:
        return True


@fault("layout.contiguity", bugs="strides-01")
class ContiguityTakenForGranted(Importer):
    """Reports every import as contiguous, whatever its strides."""

    def take_capsule(self, offered: Any) -> Imported:
        return self.flagged(super().take_capsule(offered))

    def take_cai(self, source: Any) -> Imported:
        return self.flagged(super().take_cai(source))

    def flagged(self, taken: Imported) -> Imported:
        """Return the same import with a fixed answer for contiguity."""
        taken.__class__ = _AlwaysContiguous
        return taken


@fault("layout.zero-dimensional-null", bugs="strides-43")
class NullShapeIsEmpty(Importer):
    """Imports a zero-dimensional capsule with a NULL shape as an array without elements."""

    def take_capsule(self, offered: Any) -> Imported:
        taken = super().take_capsule(offered)
        if taken.tensor is not None and not _struct(taken.tensor).shape:
            taken.shape, taken.strides = (0,), (taken.dtype.itemsize,)
        return taken


@fault("layout.rank", "layout.rank-beyond-limits")
class UnitDimensionsDropped(Importer):
    """Drops dimensions of extent 1 from an array with more than eight dimensions."""

    def take_capsule(self, offered: Any) -> Imported:
        return self.squeezed(super().take_capsule(offered))

    def take_cai(self, source: Any) -> Imported:
        return self.squeezed(super().take_cai(source))

    def squeezed(self, taken: Imported) -> Imported:
        if len(taken.shape) > 8:
            kept = [(extent, s) for extent, s in zip(taken.shape, taken.strides) if extent != 1]
            taken.shape, taken.strides = tuple(n for n, _ in kept), tuple(s for _, s in kept)
        return taken


@fault("layout.refusal-says-why")
class RepeatedElementsAsserted(Importer):
    """Fails on a stride of 0 with an ``AssertionError`` without a message."""

    def dl_strides(self, tensor: Tensor) -> tuple[int, ...]:
        return _asserted(super().dl_strides(tensor))

    def cai_strides(self, interface: cai.ArrayInterface, dtype: DType) -> tuple[int, ...]:
        return _asserted(super().cai_strides(interface, dtype))


def _asserted(strides: tuple[int, ...]) -> tuple[int, ...]:
    if 0 in strides:
        raise AssertionError
    return strides


@fault("layout.empty-import", bugs="device-02 pointer-11")
class EmptyOnTheHost(Importer):
    """Reports an import without elements by the array interface as being on the host, because its address is 0."""

    def cai_device(self, interface: cai.ArrayInterface) -> tuple[int, int]:
        return super().cai_device(interface) if interface.address else (int(DLDeviceType.CPU), 0)


@fault("layout.empty-import", "layout.empty-spelling")
class EmptyHasDefaultType(Importer):
    """Imports every array without elements as uint8."""

    def take_capsule(self, offered: Any) -> Imported:
        return self.of_bytes(super().take_capsule(offered))

    def take_cai(self, source: Any) -> Imported:
        return self.of_bytes(super().take_cai(source))

    def of_bytes(self, taken: Imported) -> Imported:
        if 0 in taken.shape:
            taken.dtype, taken.strides = dtype("uint8"), c_strides(taken.shape)
        return taken
