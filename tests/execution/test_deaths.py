"""Lost processes: the step in words, and the clause for that step."""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conformance.adapters.base import Device
from conformance.adapters.reference import ReferenceAdapter
from conformance.checks import deadline, signal_senders
from conformance.checks.catalogue import Case, Isolation, catalogue
from conformance.checks.exchange import Exchange
from conformance.checks.outcomes import Outcome
from conformance.checks.steps import Doing, Step
from conformance.execution import child, monitor, workbench
from conformance.execution.child import Child
from conformance.execution.deaths import GENERAL, after, clause_of, declares, when
from conformance.execution.monitor import Monitor
from conformance.execution.results import Result
from conformance.execution.workbench import Workbench
from conformance.protocols.clauses import Role, clause

PRODUCER, CONSUMER = Role.PRODUCER, Role.CONSUMER
CASE = Case("pointer.values", "cupy", "torch", "dlpack", Device.HOST, (("layout", "rows"),))
OURS = Case("pointer.values", "reference", "reference", "dlpack", Device.HOST)
CHAIN = replace(CASE, parameters=(("via", "jax"),))
INVARIANT = catalogue()["pointer.values"]


# -- in words


@pytest.mark.parametrize(
    ("step", "told"),
    [
        (Step(), "during the check"),
        (Step(Doing.CHECK, CONSUMER), "during the check"),
        (Step(Doing.EXPORT, PRODUCER), "while cupy exported the array"),
        (Step(Doing.EXPORT), "while cupy exported the array"),
        (Step(Doing.EXPORT, CONSUMER), "while torch exported the array"),
        (Step(Doing.IMPORT, CONSUMER), "while torch imported the array"),
        (Step(Doing.IMPORT), "while torch imported the array"),
        (Step(Doing.IMPORT, PRODUCER), "while cupy imported the array"),
        (Step(Doing.USE, CONSUMER), "while torch used the import"),
        (Step(Doing.RELEASE), "while arrays were released"),
        (Step(Doing.RELEASE, PRODUCER), "while cupy released arrays"),
    ],
)
def test_a_step_is_told_with_its_actor(step: Step, told: str) -> None:
    """The step has the role, and the case has the name. Observations after the step use the same words."""
    assert when(CASE, step) == told
    assert after(CASE, step) == ("after the check" if told == "during the check" else told.replace("while", "after"))


def test_the_reference_is_no_library_by_name() -> None:
    """A reader does not know an adapter of that name."""
    assert when(OURS, Step(Doing.IMPORT, CONSUMER)) == "while the reference imported the array"


@pytest.mark.parametrize("role", Role)
def test_in_a_chain_nobody_is_named_by_the_role(role: Role) -> None:
    """The library between is consumer and producer in turn."""
    assert when(CHAIN, Step(Doing.IMPORT, role)) == "while a library of the chain imported the array"


@pytest.mark.parametrize("doing", Doing)
def test_every_step_has_words(doing: Doing) -> None:
    """A new one must not go by as the suite's own work."""
    assert (when(CASE, Step(doing, CONSUMER)) == "during the check") is (doing is Doing.CHECK)


# -- in a child


def lost(check: Callable[[Exchange], None], monkeypatch: pytest.MonkeyPatch, *, last: bool = False) -> Result:
    """Return the result of a child that runs this check."""
    monkeypatch.setitem(catalogue(), OURS.invariant, replace(INVARIANT, check=check))
    run = Child(workbench=Workbench)
    try:
        return run.run(OURS, last=last)
    finally:
        run.end()


def in_import(action: Callable[[], object]) -> Callable[[Exchange], None]:
    """Return a check that calls ``action`` while the consumer imports."""

    def check(exchange: Exchange) -> None:
        exchange.special("NULL strides")
        with exchange.step(Doing.IMPORT, CONSUMER):
            action()

    return check


@pytest.mark.parametrize(
    ("action", "how", "seen"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "was killed by", "SIGKILL"),
        (lambda: os.kill(os.getpid(), 40), "was killed by", "signal 40"),
        (lambda: os._exit(7), "exited with", "exit code 7"),
        (lambda: os._exit(0), "exited with", "exit code 0"),
    ],
)
def test_a_death_names_the_actor_and_the_step(
    action: Callable[[], object], how: str, seen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal without a name has its number. Exit code 0 without an answer is a crash, too."""
    result = lost(in_import(action), monkeypatch)
    assert result.reason == f"the process {how} {seen} while the reference imported the array"
    assert (result.outcome, result.code, result.step) == (Outcome.CRASH, "crash", "import")
    assert (result.role, result.given) == (CONSUMER, "NULL strides")
    assert (result.expected, result.seen) == ("the process survives", seen)


def test_a_hang_names_the_actor_and_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason has the timeout of the case."""
    monkeypatch.setenv(deadline.VARIABLE, "0.5")
    result = lost(in_import(signal.pause), monkeypatch)
    assert result.reason == "timeout after 0.5 s while the reference imported the array"
    assert (result.outcome, result.code, result.step) == (Outcome.HANG, "hang", "import")


@pytest.mark.parametrize(
    ("end", "told", "outcome"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "the process was killed by SIGKILL", Outcome.CRASH),
        (lambda: os._exit(7), "the process exited with exit code 7", Outcome.CRASH),
        (signal.pause, "timeout after 0.5 s", Outcome.HANG),
    ],
)
def test_what_happens_after_the_answer_is_told_so(
    end: Callable[[], object], told: str, outcome: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last step is over by then."""
    send = child._send

    def send_and_end(writer: int, record: dict[str, Any]) -> None:
        send(writer, record)
        end()

    monkeypatch.setenv(deadline.VARIABLE, "0.5")
    monkeypatch.setattr(child, "_send", send_and_end)
    result = lost(in_import(lambda: None), monkeypatch, last=True)
    assert result.reason == f"{told} at the interpreter's exit, after the check had ended"
    assert result.outcome is outcome


# -- sender of a signal


def outside(number: int, flag: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send this signal to every child that has written its process number to ``flag``."""
    start = Child.run

    def run(self: Child, case: Case, **how: Any) -> Result:
        flag.unlink(missing_ok=True)

        def send() -> None:
            while not flag.exists():
                time.sleep(0.01)
            os.kill(self.pid, number)

        thread = threading.Thread(target=send)
        thread.start()
        try:
            return start(self, case, **how)
        finally:
            flag.touch()
            thread.join()

    monkeypatch.setattr(Child, "run", run)


@pytest.mark.parametrize("isolation", [Isolation.SHARED, Isolation.RISKY, Isolation.CHILD, Isolation.EXIT])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP])
def test_a_signal_from_outside_accuses_nobody_however_often_it_comes(
    number: signal.Signals, isolation: Isolation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The processes are real, and the sender is unrelated to the case."""
    flag = tmp_path / "begun"
    monkeypatch.setenv(deadline.VARIABLE, "1" if number == signal.SIGSTOP else "60")
    monkeypatch.setattr(monitor, "PATIENCE", 1.0)
    monkeypatch.setitem(
        catalogue(), OURS.invariant, replace(INVARIANT, check=in_import(lambda: (flag.touch(), time.sleep(600))))
    )
    outside(number, flag, monkeypatch)
    watch = Monitor(Child)
    try:
        result = watch.run(OURS, isolation)
    finally:
        watch.close()
    assert (result.outcome, result.accused) == (Outcome.INCONCLUSIVE, None)
    assert f"by {number.name} from outside" in result.reason
    assert len(result.attempts) == monitor.MOST_TRIES


@pytest.mark.skipif(
    platform.machine() not in signal_senders._CALLS, reason="the sender of a signal is unknown on this machine"
)
@pytest.mark.parametrize("isolation", [Isolation.SHARED, Isolation.RISKY, Isolation.CHILD, Isolation.EXIT])
@pytest.mark.parametrize(
    "send",
    [
        lambda: os.kill(os.getpid(), signal.SIGKILL),
        lambda: signal.raise_signal(signal.SIGTERM),
        lambda: ctypes.CDLL(None)["raise"](int(signal.SIGKILL)),
    ],
)
def test_a_process_that_ends_itself_by_such_a_signal_is_a_crash(
    send: Callable[[], object], isolation: Isolation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The filter shows that the process sends the signal, so its library is at fault."""
    monkeypatch.setitem(catalogue(), OURS.invariant, replace(INVARIANT, check=in_import(send)))
    watch = Monitor(Child)
    try:
        result = watch.run(OURS, isolation)
    finally:
        watch.close()
    assert result.outcome is Outcome.CRASH
    assert result.seen in ("SIGKILL", "SIGTERM")
    assert len(result.attempts) == 2


def test_the_import_of_a_library_is_not_the_cases_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline of the case is shorter than the import."""

    class Slow(ReferenceAdapter):
        def load(self) -> None:
            time.sleep(1.5)

    def bench() -> Workbench:
        return Workbench()

    monkeypatch.setattr(workbench.registry, "create", lambda name: Slow())
    monkeypatch.setenv(deadline.VARIABLE, "1")
    monkeypatch.setitem(catalogue(), OURS.invariant, replace(INVARIANT, check=lambda exchange: exchange.producer))
    run = Child(workbench=bench)
    try:
        assert run.run(OURS).outcome is Outcome.PASS
    finally:
        run.end()


# -- which clause


@pytest.mark.parametrize("name", ["pointer.values", "capsule.race", "dtype.unknown", "negotiation.version-request"])
@pytest.mark.parametrize("given", ["", "a strided view", "an array of complex128"])
def test_a_death_on_ordinary_input_cites_the_clause_of_the_step(name: str, given: str) -> None:
    """The protocol of the case decides, not the invariant: a crash of a plain import says nothing about races or versions."""
    invariant = catalogue()[name]
    assert clause_of(CASE, invariant, CONSUMER, Doing.IMPORT, given) == "DLP-58"
    assert clause_of(CASE, invariant, CONSUMER, Doing.USE, given) == "DLP-58"
    assert clause_of(CASE, invariant, PRODUCER, Doing.EXPORT, given) == "DLP-59"
    assert clause_of(CASE, invariant, PRODUCER, Doing.RELEASE, given) == "DLP-27"
    assert clause_of(CASE, invariant, CONSUMER, Doing.RELEASE, given) == "DLP-26"
    by_cai = replace(CASE, protocol="cai")
    assert clause_of(by_cai, invariant, CONSUMER, Doing.IMPORT, given) == "CAI-32"
    assert clause_of(by_cai, invariant, PRODUCER, Doing.EXPORT, given) == "CAI-05"


def test_a_death_on_crafted_input_cites_what_the_invariant_is_about() -> None:
    """The check has made it on purpose, so the check says which clause it is about."""
    invariant = catalogue()["lifetime.null-deleter"]
    cited = clause_of(CASE, invariant, CONSUMER, Doing.IMPORT, "a NULL deleter")
    assert cited == invariant.duties[CONSUMER][0] == "DLP-26"


def test_a_death_in_a_table_cites_the_table() -> None:
    """Such invariants are about another protocol than that of the array."""
    invariant = next(i for i in catalogue().values() if i.id.startswith("exchange-api.") and i.duties[PRODUCER])
    cited = clause_of(CASE, invariant, PRODUCER, Doing.EXPORT)
    assert cited in invariant.duties[PRODUCER]


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("protocol", ["dlpack", "cai"])
@pytest.mark.parametrize("name", ["pointer.values", "lifetime.deleter-once", "canary.crashes"])
def test_a_death_cites_a_clause_that_binds_the_side_at_work(name: str, protocol: str, role: Role) -> None:
    """Also where the invariant has nothing to say of that side."""
    cited = clause_of(replace(CASE, protocol=protocol), catalogue()[name], role, Doing.IMPORT)
    clause(cited).level(role)
    assert declares(catalogue()[name], role, cited)


@pytest.mark.parametrize(("protocol", "role"), GENERAL)
def test_what_any_exchange_can_show_need_not_be_declared(protocol: str, role: Role) -> None:
    """This holds for every invariant."""
    for cited in GENERAL[protocol, role]:
        assert declares(catalogue()["canary.crashes"], role, cited)


def test_a_clause_that_the_invariant_does_not_have_is_not_declared() -> None:
    """For a side that it does not hold it against, in particular."""
    assert not declares(INVARIANT, CONSUMER, "DLP-35")
    assert declares(INVARIANT, CONSUMER, "DLP-58")
