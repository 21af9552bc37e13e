"""The key of an image: the same inputs, the same key; anything else, another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from samples import lock, pins, recipe

import conformance
from conformance.images import context, lockfile, plan
from conformance.images.model import Recipe
from conformance.images.plan import Bases

FILES = {"Dockerfile": "FROM x\n"}
BASES = Bases({"python:3.12-slim-bookworm": "sha256:1", "python:3.13-slim-bookworm": "sha256:2"}, {})
PINS = pins("numpy==2.3.5", "cupy-cuda13x==14.2.0")


def key(
    recipe: Recipe = recipe(),  # noqa: B008
    pins: tuple[lockfile.Pin, ...] = PINS,
    files: Mapping[str, str] = FILES,
    bases: Bases = BASES,
) -> str:
    """The key of these inputs."""
    return plan.part(recipe, pins, files, bases).image.key


def test_the_same_inputs_have_the_same_key() -> None:
    """Neither the cell's name nor where its lock lies says anything about what is inside."""
    assert key() == key(recipe("another-name", lock=Path("elsewhere.txt")))  # type: ignore[arg-type]


def test_comments_and_order_of_a_lock_are_not_in_the_key() -> None:
    """A lock that was made again to the same versions rebuilds nothing."""
    lines = [str(pin) for pin in reversed(PINS)]
    again, _ = lockfile.parse("# made on another day\n" + "\n".join(lines))
    assert key(pins=again) == key()


@pytest.mark.parametrize(
    "other",
    [
        key(pins=pins("numpy==2.3.4", "cupy-cuda13x==14.2.0")),
        key(pins=PINS[:1]),
        key(files={**FILES, "install": "exit 0"}),
        key(recipe=recipe(cuda="12")),
        key(recipe=recipe(python="3.13")),
        key(bases=Bases({"python:3.12-slim-bookworm": "sha256:other"}, {})),
    ],
)
def test_whatever_changes_the_content_changes_the_key(other: str) -> None:
    """Lock, recipe, arguments, and what the base's name stands for today."""
    assert other != key()


def test_without_the_digest_of_a_base_there_is_no_key() -> None:
    """A guess would be trusted later."""
    assert key(bases=Bases({}, {})) == ""


def test_nothing_of_the_suite_is_given_to_a_build() -> None:
    """An edit of the suite rebuilds nothing, since no file of it can be seen from there."""
    root = Path(conformance.__file__).parents[1]
    files = {**context.recipe_files(root / "docker"), **context.group_files(PINS)}
    suite = {text for path in (root / "conformance").rglob("*.py") if (text := path.read_text(encoding="utf-8"))}
    assert suite.isdisjoint(files.values())
    assert not any("COPY conformance" in text or "COPY . " in text for text in files.values())


def test_a_written_context_can_be_read_back(tmp_path: Path) -> None:
    """Old files of an earlier build are gone."""
    (tmp_path / "stale").write_text("old")
    context.write(tmp_path, context.group_files(PINS))
    assert not (tmp_path / "stale").exists()
    assert (tmp_path / "inside" / "lock.txt").read_text() == lock("numpy==2.3.5", "cupy-cuda13x==14.2.0")
