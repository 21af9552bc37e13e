"""Command ``selftest``: options, run, and output files."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from conformance import documents, files, settings
from conformance.adapters.base import Device
from conformance.checks.catalogue import Invariant, catalogue
from conformance.checks.libraries import REFERENCE, Environment
from conformance.console.progress import Progress, waiting
from conformance.console.screen import Screen
from conformance.execution import environment
from conformance.execution.probe import SIMULATE
from conformance.exits import Exit, UserError, given_by
from conformance.signals import Stops
from conformance.suggestions import meant

from . import display, running
from .account import SHAPE, Account, differences, settle
from .conditional import command as conditional
from .model import ALL_FAULTS, Stage
from .page import page
from .running import Width
from .stages import stages

_DEVICES = (Device.SIMULATED, Device.CUDA)
_MOST_PROCESSES = 12


def add(name: str, command: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    command.add_argument(
        "wanted", nargs="*", metavar="NAME", help="run only these faults, stages or families (default: all)"
    )
    command.add_argument(
        "--device", choices=[d.value for d in _DEVICES], default=Device.SIMULATED.value,
        help="device of the reference library, in addition to host memory (default: %(default)s)",
    )  # fmt: skip
    command.add_argument(
        "-n", dest="processes", type=settings.count("-n", "processes", auto=True), default=None, metavar="N",
        help="number of processes (default: one per core)",
    )  # fmt: skip
    width = command.add_mutually_exclusive_group()
    width.add_argument(
        "--all-invariants", dest="width", action="store_const", const=Width.ALL, default=Width.FAMILIES,
        help="try each fault on all invariants, not only on those of its families",
    )  # fmt: skip
    width.add_argument(
        "--named-invariants", dest="width", action="store_const", const=Width.NAMED,
        help="try each fault only on the invariants that must catch it, which takes a quarter of the time",
    )  # fmt: skip
    command.add_argument("--json", type=Path, metavar="FILE", help="write all results as JSON")
    command.add_argument(
        "--against",
        type=Path,
        metavar="FILE",
        help="also print the differences to another selftest (a file of its --json)",
    )
    command.add_argument(
        "--page", type=Path, metavar="FILE", help="write the page of faults if all faults were tried and all is well"
    )
    command.add_argument(
        "--conditional", type=settings.count("--conditional", "faults", most=conditional.MOST), default=None, metavar="N",
        help="try N generated faults with a condition on two factors, and a quarter as many on one factor",
    )  # fmt: skip
    command.add_argument(
        "--seed", type=settings.count("--seed", least=0, most=conditional.MOST_SEED), default=None, metavar="S",
        help="the seed that chooses those N faults (default: a random one, which is printed)",
    )  # fmt: skip
    command.add_argument(
        "--all-conditional",
        action="store_true",
        help="try all conditional faults, or the named ones: FAULT@FACTOR=LEVEL or FAULT@FACTOR=LEVEL,FACTOR=LEVEL",
    )
    command.add_argument(
        "--part", type=conditional.part, default=None, metavar="I/N",
        help="with --all-conditional: try only part I of N equal parts, such as 1/8",
    )  # fmt: skip
    command.set_defaults(run=selftest)


def selftest(options: argparse.Namespace) -> int:
    """Try every fault and the flawless partners. The exit code says if the suite can be trusted."""
    conditional.check(options)
    every = stages()
    if options.conditional is not None or options.all_conditional:
        with waiting(sys.stderr, "looking at the device …"):
            measured = _measured(Device(options.device))
        (stage,) = (stage for stage in every if stage.name == REFERENCE)
        return conditional.conditional(options, stage, measured, _processes(options.processes))
    invariants = [invariant for invariant in catalogue().values() if invariant.canary is None]
    _check(options, every)
    before = _read(options.against) if options.against else None
    with waiting(sys.stderr, "looking at the device …"):
        measured = _measured(Device(options.device))
    concerned = _concerned(every, options.wanted)
    here = [stage for stage in concerned if stage.absent() is None]
    jobs = list(running.jobs(here, measured, wanted=options.wanted, width=options.width))
    progress = Progress(sys.stderr)
    with Stops() as stops:
        found, lost = running.run(jobs, _processes(options.processes), _report_to(progress), stops)
    expected = _expected(invariants, every, options.wanted)
    account = settle(options.device, concerned, jobs, found, lost, expected)
    display.show(Screen.of(sys.stdout), account)
    _write(options, account, before, lambda: page(every, invariants))
    if stops.number is not None:
        return Exit.INTERRUPTED if stops.number == signal.SIGINT else Exit.TERMINATED
    return account.exit


def _concerned(every: Sequence[Stage], wanted: Sequence[str]) -> list[Stage]:
    """Return the stages that have a selected fault, including stages that cannot be set up here."""
    return [stage for stage in every if any(running.is_wanted(fault, stage, wanted) for fault in stage.faults)]


def _report_to(progress: Progress) -> Callable[[int, int], None]:
    return lambda done, planned: progress.show(done, planned, f"{done}/{planned} trials")


def _check(options: argparse.Namespace, every: Sequence[Stage]) -> None:
    faults = {fault for stage in every for fault in stage.faults}
    known = {f.name for f in faults} | {stage.name for stage in every} | {name for f in faults for name in f.families}
    for name in options.wanted:
        if name not in known:
            raise UserError(f"there is no fault, stage or family {name!r}{meant(name, known, ALL_FAULTS)}")
    if options.page and options.wanted:
        raise UserError("--page describes all faults; run it without names")


def _read(path: Path) -> dict[str, Any]:
    try:
        data: dict[str, Any] = documents.read(path, SHAPE)
    except files.Unreadable as error:
        raise UserError(
            f"--against: {path} is not a readable selftest result ({error.brief}); give a file that --json has written"
        ) from error
    return data


def _measured(device: Device) -> Environment:
    """Measure the reference on host memory and on this device."""
    os.environ[SIMULATE] = "1"
    facts = environment.measure(("reference",))
    if device is Device.CUDA and not facts.driver["available"]:
        raise UserError(f"--device cuda: {facts.driver['reason']}; omit the option to use the simulated device")
    chosen = (Device.HOST, device)
    libraries = tuple(
        replace(library, sides={d: side for d, side in library.sides.items() if d in chosen})
        for library in facts.environment.libraries
    )
    return replace(facts.environment, libraries=libraries)


def _expected(invariants: Sequence[Invariant], every: Sequence[Stage], wanted: Sequence[str]) -> list[str]:
    """Return the invariants that must catch a fault: all, or those of the selected faults."""
    if not wanted:
        return [invariant.id for invariant in invariants]
    named = {name for s in every for f in s.faults if running.is_wanted(f, s, wanted) for name in f.caught_by}
    return sorted(named)


def _processes(given: int | None) -> int:
    return given or min(len(os.sched_getaffinity(0)), _MOST_PROCESSES)


def _write(
    options: argparse.Namespace, account: Account, before: dict[str, Any] | None, made: Callable[[], str]
) -> None:
    data = account.to_json()
    if options.json:
        with given_by("--json", options.json):
            files.write(options.json, json.dumps(data, indent=1, ensure_ascii=False) + "\n")
    if options.page and account.exit is Exit.OK:
        with given_by("--page", options.page):
            files.write(options.page, made())
    if before is not None:
        found = differences(before, data)
        print(f"\n{len(found)} differences to {options.against}" + "".join(f"\n  {line}" for line in found))
