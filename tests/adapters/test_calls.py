"""What users of a library hand over, and by which calls they take: as the adapters make them without a GPU."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from conformance.adapters import calls, special
from conformance.adapters.base import Device, Protocol, Unsupported
from conformance.adapters.cvcuda import CvcudaAdapter
from conformance.adapters.numpy import NumpyAdapter
from conformance.adapters.reference import ReferenceAdapter
from conformance.adapters.registry import create, names
from conformance.protocols.dtypes import dtype
from conformance.selftest.make_believe import driver
from conformance.selftest.stages.kernel_arguments import Adapter as MakeBelievePycuda


@pytest.mark.parametrize("name", names())
def test_each_library_declares_calls_that_can_stand_in_a_case_id(name: str) -> None:
    """Each once."""
    adapter = create(name)
    declared = [*(one.name for one in adapter.calls), *(one.name for one in adapter.styles)]
    assert adapter.calls
    assert len(declared) == len(set(declared))
    assert all(calls.NAME.fullmatch(one) for one in declared)


def test_a_call_is_for_a_protocol_if_it_is_named_after_one() -> None:
    """Others take whatever they know."""
    found = {one.name: one.protocol for one in create("cuda_python").calls}
    assert found["cuda.core.from_dlpack"] is Protocol.DLPACK
    assert found["cuda.core.from_cuda_array_interface"] is Protocol.CAI
    assert found["cuda.core.from_any_interface"] is None


def test_cvcuda_hands_over_what_carries_the_protocols() -> None:
    """A tensor itself has none. Its operators want a layout of what they get."""
    adapter = CvcudaAdapter()
    tensor = SimpleNamespace(cuda=lambda: "buffer", shape=(1, 256, 1), reshape=lambda shape, layout: (shape, layout))
    assert adapter.native(tensor, Protocol.CAI) == "buffer"
    assert adapter.operable(tensor) == ((1, 256, 1), "HWC")


@pytest.mark.parametrize("name", ["pycuda.GPUArray-gpudata", "pycuda.kernel-argument"])
def test_pycuda_takes_an_object_by_its_pointer_and_as_an_argument(name: str) -> None:
    """Both lead to element 0; a kernel is given the object itself, which is seen by the address that it gets."""
    pytest.importorskip("numpy")
    adapter = MakeBelievePycuda()
    adapter.load()
    array = ReferenceAdapter().array(dtype("float32"), (3, 4), bytes(range(48)), Device.SIMULATED)
    call = special.named(adapter.calls, name)
    with driver.believed():
        view = adapter.describe(call.take(adapter, array, Device.SIMULATED))
    assert (view.address, view.shape, view.strides, view.dtype) == (array.element0(), (3, 4), (16, 4), "float32")


def test_an_object_of_a_derived_class_refuses_by_itself() -> None:
    """So that whoever takes it has not asked it, or has not listened."""
    pytest.importorskip("numpy")
    adapter, asked = NumpyAdapter(), []
    adapter.load()
    thing: Any = adapter.subclassed(adapter.numpy.ones(3), lambda: asked.append(1))
    with pytest.raises(BufferError):
        thing.__dlpack__()
    assert asked == [1]
    with pytest.raises(Unsupported):
        create("jax").subclassed(None, lambda: None)
