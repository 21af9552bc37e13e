"""Versions of a library that show a finding, and versions that do not, from the cells of one run. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from packaging.version import Version

from conformance.findings.model import Finding
from conformance.runs.model import CellResult, RunFile
from conformance.verdict import Verdict

_WELL = frozenset({Verdict.CONFORMS.letter, Verdict.REFUSED.letter})
"""Letters of cases that do not show the mistake: the invariant holds, or the library refuses as the protocol allows."""
_NOT_WORSE = _WELL | {Verdict.OBSERVED.letter, Verdict.DEVIATES.letter}
"""Letters that do not hide the mistake. Cases with other letters fail in another way, or are undecided."""


@dataclass(frozen=True)
class Since:
    """Versions of the accused library, oldest first: those that show a finding, and those whose cases end well.

    A version in cells of both kinds is in ``seen`` only.
    """

    seen: tuple[str, ...] = ()
    not_seen: tuple[str, ...] = ()

    def __str__(self) -> str:
        """``seen in 0.17.0, not in 0.19.0``; empty if the run has only one version."""
        if self.not_seen:
            return f"seen in {', '.join(self.seen)}, not in {', '.join(self.not_seen)}"
        return f"seen in {', '.join(self.seen)}" if len(self.seen) > 1 else ""


class Sinces:
    """Searches the cells of a run for versions with and without a finding. Positions of cases in plans are looked up once."""

    def __init__(self, run: RunFile) -> None:
        self._cells = [cell for cell in run.cells if cell.is_tested]
        self._places = [{case: place for place, case in enumerate(plan)} for plan in run.plans]
        self._labels: dict[str, dict[str, str]] = {}

    def of(self, finding: Finding) -> Since:
        """Return the versions that show a finding, and those that do not."""
        labels, cases = self._of_library(finding.library), finding.cases
        showing = {observation.cell for observation in finding.observations}
        seen = {labels[name] for name in showing if name in labels}
        not_seen: set[str] = set()
        places: dict[int, list[int]] = {}
        for cell in self._cells:
            label = labels.get(cell.name, "")
            if not label or label in seen or label in not_seen:
                continue
            if cell.plan not in places:
                at = self._places[cell.plan]
                places[cell.plan] = [at[case] for case in cases if case in at]
            if _is_free({cell.states[place] for place in places[cell.plan]}):
                not_seen.add(label)
        return Since(_ordered(seen), _ordered(not_seen))

    def _of_library(self, library: str) -> Mapping[str, str]:
        if library not in self._labels:
            self._labels[library] = labels(self._cells, library)
        return self._labels[library]


def _is_free(letters: set[str]) -> bool:
    """Return whether these letters of a finding's cases show that a cell is free of the mistake."""
    return not letters.isdisjoint(_WELL) and letters <= _NOT_WORSE


def since(run: RunFile, finding: Finding) -> Since:
    """Return the versions of the accused library that show a finding, and those that do not."""
    return Sinces(run).of(finding)


def labels(cells: Iterable[CellResult], library: str) -> dict[str, str]:
    """Return the version of a library in each cell, with the distribution if the library has several."""
    found = {cell.name: cell.libraries[library] for cell in cells if cell.libraries.get(library)}
    if all(len(versions) == 1 for versions in found.values()):
        return {cell: next(iter(versions.values())) for cell, versions in found.items()}
    distributions = {name for versions in found.values() for name in versions}
    differing = {name for name in distributions if len({versions.get(name) for versions in found.values()}) > 1}
    return {
        cell: ", ".join(f"{name} {version}" for name, version in versions.items() if name in differing or not differing)
        for cell, versions in found.items()
    }


def _ordered(versions: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(versions, key=_order))


def _order(text: str) -> tuple[object, ...]:
    """Sort key: versions in their own order, other texts after them."""
    try:
        return (0, Version(text), text)
    except ValueError:  # not a version, or one with too many digits for Python's int()
        return (1, text)
