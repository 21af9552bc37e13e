"""Group failures into findings: cases with the same root cause. Pure functions on data.

Cases share a cause if they accuse the same library of the same kind of mistake (:attr:`Code.cause`) with the same facets.

* A case between two libraries joins the cause that the accused library shows with the reference, if both cases have the same outcome. A crash
never joins a wrong value, except where both libraries are accused, each of its own mistake.
* Special input is part of the cause only if a plain array does not show the failure. Input with several special properties joins the cause of
the first property that shows the failure alone.
* A consumer that misreads every array of an element type has one cause, however its failures differ.
* Failures of all types of one width, of all higher ranks, or of all larger arrays are one cause (``input_groups.py``).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from conformance.checks.codes import BY_SLUG, Code, Facet
from conformance.checks.input_words import is_of_type, parts
from conformance.checks.libraries import REFERENCE
from conformance.checks.outcomes import Side
from conformance.protocols.clauses import Role
from conformance.verdict import Verdict

from .input_groups import widened
from .known import Book
from .model import UNKNOWN, Finding, Observation, held_alone
from .wording import sentence

_ROLES = {Side.PRODUCER: Role.PRODUCER, Side.CONSUMER: Role.CONSUMER}
_WORST_FIRST = list(Verdict)
_BY_LEGAL_INPUT = (Verdict.VIOLATES, Verdict.DEVIATES, Verdict.ROBUSTNESS)
"""Verdicts of a cause, worst first. A failure on legal input outranks one on illegal input."""
_DEVICES = ("host", "cuda", "simulated")
_MISREADINGS = tuple(
    code.cause for code in (Code.VALUES_CHANGED, Code.STRIDES_CHANGED, Code.SHAPE_CHANGED, Code.WRONG_ADDRESS, Code.IMPORT_UNUSABLE)
)  # fmt: skip
"""Causes that a misread element type can show. The first one found for any array of the type names the common cause."""
_ARTICLE = re.compile(r"^(a|an|the)-")


@dataclass(frozen=True)
class Cause:
    """The properties that all cases of one root cause share."""

    library: str
    side: str
    slug: str
    protocol: str
    step: str
    given: str

    @property
    def id(self) -> str:
        """Id of the finding: the same in every run that shows the cause."""
        parts = (self.library, self.side, self.slug, self.protocol, self.step, _slug(self.given))
        return "/".join(part for part in parts if part)


def _slug(words: str) -> str:
    signed = re.sub(r"(?<![\w.])-(?=\d)", "minus-", words.lower())  # ``stream=-1`` must differ from ``stream=1``
    found = re.sub(r"[^a-z0-9.=]+", "-", signed).strip("-")
    return _ARTICLE.sub("", found)


Versions = Mapping[str, Mapping[str, Mapping[str, str]]]
"""Version by distribution, by cell (empty for a run in one environment) and by library."""


def findings(observations: Iterable[Observation], versions: Versions, book: Book) -> list[Finding]:
    """Return all findings, by accused library in alphabetical order, then the most serious first."""
    seen = [o for o in observations if o.verdict.speaks_against]
    by_place = {(o.cell, o.case): o for o in seen}
    groups: dict[Cause, _Members] = defaultdict(list)
    for observation in seen:
        for cause, code in _causes(observation, by_place):
            groups[cause].append((observation, code))
    found = [_finding(cause, members, versions, book) for cause, members in _generalised(groups).items()]
    return sorted(found, key=_order)


def _order(finding: Finding) -> tuple[object, ...]:
    worst = _WORST_FIRST.index(finding.verdict)
    return (finding.library == UNKNOWN, finding.library, worst, -len(finding.cases), finding.id)


def _causes(
    observation: Observation, by_place: Mapping[tuple[str, str], Observation]
) -> list[tuple[Cause, Code | None]]:
    """Return the causes of a case, one for each accused library."""
    if not observation.accused:
        code = BY_SLUG.get(observation.code)
        return [(_cause(UNKNOWN, "", code, observation), code)]
    found = []
    for name in observation.accused:
        for side in _sides_of(name, observation):
            anchor = by_place.get((observation.cell, _with_reference(observation.case, side)))
            shown = anchor if anchor is not None and _is_shown(name, anchor, observation) else observation
            code = BY_SLUG.get(shown.code)
            found.append((_cause(name, side.value, code, shown), code))
    return list(dict(found).items())


def _is_shown(name: str, anchor: Observation, observation: Observation) -> bool:
    """Return whether the same case with the reference shows the same failure of this library."""
    ends_alike = anchor.outcome == observation.outcome or observation.side is Side.BOTH
    return anchor.accused == (name,) and ends_alike


def _sides_of(name: str, observation: Observation) -> list[Side]:
    """Return the sides on which a library is accused."""
    if observation.side is not Side.BOTH:
        return [observation.side]
    first, *between, last = observation.libraries
    sides = [(Side.PRODUCER, first), *((Side.BETWEEN, via) for via in between), (Side.CONSUMER, last)]
    return [side for side, library in sides if library == name]


def _with_reference(case: str, side: Side) -> str:
    """Return the id of the same case with the reference on every other side."""
    invariant, who, *rest = case.split("/")
    names = who.split("-")
    kept = {Side.PRODUCER: 0, Side.CONSUMER: len(names) - 1}.get(side, 1)
    names = [name if number == kept else REFERENCE for number, name in enumerate(names)]
    return "/".join((invariant, "-".join(names), *rest))


def _cause(library: str, side: str, code: Code | None, shown: Observation) -> Cause:
    """Return the cause of a case. A code of a newer suite is a cause of its own."""
    facets = tuple(Facet) if code is None else code.facets
    return Cause(
        library,
        side if Facet.SIDE in facets else "",
        shown.code if code is None else code.cause,
        shown.protocol if Facet.PROTOCOL in facets else "",
        shown.step if Facet.STEP in facets else "",
        shown.given if Facet.GIVEN in facets else "",
    )


_Members = list[tuple[Observation, "Code | None"]]


def _generalised(groups: Mapping[Cause, _Members]) -> dict[Cause, _Members]:
    """Merge causes that a plain array also shows, whatever the input of their cases."""
    alike: dict[Cause, list[Cause]] = defaultdict(list)
    for cause in groups:
        alike[replace(cause, given="")].append(cause)
    found: dict[Cause, _Members] = defaultdict(list)
    for plain, causes in alike.items():
        for cause in causes:
            found[plain if plain in causes else _simplest(cause, causes)] += groups[cause]
    return _widened(_misread(found))


def _misread(groups: Mapping[Cause, _Members]) -> dict[Cause, _Members]:
    """Merge the causes of a consumer that misreads every array of an element type, unless they are more serious than the common one."""
    found: dict[Cause, _Members] = defaultdict(list)
    for cause, members in groups.items():
        names = [part for part in parts(cause.given) if is_of_type(part)]
        alike = (replace(cause, slug=slug, given=name) for slug in _MISREADINGS for name in names)
        is_misread = cause.side == Side.CONSUMER.value and cause.slug in _MISREADINGS
        root = next(
            (one for one in alike if is_misread and one in groups and _worst(groups[one]) <= _worst(members)), cause
        )
        found[root] += members
    return found


def _widened(groups: Mapping[Cause, _Members]) -> dict[Cause, _Members]:
    """Merge causes that every element type of a width shows, and those of all higher ranks or all larger arrays."""
    alike: dict[Cause, list[str]] = defaultdict(list)
    for cause in groups:
        alike[replace(cause, given="")].append(cause.given)
    wider = {plain: widened(givens) for plain, givens in alike.items()}
    found: dict[Cause, _Members] = defaultdict(list)
    for cause, members in groups.items():
        found[replace(cause, given=wider[replace(cause, given="")][cause.given])] += members
    return found


def _worst(members: _Members) -> int:
    return min(_WORST_FIRST.index(observation.verdict) for observation, _ in members)


def _simplest(cause: Cause, causes: Sequence[Cause]) -> Cause:
    """Return the first cause whose only special property is one that this cause has, too.

    A dead process cannot repeat the case with simpler input, so the property is found by comparing cases.
    """
    return next((one for part in parts(cause.given) for one in causes if one.given == part), cause)


def _finding(cause: Cause, members: _Members, versions: Versions, book: Book) -> Finding:
    own = {o for o, code in members if code is None or code.cause == cause.slug}
    observations = sorted({o: None for o, _ in members}, key=lambda o: (o not in own, _smallness(o)))
    verdict = min((o.verdict for o in held_alone(observations)), key=_BY_LEGAL_INPUT.index)
    shown_in = {o.cell for o in observations}
    of_cells = [of_cell.get(cause.library, {}) for cell, of_cell in versions.items() if cell in shown_in]
    code = next(code for o, code in members if o == observations[0])
    known = book.about(cause.id)
    return Finding(
        cause.id,
        cause.library,
        cause.side,
        observations[0].code if code is None else code.value,
        cause.given,
        cause.step,
        verdict,
        sentence(
            cause.library, _role(cause, observations[0]), code, _given(cause, members), cause.protocol, cause.step
        ),
        book.status(known, of_cells),
        tuple(observations),
        _together(of_cells),
        known,
    )


def _together(of_cells: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Return the versions by distribution. Versions that differ between cells are joined with commas."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for versions in of_cells:
        for distribution, version in versions.items():
            found[distribution][version] = None
    return {distribution: ", ".join(seen) for distribution, seen in found.items()}


def _given(cause: Cause, members: _Members) -> str:
    """Return the input that the sentence names. Input that is not part of the cause is named only if all cases share it."""
    given = {o.given for o, code in members if code is not None and Facet.GIVEN not in code.facets}
    return given.pop() if len(given) == 1 else cause.given


def _role(cause: Cause, smallest: Observation) -> Role:
    side = Side(cause.side) if cause.side else smallest.side
    return _ROLES.get(side, Role.CONSUMER)


def _smallness(observation: Observation) -> tuple[object, ...]:
    """Sort key for the case to show first: worst verdict, then few other libraries, the host device, few parameters."""
    device = _DEVICES.index(observation.device) if observation.device in _DEVICES else len(_DEVICES)
    return (
        _BY_LEGAL_INPUT.index(observation.verdict),
        sum(name != REFERENCE for name in observation.libraries),
        observation.side is Side.BOTH,
        device,
        observation.case.count("/"),
        len(observation.case),
        observation.case,
        observation.cell,
    )
