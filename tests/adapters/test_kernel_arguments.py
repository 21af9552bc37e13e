"""PyCUDA's kernels take what has the array interface: the adapter gives them the object itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from conformance.adapters.base import CAIOffer, Device, Unsupported
from conformance.adapters.numpy import NumpyAdapter
from conformance.adapters.pycuda import PycudaAdapter
from conformance.adapters.reference import ReferenceAdapter
from conformance.cuda import context
from conformance.protocols.dtypes import dtype


class Launches:
    """Writes down with what kernels are launched."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], Any]] = []

    def module_from_buffer(self, ptx: bytes) -> Any:
        return SimpleNamespace(
            get_function=lambda name: lambda *arguments, **told: self.calls.append((name, arguments, told["stream"]))
        )


def test_a_kernel_is_given_the_object_and_reads_its_dictionary_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the adapter nor the suite takes the pointer out of it."""
    pytest.importorskip("numpy")
    monkeypatch.setattr(context, "current", lambda: 1)
    adapter, launches = PycudaAdapter(), Launches()
    adapter.driver, adapter._kernels = launches, {}
    offer = CAIOffer(SimpleNamespace())  # asking it for its dictionary would raise
    argument = adapter.take_argument(offer, Device.CUDA)
    adapter.copy(SimpleNamespace(ptr=0x1000, size=256), argument, "a stream")
    ((name, (target, source, count), stream),) = launches.calls
    assert (name, int(target), source, int(count), stream) == ("copy_words", 0x1000, offer, 256, "a stream")


def test_the_reference_reads_an_argument_as_an_import() -> None:
    """Its address is that of the first element."""
    reference = ReferenceAdapter()
    array = reference.array(dtype("float32"), (3,), bytes(12), Device.SIMULATED)
    argument = reference.take_argument(CAIOffer(array), Device.SIMULATED)
    assert reference.argument_address(argument) == array.element0()


def test_a_library_without_such_kernels_says_so() -> None:
    """By the exception that means that."""
    library = NumpyAdapter()
    with pytest.raises(Unsupported, match="no kernels that accept the array interface"):
        library.take_argument(None, Device.HOST)
    with pytest.raises(Unsupported, match="no kernels that accept the array interface"):
        library.argument_address(None)
