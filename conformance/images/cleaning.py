"""Removing the images that no lock refers to."""

from __future__ import annotations

from collections.abc import Sequence

from conformance.exits import UserError

from . import commands, context, plan
from .commands import Engine
from .model import Recipe
from .process import Shell


def clean(recipes: Sequence[Recipe], engine: Engine, shell: Shell) -> tuple[list[str], dict[str, str]]:
    """The images that were removed (or, in a dry run, would be), and why others could not be.

    Raises UserError where it cannot be known what is still referred to, because a base is not here.
    """
    locks, files = plan.check(recipes), context.recipe_files()
    listed = shell.ask(commands.listing(engine))
    if not listed.ok:
        raise UserError(f"{engine.program} lists no images: {listed.complaint}; is the engine running?")
    ours = commands.of_ours(listed.stdout)
    if not ours:
        return [], {}
    found = plan.bases(shell, engine, recipes, fetch=False)
    images = [plan.part(recipe, locks[recipe.cell], files, found).image for recipe in recipes]
    unknown = [image.recipe.base_image for image in images if not image.key]
    if unknown:
        raise UserError(
            f"what is still referred to cannot be known: the base {unknown[0]} is not here; "
            "`python -m conformance images` fetches it"
        )
    wanted = {image.name for image in images}
    return _removed([name for name in ours if name.split("/")[-1] not in wanted], engine, shell)


def _removed(names: Sequence[str], engine: Engine, shell: Shell) -> tuple[list[str], dict[str, str]]:
    answers = {name: shell.do(commands.removal(engine, [name])) for name in names}
    return [n for n, a in answers.items() if a.ok], {n: a.complaint for n, a in answers.items() if not a.ok}
