"""Arrays that change threads, contexts and default streams: what the programs see, and how it is judged."""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from conformance.adapters.base import Adapter, Device, Protocol
from conformance.adapters.reference import ReferenceAdapter
from conformance.checks import interpreter
from conformance.checks.catalogue import Case, catalogue
from conformance.checks.concurrency import Beside
from conformance.checks.interpreter import Ended
from conformance.checks.libraries import Environment, Library, Side
from conformance.checks.outcomes import Outcome
from conformance.execution.results import Result
from conformance.execution.workbench import Workbench
from conformance.ordering import handover, two_contexts
from conformance.ordering.observation import Seen, Wait
from conformance.ordering.two_contexts import Across
from conformance.programs import default_stream, opt_out
from conformance.protocols.clauses import Level
from conformance.reference import streams
from conformance.reference.exporter import Exporter
from conformance.reference.importer import Importer
from conformance.reference.memory import Memory, simulated
from conformance.reference.streams import LEGACY, PER_THREAD, SimulatedStreams, WorkStream


def run(name: str, producer: str = "cupy", consumer: str = "cupy", **parameters: str) -> Result:
    """One case of an invariant that loads no library in this process."""
    case = Case(f"crossing.{name}", producer, consumer, "cai", Device.HOST, tuple(parameters.items()))
    return Workbench({}).run(case, catalogue()[case.invariant])


def answer(monkeypatch: pytest.MonkeyPatch, record: dict[str, Any], code: int | None = 0) -> None:
    """Have the next program end like this."""
    monkeypatch.setattr(interpreter, "run", lambda *_: Ended(code, (record,)))


class PerThread(ReferenceAdapter):
    """A library that works on the per-thread default stream while its switch is on, whatever its name."""

    def default_stream(self, device: Device) -> WorkStream:
        """As the switch says."""
        on = any(os.environ.get(switch) == "1" for switch in default_stream.SWITCHES.values())
        return self.foreign_stream(PER_THREAD if on else LEGACY, device)

    def take(self, offer: Any, protocol: Any, device: Device, **keywords: Any) -> Any:
        """On the default stream."""
        with self.using(self.default_stream(device)):
            return super().take(offer, protocol, device, **keywords)


class SwitchIgnored(PerThread):
    """Always works on the legacy stream."""

    def default_stream(self, device: Device) -> WorkStream:
        """1."""
        return self.foreign_stream(LEGACY, device)


class NamesLegacy(PerThread):
    """Names the legacy stream as a consumer."""

    def take(self, offer: Any, protocol: Any, device: Device, **keywords: Any) -> Any:
        """1."""
        with self.using(self.foreign_stream(LEGACY, device)):
            return ReferenceAdapter.take(self, offer, protocol, device, **keywords)


class _Silent(Exporter):
    """Publishes nothing."""

    def cai_stream(self) -> int | None:
        """Never."""
        return None


class Silent(PerThread):
    """Publishes nothing."""

    exporter_class = _Silent


def looked_at(monkeypatch: pytest.MonkeyPatch, adapter: Adapter, switch: str) -> Result:
    """The program runs here, on the simulated device; what it tells is judged as that of a real interpreter."""
    records: list[dict[str, Any]] = []
    for variable in default_stream.SWITCHES.values():
        monkeypatch.setenv(variable, "")
    adapter.name = "cuda_python"  # type: ignore[misc]
    monkeypatch.setattr(default_stream.registry, "create", lambda name: adapter)
    monkeypatch.setattr(default_stream, "tell", lambda **record: records.append(record))
    default_stream.main("cuda_python", switch, Device.SIMULATED)
    monkeypatch.undo()
    answer(monkeypatch, records[0])
    return run("default-stream", "cuda_python", "cuda_python", switch=switch)


@pytest.mark.parametrize(
    ("kind", "clause", "level"),
    [
        (SwitchIgnored, "CUD-04", Level.OBSERVED),
        (NamesLegacy, "DLP-35", Level.SHOULD),
        (Silent, "CAI-22", Level.MUST),
    ],
)
def test_another_default_stream_is_noticed(
    kind: type[PerThread], clause: str, level: Level, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A switch without effect, a wrong name, none at all."""
    result = looked_at(monkeypatch, kind(), "on")
    assert (result.outcome, result.level, result.clause) == (Outcome.FAIL, level, clause), result.attachments


@pytest.mark.parametrize(
    ("published", "named", "clause", "level"),
    [
        (0, 2, "CAI-16", Level.MUST),
        (1, 2, "CAI-22", Level.OBSERVED),
        (77, 2, "CAI-22", Level.MUST),
        (2, 0, "DLP-31", Level.MUST),
        (2, None, "DLP-35", Level.SHOULD),
        (2, 77, "DLP-35", Level.MUST),
    ],
)
def test_how_much_a_wrong_name_matters(
    published: int, named: int | None, clause: str, level: Level, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other default stream is ordered all the same; 0 and a stranger are not."""
    answer(monkeypatch, {"works_on": "per-thread", "publishes": published, "names": named})
    result = run("default-stream", switch="on")
    assert (result.outcome, result.level, result.clause) == (Outcome.FAIL, level, clause)


# -- opt-outs


class _AsTold(Importer):
    """Waits unless the switch is off."""

    def follow(self, published: int | None) -> None:
        """By the environment."""
        if os.environ.get("CUPY_CUDA_ARRAY_INTERFACE_SYNC") != "0":
            super().follow(published)


class _Export(Exporter):
    """Publishes the default stream under the version that the switch says."""

    def cai_stream(self) -> int | None:
        """None under version 2."""
        old = os.environ.get("CUPY_CUDA_ARRAY_INTERFACE_EXPORT_VERSION") == "2"
        self.cai_override = {"version": 2} if old else {}
        return None if old else LEGACY


class Cupy(ReferenceAdapter):
    """Has both switches."""

    importer_class = _AsTold
    exporter_class = _Export


class Deaf(Cupy):
    """Knows neither."""

    importer_class = Importer

    class exporter_class(Exporter):
        """Publishes the default stream."""

        def cai_stream(self) -> int | None:
            """Always."""
            return LEGACY


class OptedOut(Cupy):
    """Waits for nobody, without being asked to."""

    class importer_class(Importer):
        """Waits for nobody."""

        def follow(self, published: int | None) -> None:
            """Never."""


class Old(Cupy):
    """Publishes no stream, without being asked to."""

    exporter_class = _Silent


def switched(monkeypatch: pytest.MonkeyPatch, adapter: Adapter, switch: str) -> Result:
    """As :func:`looked_at`."""
    records: list[dict[str, Any]] = []
    for variable, _ in opt_out.SWITCHES.values():
        monkeypatch.setenv(variable, "")
    monkeypatch.setattr(opt_out.registry, "create", lambda name: adapter)
    monkeypatch.setattr(opt_out, "tell", lambda **record: records.append(record))
    opt_out.main(switch, Device.SIMULATED)
    monkeypatch.undo()
    answer(monkeypatch, records[0])
    return run("opt-out", "reference", "cupy", switch=switch)


@pytest.mark.parametrize(
    ("kind", "switch", "clause", "level"),
    [
        (Deaf, "wait", "LIB-10", Level.MUST),
        (Deaf, "version", "LIB-10", Level.MUST),
        (OptedOut, "none", "CAI-24", Level.SHOULD),
        (Old, "none", "CAI-24", Level.SHOULD),
    ],
)
def test_switches_that_do_not_work_are_noticed(
    kind: type[Cupy], switch: str, clause: str, level: Level, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And opt-outs that nobody has asked for."""
    result = switched(monkeypatch, kind(), switch)
    assert (result.outcome, result.level, result.clause) == (Outcome.FAIL, level, clause), result.attachments


# -- contexts


class InOneContext(ReferenceAdapter):
    """A library whose GPU is the simulated device."""

    def memory(self, device: Device) -> Memory:
        """Simulated, whatever is asked for."""
        return simulated()


class Refusing(InOneContext):
    """Takes nothing."""

    def take(self, offer: Any, protocol: Any, device: Device, **keywords: Any) -> Any:
        """Never."""
        raise RuntimeError("invalid device context")


def copied(name: str, *arguments: Any) -> None:
    """The driver's copies to and from the host, on host memory."""
    target, source, size = arguments
    ctypes.memmove(target, source, size.value)


def test_an_import_from_another_context_may_be_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """With make-believe libraries whose contexts are one."""
    kinds = {"pycuda": InOneContext, "cupy": Refusing}
    monkeypatch.setattr(two_contexts.registry, "create", lambda name: named(kinds[name](), name))
    monkeypatch.setattr(two_contexts, "BothContexts", lambda other: simulated().streams())
    monkeypatch.setattr(two_contexts.driver, "call", copied)
    for call in ("primary", "current", "set_current", "synchronize"):
        monkeypatch.setattr(two_contexts.context, call, lambda *_: 1)
    monkeypatch.setattr(two_contexts.context, "using", lambda handle: contextlib.nullcontext())
    monkeypatch.setattr(two_contexts.Handover, "accepted", False)
    result = run("contexts", "pycuda", "cupy", published="stream")
    assert result.outcome is Outcome.REFUSED, (result.reason, result.seen, result.attachments)


def named(adapter: Adapter, name: str) -> Adapter:
    """The adapter under this name."""
    adapter.name = name  # type: ignore[misc]
    return adapter


def across(*, waits: bool, in_order: bool, overtakes: bool = True) -> Across:
    """An exchange that was seen, with its control."""
    seen = Seen(Wait.EVENT if waits else Wait.NONE, in_order)
    return Across(seen, str(seen), True, "none, out of order", overtakes, {"version": 3, "stream": None})


@pytest.mark.parametrize(
    ("producer", "consumer", "published", "clause", "level"),
    [
        ("pycuda", "cupy", "stream", "CAI-18", Level.MUST),
        ("pycuda", "cupy", "as-it-is", "CAI-22", Level.MUST),
        ("cupy", "pycuda", "as-it-is", "CAI-21", Level.OBSERVED),
    ],
)
def test_whose_duty_order_across_contexts_is(
    producer: str, consumer: str, published: str, clause: str, level: Level, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the consumer of a published stream; of nobody, where users take the pointer."""
    monkeypatch.setattr(two_contexts, "look", lambda *_: across(waits=False, in_order=False))
    result = run("contexts", producer, consumer, published=published)
    assert (result.outcome, result.level, result.clause) == (Outcome.FAIL, level, clause)


@pytest.mark.parametrize(
    ("found", "outcome"),
    [
        (across(waits=True, in_order=True), Outcome.PASS),
        (across(waits=True, in_order=True, overtakes=False), Outcome.INCONCLUSIVE),
        (across(waits=True, in_order=False), Outcome.FAIL),
        (Across(None, "CudaError: illegal address", accepted=True), Outcome.FAIL),
        (Across(None, "invalid context"), Outcome.REFUSED),
    ],
)
def test_how_an_exchange_across_contexts_is_judged(
    found: Across, outcome: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No pass without a control, and what is unusable is not called disorder."""
    monkeypatch.setattr(two_contexts, "look", lambda *_: found)
    result = run("contexts", "pycuda", "cupy", published="stream")
    assert result.outcome is outcome
    assert result.outcome is not Outcome.FAIL or result.clause == "CAI-29"


@pytest.mark.parametrize("name", ["default-stream", "opt-out"])
def test_a_death_is_a_violation(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was being tried."""
    answer(monkeypatch, {"step": "the exchange"}, code=-11)
    assert run(name, "pycuda", switch="on", published="stream").level is Level.MUST


def test_cases_are_planned_where_the_libraries_are() -> None:
    """Each program has its pairs."""
    both = (Protocol.CAI, Protocol.DLPACK)
    side = Side(("int32",), (), both, both)
    names = ("reference", "cupy", "cuda_python", "pycuda")
    env = Environment(tuple(Library(name, {}, sides={Device.CUDA: side}) for name in names))
    planned = {
        name: [c.id for c in catalogue()[name].cases(env)] for name in catalogue() if name.startswith("crossing.")
    }
    assert len(planned["crossing.default-stream"]) == 4
    assert len(planned["crossing.opt-out"]) == 3
    assert len(planned["crossing.contexts"]) == 6


# -- threads


class ThreadStreams(SimulatedStreams):
    """A device on which 2 really is another stream in every thread."""

    def __init__(self) -> None:
        super().__init__()
        self._own: dict[int, int] = {}

    def here(self, stream: int) -> int:
        """This thread's stream, for 2."""
        if stream != PER_THREAD:
            return stream
        thread = threading.get_ident()
        if thread not in self._own:
            self._own[thread] = self.create(blocking=True)
        return self._own[thread]

    def fill(self, address: int, words: int, value: int, stream: int) -> None:
        super().fill(address, words, value, self.here(stream))

    def copy(self, target: int, source: int, nbytes: int, stream: int) -> None:
        super().copy(target, source, nbytes, self.here(stream))

    def wait(self, waiter: int, other: int) -> None:
        super().wait(self.here(waiter), self.here(other))

    def hold(self, stream: int, seconds: float) -> streams.Latch:
        return super().hold(self.here(stream), seconds)

    def done(self, stream: int) -> bool:
        return super().done(self.here(stream))


class TakesTwoForItsOwn(Importer):
    """Waits for whatever 2 means where it is."""

    def follow(self, published: int | None) -> None:
        """Word for word."""
        if published is not None:
            self.memory.streams().wait(self.work_stream, published)


@pytest.fixture
def threaded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The simulated device has such streams."""
    device = ThreadStreams()
    monkeypatch.setattr(streams, "simulated", lambda: device)
    handover.stream_of.cache_clear()
    yield
    handover.stream_of.cache_clear()


@pytest.mark.parametrize(
    ("importer", "thread", "outcome"),
    [
        (Importer, "same", Outcome.PASS),
        (Importer, "other", Outcome.PASS),
        (TakesTwoForItsOwn, "same", Outcome.PASS),
        (TakesTwoForItsOwn, "other", Outcome.FAIL),
    ],
)
@pytest.mark.usefixtures("threaded")
def test_two_is_another_stream_in_another_thread(importer: type[Importer], thread: str, outcome: Outcome) -> None:
    """Who takes it for its own does not wait for the publishing thread's, which is only observed."""
    adapter = ReferenceAdapter()
    adapter.importer_class = importer  # type: ignore[misc]
    name = "crossing.per-thread-published"
    case = Case(name, "reference", "reference", "cai", Device.SIMULATED, (("thread", thread),))
    result = Workbench({"reference": adapter}).run(case, catalogue()[name])
    assert result.outcome is outcome, (result.reason, result.seen, result.attachments)
    assert outcome is Outcome.PASS or result.level is Level.OBSERVED


@pytest.mark.usefixtures("threaded")
def test_an_export_for_two_is_for_the_calling_thread() -> None:
    """The reference waits where it is called."""
    name = "crossing.per-thread-named"
    case = Case(name, "reference", "reference", "dlpack", Device.SIMULATED, ())
    result = Workbench().run(case, catalogue()[name])
    assert result.outcome is Outcome.PASS, (result.reason, result.seen, result.attachments)


def test_a_thread_beside_runs_all_work_in_one_place() -> None:
    """Results and exceptions come back; the thread stays the same."""
    beside = Beside()
    first, second = (beside.run(threading.get_ident) for _ in range(2))
    assert first == second != threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        beside.run(lambda: 1 // 0)


def test_a_thread_beside_ends_with_its_object() -> None:
    """And keeps nothing of what it ran."""

    class Thing:
        pass

    beside, thing = Beside(), Thing()
    thread = beside.run(threading.current_thread)
    beside.run(lambda thing=thing: None)  # type: ignore[misc]
    ref = weakref.ref(thing)
    del thing, beside
    thread.join(5)
    assert not thread.is_alive()
    assert ref() is None
