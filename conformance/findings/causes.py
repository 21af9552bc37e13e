"""From failures to findings, by rule: which cases share a root cause. Pure functions on data.

Cases share a cause if they accuse the same library of the same kind of mistake (:attr:`Code.cause`) with the same facets. A case
between two libraries joins the cause that the accused one shows with the reference, if both end in the same way: a crash never joins
a wrong value, save where two mistakes meet and each library is accused of its own. The special input is a part of the cause only where
a plain array does not show it. Input that is special in several respects joins the cause of the first of them that shows it alone. A consumer
that misreads every array of an element type has one cause, however the arrays come to be wrong. So has what all types of one width
show, or all higher ranks, or all larger arrays (``widening.py``).
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
"""A cause that legal input shows is judged by that, whatever illegal input shows besides."""
_DEVICES = ("host", "cuda", "simulated")
_MISREADINGS = tuple(
    code.cause for code in (Code.VALUES_CHANGED, Code.STRIDES_CHANGED, Code.SHAPE_CHANGED, Code.WRONG_ADDRESS, Code.IMPORT_UNUSABLE)
)  # fmt: skip
"""How a wrong idea of an element type shows. The first one that any array of the type shows gives the cause its name."""
_ARTICLE = re.compile(r"^(a|an|the)-")


@dataclass(frozen=True)
class Cause:
    """What cases of one root cause have in common."""

    library: str
    side: str
    slug: str
    protocol: str
    step: str
    given: str

    @property
    def id(self) -> str:
        """The finding's id: the same in every run that shows the cause."""
        parts = (self.library, self.side, self.slug, self.protocol, self.step, _slug(self.given))
        return "/".join(part for part in parts if part)


def _slug(words: str) -> str:
    signed = re.sub(r"(?<![\w.])-(?=\d)", "minus-", words.lower())  # ``stream=-1`` is not ``stream=1``
    found = re.sub(r"[^a-z0-9.=]+", "-", signed).strip("-")
    return _ARTICLE.sub("", found)


Versions = Mapping[str, Mapping[str, Mapping[str, str]]]
"""Distribution and version, by cell (empty for a run in one environment) and by library."""


def findings(observations: Iterable[Observation], versions: Versions, book: Book) -> list[Finding]:
    """Every finding, the accused libraries in alphabetical order, the most serious first."""
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
    """The cause of a case; one for each accused library where there are several."""
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
    """Whether the same case with the reference shows what this library does in the other."""
    ends_alike = anchor.outcome == observation.outcome or observation.side is Side.BOTH
    return anchor.accused == (name,) and ends_alike


def _sides_of(name: str, observation: Observation) -> list[Side]:
    """On which side a library is accused."""
    if observation.side is not Side.BOTH:
        return [observation.side]
    first, *between, last = observation.libraries
    sides = [(Side.PRODUCER, first), *((Side.BETWEEN, via) for via in between), (Side.CONSUMER, last)]
    return [side for side, library in sides if library == name]


def _with_reference(case: str, side: Side) -> str:
    """The id of the same case with the reference on every other side."""
    invariant, who, *rest = case.split("/")
    names = who.split("-")
    kept = {Side.PRODUCER: 0, Side.CONSUMER: len(names) - 1}.get(side, 1)
    names = [name if number == kept else REFERENCE for number, name in enumerate(names)]
    return "/".join((invariant, "-".join(names), *rest))


def _cause(library: str, side: str, code: Code | None, shown: Observation) -> Cause:
    """A code that only a newer suite knows is a cause of its own."""
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
    """Causes that a plain array shows, too, are one, whatever was given in the other cases."""
    alike: dict[Cause, list[Cause]] = defaultdict(list)
    for cause in groups:
        alike[replace(cause, given="")].append(cause)
    found: dict[Cause, _Members] = defaultdict(list)
    for plain, causes in alike.items():
        for cause in causes:
            found[plain if plain in causes else _simplest(cause, causes)] += groups[cause]
    return _widened(_misread(found))


def _misread(groups: Mapping[Cause, _Members]) -> dict[Cause, _Members]:
    """Causes of a consumer that misreads every array of an element type are one, if the others are no more serious."""
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
    """Causes that every element type of a width shows are one, and so are those of all higher ranks and of all larger arrays."""
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
    """Return the first of these causes whose input is special in one respect alone, and in one that this cause has, too.

    A process that has died cannot try which respect it was.
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
    """Versions by distribution; all of them, where cells differ."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for versions in of_cells:
        for distribution, version in versions.items():
            found[distribution][version] = None
    return {distribution: ", ".join(seen) for distribution, seen in found.items()}


def _given(cause: Cause, members: _Members) -> str:
    """What the sentence says was given; where it is no part of the cause it is the same in all cases, or is not said."""
    given = {o.given for o, code in members if code is not None and Facet.GIVEN not in code.facets}
    return given.pop() if len(given) == 1 else cause.given


def _role(cause: Cause, smallest: Observation) -> Role:
    side = Side(cause.side) if cause.side else smallest.side
    return _ROLES.get(side, Role.CONSUMER)


def _smallness(observation: Observation) -> tuple[object, ...]:
    """The worst verdict first; then with few libraries beside the reference, with few parameters, on the host."""
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
