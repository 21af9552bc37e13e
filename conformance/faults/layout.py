"""Faults of layout: strides that are wrong, lost, rounded or taken too seriously; shapes that are too empty or too large."""

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
    """A negative stride is divided by an unsigned element size, so that -1 becomes 2**62 - 1 for float32."""

    def dl_strides(self, version: tuple[int, int] | None) -> tuple[int, ...] | None:
        """Bytes modulo 2**64, then divided."""
        return tuple((s % 2**64) // self.dtype.itemsize for s in self.strides_bytes())


@fault("layout.capsule-strides", bugs="strides-36")
class StridesInBytes(Exporter):
    """A capsule counts its strides in bytes."""

    def dl_strides(self, version: tuple[int, int] | None) -> tuple[int, ...] | None:
        """As the array interface does."""
        return self.strides_bytes()


@fault("layout.capsule-strides", bugs="strides-05 strides-43")
class StridesNull(Exporter):
    """A capsule of version 1.3 leaves the strides of C-contiguous arrays NULL."""

    def dl_strides(self, version: tuple[int, int] | None) -> tuple[int, ...] | None:
        """None if the reader can work them out."""
        return None if self.view.contiguous else self.view.strides


@fault("layout.capsule-strides", bugs="strides-44")
class LegacyStridesLost(Exporter):
    """Only versioned capsules carry the strides."""

    def dl_strides(self, version: tuple[int, int] | None) -> tuple[int, ...] | None:
        """Row-major in a legacy capsule."""
        return c_strides(self.view.shape) if version is None else super().dl_strides(version)


@fault("layout.interface-strides")
class StridesInElements(Exporter):
    """A dictionary counts its strides in elements."""

    def cai_strides(self) -> tuple[int, ...] | None:
        """As DLPack does."""
        return None if self.view.contiguous else self.view.strides


@fault("layout.interface-strides", "layout.import-strides", bugs="strides-16 strides-37")
class StridesUnpublished(Exporter):
    """A dictionary never has strides."""

    def cai_strides(self) -> tuple[int, ...] | None:
        """None, whatever the layout."""
        return None


@fault("layout.empty-export", bugs="pointer-04")
class EmptyHasAddress(Exporter):
    """An array without elements is exported with the address that its first element would have."""

    def cai_address(self) -> int:
        """Whether there is an element or not."""
        return self.element0()

    def dl_data(self) -> int:
        """Whether there is an element or not."""
        return self.element0()


@fault("layout.unit-strides-export", bugs="strides-20")
class UnitStridesChecked(Exporter):
    """An export is refused for a stride that is no multiple of the element size, even where the extent is 1."""

    def whole_elements(self, extent: int, stride: int) -> int:
        """As if every dimension were used."""
        return super().whole_elements(max(extent, 2), stride)


@fault("layout.partial-strides-export", bugs="strides-20")
class PartialStridesRounded(Exporter):
    """Strides that are no multiple of the element size are rounded down."""

    def whole_elements(self, extent: int, stride: int) -> int:
        """Rounded, whoever uses it."""
        return stride // self.dtype.itemsize


@fault("layout.padded-rows", bugs="strides-34 strides-38")
class PitchDropped(Exporter):
    """Rows that the library pads are exported as if they were packed."""

    def dl_strides(self, version: tuple[int, int] | None) -> tuple[int, ...] | None:
        """Row-major."""
        return c_strides(self.view.shape)

    def cai_strides(self) -> tuple[int, ...] | None:
        """Row-major."""
        return None


@fault("layout.empty-export", bugs="pointer-04")
class EmptySliceHasAddress(Exporter):
    """Only of an empty block is the address left out: an empty slice of one with elements keeps the place where it begins."""

    def cai_address(self) -> int:
        """By the block's size, not by the view's."""
        return self.element0() if self.block.nbytes else 0

    def dl_data(self) -> int:
        """By the block's size, not by the view's."""
        return self.cai_address()


@fault("layout.empty-export", bugs="pointer-02 pointer-06")
class EmptyAddressIsNone(Exporter):
    """The dictionary of an array without elements has ``None`` where the address should be an int."""

    def cai_address(self) -> Any:
        """None for none."""
        return self.element0() if self.view.size else None


@fault("layout.unit-strides-export", bugs="strides-29")
class ZeroStrideRefused(Exporter):
    """A stride of 0 is taken for a repeated element, which is not exported, even where the extent is 1."""

    def dl_strides(self, version: tuple[int, int] | None) -> tuple[int, ...] | None:
        """Only without zeros."""
        self.check_repeated()
        return super().dl_strides(version)

    def cai_strides(self) -> tuple[int, ...] | None:
        """Only without zeros."""
        self.check_repeated()
        return super().cai_strides()

    def check_repeated(self) -> None:
        """Whatever the extents."""
        if 0 in self.strides_bytes():
            raise BufferError("arrays with repeated elements are not exported")


@fault("layout.partial-strides-export", bugs="strides-20")
class PartialStridesRoundedInBytes(Exporter):
    """A dictionary states strides in bytes that have been whole elements on the way."""

    def cai_strides(self) -> tuple[int, ...] | None:
        """Divided and multiplied again."""
        strides, size = super().cai_strides(), self.dtype.itemsize
        return strides and tuple(s // size * size for s in strides)


@fault("layout.partial-strides-export", bugs="stream-17")
class PartialStridesByAttributeError(Exporter):
    """Strides that are no whole elements are refused, but not with the exception that the protocol names."""

    def whole_elements(self, extent: int, stride: int) -> int:
        """The right answer in the wrong words."""
        try:
            return super().whole_elements(extent, stride)
        except BufferError as error:
            raise AttributeError(str(error)) from error


@fault("layout.zero-dimensional", "pointer.view-export", bugs="strides-43")
class ScalarOffsetDropped(Exporter):
    """An array without dimensions is exported from the start of its block, whichever element of it it is."""

    def element0(self) -> int:
        """With the offset only if there are dimensions."""
        return super().element0() if self.view.shape else self.block.address


@fault("layout.zero-dimensional")
class ScalarExportedAsVector(Exporter):
    """A capsule has at least one dimension."""

    def fields(self, version: tuple[int, int] | None, *, copied: bool) -> Fields:
        """With shape (1,) instead of ()."""
        made = super().fields(version, copied=copied)
        return made if made.shape else replace(made, shape=(1,), strides=(1,))


@fault("layout.rank", "layout.rank-beyond-limits", bugs="strides-18")
class StridesBeyondEightLost(Exporter):
    """A capsule has room for eight strides, and those of later dimensions stay 0."""

    def dl_strides(self, version: tuple[int, int] | None) -> tuple[int, ...] | None:
        """Eight, then zeros."""
        strides = super().dl_strides(version)
        return strides and (*strides[:8], *(0 for _ in strides[8:]))


@fault("layout.capsule-strides", "layout.interface-strides", bugs="strides-02")
class SliceLengthRoundedDown(Exporter):
    """An extent in which elements are left out between others is too short by one."""

    def fields(self, version: tuple[int, int] | None, *, copied: bool) -> Fields:
        """With fewer elements."""
        return replace(super().fields(version, copied=copied), shape=self.rounded())

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {**super().__cuda_array_interface__, "shape": self.rounded()}

    def rounded(self) -> tuple[int, ...]:
        """What is left of the shape."""
        whole = packed(self.view.shape)
        return tuple(
            extent - (extent > 1 and stride > step)
            for extent, stride, step in zip(self.view.shape, self.view.strides, whole.strides)
        )


# -- importers


@fault("layout.import-strides", bugs="strides-07 strides-16")
class TransposeForgotten(Importer):
    """The importer sorts the strides, so that every array is read in row-major order."""

    def dl_strides(self, tensor: Tensor) -> tuple[int, ...]:
        """Largest first."""
        return tuple(sorted(super().dl_strides(tensor), reverse=True))

    def cai_strides(self, interface: cai.ArrayInterface, dtype: DType) -> tuple[int, ...]:
        """Largest first."""
        return tuple(sorted(super().cai_strides(interface, dtype), reverse=True))


def _check_units(shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
    if any(extent < 2 and s != c for extent, s, c in zip(shape, strides, c_strides(shape))):
        raise BufferError(f"strides {strides} are invalid for shape {shape}")


@fault("layout.unit-strides-import", bugs="strides-32 strides-50 strides-29")
class UnitStridesJudged(Importer):
    """The importer refuses strides that are not canonical, even where the extent is 1 or there is no element."""

    def dl_strides(self, tensor: Tensor) -> tuple[int, ...]:
        """Compared with those of a packed array."""
        _check_units(tensor.shape, tensor.strides_or_packed)
        return super().dl_strides(tensor)

    def cai_strides(self, interface: cai.ArrayInterface, dtype: DType) -> tuple[int, ...]:
        """Compared with those of a packed array."""
        strides = super().cai_strides(interface, dtype)
        _check_units(interface.shape, tuple(s // dtype.itemsize for s in strides))
        return strides


class _StrictlyContiguous(Imported):
    """Takes itself for contiguous only if every stride is canonical."""

    @property
    def view(self) -> Strided:
        """With every extent counted as if it were used."""
        return _Strict(self.shape, tuple(s // self.dtype.itemsize for s in self.strides))


class _Strict(Strided):
    @property
    def contiguous(self) -> bool:
        """Every stride counts."""
        return self.strides == c_strides(self.shape)


@fault("layout.contiguity", "layout.unit-strides-import", bugs="strides-26 strides-31")
class UnitStridesDecideContiguity(Importer):
    """The importer takes an array for contiguous only if the strides of extents of 1 are canonical too."""

    def take_capsule(self, offered: Any) -> Imported:
        """Another kind of array."""
        return self.strict(super().take_capsule(offered))

    def take_cai(self, source: Any) -> Imported:
        """Another kind of array."""
        return self.strict(super().take_cai(source))

    def strict(self, taken: Imported) -> Imported:
        """The same import with another notion of contiguity."""
        taken.__class__ = _StrictlyContiguous
        return taken


@fault("layout.null-strides", "layout.zero-dimensional-null", bugs="strides-08 strides-14")
class NullStridesRefused(Importer):
    """The importer refuses a capsule without strides."""

    def take_capsule(self, offered: Any) -> Imported:
        """Only with both pointers."""
        taken = super().take_capsule(offered)
        if taken.tensor is not None and not _struct(taken.tensor).strides:
            raise BufferError("NULL strides")
        return taken


def _struct(tensor: Tensor) -> DLTensor:
    """The struct itself, because a decoded tensor without dimensions does not tell which pointers are there."""
    kind = DLManagedTensor if tensor.version is None else DLManagedTensorVersioned
    struct: DLTensor = kind.from_address(tensor.address).dl_tensor
    return struct


@fault("layout.null-strides", bugs="strides-08")
class NullStridesColumnMajor(Importer):
    """The importer reads a capsule without strides column by column."""

    def dl_strides(self, tensor: Tensor) -> tuple[int, ...]:
        """First dimension fastest, where nothing was said."""
        if tensor.strides is not None:
            return tensor.strides
        return tuple(reversed(c_strides(tuple(reversed(tensor.shape)))))


@fault("layout.stride-forms", bugs="strides-15 strides-11")
class StridesRequired(Importer):
    """The importer needs the key ``strides``, and a tuple in it."""

    def cai_strides(self, interface: cai.ArrayInterface, dtype: DType) -> tuple[int, ...]:
        """Or else."""
        if interface.strides is None:
            raise TypeError("strides must be a tuple")
        return interface.strides


@fault("layout.stride-forms", bugs="pointer-06")
class ExplicitStridesRefused(Importer):
    """The importer takes explicit strides for a sign of an array that is not contiguous, and refuses it."""

    def cai_strides(self, interface: cai.ArrayInterface, dtype: DType) -> tuple[int, ...]:
        """Only without."""
        if interface.strides is not None:
            raise BufferError("not contiguous")
        return super().cai_strides(interface, dtype)


@fault("layout.partial-strides-import")
class StridesInWholeElements(Importer):
    """The importer rounds strides down to whole elements."""

    def cai_strides(self, interface: cai.ArrayInterface, dtype: DType) -> tuple[int, ...]:
        """Divided and multiplied again."""
        return tuple(s // dtype.itemsize * dtype.itemsize for s in super().cai_strides(interface, dtype))


@fault("layout.zero-dimensional")
class ScalarBecomesVector(Importer):
    """The importer makes one dimension of none."""

    def take_capsule(self, offered: Any) -> Imported:
        """At least one dimension."""
        return self.vector(super().take_capsule(offered))

    def take_cai(self, source: Any) -> Imported:
        """At least one dimension."""
        return self.vector(super().take_cai(source))

    def vector(self, taken: Imported) -> Imported:
        """With shape (1,) instead of ()."""
        if not taken.shape:
            taken.shape, taken.strides = (1,), (taken.dtype.itemsize,)
        return taken


@fault("layout.empty-import", "layout.empty-spelling", bugs="pointer-05 pointer-11 pointer-13")
class NullRefused(Importer):
    """The importer refuses a NULL pointer, even for an array without elements."""

    def dl_address(self, tensor: Tensor) -> int:
        """Any but NULL."""
        return _not_null(super().dl_address(tensor))

    def cai_address(self, interface: cai.ArrayInterface) -> int:
        """Any but NULL."""
        return _not_null(super().cai_address(interface))


def _not_null(address: int) -> int:
    if not address:
        raise BufferError("NULL buffer not accepted")
    return address


@fault("layout.empty-spelling")
class EmptyMustBeNull(Importer):
    """The importer refuses a valid pointer for an array without elements."""

    def dl_address(self, tensor: Tensor) -> int:
        """Only NULL."""
        if 0 in tensor.shape and tensor.data:
            raise BufferError("an empty array must have a NULL pointer")
        return super().dl_address(tensor)


@fault("layout.empty-import")
class EmptyLosesShape(Importer):
    """The importer makes the same empty vector of every array without elements."""

    def take_capsule(self, offered: Any) -> Imported:
        """Forget the shape."""
        return self.flat(super().take_capsule(offered))

    def take_cai(self, source: Any) -> Imported:
        """Forget the shape."""
        return self.flat(super().take_cai(source))

    def flat(self, taken: Imported) -> Imported:
        """With shape (0,)."""
        if 0 in taken.shape:
            taken.shape, taken.strides = (0,), (taken.dtype.itemsize,)
        return taken


@fault("layout.rank", "layout.rank-beyond-limits", bugs="strides-18")
class DimensionsCutOff(Importer):
    """The importer has room for seven dimensions and drops the others."""

    def take_capsule(self, offered: Any) -> Imported:
        """The first seven."""
        return self.cut(super().take_capsule(offered))

    def take_cai(self, source: Any) -> Imported:
        """The first seven."""
        return self.cut(super().take_cai(source))

    def cut(self, taken: Imported) -> Imported:
        """Without what does not fit."""
        taken.shape, taken.strides = taken.shape[:7], taken.strides[:7]
        return taken


@fault("layout.beyond-2gib", bugs="strides-35")
class StridesIn32Bits(Importer):
    """The importer keeps strides in 32 bits."""

    def dl_strides(self, tensor: Tensor) -> tuple[int, ...]:
        """What is left of them."""
        return tuple(s % 2**31 for s in super().dl_strides(tensor))

    def cai_strides(self, interface: cai.ArrayInterface, dtype: DType) -> tuple[int, ...]:
        """What is left of them."""
        return tuple(s % 2**31 for s in super().cai_strides(interface, dtype))


@fault("layout.beyond-2gib", bugs="strides-35")
class ExtentsIn32Bits(Importer):
    """The importer keeps extents in 32 bits."""

    def take_capsule(self, offered: Any) -> Imported:
        """What is left of them."""
        return self.narrow(super().take_capsule(offered))

    def take_cai(self, source: Any) -> Imported:
        """What is left of them."""
        return self.narrow(super().take_cai(source))

    def narrow(self, taken: Imported) -> Imported:
        """The same import with the lower 31 bits of every extent."""
        taken.shape = tuple(extent % 2**31 for extent in taken.shape)
        return taken


@fault("layout.refusal-says-why")
class RefusesInSilence(Importer):
    """The importer takes only packed arrays, and does not say so when it refuses another."""

    def take_capsule(self, offered: Any) -> Imported:
        """Packed or nothing."""
        return self.judged(super().take_capsule(offered))

    def take_cai(self, source: Any) -> Imported:
        """Packed or nothing."""
        return self.judged(super().take_cai(source))

    def judged(self, taken: Imported) -> Imported:
        """Refuse without a word."""
        if not taken.view.contiguous:
            raise BufferError
        return taken


@fault("layout.impossible")
class ExtentsUnchecked(Importer):
    """The importer takes an extent below zero."""

    def check_extents(self, tensor: Tensor) -> None:
        """Whatever they are."""


@fault("layout.impossible")
class ElementsCountedIn64Bits(Importer):
    """A number of elements that wraps around to 0 makes the import an empty array."""

    def take_capsule(self, offered: Any) -> Imported:
        """Empty by the product of the extents, in 64 bits."""
        taken = super().take_capsule(offered)
        if math.prod(taken.shape) % 2**64 == 0:
            taken.shape, taken.strides = (0,), (taken.dtype.itemsize,)
        return taken


@fault("layout.impossible")
class NegativeRankIsNone(Importer):
    """A number of dimensions below zero is taken for none."""

    def take_capsule(self, offered: Any) -> Imported:
        """The field is changed so that the decoder agrees."""
        if self.check_name(offered) == VERSIONED:
            tensor = DLManagedTensorVersioned.from_address(capsule.pointer(offered)).dl_tensor
            tensor.ndim = max(tensor.ndim, 0)
        return super().take_capsule(offered)


@fault("layout.import-strides", bugs="strides-48")
class StridesReadUnsigned(Importer):
    """The importer reads strides as unsigned numbers."""

    def dl_strides(self, tensor: Tensor) -> tuple[int, ...]:
        """Modulo 2**64."""
        return tuple(s % 2**64 for s in super().dl_strides(tensor))

    def cai_strides(self, interface: cai.ArrayInterface, dtype: DType) -> tuple[int, ...]:
        """Modulo 2**64."""
        return tuple(s % 2**64 for s in super().cai_strides(interface, dtype))


@fault("layout.import-strides", "layout.partial-strides-import", bugs="strides-36")
class BytesTakenForElements(Importer):
    """The importer takes a dictionary's strides for numbers of elements, as DLPack has them."""

    def cai_strides(self, interface: cai.ArrayInterface, dtype: DType) -> tuple[int, ...]:
        """Once too often multiplied."""
        strides = super().cai_strides(interface, dtype)
        return strides if interface.strides is None else tuple(s * dtype.itemsize for s in strides)


@fault("layout.padded-rows", "layout.import-strides", bugs="strides-25 strides-34 strides-45")
class PixelsFolded(Importer):
    """Where the inner dimensions are packed the importer makes one of them, and forgets the outer stride."""

    def dl_strides(self, tensor: Tensor) -> tuple[int, ...]:
        """Row-major if the inner dimensions are."""
        return _folded(tensor.shape, super().dl_strides(tensor))

    def cai_strides(self, interface: cai.ArrayInterface, dtype: DType) -> tuple[int, ...]:
        """Row-major if the inner dimensions are."""
        size = dtype.itemsize
        strides = tuple(s // size for s in super().cai_strides(interface, dtype))
        return tuple(s * size for s in _folded(interface.shape, strides))


def _folded(shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[int, ...]:
    whole = c_strides(shape)
    return whole if len(shape) > 2 and strides[1:] == whole[1:] else strides


class _AlwaysContiguous(Imported):
    """Takes itself for contiguous."""

    @property
    def view(self) -> Strided:
        """With the answer fixed."""
        return _Flagged(self.shape, tuple(s // self.dtype.itemsize for s in self.strides))


class _Flagged(Strided):
    @property
    def contiguous(self) -> bool:
        """A flag that nobody computes."""
        return True


@fault("layout.contiguity", bugs="strides-01")
class ContiguityTakenForGranted(Importer):
    """The importer calls every import contiguous, whatever its strides."""

    def take_capsule(self, offered: Any) -> Imported:
        """Another kind of array."""
        return self.flagged(super().take_capsule(offered))

    def take_cai(self, source: Any) -> Imported:
        """Another kind of array."""
        return self.flagged(super().take_cai(source))

    def flagged(self, taken: Imported) -> Imported:
        """The same import with another notion of contiguity."""
        taken.__class__ = _AlwaysContiguous
        return taken


@fault("layout.zero-dimensional-null", bugs="strides-43")
class NullShapeIsEmpty(Importer):
    """The importer takes a capsule without shape for an array without elements."""

    def take_capsule(self, offered: Any) -> Imported:
        """No shape, no elements."""
        taken = super().take_capsule(offered)
        if taken.tensor is not None and not _struct(taken.tensor).shape:
            taken.shape, taken.strides = (0,), (taken.dtype.itemsize,)
        return taken


@fault("layout.rank", "layout.rank-beyond-limits")
class UnitDimensionsDropped(Importer):
    """What has more dimensions than the importer has room for loses those of extent 1."""

    def take_capsule(self, offered: Any) -> Imported:
        """At most eight, if that is enough."""
        return self.squeezed(super().take_capsule(offered))

    def take_cai(self, source: Any) -> Imported:
        """At most eight, if that is enough."""
        return self.squeezed(super().take_cai(source))

    def squeezed(self, taken: Imported) -> Imported:
        """The same elements with fewer dimensions."""
        if len(taken.shape) > 8:
            kept = [(extent, s) for extent, s in zip(taken.shape, taken.strides) if extent != 1]
            taken.shape, taken.strides = tuple(n for n, _ in kept), tuple(s for _, s in kept)
        return taken


@fault("layout.refusal-says-why")
class RepeatedElementsAsserted(Importer):
    """The importer was not made for stride 0, and stops at an assertion that says nothing."""

    def dl_strides(self, tensor: Tensor) -> tuple[int, ...]:
        """Only without zeros."""
        return _asserted(super().dl_strides(tensor))

    def cai_strides(self, interface: cai.ArrayInterface, dtype: DType) -> tuple[int, ...]:
        """Only without zeros."""
        return _asserted(super().cai_strides(interface, dtype))


def _asserted(strides: tuple[int, ...]) -> tuple[int, ...]:
    if 0 in strides:
        raise AssertionError
    return strides


@fault("layout.empty-import", bugs="device-02 pointer-11")
class EmptyOnTheHost(Importer):
    """Where the array interface gives no address the driver is asked in vain, and the import is taken for one in host memory."""

    def cai_device(self, interface: cai.ArrayInterface) -> tuple[int, int]:
        """By the address, which there is not."""
        return super().cai_device(interface) if interface.address else (int(DLDeviceType.CPU), 0)


@fault("layout.empty-import", "layout.empty-spelling")
class EmptyHasDefaultType(Importer):
    """Every array without elements is one of bytes."""

    def take_capsule(self, offered: Any) -> Imported:
        """Another element type."""
        return self.of_bytes(super().take_capsule(offered))

    def take_cai(self, source: Any) -> Imported:
        """Another element type."""
        return self.of_bytes(super().take_cai(source))

    def of_bytes(self, taken: Imported) -> Imported:
        """The same nothing of another type."""
        if 0 in taken.shape:
            taken.dtype, taken.strides = dtype("uint8"), c_strides(taken.shape)
        return taken
