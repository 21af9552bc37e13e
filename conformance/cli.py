"""Commands of ``python -m conformance`` and their options."""

from __future__ import annotations

import argparse
import errno
import importlib
import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import conformance
from conformance import files, settings, temporary
from conformance.adapters import registry
from conformance.checks import deadline
from conformance.checks.catalogue import Case, Tier, catalogue
from conformance.console import stdio
from conformance.console.progress import waiting
from conformance.console.screen import Screen, harmless
from conformance.execution import (
    canaries,
    check_folder,
    early_server,
    environment,
    ledger,
    machine,
    plan,
    planning,
    run_folder,
    supervisor,
)
from conformance.execution.environment import Facts
from conformance.execution.results import Result
from conformance.execution.untested import NOTHING, Untested, untested
from conformance.exits import Exit, UserError, why
from conformance.files import Unreadable
from conformance.ownership import owned
from conformance.reports import calls, check_findings, check_terminal
from conformance.reports import catalogue as catalogue_report
from conformance.verdict import Verdict

MATRIX = Path("matrix.yaml")

OUTSIDE = {
    "images": ("conformance.images.cli", "build the missing images of cells"),
    "conform": (
        "conformance.engines.cli",
        "run the suite in cells: containers or virtual environments that are made from lock files",
    ),
    "shell": ("conformance.engines.cli", "open a shell in the environment of a cell"),
    "merge": ("conformance.runs.cli", "merge runs into one run file that contains every planned cell"),
    "publish": ("conformance.reports.cli", "write the reports of a run: an HTML page, Markdown and JUnit XML"),
    "gate": ("conformance.gate.cli", "compare a run with a baseline, apply waivers, and accept or reject a release"),
    "waivers": ("conformance.gate.cli", "check waivers.yaml and list the cases that it covers, or propose waivers"),
    "history": ("conformance.gate.cli", "show judged runs, the first failure of each failing case, and flaky cases"),
    "clean": ("conformance.images.cli", "remove images that no lock file refers to"),
}
"""Commands that run outside the cells, with the packages of the extra ``runner``: module and help. Only the given command is imported."""

SELFTEST = {
    "selftest": (
        "conformance.selftest.cli",
        "test the suite: it must catch each deliberate fault and accuse no other library",
    ),
}
"""The command that imports deliberate faults. No other command imports it, so that no run can meet a fault."""

RUNNERS = ("direct", "pytest")
READING = {
    "explain": (
        "conformance.explain.cli",
        "explain an invariant, a clause, a family or a case, and list the real bugs that it would have caught",
    ),
    "finding": ("conformance.reports.finding_cli", "print a report on one finding for the library's issue tracker"),
    "repro": ("conformance.repro.cli", "print a standalone script that reproduces one case, for a bug report"),
}
"""Commands that run no case. Only the given command is imported."""


class Parser(argparse.ArgumentParser):
    """A parser that reports a mistake in one sentence, without the usage text."""

    def error(self, message: str) -> NoReturn:
        """Raise UserError, so that :func:`main` reports the mistake like every other one."""
        raise UserError(f"{message}; run `{self.prog} --help` for the options")


def parser(asked: str = "") -> argparse.ArgumentParser:
    """Return the parser of all commands. A command whose module is imported late has its options only if ``asked`` names it."""
    top = Parser(prog="python -m conformance", description=conformance.__doc__)
    top.add_argument("--version", action="version", version=conformance.__version__)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)

    check = commands.add_parser("check", help="run the suite in this environment")
    _add_selection(check)
    check.add_argument("--case", action="append", default=[], metavar="ID", help="run only this case (repeatable)")
    check.add_argument(
        "-n", dest="processes", type=settings.count("-n", "processes", auto=True), default="auto", metavar="N",
        help="number of worker processes (default: one for each core, at most 16; never more than there are cores)",
    )  # fmt: skip
    check.add_argument(
        "--out",
        type=Path,
        default=check_findings.RESULTS,
        metavar="DIR",
        help=f"folder for the results (default: {check_findings.RESULTS})",
    )
    check.add_argument(
        "--resume",
        type=Path,
        metavar="DIR",
        help="continue an interrupted run in the same environment: run only the cases that have no outcome in DIR",
    )
    check.add_argument(
        "--timeout", "--deadline", dest="deadline", type=settings.seconds("--timeout"), metavar="SECONDS",
        help=f"timeout of one case (default: {deadline.DEFAULT:g})",
    )  # fmt: skip
    check.add_argument(
        "--limit", type=settings.seconds("--limit"), default=supervisor.DEFAULT_LIMIT, metavar="SECONDS",
        help=f"timeout of the whole run (default: {supervisor.DEFAULT_LIMIT:g})",
    )  # fmt: skip
    check.add_argument(
        "--runner", choices=RUNNERS, default=RUNNERS[0],
        help="run the cases in the suite's own worker processes (default), or by pytest and pytest-xdist, which is slower and gives the same results",
    )  # fmt: skip
    check.add_argument("--seed", default="", metavar="WORD", help="seed of the order in which cases run")
    check.add_argument(
        "--canaries", action="store_true",
        help="also run canaries: test cases that are built to fail, crash or hang; the run is void if one of them ends differently",
    )  # fmt: skip
    _add_verbose(check)
    check.set_defaults(run=_check)

    listing = commands.add_parser("list", help="print the invariants, with the number of cases in this environment")
    _add_selection(listing)
    listing.add_argument("--json", action="store_true", help="print JSON")
    listing.add_argument("--cases", action="store_true", help="print only the ids of the cases, one on each line")
    listing.set_defaults(run=_list, case=[], canaries=False)

    report = commands.add_parser("report", help="show the results of a finished or interrupted run again")
    report.add_argument("folder", type=Path, metavar="DIR", help="folder with the results of the run")
    _add_verbose(report)
    report.add_argument("--calls", action="store_true", help="print only the table of calls, as Markdown")
    report.set_defaults(run=_report)
    _add_matrix(commands)
    _add_lock(commands)
    for name, (module, text) in (READING | SELFTEST | OUTSIDE).items():
        command = commands.add_parser(name, help=text)
        if name == asked:
            _runner(module).add(name, command)
    return top


def _add_verbose(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--verbose",
        action="store_true",
        help="also list deviations, refusals, observations and the cases of each finding",
    )


def _add_matrix(commands: argparse._SubParsersAction[Parser]) -> None:
    matrix = commands.add_parser("matrix", help="print the cells of matrix.yaml: the combinations of versions")
    matrix.add_argument("--tier", metavar="TIER", help="print the cells of the tiers up to this one (default: all)")
    matrix.add_argument("--matrix", type=Path, default=MATRIX, metavar="FILE", help=f"matrix file (default: {MATRIX})")
    form = matrix.add_mutually_exclusive_group()
    for name, text in (
        ("json", "print JSON"),
        ("github", "print a line for $GITHUB_OUTPUT, for the matrix of a workflow"),
        ("names", "print only the names of the cells, one on each line"),
        ("rules", "print the rules, their reasons and the combinations that they remove"),
    ):
        form.add_argument(f"--{name}", dest="form", action="store_const", const=name, default="table", help=text)
    matrix.set_defaults(run=_matrix)


def _add_lock(commands: argparse._SubParsersAction[Parser]) -> None:
    lock = commands.add_parser("lock", help="resolve the cells whose lock file locks/<cell>.txt is missing or stale")
    lock.add_argument("--matrix", type=Path, default=MATRIX, metavar="FILE", help=f"matrix file (default: {MATRIX})")
    lock.add_argument(
        "--check",
        action="store_true",
        help="only check whether the lock files fit the matrix; does not contact a package index",
    )
    lock.add_argument(
        "--upgrade", action="store_true", help="resolve every cell again, with the packages available today"
    )
    lock.add_argument(
        "--as-of", type=_day, metavar="DATE", help="ignore packages that were uploaded on DATE (UTC) or later"
    )
    lock.add_argument("--dry-run", action="store_true", help="print the commands and do not run them")
    lock.set_defaults(run=_lock)


def _add_selection(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--device",
        choices=planning.DEVICES,
        default=planning.AUTO,
        help="memory in which the arrays lie (default: auto, all memory that is available here)",
    )
    command.add_argument(
        "--between",
        type=_words,
        default=(),
        metavar="A,B,…",
        help="run only the pairs of these libraries and the reference",
    )
    command.add_argument(
        "--family", type=_words, default=(), metavar="F,…", help="run only these families of invariants"
    )
    command.add_argument(
        "--tier",
        type=Tier,
        choices=tuple(Tier),
        default=Tier.FULL,
        metavar="{quick,full}",
        help="quick: one case for each short check and pair of libraries; full: all cases (default)",
    )


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise UserError(f"--as-of: {text!r} is not a date; write it as 2026-11-20") from error


_MOST_DAMAGE = 10
"""Limit of damaged lines that a command reports one by one."""


def _words(text: str) -> tuple[str, ...]:
    found = tuple(word.strip() for word in text.split(",") if word.strip())
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} contains no name; omit the option to select everything")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code, also if the reader of its output has gone."""
    os.umask(os.umask(0) & 0o077)  # under every umask, this user can read and write the results
    with stdio.patient() as out:
        code = _ended(arguments)
    if out.full is None:
        return code
    print(f"conformance: standard output cannot be written ({why(out.full)}); redirect it to a file", file=sys.stderr)
    return max(code, Exit.NO_ROOM)


def _ended(arguments: Sequence[str] | None) -> int:
    try:
        given = sys.argv[1:] if arguments is None else list(arguments)
        options = parser(*given[:1]).parse_args(given)
        settings.check(options, os.environ)
        for warning in settings.not_ours(os.environ):
            print(f"conformance: {harmless(warning)}", file=sys.stderr)
        settings.forget_ours()
        return int(options.run(options))
    except (UserError, plan.BadSelection, registry.BadAnnouncement) as error:
        print(f"conformance: {harmless(str(error))}", file=sys.stderr)
        return Exit.USAGE
    except temporary.NoTemporaryFiles as error:
        print(f"conformance: {harmless(str(error))}", file=sys.stderr)
        return Exit.NO_ROOM
    except KeyboardInterrupt:
        print("\nconformance: interrupted; results so far are kept", file=sys.stderr)
        return Exit.INTERRUPTED


def _check(options: argparse.Namespace) -> int:
    processes = machine.processes(options.processes, machine.room())
    chosen = supervisor.Settings(
        processes.number, options.seed, by_pytest=options.runner == RUNNERS[1], limit=options.limit, why_fewer=processes.why
    )  # fmt: skip
    if options.deadline is not None:
        os.environ[deadline.VARIABLE] = str(options.deadline)
    if options.resume or options.case or chosen.by_pytest:
        return _run(options, processes, chosen, None)
    states = not options.family or bool({"state", "native"} & {*options.family})
    with early_server.begun(options.between or registry.names(), states=states) as early:
        return _run(options, processes, chosen, early)


def _run(
    options: argparse.Namespace,
    processes: machine.Processes,
    chosen: supervisor.Settings,
    early: early_server.Started | None,
) -> int:
    job = _resumed(options) if options.resume else _begun(options)
    out = options.resume or options.out
    screen = Screen.of(sys.stdout)
    check_terminal.announce(screen, job.facts, len(job.cases), processes, out, earlier=job.earlier)
    try:
        with owned(out):
            if not options.resume:
                run_folder.prepare(job.cases, job.facts.to_json(), out, job.facts.contents)
            progress = check_terminal.RunProgress(sys.stderr).update
            preview = partial(check_terminal.preview, screen, job.facts)
            run = supervisor.run(job.cases, out, chosen, progress, job.known, job.deadly, preview, early)
    except ledger.NoRoom as error:
        return _no_room(error.error, out, error.decided, len(job.cases))
    except OSError as error:
        return _no_room(error, out, 0, len(job.cases))
    if run.stopped:
        return _stopped(run, out)
    found = check_findings.of_run(run.results, job.facts)
    try:
        check_findings.write(found, job.facts, out)
    except OSError as error:
        return _no_room(error, out, len(run.results) - len(run.lost), len(job.cases))
    check_terminal.summarize(screen, run, job.facts, found, out, verbose=options.verbose)
    return exit_code(run, untested(job.facts.environment, job.cases))


@dataclass(frozen=True)
class Job:
    """The work of ``check``: all planned cases, the results known from an earlier run, and the cases known to end their process."""

    facts: Facts
    cases: list[Case]
    known: dict[str, Result]
    deadly: frozenset[str]

    @property
    def earlier(self) -> int:
        """Number of planned cases whose result is already known."""
        return sum(case.id in self.known for case in self.cases)


def _begun(options: argparse.Namespace) -> Job:
    facts, cases = _planned(options)
    if not cases:
        raise UserError(
            "nothing to run: this selection has no case in this environment; `list` shows the invariants and their cases"
        )
    _make_folder("--out", options.out)
    return Job(facts, cases, {}, check_folder.deadly(options.out))


def _resumed(options: argparse.Namespace) -> Job:
    """Return the plan and the results of an interrupted run. Raises UserError if the environment has changed since."""
    _check_nothing_else_is_chosen(options)
    left = _left_in(options.resume, "--resume: ", "run without --resume")
    _make_folder("--resume", options.resume)
    with waiting(sys.stderr, "inspecting the installed libraries …"):
        facts = environment.measure(tuple(library["name"] for library in left.environment["libraries"]))
    changed = environment.differences(left.environment, facts.to_json())
    changed = changed or environment.rebuilt(left.environment, run_folder.contents(options.resume), facts)
    if changed:
        raise UserError(
            f"--resume: the environment differs from that of {options.resume}: {'; '.join(changed[:3])}; "
            "results of two environments are not combined, so run without --resume"
        )
    return Job(facts, list(left.cases), left.known, left.unended)


def _left_in(out: Path, option: str, advice: str) -> check_folder.Left:
    try:
        left = check_folder.left(out)
    except Unreadable as error:
        raise UserError(f"{option}{out} holds no run that can be read ({error.brief}); {advice}") from error
    for damage in left.damage[:_MOST_DAMAGE]:
        print(f"conformance: {harmless(damage)}; its content is unknown", file=sys.stderr)
    if len(left.damage) > _MOST_DAMAGE:
        print(f"conformance: {len(left.damage) - _MOST_DAMAGE} more lines are damaged", file=sys.stderr)
    unknown = [case.id for case in left.cases if case.invariant not in catalogue()]
    if unknown:
        raise UserError(f"{option}this suite has no case {unknown[0]}; {out} comes from another version of it")
    return left


def _stopped(run: supervisor.Run, out: Path) -> int:
    """Print one line with the progress and the commands that continue, and return the exit code."""
    decided = len(run.results) - len(run.lost)
    unsettled = f", and {check_terminal.unsettled(run)}" if run.unsettled else ""
    print(
        f"\nconformance: {run.stopped}; {decided} of {len(run.results)} cases have an outcome{unsettled}: "
        f"`report {out}` shows them, `check --resume {out}` runs the rest",
        file=sys.stderr,
    )
    if run.signal is None:
        return Exit.INCOMPLETE
    return Exit.INTERRUPTED if run.signal == signal.SIGINT else Exit.TERMINATED


def _no_room(error: OSError, out: Path, decided: int, planned: int) -> int:
    place = error.filename if error.errno == errno.EINVAL and error.filename else out
    remedy = "remove it" if place != out else "make room" if error.errno in _FULL else "correct that"
    problem = f"conformance: results cannot be written to {place} ({why(error)}): "
    print(
        f"{problem}{decided} of {planned} cases have an outcome in {out}; {remedy} and run `check --resume {out}`"
        if decided
        else f"{problem}no case was run; {remedy}, or choose another folder with --out",
        file=sys.stderr,
    )
    return Exit.NO_ROOM


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers of a full disk, an exhausted quota and a file size limit."""


def _report(options: argparse.Namespace) -> int:
    """Print the summary of a results folder. Cases without an outcome are reported as lost, and unsettled accusations are counted."""
    left = _left_in(options.folder, "", "give the folder that `check --out` has written")
    run = supervisor.Run(left.results, 0.0, unsettled=len(left.unsettled))
    screen = Screen.of(sys.stdout)
    facts = Facts.from_json(left.environment)
    if options.calls:
        sys.stdout.write(calls.markdown(run.results, [library.name for library in facts.environment.libraries]))
        return exit_code(run, untested(facts.environment, left.cases))
    found = check_findings.of_run(run.results, facts)
    check_terminal.summarize(screen, run, facts, found, options.folder, verbose=options.verbose)
    return exit_code(run, untested(facts.environment, left.cases))


def _check_nothing_else_is_chosen(options: argparse.Namespace) -> None:
    """Raise UserError for options that ``--resume`` would ignore, because the folder already determines the plan."""
    given = {
        "--out": options.out != check_findings.RESULTS,
        "--device": options.device != "auto",
        "--between": bool(options.between),
        "--family": bool(options.family),
        "--case": bool(options.case),
        "--tier": options.tier is not Tier.FULL,
        "--canaries": options.canaries,
    }
    for name in (name for name, chosen in given.items() if chosen):
        raise UserError(
            f"{name} cannot be given with --resume: the plan in {options.resume} already determines the cases"
        )


def exit_code(run: supervisor.Run, gaps: Untested = NOTHING) -> Exit:
    """Return the exit code of a run, the most serious reason first.

    The order is: a canary with an unexpected result; lost, unsettled, untested or unexplained cases; violations.
    """
    if canaries.surprises(run.results):
        return Exit.VOID
    if run.lost or run.unsettled or run.unexplained or gaps.is_incomplete:
        return Exit.INCOMPLETE
    return Exit.VIOLATIONS if any(r.verdict is Verdict.VIOLATES for r in canaries.without(run.results)) else Exit.OK


def _matrix(options: argparse.Namespace) -> int:
    commands = _runner("conformance.matrix.commands")
    return int(commands.show_matrix(options.matrix, options.tier, options.form))


def _lock(options: argparse.Namespace) -> int:
    commands = _runner("conformance.matrix.commands")
    if options.check and (options.upgrade or options.as_of or options.dry_run):
        raise UserError("--check changes nothing, so it cannot be combined with --upgrade, --as-of or --dry-run")
    if options.check:
        return int(commands.check_locks(options.matrix))
    return int(commands.lock(options.matrix, commands.Order(options.upgrade, options.as_of, options.dry_run)))


def _runner(module: str) -> Any:
    """Import the module of a command. Inside the cells, the packages that it needs are not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise UserError(
            f"this command needs {error.name}, which is not installed; install this package with its extra `runner`"
        ) from error


def _list(options: argparse.Namespace) -> int:
    facts, cases = _planned(options)
    if options.cases or options.json:
        for gap in untested(facts.environment, cases).unusable:
            print(harmless(f"conformance: {gap.name} is not tested: {gap.why}"), file=sys.stderr)
    families = options.family or None
    shown = [i for i in catalogue().values() if (i.canary is None if families is None else i.family in families)]
    if options.cases:
        print("\n".join(case.id for case in cases))
    elif options.json:
        print(json.dumps(catalogue_report.as_json(shown, cases, facts), indent=1, ensure_ascii=False))
    else:
        catalogue_report.show(Screen.of(sys.stdout), shown, cases, facts)
    return Exit.OK


def _planned(options: argparse.Namespace) -> tuple[Facts, list[Case]]:
    selection = plan.Selection(
        devices=planning.on(options.device),
        between=options.between,
        families=options.family,
        cases=tuple(options.case),
        tier=options.tier,
        canaries=options.canaries,
    )
    with waiting(sys.stderr, "inspecting the installed libraries …"):
        return planning.planned(selection, options.device)


def _make_folder(option: str, out: Path) -> None:
    try:
        files.make_folder(out, tried=True)
    except OSError as error:
        raise UserError(f"{option}: results cannot be written to {out}: {why(error)}; choose another folder") from error
