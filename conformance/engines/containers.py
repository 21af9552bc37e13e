"""The engine for containers, with docker or podman."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import conformance
from conformance.execution import gpu_sharing
from conformance.images import making
from conformance.images.commands import Command
from conformance.images.commands import Engine as Program
from conformance.images.model import Outcome, Recipe, State
from conformance.images.process import Shell

from . import commands, exit_states, gpus
from .model import Bounds, Cell, Ending, Gpus, Lifecycle, Placed, Prepared, Task, User

SUITE = Path(conformance.__file__).parent
PLAIN_USER = 10001
"""User id of a container that root starts."""
_DRIVER = "/usr/local/nvidia/lib:/usr/local/nvidia/lib64"
"""Folders of the driver's libraries that the loader does not search by default."""


class Containers:
    """The container engine of one program, such as ``docker``."""

    def __init__(
        self, program: str, shell: Shell, bounds: Bounds, asked_gpus: str, order: making.Order | None = None
    ) -> None:
        self.name = Path(program).name
        self.program = Program(program)
        self._shell = shell
        self._bounds = bounds
        self._asked = asked_gpus
        self._order = order
        self._info: dict[str, Any] = {}

    def available(self) -> str | None:
        """Return why the docker daemon or podman does not respond, or ``None``."""
        answer = self._shell.ask(commands.facts(self.program))
        try:
            self._info = json.loads(answer.stdout) if answer.ok else {}
        except ValueError:
            self._info = {}
        if not self._info or self._info.get("ServerErrors") or not self.version:
            errors = self._info.get("ServerErrors") or [answer.complaint if not answer.ok else "it reports no version"]
            return f"{self.program.program} does not answer: {errors[0]}"
        return None

    @property
    def version(self) -> str:
        """Version of the engine; empty if unknown."""
        version = (
            self._info.get("version", {}).get("Version") if self.program.is_podman else self._info.get("ServerVersion")
        )
        return str(version or "")

    @property
    def _gpus(self) -> Gpus:
        return gpus.contained(
            self._asked, gpus.present(), self._info, podman=self.program.is_podman, cdi=gpus.described()
        )

    def facts(self) -> dict[str, str]:
        """Return the program, version, GPUs, user and memory limit."""
        found = self._gpus
        ids = {"gpus": ",".join(found.ids) or "all"} if found.way != "none" else {}
        return {
            "engine": self.name, "version": self.version, "gpu": found.way, "gpu reason": found.reason, **ids,
            "user": self._user.ids, "memory": self._bounds.memory,
        }  # fmt: skip

    @property
    def _user(self) -> User:
        """User of the containers, and root only if needed. Rootless podman keeps the user's id. In rootless docker, root inside is the user outside."""
        ids = f"{os.getuid() or PLAIN_USER}:{os.getgid() or PLAIN_USER}"
        if not self._rootless:
            return User(ids)
        return User(ids, kept=True) if self.program.is_podman else User("0:0")

    @property
    def _rootless(self) -> bool:
        if self.program.is_podman:
            return bool(self._info.get("host", {}).get("security", {}).get("rootless"))
        return any("rootless" in str(option) for option in self._info.get("SecurityOptions") or ())

    def prepare(self, cells: Sequence[Cell]) -> dict[str, Prepared | Ending]:
        """Build the missing images."""
        if not cells or self._order is None:
            return {}
        recipes = [Recipe(cell=cell.name, python=cell.python, cuda=cell.cuda, lock=Path(cell.lock)) for cell in cells]
        outcomes = making.make(recipes, self._order, self._shell)
        return {cell.name: self._with_identity(_prepared(cell, outcome)) for cell, outcome in zip(cells, outcomes)}

    def _with_identity(self, found: Prepared | Ending) -> Prepared | Ending:
        """Add the engine's id of the image, because two images can have the same key."""
        if isinstance(found, Ending) or not found.told.get("image"):
            return found
        answer = self._shell.ask(commands.image_id(self.program, found.what))
        if not answer.ok:
            return found
        return replace(found, digests={"image": answer.stdout.strip(), "image key": found.what})

    def command(self, task: Task) -> Command:
        """Return the ``run`` command, with the fewest rights that the cell needs."""
        labels = {commands.RUN_LABEL: task.name}
        variables = self._variables(task.prepared.cell)
        return commands.run(self.program, task, self._common(task.prepared.placed), variables, labels)

    def _common(self, placed: Sequence[Placed] = ()) -> Command:
        lock = gpu_sharing.can_be_file(gpu_sharing.LOCK)
        return commands.contained(self.program, SUITE, self._bounds, self._gpus, self._user, placed, lock=lock)

    def _variables(self, cell: Cell) -> dict[str, str]:
        site = f"/opt/cell/lib/python{cell.python}/site-packages"
        paths = [commands.library_path(site, cell.cuda)] if cell.needs_library_path else []
        paths += [_DRIVER] if self._gpus.way != "none" else []
        return {"LD_LIBRARY_PATH": ":".join(paths)} if paths else {}

    def environment(self, task: Task) -> Mapping[str, str]:
        """Return the variables of the engine's client, which are those of the runner."""
        return os.environ

    def clear(self, task: Task) -> None:
        """Remove a container with this name, which a killed runner may have left running. Prepare the GPU lock and the results folder."""
        self._shell.ask(commands.remove(self.program, task.name))
        if self._gpus.way != "none":
            self._make_lock()
        uid, _, gid = self._user.ids.partition(":")
        if os.getuid() == 0 and uid != "0":
            for path in (task.out, *task.out.iterdir()):
                os.chown(path, int(uid), int(gid), follow_symlinks=False)  # the container can create links there

    def _make_lock(self) -> None:
        """Create the GPU lock, or report that it is not mounted.

        An entry of another kind under the lock's name is never mounted, because it could be a link to any file of the
        machine.
        """
        os.close(gpu_sharing.opened(gpu_sharing.LOCK))
        if not gpu_sharing.can_be_file(gpu_sharing.LOCK):
            self._shell.say(
                f"{gpu_sharing.LOCK} is not a file that all users can read, so it is not mounted: other runs on this machine's GPUs may disturb "
                "this one; remove it"
            )

    def stop(self, task: Task, process: subprocess.Popen[bytes]) -> None:
        """Start ``stop``, which sends SIGTERM to the first process and kills it if it does not end."""
        command = commands.stop(self.program, task.name)
        self._shell.say(f"+ {shlex.join(command)}")
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def kill(self, task: Task, process: subprocess.Popen[bytes]) -> None:
        """Kill the container, then the client."""
        self._shell.do(commands.kill(self.program, task.name))
        process.kill()

    def ended(self, task: Task, code: int, said: str, *, wrote: bool) -> Ending:
        """Inspect the container, then remove it. Keep it if the engine does not respond."""
        answer = self._shell.ask(commands.state(self.program, task.name))
        state = exit_states.container(answer.stdout) if answer.ok else None
        ending = self._meaning(state, code, said, answer.stderr, wrote=wrote, tests=task.tests is not None)
        if ending.lifecycle is not Lifecycle.ENGINE_GONE:
            self._shell.ask(commands.remove(self.program, task.name))
        return ending

    def _meaning(
        self, state: exit_states.Container | None, code: int, said: str, answer: str, *, wrote: bool, tests: bool
    ) -> Ending:
        if state is None or exit_states.never_started(state):
            return exit_states.without_container(code, said, answer)
        if not state.ended:
            return Ending(
                Lifecycle.KILLED,
                f"the engine's client ended with exit code {code} while the container ran; `--resume` continues",
            )
        return exit_states.of_container(state, said, self._bounds.memory, wrote=wrote, tests=tests)

    def shell(self, prepared: Prepared, suite: Path) -> Command:
        """Return the command for a shell in a container with the options of a run."""
        return commands.shell(self.program, prepared.what, self._common(), self._variables(prepared.cell))


def _prepared(cell: Cell, outcome: Outcome) -> Prepared | Ending:
    if outcome.state is State.FAILED:
        ending = exit_states.build_failed(outcome.reason)
        log = f"; see {outcome.log}" if outcome.log else ""
        return Ending(ending.lifecycle, ending.reason + log)
    return Prepared(cell, outcome.image or "IMAGE", {"image": outcome.image, "image state": outcome.state.value})
