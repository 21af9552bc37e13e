"""Stage ``kernel-arguments``: the PyCUDA adapter on a simulated PyCUDA with kernels that wait for the streams of their arguments.

Streams and latches belong to the simulated device.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from conformance.adapters.base import Device, Protocol
from conformance.adapters.pycuda import PycudaAdapter
from conformance.adapters.reference import ReferenceAdapter
from conformance.checks.catalogue import Case
from conformance.checks.libraries import REFERENCE, Environment
from conformance.ordering.handover import Call
from conformance.selftest.make_believe import driver, memory
from conformance.selftest.make_believe.environments import planned, shared, with_gpus
from conformance.selftest.make_believe.pycuda import Kernels, Pycuda
from conformance.selftest.model import Partners, Stage

_ADDRESS, _EMPTY, _ORDER = "argument.address", "argument.empty", "ordering.handover"


class Adapter(PycudaAdapter):
    """The real adapter with a simulated package in place of PyCUDA."""

    exports = {Device.SIMULATED: (Protocol.CAI,)}
    imports = exports

    def load(self) -> None:
        self.kernels = Kernels()
        self.driver, self.gpuarray = self.kernels.driver, Pycuda().gpuarray
        self._kernels, self._contexts = {}, {}


def _partners() -> Partners:
    adapter = Adapter()
    adapter.load()
    return {REFERENCE: ReferenceAdapter(), "pycuda": adapter}


def _cases(here: Environment) -> Iterator[Case]:
    """Yield the cases from the reference to PyCUDA by a kernel argument."""
    both = with_gpus(here, REFERENCE, "pycuda").libraries
    environment = Environment(
        tuple(replace(lib, traits=PycudaAdapter.traits) if lib.name == "pycuda" else lib for lib in both)
    )
    for case in shared(planned(environment, _ADDRESS, _EMPTY, _ORDER)):
        by_kernel = case.invariant != _ORDER or case.option("call", "") == Call.KERNEL.value
        if by_kernel and (case.producer, case.consumer) == (REFERENCE, "pycuda"):
            yield case


STAGE = Stage(
    "kernel-arguments",
    "the PyCUDA adapter, with the reference's objects as kernel arguments",
    _partners,
    _cases,
    driver.believed,
    absent=memory.absent,
    preload=("numpy",),
)


def _kernels(found: Partners) -> Kernels:
    adapter = found["pycuda"]
    assert isinstance(adapter, Adapter)
    return adapter.kernels


@STAGE.fault(_ORDER)
def takes_the_pointer_alone(found: Partners) -> None:
    """Reads only the pointer of a kernel argument and ignores the published stream, as PyCUDA 2026.1 does."""
    _kernels(found).follow = lambda described, stream: None  # type: ignore[method-assign]


@STAGE.fault(_ORDER)
def waits_on_the_default_stream(found: Partners) -> None:
    """Makes the default stream wait for the published stream, whatever stream the kernel is launched on."""
    kernels = _kernels(found)
    right = kernels.follow
    kernels.follow = lambda described, stream: right(described, None)  # type: ignore[method-assign]


@STAGE.fault(_ADDRESS)
def begins_one_element_late(found: Partners) -> None:
    """Passes a kernel the address of the second element."""
    _pointer(found, lambda described: described["data"][0] + 4)


@STAGE.fault(_ADDRESS, _EMPTY)
def passes_the_number_of_dimensions(found: Partners) -> None:
    """Passes a kernel the number of dimensions in place of the address."""
    _pointer(found, lambda described: len(described["shape"]))


@STAGE.fault(_EMPTY)
def refuses_the_address_0(found: Partners) -> None:
    """Refuses an array without elements as a kernel argument, because its address is 0."""

    def pointer(described: Any) -> int:
        if not described["data"][0]:
            raise TypeError("invalid type on parameter #1 (0-based)")
        return int(described["data"][0])

    _pointer(found, pointer)


def _pointer(found: Partners, pointer: Any) -> None:
    _kernels(found).pointer = pointer  # type: ignore[method-assign]
