"""Plan the images of cells: read their lock files, find the digests of their base images, and derive the stages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from conformance.exits import UserError
from conformance.matrix import lockfile
from conformance.matrix.lockfile import Pin

from . import commands, stages
from .commands import Engine
from .model import LINES, Recipe
from .process import Shell
from .stages import Stage


@dataclass(frozen=True)
class Plan:
    """Stage of each cell's image, or the reason why it is unknown."""

    cells: Mapping[str, Stage]
    unknown: Mapping[str, str]
    """Reasons by cell. The digest of a base image is unknown, because the image is missing."""


def make(recipes: Sequence[Recipe], engine: Engine, shell: Shell, *, fetch: bool) -> Plan:
    """Plan the images of these cells. With ``fetch``, missing base images are pulled.

    Raises UserError with all mistakes in the recipes and their lock files.
    """
    locks, files = check(recipes), stages.recipe_files()
    digests, missing = _bases(shell, engine, recipes, fetch=fetch)
    unknown = {recipe.cell: missing[name] for recipe in recipes for name in _starts(recipe) if name in missing}
    known = [recipe for recipe in recipes if recipe.cell not in unknown]
    return Plan({r.cell: stages.chain(r, locks[r.cell], files, digests) for r in known}, unknown)


def check(recipes: Sequence[Recipe]) -> dict[str, tuple[Pin, ...]]:
    """Return the pins of each cell. Raises UserError with all mistakes in the lock files and the recipes."""
    mistakes, locks = list(_mistakes(recipes)), {}
    for recipe in recipes:
        try:
            locks[recipe.cell] = lockfile.read(recipe.lock)
        except UserError as error:
            mistakes.append(str(error))
    if mistakes:
        raise UserError("\n".join(mistakes))
    return locks


def _mistakes(recipes: Sequence[Recipe]) -> Iterable[str]:
    names = [recipe.cell for recipe in recipes]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"cell {name}: the name is given twice; each cell needs its own name"
    for recipe in recipes:
        if recipe.cuda not in LINES:
            yield f"cell {recipe.cell}: {recipe.cuda!r} is not a supported CUDA major version; give {' or '.join(LINES)}"
        if not re.fullmatch(r"3\.\d+", recipe.python):
            yield f"cell {recipe.cell}: {recipe.python!r} is not a minor version of Python; give one such as 3.12"


def _starts(recipe: Recipe) -> tuple[str, str]:
    return recipe.base_image, recipe.tools_image


def _bases(
    shell: Shell, engine: Engine, recipes: Iterable[Recipe], *, fetch: bool
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the digests of the base images, and the reasons for missing ones."""
    digests: dict[str, str] = {}
    missing: dict[str, str] = {}
    for name in sorted({image for recipe in recipes for image in _starts(recipe)}):
        answer = shell.ask(commands.identity(engine, name))
        if not answer.ok and fetch:
            fetched = shell.do(commands.pull(engine, name))
            answer = shell.ask(commands.identity(engine, name)) if fetched.ok and not shell.dry_run else fetched
        if answer.ok and answer.stdout.strip():
            digests[name] = identity(answer.stdout)
        else:
            missing[name] = f"its base image {name} is missing: {answer.complaint}"
    return digests, missing


def identity(said: str) -> str:
    """Return the registry's digest, which is the same on every machine, or else the id of the image."""
    *registry, own = said.split()
    return min((name.partition("@")[2] for name in registry), default=own)


def present(shell: Shell, engine: Engine, stage: Stage) -> bool:
    """Return whether the image exists and its label has the key of this stage."""
    answer = shell.ask(commands.label(engine, stage.name))
    return answer.ok and answer.stdout.strip() == stage.key
