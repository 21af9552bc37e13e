"""Container commands that run a cell, as pure functions."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from conformance.execution import gpu_sharing
from conformance.images.commands import Command, Engine

from .model import Bounds, Gpus, Placed, Task, User

SUITE = "/suite"
RESULTS = "/results"
CANDIDATES = "/candidates"
TESTS = "/with-tests"
CANDIDATES_VARIABLE = "CONFORMANCE_CANDIDATES"
"""Environment variable with the folders of candidates, which come first in the path of a cell."""
STARTUP = "conformance/checks/startup"
"""Folder of the ``sitecustomize`` that hides the replaced distributions, relative to the folder that contains the suite."""
RUN_LABEL = "conformance.run"
STOP_SECONDS = 20
"""Seconds that ``check`` has for an orderly stop before it is killed."""
GPU_LOCK = os.fspath(gpu_sharing.LOCK)
"""File lock that keeps runs on one machine from disturbing each other on the GPU. Every container mounts the same file."""
PODMANS_INIT = tuple(Path(folder, "catatonit") for folder in ("/usr/libexec/podman", "/usr/lib/podman", "/usr/bin"))
_CUDA_12 = ("cublas", "cuda_nvrtc", "cuda_runtime", "cufft", "curand", "cusolver", "cusparse", "nvjitlink")


def program(
    interpreter: str, task: Task, out: str, tests: str, suite: Sequence[str] = ("-m", "conformance")
) -> Command:
    """Return the command line of a task: ``check``, or pytest on the package's own tests.

    ``out`` and ``tests`` are the folders as the task sees them. ``suite`` holds the interpreter's arguments that start
    the suite.
    """
    if task.tests is None:
        return (interpreter, *suite, "check", *(argument.replace("{out}", out) for argument in task.arguments))
    words = (argument.replace("{out}", out).replace("{tests}", tests) for argument in task.arguments)
    return (interpreter, "-m", "pytest", *words)


def paths(root: str, folders: Sequence[str], *others: str) -> dict[str, str]:
    """Return the variables that put the candidates, and then ``others``, into the path. ``root`` contains the suite."""
    front = (f"{root}/{STARTUP}", *folders) if folders else ()
    found = {"PYTHONPATH": os.pathsep.join((*front, *others))} if front or others else {}
    return {**found, CANDIDATES_VARIABLE: os.pathsep.join(folders)} if folders else found


def library_path(site: str, line: str) -> str:
    """Return the ``LD_LIBRARY_PATH`` of the CUDA libraries in wheels. CuPy before version 14 does not search these folders itself."""
    folders = ("cu13",) if line == "13" else _CUDA_12
    return os.pathsep.join(f"{site}/nvidia/{folder}/lib" for folder in folders)


def contained(
    engine: Engine, suite: Path, bounds: Bounds, gpus: Gpus, user: User, placed: Sequence[Placed] = (), *, lock: bool = True,
) -> Command:  # fmt: skip
    """Return the part of ``run`` that all containers share, with the fewest rights that a cell needs.

    ``lock`` is whether the GPU lock can be mounted.
    """
    return (
        *_first_process(engine), "--pull", "never", "--network", "none", *_files(engine), "--shm-size", "1g",
        "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
        *(("--userns", "keep-id") if user.kept else ()),
        "--user", user.ids, "--memory", bounds.memory, "--memory-swap", bounds.memory, "--pids-limit", str(bounds.pids),
        "--stop-timeout", str(STOP_SECONDS),
        "--volume", f"{suite}:{SUITE}/conformance:ro",
        *(part for one in placed for part in ("--volume", f"{one.folder}:{_inside(one)}:ro")),
        *_variables(paths(SUITE, [_inside(one) for one in placed], SUITE)),
        *_gpus(engine, gpus),
        *(_lock() if lock and gpus.way != "none" else ()),
    )  # fmt: skip


def _inside(one: Placed) -> str:
    return f"{CANDIDATES}/{one.candidate.name}"


def _variables(found: Mapping[str, str]) -> Iterable[str]:
    return (part for name, value in found.items() for part in ("--env", f"{name}={value}"))


def _first_process(engine: Engine) -> Iterable[str]:
    """Yield the option for a first process that reaps zombies. Podman needs a separate package for it and starts no container without the package."""
    if not engine.is_podman or any(path.exists() for path in PODMANS_INIT):
        yield "--init"


def _files(engine: Engine) -> Iterable[str]:
    """Yield the options that make all folders read-only except an empty /tmp. Podman would add writable folders and copy files into them."""
    yield "--read-only"
    if engine.is_podman:
        yield "--read-only-tmpfs=false"
    yield from ("--tmpfs", "/tmp:rw,exec,nosuid,nodev,mode=1777" + (",notmpcopyup" if engine.is_podman else ""))


def _gpus(engine: Engine, gpus: Gpus) -> Iterable[str]:
    if gpus.way == "cdi":
        for device in gpus.ids or ("all",):
            yield from ("--device", f"nvidia.com/gpu={device}")
    elif gpus.way == "--gpus":
        # Docker parses this value as CSV, so a list with commas needs inner quotes.
        yield from ("--gpus", f'"device={",".join(gpus.ids)}"' if gpus.ids else "all")


def _lock() -> Command:
    return ("--volume", f"{GPU_LOCK}:{GPU_LOCK}:ro")


def run(
    engine: Engine, task: Task, common: Sequence[str], variables: Mapping[str, str], labels: Mapping[str, str]
) -> Command:
    """Return the command that runs a cell in a separate container. Without ``--rm``, the runner can inspect how the container ended."""
    return (
        engine.program, "run", "--name", task.name,
        *(part for name, value in labels.items() for part in ("--label", f"{name}={value}")),
        *common, *_variables(variables),
        "--volume", f"{task.out}:{RESULTS}:rw", *(("--volume", f"{task.tests}:{TESTS}:ro") if task.tests else ()),
        "--workdir", "/tmp", task.prepared.what, *program("python", task, RESULTS, TESTS),
    )  # fmt: skip


def shell(engine: Engine, image: str, common: Sequence[str], variables: Mapping[str, str]) -> Command:
    """Return the command for a shell in a cell, with the options of a run. The container is removed when the shell ends."""
    return (
        engine.program, "run", "--rm", "--interactive", "--tty", *common, *_variables(variables),
        "--workdir", "/tmp", image, "sh",
    )  # fmt: skip


def direct_shell(wanted: Mapping[str, str], around: Mapping[str, str]) -> Command:
    """Return the command for the user's shell with exactly these environment variables."""
    gone = (part for name in around if name not in wanted for part in ("-u", name))
    new = (f"{name}={value}" for name, value in wanted.items() if around.get(name) != value)
    return ("env", *gone, *new, around.get("SHELL", "/bin/sh"))


def state(engine: Engine, name: str) -> Command:
    """Return the command that prints status, exit code, and whether the kernel's out-of-memory killer ended a process of the container."""
    template = "{{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}}"
    return (engine.program, "container", "inspect", "--format", template, name)


def image_id(engine: Engine, image: str) -> Command:
    """Return the command that prints the id of an image, which is a digest. It fails if the image is missing."""
    return (engine.program, "image", "inspect", "--format", "{{.Id}}", image)


def stop(engine: Engine, name: str) -> Command:
    """Return the command that stops a container, and kills it after :data:`STOP_SECONDS`."""
    return (engine.program, "stop", "-t", str(STOP_SECONDS), name)


def kill(engine: Engine, name: str) -> Command:
    """Return the command that kills a container."""
    return (engine.program, "kill", name)


def remove(engine: Engine, name: str) -> Command:
    """Return the command that removes a container, running or not."""
    return (engine.program, "rm", "--force", name)


def facts(engine: Engine) -> Command:
    """Return the command that prints the facts about the engine as JSON."""
    return (engine.program, "info", "--format", "{{json .}}")
