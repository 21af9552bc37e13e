"""``python -m conformance``: the commands and their options."""

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
    "images": ("conformance.images.cli", "build the images of cells that are missing"),
    "conform": ("conformance.engines.cli", "run the suite in cells: containers, or environments made from locks"),
    "shell": ("conformance.engines.cli", "open a shell in a cell"),
    "merge": ("conformance.runs.cli", "put any number of runs into one run file, every planned cell in it"),
    "publish": ("conformance.reports.cli", "write the reports of a run: a page, Markdown, JUnit XML"),
    "gate": ("conformance.gate.cli", "judge a run beside a baseline, with waivers: may this be released?"),
    "waivers": ("conformance.gate.cli", "check waivers.yaml and what it covers, or propose waivers"),
    "history": ("conformance.gate.cli", "show runs that were judged, since when cases fail, and which flap"),
    "clean": ("conformance.images.cli", "remove the images that no lock refers to"),
}
"""Commands that run outside the cells, where their packages are: module and help. Only the one that is asked for is imported."""

SELFTEST = {
    "selftest": (
        "conformance.selftest.cli",
        "try the suite itself: each deliberate fault is caught, nobody else accused",
    ),
}
"""It brings faults with it that no run may meet, so it too is imported only when it is asked for."""

RUNNERS = ("direct", "pytest")
READING = {
    "explain": (
        "conformance.explain.cli",
        "tell what an invariant, a clause, a family or a case is about, and what it would have caught",
    ),
    "finding": ("conformance.reports.finding_cli", "print a report on one finding, for the library's tracker"),
    "repro": ("conformance.repro.cli", "print a standalone script of one case, for a bug report"),
}
"""Commands that run nothing; they are imported only when they are asked for."""


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
        "-n", dest="processes", type=settings.count("-n", "processes", auto=True), default="auto", metavar="N",
        help="worker processes (default: one a core, at most 16; never more than cores)",
    )  # fmt: skip
    one.add_argument(
        "--out",
        type=Path,
        default=check_findings.RESULTS,
        metavar="DIR",
        help=f"where results go (default: {check_findings.RESULTS})",
    )
    one.add_argument(
        "--resume",
        type=Path,
        metavar="DIR",
        help="go on with an interrupted run: only what has no outcome in DIR, in the same environment",
    )
    one.add_argument(
        "--deadline", type=settings.seconds("--deadline"), metavar="SECONDS",
        help=f"timeout of one case (default: {deadline.DEFAULT:g})",
    )  # fmt: skip
    one.add_argument(
        "--limit", type=settings.seconds("--limit"), default=supervisor.DEFAULT_LIMIT, metavar="SECONDS",
        help=f"what the whole run may take (default: {supervisor.DEFAULT_LIMIT:g})",
    )  # fmt: skip
    one.add_argument(
        "--runner", choices=RUNNERS, default=RUNNERS[0],
        help="hand out the cases directly (default), or by pytest and pytest-xdist, which is slower and finds the same",
    )  # fmt: skip
    one.add_argument("--seed", default="", metavar="WORD", help="mix the cases in another order")
    one.add_argument(
        "--canaries", action="store_true",
        help="also run cases built to fail, crash, hang, …; unless each ends as it was built to, the run is void",
    )  # fmt: skip
    _add_verbose(one)
    one.set_defaults(run=_check)

    two = commands.add_parser("list", help="print the catalogue, with the number of cases in this environment")
    _add_selection(two)
    two.add_argument("--json", action="store_true", help="for machines")
    two.add_argument("--cases", action="store_true", help="print case ids only, one a line")
    two.set_defaults(run=_list, case=[], canaries=False)

    three = commands.add_parser("report", help="show the results of a run again, finished or interrupted")
    three.add_argument("folder", type=Path, metavar="DIR", help="where its results are")
    _add_verbose(three)
    three.add_argument("--calls", action="store_true", help="print only the table of calls, as Markdown")
    three.set_defaults(run=_report)
    _add_matrix(commands)
    _add_lock(commands)
    for name, (module, text) in (READING | SELFTEST | OUTSIDE).items():
        command = commands.add_parser(name, help=text)
        if name == asked:
            _runner(module).add(name, command)
    return top


def _add_verbose(command: argparse.ArgumentParser) -> None:
    command.add_argument("--verbose", action="store_true", help="also list refusals and observations")


def _add_matrix(commands: argparse._SubParsersAction[Parser]) -> None:
    three = commands.add_parser("matrix", help="print the cells of matrix.yaml: what is combined with what")
    three.add_argument("--tier", metavar="TIER", help="up to this tier (default: all)")
    three.add_argument("--matrix", type=Path, default=MATRIX, metavar="FILE", help=f"default: {MATRIX}")
    form = three.add_mutually_exclusive_group()
    for name, told in (
        ("json", "for machines"),
        ("github", "a line for $GITHUB_OUTPUT, for a workflow's matrix"),
        ("names", "the names of the cells only, one a line"),
        ("rules", "the rules, their reasons and what they remove"),
    ):
        form.add_argument(f"--{name}", dest="form", action="store_const", const=name, default="table", help=told)
    three.set_defaults(run=_matrix)


def _add_lock(commands: argparse._SubParsersAction[Parser]) -> None:
    four = commands.add_parser("lock", help="resolve every cell to locks/<cell>.txt; makes what is missing or stale")
    four.add_argument("--matrix", type=Path, default=MATRIX, metavar="FILE", help=f"default: {MATRIX}")
    four.add_argument("--check", action="store_true", help="only say whether the locks fit; asks no index")
    four.add_argument("--upgrade", action="store_true", help="resolve every cell anew, as of today")
    four.add_argument("--as-of", type=_day, metavar="DATE", help="as if it were the morning of DATE, in UTC")
    four.add_argument("--dry-run", action="store_true", help="only print the commands")
    four.set_defaults(run=_lock)


def _add_selection(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--device",
        choices=planning.DEVICES,
        default=planning.AUTO,
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


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise UserError(f"--as-of: {text!r} is no date; write it as 2026-11-20") from error


_MOST_DAMAGE = 10
"""Damaged lines that a command reports one by one."""


def _words(text: str) -> tuple[str, ...]:
    found = tuple(word.strip() for word in text.split(",") if word.strip())
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} names nothing; leave the option out to choose everything")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code, whether or not somebody reads what it says."""
    os.umask(os.umask(0) & 0o077)  # this user can read and write the results, whatever the umask is
    with stdio.patient() as out:
        code = _ended(arguments)
    if out.full is None:
        return code
    print(f"conformance: standard output cannot be written ({why(out.full)}); give it a file", file=sys.stderr)
    return max(code, Exit.NO_ROOM)


def _ended(arguments: Sequence[str] | None) -> int:
    try:
        given = sys.argv[1:] if arguments is None else list(arguments)
        options = parser(*given[:1]).parse_args(given)
        settings.check(options, os.environ)
        for told in settings.not_ours(os.environ):
            print(f"conformance: {harmless(told)}", file=sys.stderr)
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
    """What ``check`` is to do: the whole plan, what of it is known already, and which cases are known to kill."""

    facts: Facts
    cases: list[Case]
    known: dict[str, Result]
    deadly: frozenset[str]

    @property
    def earlier(self) -> int:
        """How many cases of the plan are known already."""
        return sum(case.id in self.known for case in self.cases)


def _begun(options: argparse.Namespace) -> Job:
    facts, cases = _planned(options)
    if not cases:
        raise UserError("nothing to run: this selection has no case in this environment; `list` shows what there is")
    _make_folder("--out", options.out)
    return Job(facts, cases, {}, check_folder.deadly(options.out))


def _resumed(options: argparse.Namespace) -> Job:
    """What an interrupted run had planned, and what it found out; the environment has to be the one it ran in."""
    _check_nothing_else_is_chosen(options)
    left = _left_in(options.resume, "--resume: ", "run without --resume")
    _make_folder("--resume", options.resume)
    with waiting(sys.stderr, "looking at the libraries …"):
        facts = environment.measure(tuple(library["name"] for library in left.environment["libraries"]))
    changed = environment.differences(left.environment, facts.to_json())
    changed = changed or environment.rebuilt(left.environment, run_folder.contents(options.resume), facts)
    if changed:
        raise UserError(
            f"--resume: this is not the environment that {options.resume} was run in: {'; '.join(changed[:3])}; "
            "results of two environments are not put together, so run without --resume"
        )
    return Job(facts, list(left.cases), left.known, left.unended)


def _left_in(out: Path, option: str, advice: str) -> check_folder.Left:
    try:
        left = check_folder.left(out)
    except Unreadable as error:
        raise UserError(f"{option}{out} holds no run that can be read ({error.brief}); {advice}") from error
    for told in left.damage[:_MOST_DAMAGE]:
        print(f"conformance: {harmless(told)}; its content is unknown", file=sys.stderr)
    if len(left.damage) > _MOST_DAMAGE:
        print(f"conformance: {len(left.damage) - _MOST_DAMAGE} more lines are damaged", file=sys.stderr)
    unknown = [case.id for case in left.cases if case.invariant not in catalogue()]
    if unknown:
        raise UserError(f"{option}this suite has no case {unknown[0]}; {out} comes from another version of it")
    return left


def _stopped(run: supervisor.Run, out: Path) -> int:
    """One line: what is there, and how to go on."""
    decided = len(run.results) - len(run.lost)
    told = f", and {check_terminal.unsettled(run)}" if run.unsettled else ""
    print(
        f"\nconformance: {run.stopped}; {decided} of {len(run.results)} cases have an outcome{told}: "
        f"`report {out}` shows them, `check --resume {out}` runs the rest",
        file=sys.stderr,
    )
    if run.signal is None:
        return Exit.INCOMPLETE
    return Exit.INTERRUPTED if run.signal == signal.SIGINT else Exit.TERMINATED


def _no_room(error: OSError, out: Path, decided: int, planned: int) -> int:
    place = error.filename if error.errno == errno.EINVAL and error.filename else out
    remedy = "remove it" if place != out else "make room" if error.errno in _FULL else "mend that"
    told = f"conformance: results cannot be written to {place} ({why(error)}): "
    print(
        f"{told}{decided} of {planned} cases have an outcome in {out}; {remedy} and run `check --resume {out}`"
        if decided
        else f"{told}nothing was run; {remedy}, or choose another folder with --out",
        file=sys.stderr,
    )
    return Exit.NO_ROOM


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a file system without room."""


def _report(options: argparse.Namespace) -> int:
    """The summary of what lies in a folder; cases without an outcome are lost, and accusations that were not settled are counted."""
    left = _left_in(options.folder, "", "give the folder of a run, as `check --out` made it")
    run = supervisor.Run(left.results, 0.0, unsettled=len(left.unsettled))
    screen = Screen.of(sys.stdout)
    facts = Facts.from_json(left.environment)
    if options.calls:
        sys.stdout.write(calls.markdown(run.results, [library.name for library in facts.environment.libraries]))
        return exit_code(run, untested(facts.environment, left.cases))
    told = check_findings.of_run(run.results, facts)
    check_terminal.summarize(screen, run, facts, told, options.folder, verbose=options.verbose)
    return exit_code(run, untested(facts.environment, left.cases))


def _check_nothing_else_is_chosen(options: argparse.Namespace) -> None:
    """The folder says what is run: other choices would be ignored."""
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
        raise UserError(f"{name} cannot be given with --resume: the run in {options.resume} has been planned already")


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
        raise UserError("--check changes nothing, so it goes with no other option of lock; give one of them")
    if options.check:
        return int(commands.check_locks(options.matrix))
    return int(commands.lock(options.matrix, commands.Order(options.upgrade, options.as_of, options.dry_run)))


def _runner(module: str) -> Any:
    """A part that runs outside the cells; what it needs is not there inside them."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise UserError(
            f"{error.name} is not here, which this command needs; install this package with its extra `runner`"
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
    with waiting(sys.stderr, "looking at the libraries …"):
        return planning.planned(selection, options.device)


def _make_folder(option: str, out: Path) -> None:
    try:
        files.make_folder(out, tried=True)
    except OSError as error:
        raise UserError(f"{option}: results cannot be written to {out}: {why(error)}; choose another folder") from error
