"""Every command that is given to an engine, as pure functions. docker and podman take the same ones."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .model import Settings
from .stages import REPOSITORY, Stage, Target

KEY_LABEL = "conformance.image.key"
INDEX_VARIABLE = "CONFORMANCE_INDEX"
"""Where the build reads the index's address from; a command line would show it to everybody on the machine."""
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")

Command = tuple[str, ...]


@dataclass(frozen=True)
class Engine:
    """docker or podman, by name or by path."""

    program: str

    @property
    def is_podman(self) -> bool:
        """Whether it is podman, whatever its path."""
        return Path(self.program).name.startswith("podman")


def answers(engine: Engine) -> Command:
    """Succeeds where the engine can be used, and prints its version."""
    version = "{{.Version.Version}}" if engine.is_podman else "{{.ServerVersion}}"
    return (engine.program, "info", "--format", version)


def identity(engine: Engine, image: str) -> Command:
    """Prints the registry digests of an image and its own id; fails where the image is not there."""
    return (engine.program, "image", "inspect", "--format", "{{range .RepoDigests}}{{.}} {{end}}{{.Id}}", image)


def pull(engine: Engine, image: str) -> Command:
    """Fetches a base."""
    return (engine.program, "pull", image)


def label(engine: Engine, image: str) -> Command:
    """Prints the key that an image carries; fails where the image is not there."""
    return (engine.program, "image", "inspect", "--format", f'{{{{index .Config.Labels "{KEY_LABEL}"}}}}', image)


def build(engine: Engine, stage: Stage, context: Path, settings: Settings) -> Command:
    """Builds a stage from its context as an image with its name and its key."""
    labels = {KEY_LABEL: stage.key, **dict(stage.labels)}
    return (
        *((engine.program, "build") if engine.is_podman else _with_buildkit(engine)),
        *_reaching_out(settings),
        *("--target", stage.target.value),
        *(part for name, value in stage.arguments for part in ("--build-arg", f"{name}={value}")),
        *("--build-arg", f"KEY={stage.key}"),
        *(part for name, value in labels.items() for part in ("--label", f"{name}={value}")),
        *("--tag", stage.name),
        os.fspath(context),
    )


def _with_buildkit(engine: Engine) -> Command:
    """Docker before version 23 has to be asked for it, and it alone knows mounts and says its steps as plain lines."""
    return ("env", "DOCKER_BUILDKIT=1", engine.program, "build", "--progress", "plain")


def _reaching_out(settings: Settings) -> Iterable[str]:
    if settings.network:
        yield from ("--network", settings.network)
    if settings.authority:
        yield from ("--secret", f"id=ca,src={settings.authority}")
    if settings.index:
        yield from ("--secret", f"id=index,env={INDEX_VARIABLE}")
    for name in settings.proxies:
        yield from ("--build-arg", name)
    yield from settings.options


def listing(engine: Engine) -> Command:
    """Prints the names of all images that carry a key of ours."""
    template = "{{.Repository}}:{{.Tag}}"
    return (engine.program, "image", "ls", "--filter", f"label={KEY_LABEL}", "--format", template)


def removal(engine: Engine, images: Sequence[str]) -> Command:
    """Removes images; layers that others use stay."""
    return (engine.program, "image", "rm", *images)


def of_ours(listed: str) -> tuple[str, ...]:
    """The names of our images in what ``listing`` printed; podman puts a host's name in front."""
    ours = {f"{REPOSITORY}-{target.value}" for target in Target}
    names = (line.strip() for line in listed.splitlines())
    return tuple(sorted({name for name in names if name.partition(":")[0].split("/")[-1] in ours}))


def environment(settings: Settings, around: Mapping[str, str]) -> dict[str, str]:
    """The environment of a build: what is around, and the index."""
    return {**around, **({INDEX_VARIABLE: settings.index} if settings.index else {})}
