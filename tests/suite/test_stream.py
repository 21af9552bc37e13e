"""What the family ``stream`` makes of partners that are neither flawless nor plainly wrong, and its instruments."""

from __future__ import annotations

from typing import Any, cast

import pytest

from conformance.adapters.base import Device
from conformance.adapters.reference import ReferenceAdapter
from conformance.execution.results import Result
from conformance.protocols.clauses import Level
from conformance.reference.exporter import Exporter
from conformance.reference.faults import Fault
from conformance.reference.faults import stream as faults
from conformance.reference.importer import Importer
from conformance.reference.streams import LEGACY, Streams, WorkStream, simulated
from conformance.suite.order.evidence import overtaken
from conformance.suite.order.handover import stream_of
from conformance.suite.order.published import NEW_STREAMS, Published, described_while_pending, lives
from conformance.suite.outcomes import Inconclusive, Outcome

from .conftest import Runner

HERE = (Device.SIMULATED,)


def partner(exporter: type[Exporter] = Exporter, importer: type[Importer] = Importer) -> Fault:
    """A reference that differs in one class."""
    return Fault("stream.partner", "it differs", (), exporter, importer)


def only(results: list[Result], *options: str) -> Result:
    """The one case with these values."""
    (found,) = [r for r in results if tuple(value for _, value in r.case.parameters) == options]
    return found


class Joins(Exporter):
    """Publishes a stream of its own that it has ordered after the writer's."""

    def cai_stream(self) -> int | None:
        if self.writer is None:
            return None
        self.joined = WorkStream(self.memory.streams())
        self.memory.streams().wait(self.joined.handle, self.writer.handle)
        return self.joined.handle


class Waits(Exporter):
    """Names no stream, and has nothing pending once that can be read."""

    def cai_stream(self) -> int | None:
        if self.writer is not None:
            self.memory.streams().synchronize(self.writer.handle)
        return None


class WritesAtOnce(Exporter):
    """Writes on a stream that nobody knows, whatever stream it was given, and publishes none."""

    def fill(self, value: int, stream: WorkStream) -> None:
        super().fill(value, WorkStream(self.memory.streams()))
        self.writer = None


class Version2(Exporter):
    """As PyTorch's tensors."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        described = super().__cuda_array_interface__
        return {**{k: v for k, v in described.items() if k != "stream"}, "version": 2}


class Detour(Importer):
    """Names the default stream, and has its own wait for that one."""

    def stream(self) -> int | None:
        return LEGACY

    def call_dlpack(self, source: Any, requested: dict[str, Any]) -> Any:
        exported = super().call_dlpack(source, requested)
        self.memory.streams().wait(self.work_stream, LEGACY)
        return exported


def test_a_stream_that_joins_the_writers_is_as_good(run_reference: Runner) -> None:
    """What has to be covered is the write; how is the producer's affair."""
    results = run_reference("stream.published", partner(Joins), HERE)
    assert {r.outcome for r in results} == {Outcome.PASS}
    assert all("control of the stream" in r.attachments for r in results)


def test_who_waits_has_nothing_to_publish(run_reference: Runner) -> None:
    """None is true then."""
    assert {r.outcome for r in run_reference("stream.none-means-done", partner(Waits), HERE)} == {Outcome.PASS}


def test_nobody_is_accused_of_a_write_that_was_never_pending(run_reference: Runner) -> None:
    """The latch held a stream, but not the write."""
    results = run_reference("stream.none-means-done", partner(WritesAtOnce), HERE)
    assert {r.outcome for r in results} == {Outcome.INCONCLUSIVE}
    assert all("could not be seen to fail" in r.reason for r in results)


@pytest.mark.parametrize("name", ["stream.published", "stream.none-means-done", "stream.outlives"])
def test_version_2_promises_nothing(name: str, run_reference: Runner) -> None:
    """There is no duty, so there is neither a pass nor a failure."""
    assert {r.outcome for r in run_reference(name, partner(Version2), HERE)} == {Outcome.REFUSED}


def test_a_detour_is_observed_and_a_race_is_a_violation(run_reference: Runner) -> None:
    """Both name another stream than the current one; only one of them reads too early."""
    detour = only(run_reference("stream.passed-on", partner(importer=Detour), HERE), "stream")
    race = only(run_reference("stream.passed-on", partner(importer=faults.PassesDefault), HERE), "stream")
    assert (detour.outcome, detour.level) == (Outcome.FAIL, Level.OBSERVED)
    assert (race.outcome, race.level) == (Outcome.FAIL, Level.MUST)


@pytest.mark.parametrize(
    ("exporter", "stream", "level", "clause"),
    [
        (faults.StreamWithoutProtocol, "stream", Level.SHOULD, "STR-01"),
        (faults.StreamAsAttribute, "stream", Level.MUST, "STR-03"),
        (faults.StreamAsHandle, "stream", Level.MUST, "STR-01"),
        (faults.StreamAsText, "stream", Level.MUST, "STR-02"),
        (faults.StreamAsDefault, "stream", Level.MUST, "STR-01"),
        (faults.DefaultStreamAsZero, "default", Level.OBSERVED, "G8"),
    ],
)
def test_the_form_of_the_protocol_has_levels(
    exporter: type[Exporter], stream: str, level: Level, clause: str, run_reference: Runner
) -> None:
    """Not having it, having it wrongly and saying it ambiguously are different things."""
    found = only(run_reference("stream.protocol-form", partner(exporter), HERE), stream)
    assert (found.outcome, found.level, found.clauses) == (Outcome.FAIL, level, (clause,))


def test_only_what_has_to_be_refused_deviates(run_reference: Runner) -> None:
    """The protocol tells importers to refuse a missing method, a wrong length and an unknown version; no more."""
    results = run_reference("stream.protocol-refusal", partner(importer=faults.TakesNoStreamForDefault), HERE)
    levels = {r.case.option("offered"): r.level for r in results if r.outcome is Outcome.FAIL}
    assert levels == {
        **dict.fromkeys(("missing", "none", "short", "long", "version"), Level.SHOULD),
        **dict.fromkeys(("attribute", "text-handle", "float-handle"), Level.OBSERVED),
    }


class Driver:
    """Believes that every handle is alive, and gives out these."""

    def __init__(self, *handles: int) -> None:
        self.handles = list(handles)
        self.destroyed: list[int] = []

    def create(self) -> int:
        return self.handles.pop(0)

    def destroy(self, stream: int) -> None:
        self.destroyed.append(stream)

    def alive(self, stream: int) -> bool:
        return True


def test_a_handle_that_is_given_out_again_is_dead() -> None:
    """Whatever the driver says when it is asked."""
    driver = Driver(*range(100, 100 + NEW_STREAMS))
    assert not lives(cast(Streams, driver), 103)
    assert lives(cast(Streams, Driver(*range(100, 100 + NEW_STREAMS))), 99)
    assert driver.destroyed == list(range(100, 100 + NEW_STREAMS))


def test_a_control_that_waits_is_no_control() -> None:
    """The verdict of the case it belongs to cannot be believed then."""
    device, reference = Device.SIMULATED, ReferenceAdapter()
    own = stream_of(reference, "producer", device)
    with pytest.raises(Inconclusive, match="could not be seen to fail"):
        overtaken(simulated(), [("waits", lambda: Published(reference, device, own, own))])


def test_a_latch_that_lets_go_by_itself_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows then whether the write was pending."""
    streams = simulated()
    monkeypatch.setattr(streams, "hold", lambda stream, seconds: _Expired())
    device, reference = Device.SIMULATED, ReferenceAdapter()
    own = stream_of(reference, "producer", device)
    with pytest.raises(Inconclusive):
        described_while_pending(streams, lambda: Published(reference, device, own, own))


class _Expired:
    held = False
    expired = True

    def release(self) -> None: ...

    def close(self) -> None: ...
