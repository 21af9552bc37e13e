"""Commands ``images`` and ``clean``."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from conformance import files, kept
from conformance import settings as numbers
from conformance.console.screen import Screen
from conformance.exits import Exit, UserError

from . import cleaning, commands, making, source, table
from .commands import Engine
from .model import Recipe, Settings
from .process import Shell

ENGINES = ("docker", "podman")
MATRIX = Path("matrix.yaml")
TIER = "smoke"
LIMIT = 3600.0


def add(name: str, command: argparse.ArgumentParser) -> None:
    """Add the options of ``images`` or ``clean``."""
    command.add_argument(
        "--plan",
        type=Path,
        metavar="FILE",
        help="file with the cells as a JSON list (default: the cells of matrix.yaml)",
    )
    command.add_argument("--matrix", type=Path, default=MATRIX, metavar="FILE", help=f"matrix file (default: {MATRIX})")
    command.add_argument(
        "--engine",
        metavar="NAME",
        default=os.environ.get("CONFORMANCE_ENGINE"),
        help="docker or podman, or the path of one (default: $CONFORMANCE_ENGINE, or else the first one that responds)",
    )
    command.add_argument("--dry-run", action="store_true", help="print the commands and do not run them")
    if name == "clean":
        command.set_defaults(run=_clean)
        return
    _add_building(command)
    command.set_defaults(run=_images)


def _add_building(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--tier",
        metavar="TIER",
        help=f"build for the cells of this tier (default: {TIER}, or all tiers if --cells is given)",
    )
    command.add_argument("--cells", default="", metavar="A,B,…", help="build only for these cells (default: all)")
    command.add_argument(
        "--jobs", type=numbers.count("--jobs", "parallel builds"), default=2, metavar="N",
        help="number of builds that run in parallel (default: 2)",
    )  # fmt: skip
    command.add_argument(
        "--deadline", type=numbers.seconds("--deadline"), default=LIMIT, metavar="SECONDS",
        help=f"timeout of one build (default: {LIMIT:g})",
    )  # fmt: skip
    command.add_argument(
        "--work",
        type=Path,
        metavar="DIR",
        help=f"folder for build contexts and logs (default: {kept.BUILD / making.WORK})",
    )
    command.add_argument(
        "--ca", type=Path, metavar="FILE", help="file with certificates that the build trusts (default: $SSL_CERT_FILE)"
    )
    command.add_argument(
        "--index", metavar="URL", help="package index (default: $UV_DEFAULT_INDEX or $PIP_INDEX_URL, or else PyPI)"
    )
    command.add_argument(
        "--network",
        metavar="MODE",
        help="network mode of the build, such as host (default: $CONFORMANCE_BUILD_NETWORK, or else that of the engine)",
    )
    command.add_argument(
        "--build-option",
        action="append",
        default=[],
        metavar="OPTION",
        help="additional option for the build command of the engine, such as --build-option=--isolation=chroot (repeatable; "
        "default: $CONFORMANCE_BUILD_OPTIONS)",
    )


def settings(options: argparse.Namespace, around: Mapping[str, str]) -> Settings:
    """Return the build settings from the options, or else from environment variables."""
    authority = options.ca or (Path(around["SSL_CERT_FILE"]) if around.get("SSL_CERT_FILE") else None)
    if options.ca and not files.is_file(options.ca):
        raise UserError(f"--ca: {options.ca} is not a file; give a file with certificates in PEM format")
    return Settings(
        authority=authority if authority and files.is_file(authority) else None,
        index=options.index or around.get("UV_DEFAULT_INDEX") or around.get("PIP_INDEX_URL"),
        network=options.network or around.get("CONFORMANCE_BUILD_NETWORK"),
        options=tuple(options.build_option or shlex.split(around.get("CONFORMANCE_BUILD_OPTIONS", ""))),
        proxies=tuple(name for name in commands.PROXIES if around.get(name)),
    )


def from_environment(around: Mapping[str, str]) -> Settings:
    """Return the build settings from environment variables only."""
    return settings(argparse.Namespace(ca=None, index=None, network=None, build_option=[]), around)


def find_engine(shell: Shell, wanted: str | None) -> tuple[Engine, str]:
    """Return the requested engine, or the first one that responds, with its version."""
    complaints = []
    for program in (wanted,) if wanted else ENGINES:
        answer = shell.ask(commands.answers(Engine(program)))
        if answer.ok and answer.stdout.strip():
            return Engine(program), answer.stdout.strip()
        complaints.append(f"{program} does not respond ({answer.complaint})")
    raise UserError(f"{'; '.join(complaints)}; start an engine, or name one with --engine")


def _recipes(options: argparse.Namespace) -> list[Recipe]:
    cells = [word.strip() for word in options.cells.split(",") if word.strip()]
    if options.plan:
        return source.chosen(source.from_file(options.plan), cells)
    return source.from_matrix(options.matrix, options.tier or (None if cells else TIER), cells)


def _images(options: argparse.Namespace) -> int:
    recipes, chosen = _recipes(options), settings(options, os.environ)
    shell = Shell(sys.stderr, commands.environment(chosen, os.environ), dry_run=options.dry_run)
    engine, version = find_engine(shell, options.engine)
    order = making.Order(engine=engine, settings=chosen, work=options.work, jobs=options.jobs, limit=options.deadline)
    outcomes = making.make(recipes, order, shell)
    table.images(Screen.of(sys.stdout), outcomes, f"{engine.program} {version}")
    return Exit.INCOMPLETE if table.failed(outcomes) else Exit.OK


def _clean(options: argparse.Namespace) -> int:
    recipes = source.from_file(options.plan) if options.plan else source.from_matrix(options.matrix, None)
    shell = Shell(sys.stderr, os.environ, dry_run=options.dry_run)
    engine, _ = find_engine(shell, options.engine)
    removed, kept = cleaning.clean(recipes, engine, shell, strict=options.plan is not None)
    table.cleaned(Screen.of(sys.stdout), removed, kept, engine.program, dry_run=options.dry_run)
    return Exit.INCOMPLETE if kept else Exit.OK
