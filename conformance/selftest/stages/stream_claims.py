"""The stage ``stream-claims``: make-believe libraries that order their streams as the pages say, each fault changes one decision."""

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
    "make-believe libraries on the simulated device, by what the pages say of streams",
    streaming.libraries,
    _cases,
)


def _fault(library: str, *caught_by: str, bugs: str = "") -> Callable[[Part], Part]:
    """The decorated exporter, importer or adapter takes the place of a library's own; its docstring is the statement."""

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


# -- cvcuda.as_tensor


@_fault("cvcuda", "barrier", "chain", "default-streams", "filled-inside", "torch-order", "torch-at-as-tensor")
class NeverWaits(Wrapping):
    """``cvcuda.as_tensor`` waits for no stream."""

    def follow(self, published: int | None) -> None:
        """At all."""


@_fault("cvcuda", "barrier", "chain", "opt-out")
class AlwaysWaits(Wrapping):
    """``cvcuda.as_tensor`` waits for the whole device, whatever is published."""

    def follow(self, published: int | None) -> None:
        """Even for -1."""
        self.memory.streams().synchronize_device()


@_fault("cvcuda", "barrier", "chain")
class BlocksTheHost(Wrapping):
    """``cvcuda.as_tensor`` waits for the published stream with the calling thread."""

    def wait_for(self, published: int | None) -> None:
        """Until it is done."""
        assert published is not None
        self.memory.streams().synchronize(published)


@_fault("cvcuda", "default-streams", "torch-order", "torch-at-as-tensor")
class TrustsDefaults(Wrapping):
    """``cvcuda.as_tensor`` takes a default stream, and an unknown one, for one that nothing is pending on."""

    def wait_for_default(self, published: int | None) -> None:
        """Not at all."""


@_fault("cvcuda", "default-streams", "torch-order", "torch-at-as-tensor")
class DefaultsByEvent(Wrapping):
    """``cvcuda.as_tensor`` waits for the legacy default stream alone where the stream is a default one or unknown."""

    def wait_for_default(self, published: int | None) -> None:
        """By an event."""
        self.wait_for(published or LEGACY)


@_fault("cvcuda", "default-streams")
class ZeroIsNoStream(Wrapping):
    """``cvcuda.as_tensor`` takes a published 0 for the wish that nothing be waited for."""

    def read_cai(self, described: Any) -> Any:
        """0 is as good as -1."""
        return super().read_cai({**described, "stream": -1} if described.get("stream") == 0 else described)


@_fault("cvcuda", "opt-out")
class MinusOneIsUnknown(Wrapping):
    """``cvcuda.as_tensor`` takes -1 for a stream that it does not know."""

    def follow(self, published: int | None) -> None:
        """The device, to be safe."""
        super().follow(None if published == -1 else published)


# -- CV-CUDA's operators and streams


@_fault("cvcuda", "later-use")
class ForgetsTheLastUse(Cvcuda):
    """An operator of CV-CUDA waits for nobody who has used the buffer before."""

    def follow(self, array: Any, stream: WorkStream) -> None:
        """Nobody."""


@_fault("cvcuda", "later-use")
class StopsTheDevice(Cvcuda):
    """An operator of CV-CUDA waits for the whole device before it reads."""

    def copy(self, into: Any, array: Any, stream: WorkStream) -> None:
        """Everything first."""
        self.streams().synchronize_device()
        super().copy(into, array, stream)


class _LeavingUnknown(Wrapping):
    def wait_for_default(self, published: int | None) -> None:
        if published is not None:
            super().wait_for_default(published)


@_fault("cvcuda", "torch-at-as-tensor")
class WaitsAtTheFirstUse(Cvcuda):
    """``cvcuda.as_tensor`` of an array without a stream leaves the wait for the device to the first operator."""

    importer_class = _LeavingUnknown

    def follow(self, array: Any, stream: WorkStream) -> None:
        """The wait that was left, once."""
        interface = getattr(array, "interface", None)
        if interface is not None and interface.stream is None and not hasattr(array, "writer"):
            self.streams().synchronize_device()
        super().follow(array, stream)


@_fault("cvcuda", "non-blocking")
class MakesBlockingStreams(Cvcuda):
    """A new stream of CV-CUDA waits for the legacy default stream, and that one for it."""

    def stream(self, device: Device) -> WorkStream:
        """Blocking."""
        return WorkStream(self.streams(), self.streams().create(blocking=True))


@_fault("cvcuda", "non-blocking")
class HandsOutTheDefault(Cvcuda):
    """A new stream of CV-CUDA is the legacy default stream."""

    def stream(self, device: Device) -> WorkStream:
        """Always 1."""
        return self.default_stream(device)


# -- what is published


@_fault("cvcuda", "true-writer")
class PublishesTheDefault(Exporter):
    """CV-CUDA publishes the legacy default stream, whichever a tensor was written on."""

    def cai_stream(self) -> int | None:
        """Always 1."""
        return LEGACY


@_fault("cvcuda", "true-writer", "chain")
class PublishesNothing(Exporter):
    """CV-CUDA publishes no stream."""

    def cai_stream(self) -> int | None:
        """Never."""
        return None


@_fault("cvcuda", "true-writer")
class PublishesTheCurrent(Exporter):
    """CV-CUDA publishes the stream that is current when the dictionary is read."""

    def cai_stream(self) -> int | None:
        """Whoever wrote."""
        return current()


@_fault("cupy", "filled-inside", "barrier")
class PublishesAnIdleStream(Exporter):
    """CuPy publishes a stream on which nothing was ever written."""

    def cai_stream(self) -> int | None:
        """A new one."""
        return self.memory.streams().create()


@_fault("cupy", "opt-out")
class WaitsWhenItIsRead(Exporter):
    """CuPy waits for the stream that an array was written on whenever its dictionary is read."""

    def cai_stream(self) -> int | None:
        """When it is done."""
        self.finish()
        return super().cai_stream()


@_fault("torch", "torch-at-as-tensor")
class PublishesItsStream(Exporter):
    """PyTorch publishes the stream that a tensor was written on."""


# -- stream contexts, and the streams' own waits


class _OfTheProcess(Context):
    """A context that every thread is in."""

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
    """The stream context of one thread is that of all threads."""

    context_class = _OfTheProcess

    def current_stream(self, device: Device) -> int:
        """Whoever has entered one."""
        return _everywhere[-1] if _everywhere else LEGACY


@_fault("cvcuda", "thread-contexts", bugs="current-01")
class ThreadsHaveStreamsOfTheirOwn(Cvcuda):
    """A thread without a context uses a stream that was made for it, and not the legacy default stream."""

    def current_stream(self, device: Device) -> int:
        """In every thread but the main one."""
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
    """A stream context can be left before the one inside of it, and in any thread."""

    context_class = _LeavesAnyhow


@_fault("cvcuda", "contexts-left")
class LeavesByValueError(Cvcuda):
    """A stream context that is left out of order raises ``ValueError``."""

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
    """``Stream.default`` can be assigned, and is another stream then."""

    defaults_class = _Assigned


@_fault("cvcuda", "default-read-only")
class TheDefaultIgnoresAssignments(Cvcuda):
    """``Stream.default`` can be assigned, and nothing comes of it."""

    defaults_class = _Ignored


@_fault("cvcuda", "wait-stream")
class WaitsForNoStream(Cvcuda):
    """``wait_stream`` returns, and nothing waits."""

    def wait_stream(self, waiter: WorkStream, other: WorkStream) -> None:
        """For nothing."""


@_fault("cvcuda", "wait-stream")
class WaitsTheOtherWayRound(Cvcuda):
    """``a.wait_stream(b)`` has ``b`` wait for ``a``."""

    def wait_stream(self, waiter: WorkStream, other: WorkStream) -> None:
        """The wrong one."""
        other.wait(waiter)


@_fault("cvcuda", "wait-stream")
class WaitsWithTheHost(Cvcuda):
    """``wait_stream`` waits with the calling thread."""

    def wait_stream(self, waiter: WorkStream, other: WorkStream) -> None:
        """Until the other stream is done."""
        self.streams().synchronize(other.handle)
