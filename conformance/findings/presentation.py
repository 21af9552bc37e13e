"""Common wording of findings in all reports: headline, order, status, and the letter of the accused side."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from conformance.checks.outcomes import Outcome, Side
from conformance.console.wording import many
from conformance.verdict import Verdict

from .model import UNKNOWN, Finding, Status, Upstream, held_alone

SIDES = {Side.PRODUCER: "p", Side.CONSUMER: "c", Side.BOTH: "b"}
"""The letter after a number of failures in a table of producers and consumers. It names the accused side."""
SIDES_LEGEND = "p producer accused   c consumer accused   b both   no letter: neither, or unknown"
_WORST_FIRST = list(Verdict)
DEATHS = {
    Outcome.CRASH.value: "the process crashed",
    Outcome.POISONED.value: "the CUDA context was corrupted (sticky error)",
    Outcome.HANG.value: "the process hung",
}
"""How a process ended, by the outcome of a case; the worst first."""


def headline(found: Sequence[Finding]) -> str:
    """``30 findings in 7 libraries: 21 new, 5 known, 4 fixed in a newer release``, then counts of robustness findings and deviations."""
    broken = [finding for finding in found if finding.verdict is Verdict.VIOLATES]
    others = Counter(finding.verdict for finding in found if finding.verdict is not Verdict.VIOLATES)
    nameless = sum(finding.library == UNKNOWN for finding in broken)
    beside = [
        f"{nameless} of them {'accuses' if nameless == 1 else 'accuse'} no known library" if nameless else "",
        f"{others[Verdict.ROBUSTNESS]} about robustness" if others[Verdict.ROBUSTNESS] else "",
        many(others[Verdict.DEVIATES], "deviation") if others[Verdict.DEVIATES] else "",
    ]
    return "; ".join((_broken(broken), *(text for text in beside if text)))


def _broken(broken: Sequence[Finding]) -> str:
    if not broken:
        return "no violations"
    counts = Counter(finding.status for finding in broken)
    told = ", ".join(f"{counts[status]} {status.value}" for status in Status if counts[status])
    libraries = len({finding.library for finding in broken} - {UNKNOWN})
    where = f" in {many(libraries, 'library', 'libraries')}" if libraries else ""
    return f"{many(len(broken), 'finding')}{where}: {told}"


def by_library(found: Iterable[Finding]) -> list[tuple[str, list[Finding]]]:
    """Return the findings of each accused library, the most serious first.

    Libraries with violations come before the others, each group in alphabetical order. Findings without a known library come last.
    """
    members: dict[str, list[Finding]] = defaultdict(list)
    for finding in found:
        members[finding.library].append(finding)
    groups = [(library, sorted(of_library, key=_seriousness)) for library, of_library in members.items()]
    return sorted(groups, key=_order)


def _order(group: tuple[str, Sequence[Finding]]) -> tuple[object, ...]:
    library, found = group
    return (library == UNKNOWN, found[0].verdict is not Verdict.VIOLATES, library)


def _seriousness(finding: Finding) -> tuple[object, ...]:
    """Sort key: worst verdict first, then findings that end a process, then those with most cases."""
    return (_WORST_FIRST.index(finding.verdict), not ended(finding), -len(finding.cases), finding.id)


def ended(finding: Finding) -> str:
    """Return how a process ended in the finding's cases, in words; empty if every process survived.

    A case that accuses both sides counts only if there are no others, because the other library may have ended the process.
    """
    outcomes = {observation.outcome for observation in held_alone(finding.observations)}
    return next((told for outcome, told in DEATHS.items() if outcome in outcomes), "")


def status(finding: Finding) -> str:
    """``new``, ``known: <reference>``, ``fixed in 2.15: upgrade`` or ``the library documents or intends it``."""
    known = finding.known
    if finding.status is Status.NEW or known is None:
        return f"new: {finding.advice}" if finding.advice else Status.NEW.value
    if finding.status is Status.KNOWN:
        return f"known: {known.reference}{', fixed but not released' if known.upstream is Upstream.MERGED else ''}"
    return finding.advice
