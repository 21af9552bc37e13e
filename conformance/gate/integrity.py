"""Integrity of results: compare digests of suite, locks, images, candidates and results. Pure functions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from packaging.utils import canonicalize_name

from conformance.console.screen import many
from conformance.engines.digests import PARTS
from conformance.runs.model import CellResult, RunFile
from conformance.runs.remarks import Kind, Remark
from conformance.runs.source_digests import RESULTS

SUITE, LOCK, IMAGE, IMAGE_KEY = "suite", "lock", "image", "image key"
_OF_ALL = (SUITE, RESULTS)
"""Digests that every cell of a run must have, if any cell has them."""
_SHOWN = 12
"""Characters of a digest in a sentence."""


@dataclass(frozen=True)
class Present:
    """The current state that a run is compared with. An empty text or ``None`` is unknown, and is not compared.

    ``suite`` is the version, ``suite_digest`` the digest of its source. ``locks`` are digests by cell, ``pinned`` the distributions in each
    lock. ``candidates`` are the files to be released, by distribution and digest. ``results`` are the current digests of the result files, by
    cell. ``altered`` has a sentence for each file that was altered. ``canaries`` are the canary invariants with their expected outcomes.
    """

    today: date
    suite: str = ""
    suite_digest: str = ""
    locks: Mapping[str, str] | None = None
    candidates: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    results: Mapping[str, str] | None = None
    altered: tuple[str, ...] = ()
    canaries: Mapping[str, str] = field(default_factory=dict)
    pinned: Mapping[str, frozenset[str]] = field(default_factory=dict)


def check(run: RunFile, present: Present) -> Iterator[Remark]:
    """Yield remarks on results that are stale or altered, and on comparisons that could not be made."""
    tested = [cell for cell in run.cells if cell.is_tested]
    yield from _one_suite(tested)
    yield from _complete(tested)
    yield from _images(tested)
    for cell in tested:
        yield from _suite_of_now(cell, present)
        yield from _lock_of_now(cell, present)
        yield from _results(cell, present)
        yield from _candidates(cell, present)
    yield from _candidates_of_run(tested, present)
    yield from _not_checked(tested, present)


def _one_suite(tested: Sequence[CellResult]) -> Iterator[Remark]:
    """All cells must have been run with the same suite, or their results are not comparable."""
    for name, found in (
        ("digests", {cell.digests[SUITE] for cell in tested if SUITE in cell.digests}),
        ("versions", {cell.versions[SUITE] for cell in tested if cell.versions.get(SUITE)}),
    ):
        if len(found) > 1:
            told = ", ".join(_short(text) if name == "digests" else text for text in sorted(found))
            yield Remark(Kind.INTEGRITY, f"cells of this run were run with different suites ({name}: {told})")


def _complete(tested: Sequence[CellResult]) -> Iterator[Remark]:
    """Every cell must have the digests that the other cells have."""
    for name in _OF_ALL:
        if any(name in cell.digests for cell in tested):
            for cell in (cell for cell in tested if name not in cell.digests):
                yield Remark(
                    Kind.INTEGRITY, f"it has no digest of its {name}, although other cells have one", cell.name
                )
    for cell in tested:
        if (IMAGE in cell.digests) != (IMAGE_KEY in cell.digests):
            yield Remark(Kind.INTEGRITY, "it has only one of image id and image key", cell.name)


def _images(tested: Sequence[CellResult]) -> Iterator[Remark]:
    """One image key must stand for one image id."""
    by_key: dict[str, set[str]] = defaultdict(set)
    for cell in tested:
        if IMAGE_KEY in cell.digests and IMAGE in cell.digests:
            by_key[cell.digests[IMAGE_KEY]].add(cell.digests[IMAGE])
    for cell in (cell for cell in tested if IMAGE_KEY in cell.digests):
        ids = by_key.get(cell.digests[IMAGE_KEY], set())
        if len(ids) > 1 or PARTS in cell.digests.get(IMAGE, ""):
            told = f"the image {cell.digests[IMAGE_KEY]} is not the same in all cells: {', '.join(sorted(ids))}"
            yield Remark(Kind.INTEGRITY, told, cell.name)


def _suite_of_now(cell: CellResult, present: Present) -> Iterator[Remark]:
    digest, version = cell.digests.get(SUITE, ""), cell.versions.get(SUITE, "")
    if digest and present.suite_digest:
        if PARTS in digest:
            yield Remark(Kind.STALE, "its parts were run with different suites; run it again", cell.name)
        elif digest != present.suite_digest:
            told = f"it was run with another suite ({_short(digest)}) than the current one ({_short(present.suite_digest)}); run it again"
            yield Remark(Kind.STALE, told, cell.name)
    elif version and present.suite and version != present.suite:
        yield Remark(
            Kind.STALE,
            f"it was run with the suite {version}, but the current one is {present.suite}; run it again",
            cell.name,
        )


def _lock_of_now(cell: CellResult, present: Present) -> Iterator[Remark]:
    if present.locks is None:
        return
    digest, now = cell.digests.get(LOCK, ""), present.locks.get(cell.name, "")
    if PARTS in digest:
        yield Remark(Kind.STALE, "its parts were run from different locks; run it again", cell.name)
    elif digest and not now:
        yield Remark(Kind.STALE, "the lock that it was run from no longer exists", cell.name)
    elif digest and digest != now:
        told = f"it was run from another lock ({_short(digest)}) than the current one ({_short(now)}); run it again"
        yield Remark(Kind.STALE, told, cell.name)
    elif now and not digest:
        yield Remark(Kind.INTEGRITY, "it does not name the lock that it was run from, although there is one", cell.name)


def _results(cell: CellResult, present: Present) -> Iterator[Remark]:
    said = cell.digests.get(RESULTS, "")
    found = present.results.get(cell.name, "") if present.results is not None else ""
    if present.results is not None and said and found != said:
        what = f"has changed (now {_short(found)})" if found else "no longer exists"
        yield Remark(
            Kind.INTEGRITY, f"its results.jsonl {what}; its digest was {_short(said)} when the cell ended", cell.name
        )


def _candidates(cell: CellResult, present: Present) -> Iterator[Remark]:
    """Every cell that has the library must have tested the candidate that is to be released."""
    held = {canonicalize_name(name) for name in (*cell.versions, *cell.axes, *present.pinned.get(cell.name, ()))}
    ran = {canonicalize_name(candidate.name): candidate for candidate in cell.candidates}
    for name, files in present.candidates.items():
        key = canonicalize_name(name)
        if key in ran and ran[key].sha256 not in files:
            told = f"it was run with another {name} ({_short(ran[key].sha256)}) than the given candidate"
            yield Remark(Kind.INTEGRITY, told, cell.name)
        elif key not in ran and key in held:
            yield Remark(Kind.INTEGRITY, f"it was run with the released {name}, not with the candidate", cell.name)


def _candidates_of_run(tested: Sequence[CellResult], present: Present) -> Iterator[Remark]:
    versions: dict[str, set[str]] = defaultdict(set)
    for cell in tested:
        for candidate in cell.candidates:
            versions[canonicalize_name(candidate.name)].add(candidate.version)
    for name, found in sorted(versions.items()):
        if len(found) > 1:
            yield Remark(
                Kind.INTEGRITY, f"cells were run with different candidates of {name}: {', '.join(sorted(found))}"
            )
    ran = {candidate.sha256 for cell in tested for candidate in cell.candidates}
    for name, files in present.candidates.items():
        if canonicalize_name(name) not in versions:
            yield Remark(Kind.INTEGRITY, f"no cell of this run tested a candidate of {name}")
            continue
        for digest in sorted(files.keys() - ran):
            yield Remark(Kind.INTEGRITY, f"no cell of this run tested {files[digest]} ({_short(digest)})")
    given = {canonicalize_name(name) for name in present.candidates}
    for name in sorted(versions.keys() - given):
        told = f"not checked: the candidate of {name}; give its file with --candidate {name}=FILE"
        yield Remark(Kind.NOTE, told)


def _not_checked(tested: Sequence[CellResult], present: Present) -> Iterator[Remark]:
    """Yield notes on comparisons that could not be made, so that silence does not look like success."""
    for name, known in ((SUITE, present.suite_digest), (LOCK, present.locks is not None), (RESULTS, True)):
        without = [cell for cell in tested if name not in cell.digests]
        if tested and len(without) == len(tested):
            yield Remark(Kind.NOTE, f"not checked: no cell of this run has a digest of its {name}")
        elif name == LOCK and known and without:
            yield Remark(Kind.NOTE, f"not checked: {many(len(without), 'cell')} of this run had no lock")
        elif not known:
            yield Remark(Kind.NOTE, f"not checked: whether the {name} of each cell is the current one")
    if tested and present.results is None:
        told = "not checked: the original result files; a run file is checked by its own digest"
        yield Remark(Kind.NOTE, told)


def _short(digest: str) -> str:
    return PARTS.join(part[:_SHOWN] for part in digest.split(PARTS))
