"""What the pages promise about streams, on make-believe libraries: kept while they are flawless, broken when one is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from conformance.adapters.base import Adapter, Device
from conformance.adapters.reference import ReferenceAdapter
from conformance.execution.results import Result
from conformance.execution.workbench import Workbench
from conformance.protocols.clauses import Level
from conformance.reference.exporter import Exporter
from conformance.reference.importer import Importer
from conformance.reference.streams import LEGACY, PER_THREAD, WorkStream
from conformance.suite.catalogue import Case, catalogue
from conformance.suite.outcomes import Outcome

Libraries = dict[str, Adapter]


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

    def wait_for(self, published: int) -> None:
        """An event."""
        super().follow(published)


class Cvcuda(ReferenceAdapter):
    """Remembers on which stream a buffer was used last."""

    opt_out = -1
    importer_class = Wrapping

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

    def streams(self) -> Any:
        """Of the simulated device."""
        return self.memory(Device.SIMULATED).streams()


class WithoutStream(Exporter):
    """Publishes no stream."""

    def cai_stream(self) -> int | None:
        """Never."""
        return None


def libraries(
    cvcuda: type[Cvcuda] = Cvcuda, importer: type[Importer] = Wrapping, exporter: type[Exporter] = Exporter
) -> Libraries:
    """All that take part; CV-CUDA is of this kind."""
    made: Libraries = {}
    for name in ("cupy", "torch", "pycuda", "cuda_python", "reference", "cvcuda"):
        adapter: ReferenceAdapter = cvcuda() if name == "cvcuda" else ReferenceAdapter()
        adapter.name = name  # type: ignore[misc]
        if name == "cvcuda":
            adapter.importer_class, adapter.exporter_class = importer, exporter  # type: ignore[misc]
        if name in ("torch", "pycuda"):
            adapter.exporter_class = WithoutStream  # type: ignore[misc]
        made[name] = adapter
    return made


def run(found: Libraries, name: str, producer: str, **parameters: str) -> Result:
    """One case to CV-CUDA on the simulated device."""
    case = Case(f"stream-claim.{name}", producer, "cvcuda", "cai", Device.SIMULATED, tuple(parameters.items()))
    return Workbench(found).run(case, catalogue()[case.invariant])


CASES: list[tuple[str, str, dict[str, str]]] = [
    ("non-blocking", "reference", {}),
    ("barrier", "cupy", {}),
    ("barrier", "cuda_python", {}),
    ("default-streams", "reference", {"stream": "legacy"}),
    ("default-streams", "reference", {"stream": "per-thread"}),
    ("default-streams", "reference", {"stream": "zero"}),
    ("later-use", "cupy", {}),
    ("later-use", "torch", {}),
    ("chain", "cvcuda", {}),
    ("true-writer", "cvcuda", {"written": "first", "current": "same"}),
    ("true-writer", "cvcuda", {"written": "second", "current": "other"}),
    ("filled-inside", "cupy", {}),
    ("opt-out", "cupy", {}),
    ("opt-out", "torch", {}),
    ("torch-order", "torch", {"how": "inside"}),
    ("torch-order", "torch", {"how": "outside"}),
    ("torch-at-as-tensor", "torch", {}),
]


@pytest.mark.parametrize(("name", "producer", "parameters"), CASES)
def test_flawless_libraries_keep_every_promise(name: str, producer: str, parameters: dict[str, str]) -> None:
    """None is accused, and every pass that is not a plain fact has seen its control."""
    result = run(libraries(), name, producer, **parameters)
    assert result.outcome is Outcome.PASS, (result.reason, result.expected, result.seen, result.attachments)
    assert "control" in result.attachments or name in ("true-writer", "torch-at-as-tensor")


class NeverWaits(Wrapping):
    """Follows nobody."""

    def follow(self, published: int | None) -> None:
        """At all."""


class AlwaysWaits(Wrapping):
    """Waits for the device whatever is published."""

    def follow(self, published: int | None) -> None:
        """Even for -1."""
        self.memory.streams().synchronize_device()


class TrustsDefaults(Wrapping):
    """Takes a default stream for one that nothing is pending on."""

    def wait_for_default(self, published: int | None) -> None:
        """Not at all."""


class DefaultsByEvent(Wrapping):
    """Waits for a default stream by an event, and for an unknown one as well."""

    def wait_for_default(self, published: int | None) -> None:
        """0 and 1 are the same."""
        self.wait_for(published or LEGACY)


class Forgetful(Cvcuda):
    """Does not remember the last use."""

    def follow(self, array: Any, stream: WorkStream) -> None:
        """Nobody."""


class Heavy(Cvcuda):
    """Waits for the device before it reads."""

    def copy(self, into: Any, array: Any, stream: WorkStream) -> None:
        """Everything first."""
        self.streams().synchronize_device()
        super().copy(into, array, stream)


class Blocking(Cvcuda):
    """Makes streams that the legacy one waits for, and that wait for it."""

    def stream(self, device: Device) -> WorkStream:
        """Blocking."""
        return WorkStream(self.streams(), self.streams().create(blocking=True))


class PublishesTheDefault(Exporter):
    """Names the default stream, whatever was written on."""

    def cai_stream(self) -> int | None:
        """Always 1."""
        return LEGACY


class PublishesNothing(Exporter):
    """Names no stream."""

    def cai_stream(self) -> int | None:
        """Never."""
        return None


BROKEN: list[tuple[str, str, dict[str, str], Callable[[], Libraries], Level]] = [
    ("non-blocking", "reference", {}, lambda: libraries(Blocking), Level.MUST),
    ("barrier", "cupy", {}, lambda: libraries(importer=NeverWaits), Level.MUST),
    ("barrier", "cupy", {}, lambda: libraries(importer=AlwaysWaits), Level.MUST),
    ("default-streams", "reference", {"stream": "legacy"}, lambda: libraries(importer=TrustsDefaults), Level.MUST),
    ("default-streams", "reference", {"stream": "zero"}, lambda: libraries(importer=TrustsDefaults), Level.MUST),
    ("default-streams", "reference", {"stream": "per-thread"}, lambda: libraries(importer=TrustsDefaults), Level.MUST),
    ("default-streams", "reference", {"stream": "legacy"}, lambda: libraries(importer=DefaultsByEvent), Level.OBSERVED),
    ("later-use", "cupy", {}, lambda: libraries(Forgetful), Level.MUST),
    ("later-use", "torch", {}, lambda: libraries(Heavy), Level.MUST),
    ("chain", "cvcuda", {}, lambda: libraries(importer=NeverWaits), Level.MUST),
    ("chain", "cvcuda", {}, lambda: libraries(importer=AlwaysWaits), Level.MUST),
    ("chain", "cvcuda", {}, lambda: libraries(exporter=PublishesNothing), Level.MUST),
    ("true-writer", "cvcuda", {"written": "first", "current": "same"}, lambda: libraries(exporter=PublishesTheDefault), Level.MUST),
    ("true-writer", "cvcuda", {"written": "first", "current": "other"}, lambda: libraries(exporter=PublishesNothing), Level.MUST),
    ("filled-inside", "cupy", {}, lambda: libraries(importer=NeverWaits), Level.MUST),
    ("opt-out", "cupy", {}, lambda: libraries(importer=AlwaysWaits), Level.MUST),
    ("torch-order", "torch", {"how": "outside"}, lambda: libraries(importer=TrustsDefaults), Level.MUST),
    ("torch-at-as-tensor", "torch", {}, lambda: libraries(importer=TrustsDefaults), Level.OBSERVED),
]  # fmt: skip


@pytest.mark.parametrize(("name", "producer", "parameters", "make", "level"), BROKEN)
def test_a_broken_promise_is_noticed(
    name: str, producer: str, parameters: dict[str, str], make: Callable[[], Libraries], level: Level
) -> None:
    """With what was expected, what was seen, and how much that matters."""
    result = run(make(), name, producer, **parameters)
    assert (result.outcome, result.level) == (Outcome.FAIL, level), (result.reason, result.attachments)
    assert all((result.reason, result.expected, result.seen))


def test_every_promise_has_one_that_breaks_it() -> None:
    """A check that cannot fail is a defect."""
    names = {name for name in catalogue() if name.startswith("stream-claim.")}
    assert names == {f"stream-claim.{name}" for name, *_ in BROKEN}


def test_a_pytorch_that_publishes_its_stream_is_told_of() -> None:
    """What the page says of it then no longer applies."""
    found = libraries()
    found["torch"].exporter_class = Exporter  # type: ignore[attr-defined]
    result = run(found, "torch-at-as-tensor", "torch")
    assert (result.outcome, result.level) == (Outcome.FAIL, Level.OBSERVED)
    assert "publishes" in result.reason
