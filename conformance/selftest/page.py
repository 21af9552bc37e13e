"""Page of faults: every invariant with the deliberate faults that it catches."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import groupby

from conformance.checks.catalogue import Invariant

from .model import Fault, Stage

_HEAD = """\
# Faults that the suite catches

The self-test runs every invariant with partners that have a deliberate fault, and the invariant must fail. It also runs every
invariant with flawless partners, which must not be accused. `nox -s selftest` runs both. It fails if a fault escapes, if an invariant
catches nothing, or if a flawless partner is accused. `python -m conformance selftest --page docs/faults.md` writes this page after a
run without such a problem.
"""


def page(stages: Sequence[Stage], invariants: Sequence[Invariant]) -> str:
    """Return the page as Markdown. It depends only on the registered faults, so it is the same on every machine."""
    return "\n".join(_lines(stages, invariants)) + "\n"


def _lines(stages: Sequence[Stage], invariants: Sequence[Invariant]) -> Iterator[str]:
    faults = [fault for stage in stages for fault in stage.faults]
    yield _HEAD
    bugs = {bug for fault in faults for bug in fault.bugs}
    yield f"{len(faults)} faults, {len(invariants)} invariants, derived from {len(bugs)} known bugs and from the clauses.\n"
    yield "| stage | partners | faults |\n|---|---|---|"
    yield from (f"| {stage.name} | {_cell(stage.statement)} | {len(stage.faults)} |" for stage in stages)
    catching: dict[str, list[Fault]] = defaultdict(list)
    for fault in faults:
        for name in fault.caught_by:
            catching[name].append(fault)
    for family, members in groupby(invariants, key=lambda invariant: invariant.family):
        yield f"\n## {family}"
        for invariant in members:
            yield f"\n**{invariant.id}** {invariant.statement}\n"
            yield from (_item(fault) for fault in catching[invariant.id])


def _item(fault: Fault) -> str:
    bugs = f" ({', '.join(fault.bugs)})" if fault.bugs else ""
    return f"- `{fault.name}`: {fault.statement}{bugs}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
