"""The commands that engines are given."""

from __future__ import annotations

from pathlib import Path

from samples import cell

from conformance.images import commands
from conformance.images.commands import Engine
from conformance.images.model import Settings

DOCKER, PODMAN = Engine("/usr/bin/docker"), Engine("podman")


def build(engine: Engine = DOCKER, **settings: object) -> commands.Command:
    """The build of a cell."""
    return commands.build(engine, cell("numpy==2.3.5"), Path("ctx"), Settings(**settings))  # type: ignore[arg-type]


def test_a_build_names_its_image_by_the_key_and_labels_it_with_all_of_it() -> None:
    """The name finds the image, the label proves it."""
    command, stage = build(), cell("numpy==2.3.5")
    assert command[command.index("--tag") + 1] == f"cuda-interop-cell:{stage.key[:20]}"
    assert command[command.index("--target") + 1] == "cell"
    assert f"conformance.image.key={stage.key}" in command
    assert [part for part in command if part.startswith("conformance.image.lock=")]
    assert command[-1] == "ctx"


def test_podman_builds_with_the_same_command_less_what_it_does_not_know() -> None:
    """One recipe, one command."""
    assert build(PODMAN)[1:] == tuple(part for part in build()[3:] if part not in ("--progress", "plain"))


def test_settings_go_in_as_secrets_and_options_never_as_arguments() -> None:
    """What reaches the world is in no layer, and an index with a password on no command line."""
    command = build(
        authority=Path("/etc/ca.pem"), index="https://me:secret@index.example/simple", network="host",
        options=("--isolation=chroot",), proxies=("https_proxy",),
    )  # fmt: skip
    assert command[command.index("--secret") + 1] == "id=ca,src=/etc/ca.pem"
    assert "id=index,env=CONFORMANCE_INDEX" in command
    assert "--isolation=chroot" in command
    assert command[command.index("--network") + 1] == "host"
    assert not any("secret@" in part for part in command)
    assert "https_proxy" in command


def test_the_index_reaches_the_build_by_its_environment() -> None:
    """And what is around stays."""
    found = commands.environment(Settings(index="https://index.example/simple"), {"PATH": "/bin"})
    assert found == {"PATH": "/bin", "CONFORMANCE_INDEX": "https://index.example/simple"}


def test_only_our_own_images_are_listed_for_removal() -> None:
    """Podman writes a host in front; an untagged image of another name is somebody else's."""
    said = "cuda-interop-cell:aa\nlocalhost/cuda-interop-layer:bb\n<none>:<none>\nother:aa\n"
    assert commands.of_ours(said) == ("cuda-interop-cell:aa", "localhost/cuda-interop-layer:bb")
