"""Terminal output of ``check``: progress while it runs, then findings, tables and totals."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from conformance.adapters.base import Device, Protocol
from conformance.checks import call_table
from conformance.checks.outcomes import Outcome
from conformance.console.progress import Progress
from conformance.console.screen import Screen as Screen
from conformance.console.screen import many as many
from conformance.console.wording import CLAIMS, NATIVE, PROTOCOLS, core, way
from conformance.execution import canaries
from conformance.execution.accusations import own_exporter
from conformance.execution.environment import Facts
from conformance.execution.ledger import Status
from conformance.execution.machine import Processes
from conformance.execution.results import Result
from conformance.execution.supervisor import Run
from conformance.execution.untested import Gap, Untested, untested
from conformance.findings.model import Finding
from conformance.findings.presentation import SIDES, SIDES_LEGEND
from conformance.verdict import LEGEND, Verdict

from . import calls, check_findings
from .waits import LEGEND as WAITS_LEGEND
from .waits import waits

_SPEAKING = tuple(verdict for verdict in Verdict if verdict.speaks_against or not verdict.is_decided)
_QUIET = tuple(verdict for verdict in Verdict if verdict not in _SPEAKING)


class RunProgress(Progress):
    """Progress display of a run of the suite."""

    def update(self, status: Status) -> None:
        """Show the progress of the run."""
        text = f"{status.done}/{status.planned} cases" + "".join(
            f"  {verdict.symbol} {status.verdicts[verdict]}" for verdict in Verdict if status.verdicts[verdict]
        )
        if status.left is not None and status.done < status.planned:
            text += f"  {_time(status.left)} left"
        self.show(status.done, status.planned, text, status.newest)


def _time(seconds: float) -> str:
    """Return a time in whole minutes or tens of seconds; the estimate is no more precise."""
    return f"{seconds / 60:.0f} min" if seconds >= 100 else f"{max(10, round(seconds, -1)):.0f} s"


def announce(
    screen: Screen, facts: Facts, cases: int, processes: Processes, out: Path, *, earlier: int = 0
) -> None:  # fmt: skip
    """Print the libraries and devices that the run tests, and the installed libraries that it does not test."""
    screen.line(screen.paint("Libraries", "bold"))
    for library in facts.environment.libraries:
        versions = ", ".join(f"{name} {version}" for name, version in library.versions.items())
        if library.untrusted is not None:
            not_tested(screen, Gap(library.name, library.absent or library.untrusted))
            continue
        if library.absent is not None:
            screen.noted(f"  – {library.name:<12} not tested: {library.absent}")
            continue
        places = " and ".join(device.value for device in library.sides)
        screen.line(f"  {screen.paint('•', 'green')} {library.name:<12} {versions or 'this suite'} on {places}")
        for device, reason in library.unusable.items() if facts.driver["available"] else ():
            screen.noted(f"  – {'':<12} not tested on {device}: {reason}")
    known = f", {earlier} of them from an earlier run," if earlier else ""
    screen.line(
        f"{_gpu(facts)}; {many(cases, 'case')}{known} in {many(processes.number, 'process', 'processes')}, results in {out}"
    )
    if processes.why:
        screen.noted(processes.why)
    screen.line()


def not_tested(screen: Screen, gap: Gap) -> None:
    """Print a library that is installed but not tested, or not tested on one device."""
    screen.wrapped(f"✗ {gap.name:<12} not tested: {gap.why}", "  ", "red")


def _gpu(facts: Facts) -> str:
    if not facts.driver["available"]:
        return f"No GPU ({facts.driver['reason'].split(':')[0]}): host memory only"
    gpus = ", ".join(gpu["name"] for gpu in facts.driver["gpus"])
    return f"{gpus}, driver {facts.driver['driver_version']} (CUDA {facts.driver['driver_cuda_version']})"


def preview(screen: Screen, facts: Facts, results: Sequence[Result]) -> None:
    """Print the tables of the quick tier before the full tier runs, which takes longer with a GPU."""
    if any(result.case.device is Device.CUDA for result in results):
        found = canaries.without(results)
        screen.line()
        screen.line(screen.paint(f"Quick tier: {many(len(found), 'case')}. The full tier follows.", "bold"))
        tables(screen, found, [library.name for library in facts.environment.libraries])


def summarize(screen: Screen, run: Run, facts: Facts, found: Sequence[Finding], out: Path, *, verbose: bool) -> None:
    """Print findings, tables, undecided cases and totals; refusals and observations only with ``verbose``."""
    order = [library.name for library in facts.environment.libraries]
    results = canaries.without(run.results)
    gaps = untested(facts.environment, (result.case for result in run.results))
    for gap in gaps.unusable:
        not_tested(screen, gap)
    check_findings.show(screen, found, out, verbose=verbose)
    tables(screen, results, order)
    _calls(screen, results, order)
    _waits(screen, results, order)
    _undecided(screen, results)
    if verbose:
        _observations(screen, results)
        _refusals(screen, results)
    _totals(screen, run, results, found, out, gaps)


def tables(screen: Screen, results: Iterable[Result], order: list[str]) -> None:
    """Print one table for each device and protocol: producers down, consumers across."""
    groups: dict[tuple[int, int], list[Result]] = defaultdict(list)
    exporters: dict[str, None] = {}
    for result in results:
        if result.case.protocol == Protocol.CAI.value:
            exporters[result.case.producer] = None
        groups[_DEVICES.index(result.case.device.value), _WAYS.index(_way(result))].append(result)
    for (device, number), members in sorted(groups.items()):
        title = f"{_WAYS[number]} on {_DEVICES[device]}"
        screen.line(screen.paint(title, "bold") + screen.paint("   producer ↓   consumer →", "dim"))
        _table(screen, members, order)
        screen.line()
    for text in (LEGEND, SIDES_LEGEND):
        screen.entries(text, "dim")
    for name in exporters:
        if its_class := own_exporter(name):
            screen.wrapped(f"{name} as producer of the CUDA Array Interface: {its_class}", "", "dim")
    screen.line()


_DEVICES = tuple(device.value for device in Device)
_WAYS = (*PROTOCOLS.values(), NATIVE, CLAIMS)


def _way(result: Result) -> str:
    return way(result.case.invariant, result.case.protocol)


def _table(screen: Screen, results: list[Result], order: list[str]) -> None:
    counts: dict[tuple[str, str], _Count] = defaultdict(Counter)
    chains: _Count = Counter()
    for result in results:
        case = result.case
        count = chains if len(case.libraries) > 2 else counts[case.producer, case.consumer]
        count[result.verdict, _accused(result)] += 1
    if counts:
        _grid(screen, {pair: _cell(count) for pair, count in counts.items()}, order)
    if chains:
        texts = [screen.paint(text, colour) for text, colour in _cell(chains) if text]
        screen.line(screen.paint("chains of three", "bold") + "  " + " ".join(texts))


def _calls(screen: Screen, results: Iterable[Result], order: list[str]) -> None:
    """Print the table of calls if the run has one: calls down, producers across."""
    found = calls.calls(results)
    for device, table in found.items():
        title = f"{call_table.HEADING}, on {device}"
        screen.line(screen.paint(title, "bold") + screen.paint("   call ↓   producer →", "dim"))
        words = {
            (call, producer): ((call_table.word(given), calls.colour(given)), ("", "dim"))
            for (call, producer), given in table.items()
        }
        _grid(screen, words, [*call_table.names(table), *call_table.producers(table, order)])
        screen.line()
    if found:
        screen.entries(call_table.LEGEND)
        screen.line()


def _waits(screen: Screen, results: Iterable[Result], order: list[str]) -> None:
    """Print the synchronization at hand-over if the run observed it."""
    found = waits(results)
    for (device, protocol), cells in found.items():
        title = f"Synchronization at hand-over: {PROTOCOLS[protocol]} on {device}"
        screen.line(screen.paint(title, "bold") + screen.paint("   producer ↓   consumer →", "dim"))
        _grid(screen, cells, order)
        screen.line()
    if found:
        screen.entries(WAITS_LEGEND)
        screen.line()


def _grid(screen: Screen, cells: dict[tuple[str, str], _Cell], order: list[str]) -> None:
    producers = _in_order((p for p, _ in cells), order)
    consumers = _in_order((c for _, c in cells), order)
    width = max([len(c) for c in consumers] + [len(text) for cell in cells.values() for text, _ in cell]) + 2
    first = max(len(p) for p in producers) + 2
    per_row = max((screen.width - first) // width, 1)
    for start in range(0, len(consumers), per_row):
        columns = consumers[start : start + per_row]
        header = " " * first + "".join(f"{c:<{width}}" for c in columns)
        screen.line(screen.paint(header.rstrip(), "bold"))
        for producer in producers:
            row = [cells.get((producer, consumer), _NOTHING) for consumer in columns]
            for name, texts in ((producer, [upper for upper, _ in row]), ("", [lower for _, lower in row])):
                if name or any(text for text, _ in texts):
                    line = "".join(screen.paint(f"{text:<{width}}", colour) for text, colour in texts)
                    screen.line((screen.paint(f"{name:<{first}}", "bold") + line).rstrip())


def _in_order(names: Iterable[str], order: list[str]) -> list[str]:
    present = dict.fromkeys(names)
    return [*(n for n in order if n in present), *(n for n in present if n not in order)]


_Cell = tuple[tuple[str, str], tuple[str, str]]
_NOTHING: _Cell = (("·", "dim"), ("", "dim"))


_Count = Counter[tuple[Verdict, str]]
"""Number of cases by verdict and by the letter of the accused side."""


def _accused(result: Result) -> str:
    return SIDES.get(result.accused.side, "") if result.accused and result.verdict.speaks_against else ""


def _cell(count: _Count) -> _Cell:
    """Return two lines of text: failures by accused side, or a tick; then the other verdicts."""
    bad = [(verdict, f"{verdict.symbol}{n}{side}") for verdict, side, n in _ordered(count, _SPEAKING)]
    rest = [f"{verdict.symbol}{n}" for verdict, _, n in _ordered(count, _QUIET)]
    if not bad:
        conforms = any(verdict is Verdict.CONFORMS for verdict, _ in count)
        return (" ".join(rest), "green" if conforms else "dim"), ("", "dim")
    return (" ".join(text for _, text in bad), bad[0][0].colour), (" ".join(rest), "dim")


def _ordered(count: _Count, verdicts: Sequence[Verdict]) -> Iterator[tuple[Verdict, str, int]]:
    for verdict in verdicts:
        for side in (*SIDES.values(), ""):
            if count[verdict, side]:
                yield verdict, side, count[verdict, side]


def _undecided(screen: Screen, results: Iterable[Result]) -> None:
    chosen = [r for r in results if not r.verdict.is_decided]
    if not chosen:
        return
    screen.line(screen.paint(f"Not decided ({len(chosen)})", "bold", "blue"))
    for members in _alike(chosen):
        result = members[0]
        more = f" (and {len(members) - 1} like it)" if len(members) > 1 else ""
        screen.line(f"  {result.verdict.symbol} {result.case.id}{more}")
        screen.wrapped(f"{result.outcome.value}: {result.reason}", "      ")
    screen.line()


def _alike(results: Iterable[Result]) -> list[list[Result]]:
    """Group results that differ only in libraries and parameters."""
    groups: dict[tuple[str, ...], list[Result]] = defaultdict(list)
    for r in results:
        kind = () if r.outcome is Outcome.LOST else (r.case.invariant,)
        groups[(r.outcome.value, *kind, core(r.reason))].append(r)
    return list(groups.values())


def _observations(screen: Screen, results: Iterable[Result]) -> None:
    chosen = [r for r in results if r.verdict is Verdict.OBSERVED]
    if not chosen:
        return
    screen.line(screen.paint(f"Observations, informational: no clause applies ({len(chosen)})", "bold", "dim"))
    for members in _alike(chosen):
        result = members[0]
        more = f" (and {len(members) - 1} like it)" if len(members) > 1 else ""
        screen.line(f"  {result.verdict.symbol} {result.case.id}{more}")
        screen.wrapped(f"{result.reason}; expected {result.expected}; saw {result.seen}", "      ")
    screen.line()


def _refusals(screen: Screen, results: Iterable[Result]) -> None:
    reasons = Counter(
        f"{' → '.join(r.case.libraries)}, {r.case.protocol} on {r.case.device.value}: {r.reason}"
        for r in results
        if r.outcome is Outcome.REFUSED
    )
    screen.line(screen.paint(f"Refusals ({sum(reasons.values())})", "bold"))
    for reason, count in reasons.items():
        screen.wrapped(f"∅ {count}× {reason}", "  ")
    screen.line()


def _totals(
    screen: Screen, run: Run, results: tuple[Result, ...], found: Sequence[Finding], out: Path, gaps: Untested
) -> None:
    outcomes = Counter(r.outcome.value for r in results)
    told = ", ".join(f"{count} {name}" for name, count in outcomes.most_common())
    time = f" in {run.seconds:.1f} s" if run.seconds else ""
    screen.wrapped(f"{many(len(results), 'case')}{time}: {told}", "")
    bad = any(r.verdict is Verdict.VIOLATES for r in results)
    if run.lost:
        lost = f"{many(len(run.lost), 'planned case')} without a result: this run proves nothing about them"
        screen.wrapped(f"{lost}; see {out}", "", "bold", "red")
    if run.unsettled:
        told = f"{unsettled(run)}: the run was stopped before it repeated each case alone and with the reference"
        screen.wrapped(f"{told}; `check --resume {out}` continues", "", "bold", "red")
    if run.unexplained:
        told = f"{many(len(run.unexplained), 'case')} crashed after other cases but not alone, and the suite could not find the case that causes it"
        screen.wrapped(f"{told}: a library may damage memory; see `not decided` above", "", "bold", "red")
    for told in _unproven(gaps):
        screen.wrapped(told, "", "bold", "red")
    if bad:
        screen.wrapped(f"{check_findings.headline(found)}; everything is in {out}", "", "bold", "red")
    elif gaps.only_canaries:
        screen.wrapped(f"no library was tested: canaries test the run itself; everything is in {out}", "")
    elif not run.lost and not gaps.is_incomplete and not run.unsettled and not run.unexplained:
        _, _, beside = check_findings.headline(found).partition("; ")
        told = "PASS: no violations" + (f" ({beside})" if beside else "")
        screen.wrapped(f"{told}; everything is in {out}", "", "bold", "green")
    if gaps.elsewhere:
        names = ", ".join(gap.name for gap in gaps.elsewhere)
        told = f"installed but not tested, because this run has no case on a device that they support: {names}"
        screen.wrapped(f"{told} ({gaps.elsewhere[0].why})", "", "dim")
    _canaries(screen, run.results)


def _unproven(gaps: Untested) -> Iterator[str]:
    """Yield a sentence if installed libraries were not tested: the libraries, the reasons and the remedy."""
    reasons = "; ".join(f"{gap.name} ({gap.why})" for gap in gaps.unusable)
    if gaps.only_reference and reasons:
        yield f"no library was tested, only the reference with itself, because of {reasons}; repair or reinstall the library to be tested"
    elif gaps.only_reference:
        yield "no library was tested, only the reference with itself; install a library to be tested, or select one that is installed"
    elif gaps.unusable:
        yield (
            f"{many(len(gaps.unusable), 'installed library was', 'installed libraries were')} not tested: {reasons}; "
            "repair or uninstall them, or select others with --between or --device"
        )


def unsettled(run: Run) -> str:
    """Return the number of accusations that a stopped run has not settled, in words."""
    is_one = run.unsettled == 1
    return f"{many(run.unsettled, 'accusation')} {'is' if is_one else 'are'} not settled"


def _canaries(screen: Screen, results: tuple[Result, ...]) -> None:
    """Print whether the canaries ended as expected, if the run had any."""
    all_of_them, wrong = canaries.among(results), canaries.surprises(results)
    missing = sum(result.outcome is Outcome.LOST for result in all_of_them)
    if missing:
        screen.line(screen.paint(f"{missing} of {len(all_of_them)} canaries have not ended yet", "yellow"))
    elif all_of_them and not wrong:
        screen.line(screen.paint(f"all {len(all_of_them)} canaries ended as expected", "green"))
    for result in wrong:
        wanted = canaries.built_for(result)
        screen.line(screen.paint(f"  ✗ {result.case.id} should have ended as {wanted and wanted.value}", "red"))
        screen.wrapped(f"it ended as {result.outcome.value}: {result.reason}", "      ")
    if wrong:
        told = (
            f"{len(wrong)} of {many(len(all_of_them), 'canary', 'canaries')} did not end as expected: this run is void"
        )
        screen.line(screen.paint(told, "bold", "red") + "; ignore all results above")
