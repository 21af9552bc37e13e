"""Remove the images that no lock file refers to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from conformance.console.screen import many
from conformance.exits import UserError

from . import commands, plan
from .commands import Engine
from .model import Recipe
from .process import Shell
from .stages import all_of


def clean(recipes: Sequence[Recipe], engine: Engine, shell: Shell, *, strict: bool) -> tuple[list[str], dict[str, str]]:
    """Remove images. Return the removed ones (in a dry run, the ones to remove), and the reasons why others remain.

    The images of a cell are unknown if its base image is missing. With ``strict`` this is a UserError. Otherwise such a cell counts as
    never built on this machine, and a line reports it.
    """
    plan.check(recipes)
    listed = shell.ask(commands.listing(engine))
    if not listed.ok:
        raise UserError(f"{engine.program} cannot list images: {listed.complaint}; is the engine running?")
    ours = commands.of_ours(listed.stdout)
    if not ours:
        return [], {}
    planned = plan.make(recipes, engine, shell, fetch=False)
    if planned.unknown:
        _without_base(planned.unknown, shell, strict=strict)
    wanted = {stage.name for cell in planned.cells.values() for stage in all_of(cell)}
    return _removed([name for name in ours if name.split("/")[-1] not in wanted], engine, shell)


def _without_base(unknown: Mapping[str, str], shell: Shell, *, strict: bool) -> None:
    cell, reason = next(iter(unknown.items()))
    if strict:
        raise UserError(
            f"the images in use are unknown: cell {cell}: {reason}; `python -m conformance images` pulls it"
        )
    shell.say(
        f"  {many(len(unknown), 'cell')} cannot have been built on this machine: {', '.join(sorted(set(unknown.values())))}"
    )


def _removed(names: Sequence[str], engine: Engine, shell: Shell) -> tuple[list[str], dict[str, str]]:
    answers = {name: shell.do(commands.removal(engine, [name])) for name in names}
    return [n for n, a in answers.items() if a.ok], {n: a.complaint for n, a in answers.items() if not a.ok}
