"""The wrapper around an allocation that stands for the arrays of CUDA Python's users, with a stand-in for ``cuda.core``."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from conformance.adapters.base import Protocol
from conformance.adapters.cuda_python import CudaPythonAdapter, CudaPythonArray
from conformance.protocols.dtypes import dtype
from conformance.protocols.strided import Index, Strided, Transpose, packed

pytest.importorskip("numpy")

FLOAT = dtype("float32")
PART = Index((slice(1, 2),))


class StridedMemoryView:
    """Notes how it is made, and exports nothing."""

    made: tuple[str, dict[str, Any]]

    @classmethod
    def from_buffer(cls, buffer: Any, shape: tuple[int, ...], **keywords: Any) -> StridedMemoryView:
        """Of a buffer."""
        return cls._of("buffer", keywords)

    @classmethod
    def from_cuda_array_interface(cls, array: Any, **keywords: Any) -> StridedMemoryView:
        """Of a dictionary."""
        return cls._of("dictionary", array.__cuda_array_interface__)

    @classmethod
    def _of(cls, way: str, told: dict[str, Any]) -> StridedMemoryView:
        view = cls()
        view.made = way, told
        return view

    def __dlpack__(self) -> None:
        """The adapter looks whether there is one."""


@pytest.fixture
def adapter() -> CudaPythonAdapter:
    """With the stand-in."""
    found = CudaPythonAdapter()
    found.view_class = StridedMemoryView
    return found


def array(view: Strided) -> CudaPythonArray:
    """On an allocation that is none."""
    return CudaPythonArray(object(), 4096, FLOAT, view)


def test_a_view_is_read_only_and_written_as_its_array_is(adapter: CudaPythonAdapter) -> None:
    """The class around an allocation publishes a view of a read-only array as read-only, with the stream that writes it (CAI-08, CAI-22)."""
    whole = array(packed((3, 4)))
    whole.readonly, whole.stream, whole.writer = True, 7, object()
    for part in (adapter.view(whole, PART), adapter.view(whole, Transpose((1, 0))), adapter.restride(whole, (32, 4))):
        told = part.__cuda_array_interface__
        assert (told["data"][1], told["stream"]) == (True, 7)
        assert part.writer is whole.writer


def test_the_export_of_a_read_only_view_says_so(adapter: CudaPythonAdapter) -> None:
    """By DLPack it goes through the dictionary."""
    whole = array(packed((3, 4)))
    adapter.freeze(whole)
    way, told = adapter.exporter(adapter.view(whole, PART), Protocol.DLPACK).made
    assert (way, told["data"][1]) == ("dictionary", True)


@pytest.mark.parametrize("view", [packed((3, 0)), Strided((0, 4), (8, 1), 5), Strided((0,), (3,), 2)])
def test_an_array_without_elements_is_exported_from_its_buffer(adapter: CudaPythonAdapter, view: Strided) -> None:
    """Its dictionary has no address, from which no library can tell a device."""
    way, _ = adapter.exporter(array(view), Protocol.DLPACK).made
    assert way == "buffer"


def test_an_import_of_bytes_is_exported_again_as_bytes(adapter: CudaPythonAdapter) -> None:
    """The array interface has no letter for bfloat16, so its elements come in as bytes and go out as such."""
    import numpy

    taken = SimpleNamespace(dtype=numpy.dtype("V2"), shape=(3,), strides=None, ptr=4096, readonly=False)
    told = adapter.exporter(taken, Protocol.CAI).__cuda_array_interface__
    assert told["typestr"][1:] == "V2"


@pytest.mark.parametrize("has_driver", [True, False])
def test_without_a_driver_no_call_is_offered_that_asks_it(adapter: CudaPythonAdapter, has_driver: bool) -> None:
    """Otherwise the table of calls says that CUDA Python refuses, which is a fact of the machine."""
    adapter._has_driver = has_driver
    assert ("cuda.core.from_array_interface" in [call.name for call in adapter.present_calls()]) is has_driver
