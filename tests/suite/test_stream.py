"""What the family ``stream`` makes of partners that are neither flawless nor plainly wrong, and its instruments."""

from __future__ import annotations

from typing import Any, cast

import pytest

from conformance.adapters.base import Device
from conformance.adapters.reference import ReferenceAdapter
from conformance.checks.outcomes import Inconclusive, Outcome
from conformance.execution.results import Result
from conformance.faults import Fault
from conformance.faults import stream as faults
from conformance.ordering.evidence import overtaken
from conformance.ordering.handover import stream_of
from conformance.ordering.published_streams import NEW_STREAMS, Published, described_while_pending, is_given_out_again
from conformance.protocols.clauses import Level
from conformance.reference.exporter import Exporter
from conformance.reference.importer import Importer
from conformance.reference.streams import LEGACY, Streams, WorkStream, simulated

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
    assert all("no control failed" in r.reason for r in results)


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
    assert (found.outcome, found.level, found.clause) == (Outcome.FAIL, level, clause)


def test_only_what_has_to_be_refused_deviates(run_reference: Runner) -> None:
    """The protocol tells importers to refuse a missing method, a wrong length and an unknown version; no more."""
    results = run_reference("stream.protocol-refusal", partner(importer=faults.TakesNoStreamForDefault), HERE)
    levels = {r.case.option("offered"): r.level for r in results if r.outcome is Outcome.FAIL}
    assert levels == {
        **dict.fromkeys(("missing", "none", "short", "long", "version"), Level.SHOULD),
        **dict.fromkeys(("attribute", "text-handle", "float-handle"), Level.OBSERVED),
    }


class Driver:
    """Gives the handle of the stream that was destroyed last to the next one, unless it forgets; says nothing of any handle."""

    def __init__(self, *dead: int, forgets: bool = False) -> None:
        self.free = list(dead)
        self.newest = 0
        self.forgets = forgets

    def create(self) -> int:
        if self.free:
            return self.free.pop()
        self.newest += 1
        return self.newest

    def destroy(self, stream: int) -> None:
        if not self.forgets:
            self.free.append(stream)


@pytest.mark.parametrize("dead", [(103,), (103, 7), tuple(range(103, 103 + NEW_STREAMS - 1))])
def test_a_handle_that_is_given_out_again_is_dead(dead: tuple[int, ...]) -> None:
    """Whatever else was destroyed meanwhile; the driver is asked nothing about it."""
    driver = Driver(*dead)
    assert is_given_out_again(cast(Streams, driver), 103)
    assert sorted(set(driver.free)) == sorted({*dead, *driver.free}), "nothing is left behind"


def test_a_handle_that_is_not_given_out_again_belongs_to_a_stream() -> None:
    """If the driver is seen to give out that of another stream again, which was destroyed in the same moment."""
    assert not is_given_out_again(cast(Streams, Driver()), 103)
    assert not is_given_out_again(cast(Streams, Driver(7, 8)), 103)


def test_with_a_driver_that_never_uses_a_handle_again_nobody_can_tell() -> None:
    """Neither that the stream lives nor that it does not."""
    with pytest.raises(Inconclusive, match="not known whether stream 0x67 was destroyed"):
        is_given_out_again(cast(Streams, Driver(forgets=True)), 103)


class KeepsTheStreamAndDropsIt(Exporter):
    """The stream that it publishes goes with its user's object in every second array only."""

    made = 0

    def fill(self, value: int, stream: WorkStream) -> None:
        super().fill(value, stream)
        type(self).made += 1
        if self.made % 2:
            self.writer = WorkStream(self.memory.streams(), stream.handle)


def test_a_stream_that_goes_now_and_then_is_seen_to_go(run_reference: Runner) -> None:
    """An object is let go more than once, so that the verdict is the same alone and in company."""
    KeepsTheStreamAndDropsIt.made = 1
    (result,) = run_reference("stream.outlives", partner(KeepsTheStreamAndDropsIt), HERE)
    assert (result.outcome, result.code, result.clause) == (Outcome.FAIL, "stream-destroyed", "CAI-28")


def test_a_dead_handle_is_never_used(run_reference: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even to ask the driver whether it is dead: on CUDA that may kill the process."""
    streams = simulated()
    for name in ("alive", "wait", "done", "synchronize"):
        monkeypatch.setattr(streams, name, lambda *_: pytest.fail("a handle was used"))
    (result,) = run_reference("stream.outlives", partner(faults.KeepsBareHandle), HERE)
    assert result.code == "stream-destroyed"


def test_every_pass_of_a_stream_that_lives_has_its_control(run_reference: Runner) -> None:
    """A stream of our own that was destroyed in the same moment."""
    (result,) = run_reference("stream.outlives", None, HERE)
    assert result.outcome is Outcome.PASS
    assert "the handle of a destroyed stream" in result.attachments["control of the handle"]


def test_a_control_that_waits_is_no_control() -> None:
    """The verdict of the case it belongs to cannot be believed then."""
    device, reference = Device.SIMULATED, ReferenceAdapter()
    own = stream_of(reference, "producer", device)
    with pytest.raises(Inconclusive, match="no control failed"):
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
