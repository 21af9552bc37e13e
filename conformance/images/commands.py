"""Commands of the container engine for images, as pure functions. docker and podman accept the same commands."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .model import Settings
from .stages import REPOSITORY, Stage, Target

KEY_LABEL = "conformance.image.key"
INDEX_VARIABLE = "CONFORMANCE_INDEX"
"""Environment variable with the URL of the package index. A command line would show the URL to every user of the machine."""
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")

Command = tuple[str, ...]


@dataclass(frozen=True)
class Engine:
    """A container engine: docker or podman, by name or by path."""

    program: str

    @property
    def is_podman(self) -> bool:
        """Whether the program is podman."""
        return Path(self.program).name.startswith("podman")


def answers(engine: Engine) -> Command:
    """Return the command that prints the version. It fails if the engine cannot be used."""
    version = "{{.Version.Version}}" if engine.is_podman else "{{.ServerVersion}}"
    return (engine.program, "info", "--format", version)


def identity(engine: Engine, image: str) -> Command:
    """Return the command that prints the registry digests and the id of an image. It fails if the image is missing."""
    return (engine.program, "image", "inspect", "--format", "{{range .RepoDigests}}{{.}} {{end}}{{.Id}}", image)


def pull(engine: Engine, image: str) -> Command:
    """Return the command that pulls an image."""
    return (engine.program, "pull", image)


def label(engine: Engine, image: str) -> Command:
    """Return the command that prints the key in the label of an image. It fails if the image is missing."""
    return (engine.program, "image", "inspect", "--format", f'{{{{index .Config.Labels "{KEY_LABEL}"}}}}', image)


def build(engine: Engine, stage: Stage, context: Path, settings: Settings) -> Command:
    """Return the command that builds a stage from its context, with its name and the key as a label."""
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
    """Return the build command with BuildKit, which supports mounts and plain progress. Docker before version 23 does not use it by default."""
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
    """Return the command that prints the names of all images with a key of the suite."""
    template = "{{.Repository}}:{{.Tag}}"
    return (engine.program, "image", "ls", "--filter", f"label={KEY_LABEL}", "--format", template)


def removal(engine: Engine, images: Sequence[str]) -> Command:
    """Return the command that removes images. Layers that other images use stay."""
    return (engine.program, "image", "rm", *images)


def of_ours(listed: str) -> tuple[str, ...]:
    """Return the names of the suite's images in the output of ``listing``. Podman adds a host name in front."""
    ours = {f"{REPOSITORY}-{target.value}" for target in Target}
    names = (line.strip() for line in listed.splitlines())
    return tuple(sorted({name for name in names if name.partition(":")[0].split("/")[-1] in ours}))


def environment(settings: Settings, around: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables of a build, with the package index."""
    return {**around, **({INDEX_VARIABLE: settings.index} if settings.index else {})}
