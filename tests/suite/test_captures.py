"""How exchanges in a capture are judged, on the simulated device: what is named, how bad it is, and what is left behind."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest

from conformance.adapters.base import Adapter, Device, Protocol
from conformance.adapters.reference import ReferenceAdapter
from conformance.checks.catalogue import catalogue
from conformance.checks.codes import Code
from conformance.checks.libraries import Environment
from conformance.checks.outcomes import Failure, Inconclusive, Outcome, Side
from conformance.cuda.capture import Capturing
from conformance.execution.results import Result
from conformance.execution.workbench import Workbench
from conformance.faults import all_faults
from conformance.ordering import capturing
from conformance.ordering.capturing import Handover, Sides, Stand, captured, content
from conformance.protocols.clauses import Level, Role
from conformance.protocols.dtypes import dtype
from conformance.reference import streams
from conformance.reference.exporter import Exporter
from conformance.reference.importer import Importer
from conformance.reference.streams import WorkStream

from .conftest import Runner

DEVICE = streams.simulated()
KINDS = ("bool", "int8", "int32", "uint64", "float16", "bfloat16", "float32", "float64", "complex64", "complex128")


@pytest.fixture
def stream() -> Iterator[int]:
    """A stream of the simulated device."""
    made = DEVICE.create()
    yield made
    DEVICE.destroy(made)


def failed(run_reference: Runner, invariant: str, fault: str) -> list[Result]:
    """The failing results of a fault of this family."""
    found = run_reference(invariant, all_faults()[f"capture.{fault}"], (Device.SIMULATED,))
    return [r for r in found if r.outcome is Outcome.FAIL]


@pytest.mark.parametrize(
    ("invariant", "fault", "level", "clause", "code"),
    [
        ("export-stream", "SynchronizesForMinusOne", Level.MUST, "DLP-32", Code.UNINVITED_WAIT),
        ("export-stream", "TakesMinusOneForTheLegacyStream", Level.MUST, "DLP-32", Code.UNINVITED_WAIT),
        ("export-stream", "AllocatesWhenItExports", Level.OBSERVED, "CUD-08", Code.CAPTURE_BROKEN),
        ("export-stream", "ExportsATemporary", Level.MUST, "DLP-43", Code.NOT_SHARED),
        ("same-stream", "SynchronizesItsStream", Level.OBSERVED, "CUD-08", Code.CAPTURE_BROKEN),
        ("same-stream", "WaitsForAnEventFromOutside", Level.OBSERVED, "CUD-08", Code.CAPTURE_BROKEN),
        ("same-stream", "LeavesAStreamUnjoined", Level.OBSERVED, "CUD-08", Code.CAPTURE_BROKEN),
        ("same-stream", "CannotWorkAfterACapture", Level.SHOULD, "DLP-58", Code.UNUSABLE_AFTER_CAPTURE),
        ("pipeline", "AsksForTheLegacyStream", Level.SHOULD, "DLP-35", Code.WRONG_STREAM_NAMED),
        ("replay", "ExportsATemporary", Level.MUST, "DLP-43", Code.REPLAY_WRONG),
        ("replay", "ExportsATemporary", Level.MUST, "CAI-05", Code.REPLAY_WRONG),
        ("replay", "KeepsATemporary", Level.MUST, "CAI-32", Code.REPLAY_WRONG),
        ("one-side", "IgnoresTheCapturedWrite", Level.OBSERVED, "CAI-18", Code.READ_NOT_CAPTURED),
        ("blocking", "UsesTheLegacyStream", Level.OBSERVED, "CUD-09", Code.CAPTURE_BROKEN),
        ("drop", "SynchronizesInTheDeleter", Level.SHOULD, "CUD-08", Code.CAPTURE_BROKEN_BY_DROP),
        ("exchange-api", "SynchronizesInTheTable", Level.MUST, "DLX-04", Code.CAPTURE_BROKEN),
        ("current-stream", "AnswersTheDefaultStream", Level.MUST, "DLX-04", Code.WRONG_CURRENT_STREAM),
    ],
)
def test_a_fault_is_as_bad_as_the_documents_say(
    run_reference: Runner, invariant: str, fault: str, level: Level, clause: str, code: Code
) -> None:
    """A wait that is allowed elsewhere is reported; one for -1, a wrong stream and wrong data are more than that."""
    seen = {(r.level, r.clause, r.code) for r in failed(run_reference, f"capture.{invariant}", fault)}
    assert (level, clause, code.value) in seen


def test_a_stream_that_is_named_wrongly_is_one_mistake_of_the_consumer(run_reference: Runner) -> None:
    """Whatever the element type: our own instruments have seen the argument."""
    found = [
        r
        for invariant in ("same-stream", "pipeline")
        for r in failed(run_reference, f"capture.{invariant}", "AsksForTheLegacyStream")
    ]
    named = [r for r in found if r.code == Code.WRONG_STREAM_NAMED.value]
    assert named
    assert {(r.given, r.role, r.accused.side if r.accused else None) for r in named} == {
        ("", Role.CONSUMER, Side.CONSUMER)
    }


def test_an_allocation_is_never_a_violation(run_reference: Runner) -> None:
    """It waits for nobody, so -1 does not forbid it."""
    assert {r.level for r in failed(run_reference, "capture.export-stream", "AllocatesWhenItExports")} == {
        Level.OBSERVED
    }


def test_memory_that_goes_with_the_import_is_only_reported(run_reference: Runner) -> None:
    """To free it can be forbidden by CUDA; to drop an import of what is kept cannot."""
    by_array = {
        (r.case.option("array"), r.level) for r in failed(run_reference, "capture.drop", "SynchronizesInTheDeleter")
    }
    assert by_array == {("kept", Level.SHOULD), ("last", Level.OBSERVED)}


def test_the_step_that_breaks_a_capture_is_named_with_what_it_raised(stream: int) -> None:
    """Later steps are not run."""
    ran: list[str] = []
    seen = captured(
        DEVICE,
        stream,
        [
            ("one", lambda: ran.append("one")),
            ("two", lambda: DEVICE.synchronize(stream)),
            ("three", lambda: ran.append("3")),
        ],
    )
    assert (seen.graph, seen.step, seen.invalidated, ran) == (None, "two", True, ["one"])
    assert "cudaErrorStreamCaptureUnsupported" in seen.raised


def test_a_swallowed_error_is_seen_by_how_the_stream_stands(stream: int) -> None:
    """Nothing was raised, the capture is broken all the same."""

    def swallow() -> None:
        try:
            DEVICE.synchronize(stream)
        except RuntimeError:
            pass

    seen = captured(DEVICE, stream, [("quiet", swallow)])
    assert (seen.step, seen.raised, seen.invalidated) == ("quiet", "", True)


def test_a_refusal_of_the_library_alone_is_told_apart(stream: int) -> None:
    """The capture stays as it was."""

    def refuse() -> None:
        raise RuntimeError("not in a capture")

    seen = captured(DEVICE, stream, [("step", refuse)])
    assert (seen.step, seen.invalidated, seen.graph) == ("step", False, None)
    assert DEVICE.capturing(stream) is Capturing.NO


def test_nothing_is_left_behind_whatever_happens(stream: int) -> None:
    """The capture ends and garbage is collected again, also when the check is interrupted; a failure comes out."""

    def interrupt() -> None:
        assert not gc.isenabled()
        raise KeyboardInterrupt

    def find() -> None:
        raise Failure(Code.CAPTURE_BROKEN, "CUD-08", Role.PRODUCER, Level.OBSERVED, "reason", "expected", "seen")

    with pytest.raises(KeyboardInterrupt):
        captured(DEVICE, stream, [("step", interrupt)])
    with pytest.raises(Failure):
        captured(DEVICE, stream, [("step", find)])
    assert gc.isenabled()
    assert DEVICE.capturing(stream) is Capturing.NO


def test_without_a_control_there_is_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that lets a host synchronisation pass shows nothing."""
    capturing.control.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(type(DEVICE), "synchronize", lambda self, stream: None)
        with pytest.raises(Inconclusive):
            capturing.control(Device.SIMULATED)
    assert "broke the capture" in capturing.control(Device.SIMULATED)


@pytest.mark.parametrize("name", KINDS)
def test_contents_of_every_seed_differ_and_fill_an_operand(name: str) -> None:
    """No replay can be mistaken for another."""
    kind = dtype(name)
    contents = {content(kind, seed) for seed in range(4)}
    assert len(contents) == 4
    assert {len(each) for each in contents} == {256 * kind.itemsize}
    assert bytes(256 * kind.itemsize) not in contents


# -- libraries whose own work cannot be captured


class _CopyingWaits(Exporter):
    """Its library waits for the device in every operation of its own."""

    def copy(self, into: int, stream: WorkStream) -> None:
        """And waits."""
        super().copy(into, stream)
        self.memory.streams().synchronize_device()

    def fill(self, value: int, stream: WorkStream) -> None:
        """And waits."""
        super().fill(value, stream)
        self.memory.streams().synchronize_device()


class _ReadingWaits(Importer):
    """The same with imports."""

    def copy(self, into: int, taken: Any) -> None:
        """And waits."""
        super().copy(into, taken)
        self.memory.streams().synchronize_device()


class _RefusesInCaptures(Importer):
    """Takes nothing while its stream is being captured."""

    def check_device(self, device: Any) -> None:
        """Refuse, and leave the capture alone."""
        if self.memory.streams().capturing(self.work_stream) is not Capturing.NO:
            raise BufferError("not while the stream is being captured")
        super().check_device(device)


def run(
    environment: Environment, invariant: str, exporter: type[Exporter] = Exporter, importer: type[Importer] = Importer
) -> list[Result]:
    """Every DLPack case of an invariant with such a library on the simulated device."""
    adapter: Adapter = ReferenceAdapter()
    adapter.exporter_class, adapter.importer_class = exporter, importer  # type: ignore[attr-defined]
    entry, bench = catalogue()[invariant], Workbench({"reference": adapter})
    cases = [c for c in entry.cases(environment) if c.device is Device.SIMULATED and c.protocol == "dlpack"]
    return [bench.run(case, entry) for case in cases]


@pytest.mark.parametrize("invariant", ["capture.same-stream", "capture.pipeline", "capture.replay"])
def test_what_a_library_can_never_capture_is_done_by_us(reference_environment: Environment, invariant: str) -> None:
    """The exchange is not accused of it, and the result says so."""
    results = run(reference_environment, invariant, _CopyingWaits, _ReadingWaits)
    assert {r.outcome for r in results} == {Outcome.PASS}
    assert all("by the suite" in r.attachments["copy"] for r in results)
    if invariant == "capture.pipeline":
        assert all("by the suite" in r.attachments["write"] for r in results)


def test_who_breaks_a_capture_with_imports_only_is_found_out(reference_environment: Environment) -> None:
    """Its own arrays show that it could do better."""
    results = run(reference_environment, "capture.same-stream", importer=_ReadingWaits)
    assert {r.outcome for r in results} == {Outcome.FAIL}
    assert {r.reason for r in results} == {"the consumer's own copy breaks the capture"}


def test_a_library_that_says_no_in_a_capture_refuses(reference_environment: Environment) -> None:
    """That is clean."""
    results = run(reference_environment, "capture.same-stream", importer=_RefusesInCaptures)
    assert {r.outcome for r in results} == {Outcome.REFUSED}
    assert all("not while the stream is being captured" in r.reason for r in results)


# -- blame


class _TwoAttempts(Importer):
    """Asks in a way that the producer does not know, then again, and breaks the capture by itself."""

    def call_dlpack(self, source: Any, requested: dict[str, Any]) -> Any:
        """As a careful importer."""
        with pytest.raises(TypeError):
            source.__dlpack__(unknown=1)
        made = super().call_dlpack(source, requested)
        self.memory.streams().synchronize(self.work_stream)
        return made


class _BreaksBefore(Importer):
    """Breaks the capture, says nothing, and asks the producer then."""

    def call_dlpack(self, source: Any, requested: dict[str, Any]) -> Any:
        """After the wait."""
        try:
            self.memory.streams().synchronize(self.work_stream)
        except RuntimeError:
            pass
        return super().call_dlpack(source, requested)


@pytest.mark.parametrize("importer", [_TwoAttempts, _BreaksBefore])
def test_the_producer_is_not_blamed_for_what_the_consumer_does(importer: type[Importer]) -> None:
    """Neither for an attempt that was refused nor for a capture that was broken when it was asked."""
    consumer = ReferenceAdapter()
    consumer.importer_class = importer  # type: ignore[misc]
    sides = Sides(ReferenceAdapter(), consumer, Protocol.DLPACK, Device.SIMULATED, dtype("int32"))
    work = Handover(sides, Stand.SAME)
    work.rehearse()
    seen = captured(work.streams, work.captured, work.steps)
    assert seen.invalidated
    assert work.blame(seen) == (Role.CONSUMER, "reference's import")
