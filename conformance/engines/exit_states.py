"""Interpret the exit code, the state and the output of a container or process as the ending of a cell. Pure functions."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass

from conformance.exits import Exit

from .model import Ending, Lifecycle

NO_SPACE = "no space left on device"
_GONE = re.compile(
    r"cannot connect to (the docker daemon|podman)|is the docker daemon running|unable to connect to podman|error during connect",
    re.IGNORECASE,
)
_CUT_OFF = re.compile(r"error waiting for container|unexpected eof|connection reset", re.IGNORECASE)
_NO_IMAGE = re.compile(r"no such image|unable to find image|image not known|does not exist locally", re.IGNORECASE)
_NO_CONTAINER = re.compile(r"no such (container|object)|no container with name", re.IGNORECASE)
_CHECK_ENDED = frozenset({Exit.OK, Exit.VIOLATIONS, Exit.INCOMPLETE, Exit.VOID})
_WORDS = {
    Exit.OK: "complete, without violations",
    Exit.VIOLATIONS: "complete, with violations",
    Exit.INCOMPLETE: "incomplete: a planned case has no outcome, or an installed library was not tested",
    Exit.VOID: "void: a canary had an unexpected result, so these results cannot be trusted",
}
_DAEMON_FAILED, _FIRST_SIGNAL = 125, 128


@dataclass(frozen=True)
class Container:
    """State of a container. ``oom`` is whether the kernel's out-of-memory killer ended a process in it."""

    status: str
    code: int
    oom: bool

    @property
    def ended(self) -> bool:
        """Whether the container has stopped."""
        return self.status in ("exited", "dead", "stopped")


def container(said: str) -> Container | None:
    """Parse the output of ``commands.state``. Return ``None`` for any other text."""
    words = said.split()
    if len(words) != 3 or not words[1].lstrip("-").isdigit():
        return None
    return Container(words[0], int(words[1]), words[2] == "true")


def of_check(code: int, said: str, *, wrote: bool) -> Ending:
    """Return the ending of a cell from the exit code of ``check``. A negative code is a signal."""
    if code < 0 or code > _FIRST_SIGNAL:
        return _by_signal(-code if code < 0 else code - _FIRST_SIGNAL)
    if code == Exit.NO_ROOM or (code and NO_SPACE in said.lower()):
        return Ending(Lifecycle.NO_SPACE, last(said) or "the results could not be written")
    if code == Exit.USAGE:
        return Ending(Lifecycle.NOT_RUN, last(said, "conformance: ") or "check did not start")
    if code == Exit.INCOMPLETE and not wrote:
        return Ending(Lifecycle.DONE, last(said, "conformance: ") or _WORDS[Exit.INCOMPLETE], code)
    if code in _CHECK_ENDED and wrote:
        return Ending(Lifecycle.DONE, _WORDS[Exit(code)], code)
    output = last(said) or "it printed nothing"
    return Ending(Lifecycle.NOT_RUN, f"check ended with exit code {code} and wrote no results: {output}")


def _by_signal(number: int) -> Ending:
    return Ending(Lifecycle.KILLED, f"ended by {_called(number)} from outside; `--resume` continues this cell")


def _called(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def of_tests(code: int, said: str) -> Ending:
    """Return the ending of a package's own tests from the exit code of pytest. ``exit`` of the ending is negative for a signal."""
    number = -code if code < 0 else code - _FIRST_SIGNAL
    if number > 0:
        return Ending(Lifecycle.KILLED, f"ended by {_called(number)}", -number)
    if code and NO_SPACE in said.lower():
        return Ending(Lifecycle.NO_SPACE, _line(said, NO_SPACE), code)
    return Ending(Lifecycle.DONE, f"pytest ended with exit code {code}", code)


def of_container(state: Container, said: str, memory: str, *, wrote: bool, tests: bool = False) -> Ending:
    """Return the ending of a cell, or of the package's own tests in it, from the state of its container."""
    ending = of_tests(state.code, said) if tests else of_check(state.code, said, wrote=wrote)
    if not state.oom:
        return _perhaps_memory(ending, memory) if state.code == _FIRST_SIGNAL + signal.SIGKILL else ending
    more = f"the kernel ended a process in it at its memory limit of {memory}; `--resume` with a larger --memory runs the cell again"
    if wrote:  # the results may accuse a library of a failure that the memory limit caused
        return Ending(Lifecycle.OUT_OF_MEMORY, f"{more}; its results cannot be trusted", ending.exit)
    return Ending(Lifecycle.OUT_OF_MEMORY, more)


def _perhaps_memory(ending: Ending, memory: str) -> Ending:
    """Add the memory limit as a possible cause of SIGKILL, because some engines, often podman, do not report out-of-memory kills."""
    return Ending(
        ending.lifecycle, f"ended by SIGKILL from outside (or at its memory limit of {memory}, which the engine does not report); "
        "`--resume` continues this cell", ending.exit,
    )  # fmt: skip


def without_container(code: int, said: str, answer: str) -> Ending:
    """Return the ending of a cell without a container. ``said`` is the output of the client, and ``answer`` that of the query for the state."""
    for text in (answer, said):
        if _GONE.search(text) or (text is said and _CUT_OFF.search(text)):
            return Ending(Lifecycle.ENGINE_GONE, last(text))
    return refused(said) or Ending(
        Lifecycle.NOT_RUN, f"the engine ended with exit code {code}: {last(said) or last(answer)}"
    )


def refused(said: str) -> Ending | None:
    """Return the ending for a known error message of an engine, or ``None``."""
    if NO_SPACE in said.lower():
        return Ending(Lifecycle.NO_SPACE, _line(said, NO_SPACE))
    if _NO_IMAGE.search(said):
        return Ending(
            Lifecycle.IMAGE_MISSING, f"{last(_line(said, 'image'))}; `python -m conformance images` builds it"
        )
    if _GONE.search(said):
        return Ending(Lifecycle.ENGINE_GONE, last(said))
    return None


def never_started(state: Container) -> bool:
    """Return whether the engine created the container but could not start it."""
    return state.status in ("created", "configured", "initialized")


def build_failed(reason: str) -> Ending:
    """Return the ending for a failed preparation. A full disk and an unreachable engine have endings of their own."""
    known = refused(reason)
    if known and known.lifecycle in (Lifecycle.NO_SPACE, Lifecycle.ENGINE_GONE):
        return known
    if "its base image" in reason and "is missing" in reason:
        return Ending(Lifecycle.IMAGE_MISSING, " ".join(reason.split()))
    return Ending(Lifecycle.BUILD_FAILED, " ".join(reason.split()))


def last(said: str, mark: str = "") -> str:
    """Return the last line of the output, or the last line that begins with ``mark``, without the mark."""
    lines = [line.strip() for line in said.splitlines() if line.strip() and "See 'docker run --help'" not in line]
    marked = [line.removeprefix(mark) for line in lines if line.startswith(mark)] if mark else []
    return (marked or lines or [""])[-1]


def _line(said: str, word: str) -> str:
    return next((line.strip() for line in said.splitlines() if word in line.lower()), last(said))
