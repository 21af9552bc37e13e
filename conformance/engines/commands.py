"""Every command that runs a cell, as pure functions."""

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
"""By which a cell knows what stands in front of its path."""
STARTUP = "conformance/checks/startup"
"""The folder whose ``sitecustomize`` hides what candidates replace, in the folder that the suite is in."""
RUN_LABEL = "conformance.run"
STOP_SECONDS = 20
"""What ``check`` has to put everything down in order; then it is killed."""
GPU_LOCK = os.fspath(gpu_sharing.LOCK)
"""By which runs on one machine keep out of each other's way on the GPU; containers have to see the same one."""
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
    """Where the CUDA libraries of wheels are, for those that do not look there by themselves (CuPy below 14)."""
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
    """One that buries the dead. Podman's is a package of its own, and no container starts without it if it is asked for."""
    if not engine.is_podman or any(path.exists() for path in PODMANS_INIT):
        yield "--init"


def _files(engine: Engine) -> Iterable[str]:
    """Nothing can be written but /tmp, which begins empty. Podman adds folders of its own, and copies into them, unless told not to."""
    yield "--read-only"
    if engine.is_podman:
        yield "--read-only-tmpfs=false"
    yield from ("--tmpfs", "/tmp:rw,exec,nosuid,nodev,mode=1777" + (",notmpcopyup" if engine.is_podman else ""))


def _gpus(engine: Engine, gpus: Gpus) -> Iterable[str]:
    if gpus.way == "cdi":
        for device in gpus.ids or ("all",):
            yield from ("--device", f"nvidia.com/gpu={device}")
    elif gpus.way == "--gpus":
        # The inner quotes are docker's: a list with commas is one value.
        yield from ("--gpus", f'"device={",".join(gpus.ids)}"' if gpus.ids else "all")


def _lock() -> Command:
    return ("--volume", f"{GPU_LOCK}:{GPU_LOCK}:ro")


def run(
    engine: Engine, task: Task, common: Sequence[str], variables: Mapping[str, str], labels: Mapping[str, str]
) -> Command:
    """Run a cell in a container of its own. It is not removed by itself: how it ended is asked for first."""
    return (
        engine.program, "run", "--name", task.name,
        *(part for name, value in labels.items() for part in ("--label", f"{name}={value}")),
        *common, *_variables(variables),
        "--volume", f"{task.out}:{RESULTS}:rw", *(("--volume", f"{task.tests}:{TESTS}:ro") if task.tests else ()),
        "--workdir", "/tmp", task.prepared.what, *program("python", task, RESULTS, TESTS),
    )  # fmt: skip


def shell(engine: Engine, image: str, common: Sequence[str], variables: Mapping[str, str]) -> Command:
    """A shell in a cell, as a run would have it; what it writes is gone with it."""
    return (
        engine.program, "run", "--rm", "--interactive", "--tty", *common, *_variables(variables),
        "--workdir", "/tmp", image, "sh",
    )  # fmt: skip


def direct_shell(wanted: Mapping[str, str], around: Mapping[str, str]) -> Command:
    """The user's shell, with these variables instead of those around."""
    gone = (part for name in around if name not in wanted for part in ("-u", name))
    new = (f"{name}={value}" for name, value in wanted.items() if around.get(name) != value)
    return ("env", *gone, *new, around.get("SHELL", "/bin/sh"))


def state(engine: Engine, name: str) -> Command:
    """Prints status, exit code and whether the kernel ended something of it for want of memory."""
    template = "{{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}}"
    return (engine.program, "container", "inspect", "--format", template, name)


def image_id(engine: Engine, image: str) -> Command:
    """Prints the id of an image, which is a digest; fails where the image is not there."""
    return (engine.program, "image", "inspect", "--format", "{{.Id}}", image)


def stop(engine: Engine, name: str) -> Command:
    """Asks a container to stop, and kills it when it does not."""
    return (engine.program, "stop", "-t", str(STOP_SECONDS), name)


def kill(engine: Engine, name: str) -> Command:
    """Ends a container at once."""
    return (engine.program, "kill", name)


def remove(engine: Engine, name: str) -> Command:
    """Removes a container, running or not."""
    return (engine.program, "rm", "--force", name)


def facts(engine: Engine) -> Command:
    """Prints what the engine knows of itself, as JSON."""
    return (engine.program, "info", "--format", "{{json .}}")
