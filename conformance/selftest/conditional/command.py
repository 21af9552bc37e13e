"""Options ``selftest --conditional`` and ``selftest --all-conditional``: generated faults that show only under a condition."""

from __future__ import annotations

import argparse
import json
import re
import secrets
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from conformance import faults, files
from conformance.adapters.base import Device
from conformance.checks.libraries import REFERENCE, Environment
from conformance.console.progress import Progress
from conformance.console.screen import Screen
from conformance.exits import Exit, UserError, given_by
from conformance.selftest.model import Stage
from conformance.selftest.running import Width
from conformance.settings import Mistake
from conformance.signals import Stops

from . import display, drawing, running, wrapped
from .account import Account
from .reach import useful
from .subjects import wrapped_stages
from .trying import Candidate

SINGLE_SHARE = 4
"""A sample has one fault on one factor for this number of faults on two."""
MOST = 10**6
"""The largest number of faults in a sample."""
MOST_SEED = (1 << 31) - 1
_PART = re.compile(r"([1-9][0-9]{0,2})/([1-9][0-9]{0,2})", re.ASCII)


def part(text: str) -> tuple[int, int] | Mistake:
    """Read ``I/N``: part I of N equal parts."""
    found = _PART.fullmatch(text)
    if found and int(found[1]) <= int(found[2]):
        return int(found[1]), int(found[2])
    return Mistake(f"--part: {text!r} is not a part; give a part such as 1/8, the first of eight")


def check(options: argparse.Namespace) -> None:
    """Raise :class:`UserError` for options that do not go together."""
    sampling = options.conditional is not None
    if options.seed is not None and not sampling:
        raise UserError("--seed chooses the faults of --conditional N, so give that option too")
    if sampling and options.all_conditional:
        raise UserError("--all-conditional tries every conditional fault; leave --conditional out")
    if options.part is not None and not options.all_conditional:
        raise UserError("--part divides the faults of --all-conditional, so give that option too")
    if not sampling and not options.all_conditional:
        return
    for given, name in (
        (options.page, "--page"),
        (options.against, "--against"),
        (options.width is Width.ALL, "--all-invariants"),
        (options.width is Width.NAMED, "--named-invariants"),
    ):
        if given:
            raise UserError(f"{name} is about faults without a condition; leave it out")
    if options.device != Device.SIMULATED.value:
        raise UserError("conditional faults are tried on host memory and on the simulated device; leave --device out")
    stages = (REFERENCE, *wrapped_stages())
    if len(options.wanted) > 1 and (sampling or set(options.wanted) & set(stages)):
        raise UserError("a sample has faults of one stage only; name one stage")
    if sampling and not set(options.wanted) <= set(stages):
        raise UserError(
            f"--conditional chooses the faults by a seed; only the name of a stage is allowed: {', '.join(stages)}"
        )
    for name in options.wanted:
        if name in stages:
            continue
        if options.part is not None:
            raise UserError(f"--part divides all faults of a stage; leave {name} or --part out")
        try:
            Candidate.named(name)
        except ValueError as error:
            raise UserError(
                f"{error}; an example of a name is reference.layout.StridesInBytes@width=8,layout=transposed"
            ) from error


def conditional(options: argparse.Namespace, stage: Stage, measured: Environment, processes: int) -> int:
    """Try conditional faults. The exit code says if the suite catches enough of them and makes no wrong accusation."""
    seed = None
    if options.conditional is not None:
        seed = secrets.randbelow(MOST_SEED + 1) if options.seed is None else options.seed
        print(f"seed {seed}", flush=True)
    chosen, library = _stage(options)
    if chosen != REFERENCE and (why := wrapped_stages()[chosen].absent()):
        raise UserError(f"{chosen} cannot be tried here: {why}; leave it out")
    found_cases = stage.cases(measured) if chosen == REFERENCE else wrapped.cases(library)
    cases = tuple(useful(found_cases))
    progress = Progress(sys.stderr)
    named = len(options.wanted) if options.wanted and options.wanted != [chosen] else 0
    with Stops() as stops:
        found = running.run(
            cases, library, streams(options, seed, chosen), processes, _report_to(progress, named), stops
        )
    rules = Counter(rule for fault in faults.all_faults().values() if (rule := drawing.left_out(fault)))
    account = Account(
        seed, tuple(found.tried), found.cases, tuple(found.accused), tuple(dict.fromkeys(found.lost)), dict(rules)
    )
    display.show(Screen.of(sys.stdout), account)
    if options.json:
        with given_by("--json", options.json):
            files.write(options.json, json.dumps(account.to_json(), indent=1, ensure_ascii=False) + "\n")
    if stops.number is not None:
        return Exit.INTERRUPTED if stops.number == signal.SIGINT else Exit.TERMINATED
    return account.exit


def _stage(options: argparse.Namespace) -> tuple[str, str]:
    """Return the stage of the faults to try, and their library."""
    name = options.wanted[0].partition(".")[0] if options.wanted else REFERENCE
    return name, REFERENCE if name == REFERENCE else wrapped_stages()[name].library


def streams(
    options: argparse.Namespace, seed: int | None, stage: str
) -> Sequence[tuple[Iterator[Candidate], int | None]]:
    """Return the candidates to try on one factor and on two, and how many of each have to show; ``None`` for all."""
    if options.wanted and options.wanted != [stage]:
        return [(iter([Candidate.named(name) for name in options.wanted]), None)]
    if seed is None:
        number, parts = options.part or (1, 1)
        return [(islice(drawing.every(count, stage), number - 1, None, parts), None) for count in (1, 2)]
    singles = -(-options.conditional // SINGLE_SHARE)
    return [(drawing.sampled(1, seed, stage), singles), (drawing.sampled(2, seed, stage), options.conditional)]


def _report_to(progress: Progress, named: int) -> Callable[[int, int | None], None]:
    """Show the number of tried faults. ``named`` is the number of faults on the command line."""

    def report(done: int, planned: int | None) -> None:
        planned = planned or named
        text = f"{done}{f'/{planned}' if planned else ''} conditional faults tried"
        progress.show(done, planned or done + 1, text)

    return report
