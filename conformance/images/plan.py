"""Which images the cells need, and which of them are there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from conformance.exits import UserError

from . import commands, context, lockfile
from .commands import Engine
from .lockfile import Pin
from .model import LINES, Image, Outcome, Recipe, State
from .process import Shell

NO_DIGEST = ""


@dataclass(frozen=True)
class Part:
    """An image, with all that its build is given."""

    image: Image
    files: Mapping[str, str]
    arguments: Mapping[str, str]


@dataclass(frozen=True)
class Bases:
    """The digests of the images that builds start from, and why there is none."""

    digests: Mapping[str, str]
    missing: Mapping[str, str]


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
    yield from (
        f"cell {name}: is there twice; a name is one cell" for name in sorted({n for n in names if names.count(n) > 1})
    )
    for recipe in recipes:
        if recipe.cuda not in LINES:
            yield f"cell {recipe.cell}: {recipe.cuda!r} is no CUDA line; give {' or '.join(LINES)}"
        if not re.fullmatch(r"3\.\d+", recipe.python):
            yield f"cell {recipe.cell}: {recipe.python!r} is no minor version of Python; give one such as 3.12"


def bases(shell: Shell, engine: Engine, recipes: Iterable[Recipe], *, fetch: bool) -> Bases:
    """Look for the images that builds start from, and fetch what is not here."""
    digests: dict[str, str] = {}
    missing: dict[str, str] = {}
    for name in sorted({image for recipe in recipes for image in (recipe.base_image, recipe.tools_image)}):
        answer = shell.ask(commands.identity(engine, name))
        if not answer.ok and fetch:
            fetched = shell.do(commands.pull(engine, name))
            answer = shell.ask(commands.identity(engine, name)) if fetched.ok and not shell.dry_run else fetched
        if answer.ok and answer.stdout.strip():
            digests[name] = identity(answer.stdout)
        else:
            missing[name] = f"its base {name} is not here: {answer.complaint}"
    return Bases(digests, missing)


def identity(said: str) -> str:
    """What stays the same on every machine, the registry's digest, where there is one; else the image's id."""
    *registry, own = said.split()
    return min((name.partition("@")[2] for name in registry), default=own)


def part(recipe: Recipe, pins: tuple[Pin, ...], recipe_files: Mapping[str, str], found: Bases) -> Part:
    """A recipe's image with its key; without one where a base's digest is not known."""
    arguments = context.arguments(recipe, pins)
    names = {recipe.base_image, recipe.tools_image}
    digests = {name: found.digests[name] for name in names if name in found.digests}
    key = context.key(recipe_files, arguments, digests) if digests.keys() == names else NO_DIGEST
    return Part(Image(recipe, key), {**recipe_files, **context.group_files(pins)}, arguments)


def present(shell: Shell, engine: Engine, image: Image) -> bool:
    """Whether the image is there and says itself that it is this one."""
    answer = shell.ask(commands.label(engine, image.name))
    return answer.ok and answer.stdout.strip() == image.key


def without_base(image: Image, found: Bases, *, dry_run: bool) -> Outcome:
    """The outcome of a cell whose base's digest is not known."""
    names = (image.recipe.base_image, image.recipe.tools_image)
    if dry_run:
        return Outcome(image, State.MISSING)
    return Outcome(image, State.FAILED, reason=next(found.missing[name] for name in names if name in found.missing))
