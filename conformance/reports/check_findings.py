"""Findings of a run in one environment: computed from results, printed on a terminal, and written to a file."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from conformance.checks.libraries import REFERENCE
from conformance.console.screen import Screen, many
from conformance.execution import canaries
from conformance.execution.environment import Facts
from conformance.execution.results import Result
from conformance.findings import causes, document, known
from conformance.findings.model import Finding, Observation
from conformance.findings.presentation import by_library, status
from conformance.findings.presentation import headline as headline
from conformance.findings.wording import title
from conformance.verdict import Verdict

FILE = "findings.json"
RESULTS = Path("conform-results")
"""Default folder of a run."""
_NAMED = 5
"""Maximum number of partners that are named; the others are counted."""


def observations(results: Iterable[Result]) -> Iterator[Observation]:
    """Yield an observation for each result that counts against a library."""
    for result in canaries.without(tuple(results)):
        if result.verdict.speaks_against and result.accused is not None:
            yield Observation(
                result.case.id, result.verdict, result.outcome.value, result.code, result.clause, result.given,
                result.step, result.accused.side, result.accused.libraries, result.accused.why, result.reason,
                result.expected, result.seen, result.attachments,
            )  # fmt: skip


def versions(facts: Facts) -> dict[str, Mapping[str, str]]:
    """Return the versions of each library's distributions."""
    return {library.name: library.versions for library in facts.environment.libraries}


def of_run(results: Iterable[Result], facts: Facts) -> list[Finding]:
    """Return the findings of a run."""
    return causes.findings(observations(results), {"": versions(facts)}, known.book())


def write(found: Sequence[Finding], facts: Facts, out: Path) -> None:
    """Write ``findings.json`` into the folder of a run. Raises ``OSError`` if the disk is full."""
    document.write(found, versions(facts), out / FILE)


def show(screen: Screen, found: Sequence[Finding], out: Path, *, verbose: bool) -> None:
    """Print findings by accused library, the most serious first; deviations and case ids only with ``verbose``. ``out`` is the run's folder."""
    if not found:
        return
    colour = "red" if any(finding.verdict is Verdict.VIOLATES for finding in found) else "yellow"
    screen.wrapped(headline(found), "", "bold", colour)
    for library, members in by_library(found):
        _library(screen, library, members, verbose=verbose)
    where = "" if out == RESULTS else f" --results {shlex.quote(str(out))}"
    screen.wrapped(
        f"`python -m conformance finding ID{where}` prints a report for the library's tracker, with a script.", ""
    )
    screen.line()


def _library(screen: Screen, library: str, members: Sequence[Finding], *, verbose: bool) -> None:
    told = ", ".join(f"{name} {version}" for name, version in members[0].versions.items())
    screen.line(f"  {screen.paint(title(library), 'bold')}" + (screen.paint(f"  {told}", "dim") if told else ""))
    shown = [finding for finding in members if verbose or finding.verdict is not Verdict.DEVIATES]
    for finding in shown:
        _finding(screen, finding, verbose=verbose)
    if len(shown) < len(members):
        left = many(len(members) - len(shown), "deviation")
        screen.line(screen.paint(f"    {Verdict.DEVIATES.symbol} {left}; --verbose shows them", "dim"))


def _finding(screen: Screen, finding: Finding, *, verbose: bool) -> None:
    verdict = finding.verdict
    first, *rest = _folded(f"{verdict.symbol} {finding.sentence}", screen)
    screen.line("    " + screen.paint(first, verdict.colour))
    for line in rest:
        screen.line("      " + screen.paint(line, verdict.colour))
    screen.wrapped("; ".join(text for text in (status(finding), extent(finding)) if text), "      ")
    screen.line(screen.paint(f"      {finding.id}", "dim"))
    for case in finding.cases if verbose else ():
        screen.line(screen.paint(f"        {case}", "dim"))


def extent(finding: Finding) -> str:
    """Return the number of cases and the names of the partners."""
    partners = finding.partners
    named = ", ".join("the reference" if name == REFERENCE else name for name in partners[:_NAMED])
    named += f" and {len(partners) - _NAMED} more" if len(partners) > _NAMED else ""
    return many(len(finding.cases), "case") + (f" with {named}" if partners else "")


def _folded(text: str, screen: Screen) -> list[str]:
    return textwrap.wrap(text, max(screen.width - 6, 40), break_long_words=False, break_on_hyphens=False) or [""]
