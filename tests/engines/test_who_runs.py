"""Who a container runs as, and what differs between docker and podman, with and without root."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from conformance.engines import commands, containers
from conformance.engines.containers import Containers
from conformance.engines.model import Bounds, Cell, Prepared, Task
from conformance.images.process import Answer, Shell

TASK = Task(Prepared(Cell("", python="3.12", cuda="13"), "IMAGE"), ("--out", "{out}"), Path("/out"), "name")
DOCKER = {"ServerVersion": "28.0", "SecurityOptions": ["name=seccomp"]}
DOCKER_ROOTLESS = {**DOCKER, "SecurityOptions": ["name=seccomp", "name=rootless"]}
PODMAN = {"version": {"Version": "5.0"}, "host": {"security": {"rootless": False}}}
PODMAN_ROOTLESS = {**PODMAN, "host": {"security": {"rootless": True}}}


def words(program: str, info: object, uid: int, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """The command that runs a cell."""
    shell = Shell(io.StringIO(), {})
    monkeypatch.setattr(shell, "ask", lambda command: Answer(0, json.dumps(info), ""))
    monkeypatch.setattr(containers.os, "getuid", lambda: uid)
    monkeypatch.setattr(containers.os, "getgid", lambda: uid)
    engine = Containers(program, shell, Bounds(), "none")
    assert engine.available() is None
    return tuple(engine.command(TASK))


def value(command: tuple[str, ...], option: str) -> str | None:
    """What follows an option."""
    return command[command.index(option) + 1] if option in command else None


@pytest.mark.parametrize(
    ("program", "info", "uid", "user", "kept"),
    [
        ("docker", DOCKER, 1000, "1000:1000", None),
        ("docker", DOCKER, 0, "10001:10001", None),
        ("docker", DOCKER_ROOTLESS, 1000, "0:0", None),
        ("podman", PODMAN, 0, "10001:10001", None),
        ("podman", PODMAN_ROOTLESS, 1000, "1000:1000", "keep-id"),
    ],
)
def test_results_belong_to_who_asked_for_them_and_nobody_is_root_on_the_machine(
    program: str, info: object, uid: int, user: str, kept: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root asks for a plain user; an engine without root maps users, each in its own way."""
    command = words(program, info, uid, monkeypatch)
    assert (value(command, "--user"), value(command, "--userns")) == (user, kept)


def test_podman_adds_nothing_that_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own folders in memory are left out, and /tmp begins empty, as with docker."""
    podman, docker = words("podman", PODMAN, 1000, monkeypatch), words("docker", DOCKER, 1000, monkeypatch)
    assert "--read-only-tmpfs=false" in podman
    assert str(value(podman, "--tmpfs")) == f"{value(docker, '--tmpfs')},notmpcopyup"


@pytest.mark.parametrize("there", [True, False])
def test_podman_is_asked_for_a_first_process_where_it_has_one(
    there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a package of its own, without which no container would start."""
    init = tmp_path / "catatonit"
    if there:
        init.touch()
    monkeypatch.setattr(commands, "PODMANS_INIT", (init,))
    assert ("--init" in words("podman", PODMAN, 1000, monkeypatch)) is there
    assert "--init" in words("docker", DOCKER, 1000, monkeypatch)
