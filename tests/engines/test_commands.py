"""The commands that run cells, word by word."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance import launcher
from conformance.engines import commands, direct, venv_commands
from conformance.engines.model import Bounds, Cell, Gpus, Prepared, Task, User
from conformance.images.commands import Engine

CELL = Cell(
    "cu13.2-py3.12-cupy14.2", "smoke", "3.12", "13", "locks/x.txt", axes={"cupy": "14.2"}, holds={"cupy": "cupy"}
)
OLD = Cell("cu12.9-py3.12-cupy13.6", "old", "3.12", "12", "locks/y.txt", axes={"cupy": "13.6"}, holds={"cupy": "cupy"})
TASK = Task(
    Prepared(CELL, "cuda-interop-cell:1"), ("--out", "{out}", "--case", "a/b"), Path("/r/cell"), "conformance-1-x"
)
DOCKER, PODMAN = Engine("docker"), Engine("/usr/bin/podman")
NO_GPU = Gpus("none")
PLAIN = User("1000:1000")


def contained(engine: Engine = DOCKER, gpus: Gpus = NO_GPU, user: User = PLAIN) -> str:
    """The common part as one text."""
    return " ".join(commands.contained(engine, Path("/site/conformance"), Bounds("4g", 100), gpus, user))


def test_a_container_has_nothing_but_what_it_needs() -> None:
    """No network, no capabilities, no way to write but one, and bounds."""
    said = contained()
    for part in (
        "--network none", "--read-only", "--tmpfs /tmp:", "--cap-drop ALL", "--security-opt no-new-privileges", "--user 1000:1000",
        "--memory 4g --memory-swap 4g", "--pids-limit 100", "--stop-timeout", "--pull never", "--init",
        "--volume /site/conformance:/suite/conformance:ro",
    ):  # fmt: skip
        assert part in said
    assert ":rw" not in said.replace("/tmp:rw", "")
    assert "gpu" not in said


def test_results_come_out_through_the_one_writable_mount() -> None:
    """And the case's arguments name it as the container does."""
    command = commands.run(DOCKER, TASK, ("--network", "none"), {"A": "b"}, {"l": "m"})
    assert command == (
        "docker", "run", "--name", "conformance-1-x", "--label", "l=m", "--network", "none", "--env", "A=b",
        "--volume", "/r/cell:/results:rw", "--workdir", "/tmp", "cuda-interop-cell:1",
        "python", "-m", "conformance", "check", "--out", "/results", "--case", "a/b",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("gpus", "part"),
    [
        (Gpus("cdi"), "--device nvidia.com/gpu=all"),
        (Gpus("cdi", ("0", "2")), "--device nvidia.com/gpu=0 --device nvidia.com/gpu=2"),
        (Gpus("--gpus"), "--gpus all"),
        (Gpus("--gpus", ("0", "2")), '--gpus "device=0,2"'),
    ],
)
def test_gpus_come_by_cdi_or_by_dockers_own_way(gpus: Gpus, part: str) -> None:
    """And the lock by which runs keep out of each other's way comes with them."""
    assert part in contained(gpus=gpus)
    assert f"{commands.GPU_LOCK}:{commands.GPU_LOCK}:ro" in contained(gpus=gpus)


def test_a_lock_that_is_no_file_is_not_mounted() -> None:
    """A container would otherwise receive the target of a link."""
    common = commands.contained(DOCKER, Path("/s"), Bounds("4g", 100), Gpus("cdi"), PLAIN, lock=False)
    assert commands.GPU_LOCK not in " ".join(common)


def test_a_shell_is_in_a_container_as_a_run_has_it() -> None:
    """And leaves nothing behind."""
    command = " ".join(commands.shell(DOCKER, "image", ("--network", "none"), {}))
    assert command == "docker run --rm --interactive --tty --network none --workdir /tmp image sh"


def test_a_shell_on_the_machine_itself_has_what_a_run_has_around_it() -> None:
    """And nothing of what a run has not."""
    command = commands.direct_shell(
        {"PATH": "/v/bin", "HOME": "/h"}, {"HOME": "/h", "CUDA_PATH": "/c", "SHELL": "/bin/zsh"}
    )
    assert command == ("env", "-u", "CUDA_PATH", "-u", "SHELL", "PATH=/v/bin", "/bin/zsh")


def test_old_cupy_is_told_where_the_cuda_libraries_of_wheels_are() -> None:
    """From version 14 on it finds them by itself."""
    assert (OLD.needs_library_path, CELL.needs_library_path) == (True, False)
    by_another_axis = Cell("one", axes={"cuda_arrays": "12.3.1"}, holds={"cupy": "cuda_arrays"})
    assert (by_another_axis.needs_library_path, Cell("cu12-cupy13.6").needs_library_path) == (True, False)
    assert "/s/nvidia/cuda_nvrtc/lib" in commands.library_path("/s", "12").split(":")
    assert commands.library_path("/s", "13") == "/s/nvidia/cu13/lib"


def test_a_cell_on_the_machine_itself_sees_nothing_of_the_machines_cuda() -> None:
    """Neither a toolkit on the path nor packages of another environment."""
    around = {
        "CUDA_PATH": "/usr/local/cuda",
        "PYTHONPATH": "/else",
        "PATH": "/usr/local/cuda/bin:/usr/bin",
        "HOME": "/h",
    }
    found = direct.variables(around, Gpus("direct", ("1",)), OLD, "/v/bin/python")
    assert found["PATH"] == "/v/bin:/usr/local/bin:/usr/bin:/bin"
    assert (found["CUDA_VISIBLE_DEVICES"], found["HOME"]) == ("1", "/h")
    assert "CUDA_PATH" not in found
    assert "PYTHONPATH" not in found
    assert found["LD_LIBRARY_PATH"].startswith("/v/lib/python3.12/site-packages/nvidia/")


def test_a_cell_on_the_machine_itself_gets_nothing_of_what_is_installed_beside_the_suite() -> None:
    """The interpreter runs the suite by its path. A candidate is the only addition to the path."""
    found = direct.variables({"PYTHONPATH": "/mine"}, NO_GPU, Cell("here"), "/v/bin/python", ["/c"])
    startup = f"{direct.ROOT}/{commands.STARTUP}"
    assert found["PYTHONPATH"].split(":") == [startup, "/c", "/mine"]
    task = Task(Prepared(CELL, "/v/bin/python"), ("--out", "{out}"), Path("/r"), "x")
    command = direct.Direct("none").command(task)
    assert command == ("/v/bin/python", launcher.__file__, "conformance.command", "check", "--out", "/r")


def test_without_gpus_none_is_seen() -> None:
    """Even where there is one."""
    assert direct.variables({}, Gpus("none"), CELL, "/v/bin/python")["CUDA_VISIBLE_DEVICES"] == ""


def test_what_is_here_is_left_as_it_is() -> None:
    """It is not made from a lock."""
    found = direct.variables({"PATH": "/p", "CUDA_PATH": "/c"}, Gpus("direct"), Cell("here"), "/v/bin/python")
    assert (found["PATH"], found["CUDA_PATH"]) == ("/p", "/c")


def test_an_environment_takes_wheels_by_their_hashes_alone() -> None:
    """And exactly those of the lock."""
    empty, install = venv_commands.make("uv", CELL, Path("/v"), Path("/b"))
    assert " ".join(empty) == "uv venv -q --no-project --no-config --clear --python 3.12 /v"
    assert {"--require-hashes", "--no-deps", "--only-binary"} < set(install)


def test_pycuda_is_built_in_an_environment_of_its_own() -> None:
    """With the toolkit of the cell's CUDA line, by the recipe that images use."""
    steps = [" ".join(step) for step in venv_commands.pycuda("uv", CELL, Path("/v"), Path("/b"), Path("docker/pycuda"))]
    assert "docker/pycuda/cu13.txt" in steps[1]
    assert steps[2] == "sh docker/pycuda/wheel /b/tools/bin/python /b/pycuda.txt /b/link /b/wheels"
    assert "--no-index --find-links /b/wheels" in steps[3]
