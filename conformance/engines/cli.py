"""Commands ``conform`` and ``shell``."""

from __future__ import annotations

import argparse
import os
import re
import secrets
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from conformance import files, private, settings
from conformance.console.screen import Screen
from conformance.exits import Exit, UserError, given_by, why
from conformance.images import cli as images
from conformance.images import commands as image_commands
from conformance.images import making
from conformance.images.commands import Engine as Program
from conformance.images.process import Shell
from conformance.matrix import uv
from conformance.ownership import owned

from . import cells, direct, display, engine_choice, folder_ownership, gpus, package_tests, records, running
from .base import Engine
from .candidates import requests
from .candidates.index import Index
from .candidates.placement import Placing
from .candidates.unpacking import Unpacking
from .containers import PLAIN_USER, SUITE, Containers
from .here import Here
from .model import Bounds, Cell, Ending, Prepared, Task, WithTests
from .records import Run
from .stops import Stops
from .venv import Venv

MATRIX = Path("matrix.yaml")
OUT = Path("conform-cells")
LIGHT_TIER = "smoke"
CONTAINERS = ("docker", "podman")
PLACES = ("auto", "here", "venv", *CONTAINERS)
DEFAULTS = Bounds()
ENGINE = "CONFORMANCE_ENGINE"
"""Environment variable with the program of the container engine."""


def add(name: str, command: argparse.ArgumentParser) -> None:
    """Add the options of ``conform`` or ``shell``."""
    if name == "shell":
        command.add_argument("cell", metavar="CELL", help="name of the cell, or its alias in matrix.yaml")
        _add_place(command)
        command.set_defaults(run=_shell)
        return
    command.add_argument("--tier", metavar="TIER", help=f"run the cells of this tier (default: {LIGHT_TIER})")
    command.add_argument(
        "--cells", default="", metavar="A,B,…", help="run these cells, by name or by their alias in matrix.yaml"
    )
    command.add_argument(
        "--jobs", type=settings.count("--jobs", "parallel cells"), default=1, metavar="N",
        help="number of cells that run in parallel (default: 1)",
    )  # fmt: skip
    command.add_argument("--case", action="append", default=[], metavar="ID", help="run only this case (repeatable)")
    command.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help=f"folder for the results, with one folder for each cell (default: {OUT})",
    )
    command.add_argument(
        "--resume", type=Path, metavar="DIR", help="continue the run in DIR: run the cells that have not finished"
    )
    command.add_argument(
        "--limit", type=settings.seconds("--limit"), metavar="SECONDS",
        help=f"timeout of one cell (default: {DEFAULTS.seconds:g})",
    )  # fmt: skip
    command.add_argument(
        "--memory",
        metavar="SIZE",
        help=f"memory limit of a container (default: {DEFAULTS.memory})",
    )
    _add_gate(command)
    command.add_argument(
        "--runner", choices=("direct", "pytest"), help="option --runner of `check` in each cell (default: direct)"
    )
    command.add_argument(
        "arguments", nargs="*", metavar="-- ARGUMENTS", help="arguments after `--` are passed to `check` in each cell"
    )
    _add_place(command)
    command.set_defaults(run=_conform)


def _add_gate(command: argparse.ArgumentParser) -> None:
    """Add the options for a release gate of a package."""
    command.add_argument(
        "--candidate", action="append", default=[], metavar="NAME=WHEEL|REQUIREMENT",
        help="test a wheel (cvcuda=dist/x.whl) or a release from the package index (numpy==2.6.0rc1) in every cell that "
        "contains that distribution, in place of the locked version (repeatable)",
    )  # fmt: skip
    command.add_argument(
        "--only-candidate", action="store_true", help="skip the cells that no candidate can be installed in"
    )
    command.add_argument(
        "--with-tests",
        type=Path,
        metavar="DIR",
        help="also run the pytest files of this folder in each cell, after the suite",
    )
    command.add_argument(
        "--with-tests-limit", type=settings.seconds("--with-tests-limit"), metavar="SECONDS",
        help=f"timeout of these tests in one cell (default: {package_tests.SECONDS:g})",
    )  # fmt: skip


def _add_place(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--on", choices=PLACES, default="auto",
        help="engine that runs the cells (default: auto, the first container engine that responds, or else venv)",
    )  # fmt: skip
    command.add_argument(
        "--gpus",
        default=gpus.AUTO,
        metavar="auto|none|0,1",
        help="GPUs that the cells can use (default: auto, which is all)",
    )
    command.add_argument("--matrix", type=Path, default=MATRIX, metavar="FILE", help=f"matrix file (default: {MATRIX})")
    command.add_argument("--dry-run", action="store_true", help="print the commands and do not run them")


def _conform(options: argparse.Namespace) -> int:
    _check(options)
    if _is_light(options):
        return _light(_for_check(options))
    stops = Stops()
    shell = _build_shell(dry_run=options.dry_run)
    if options.resume:
        run, out = _left_in(options.resume), options.resume
        run = replace(run, bounds=_bounds(options, run.bounds))
        engine, _ = engine_choice.choose(_engines(run.on, run.gpus, run.bounds, shell))
    else:
        run, engine = _planned(options, shell)
        out = options.out or OUT
    display.announce(sys.stderr, run, engine.facts(), out)
    if options.dry_run:
        return _dry(run, engine, out, shell)
    _make_folder(out)
    if not options.resume and (run.with_tests or run.candidates):
        advice = "choose a folder that only you can change"
        folder_ownership.check("--out", out, advice, [cell.name for cell in run.cells], contained=_contained(run))
    with owned(out), stops:
        if not options.resume:
            with given_by("--out", out):
                _begin(run, out)
        return _run(run, engine, out, options.jobs, stops)


def _run(run: Run, engine: Engine, out: Path, jobs: int, stops: Stops) -> int:
    lines = display.Lines(Screen.of(sys.stderr))
    place = Unpacking(out, _uv_shell(dry_run=False)).prepare
    found = running.Runner(run, out, engine, jobs, lines.say, lines.watch, lines.told, stops, place).go()
    display.table(Screen.of(sys.stdout), run, found, out)
    return int(running.exit_code(found, stops.number))


def _check(options: argparse.Namespace) -> None:
    """Raise UserError for options that contradict each other or are invalid by themselves."""
    given = {
        "--tier": options.tier, "--cells": options.cells, "--case": options.case, "--out": options.out,
        "arguments for check": options.arguments, "--candidate": options.candidate, "--runner": options.runner,
        "--only-candidate": options.only_candidate, "--with-tests": options.with_tests,
        "--with-tests-limit": options.with_tests_limit, "--on": options.on != "auto", "--gpus": options.gpus != gpus.AUTO,
    }  # fmt: skip
    for name in (name for name, chosen in given.items() if chosen and options.resume):
        raise UserError(
            f"{name} cannot be given with --resume: the plan in {options.resume} already determines the run"
        )
    if options.only_candidate and not options.candidate:
        raise UserError("--only-candidate needs a candidate; give one by --candidate")
    if options.with_tests_limit and not options.with_tests:
        raise UserError("--with-tests-limit is the timeout of the tests that --with-tests names; give both")
    if options.with_tests and not files.is_folder(options.with_tests):
        raise UserError(f"--with-tests: {options.with_tests} is not a folder; name the folder that contains the tests")
    if options.tier and options.cells:
        raise UserError("--tier and --cells both select cells; give one of them")
    word = _not_for_check(options.arguments)
    if word:
        raise UserError(f"{word} must be given before `--`, not after it")


def _not_for_check(arguments: Sequence[str]) -> str:
    """Return the first option that selects the results folder or the cases, including abbreviations; empty if none."""
    given = [argument.partition("=")[0] for argument in arguments]
    words = ("--out", "--resume", "--case")
    return next((word for one in given for word in words if len(one) > _DASHES and word.startswith(one)), "")


def _left_in(out: Path) -> Run:
    """Return the run to resume.

    The suite executes what ``run.json`` says. Therefore no other user may be able to change it or its folder, and it must
    not name a program that ``CONFORMANCE_ENGINE`` does not name.

    Raises UserError if the file breaks these rules, or requests something that the suite never writes.
    """
    advice = "if you trust it, copy the folder to a place that only you can change, and resume the copy"
    folder_ownership.check("--resume", out, advice)
    try:
        run = records.read_run(out, own=True)
    except files.NotOwn as error:
        raise UserError(
            f"--resume: {error}, and resuming a run executes the commands in this file; {advice}"
        ) from error
    own = os.environ.get(ENGINE)
    if run.on not in (own, *PLACES[1:]):
        raise UserError(
            f"{out / records.RUN} says that the program {run.on!r} ran its cells, and no program is taken from a folder of "
            f"results; set {ENGINE} to use this program"
        )
    word = _not_for_check(run.arguments)
    if word not in ("", "--case"):
        raise UserError(
            f"{out / records.RUN} has {word} among the arguments for check, which the suite never writes; start a new run"
        )
    for cell in run.cells:
        records.folder_of(out, cell.name)
    for name in (records.CANDIDATES, package_tests.FOLDER):
        records.folder_of(out, name)
    folder_ownership.check("--resume", out, advice, [cell.name for cell in run.cells], contained=_contained(run))
    folder_ownership.check_tests("--resume", out, advice)
    return run


def _contained(run: Run) -> int | None:
    """Return the user that owns the folders of cells after root has run them in containers."""
    return PLAIN_USER if os.getuid() == 0 and run.on not in ("here", "venv") else None


_DASHES = 2


def _is_light(options: argparse.Namespace) -> bool:
    """Return whether to test the current environment on host memory: no option selects anything else, and there is no GPU."""
    asked = (
        options.tier,
        options.cells,
        options.case,
        options.out,
        options.resume,
        options.dry_run,
        options.memory,
        options.limit,
        options.candidate,
        options.with_tests,
    )
    without_gpu = options.gpus == gpus.NONE or (options.gpus == gpus.AUTO and not gpus.present())
    return without_gpu and options.on == "auto" and not any(asked)


def _light(arguments: Sequence[str]) -> int:
    """Replace this process by ``check``, so that signals, output and exit code are those of ``check``."""
    print(
        "no GPU is to be used and no option selects cells, so the installed libraries are tested on host memory; "
        f"to run cells, use `conform --tier {LIGHT_TIER}`"
    )
    command = (sys.executable, *direct.SUITE, "check", *arguments)
    print(f"+ {shlex.join(command)}", file=sys.stderr)
    sys.stdout.flush()
    os.execve(command[0], command, {**os.environ, **direct.HIDDEN})


def _for_check(options: argparse.Namespace) -> tuple[str, ...]:
    """Return the arguments for ``check`` in each cell."""
    runner = ("--runner", options.runner) if options.runner else ()
    return (*runner, *options.arguments)


def _planned(options: argparse.Namespace, shell: Shell) -> tuple[Run, Engine]:
    """Return the plan of a new run, and its engine."""
    bounds = _bounds(options, DEFAULTS)
    chosen, tier = _cells(options)
    if options.candidate:
        chosen = _placed(options, chosen)
    engine, why = engine_choice.choose(_engines(options.on, options.gpus, bounds, shell))
    arguments = (*(part for case in options.case for part in ("--case", case)), *_for_check(options))
    chosen = cells.only(chosen, arguments)
    on = engine.program.program if isinstance(engine, Containers) else engine.name
    tests = None
    if options.with_tests:
        tests = WithTests(str(options.with_tests.absolute()), options.with_tests_limit or package_tests.SECONDS)
    run = Run(
        secrets.token_hex(4), tier, on, why, options.gpus, bounds, arguments, chosen, tuple(options.candidate), tests
    )
    return run, engine


def _placed(options: argparse.Namespace, chosen: Sequence[Cell]) -> tuple[Cell, ...]:
    """Return the cells, each with the candidates that replace a locked version in it."""
    found, mistakes = requests.read(options.candidate)
    shell = _uv_shell(dry_run=options.dry_run)
    return Placing(found, Index(shell.environment, shell.say).best, mistakes).all(chosen, only=options.only_candidate)


def _uv_shell(*, dry_run: bool) -> Shell:
    """Return a shell in which uv uses the package index of image builds."""
    index = images.from_environment(os.environ).index
    return Shell(
        sys.stderr, {**uv.environment(os.environ), **({"UV_DEFAULT_INDEX": index} if index else {})}, dry_run=dry_run
    )


def _bounds(options: argparse.Namespace, otherwise: Bounds) -> Bounds:
    """Return the limits of cells. The options of a resumed run can raise them."""
    memory, seconds = options.memory or otherwise.memory, options.limit or otherwise.seconds
    if not re.fullmatch(r"\d+[kmgKMG]?", memory):
        raise UserError(f"--memory: {memory!r} is not a size; give bytes, or a number with k, m or g, such as 8g")
    return replace(otherwise, memory=memory, seconds=seconds)


def _cells(options: argparse.Namespace) -> tuple[tuple[Cell, ...], str]:
    names = _words(options.cells)
    if options.on == "here":
        if options.tier or len(names) > 1:
            raise UserError(
                "--on here runs one environment, the current one; name at most one cell by --cells, and omit --tier"
            )
        return (cells.planned(options.matrix, None, names) if names else (cells.HERE,)), ""
    tier = options.tier or ("" if names else LIGHT_TIER)
    return cells.planned(options.matrix, tier or None, names), tier


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _engines(on: str, asked_gpus: str, bounds: Bounds, shell: Shell) -> list[Engine]:
    """Return the engines to try, in order."""
    if on == "here":
        return [Here(asked_gpus)]
    venv = Venv(asked_gpus, shell, limit=images.LIMIT)
    if on == "venv":
        return [venv]
    own = os.environ.get(ENGINE)
    programs = ([own] if own else CONTAINERS) if on == "auto" else [own if own and Path(own).name == on else on]
    found: list[Engine] = [Containers(program, shell, bounds, asked_gpus, _order(program)) for program in programs]
    return [*found, venv] if on == "auto" else found


def _order(program: str) -> making.Order:
    """Return the build settings of images, from environment variables (docs/images.md)."""
    chosen = images.from_environment(os.environ)
    return making.Order(engine=Program(program), settings=chosen, work=None, jobs=2, limit=images.LIMIT)


def _build_shell(*, dry_run: bool) -> Shell:
    return Shell(
        sys.stderr, image_commands.environment(images.from_environment(os.environ), os.environ), dry_run=dry_run
    )


def _begin(run: Run, out: Path) -> None:
    """Remove the results of an earlier run of these cells, and write the plan before any cell runs."""
    for name in (records.CANDIDATES, package_tests.FOLDER):
        records.folder_of(out, name)
    for cell in run.cells:
        folder = records.folder_of(out, cell.name)
        for name in (records.CELL, *records.OF_CHECK, records.LOG, package_tests.RESULTS, package_tests.LOG):
            files.remove(folder / name)
    if run.with_tests:
        package_tests.copy(Path(run.with_tests.folder), out)
    records.write(out / records.RUN, run.to_json())


def _dry(run: Run, engine: Engine, out: Path, shell: Shell) -> int:
    """Print every command without running it."""
    place = Unpacking(out, _uv_shell(dry_run=True)).prepare
    placed = {cell.name: place(cell) for cell in run.cells if not cell.problem}
    made = engine.prepare([cell for cell in run.cells if isinstance(placed.get(cell.name), tuple)])
    for cell in run.cells:
        there, found = placed.get(cell.name), made.get(cell.name)
        if isinstance(found, Prepared) and isinstance(there, tuple):
            for task in _tasks(run, replace(found, placed=there), out):
                shell.do(engine.command(task))
        else:
            ending = there if isinstance(there, Ending) else found
            shell.say(f"  {cell.title}: would not run: {ending.reason if isinstance(ending, Ending) else cell.problem}")
    return Exit.OK


def _tasks(run: Run, prepared: Prepared, out: Path) -> Iterator[Task]:
    """Yield the tasks that a run starts in a cell."""
    folder, name = (out / prepared.cell.name).absolute(), running.container_name(run, prepared.cell)
    yield Task(prepared, running.arguments(run, folder), folder, name)
    if run.with_tests:
        tests = package_tests.arguments(Path(run.with_tests.folder))
        yield Task(prepared, tests, folder, f"{name}-tests", (out / package_tests.FOLDER).absolute())


def _make_folder(out: Path) -> None:
    try:
        files.make_folder(out, tried=True)
    except OSError as error:
        raise UserError(f"--out: results cannot be written to {out}: {why(error)}; choose another folder") from error


def _shell(options: argparse.Namespace) -> int:
    shell = _build_shell(dry_run=options.dry_run)
    chosen = cells.planned(options.matrix, None, [options.cell])
    engine, why = engine_choice.choose(_engines(options.on, options.gpus, DEFAULTS, shell))
    print(f"{chosen[0].title} on {engine.name} ({why})", file=sys.stderr)
    if chosen[0].problem:
        raise UserError(f"{chosen[0].title}: {chosen[0].problem}")
    found = engine.prepare(chosen)[chosen[0].name]
    if isinstance(found, Ending):
        raise UserError(f"{chosen[0].title}: {found.lifecycle.value}: {found.reason}")
    with private.folder() as suite:
        (suite / "conformance").symlink_to(SUITE, target_is_directory=True)
        command = engine.shell(found, suite)
        print(f"+ {shlex.join(command)}", file=sys.stderr, flush=True)
        return Exit.OK if options.dry_run else subprocess.run(command, check=False).returncode
