"""A loss at the exit of the interpreter belongs to the case, unless the library alone ends in the same way."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Command, command_in
from libraries import install

from conformance.adapters.base import Adapter, Device
from conformance.checks import deadline
from conformance.checks.catalogue import Case
from conformance.checks.codes import Code
from conformance.checks.outcomes import Outcome, Side
from conformance.execution import accusations, load_control
from conformance.execution.child import Child
from conformance.execution.results import Result
from conformance.execution.workbench import Workbench
from conformance.protocols.clauses import Level, Role

NAME = "lifetime.import-until-exit"
BOMB = "sys.modules['bomb'] = type('Bomb', (), {'__del__': lambda self: os.kill(os.getpid(), signal.SIGSEGV)})()"
"""An object that crashes the process when the interpreter clears its modules."""
HANDLER = "import atexit; atexit.register(os._exit, 3)"
STREAM = "sys.stdout = type('Odd', (), {'write': lambda self, text: len(text), 'flush': lambda self: 1 / 0})()"
"""A stream that the interpreter cannot flush when it exits, so its exit code is 120."""


LIBRARIES = {
    "bomb": (BOMB, "pass"),
    "handler": (HANDLER, "pass"),
    "stream": (STREAM, "pass"),
    "taking": ("pass", HANDLER),
}
"""Code that each library runs when it is loaded, and when it takes an array."""


@pytest.fixture(scope="module")
def at_exit(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """For each library the result of an import that it keeps until the interpreter ends, all of one run."""
    folder = tmp_path_factory.mktemp("at-exit")
    for name, (load, take) in LIBRARIES.items():
        path = install(folder / "site", name, load=load, take=take)
    cases = (word for name in LIBRARIES for word in ("--case", f"{NAME}/reference-{name}/dlpack/host"))
    done = command_in(folder)("check", *cases, "--between", ",".join(LIBRARIES), path=path)
    assert len(done.results) == len(LIBRARIES), done.stderr
    return {result["consumer"]: result for result in done.results}


@pytest.mark.parametrize(
    ("name", "how"), [("bomb", "SIGSEGV"), ("handler", "exit code 3"), ("stream", "exit code 120")]
)
def test_a_loss_without_an_exchange_does_not_accuse_the_import(
    name: str, how: str, at_exit: dict[str, dict[str, Any]]
) -> None:
    """Its clause is the one about libraries that end a process."""
    result = at_exit[name]
    assert (result["outcome"], result["code"], result["clause"]) == ("crash", Code.PROGRAM_CRASH.value, "PY-02")
    assert result["reason"] == f"{name} ends the process at the interpreter's exit, even without an exchange"
    assert str(result["seen"]).endswith(f"; a process that only loads {name}: {how}")
    assert result["accused"] == {
        "side": "consumer",
        "libraries": [name],
        "why": "the process only loaded the library",
    }


def test_a_loss_after_an_import_alone_accuses_the_import(at_exit: dict[str, dict[str, Any]]) -> None:
    """The check has ended by then; the reason names the time of the loss."""
    result = at_exit["taking"]
    assert (result["outcome"], result["code"]) == ("crash", Code.CRASH.value)
    told = "the process exited with exit code 3 at the interpreter's exit, after the check had ended"
    assert result["reason"] == told
    assert result["attachments"]["control"] == "a process that only loads taking exits cleanly"


# -- controls


def lost(producer: str, consumer: str) -> Result:
    """Return the result of a case that lost its process at exit."""
    case = Case(NAME, producer, consumer, "dlpack", Device.HOST)
    return Result(case, Outcome.CRASH, Level.MUST, code=Code.CRASH.value, reason="it died")


def test_libraries_that_end_a_process_only_together_share_the_failure() -> None:
    """Each is loaded alone first."""
    asked: list[tuple[str, ...]] = []

    def load(names: tuple[str, ...]) -> load_control.Ended:
        asked.append(names)
        return (
            load_control.Ended(Outcome.HANG, "no end")
            if len(names) > 1
            else load_control.Ended(Outcome.PASS, "exit code 0")
        )

    result = load_control.compared(lost("a", "b"), load)
    assert asked == [("a",), ("b",), ("a", "b")]
    assert (result.code, result.accused) == (Code.PROGRAM_HANG.value, None)
    assert result.reason == "a and b keep the process from ending at the interpreter's exit, even without an exchange"


def test_a_control_that_is_ended_from_outside_decides_nothing() -> None:
    """Neither for the import nor against the library."""
    ended = load_control.Ended(Outcome.INCONCLUSIVE, "SIGKILL from outside")
    result = load_control.compared(lost("a", "reference"), lambda names: ended)
    assert (result.outcome, "SIGKILL from outside" in result.reason) == (Outcome.INCONCLUSIVE, True)


def test_the_side_of_the_library_is_accused() -> None:
    """Each library is the consumer of one case and the producer of another."""
    dies = load_control.Ended(Outcome.CRASH, "exit code 3")
    for producer, consumer, side, role in (
        ("a", "reference", Side.PRODUCER, Role.PRODUCER),
        ("reference", "a", Side.CONSUMER, Role.CONSUMER),
    ):
        result = accusations.accused(
            load_control.compared(lost(producer, consumer), lambda names: dies), lambda id: None
        )
        assert result.accused is not None
        assert (result.accused.side, result.accused.libraries, result.role) == (side, ("a",), role)
        assert result.clause == "PY-02"


# -- an import that hangs


RELEASES_IN_A_THREAD = """
import threading
from conformance.reference.importer import Importer

class ReleasesInAThread(Importer):
    def call_deleter(self, tensor):
        threading.Thread(target=super().call_deleter, args=(tensor,), daemon=True).start()

Adapter.importer_class = ReleasesInAThread
"""


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="a later Python refuses to start the thread")
def test_an_import_that_waits_for_a_thread_at_the_end_hangs_in_its_release(
    conformance: Command, tmp_path: Path
) -> None:
    """A thread that is started while the interpreter ends never begins, and the one that starts it waits for that."""
    path = install(tmp_path / "site", "odd")
    module = path / "odd_module.py"
    module.write_text(module.read_text() + RELEASES_IN_A_THREAD)
    name = f"{NAME}/reference-odd/dlpack/host"
    done = conformance("check", "--case", name, "--between", "odd", path=path, **{deadline.VARIABLE: "2"})
    (result,) = done.results
    assert (result["outcome"], result["step"], result["clause"]) == ("hang", "release", "DLP-26"), result["reason"]
    assert result["accused"]["libraries"] == ["odd"]
    assert "call_deleter" in result["attachments"]["python stack"]


# -- the process of a control


class Dies(Workbench):
    """Loads nothing: the process is gone before."""

    def get(self, name: str) -> Adapter:
        os.kill(os.getpid(), signal.SIGSEGV)
        raise AssertionError(name)


def test_a_control_that_dies_tells_how() -> None:
    """As a case does."""
    assert Child(workbench=Dies).load(("odd",)) == load_control.Ended(Outcome.CRASH, "SIGSEGV")
