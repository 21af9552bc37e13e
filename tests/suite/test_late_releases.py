"""A library that releases on a thread of its own gets the same verdict every time: in time, late, or never."""

from __future__ import annotations

import gc
import math
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest

from conformance.adapters.base import Adapter, Device
from conformance.adapters.reference import ReferenceAdapter
from conformance.checks import offers
from conformance.checks.catalogue import Case, catalogue
from conformance.checks.exchange import Exchange, Partners
from conformance.checks.outcomes import Outcome
from conformance.execution.results import Result
from conformance.execution.workbench import Workbench
from conformance.faults import Fault
from conformance.protocols.clauses import Level
from conformance.protocols.dlpack import Tensor
from conformance.protocols.strided import c_strides
from conformance.reference.exporter import Exporter
from conformance.reference.importer import Imported, Importer

from .conftest import broken

PATIENCE = 1.0
CASES = (
    ("lifetime.deleter-once", ("struct", "versioned")),
    ("lifetime.derived-view", ("struct", "versioned")),
    ("lifetime.other-thread", ("struct", "versioned")),
    ("lifetime.null-context", ("struct", "versioned")),
)
POINT = ("combination.exchange", ("layout", "stepped"))


class Clock:
    """A clock that runs only during a sleep. The sleep does all work that is due, as another thread would."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, Callable[[], None]]] = []

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Do this later."""
        self._due.append((self.now + seconds, action))

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += max(seconds, 0.25)
        due = [entry for entry in self._due if entry[0] <= self.now]
        self._due = [entry for entry in self._due if entry[0] > self.now]
        for _, action in due:
            action()

    def monotonic(self) -> float:
        """The time."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    """The clock that the suite waits by. Each look collects cycles, which is quick without all that other tests have loaded."""
    found = Clock()
    monkeypatch.setattr(offers, "PATIENCE", PATIENCE)
    monkeypatch.setattr(offers, "time", SimpleNamespace(monotonic=found.monotonic, sleep=found.sleep))
    gc.freeze()
    yield found
    gc.unfreeze()


def run(clock: Clock, delay: float, invariant: str, parameter: tuple[str, str]) -> Result:
    """The case with an importer that releases so many seconds after its array is gone."""

    return run_with(bench(clock, delay), invariant, (parameter,))


def bench(clock: Clock, delay: float, *, strided_only: bool = False) -> Workbench:
    """With an importer that releases so many seconds after its array is gone, or only a strided one so late."""

    class ReleasesLater(Importer):
        def call_deleter(self, tensor: Tensor) -> None:
            release = super().call_deleter
            packed = tensor.strides in (None, c_strides(tensor.shape))
            clock.after(0 if strided_only and packed else delay, lambda: release(tensor))

    fault = Fault("later", "releases later", (), importer=ReleasesLater)
    return Workbench({"reference": broken(fault)})


def run_with(bench: Workbench, invariant: str, parameters: tuple[tuple[str, str], ...]) -> Result:
    """A case of the reference with itself."""
    case = Case(invariant, "reference", "reference", "dlpack", Device.HOST, parameters)
    return bench.run(case, catalogue()[invariant])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
@pytest.mark.parametrize(
    ("delay", "outcome", "code", "level"),
    [
        (0.0, Outcome.PASS, "", None),
        (0.5, Outcome.PASS, "", None),
        (1.5, Outcome.FAIL, "released-after-a-while", Level.SHOULD),
        (5.0, Outcome.FAIL, "released-after-a-while", Level.SHOULD),
        (math.inf, Outcome.FAIL, "not-released", Level.MUST),
    ],
)
def test_a_release_is_waited_for(
    clock: Clock, case: tuple[str, tuple[str, str]], delay: float, outcome: Outcome, code: str, level: Level | None
) -> None:
    """Within the patience it is in time, after it late, and much later lost."""
    result = run(clock, delay, *case)
    assert (result.outcome, result.code) == (outcome, code), result.reason
    assert level is None or result.level is level


# -- on real threads


class ReleasesEarly(Importer):
    """Releases a strided import on a thread of its own, a moment after it was made."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        taken = super().read_tensor(tensor)
        if not taken.contiguous:
            threading.Timer(0.02, taken.release).start()
        return taken


class ReleasesElsewhere(Importer):
    """Releases on a thread of its own, once the import is gone."""

    def call_deleter(self, tensor: Tensor) -> None:
        threading.Thread(target=super().call_deleter, args=(tensor,)).start()


class ReleasesWhenRead(ReferenceAdapter):
    """Releases a strided import when its elements are read."""

    def read(self, array: Exporter | Imported) -> bytes:
        data = super().read(array)
        if isinstance(array, Imported) and not array.contiguous:
            array.release()
        return data


def with_importer(importer: type[Importer]) -> Adapter:
    """The reference with this importer."""
    return broken(Fault("thread", "releases on a thread", (), importer=importer))


@pytest.mark.parametrize(
    ("library", "outcome", "code"),
    [
        (with_importer(ReleasesEarly), Outcome.FAIL, "released-early"),
        (with_importer(ReleasesElsewhere), Outcome.PASS, ""),
        (ReleasesWhenRead(), Outcome.FAIL, "released-early"),
    ],
    ids=["early", "elsewhere", "when-read"],
)
def test_a_release_is_early_where_the_import_lives(
    monkeypatch: pytest.MonkeyPatch, library: Adapter, outcome: Outcome, code: str
) -> None:
    """After a release on another thread the exchange is tried again and the import kept, so the speed of a thread decides nothing."""
    monkeypatch.setattr(offers, "PATIENCE", PATIENCE)
    case = Case("combination.exchange", "reference", "reference", "dlpack", Device.HOST, (("layout", "stepped"),))
    result = Workbench({"reference": library}).run(case, catalogue()[case.invariant])
    assert (result.outcome, result.code) == (outcome, code), result.reason


@pytest.mark.parametrize(
    ("delay", "outcome", "code"),
    [
        (0.5, Outcome.PASS, ""),
        (1.5, Outcome.PASS, ""),
        (5.0, Outcome.PASS, ""),
        (math.inf, Outcome.FAIL, "not-released"),
    ],
)
def test_lateness_is_not_reported_again_at_a_point(clock: Clock, delay: float, outcome: Outcome, code: str) -> None:
    """The family ``lifetime`` reports it once; at the points only a lost release is a failure."""
    result = run(clock, delay, *POINT)
    assert (result.outcome, result.code) == (outcome, code), result.reason
    assert ("releases plain arrays late" in result.attachments.get("release", "")) == (delay in (1.5, 5.0))


def test_a_late_library_is_waited_for_once_in_a_process(clock: Clock) -> None:
    """Then the process knows the library, and a point takes no time."""
    late = bench(clock, 3.0)
    run_with(late, POINT[0], (POINT[1],))
    waited = clock.now
    for layout in ("padded", "transposed", "reversed"):
        assert run_with(late, POINT[0], (("layout", layout),)).outcome is Outcome.PASS
    assert waited > PATIENCE
    assert clock.now == pytest.approx(waited, abs=PATIENCE)


def test_a_release_that_plain_arrays_lose_too_is_waited_for_once_at_a_point(clock: Clock) -> None:
    """Not with each of its levels at the default. The failure does not name them."""
    leaking = bench(clock, math.inf)
    run_with(leaking, POINT[0], (POINT[1],))
    waited = clock.now
    result = run_with(leaking, POINT[0], (("dtype", "int16"), ("layout", "stepped"), ("rank", "rank-3")))
    assert (result.code, result.given) == ("not-released", "an import")
    assert clock.now - waited < 2 * offers.LATE * PATIENCE


@pytest.mark.parametrize(("delay", "code"), [(3.0, ""), (math.inf, "not-released")])
def test_a_release_that_only_some_arrays_lose_is_waited_for(clock: Clock, delay: float, code: str) -> None:
    """A library that is prompt with plain arrays is caught where it never releases; how late it is elsewhere is no verdict."""
    result = run_with(bench(clock, delay, strided_only=True), POINT[0], (POINT[1],))
    assert result.code == code, result.reason
    assert result.given == ("a strided view" if code else "")
    assert bool(code) != ("in time" in result.attachments.get("release", ""))


def test_whether_plain_arrays_are_released_is_asked_once_in_a_process(clock: Clock) -> None:
    """For a library that never releases this takes long."""
    leaking = bench(clock, math.inf)
    case = Case("lifetime.native-thread", "reference", "reference", "dlpack", Device.HOST, (("struct", "versioned"),))
    exchange = Exchange(case, Partners(leaking.get))
    assert not offers.releases_imports(exchange, exchange.consumer)
    waited = clock.now
    assert not offers.releases_imports(exchange, exchange.consumer)
    assert waited > PATIENCE
    assert clock.now == waited
