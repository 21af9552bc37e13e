"""What an exit code, a container's state and last words mean for a cell. Pure."""

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
    Exit.OK: "complete, and nothing is violated",
    Exit.VIOLATIONS: "complete, with violations",
    Exit.INCOMPLETE: "something that was planned has no outcome, or something that is installed was not tested",
    Exit.VOID: "a canary did not end as it was built to: these results cannot be believed",
}
_DAEMON_FAILED, _FIRST_SIGNAL = 125, 128


@dataclass(frozen=True)
class Container:
    """What the engine says of a container. ``oom``: the kernel ended something in it for want of memory."""

    status: str
    code: int
    oom: bool

    @property
    def ended(self) -> bool:
        """Whether it runs no more."""
        return self.status in ("exited", "dead", "stopped")


def container(said: str) -> Container | None:
    """The answer of ``commands.state``; ``None`` where it is something else."""
    words = said.split()
    if len(words) != 3 or not words[1].lstrip("-").isdigit():
        return None
    return Container(words[0], int(words[1]), words[2] == "true")


def of_check(code: int, said: str, *, wrote: bool) -> Ending:
    """How a cell ended whose ``check`` ended with this exit code, or (negative) by this signal."""
    if code < 0 or code > _FIRST_SIGNAL:
        return _by_signal(-code if code < 0 else code - _FIRST_SIGNAL)
    if code == Exit.NO_ROOM or (code and NO_SPACE in said.lower()):
        return Ending(Lifecycle.NO_SPACE, last(said) or "its results could not be written")
    if code == Exit.USAGE:
        return Ending(Lifecycle.NOT_RUN, last(said, "conformance: ") or "check would not begin")
    if code == Exit.INCOMPLETE and not wrote:
        return Ending(Lifecycle.DONE, last(said, "conformance: ") or _WORDS[Exit.INCOMPLETE], code)
    if code in _CHECK_ENDED and wrote:
        return Ending(Lifecycle.DONE, _WORDS[Exit(code)], code)
    told = last(said) or "it said nothing"
    return Ending(Lifecycle.NOT_RUN, f"check ended with exit code {code} and left no results: {told}")


def _by_signal(number: int) -> Ending:
    return Ending(Lifecycle.KILLED, f"ended by {_called(number)} from outside; `--resume` goes on with it")


def _called(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def of_tests(code: int, said: str) -> Ending:
    """How a package's own tests ended, by the exit code of pytest. ``exit`` is negative for a signal, whoever has sent it."""
    number = -code if code < 0 else code - _FIRST_SIGNAL
    if number > 0:
        return Ending(Lifecycle.KILLED, f"ended by {_called(number)}", -number)
    if code and NO_SPACE in said.lower():
        return Ending(Lifecycle.NO_SPACE, _line(said, NO_SPACE), code)
    return Ending(Lifecycle.DONE, f"pytest ended with exit code {code}", code)


def of_container(state: Container, said: str, memory: str, *, wrote: bool, tests: bool = False) -> Ending:
    """How a cell, or the package's own tests in it, ended in a container that is there to be asked."""
    ending = of_tests(state.code, said) if tests else of_check(state.code, said, wrote=wrote)
    if not state.oom:
        return _perhaps_memory(ending, memory) if state.code == _FIRST_SIGNAL + signal.SIGKILL else ending
    more = f"the kernel ended something in it at its memory limit of {memory}; `--resume` with more --memory begins it anew"
    if wrote:  # a library or a case may be accused of what was the limit's doing
        return Ending(Lifecycle.OUT_OF_MEMORY, f"{more}; its results are not to be trusted", ending.exit)
    return Ending(Lifecycle.OUT_OF_MEMORY, more)


def _perhaps_memory(ending: Ending, memory: str) -> Ending:
    """Not every engine is told by the kernel; podman often is not."""
    return Ending(
        ending.lifecycle, f"ended by SIGKILL from outside (or at its memory limit of {memory}, of which the engine knows nothing); "
        "`--resume` goes on with it", ending.exit,
    )  # fmt: skip


def without_container(code: int, said: str, answer: str) -> Ending:
    """How a cell ended that has no container to be asked: ``said`` by the client, ``answer`` when it was asked for the state."""
    for told in (answer, said):
        if _GONE.search(told) or (told is said and _CUT_OFF.search(told)):
            return Ending(Lifecycle.ENGINE_GONE, last(told))
    return refused(said) or Ending(
        Lifecycle.NOT_RUN, f"the engine ended with exit code {code}: {last(said) or last(answer)}"
    )


def refused(said: str) -> Ending | None:
    """What an engine's complaint means, where it is one of those that are known."""
    if NO_SPACE in said.lower():
        return Ending(Lifecycle.NO_SPACE, _line(said, NO_SPACE))
    if _NO_IMAGE.search(said):
        return Ending(Lifecycle.IMAGE_MISSING, f"{last(_line(said, 'image'))}; `python -m conformance images` makes it")
    if _GONE.search(said):
        return Ending(Lifecycle.ENGINE_GONE, last(said))
    return None


def never_started(state: Container) -> bool:
    """A container that was made and could not be started."""
    return state.status in ("created", "configured", "initialized")


def build_failed(reason: str) -> Ending:
    """What a failed preparation means: a full disk and an engine that is gone are told apart."""
    known = refused(reason)
    if known and known.lifecycle in (Lifecycle.NO_SPACE, Lifecycle.ENGINE_GONE):
        return known
    if "its base" in reason and "is not here" in reason:
        return Ending(Lifecycle.IMAGE_MISSING, " ".join(reason.split()))
    return Ending(Lifecycle.BUILD_FAILED, " ".join(reason.split()))


def last(said: str, mark: str = "") -> str:
    """The last line that was said, or the last with ``mark``, without it."""
    lines = [line.strip() for line in said.splitlines() if line.strip() and "See 'docker run --help'" not in line]
    marked = [line.removeprefix(mark) for line in lines if line.startswith(mark)] if mark else []
    return (marked or lines or [""])[-1]


def _line(said: str, word: str) -> str:
    return next((line.strip() for line in said.splitlines() if word in line.lower()), last(said))
