"""The family ``devices`` without a GPU: what is planned, how it is judged, and what the programs of fresh interpreters tell."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from conformance.adapters.base import Adapter, Device, Protocol
from conformance.adapters.reference import ReferenceAdapter
from conformance.checks import interpreter
from conformance.checks.catalogue import Case, catalogue
from conformance.checks.interpreter import Ended
from conformance.checks.libraries import Environment
from conformance.checks.outcomes import Outcome
from conformance.cuda import context, pointers
from conformance.execution.environment import Facts
from conformance.execution.plan import Selection, restrict
from conformance.execution.results import Result
from conformance.execution.workbench import Workbench
from conformance.faults import all_faults
from conformance.programs import on_gpus
from conformance.protocols.clauses import Level
from conformance.reference import gpus
from conformance.reference.exporter import Exporter
from conformance.reference.importer import Imported, Importer
from conformance.reference.memory import Memory, simulated
from conformance.reference.streams import WorkStream

from .conftest import Runner

FAMILY = {name: entry for name, entry in catalogue().items() if entry.family == "devices"}


def on_cuda(environment: Environment, count: int) -> Environment:
    """The reference as if it had a GPU, or several."""
    (library,) = environment.libraries
    side = library.sides[Device.SIMULATED]
    return Environment((dataclasses.replace(library, sides={Device.CUDA: side}),), count)


@pytest.mark.parametrize(("count", "planned"), [(0, False), (1, False), (2, True), (8, True)])
def test_cuda_cases_are_planned_where_two_gpus_are_visible(
    count: int, planned: bool, reference_environment: Environment
) -> None:
    """Every invariant of the family, and none with fewer."""
    environment = on_cuda(reference_environment, count)
    assert {name for name, entry in FAMILY.items() if any(entry.cases(environment))} == (
        set(FAMILY) if planned else set()
    )


def test_the_number_of_gpus_is_in_the_environment_and_survives_a_selection(reference_environment: Environment) -> None:
    """It is what the driver tells; a selection of libraries leaves it alone."""
    shown = {"available": True, "gpus": [{"ordinal": 0}, {"ordinal": 1}]}
    data = {"libraries": [library.to_json() for library in reference_environment.libraries], "driver": shown}
    measured = Facts.from_json(data).environment
    assert measured.gpus == 2
    assert restrict(measured, Selection(between=("reference",))).gpus == 2
    assert Facts.from_json({**data, "driver": {"available": False, "reason": "none"}}).environment.gpus == 0


# -- judgement, on the simulated device


def run(name: str, adapter: Adapter, protocol: Protocol, **parameters: str) -> Result:
    """One case of the reference, or of what stands in its place, with itself."""
    case = Case(
        f"devices.{name}", "reference", "reference", protocol.value, Device.SIMULATED, tuple(parameters.items())
    )
    return Workbench({"reference": adapter}).run(case, FAMILY[case.invariant])


def using(*, exporter: type[Exporter] = Exporter, importer: type[Importer] = Importer) -> ReferenceAdapter:
    """The reference with one side replaced."""
    adapter = ReferenceAdapter()
    adapter.exporter_class = exporter  # type: ignore[misc]
    adapter.importer_class = importer  # type: ignore[misc]
    return adapter


def fault(name: str) -> ReferenceAdapter:
    """The reference with a fault of this family."""
    found = all_faults()[f"devices.{name}"]
    return using(exporter=found.exporter, importer=found.importer)


class OnlyCurrent(Exporter):
    """Exports nothing of another GPU than the current one, as PyTorch does."""

    def check_device(self, dl_device: tuple[int, int] | None) -> None:
        """By the current GPU."""
        if gpus.SIMULATED.current() != self.device()[1]:
            raise BufferError("Can't export tensors on a different CUDA device index")
        super().check_device(dl_device)


class CannotReadElsewhere(ReferenceAdapter):
    """Accepts an array for the other GPU, and finds out later that it cannot get there."""

    def read(self, array: Any) -> bytes:
        """Never."""
        raise RuntimeError("CUDA error: invalid argument")


def test_an_import_that_cannot_be_read_elsewhere_is_refused_late() -> None:
    """Nobody got wrong data, so it is a deviation."""
    result = run("import-elsewhere", CannotReadElsewhere(), Protocol.CAI, where="on-1-current-1")
    assert (result.outcome, result.level) == (Outcome.FAIL, Level.SHOULD)
    assert "cannot be read" in result.reason


@pytest.mark.parametrize("name", ["reported", "kept"])
@pytest.mark.parametrize(
    ("where", "outcome"),
    [("on-1-current-0", Outcome.REFUSED), ("on-0-current-1", Outcome.REFUSED), ("on-1-current-1", Outcome.PASS)],
)
def test_refusing_an_array_of_another_gpu_than_the_current_is_allowed(name: str, where: str, outcome: Outcome) -> None:
    """Nothing promises that such an array is exported."""
    result = run(name, using(exporter=OnlyCurrent), Protocol.DLPACK, where=where)
    assert result.outcome is outcome, (result.reason, result.seen)


class NeverTheSecond(Exporter):
    """Exports nothing of the second GPU."""

    def check_device(self, dl_device: tuple[int, int] | None) -> None:
        """By the array's GPU."""
        if self.device()[1]:
            raise BufferError("GPU 1 is not supported")


def test_refusing_an_array_on_its_own_gpu_breaks_a_promise() -> None:
    """A plain array is exchangeable on the second GPU as on the first."""
    result = run("kept", using(exporter=NeverTheSecond), Protocol.DLPACK, where="on-1-current-1")
    assert (result.outcome, result.level, result.clause) == (Outcome.FAIL, Level.MUST, "DLP-46")


@pytest.mark.parametrize(("protocol", "level"), [(Protocol.DLPACK, Level.MUST), (Protocol.CAI, Level.OBSERVED)])
def test_a_copy_to_the_current_gpu_is_judged_by_what_the_protocol_promises(protocol: Protocol, level: Level) -> None:
    """DLPack wants the source's device; the array interface names none."""
    result = run("kept", fault("CopiesToTheCurrentGpu"), protocol, where="on-1-current-0")
    assert (result.outcome, result.level) == (Outcome.FAIL, level)


@pytest.mark.parametrize(("protocol", "level"), [(Protocol.DLPACK, Level.MUST), (Protocol.CAI, Level.SHOULD)])
def test_the_right_memory_under_a_wrong_number_is_a_finding(protocol: Protocol, level: Level) -> None:
    """Looking the pointer up is what the array interface only advises."""
    result = run("kept", fault("ImportsToTheFirstGpu"), protocol, where="on-1-current-1")
    assert (result.outcome, result.level, result.seen) == (Outcome.FAIL, level, "(2, 0)")


@pytest.mark.parametrize("protocol", list(Protocol))
@pytest.mark.parametrize("name", ["kept", "mixed"])
def test_wrong_elements_are_a_violation(name: str, protocol: Protocol) -> None:
    """Whatever else is wrong."""
    axis = {"where": "on-1-current-0"} if name == "kept" else {"first": "gpu-0-first"}
    result = run(name, fault("ZerosFromElsewhere"), protocol, **axis)
    assert (result.outcome, result.level) == (Outcome.FAIL, Level.MUST)


class Misplaced(ReferenceAdapter):
    """Makes arrays on the first GPU, whatever is current, or streams."""

    what = "arrays"

    @contextmanager
    def on_gpu(self, ordinal: int, device: Device) -> Iterator[None]:
        """The arrays' memory is the first GPU's; the streams' is, if they are meant."""
        with super().on_gpu(0, device):
            if self.what == "arrays":
                with gpus.SIMULATED.using(ordinal):
                    yield
                return
            self._ordinal = ordinal
            yield


class MisplacedStreams(Misplaced):
    """Streams of the first GPU, arrays of the right one."""

    what = "streams"


@pytest.mark.parametrize(
    ("name", "axes"),
    [
        ("reported", {"where": "on-1-current-0"}),
        ("kept", {"where": "on-1-current-1"}),
        ("handover", {"where": "on-1-current-0"}),
    ],
)
def test_an_array_that_was_not_made_where_it_should_be_decides_nothing(name: str, axes: dict[str, str]) -> None:
    """That it was not is another invariant's finding."""
    result = run(name, Misplaced(), Protocol.DLPACK, **axes)
    assert (result.outcome, "made its array on GPU 0" in result.reason) == (Outcome.INCONCLUSIVE, True), result.reason


def test_a_stream_that_was_not_made_where_it_should_be_decides_nothing() -> None:
    """An order within one GPU says nothing of one between two."""
    result = run("handover", MisplacedStreams(), Protocol.DLPACK, where="on-1-current-0")
    assert (result.outcome, "stream on GPU 0" in result.reason) == (Outcome.INCONCLUSIVE, True), result.reason


@pytest.mark.parametrize(
    ("name", "protocol", "clause"),
    [
        ("OrdersForTheCurrentGpu", Protocol.DLPACK, "DLP-33"),
        ("AsksForTheCurrentGpu", Protocol.DLPACK, "DLP-35"),
        ("PublishesForTheCurrentGpu", Protocol.CAI, "CAI-22"),
        ("FollowsOnTheCurrentGpu", Protocol.CAI, "CAI-18"),
    ],
)
def test_blame_falls_on_the_side_that_fails_with_a_flawless_partner(name: str, protocol: Protocol, clause: str) -> None:
    """And only while the other GPU is current."""
    assert run("handover", fault(name), protocol, where="on-1-current-1").outcome is Outcome.PASS
    result = run("handover", fault(name), protocol, where="on-1-current-0")
    assert (result.outcome, result.clause) == (Outcome.FAIL, clause), result.attachments


def test_every_pass_of_order_shows_its_control(run_reference: Runner) -> None:
    """A case that could not be seen to fail is none."""
    for name in ("devices.handover", "devices.dictionary-stream", "devices.export-stream"):
        results = run_reference(name)
        assert results
        assert all("out of order" in r.attachments["control"] for r in results)


def test_a_pass_without_a_control_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing overtakes, even with the wait taken out, nothing was shown."""
    from conformance.ordering import two_gpus

    monkeypatch.setattr(two_gpus.Handed, "in_order", lambda self: True)
    result = run("handover", ReferenceAdapter(), Protocol.DLPACK, where="on-1-current-0")
    assert result.outcome is Outcome.INCONCLUSIVE


def test_a_case_leaves_the_gpu_current_that_was() -> None:
    """Even where the library does not."""
    run("current-kept", fault("LeavesTheArraysGpuCurrent"), Protocol.DLPACK, where="on-1-current-0")
    run("current-kept-when-refused", fault("ForgetsTheCurrentGpuWhenItRaises"), Protocol.DLPACK,
        where="on-1-current-0", refusal="raises")  # fmt: skip
    assert gpus.SIMULATED.current() == 0


# -- fresh interpreters


def answer(monkeypatch: pytest.MonkeyPatch, *records: dict[str, object], code: int | None = 0) -> list[tuple[str, ...]]:
    """Have the next programs end like this; what they are called with."""
    calls: list[tuple[str, ...]] = []

    def ended(*arguments: str) -> Ended:
        calls.append(arguments)
        return Ended(code, records)

    monkeypatch.setattr(interpreter, "run", ended)
    return calls


def judged(name: str, **parameters: str) -> Result:
    """A case that only starts a program."""
    case = Case(f"devices.{name}", "one", "two", "dlpack", Device.HOST, tuple(parameters.items()))
    return Workbench({}).run(case, FAMILY[case.invariant])


RIGHT: dict[str, object] = {"gpu": 1, "lies": 1, "said": [2, 1], "values": "right", "told": [2, 1]}
CLEAN: dict[str, object] = {"after": "the import of one", "first_gpu": False}


@pytest.mark.parametrize(
    ("records", "outcome", "level"),
    [
        ([CLEAN, RIGHT], Outcome.PASS, Level.OBSERVED),
        ([CLEAN, {"after": "two imported an array", "first_gpu": True}, RIGHT], Outcome.FAIL, Level.OBSERVED),
        ([CLEAN, {**RIGHT, "values": "00"}], Outcome.FAIL, Level.MUST),
        ([CLEAN, {**RIGHT, "said": [2, 0]}], Outcome.FAIL, Level.MUST),
        ([CLEAN, {**RIGHT, "told": [2, 0]}], Outcome.FAIL, Level.MUST),
        ([CLEAN, {**RIGHT, "told": None}], Outcome.PASS, Level.OBSERVED),
        ([CLEAN, {**RIGHT, "lies": 0}], Outcome.INCONCLUSIVE, Level.OBSERVED),
        ([CLEAN, {"gpu": 1, "lies": 1, "said": [2, 1], "refused": "no"}], Outcome.REFUSED, Level.OBSERVED),
        ([CLEAN], Outcome.INCONCLUSIVE, Level.OBSERVED),
    ],
)
def test_a_context_on_a_gpu_that_nobody_chose_is_observed(
    records: list[dict[str, object]], outcome: Outcome, level: Level, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what the exchange itself did counts as everywhere."""
    answer(monkeypatch, *records)
    result = judged("untouched")
    assert (result.outcome, result.level) == (outcome, level), result.reason


def test_the_one_after_whom_the_context_was_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first step after which it was seen."""
    later = {"after": "two imported an array", "first_gpu": True}
    answer(monkeypatch, CLEAN, {"after": "one made an array", "first_gpu": True}, later, RIGHT)
    assert judged("untouched").seen == "a context after one made an array"


def test_a_death_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    """As anywhere."""
    answer(monkeypatch, {"step": "import by two on GPU 1"}, code=-11)
    for result in (judged("untouched"), judged("remapped", visible="swapped")):
        assert (result.outcome, result.level) == (Outcome.FAIL, Level.MUST)


@pytest.mark.parametrize(
    ("shown", "visible", "arguments"),
    [
        (None, "swapped", ("1,0", "0,1")),
        (None, "second", ("1", "0")),
        ("GPU-a,GPU-b,GPU-c", "swapped", ("GPU-b,GPU-a", "0,1")),
        ("4,6", "second", ("6", "0")),
    ],
)
def test_gpus_are_renumbered_within_what_is_visible(
    shown: str | None, visible: str, arguments: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By number or by name, as the user has them."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if shown:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
    calls = answer(monkeypatch, {**RIGHT, "gpu": 0, "lies": 0, "said": [2, 0], "told": [2, 0]})
    assert judged("remapped", visible=visible).outcome is Outcome.PASS
    assert calls[0][2:] == arguments


@pytest.mark.parametrize("wrong", [{"said": [2, 1]}, {"told": [2, 1]}, {"values": "00"}])
def test_the_machines_number_in_place_of_the_processs_is_a_violation(
    wrong: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On either side."""
    answer(monkeypatch, {**RIGHT, "gpu": 0, "lies": 0, "said": [2, 0], "told": [2, 0], **wrong})
    result = judged("remapped", visible="second")
    assert (result.outcome, result.level) == (Outcome.FAIL, Level.MUST)


class OnSimulated(ReferenceAdapter):
    """The reference under another name, with simulated memory for a GPU's."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name  # type: ignore[misc]

    def memory(self, device: Device) -> Memory:
        """Simulated, whatever is asked for."""
        return simulated(self._ordinal)

    @contextmanager
    def on_gpu(self, ordinal: int, device: Device) -> Iterator[None]:
        """Simulated."""
        with super().on_gpu(ordinal, Device.SIMULATED):
            yield

    def array(self, dtype: Any, shape: tuple[int, ...], data: bytes, device: Device) -> Any:
        """In host memory, which is written as such."""
        return super().array(dtype, shape, data, Device.SIMULATED)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the program tells, run here with make-believe libraries and contexts; GPU 0 has one once it was current."""
    records: list[dict[str, Any]] = []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("CUDA_DEVICE", "")
    monkeypatch.setattr(on_gpus.registry, "create", OnSimulated)
    monkeypatch.setattr(on_gpus, "tell", lambda **record: records.append(record))
    monkeypatch.setattr(context, "primary", lambda ordinal=0: ordinal)
    monkeypatch.setattr(context, "set_current", gpus.SIMULATED.set_current)
    monkeypatch.setattr(context, "primary_is_active", lambda ordinal=0: gpus.SIMULATED.current() == ordinal)
    monkeypatch.setattr(pointers, "ordinal_of", lambda address: simulated().device_of(address)[1])
    return records


@pytest.fixture(autouse=True)
def first_gpu() -> Iterator[None]:
    """What these tests make current is not so for others."""
    with gpus.SIMULATED.using(0):
        yield


def test_the_program_tells_a_refusal_and_wrong_elements(
    told: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest of the record stands beside it."""
    case = Case("devices.untouched", "one", "two", "dlpack", Device.CUDA)

    def refuse(*_: Any, **__: Any) -> Imported:
        raise BufferError("not from there")

    takes: list[Callable[..., Any]] = [
        refuse,
        lambda self, offer, protocol, device: self.empty(on_gpus._KIND, (3, 4), device),
    ]
    for take in takes:
        monkeypatch.setattr(OnSimulated, "take", take)
        on_gpus.main(case, "", (1,))
    refused, wrong = (record for record in told if "gpu" in record)
    assert "not from there" in refused["refused"]
    assert wrong["values"] == "00" * 48


# -- adapters


def test_a_stream_of_the_simulated_device_belongs_to_the_gpu_that_was_current() -> None:
    """As a stream of CUDA belongs to a context."""
    streams = simulated().streams()
    with gpus.SIMULATED.using(1):
        second = WorkStream(streams)
    first = WorkStream(streams)
    assert (streams.gpu_of(first.handle), streams.gpu_of(second.handle)) == (0, 1)


def test_current_gpus_nest() -> None:
    """Also where an exception ends a block."""
    with gpus.SIMULATED.using(1):
        with pytest.raises(ValueError, match="out"), gpus.SIMULATED.using(0):
            raise ValueError("out")
        assert gpus.SIMULATED.current() == 1
    assert gpus.SIMULATED.current() == 0
