"""Whether results are what they say, and of today: digests of suite, locks, images, candidates and results. Pure."""

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
"""What every cell of a run has, if any has."""
_SHOWN = 12
"""Characters of a digest that a sentence has."""


@dataclass(frozen=True)
class Present:
    """What is there now, by which a run is judged; an empty text or ``None`` is not known, and nothing is said of it.

    ``suite`` is the version, ``suite_digest`` that of its source; ``locks`` are digests by cell, ``pinned`` the distributions that they
    hold, ``candidates`` the files that are to be released, by the name of their distribution and by digest, ``results`` the digests of the
    files that results were read from, by cell. ``altered`` says of files that they are not what was written. ``canaries`` are the
    invariants that test the run, with the outcome they were built for.
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
    """Everything that speaks against taking the results for what they say, and what could not be compared."""
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
    """All cells of a run ask the same questions, or their answers are not of one run."""
    for name, found in (
        ("digests", {cell.digests[SUITE] for cell in tested if SUITE in cell.digests}),
        ("versions", {cell.versions[SUITE] for cell in tested if cell.versions.get(SUITE)}),
    ):
        if len(found) > 1:
            told = ", ".join(_short(text) if name == "digests" else text for text in sorted(found))
            yield Remark(Kind.INTEGRITY, f"cells of this run were run with different suites ({name}: {told})")


def _complete(tested: Sequence[CellResult]) -> Iterator[Remark]:
    """A cell without a digest that the others have was not made as they were."""
    for name in _OF_ALL:
        if any(name in cell.digests for cell in tested):
            for cell in (cell for cell in tested if name not in cell.digests):
                yield Remark(Kind.INTEGRITY, f"it has no digest of its {name}, which other cells have", cell.name)
    for cell in tested:
        if (IMAGE in cell.digests) != (IMAGE_KEY in cell.digests):
            yield Remark(Kind.INTEGRITY, "it has only one of its image's id and its image's key", cell.name)


def _images(tested: Sequence[CellResult]) -> Iterator[Remark]:
    """One key is one image."""
    by_key: dict[str, set[str]] = defaultdict(set)
    for cell in tested:
        if IMAGE_KEY in cell.digests and IMAGE in cell.digests:
            by_key[cell.digests[IMAGE_KEY]].add(cell.digests[IMAGE])
    for cell in (cell for cell in tested if IMAGE_KEY in cell.digests):
        ids = by_key.get(cell.digests[IMAGE_KEY], set())
        if len(ids) > 1 or PARTS in cell.digests.get(IMAGE, ""):
            told = f"the image {cell.digests[IMAGE_KEY]} was not the same one everywhere: {', '.join(sorted(ids))}"
            yield Remark(Kind.INTEGRITY, told, cell.name)


def _suite_of_now(cell: CellResult, present: Present) -> Iterator[Remark]:
    digest, version = cell.digests.get(SUITE, ""), cell.versions.get(SUITE, "")
    if digest and present.suite_digest:
        if PARTS in digest:
            yield Remark(Kind.STALE, "parts of it were run with different suites; run it anew", cell.name)
        elif digest != present.suite_digest:
            told = f"it was run with another suite ({_short(digest)}) than there is now ({_short(present.suite_digest)}); run it again"
            yield Remark(Kind.STALE, told, cell.name)
    elif version and present.suite and version != present.suite:
        yield Remark(
            Kind.STALE,
            f"it was run with the suite {version}, and now there is {present.suite}; run it again",
            cell.name,
        )


def _lock_of_now(cell: CellResult, present: Present) -> Iterator[Remark]:
    if present.locks is None:
        return
    digest, now = cell.digests.get(LOCK, ""), present.locks.get(cell.name, "")
    if PARTS in digest:
        yield Remark(Kind.STALE, "parts of it were run from different locks; run it anew", cell.name)
    elif digest and not now:
        yield Remark(Kind.STALE, "the lock that it was run from is not there any more", cell.name)
    elif digest and digest != now:
        told = f"it was run from another lock ({_short(digest)}) than there is now ({_short(now)}); run it again"
        yield Remark(Kind.STALE, told, cell.name)
    elif now and not digest:
        yield Remark(Kind.INTEGRITY, "it does not say which lock it was run from, and there is one", cell.name)


def _results(cell: CellResult, present: Present) -> Iterator[Remark]:
    said = cell.digests.get(RESULTS, "")
    found = present.results.get(cell.name, "") if present.results is not None else ""
    if present.results is not None and said and found != said:
        what = f"is another now ({_short(found)})" if found else "is not there any more"
        yield Remark(Kind.INTEGRITY, f"its results.jsonl {what}; it was {_short(said)} when the cell ended", cell.name)


def _candidates(cell: CellResult, present: Present) -> Iterator[Remark]:
    """What is to be released has to be what was tested, in every cell that has the library."""
    held = {canonicalize_name(name) for name in (*cell.versions, *cell.axes, *present.pinned.get(cell.name, ()))}
    ran = {canonicalize_name(candidate.name): candidate for candidate in cell.candidates}
    for name, files in present.candidates.items():
        key = canonicalize_name(name)
        if key in ran and ran[key].sha256 not in files:
            told = f"it was run with another {name} ({_short(ran[key].sha256)}) than the candidate that is given"
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
            yield Remark(Kind.INTEGRITY, f"no cell of this run was run with a candidate of {name}")
            continue
        for digest in sorted(files.keys() - ran):
            yield Remark(Kind.INTEGRITY, f"no cell of this run was run with {files[digest]} ({_short(digest)})")
    given = {canonicalize_name(name) for name in present.candidates}
    for name in sorted(versions.keys() - given):
        told = f"the candidate of {name} was not compared with a file; give it with --candidate {name}=FILE"
        yield Remark(Kind.NOTE, told)


def _not_checked(tested: Sequence[CellResult], present: Present) -> Iterator[Remark]:
    """What is not known is told, or it would look as if it had been compared."""
    for name, known in ((SUITE, present.suite_digest), (LOCK, present.locks is not None), (RESULTS, True)):
        without = [cell for cell in tested if name not in cell.digests]
        if tested and len(without) == len(tested):
            yield Remark(Kind.NOTE, f"not checked: no cell of this run has a digest of its {name}")
        elif name == LOCK and known and without:
            yield Remark(Kind.NOTE, f"not checked: {many(len(without), 'cell')} of this run had no lock")
        elif not known:
            yield Remark(Kind.NOTE, f"not checked: whether the {name} of each cell is that of now")
    if tested and present.results is None:
        told = "not checked: the files that the results were read from; a run file has a digest of its own"
        yield Remark(Kind.NOTE, told)


def _short(digest: str) -> str:
    return PARTS.join(part[:_SHOWN] for part in digest.split(PARTS))
