"""Build the missing images in parallel. A failure affects only the cells that need the failed stage."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path

from conformance import kept

from . import commands, output, plan
from .commands import Engine
from .model import Outcome, Recipe, Settings, State
from .process import Shell
from .stages import REPOSITORY, Stage, Target, all_of

WORK = "cells"


@dataclass(frozen=True, kw_only=True)
class Order:
    """Engine, settings and limits of a build."""

    engine: Engine
    settings: Settings
    work: Path | None
    """Folder for contexts and logs, with one folder for each stage; ``None`` for a folder that :mod:`conformance.kept` chooses."""
    jobs: int
    limit: float
    """Timeout of one stage in seconds."""


@dataclass(frozen=True)
class Built:
    """Result of one stage."""

    seconds: float
    reason: str = ""
    """Reason of the failure; empty after a success."""
    log: Path | None = None


def make(recipes: Sequence[Recipe], order: Order, shell: Shell) -> list[Outcome]:
    """Build the missing images and return an outcome for each recipe, in their order. A dry run builds nothing."""
    planned = plan.make(recipes, order.engine, shell, fetch=True)
    absent = missing(planned.cells, order.engine, shell)
    if absent:
        order = replace(order, work=kept.place(WORK, shell.say, order.work))
    if shell.dry_run:
        for stage in absent:
            shell.do(command(stage, order))
        return [_expected(recipe, planned, absent) for recipe in recipes]
    if order.work and absent:
        kept.make(order.work)
    users = {stage: _users(stage, planned.cells) for stage in absent}
    built = _work_off(absent, users, order, shell)
    return [_outcome(recipe, planned, built) for recipe in recipes]


def missing(cells: Mapping[str, Stage], engine: Engine, shell: Shell) -> list[Stage]:
    """Return the stages to build, in the order of their dependencies. An existing image needs none of its stages."""
    found: dict[Stage, bool] = {}

    def there(stage: Stage) -> bool:
        if stage not in found:
            found[stage] = plan.present(shell, engine, stage)
        return found[stage]

    def absent(stage: Stage) -> list[Stage]:
        return [] if there(stage) else [*(s for needed in stage.needs for s in absent(needed)), stage]

    return list(dict.fromkeys(stage for cell in cells.values() for stage in absent(cell)))


def _users(stage: Stage, cells: Mapping[str, Stage]) -> str:
    return ", ".join(name for name, cell in cells.items() if stage in all_of(cell))


def _work_off(stages: Sequence[Stage], users: Mapping[Stage, str], order: Order, shell: Shell) -> dict[Stage, Built]:
    """Build each stage when its dependencies are ready. Compilation starts first, because it takes longest."""
    waiting = sorted(stages, key=lambda stage: stage.target is not Target.PYCUDA)
    done: dict[Stage, Built] = {}
    running: dict[Future[Built], Stage] = {}
    pool = ThreadPoolExecutor(order.jobs)
    try:
        while waiting or running:
            for stage in [s for s in waiting if not any(needed in stages and needed not in done for needed in s.needs)]:
                waiting.remove(stage)
                failed = next((done[n] for n in stage.needs if n in done and done[n].reason), None)
                if failed:
                    done[stage] = failed
                else:
                    running[pool.submit(_build, stage, users[stage], order, shell)] = stage
            for future in wait(running, return_when=FIRST_COMPLETED).done if running else ():
                done[running.pop(future)] = future.result()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        shell.stop()
        raise
    finally:
        pool.shutdown()
    return done


def folder(stage: Stage, order: Order) -> Path:
    """Return the folder for the context and the log of a stage."""
    return (order.work or kept.BUILD / WORK) / stage.name.removeprefix(f"{REPOSITORY}-").replace(":", "-")


def command(stage: Stage, order: Order) -> commands.Command:
    """Return the command that builds a stage."""
    return commands.build(order.engine, stage, folder(stage, order) / "context", order.settings)


def write(context: Path, stage: Stage) -> None:
    """Replace the build context of a stage."""
    shutil.rmtree(context, ignore_errors=True)
    for name, text in stage.files:
        path = context / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _build(stage: Stage, users: str, order: Order, shell: Shell) -> Built:
    log = folder(stage, order) / "build.log"
    start = time.monotonic()
    shell.say(f"  {stage.what} ({users}): building")
    try:
        write(folder(stage, order) / "context", stage)
        code = shell.follow(command(stage, order), log, order.limit)
        reason = "" if code == 0 else _reason(code, log, order.limit)
    except OSError as error:
        reason = f"{error.filename or order.work}: {error.strerror}"
    seconds = time.monotonic() - start
    shell.say(f"  {stage.what} ({users}): {'failed after ' if reason else ''}{seconds:.0f} s")
    return Built(seconds, f"{stage.what}: {reason}" if reason else "", log)


def _reason(code: int | None, log: Path, limit: float) -> str:
    last = output.reason(log.read_text(encoding="utf-8", errors="replace"))
    return last if code is not None else f"it took longer than {limit:g} s; its last output was\n{last}"


def _expected(recipe: Recipe, planned: plan.Plan, absent: Sequence[Stage]) -> Outcome:
    stage = planned.cells.get(recipe.cell)
    if stage is None:
        return Outcome(recipe, "", State.MISSING)
    return Outcome(recipe, stage.name, State.MISSING if stage in absent else State.PRESENT)


def _outcome(recipe: Recipe, planned: plan.Plan, built: Mapping[Stage, Built]) -> Outcome:
    stage = planned.cells.get(recipe.cell)
    if stage is None:
        return Outcome(recipe, "", State.FAILED, reason=planned.unknown[recipe.cell])
    if stage not in built:
        return Outcome(recipe, stage.name, State.PRESENT)
    seconds = sum(built[s].seconds for s in set(all_of(stage)) if s in built)
    own = built[stage]
    return Outcome(recipe, stage.name, State.FAILED if own.reason else State.BUILT, seconds, own.reason, own.log)
