"""The structs of DLPack, and what is read out of them."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from conformance.protocols import dlpack
from conformance.protocols.dlpack import (
    LEGACY,
    USED_LEGACY,
    USED_VERSIONED,
    VERSIONED,
    DLDeviceType,
    DLFlags,
    DLManagedTensor,
    DLManagedTensorVersioned,
    DLTensor,
    Malformed,
)

KEPT: list[Struct] = []
"""Addresses keep nothing alive."""


class Struct:
    """A filled struct with the shape and strides that it points to."""

    def __init__(
        self, kind: type[Any], shape: tuple[int, ...] = (2, 3), strides: tuple[int, ...] | None = (3, 1)
    ) -> None:
        self.shape = (ctypes.c_int64 * len(shape))(*shape)
        self.strides = None if strides is None else (ctypes.c_int64 * len(strides))(*strides)
        self.struct = kind()
        self.struct.deleter = 2048
        if kind is DLManagedTensorVersioned:
            self.struct.version.major, self.struct.version.minor, self.struct.flags = 1, 3, 2
        tensor = self.struct.dl_tensor
        tensor.data, tensor.byte_offset, tensor.ndim = 4096, 64, len(shape)
        tensor.device.device_type, tensor.device.device_id = 2, 5
        tensor.dtype.code, tensor.dtype.bits, tensor.dtype.lanes = 2, 32, 1
        tensor.shape = ctypes.addressof(self.shape) if shape else None
        tensor.strides = ctypes.addressof(self.strides) if strides else None
        KEPT.append(self)

    @property
    def address(self) -> int:
        """Of the struct."""
        return ctypes.addressof(self.struct)


def test_devices_and_flags_have_the_numbers_of_the_header() -> None:
    """A number that slips by one would look for an array on another device (DLP-07, DLP-15)."""
    assert {device.name: int(device) for device in DLDeviceType} == {
        "CPU": 1, "CUDA": 2, "CUDA_HOST": 3, "OPENCL": 4, "VULKAN": 7, "METAL": 8, "VPI": 9, "ROCM": 10, "ROCM_HOST": 11,
        "EXT_DEV": 12, "CUDA_MANAGED": 13, "ONEAPI": 14, "WEBGPU": 15, "HEXAGON": 16, "MAIA": 17, "TRN": 18,
    }  # fmt: skip
    assert [int(flag) for flag in (DLFlags.NONE, DLFlags.READ_ONLY, DLFlags.IS_COPIED, DLFlags.SUBBYTE_PADDED)] == [
        0,
        1,
        2,
        4,
    ]


def test_capsules_have_the_names_of_the_specification() -> None:
    """A producer gives the first of each two, and the consumer renames to the second (DLP-01, DLP-25)."""
    assert (LEGACY, USED_LEGACY) == (b"dltensor", b"used_dltensor")
    assert (VERSIONED, USED_VERSIONED) == (b"dltensor_versioned", b"used_dltensor_versioned")


def test_the_structs_have_the_sizes_of_the_header() -> None:
    """As a C compiler lays them out on a machine with pointers of 8 bytes."""
    assert [ctypes.sizeof(kind) for kind in (DLTensor, DLManagedTensor, DLManagedTensorVersioned)] == [48, 64, 80]


def test_what_must_stay_in_place_across_versions_is_in_its_place() -> None:
    """Version, context, deleter and flags, in this order (DLP-06)."""
    offsets = [getattr(DLManagedTensorVersioned, n).offset for n in ("version", "manager_ctx", "deleter", "flags")]
    assert offsets == [0, 8, 16, 24]
    assert [getattr(DLManagedTensor, n).offset for n in ("dl_tensor", "manager_ctx", "deleter")] == [0, 48, 56]


@pytest.mark.parametrize("name", [VERSIONED, USED_VERSIONED])
def test_a_versioned_struct_is_copied_out_in_full(name: bytes) -> None:
    """Version, flags, and its own and its deleter's address included, under either name."""
    made = Struct(DLManagedTensorVersioned)
    tensor = dlpack.decode(made.address, name)
    assert (tensor.version, tensor.flags, tensor.shape, tensor.strides) == ((1, 3), 2, (2, 3), (3, 1))
    assert (tensor.device, tensor.code, tensor.bits, tensor.lanes) == ((2, 5), 2, 32, 1)
    assert (tensor.address, tensor.data, tensor.byte_offset, tensor.deleter) == (made.address, 4096, 64, 2048)


@pytest.mark.parametrize("name", [LEGACY, USED_LEGACY])
def test_a_legacy_struct_has_neither_version_nor_flags(name: bytes) -> None:
    """The name alone says which struct it is (I23)."""
    made = Struct(DLManagedTensor)
    tensor = dlpack.decode(made.address, name)
    assert (tensor.version, tensor.flags, tensor.shape) == (None, None, (2, 3))
    assert (tensor.address, tensor.data, tensor.byte_offset, tensor.deleter) == (made.address, 4096, 64, 2048)


@pytest.mark.parametrize(("kind", "name"), [(DLManagedTensor, LEGACY), (DLManagedTensorVersioned, VERSIONED)])
def test_null_pointers_read_as_address_0(kind: type[Any], name: bytes) -> None:
    """No data and no deleter are both allowed, and neither may pass for something."""
    made = Struct(kind, (0,))
    made.struct.dl_tensor.data = made.struct.deleter = None
    tensor = dlpack.decode(made.address, name)
    assert (tensor.data, tensor.deleter) == (0, 0)


def test_the_first_element_is_at_data_plus_byte_offset() -> None:
    """Importers add the two (DLP-17)."""
    assert dlpack.decode(Struct(DLManagedTensor).address, LEGACY).element0 == 4096 + 64


def test_null_strides_stay_visible_and_mean_packed() -> None:
    """What was said and what it means are two attributes (DLP-20)."""
    tensor = dlpack.decode(Struct(DLManagedTensor, strides=None).address, LEGACY)
    assert (tensor.strides, tensor.strides_or_packed) == (None, (3, 1))


def test_strides_that_are_given_are_what_they_say() -> None:
    """Packed is only what stands for NULL (DLP-20)."""
    tensor = dlpack.decode(Struct(DLManagedTensor, strides=(1, 2)).address, LEGACY)
    assert (tensor.strides, tensor.strides_or_packed) == ((1, 2), (1, 2))


def test_a_scalar_needs_neither_shape_nor_strides() -> None:
    """Both pointers may be NULL then (DLP-22)."""
    tensor = dlpack.decode(Struct(DLManagedTensor, (), None).address, LEGACY)
    assert (tensor.shape, tensor.strides, tensor.strides_or_packed) == ((), (), ())


def test_nothing_behind_a_foreign_major_version_is_read() -> None:
    """The layout there is unknown (DLP-04)."""
    made = Struct(DLManagedTensorVersioned)
    made.struct.version.major = 2
    with pytest.raises(Malformed, match="major version 2"):
        dlpack.decode(made.address, VERSIONED)


@pytest.mark.parametrize("ndim", [-1, dlpack.MAX_NDIM + 1])
def test_an_absurd_rank_is_not_followed(ndim: int) -> None:
    """Reading that many extents would read anything."""
    made = Struct(DLManagedTensor)
    made.struct.dl_tensor.ndim = ndim
    with pytest.raises(Malformed, match="ndim"):
        dlpack.decode(made.address, LEGACY)


def test_the_highest_rank_that_is_followed_is_read() -> None:
    """The limit is against garbage; the rank itself is still an array's."""
    shape = (1,) * dlpack.MAX_NDIM
    assert dlpack.decode(Struct(DLManagedTensor, shape, None).address, LEGACY).shape == shape


def test_a_missing_shape_is_not_followed() -> None:
    """NULL with a rank above 0 is an error, not an address."""
    made = Struct(DLManagedTensor)
    made.struct.dl_tensor.shape = None
    with pytest.raises(Malformed, match="shape is NULL"):
        dlpack.decode(made.address, LEGACY)


def test_a_capsule_of_another_name_is_none_of_ours() -> None:
    """Four names there are (DLP-01)."""
    with pytest.raises(Malformed, match="not a DLPack capsule"):
        dlpack.decode(Struct(DLManagedTensor).address, b"something_else")


def test_the_raw_bytes_are_those_of_the_whole_struct() -> None:
    """No field at its end is left out, none behind it is read; shape and strides follow."""
    legacy, versioned = Struct(DLManagedTensor), Struct(DLManagedTensorVersioned)
    of_legacy, of_versioned = dlpack.raw(legacy.address, LEGACY), dlpack.raw(versioned.address, VERSIONED)
    assert of_legacy[:64] == bytes(legacy.struct)
    assert of_versioned[:80] == bytes(versioned.struct)
    assert of_legacy[64:] == of_versioned[80:] == b"((2, 3), (3, 1))"


@pytest.mark.parametrize("change", ["strides", "shape", "flags", "data"])
def test_the_raw_bytes_show_every_change(change: str) -> None:
    """In the struct itself as in what it points to (I08)."""
    made = Struct(DLManagedTensorVersioned)
    before = dlpack.raw(made.address, VERSIONED)
    assert dlpack.raw(made.address, USED_VERSIONED) == before
    if change == "flags":
        made.struct.flags = 1
    elif change == "data":
        made.struct.dl_tensor.data = 8192
    else:
        getattr(made, change)[0] += 1
    assert dlpack.raw(made.address, VERSIONED) != before
