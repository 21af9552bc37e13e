"""``python -m conformance``: the commands and their options."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import conformance
from conformance.adapters import registry
from conformance.adapters.base import Device
from conformance.execution import check, environment, plan
from conformance.execution.environment import Facts
from conformance.execution.results import Result
from conformance.exits import Exit, UserError
from conformance.report import catalogue as catalogue_report
from conformance.report import terminal
from conformance.suite import deadline
from conformance.suite.catalogue import Case, Tier, catalogue
from conformance.suite.exchange import brief
from conformance.suite.libraries import REFERENCE

DEFAULT_OUT = Path("conform-results")
MOST_PROCESSES = 12
"""Starting CUDA is one process at a time, so more would only wait for each other."""


OUTSIDE = {
    "images": ("conformance.images.cli", "build the images of cells that are missing"),
    "clean": ("conformance.images.cli", "remove the images that no lock refers to"),
}
"""Commands that run outside the cells, where their packages are: module and help. Only the one that is asked for is imported."""


class Parser(argparse.ArgumentParser):
    """One sentence for a mistake, no usage dump."""

    def error(self, message: str) -> NoReturn:
        """Report through the same door as every other mistake."""
        raise UserError(f"{message}; `{self.prog} --help` shows what there is")


def parser(asked: str = "") -> argparse.ArgumentParser:
    """All commands; of those that run outside the cells, the one that is asked for has its options."""
    top = Parser(prog="python -m conformance", description=conformance.__doc__)
    top.add_argument("--version", action="version", version=conformance.__version__)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)

    one = commands.add_parser("check", help="run the suite in this environment")
    _add_selection(one)
    one.add_argument("--case", action="append", default=[], metavar="ID", help="run this case only (repeatable)")
    one.add_argument(
        "-n", dest="processes", default="auto", metavar="N", help="worker processes (default: one a core, at most 12)"
    )
    one.add_argument(
        "--out", type=Path, default=DEFAULT_OUT, metavar="DIR", help=f"where results go (default: {DEFAULT_OUT})"
    )
    one.add_argument(
        "--resume",
        type=Path,
        metavar="DIR",
        help="go on with an interrupted run: only what has no outcome in DIR, in the same environment",
    )
    one.add_argument(
        "--deadline", type=float, metavar="SECONDS", help=f"what one case may take (default: {deadline.DEFAULT:g})"
    )
    one.add_argument("--verbose", action="store_true", help="also list refusals and observations")
    one.set_defaults(run=_check)

    two = commands.add_parser("list", help="print the catalogue, with the number of cases in this environment")
    _add_selection(two)
    two.add_argument("--json", action="store_true", help="for machines")
    two.add_argument("--cases", action="store_true", help="print case ids only, one a line")
    two.set_defaults(run=_list, case=[])
    for name, (module, text) in OUTSIDE.items():
        command = commands.add_parser(name, help=text)
        if name == asked:
            importlib.import_module(module).add(name, command)
    return top


def _add_selection(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--device",
        choices=("auto", "host", "cuda"),
        default="auto",
        help="where the arrays lie (default: wherever possible)",
    )
    command.add_argument(
        "--between", type=_words, default=(), metavar="A,B,…", help="pairs among these libraries and the reference"
    )
    command.add_argument("--family", type=_words, default=(), metavar="F,…", help="these families of invariants")
    command.add_argument(
        "--tier",
        type=Tier,
        choices=tuple(Tier),
        default=Tier.FULL,
        metavar="{quick,full}",
        help="how much (default: full)",
    )


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    try:
        given = sys.argv[1:] if arguments is None else list(arguments)
        options = parser(*given[:1]).parse_args(given)
        return int(options.run(options))
    except (UserError, plan.BadSelection) as error:
        print(f"conformance: {error}", file=sys.stderr)
        return Exit.USAGE
    except KeyboardInterrupt:
        print("\nconformance: interrupted; results so far are kept", file=sys.stderr)
        return Exit.INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK


def _check(options: argparse.Namespace) -> int:
    processes = _processes(options.processes)
    _set_deadline(options.deadline)
    facts, cases, earlier = _resumed(options) if options.resume else (*_planned(options), ())
    if not cases:
        raise UserError("nothing to run: this selection has no case in this environment; `list` shows what there is")
    out = options.resume or options.out
    _make_folder(out)
    screen = terminal.Screen.of(sys.stdout)
    terminal.announce(screen, facts, len(cases), processes, out, earlier=len(earlier))
    run = check.run(cases, facts, out, processes, terminal.Progress(sys.stderr).update, earlier)
    terminal.summarize(screen, run, facts, out, verbose=options.verbose)
    return exit_code(run)


def _resumed(options: argparse.Namespace) -> tuple[Facts, list[Case], tuple[Result, ...]]:
    """What an interrupted run had planned, and what it found out; the environment has to be the one it ran in."""
    _check_nothing_else_is_chosen(options)
    try:
        left = check.unfinished(options.resume)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"--resume: {options.resume} holds no run that can be gone on with ({brief(error)}); run without --resume"
        ) from error
    unknown = [case.id for case in left.cases if case.invariant not in catalogue()]
    if unknown:
        raise UserError(
            f"--resume: this suite has no case {unknown[0]}; {options.resume} comes from another version of it"
        )
    with terminal.waiting(sys.stderr, "looking at the libraries …"):
        facts = environment.measure(tuple(library["name"] for library in left.environment["libraries"]))
    changed = environment.differences(left.environment, facts.to_json())
    if changed:
        raise UserError(
            f"--resume: this is not the environment that {options.resume} was run in: {'; '.join(changed[:3])}; "
            "results of two environments are not put together, so run without --resume"
        )
    return facts, list(left.cases), left.results


def _check_nothing_else_is_chosen(options: argparse.Namespace) -> None:
    """The folder says what is run: other choices would be ignored."""
    given = {
        "--out": options.out != DEFAULT_OUT,
        "--device": options.device != "auto",
        "--between": bool(options.between),
        "--family": bool(options.family),
        "--case": bool(options.case),
        "--tier": options.tier is not Tier.FULL,
    }
    for name in (name for name, chosen in given.items() if chosen):
        raise UserError(f"{name} cannot be given with --resume: the run in {options.resume} has been planned already")


def exit_code(run: check.Run) -> Exit:
    """Worst first: something lost, then something violated."""
    if run.lost:
        return Exit.INCOMPLETE
    return Exit.VIOLATIONS if any(r.verdict == "violates" for r in run.results) else Exit.OK


def _list(options: argparse.Namespace) -> int:
    facts, cases = _planned(options)
    families = options.family or None
    shown = [i for i in catalogue().values() if families is None or i.family in families]
    if options.cases:
        print("\n".join(case.id for case in cases))
    elif options.json:
        print(json.dumps(catalogue_report.as_json(shown, cases), indent=1, ensure_ascii=False))
    else:
        catalogue_report.show(terminal.Screen.of(sys.stdout), shown, cases, facts)
    return Exit.OK


def _planned(options: argparse.Namespace) -> tuple[Facts, list[Case]]:
    selection = plan.Selection(
        devices=(Device(options.device),) if options.device != "auto" else tuple(Device),
        between=options.between,
        families=options.family,
        cases=tuple(options.case),
        tier=options.tier,
    )
    plan.check_names(catalogue(), registry.names(), selection)
    names = (REFERENCE, *(n for n in options.between if n != REFERENCE)) if options.between else None
    with terminal.waiting(sys.stderr, "looking at the libraries …"):
        facts = environment.measure(names)
    if options.device == "cuda" and not facts.driver["available"]:
        raise UserError(f"--device cuda: {facts.driver['reason']}; without it only --device host can run here")
    return facts, plan.make(catalogue(), facts.environment, selection)


def _processes(text: str) -> int:
    if text == "auto":
        return min(len(os.sched_getaffinity(0)), MOST_PROCESSES)
    if not text.isdigit() or int(text) < 1:
        raise UserError(f"-n: {text!r} is no number of processes; give 1 or more, or auto")
    return int(text)


def _set_deadline(seconds: float | None) -> None:
    if seconds is None:
        return
    if not seconds > 0:
        raise UserError(f"--deadline: {seconds:g} is no time to run in; give seconds, more than 0")
    os.environ[deadline.VARIABLE] = str(seconds)


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / ".writable"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"--out: results cannot be written to {out}: {error.strerror}; choose another folder"
        ) from error
