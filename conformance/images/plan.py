"""What the cells need: their locks, the digests of their bases, and the stages of their images."""

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
    """The stage of each cell's own image, or why it cannot be known."""

    cells: Mapping[str, Stage]
    unknown: Mapping[str, str]
    """Reasons by cell: a base is not here, so its digest is not known."""


def make(recipes: Sequence[Recipe], engine: Engine, shell: Shell, *, fetch: bool) -> Plan:
    """Plan the images of these cells. Bases that are not here are fetched, if they may be.

    Raises UserError with all that is wrong in the recipes and their locks.
    """
    locks, files = check(recipes), stages.recipe_files()
    digests, missing = _bases(shell, engine, recipes, fetch=fetch)
    unknown = {recipe.cell: missing[name] for recipe in recipes for name in _starts(recipe) if name in missing}
    known = [recipe for recipe in recipes if recipe.cell not in unknown]
    return Plan({r.cell: stages.chain(r, locks[r.cell], files, digests) for r in known}, unknown)


def check(recipes: Sequence[Recipe]) -> dict[str, tuple[Pin, ...]]:
    """The locks by cell. Raises UserError with all that is wrong in them and in the recipes."""
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
        yield f"cell {name}: is there twice; a name is one cell"
    for recipe in recipes:
        if recipe.cuda not in LINES:
            yield f"cell {recipe.cell}: {recipe.cuda!r} is no CUDA line; give {' or '.join(LINES)}"
        if not re.fullmatch(r"3\.\d+", recipe.python):
            yield f"cell {recipe.cell}: {recipe.python!r} is no minor version of Python; give one such as 3.12"


def _starts(recipe: Recipe) -> tuple[str, str]:
    return recipe.base_image, recipe.tools_image


def _bases(
    shell: Shell, engine: Engine, recipes: Iterable[Recipe], *, fetch: bool
) -> tuple[dict[str, str], dict[str, str]]:
    """The digests of the images that builds start from, and why there is none."""
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
            missing[name] = f"its base {name} is not here: {answer.complaint}"
    return digests, missing


def identity(said: str) -> str:
    """What stays the same on every machine, the registry's digest, where there is one; else the image's id."""
    *registry, own = said.split()
    return min((name.partition("@")[2] for name in registry), default=own)


def present(shell: Shell, engine: Engine, stage: Stage) -> bool:
    """Whether the image is there and says itself that it is this one."""
    answer = shell.ask(commands.label(engine, stage.name))
    return answer.ok and answer.stdout.strip() == stage.key
