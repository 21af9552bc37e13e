"""Child processes that run cases. The parent reads the answers and the output of a child, and enforces its timeouts."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import json
import os
import selectors
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NoReturn

from conformance.checks import children, deadline, gpu_turns, signal_senders, time_spent
from conformance.checks.catalogue import Case, Invariant, Isolation, catalogue
from conformance.checks.outcomes import Outcome
from conformance.checks.steps import Step, Steps
from conformance.cuda import context

from . import crash_trace, load_control, stacks
from .deaths import AT_EXIT, died, when
from .health import gpu_trouble
from .messages import encoded
from .output_tail import Tail
from .results import BAD, Result
from .workbench import Workbench

REAP_SECONDS = 30.0
"""Seconds that a killed process may take to end: the driver must remove its work from the GPU first."""
_WORDS = 64_000
"""Number of bytes of a child's output that are kept: enough for an error message and the native stack that follows it."""
_STACK_SECONDS = 0.5
_GLANCE = 0.25
_PIECE = 1 << 16


def limit_of(invariant: Invariant) -> float:
    """Return the timeout of a case of this invariant, in seconds."""
    return invariant.seconds or deadline.seconds()


class Child:
    """A forked process that runs cases one after the other, until it crashes or is ended.

    The child closes the descriptors ``close``. It calls ``workbench`` to create the workbench of its cases.
    """

    def __init__(self, close: Iterable[int] = (), workbench: Callable[[], Workbench] = Workbench) -> None:
        self.done: list[Case] = []
        """The cases that it received, oldest first."""
        self.died = False
        self._status: int | None = None
        self._words = Tail(_WORDS)
        self._steps = Steps()
        self._pauses = deadline.Pauses()
        self._watched = 0
        self.spent: Counter[str] = Counter()
        """Seconds by purpose (:mod:`conformance.checks.time_spent`), summed over its answers."""
        self.killed = 0
        """Signal from another process that ended or stopped the child; 0 if none did."""
        requests, self._requests = os.pipe()
        self._answers, answers = os.pipe()
        self._spoken, speak = os.pipe()
        self._workbench = workbench
        supervisor = os.getpid()
        forked = time.monotonic()
        self.pid = os.fork()
        if not self.pid:
            time_spent.take()
            time_spent.add(
                time_spent.Purpose.START, -forked
            )  # _serve adds the time of its start: the sum is the duration
            for descriptor in (self._requests, self._answers, self._spoken, *close):
                os.close(descriptor)
            _live(supervisor, requests, answers, speak, workbench, self._steps, self._pauses)
        for descriptor in (requests, answers, speak):
            os.close(descriptor)
        os.set_blocking(self._spoken, False)

    @property
    def descriptors(self) -> tuple[int, ...]:
        """Descriptors that a sibling must close."""
        return () if self.died else (self._requests, self._answers, self._spoken)

    @property
    def newest(self) -> Step:
        """The newest step of its newest case."""
        return self._steps.newest

    @property
    def is_own(self) -> bool:
        """Whether the child sent itself the watched signal."""
        ended = self._status is not None and os.WIFSIGNALED(self._status)
        return bool(ended and self._watched and os.WTERMSIG(self._status or 0) == signal_senders.CAUGHT)

    @property
    def is_new(self) -> bool:
        """Whether it has received no case yet."""
        return not self.done

    def run(self, case: Case, *, last: bool = False, watch: int = 0, patience: float = 1.0) -> Result:
        """Return the result of a case. If the child is lost, the result describes the crash or the hang.

        ``last`` makes the exit of the child part of the case. ``watch`` is a signal: if the child sends it to itself, a
        seccomp filter ends the child by another signal. ``patience`` multiplies the timeout of the case.
        """
        started = time.perf_counter()
        self.done.append(case)
        return self._run(case, last, watch, patience).lasting(time.perf_counter() - started)

    def _run(self, case: Case, last: bool, watch: int, patience: float) -> Result:
        invariant = catalogue()[case.invariant]
        kills = signal_senders.memory_kills()
        self._words.clear()
        self._watched = watch
        request = {"case": case.to_json(), "watch": watch}
        answer, late = self._asked(request, patience * limit_of(invariant), last=last)
        if late is None and self._status is None:
            told = json.loads(answer)
            self.spent.update(told["spent"])
            result = Result.from_json(told["result"])
            return result if result.outcome is not Outcome.INCONCLUSIVE else result.beside(self._stderr())
        step = self._steps.newest
        when_lost = AT_EXIT if answer else when(case, step)  # the child answers before it exits
        if late is not None:
            result = self._hang(case, invariant, step, late, when_lost)
        else:
            result = self._conclude(case, invariant, step, answer, when_lost, kills)
        is_lost_at_exit = bool(answer) and result.outcome in BAD and not self.killed
        return load_control.compared(result, partial(self._loaded, watch)) if is_lost_at_exit else result

    def trouble_with_gpu(self, case: Case, seconds: float) -> str | None:
        """Have the child use the GPU. Return why that fails, or ``None``. CUDA is set up as for this case."""
        answer, late = self._asked({"probe": case.to_json()}, seconds, last=False)
        if late is not None:
            self.end()
            return f"no answer after {seconds:g} s"
        if self._status is not None:
            return f"a process that only used the GPU ended with {self._told(self._status)}"
        trouble: str | None = json.loads(answer)["trouble"]
        return trouble

    def load(self, libraries: tuple[str, ...], watch: int = 0) -> load_control.Ended:
        """Have the child load these libraries and exit, and nothing else. ``watch`` is as in :meth:`run`."""
        self._watched = watch
        answer, late = self._asked({"load": libraries, "watch": watch}, deadline.seconds(), last=True)
        if late is not None:
            told = late.late
            self.end()
            return load_control.Ended(Outcome.HANG if late.is_decided else Outcome.INCONCLUSIVE, told)
        assert self._status is not None
        told = self._told(self._status)
        if os.WIFSIGNALED(self._status) and os.WTERMSIG(self._status) in signal_senders.FOREIGN:
            return load_control.Ended(Outcome.INCONCLUSIVE, f"{told} from outside")
        is_well = self._status == 0 and answer
        return load_control.Ended(Outcome.PASS if is_well else Outcome.CRASH, told)

    def _loaded(self, watch: int, libraries: tuple[str, ...]) -> load_control.Ended:
        """Return the end of a control child that only loads these libraries. It ends at once, so it may inherit the open files of its siblings."""
        control = Child(workbench=self._workbench)
        try:
            return control.load(libraries, watch)
        finally:
            control.end()

    def end(self) -> bool:
        """Kill the child and all processes that it started. Return whether the child has ended."""
        if self.died:
            return True
        self._kill()
        gone = self._wait(REAP_SECONDS)
        self._let_go()
        return gone

    # -- asking

    def _asked(self, request: dict[str, Any], limit: float, *, last: bool) -> tuple[bytes, deadline.Watch | None]:
        """Return the answer, possibly incomplete, and the expired timeout if neither an answer nor an exit came in time."""
        watch = deadline.Watch(self.pid, limit, self._pauses)
        try:
            os.write(self._requests, encoded(request))
        except BrokenPipeError:
            pass
        if last:
            os.close(self._requests)
            self._requests = -1
        answer, in_time = self._collect(watch, until_the_end=last)
        self._listen()
        if in_time and self._status is not None:
            self._let_go()
        return answer, None if in_time else watch

    def _collect(self, watch: deadline.Watch, *, until_the_end: bool) -> tuple[bytes, bool]:
        """Read until the answer is complete, the child ends, or the time is up and nothing is left to read."""
        answer = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._answers, selectors.EVENT_READ)
            selector.register(self._spoken, selectors.EVENT_READ)
            while True:
                left = watch.left
                ready = {key.fd for key, _ in selector.select(min(left, _GLANCE))}
                if self._spoken in ready and not self._listen():
                    selector.unregister(self._spoken)
                if self._answers in ready:
                    piece = os.read(self._answers, _PIECE)
                    answer += piece
                    if answer.endswith(b"\n") and not until_the_end:
                        return answer, True
                    if not piece:
                        return answer, self._wait(_STACK_SECONDS) or self._ends(watch)
                elif not ready and self._wait(0):  # it has ended, but a process that it started keeps the pipe open
                    return answer, True
                elif not left:
                    return answer, False

    def _ends(self, watch: deadline.Watch) -> bool:
        """Return whether the child ends before its timeout."""
        while left := watch.left:
            if self._wait(min(left, _GLANCE)):
                return True
        return self._wait(0)

    def _listen(self) -> bool:
        """Read the child's standard streams. Return ``False`` at their end."""
        try:
            while piece := os.read(self._spoken, _PIECE):
                self._words.add(piece)
                if len(piece) < _PIECE:
                    return True
        except BlockingIOError:
            return True
        return False

    def _stderr(self) -> dict[str, str]:
        """Return the child's output as a note, without the native stack that its signal handler printed."""
        said, _ = crash_trace.parted(self._words.held)
        text = self._words.told(said)
        return {"stderr": text} if text else {}

    # -- ending

    def _hang(self, case: Case, invariant: Invariant, step: Step, watch: deadline.Watch, when_lost: str) -> Result:
        """Collect the stacks, then kill the child. ``step`` was read before, because the signal for the stacks may wake the child up."""
        reason = f"{watch.late} {when_lost}"
        if deadline.is_stopped(self.pid):
            self.killed = signal.SIGSTOP
            reason = f"{watch.late}: the process was stopped by a signal {when_lost}"
        native = stacks.native(self.pid)  # before SIGUSR1, which may wake the child up
        self._listen()
        notes = {**self._stderr(), **crash_trace.evidence(self._words.held, native), "native stack": native}
        self._words.clear()
        os.kill(self.pid, signal.SIGUSR1)
        end = time.monotonic() + _STACK_SECONDS
        while time.monotonic() < end and not self._words.text.endswith("\n"):
            time.sleep(0.02)
            self._listen()
        notes["python stack"] = self._words.text
        if not self.end():
            reason += f"; it still exists {REAP_SECONDS:g} s after SIGKILL"
        if not watch.is_decided:
            return Result(case, Outcome.INCONCLUSIVE, invariant.level, reason=reason, attachments=notes)
        return died(case, invariant, step, Outcome.HANG, reason, attachments=notes)

    def _conclude(
        self, case: Case, invariant: Invariant, step: Step, answer: bytes, when_lost: str, kills: int
    ) -> Result:
        """Return the result for a child that ended. Its answer counts only after a clean exit.

        ``kills`` is the kernel's count of out-of-memory kills before the case.
        """
        assert self._status is not None
        told = self._told(self._status)
        notes = {**self._stderr(), **crash_trace.evidence(self._words.held)}
        if not os.WIFSIGNALED(self._status) and not os.WEXITSTATUS(self._status) and answer:
            return Result.from_json(json.loads(answer)["result"])
        how = f"crashed with {told}" if os.WIFSIGNALED(self._status) else f"exited with {told}"
        if os.WIFSIGNALED(self._status) and os.WTERMSIG(self._status) in signal_senders.FOREIGN:
            self.killed = os.WTERMSIG(self._status)
            how = f"was killed by {told}{signal_senders.told(self.killed, kills)}"
        reason = f"the process {how} {when_lost}"
        return died(case, invariant, step, Outcome.CRASH, reason, seen=told, attachments=notes)

    def _told(self, status: int) -> str:
        """Return how a process ended. With a watch, the filter's signal is reported as the watched signal."""
        if not os.WIFSIGNALED(status):
            return f"exit code {os.WEXITSTATUS(status)}"
        number = os.WTERMSIG(status)
        return signal_senders.name_of(self._watched if self.is_own else number)

    def _wait(self, seconds: float) -> bool:
        """Wait for the end of the child for at most ``seconds``. Return whether it has ended."""
        end = time.monotonic() + seconds
        while self._status is None:
            found, status = os.waitpid(self.pid, os.WNOHANG)
            if found:
                self._status = status
            elif time.monotonic() >= end:
                return False
            else:
                self._listen()
                time.sleep(0.002)
        return True

    def _kill(self) -> None:
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        if self._status is None:  # a new child may not have its own process group yet
            os.kill(self.pid, signal.SIGKILL)

    def _let_go(self) -> None:
        """Close the pipes of an ended child, and kill the processes that it started."""
        self.died = True
        self._kill()
        for descriptor in (self._requests, self._answers, self._spoken):
            if descriptor >= 0:
                os.close(descriptor)


# -- inside the child


def _live(
    supervisor: int, requests: int, answers: int, speak: int, workbench: Callable[[], Workbench], steps: Steps,
    pauses: deadline.Pauses,
) -> NoReturn:  # fmt: skip
    """Serve requests, then exit. The interpreter exits normally only if the exit belongs to the case."""
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        # The child has its own process group, which Ctrl-C does not reach. So a KeyboardInterrupt comes from a library.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        children.die_with_parent()
        if os.getppid() != supervisor:  # the parent ended before the call above took effect
            os._exit(0)
        os.dup2(speak, 1)
        os.dup2(speak, 2)
        os.close(speak)
        deadline.keep(pauses)
        crash_trace.enable()
        faulthandler.register(signal.SIGUSR1, file=2, all_threads=True)
        bench = workbench()
        gc.freeze()  # objects from before the fork are no garbage of a case
        isolation = _serve(requests, answers, bench, steps)
    except SystemExit as exit:  # it must not propagate into the code of the process that forked this one
        _say_and_end(exit.code if isinstance(exit.code, int) else int(exit.code is not None))
    except BaseException:
        _say_and_end(1)
    if isolation is not Isolation.EXIT:
        os._exit(0)
    sys.exit(0)


def _say_and_end(code: int) -> NoReturn:
    os.write(2, traceback.format_exc().encode(errors="backslashreplace"))
    os._exit(code)


def _serve(requests: int, answers: int, bench: Workbench, steps: Steps) -> Isolation:
    """Serve requests until the pipe ends. Return the isolation of the last case."""
    isolation = Isolation.SHARED
    time_spent.add(time_spent.Purpose.START, time.monotonic())
    with os.fdopen(requests, "rb") as lines:
        for line in lines:
            request = json.loads(line)
            if "probe" in request:
                _prepare_cuda(Case.from_json(request["probe"]))
                _send(answers, {"trouble": gpu_trouble()})
                continue
            if request["watch"]:
                signal_senders.watch(request["watch"])
            if "load" in request:
                for name in request["load"]:
                    bench.get(name)
                _send(answers, {})
                isolation = Isolation.EXIT
                continue
            case = Case.from_json(request["case"])
            invariant = catalogue()[case.invariant]
            isolation = invariant.isolation
            _prepare_cuda(case)
            with gpu_turns.alone() if takes_turn(invariant) else contextlib.nullcontext():
                result = bench.run(case, invariant, steps)
            _flush()
            _send(answers, {"result": result.to_json(), "spent": _spent()})
    return isolation


def _prepare_cuda(case: Case) -> None:
    """Have CUDA start with few hardware queues, unless the case tests the order of streams, which needs CUDA's default.

    On an H200, 2,903 cases of stream order had the same outcomes with 8 queues, the default, as with 32.
    """
    if not catalogue()[case.invariant].exclusive:
        os.environ.setdefault(children.QUEUES, children.FEWEST_QUEUES)


def takes_turn(invariant: Invariant) -> bool:
    """Return whether its cases lock the GPU from their start. Programs in fresh interpreters lock it after their imports."""
    return invariant.exclusive and invariant.isolation is not Isolation.FRESH


def _spent() -> dict[str, float]:
    """Return the seconds by purpose since the last answer."""
    taken = time_spent.take()
    seconds, _cuda[0] = context.start_seconds() - _cuda[0], context.start_seconds()
    return {**taken, time_spent.Purpose.CUDA.value: round(seconds, 4)} if seconds else taken


_cuda = [0.0]
"""Seconds for the start of CUDA that were already reported."""


def _flush() -> None:
    """Flush the output of a case before the next one starts. A library may have replaced the streams with any object."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


def _send(writer: int, record: dict[str, Any]) -> None:
    data = encoded(record)
    while data:
        data = data[os.write(writer, data) :]
