"""Make-believe libraries for what CV-CUDA's pages promise of streams: the reference in each one's place, on the simulated device."""

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
    """Waits for the device where the stream is a default one or unknown, for nothing at -1, else by an event."""

    def follow(self, published: int | None) -> None:
        """As the pages say."""
        if published in (None, 0, LEGACY, PER_THREAD):
            self.wait_for_default(published)
        elif published != -1:
            self.wait_for(published)

    def read_cai(self, described: Any) -> Any:
        """0 is as good as 1."""
        return super().read_cai({**described, "stream": LEGACY} if described.get("stream") == 0 else described)

    def wait_for_default(self, published: int | None) -> None:
        """The device."""
        self.memory.streams().synchronize_device()

    def wait_for(self, published: int | None) -> None:
        """An event."""
        super().follow(published)


class Cvcuda(ReferenceAdapter):
    """Remembers on which stream a buffer was used last."""

    name = "cvcuda"
    opt_out = -1
    importer_class = Wrapping
    context_class: type[Context] = Context
    defaults_class: type[Defaults] = Defaults

    def __init__(self) -> None:
        super().__init__()
        self._contexts = Contexts(self.current)

    def using(self, stream: WorkStream) -> AbstractContextManager[Any]:
        """A context of this thread."""
        return self.context_class(self._contexts, stream)

    def module(self) -> Any:
        """What has the class of streams."""
        return module(self.default_stream(Device.SIMULATED), self.defaults_class)

    def fill(self, array: Any, value: int, stream: WorkStream) -> None:
        """After the last use."""
        view = self.describe(array)
        self.follow(array, stream)
        self.streams().fill(view.address, view.shape[1], value, stream.handle)
        array.writer = stream

    def copy(self, into: Any, array: Any, stream: WorkStream) -> None:
        """After the last use."""
        view = self.describe(array)
        self.follow(array, stream)
        self.streams().copy(self.describe(into).address, view.address, 4 * view.shape[1], stream.handle)
        array.writer = stream

    def follow(self, array: Any, stream: WorkStream) -> None:
        """By an event."""
        last = getattr(array, "writer", None)
        if last is not None and last.handle != stream.handle:
            self.streams().wait(stream.handle, last.handle)

    def streams(self) -> Streams:
        """Of the simulated device."""
        return self.memory(Device.SIMULATED).streams()


class Cupy(ReferenceAdapter):
    """Publishes the stream that an array was written on."""

    name = "cupy"


class Version2(Exporter):
    """Publishes the version that says nothing of streams."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        described = super().__cuda_array_interface__
        return {**{k: v for k, v in described.items() if k != "stream"}, "version": 2}


class Torch(ReferenceAdapter):
    """Publishes no stream, under a version that has none."""

    name = "torch"
    exporter_class: type[Exporter] = Version2


def libraries() -> dict[str, Adapter]:
    """All that take part."""
    return {adapter.name: adapter for adapter in (ReferenceAdapter(), Cupy(), Torch(), Cvcuda())}


def environment() -> Environment:
    """What probes would tell of them, if their GPU was a real one."""
    versions = {"cvcuda": {"cvcuda-cu13": "0.19.0"}}
    return Environment(tuple(library(name, traits=_STREAMING, versions=versions.get(name)) for name in libraries()))
