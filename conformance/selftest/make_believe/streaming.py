"""Simulated libraries for CV-CUDA's documented promises about streams.

The reference stands in for each library, on the simulated device.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from conformance.adapters.base import Adapter, Device, Trait
from conformance.adapters.reference import ReferenceAdapter
from conformance.checks.libraries import Environment
from conformance.reference.exporter import Exporter
from conformance.reference.importer import Importer
from conformance.reference.streams import LEGACY, PER_THREAD, Streams, WorkStream

from .contexts import Context, Contexts, Defaults, module
from .libraries import library

_STREAMING = (Trait.STREAMS, Trait.CURRENT_STREAM)


class Wrapping(Importer):
    """An importer that synchronizes the device for a default or unknown stream, skips the wait for -1, and waits by an event otherwise."""

    def follow(self, published: int | None) -> None:
        if published in (None, 0, LEGACY, PER_THREAD):
            self.wait_for_default(published)
        elif published != -1:
            self.wait_for(published)

    def read_cai(self, described: Any) -> Any:
        """Read the dictionary with stream 0 as the legacy default stream."""
        return super().read_cai({**described, "stream": LEGACY} if described.get("stream") == 0 else described)

    def wait_for_default(self, published: int | None) -> None:
        self.memory.streams().synchronize_device()

    def wait_for(self, published: int | None) -> None:
        super().follow(published)


class Cvcuda(ReferenceAdapter):
    """A library that records the stream of a buffer's last use."""

    name = "cvcuda"
    opt_out = -1
    importer_class = Wrapping
    context_class: type[Context] = Context
    defaults_class: type[Defaults] = Defaults

    def __init__(self) -> None:
        super().__init__()
        self._contexts = Contexts(self.current)

    def using(self, stream: WorkStream) -> AbstractContextManager[Any]:
        return self.context_class(self._contexts, stream)

    def module(self) -> Any:
        return module(self.default_stream(Device.SIMULATED), self.defaults_class)

    def fill(self, array: Any, value: int, stream: WorkStream) -> None:
        view = self.describe(array)
        self.follow(array, stream)
        self.streams().fill(view.address, view.shape[1], value, stream.handle)
        array.writer = stream

    def copy(self, into: Any, array: Any, stream: WorkStream) -> None:
        view = self.describe(array)
        self.follow(array, stream)
        self.streams().copy(self.describe(into).address, view.address, 4 * view.shape[1], stream.handle)
        array.writer = stream

    def follow(self, array: Any, stream: WorkStream) -> None:
        last = getattr(array, "writer", None)
        if last is not None and last.handle != stream.handle:
            self.streams().wait(stream.handle, last.handle)

    def streams(self) -> Streams:
        return self.memory(Device.SIMULATED).streams()


class Cupy(ReferenceAdapter):
    """A library that publishes the stream that wrote an array."""

    name = "cupy"


class Version2(Exporter):
    """Publishes interface version 2, which has no stream."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        described = super().__cuda_array_interface__
        return {**{k: v for k, v in described.items() if k != "stream"}, "version": 2}


class Torch(ReferenceAdapter):
    """A library that publishes no stream, under interface version 2."""

    name = "torch"
    exporter_class: type[Exporter] = Version2


def libraries() -> dict[str, Adapter]:
    """Return all libraries of the stage."""
    return {adapter.name: adapter for adapter in (ReferenceAdapter(), Cupy(), Torch(), Cvcuda())}


def environment() -> Environment:
    """Return the environment that probes of these libraries on a real GPU would measure."""
    versions = {"cvcuda": {"cvcuda-cu13": "0.19.0"}}
    return Environment(tuple(library(name, traits=_STREAMING, versions=versions.get(name)) for name in libraries()))
