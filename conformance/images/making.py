"""Building what is missing, side by side; a failure is its cell's outcome and no other's."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from . import commands, context, output, plan
from .commands import Engine
from .model import Image, Outcome, Recipe, Settings, State
from .process import Shell


@dataclass(frozen=True, kw_only=True)
class Order:
    """How to build."""

    engine: Engine
    settings: Settings
    work: Path
    """Where contexts and logs go, a folder for each cell."""
    jobs: int
    limit: float
    """Seconds that one build may take."""


def make(recipes: Sequence[Recipe], order: Order, shell: Shell) -> list[Outcome]:
    """An outcome for each recipe, in their order. What is there is not built again; a dry run builds nothing."""
    locks, files = plan.check(recipes), context.recipe_files()
    found = plan.bases(shell, order.engine, recipes, fetch=True)
    parts = [plan.part(recipe, locks[recipe.cell], files, found) for recipe in recipes]
    unique = {part.image.key: part for part in parts if part.image.key}
    there = {key for key, part in unique.items() if plan.present(shell, order.engine, part.image)}
    built = _side_by_side([part for key, part in unique.items() if key not in there], order, shell)
    return [_outcome(part.image, there, built, found, dry_run=shell.dry_run) for part in parts]


def _outcome(
    image: Image, there: set[str], built: Mapping[str, Outcome], found: plan.Bases, *, dry_run: bool
) -> Outcome:
    if not image.key:
        return plan.without_base(image, found, dry_run=dry_run)
    if image.key in there:
        return Outcome(image, State.PRESENT)
    return replace(built[image.key], image=image)


def _side_by_side(parts: Sequence[plan.Part], order: Order, shell: Shell) -> dict[str, Outcome]:
    if shell.dry_run:
        return {part.image.key: _shown(part, order, shell) for part in parts}
    pool = ThreadPoolExecutor(order.jobs)
    try:
        futures = {part.image.key: pool.submit(_build, part, order, shell) for part in spread(parts)}
        return {key: future.result() for key, future in futures.items()}
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        shell.stop()
        raise
    finally:
        pool.shutdown()


def spread(parts: Sequence[plan.Part]) -> list[plan.Part]:
    """Cells whose first layers differ first: cells that share them would wait for each other."""
    seen: Counter[tuple[str, str]] = Counter()
    places = []
    for part in parts:
        start = (part.image.recipe.base_image, part.image.recipe.cuda)
        places.append(seen[start])
        seen[start] += 1
    return [part for _, part in sorted(zip(places, parts), key=lambda pair: pair[0])]


def _shown(part: plan.Part, order: Order, shell: Shell) -> Outcome:
    shell.do(_command(part, order))
    return Outcome(part.image, State.MISSING)


def _folder(part: plan.Part, order: Order) -> Path:
    return order.work / part.image.recipe.cell


def _command(part: plan.Part, order: Order) -> commands.Command:
    place = _folder(part, order) / "context"
    return commands.build(order.engine, part.image, place, part.arguments, order.settings)


def _build(part: plan.Part, order: Order, shell: Shell) -> Outcome:
    log = _folder(part, order) / "build.log"
    start = time.monotonic()
    try:
        context.write(_folder(part, order) / "context", part.files)
        code = shell.follow(_command(part, order), log, order.limit, _steps(part, shell.say))
        said = log.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        return _failed(part, start, f"{error.filename or order.work}: {error.strerror}", None, shell)
    if code is None:
        last = output.reason(said)
        return _failed(
            part, start, f"it took longer than {order.limit:.0f} s; the last it said was\n{last}", log, shell
        )
    if code != 0:
        return _failed(part, start, output.reason(said), log, shell)
    seconds = time.monotonic() - start
    shell.say(f"  {part.image.recipe.cell}: built in {seconds:.0f} s")
    return Outcome(part.image, State.BUILT, seconds, log=log)


def _failed(part: plan.Part, start: float, reason: str, log: Path | None, shell: Shell) -> Outcome:
    seconds = time.monotonic() - start
    shell.say(f"  {part.image.recipe.cell}: failed after {seconds:.0f} s")
    return Outcome(part.image, State.FAILED, seconds, reason, log)


def _steps(part: plan.Part, say: Callable[[str], None]) -> Callable[[str], None]:
    """Say each step of a build once, less those that have nothing to do."""
    told = {step for step, group in output.GROUPS.items() if not part.files[group.file]}

    def heard(line: str) -> None:
        step = output.step(line)
        if step is not None and step not in told:
            told.add(step)
            say(f"  {part.image.recipe.cell}: {output.SAYS[step]}")

    return heard
