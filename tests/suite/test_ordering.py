"""What the latch sees, on the simulated device: every way to be wrong looks different, and no pass goes without its control."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from conformance.adapters.base import Device, Protocol
from conformance.adapters.reference import ReferenceAdapter
from conformance.checks.libraries import Environment
from conformance.checks.outcomes import Inconclusive, Outcome, Side
from conformance.execution.results import Result
from conformance.faults import Fault, all_faults
from conformance.ordering import evidence, observation
from conformance.ordering.handover import Forward, How, Setting
from conformance.ordering.observation import Wait
from conformance.protocols.clauses import Level
from conformance.reference import streams
from conformance.suite import test_ordering

from .conftest import Runner

DEVICE = streams.simulated()


def faulty(name: str) -> Fault:
    """A fault of this family."""
    return all_faults()[f"ordering.{name}"]


def _numberless(text: str) -> str:
    """Handles differ from run to run."""
    return "".join(c for c in text if not c.isdigit())


def signature(results: list[Result]) -> tuple[tuple[str, ...], ...]:
    """Everything that a reader of the results can tell a fault by."""
    return tuple(
        (
            r.case.id,
            r.outcome.value,
            r.code,
            r.clause,
            r.reason,
            r.seen,
            r.attachments.get("blame", ""),
            r.attachments.get("instead", ""),
        )
        for r in results
        if r.outcome is not Outcome.PASS
    )


TOLD_APART_BY = (
    "ordering.handover",
    "ordering.export-stream",
    "ordering.way-back",
    "ordering.cost",
    "stream.published",
    "stream.none-means-done",
)
ALSO_FAULTS_OF_ORDER = ("stream.PublishesZero",)


@pytest.mark.parametrize("device", [Device.SIMULATED, Device.CUDA])
def test_every_fault_of_order_is_told_apart(
    device: Device, run_reference: Runner, reference_environment: Environment
) -> None:
    """No two faults fail in the same cases with the same words."""
    if device not in reference_environment.devices():
        pytest.skip("no CUDA device")
    every = all_faults()
    names = [name for name in every if name.startswith("ordering.") or name in ALSO_FAULTS_OF_ORDER]
    same: dict[object, list[str]] = {}
    for name in names:
        found = tuple(signature(run_reference(by, every[name], (device,))) for by in TOLD_APART_BY)
        assert any(found), f"nobody notices that {every[name].statement}"
        same.setdefault(found, []).append(name)
    assert [group for group in same.values() if len(group) > 1] == []


@pytest.mark.parametrize(
    ("name", "wait"),
    [("BlocksTheHost", Wait.HOST), ("WaitsForTheDevice", Wait.DEVICE), ("BlocksTheHostInDLPack", Wait.HOST)],
)
def test_what_is_waited_for_is_told_apart(name: str, wait: Wait, run_reference: Runner) -> None:
    """A wait for one stream and a wait for everything are different observations."""
    failed = [r for r in run_reference("ordering.cost", faulty(name)) if r.outcome is Outcome.FAIL]
    assert {r.seen for r in failed} == {wait.value}
    assert {r.level for r in failed} == {Level.OBSERVED}


def test_too_much_waiting_is_no_disorder(run_reference: Runner) -> None:
    """Who blocks the host is slow, but in order."""
    assert {r.outcome for r in run_reference("ordering.handover", faulty("WaitsForTheDevice"))} == {Outcome.PASS}


def test_blame_names_the_side_that_fails_with_a_flawless_partner(run_reference: Runner) -> None:
    """Both sides are called reference here; which one failed is in what was seen with the flawless one."""
    producer = run_reference("ordering.handover", faulty("PublishesTheDefaultStream"))
    consumer = run_reference("ordering.handover", faulty("IgnoresThePublishedStream"))
    assert {r.clause for r in producer if r.outcome is Outcome.FAIL} == {"CAI-22"}
    assert {r.clause for r in consumer if r.outcome is Outcome.FAIL} == {"CAI-18"}
    assert {r.accused.side for r in consumer if r.accused} == {Side.CONSUMER}
    assert {r.accused.side for r in producer if r.accused} == {Side.NEITHER}, "between a library and itself"
    assert all("blame" in r.attachments for r in (*producer, *consumer) if r.outcome is Outcome.FAIL)


def test_two_innocent_sides_mean_a_gap_in_the_contract() -> None:
    """The result says so, and is only observed."""
    flawless = ReferenceAdapter()
    setting = Setting(flawless, flawless, Protocol.CAI, Device.SIMULATED)
    exchange = type("Exchange", (), {"notes": {}})()
    seen = observation.Seen(Wait.NONE, in_order=False)
    with pytest.raises(Exception, match="the specification leaves a gap") as caught:
        evidence.blame(exchange, setting, Forward, seen, reason="too early", expected="the new data")  # type: ignore[arg-type]
    assert caught.value.level is Level.OBSERVED  # type: ignore[attr-defined]


def test_a_pass_without_a_control_is_none(monkeypatch: pytest.MonkeyPatch, run_reference: Runner) -> None:
    """Where nothing can be made to go wrong, nothing was shown to be right."""
    as_it_is = lambda setting, make, seen: [("as it is", lambda: make(setting))]  # noqa: E731
    monkeypatch.setattr(test_ordering, "without_wait", as_it_is)
    results = run_reference("ordering.handover", devices=(Device.SIMULATED,))
    assert {r.outcome for r in results} == {Outcome.INCONCLUSIVE}
    assert all(
        "no control failed, so a pass proves nothing: as it is: event-wait, in order" in r.reason for r in results
    )


def test_every_pass_shows_its_control(run_reference: Runner) -> None:
    """Beside the result lies what was seen, and what went wrong without the wait."""
    for name in ("ordering.handover", "ordering.export-stream", "ordering.way-back"):
        for r in run_reference(name, devices=(Device.SIMULATED,)):
            assert {"seen", "control"} <= r.attachments.keys(), r.case.id


def test_a_way_back_that_nobody_asks_for_is_only_observed(run_reference: Runner) -> None:
    """The reference does what DLPack asks, which is nothing; of a later read the array interface says nothing either."""
    by_dlpack = run_reference("ordering.reuse", devices=(Device.SIMULATED,))
    by_interface = run_reference("ordering.way-back", faulty("ForgetsTheWayBack"), (Device.SIMULATED,))
    assert {(r.outcome, r.level) for r in (*by_dlpack, *by_interface)} == {(Outcome.FAIL, Level.OBSERVED)}
    assert all("leaves a gap" in r.reason for r in by_interface)


def test_a_kernel_that_is_given_the_object_is_looked_at_apart_from_imports(run_reference: Runner) -> None:
    """Its cases say so in their ids, and a fault of either shows in its own cases alone."""
    results = run_reference("ordering.handover", faulty("KernelsIgnoreThePublishedStream"), (Device.SIMULATED,))
    failed = {r.case.id for r in results if r.outcome is Outcome.FAIL}
    assert failed
    assert failed == {r.case.id for r in results if r.case.id.endswith("/kernel")}


# -- the instrument


def test_a_latch_whose_time_is_up_lets_go() -> None:
    """By itself; that is told apart from being released."""
    stream = DEVICE.create()
    latch = DEVICE.hold(stream, 0.0)
    DEVICE.synchronize(stream)
    assert (latch.expired, latch.held) == (True, False)


class _Early:
    """Work whose latch is let go by somebody else."""

    libraries: tuple[ReferenceAdapter, ...] = ()

    def __init__(self, release: Callable[[], None]) -> None:
        self.writer, self.reader = DEVICE.create(), DEVICE.create()
        self._release = release

    def before(self) -> None:
        """Nothing."""

    def exchange(self) -> None:
        """Somebody interferes."""
        self._release()

    def in_order(self) -> bool:
        """So it seems."""
        return True


def test_a_disturbed_observation_is_not_a_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    """A latch that ends too early proves nothing, however often it is tried."""
    latches: list[streams.Latch] = []
    hold = DEVICE.hold

    def held(stream: int, seconds: float) -> streams.Latch:
        latches.append(hold(stream, seconds))
        return latches[-1]

    monkeypatch.setattr(DEVICE, "hold", held)
    with pytest.raises(Inconclusive, match="a latch expired"):
        observation.observe(DEVICE, lambda: _Early(lambda: latches[-2].release()))


class _SlowOnce(_Early):
    """Work whose exchange takes many times as long as usual, once, and waits for nothing."""

    def __init__(self, calls: list[_SlowOnce]) -> None:
        super().__init__(lambda: None)
        self._calls = calls

    def exchange(self) -> None:
        """The first is the warm-up, the second has bad luck."""
        self._calls.append(self)
        until = time.thread_time() + (0.05 if len(self._calls) == 2 else 0)
        while time.thread_time() < until:
            pass


def test_a_call_that_is_slow_once_has_not_waited() -> None:
    """Not to return under a latch has to show twice; to return is proof."""
    calls: list[_SlowOnce] = []
    assert observation.observe(DEVICE, lambda: _SlowOnce(calls)).wait is Wait.NONE
    assert len(calls) == 3


def test_streams_of_the_simulated_device_are_independent() -> None:
    """What one holds does not hold another, unless it waits."""
    held, free, waiting = (DEVICE.create() for _ in range(3))
    latch = DEVICE.hold(held, 5.0)
    DEVICE.wait(waiting, held)
    assert (DEVICE.done(held), DEVICE.done(free), DEVICE.done(waiting)) == (False, True, False)
    latch.release()
    assert DEVICE.done(waiting)


def test_a_setting_is_changed_without_changing_the_original() -> None:
    """Controls and blame derive from one setting."""
    flawless = ReferenceAdapter()
    setting = Setting(flawless, flawless, Protocol.CAI, Device.SIMULATED)
    assert (setting.but(how=How.OUTSIDE).how, setting.how) == (How.OUTSIDE, How.INSIDE)


def test_waiting_threads_of_the_simulated_device_end() -> None:
    """A wait in one thread ends by a release in another."""
    stream = DEVICE.create()
    latch = DEVICE.hold(stream, 5.0)
    waiting = threading.Thread(target=DEVICE.synchronize, args=(stream,))
    waiting.start()
    latch.release()
    waiting.join(5)
    assert not waiting.is_alive()
