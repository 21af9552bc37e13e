"""Stage ``stream-claims``: simulated libraries that order their streams as the documentation says. Each fault changes one decision."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from conformance.adapters.base import Device
from conformance.adapters.reference import ReferenceAdapter
from conformance.checks.catalogue import Case, catalogue
from conformance.checks.libraries import Environment
from conformance.reference.exporter import Exporter
from conformance.reference.importer import Importer
from conformance.reference.streams import LEGACY, PER_THREAD, WorkStream, current
from conformance.selftest.make_believe import streaming
from conformance.selftest.make_believe.contexts import Context, Defaults
from conformance.selftest.make_believe.environments import planned, shared
from conformance.selftest.make_believe.streaming import Cvcuda, Wrapping
from conformance.selftest.model import Partners, Spoil, Stage

Part = TypeVar("Part", bound=type)


def _cases(environment: Environment) -> Iterator[Case]:
    chosen = (invariant.id for invariant in catalogue().values() if invariant.family == "stream-claim")
    return shared(planned(streaming.environment(), *chosen))


STAGE = Stage(
    "stream-claims",
    "simulated libraries on the simulated device, with the documented order of streams",
    streaming.libraries,
    _cases,
)


def _fault(library: str, *caught_by: str, bugs: str = "") -> Callable[[Part], Part]:
    """Register the decorated exporter, importer or adapter as a fault of a library. Its docstring is the statement."""

    def register(part: Part) -> Part:
        name = re.sub(r"(?<!^)(?=[A-Z])", "-", part.__name__).lower()
        named = tuple(f"stream-claim.{each}" for each in caught_by)
        STAGE.add(name, part.__doc__ or "", named, _putting(part, library), tuple(bugs.split()))
        return part

    return register


def _putting(part: type, library: str) -> Spoil:
    def spoil(found: Partners) -> None:
        adapter = found[library]
        assert isinstance(adapter, ReferenceAdapter)
        if issubclass(part, Exporter):
            adapter.exporter_class = part
        elif issubclass(part, Importer):
            adapter.importer_class = part
        else:
            assert issubclass(part, ReferenceAdapter)
            found[library] = part()

    return spoil


# cvcuda.as_tensor


@_fault("cvcuda", "barrier", "chain", "default-streams", "filled-inside", "torch-order", "torch-at-as-tensor")
class NeverWaits(Wrapping):
    """Waits for no stream in ``cvcuda.as_tensor``."""

    def follow(self, published: int | None) -> None:
        """Skip the wait."""


@_fault("cvcuda", "barrier", "chain", "opt-out")
class AlwaysWaits(Wrapping):
    """Synchronizes the whole device in ``cvcuda.as_tensor``, whatever stream is published."""

    def follow(self, published: int | None) -> None:
        self.memory.streams().synchronize_device()


@_fault("cvcuda", "barrier", "chain")
class BlocksTheHost(Wrapping):
    """Blocks the calling thread in ``cvcuda.as_tensor`` until the published stream is done."""

    def wait_for(self, published: int | None) -> None:
        assert published is not None
        self.memory.streams().synchronize(published)


@_fault("cvcuda", "default-streams", "torch-order", "torch-at-as-tensor")
class TrustsDefaults(Wrapping):
    """Does not wait for a default stream or an unknown stream in ``cvcuda.as_tensor``."""

    def wait_for_default(self, published: int | None) -> None:
        """Skip the wait."""


@_fault("cvcuda", "default-streams", "torch-order", "torch-at-as-tensor")
class DefaultsByEvent(Wrapping):
    """Waits for the legacy default stream by an event in ``cvcuda.as_tensor`` if a default stream or none is published."""

    def wait_for_default(self, published: int | None) -> None:
        self.wait_for(published or LEGACY)


@_fault("cvcuda", "default-streams")
class ZeroIsNoStream(Wrapping):
    """Treats a published stream 0 like -1 in ``cvcuda.as_tensor``."""

    def read_cai(self, described: Any) -> Any:
        return super().read_cai({**described, "stream": -1} if described.get("stream") == 0 else described)


@_fault("cvcuda", "opt-out")
class MinusOneIsUnknown(Wrapping):
    """Treats a published stream -1 as unknown in ``cvcuda.as_tensor``."""

    def follow(self, published: int | None) -> None:
        super().follow(None if published == -1 else published)


# CV-CUDA's operators and streams


@_fault("cvcuda", "later-use")
class ForgetsTheLastUse(Cvcuda):
    """Does not wait for earlier users of a buffer in a CV-CUDA operator."""

    def follow(self, array: Any, stream: WorkStream) -> None:
        """Skip the wait."""


@_fault("cvcuda", "later-use")
class StopsTheDevice(Cvcuda):
    """Synchronizes the whole device in a CV-CUDA operator before it reads."""

    def copy(self, into: Any, array: Any, stream: WorkStream) -> None:
        self.streams().synchronize_device()
        super().copy(into, array, stream)


class _LeavingUnknown(Wrapping):
    def wait_for_default(self, published: int | None) -> None:
        if published is not None:
            super().wait_for_default(published)


@_fault("cvcuda", "torch-at-as-tensor")
class WaitsAtTheFirstUse(Cvcuda):
    """Delays the wait for an array without a stream from ``cvcuda.as_tensor`` to the first operator."""

    importer_class = _LeavingUnknown

    def follow(self, array: Any, stream: WorkStream) -> None:
        interface = getattr(array, "interface", None)
        if interface is not None and interface.stream is None and not hasattr(array, "writer"):
            self.streams().synchronize_device()
        super().follow(array, stream)


@_fault("cvcuda", "non-blocking")
class MakesBlockingStreams(Cvcuda):
    """Creates blocking streams in CV-CUDA, which are ordered with the legacy default stream."""

    def stream(self, device: Device) -> WorkStream:
        return WorkStream(self.streams(), self.streams().create(blocking=True))


@_fault("cvcuda", "non-blocking")
class HandsOutTheDefault(Cvcuda):
    """Returns the legacy default stream as a new CV-CUDA stream."""

    def stream(self, device: Device) -> WorkStream:
        return self.default_stream(device)


# The published stream


@_fault("cvcuda", "true-writer")
class PublishesTheDefault(Exporter):
    """Publishes the legacy default stream for a CV-CUDA tensor, whatever stream wrote it."""

    def cai_stream(self) -> int | None:
        return LEGACY


@_fault("cvcuda", "true-writer", "chain")
class PublishesNothing(Exporter):
    """Publishes no stream for a CV-CUDA tensor."""

    def cai_stream(self) -> int | None:
        return None


@_fault("cvcuda", "true-writer")
class PublishesTheCurrent(Exporter):
    """Publishes the stream that is current at the time of the export for a CV-CUDA tensor."""

    def cai_stream(self) -> int | None:
        return current()


@_fault("cupy", "filled-inside", "barrier")
class PublishesAnIdleStream(Exporter):
    """Publishes an idle stream for a CuPy array."""

    def cai_stream(self) -> int | None:
        return self.memory.streams().create()


@_fault("cupy", "opt-out")
class WaitsWhenItIsRead(Exporter):
    """Synchronizes the writer's stream each time that a CuPy array's dictionary is read."""

    def cai_stream(self) -> int | None:
        self.finish()
        return super().cai_stream()


@_fault("torch", "torch-at-as-tensor")
class PublishesItsStream(Exporter):
    """Publishes the writer's stream for a PyTorch tensor."""


# Stream contexts, and waits between streams


class _OfTheProcess(Context):
    """A context that every thread enters."""

    def __enter__(self) -> WorkStream:
        _everywhere.append(self.stream.handle)
        return super().__enter__()

    def __exit__(self, *raised: object) -> None:
        if _everywhere:
            _everywhere.pop()
        super().__exit__(*raised)


_everywhere: list[int] = []


@_fault("cvcuda", "thread-contexts", bugs="current-01")
class OneContextForAllThreads(Cvcuda):
    """Shares one thread's stream context among all threads."""

    context_class = _OfTheProcess

    def current_stream(self, device: Device) -> int:
        return _everywhere[-1] if _everywhere else LEGACY


@_fault("cvcuda", "thread-contexts", bugs="current-01")
class ThreadsHaveStreamsOfTheirOwn(Cvcuda):
    """Uses a private stream in place of the legacy default stream in a thread without a context."""

    def current_stream(self, device: Device) -> int:
        if self._contexts.stack or threading.current_thread() is threading.main_thread():
            return super().current_stream(device)
        return PER_THREAD


class _LeavesAnyhow(Context):
    def left_wrongly(self) -> None:
        self.contexts.current.handle = LEGACY


class _LeavesByValueError(Context):
    def left_wrongly(self) -> None:
        raise ValueError("not the context of this thread")


@_fault("cvcuda", "contexts-left")
class LeavesInAnyOrder(Cvcuda):
    """Allows a stream context to be left before an inner one, and in any thread."""

    context_class = _LeavesAnyhow


@_fault("cvcuda", "contexts-left")
class LeavesByValueError(Cvcuda):
    """Raises ``ValueError`` if a stream context is left out of order."""

    context_class = _LeavesByValueError


class _Assigned(Defaults):
    def __setattr__(cls, name: str, value: Any) -> None:
        super().__setattr__("held" if name == "default" else name, value)


class _Ignored(Defaults):
    def __setattr__(cls, name: str, value: Any) -> None:
        if name != "default":
            super().__setattr__(name, value)


@_fault("cvcuda", "default-read-only")
class TheDefaultIsReplaced(Cvcuda):
    """Allows an assignment to ``Stream.default``, which replaces the default stream."""

    defaults_class = _Assigned


@_fault("cvcuda", "default-read-only")
class TheDefaultIgnoresAssignments(Cvcuda):
    """Ignores an assignment to ``Stream.default`` silently."""

    defaults_class = _Ignored


@_fault("cvcuda", "wait-stream")
class WaitsForNoStream(Cvcuda):
    """Returns from ``wait_stream`` without a wait."""

    def wait_stream(self, waiter: WorkStream, other: WorkStream) -> None:
        """Skip the wait."""


@_fault("cvcuda", "wait-stream")
class WaitsTheOtherWayRound(Cvcuda):
    """Makes ``b`` wait for ``a`` in ``a.wait_stream(b)``."""

    def wait_stream(self, waiter: WorkStream, other: WorkStream) -> None:
        other.wait(waiter)


@_fault("cvcuda", "wait-stream")
class WaitsWithTheHost(Cvcuda):
    """Blocks the calling thread in ``wait_stream``."""

    def wait_stream(self, waiter: WorkStream, other: WorkStream) -> None:
        self.streams().synchronize(other.handle)
