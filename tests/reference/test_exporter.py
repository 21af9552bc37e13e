"""The reference exporter: what it answers to which arguments, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from conformance.protocols import cai, capsule, dlpack
from conformance.protocols.dlpack import LEGACY, VERSIONED, DLFlags, Tensor
from conformance.protocols.dtypes import dtype
from conformance.protocols.strided import Strided, packed
from conformance.reference.exporter import NEWEST, REMOVED, Exporter
from conformance.reference.memory import HostMemory, simulated

FLOAT32 = dtype("float32")


def array(*, cuda: bool = False, view: Strided | None = None, **keywords: Any) -> Exporter:
    """Twelve elements of float32, 3 by 4 unless told otherwise, on host memory or on the simulated device."""
    memory = simulated() if cuda else HostMemory()
    return Exporter(memory, memory.allocate(48), FLOAT32, view or packed((3, 4)), **keywords)


def export(exporter: Exporter, **keywords: Any) -> Tensor:
    """The content of its capsule."""
    exported = exporter.__dlpack__(**keywords)
    return dlpack.decode(capsule.pointer(exported), capsule.name(exported))


@pytest.mark.parametrize(
    ("asked", "name"), [(None, LEGACY), ((0, 8), LEGACY), ((1, 0), VERSIONED), (NEWEST, VERSIONED), ((2, 0), VERSIONED)]
)
def test_the_version_asked_for_decides_the_struct(asked: tuple[int, int] | None, name: bytes) -> None:
    """Legacy for whoever does not say that it knows better (DLP-02)."""
    assert capsule.name(array().__dlpack__(max_version=asked)) == name


def test_an_exporter_may_know_legacy_capsules_only() -> None:
    """As older libraries do."""
    exporter = array()
    exporter.newest = None
    assert export(exporter, max_version=NEWEST).version is None


def test_a_view_exports_its_own_first_element_shape_and_strides() -> None:
    """In elements, with the offset already in the pointer."""
    exporter = array(view=Strided((2, 2), (4, 2), 5))
    tensor = export(exporter)
    assert (tensor.element0, tensor.shape, tensor.strides) == (exporter.block.address + 20, (2, 2), (4, 2))


def test_an_array_without_elements_has_no_address() -> None:
    """NULL by DLPack (DLP-19), 0 by the array interface (CAI-06)."""
    exporter = array(cuda=True, view=packed((0, 3)))
    assert (export(exporter).element0, exporter.__cuda_array_interface__["data"][0]) == (0, 0)


@pytest.mark.parametrize("stream", [1, 2, -1, 0])
def test_host_memory_takes_no_stream(stream: int) -> None:
    """``None`` and nothing else (DLP-36)."""
    with pytest.raises(BufferError, match="DLP-36"):
        array().__dlpack__(stream=stream)


@pytest.mark.parametrize(("stream", "taken"), [(None, True), (1, True), (2, True), (-1, True), (0, False), (-2, False)])
def test_cuda_memory_takes_the_streams_that_the_protocol_allows(stream: int | None, taken: bool) -> None:
    """Not 0, which is ambiguous, and nothing below -1 (DLP-31)."""
    if taken:
        assert export(array(cuda=True), stream=stream).device == (2, 0)
    else:
        with pytest.raises(BufferError, match="DLP-31"):
            array(cuda=True).__dlpack__(stream=stream)


def test_only_the_own_device_is_served() -> None:
    """Others are refused with the class that the standard names (DLP-38)."""
    assert export(array(), dl_device=(1, 0)).device == (1, 0)
    with pytest.raises(BufferError, match="DLP-38"):
        array().__dlpack__(dl_device=(2, 0))


def test_a_copy_has_memory_and_a_flag_of_its_own() -> None:
    """Packed, with the elements of the view, and writable even if the array is not (DLP-10, DLP-39)."""
    exporter = array(view=Strided((3,), (4,), 1), readonly=True)
    exporter.memory.write(exporter.block.address, bytes(range(48)))
    tensor = export(exporter, copy=True, max_version=NEWEST)
    assert tensor.element0 != exporter.element0()
    assert (tensor.strides, tensor.flags) == ((1,), DLFlags.IS_COPIED)
    assert exporter.memory.read(tensor.element0, 12) == bytes([4, 5, 6, 7, 20, 21, 22, 23, 36, 37, 38, 39])


def test_read_only_arrays_say_so_or_are_refused() -> None:
    """A legacy capsule has no place to say it (DLP-08)."""
    assert export(array(readonly=True), max_version=NEWEST).flags == DLFlags.READ_ONLY
    with pytest.raises(BufferError, match="DLP-08"):
        array(readonly=True).__dlpack__()


def test_pending_elements_are_refused_by_both_protocols() -> None:
    """Memory does not hold them yet (DLP-23)."""
    exporter = array(cuda=True)
    exporter.pending = True
    with pytest.raises(BufferError, match="DLP-23"):
        exporter.__dlpack__()
    with pytest.raises(BufferError, match="DLP-23"):
        _ = exporter.__cuda_array_interface__


def test_any_field_and_key_can_be_overridden() -> None:
    """Which is how capsules and dictionaries come about that no library would export."""
    exporter = array(
        cuda=True, override={"lanes": 4, "device": (99, 1)}, cai_override={"version": 7, "strides": REMOVED}
    )
    assert (export(exporter).lanes, export(exporter).device) == (4, (99, 1))
    published = exporter.__cuda_array_interface__
    assert published["version"] == 7
    assert "strides" not in published


def test_the_dictionary_describes_the_same_array() -> None:
    """In bytes, with strides only where they are needed (CAI-10, CAI-12)."""
    exporter = array(cuda=True, view=Strided((2, 2), (4, 2), 5), readonly=True)
    assert cai.parse(exporter.__cuda_array_interface__) == cai.ArrayInterface(
        (2, 2), "<f4", exporter.block.address + 20, True, (16, 8), 3, None, None
    )
    assert array(cuda=True).__cuda_array_interface__["strides"] is None


def test_host_memory_has_no_array_interface() -> None:
    """``hasattr`` is how consumers find out (CAI-01)."""
    assert not hasattr(array(), "__cuda_array_interface__")


def test_every_call_is_logged_with_its_arguments() -> None:
    """Refused ones as well."""
    exporter = array()
    exporter.__dlpack_device__()
    exporter.__dlpack__(stream=None, max_version=(1, 0))
    with pytest.raises(TypeError):
        exporter.__dlpack__(1)
    assert [(call.positional, call.keywords) for call in exporter.log.dlpack] == [
        ((), {"stream": None, "max_version": (1, 0)}),
        ((1,), {}),
    ]
    assert (exporter.log.dlpack_device, len(exporter.log.exports), exporter.log.deleter_calls) == (1, 1, 0)
