"""Cases that start interpreters of their own: what the programs do, and how their ends are judged."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from conformance.adapters.base import Adapter, Device, Protocol
from conformance.adapters.reference import ReferenceAdapter
from conformance.checks import children, deadline, forks, interpreter, signal_senders
from conformance.checks.catalogue import Case, catalogue
from conformance.checks.interpreter import Ended
from conformance.checks.outcomes import Inconclusive, Outcome, Side
from conformance.execution.results import Result
from conformance.execution.workbench import Workbench
from conformance.programs import import_alone, pycuda_context
from conformance.protocols.clauses import Level, Role
from conformance.reference.memory import Memory, simulated
from conformance.suite import test_context
from conformance.verdict import Verdict


def run(name: str, producer: str = "one", consumer: str = "two", **parameters: str) -> Result:
    """One case of an invariant that loads no library in this process."""
    protocol = Protocol.CAI if name == "context.pycuda" else Protocol.DLPACK
    case = Case(name, producer, consumer, protocol.value, Device.HOST, tuple(parameters.items()))
    return Workbench({}).run(case, catalogue()[name])


class ForkedConsumer(ReferenceAdapter):
    """A consumer that raises in every process, or in forks alone."""

    def __init__(self, *, raises: bool, everywhere: bool = False) -> None:
        super().__init__()
        self._raises, self._home = raises, 0 if everywhere else os.getpid()

    def take(self, offered: object, protocol: Protocol, device: Device) -> Any:
        """Take the array, or raise."""
        if self._raises and os.getpid() != self._home:
            raise BufferError("forked")
        return super().take(offered, protocol, device)


def forked(consumer: Adapter) -> Result:
    """The case in this process, with the reference on the side of the producer."""
    case = Case("context.after-fork", "reference", "two", "dlpack", Device.HOST)
    bench = Workbench({"reference": ReferenceAdapter(), "two": consumer})
    return bench.run(case, catalogue()[case.invariant])


@pytest.mark.parametrize("raises", [True, False])
def test_what_a_fork_does_to_a_conversion_may_be_nothing(raises: bool) -> None:
    """Raising and being right are both well."""
    result = forked(ForkedConsumer(raises=raises))
    assert result.outcome is Outcome.PASS, (result.reason, result.seen, result.attachments)


def test_a_conversion_that_is_refused_before_the_fork_is_refused() -> None:
    """There is nothing to try then."""
    assert forked(ForkedConsumer(raises=True, everywhere=True)).outcome is Outcome.REFUSED


CHILDREN = {
    "sleeps": "import time; time.sleep(600)",
    "computes": "while True: pass",
    "is not run": "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
    "tells": "print('right', flush=True); import time; time.sleep(600)",
    "is over": "",
}


@pytest.mark.parametrize(
    ("does", "ended"),
    [
        ("sleeps", forks.HANG),
        ("computes", forks.HANG),
        ("is not run", forks.UNDECIDED),
        ("tells", ""),
        ("is over", ""),
    ],
)
def test_a_child_hangs_if_it_sleeps_or_computes_on_and_on(
    does: str, ended: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that gets no processor does neither: a busy machine makes nobody hang."""
    monkeypatch.setattr(interpreter, "limit", lambda: 1.5)
    if ended == forks.HANG:
        monkeypatch.setattr(forks, "_WHOLE", 1e6)  # on a busy machine it takes as long as it takes
    child = subprocess.Popen([sys.executable, "-S", "-c", CHILDREN[does]], stdout=subprocess.PIPE)
    assert child.stdout is not None
    try:
        assert forks._watched(child.pid, child.stdout.fileno()) == ended
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


@pytest.mark.parametrize(
    ("ended", "outcome", "code"),
    [
        ("right", Outcome.PASS, ""),
        ("raised RuntimeError: no", Outcome.PASS, ""),
        ("wrong", Outcome.FAIL, "wrong-after-fork"),
        ("SIGSEGV", Outcome.FAIL, "program-crash"),
        (forks.HANG, Outcome.FAIL, "program-hang"),
        (forks.UNDECIDED, Outcome.INCONCLUSIVE, ""),
    ],
)
def test_what_happens_in_a_fork_is_a_matter_of_robustness(
    ended: str, outcome: Outcome, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CUDA forbids the forked process to use it, so no clause of a protocol is claimed."""
    monkeypatch.setattr(test_context, "in_child", lambda action: ended)
    result = forked(ReferenceAdapter())
    assert (result.outcome, result.code, result.clause) == (outcome, code, "")
    assert result.verdict is (Verdict.ROBUSTNESS if outcome is Outcome.FAIL else result.verdict)


def beside(monkeypatch: pytest.MonkeyPatch, alone: dict[str, object], together: dict[str, object]) -> Result:
    """Two libraries that are imported one after the other, of which the second has run a kernel, with this library alone."""

    def program(name: str, *names: str) -> Ended:
        return Ended(0, (alone if names == ("two",) else together,))

    monkeypatch.setattr(interpreter, "run", program)
    return run("imports.pair")


KERNEL = {"kernel": "two/cuda", "library": "two", "outcome": "raised", "seen": "RuntimeError: no kernel image"}


def test_a_kernel_that_fails_alone_too_is_the_environments_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of imports has nothing to do with it, and no library either."""
    result = beside(monkeypatch, KERNEL, KERNEL)
    assert result.outcome is Outcome.INCONCLUSIVE
    assert result.reason.startswith(
        "environment: two/cuda: a kernel fails on the library's own array, also when the library is imported alone"
    )


@pytest.mark.parametrize("outcome", ["raised", "wrong"])
def test_a_kernel_that_fails_beside_other_libraries_only_is_a_failure(
    outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the library whose kernel it is, wherever that stands."""
    result = beside(monkeypatch, {**KERNEL, "outcome": "right"}, {**KERNEL, "outcome": outcome})
    assert (result.outcome, result.code) == (Outcome.FAIL, "import-order")
    assert result.accused is not None
    assert result.accused.libraries == ("two",)


def test_in_an_order_of_imports_the_library_is_named_that_is_at_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that is neither the first nor the last."""
    wrong = {
        "exchange": "three-four/cai/cuda", "outcome": "wrong", "code": "values-changed", "clause": "CAI-32",
        "role": "consumer", "level": "must", "reason": "other elements", "expected": "1", "seen": "2", "guilty": "four",
    }  # fmt: skip
    answer(monkeypatch, wrong)
    result = run("imports.rotation", order="one,three,four,two")
    assert (result.outcome, result.role, result.clause) == (Outcome.FAIL, Role.CONSUMER, "CAI-32")
    assert result.accused is not None
    assert (result.accused.side, result.accused.libraries) == (Side.CONSUMER, ("four",))


def test_of_an_order_of_imports_each_end_is_tried_with_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order itself is not tried again: it would fail again, and accuse both."""
    asked = []

    def program(name: str, *names: str) -> Ended:
        asked.append(names)
        return Ended(0, ())

    monkeypatch.setattr(interpreter, "run", program)
    run("imports.rotation", "one", "reference", order="one,three,two")
    run("imports.rotation", "one", "two", order="one,three,two")
    assert asked == [("one", "reference"), ("one", "three", "two")]


def answer(monkeypatch: pytest.MonkeyPatch, *records: dict[str, object], code: int | None = 0) -> None:
    """Have the next program end like this."""
    monkeypatch.setattr(interpreter, "run", lambda *_: Ended(code, records))


@pytest.mark.parametrize(
    ("current", "primary", "outcome"),
    [(0, True, Outcome.FAIL), (0x1234, False, Outcome.FAIL)],
)
def test_an_import_that_makes_a_context_is_observed(
    current: int, primary: bool, outcome: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The primary one or another."""
    answer(monkeypatch, {"gil": True}, {"current": current, "primary": primary})
    result = run("context.import-alone")
    assert (result.outcome, result.level) == (outcome, Level.OBSERVED)


def test_an_import_that_kills_is_a_violation_and_one_without_a_driver_undecided(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither is a pass."""
    answer(monkeypatch, code=-11)
    assert run("context.import-alone").level is Level.MUST
    answer(monkeypatch, {"gil": True})
    assert run("context.import-alone").outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize(("gil", "outcome"), [(False, Outcome.PASS), (True, Outcome.FAIL)])
def test_an_import_that_switches_the_lock_on_is_observed(
    gil: bool, outcome: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a free-threaded build, where alone the case is planned."""
    answer(monkeypatch, {"gil": gil})
    result = run("imports.gil-stays-off")
    assert (result.outcome, result.level) == (outcome, Level.OBSERVED)


def test_importing_alone_tells_the_lock_and_where_there_is_a_driver_the_contexts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With a driver that answers as one without contexts does."""
    from conformance.cuda import context, driver

    told: dict[str, object] = {}
    monkeypatch.setattr(import_alone, "tell", told.update)
    monkeypatch.setattr(driver, "library", lambda: None)
    monkeypatch.setattr(context, "current", lambda: 0)
    monkeypatch.setattr(context, "primary_is_active", lambda: False)
    import_alone.main("json")
    assert "gil" in told
    assert (told["current"], told["primary"]) == (0, False)


class OnSimulated(ReferenceAdapter):
    """The reference under another library's name, with simulated memory for a GPU's."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name  # type: ignore[misc]

    def memory(self, device: Device) -> Memory:
        """Simulated, whatever is asked for."""
        return simulated()


class Refusing(OnSimulated):
    """Takes nothing."""

    def take(self, offer: object, protocol: Protocol, device: Device, **keywords: object) -> object:  # type: ignore[override]
        """Never."""
        raise RuntimeError("invalid device context")


class Unusable(OnSimulated):
    """Reads nothing that came in from others."""

    def read(self, array: object) -> bytes:  # type: ignore[override]
        """Only its own arrays."""
        if hasattr(array, "importer"):
            raise RuntimeError("an illegal memory access was encountered")
        return super().read(array)  # type: ignore[arg-type]


class Zeros(OnSimulated):
    """Reads zeros where others have written."""

    def read(self, array: object) -> bytes:  # type: ignore[override]
        """Zeros for what came in."""
        return bytes(48) if hasattr(array, "importer") else super().read(array)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "outcome", "level"),
    [
        (OnSimulated, Outcome.PASS, Level.MUST),
        (Refusing, Outcome.REFUSED, Level.MUST),
        (Unusable, Outcome.FAIL, Level.SHOULD),
        (Zeros, Outcome.FAIL, Level.MUST),
    ],
)
def test_an_exchange_with_pycuda_is_right_or_refused(
    kind: type[OnSimulated], outcome: Outcome, level: Level, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program runs here, with make-believe libraries; what it tells is judged as that of a real one."""
    records: list[dict[str, object]] = []

    def create(name: str) -> Adapter:
        return kind(name) if name == "torch" else OnSimulated(name)

    monkeypatch.setattr(pycuda_context.registry, "create", create)
    monkeypatch.setattr(pycuda_context, "tell", lambda **record: records.append(record))
    pycuda_context.main("autoinit", "torch", "pycuda", "torch")
    monkeypatch.undo()
    answer(monkeypatch, *records)
    result = run("context.pycuda", "pycuda", "torch", setup="autoinit", order="torch-first")
    assert (result.outcome, result.level) == (outcome, level)


def test_a_death_beside_pycuda_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    """As anywhere."""
    answer(monkeypatch, {"step": "an import by torch"}, code=-11)
    result = run("context.pycuda", "pycuda", "torch", setup="autoinit", order="torch-first")
    assert (result.outcome, result.level) == (Outcome.FAIL, Level.MUST)
    assert result.seen == "SIGSEGV at or after an import by torch"
    assert (result.code, result.given) == ("program-crash", "an import by torch")


# -- end of an interpreter


def program(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> Ended:
    """Return the end of a fresh interpreter that imports a module of these lines."""
    folder.joinpath("slow_or_selfish.py").write_text(f"import ctypes, os, signal, time\n{text}\n")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return interpreter.run("import_alone", "slow_or_selfish")


@pytest.mark.skipif(
    platform.machine() not in signal_senders._CALLS, reason="the sender of a signal is unknown on this machine"
)
@pytest.mark.parametrize(
    ("line", "death"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
        ("ctypes.CDLL(None)['raise'](15)", "SIGTERM"),
        ("os.abort()", "SIGABRT"),
        ("os._exit(3)", "exit code 3"),
    ],
)
def test_a_library_that_ends_an_interpreter_is_told_by_how_it_did(
    line: str, death: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outside kind of signal counts if the filter shows that the process sends it."""
    assert program(tmp_path, monkeypatch, line).death == death


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP])
def test_an_interpreter_that_is_ended_from_outside_decides_nothing(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result does not depend on the number of signals."""
    pids = tmp_path / "pids"
    monkeypatch.setenv(deadline.VARIABLE, "2" if number == signal.SIGSTOP else "60")

    def send() -> None:
        for nth in range(2):
            while not pids.exists() or len(found := pids.read_text().split("\n")) < nth + 2:
                time.sleep(0.01)
            os.kill(int(found[nth]), number)

    thread = threading.Thread(target=send)
    thread.start()
    with pytest.raises(Inconclusive, match=rf"another process ended or stopped the new interpreter by {number.name}"):
        program(
            tmp_path, monkeypatch, f"print(os.getpid(), file=open({str(pids)!r}, 'a'), flush=True)\ntime.sleep(600)"
        )
    thread.join()


def test_the_import_of_a_library_is_not_the_time_of_an_interpreter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deadline is shorter than the import. The records are complete, although the parent reads them repeatedly."""
    monkeypatch.setattr(interpreter, "limit", lambda: 1.0)
    ended = program(tmp_path, monkeypatch, "time.sleep(2.5)")
    assert ended.death is None
    assert [key for record in ended.records for key in record if key != "at"][:3] == ["step", "importing", "imported"]


def test_an_interpreter_that_never_ends_after_its_imports_is_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interpreter's own deadline starts after the imports."""
    monkeypatch.setattr(interpreter, "limit", lambda: 1.0)
    ended = program(tmp_path, monkeypatch, "import atexit; atexit.register(time.sleep, 600)")
    assert (ended.death, ended.last_step) == ("timeout after 1 s", "the exit of the interpreter")


def test_an_interpreter_ends_with_the_process_that_has_started_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interpreter runs in its own session, so no other mechanism would end it."""
    pids = tmp_path / "pids"
    process = os.fork()
    if not process:
        try:
            program(
                tmp_path, monkeypatch, f"print(os.getpid(), file=open({str(pids)!r}, 'a'), flush=True)\ntime.sleep(600)"
            )
        finally:
            os._exit(0)
    while not (pids.exists() and pids.read_text().endswith("\n")):
        time.sleep(0.01)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    interpreter_of = Path("/proc", pids.read_text().strip(), "stat")
    while interpreter_of.exists() and " Z " not in interpreter_of.read_text():
        time.sleep(0.01)


def test_a_record_that_is_none_is_passed_over() -> None:
    """A library may print a line of this form, and an interpreter may die while it writes one."""
    lines = ["{", "3", '{"step": "one"}', "[" * 100_000, '{"st']
    assert children.records("\n".join(lines)) == [{"step": "one"}]


@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM"])
def test_a_fork_that_somebody_has_ended_decides_nothing(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sender is unknown in that case."""
    answer(monkeypatch, {"before": "right"}, {"ended": how})
    assert run("context.after-fork", "reference", "two").outcome is Outcome.INCONCLUSIVE
