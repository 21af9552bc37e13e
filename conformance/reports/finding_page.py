"""A finding as a report to paste into a library's tracker: Markdown, from a run's results. Pure, but for the script that is run."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import conformance
from conformance import private
from conformance.checks import bugs, children
from conformance.checks.catalogue import VIA, Case, catalogue
from conformance.checks.input_words import special
from conformance.checks.libraries import REFERENCE
from conformance.checks.outcomes import Outcome
from conformance.console.screen import harmless, many
from conformance.console.wording import PROTOCOLS, demand, known
from conformance.execution.environment import Facts
from conformance.execution.results import SEEN, Result
from conformance.findings.model import Finding, Observation, Upstream
from conformance.findings.presentation import ended
from conformance.findings.wording import title
from conformance.protocols.clauses import Role
from conformance.repro.scripts import is_readable, script

_ROLES = {role.value: role for role in Role}
_MOST_CASES = 12
_MOST_RELATIVES = 4
_MOST_SPARED = 10
_SECONDS = 120.0
"""What a script may take."""
_LINES = 40
"""Lines of a script's output that a report shows."""
_ADDRESS = re.compile(r"https?://\S+")


@dataclass(frozen=True)
class Ran:
    """A script that was run: its exit code (negative for a signal), and the end of what it said."""

    code: int
    said: str

    @property
    def end(self) -> str:
        """``ends with exit code 1``, or the signal that it dies of."""
        names = {number.value: number.name for number in signal.Signals}
        died = f"dies of {names.get(-self.code, f'signal {-self.code}')}"
        return died if self.code < 0 else f"ends with exit code {self.code}"


def page(finding: Finding, results: Sequence[Result], facts: Facts, ran: Ran | None = None) -> str:
    """The whole report; ``results`` are those of the run, which also tell what is not affected. ``ran`` is of :func:`shortest`."""
    shown = shortest(finding, results)
    parts = (
        f"# {_text(finding.sentence)}",
        _table(_about(finding, facts)),
        *_expected(finding),
        *_seen(finding, next(o for o in finding.observations if o.case == shown.case.id)),
        *_script(finding, shown, ran),
        *_extent(finding, results),
        *_relatives(finding),
    )
    return "\n\n".join(harmless(part) for part in parts) + "\n"


def _about(finding: Finding, facts: Facts) -> Iterator[tuple[str, str]]:
    yield "Library", f"{title(finding.library)} ({_versions(finding.versions)})"
    partners = set(finding.smallest.libraries) - {finding.library, REFERENCE}
    others = {lib.name: lib.versions for lib in facts.environment.libraries if lib.name in partners}
    if others:
        yield "With", "; ".join(_versions(versions) for versions in others.values())
    yield "On", _machine(facts)
    yield "Verdict", f"{finding.verdict.word}: {finding.verdict.meaning}"
    if finding.advice:
        reference = finding.known.reference if finding.known else ""
        yield "Upstream", f"{finding.advice} ({reference})" if _ADDRESS.match(reference) else finding.advice
        if reference and not _ADDRESS.match(reference):
            yield "Source", reference
    if finding.known and finding.known.upstream is not Upstream.OPEN:
        yield "Note", finding.known.note
    yield "Found by", f"cuda-interop-conformance {conformance.__version__}, finding `{finding.id}`"


def _versions(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items()) or "version not known"


def _machine(facts: Facts) -> str:
    told = [f"Python {facts.machine['python']}"]
    if facts.driver["available"]:
        gpus = ", ".join(dict.fromkeys(gpu["name"] for gpu in facts.driver["gpus"]))
        told += [gpus, f"driver {facts.driver['driver_version']}", f"CUDA {facts.driver['driver_cuda_version']}"]
    return ", ".join(told)


def _table(rows: Iterable[tuple[str, str]], *, linked: bool = True) -> str:
    """A table of two columns; without ``linked`` nothing in it is a mention, an issue or an address."""
    return "\n".join(("| | |", "|---|---|", *(f"| {name} | {_cell(text, linked)} |" for name, text in rows)))


def _cell(text: str, linked: bool) -> str:
    return _text(text, linked=linked).replace("|", "\\|")


def _text(text: str, *, linked: bool = True) -> str:
    """One line in which nothing but code in backticks is markup: an exception's ``<class 'int'>`` would not be seen as HTML."""
    parts = _CODE.split(" ".join(text.split()))  # each second one is code
    return "".join(part if number % 2 else _without_markup(part, linked) for number, part in enumerate(parts))


def _without_markup(text: str, linked: bool) -> str:
    escaped = _MARKUP.sub(_as_text, text)
    return escaped if linked else _LINKS.sub(_UNLINKED, escaped)


_CODE = re.compile(r"(`[^`|\\]+`)")
_LINKS = re.compile(r"(?<=@)(?=\w)|(?<=#)(?=\d)|(?<=:)(?=//)|(?<=www)(?=\.)")
"""Inside of what trackers take for a mention, for an issue or for an address."""
_UNLINKED = "<!-- -->"
"""Nothing to be seen, and yet no link: a library's message calls nobody into the report, and refers to no other issue."""
_MARKUP = re.compile(r"[<\\`*]|_(?=_)|(?<=_)_|(?<!\w)_|_(?!\w)|(?<=\])(?=\()")
"""Marks the begin of HTML, of an escape, of code or of emphasis, and the place between the two parts of a link."""


def _as_text(markup: re.Match[str]) -> str:
    return "&lt;" if markup[0] == "<" else f"\\{markup[0]}"


def _fenced(text: str, language: str = "") -> str:
    """A block of code that nothing in it can end."""
    ticks = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{ticks}{language}\n{text.rstrip()}\n{ticks}"


def _expected(finding: Finding) -> Iterator[str]:
    yield "## Expected"
    if not finding.clauses:
        yield (
            "No clause demands anything here: the input breaks the protocol. A clean exception is better than a crash or wrong data."
        )
    role = _ROLES.get(finding.side)
    for id in finding.clauses:
        yield "\n\n".join(text for text in (demand(id, role), _sources(id)) if text)
    if ended(finding) and any(_is_inferred(id, role) for id in finding.clauses):
        yield "The finding counts as a violation, although the text states this demand in other words, because the process ends."


def _sources(id: str) -> str:
    """The documents that a clause comes from, with the place in each; empty for a clause that is unknown here."""
    found = known(id)
    if found is None:
        return ""
    return f"Clause {id} of this suite is our summary of: {', '.join((found.documents, *(f'<{url}>' for url in found.urls)))}"


def _is_inferred(id: str, role: Role | None) -> bool:
    found = known(id)
    return found is not None and role is not None and found.binds(role) and found.duty(role).inferred


def _seen(finding: Finding, seen: Observation) -> Iterator[str]:
    """What the case of the script has shown."""
    yield "## Seen"
    rows = [("What happened", seen.reason), ("Expected", seen.expected), ("Seen", seen.seen)]
    rows += [(label, seen.notes.get(name, "")) for name, label in _EVIDENCE.items()]
    yield _table(((label, text) for label, text in rows if text), linked=False)
    if seen.why not in ("", SEEN) and REFERENCE not in seen.libraries:
        yield f"How the accused side was found: {seen.why}."


_EVIDENCE = {
    "terminate": "Last words",
    "frame": "Innermost frame of a library",
    "blame": "Each side with the reference",
    "instead": "Ordered instead",
}
"""Notes of a case that a maintainer wants to see, and what they are called."""


def shortest(finding: Finding, results: Sequence[Result]) -> Result:
    """The case with the shortest script that a person can read; the smallest case where there is none.

    A few lines with a second library convince sooner than a page that makes a capsule by hand.
    """
    by_id = {result.case.id: result for result in results}
    alone = [o for o in finding.observations if len(o.accused) == 1 and o.verdict is finding.verdict]
    readable = [by_id[o.case] for o in alone if is_readable(by_id[o.case].case)]
    return min(readable, key=lambda result: script(result.case).count("\n"), default=by_id[finding.smallest.case])


def _script(finding: Finding, result: Result, ran: Ran | None) -> Iterator[str]:
    yield "## Reproduce"
    if is_readable(result.case):
        yield _fenced(script(result.case, result, versions=finding.versions), "python")
    else:
        yield f"`python -m conformance repro {result.case.id}` prints a standalone script."
    if ran is not None:
        yield f"It {ran.end} and says:"
        yield _fenced(ran.said)


def _extent(finding: Finding, results: Sequence[Result]) -> Iterator[str]:
    yield "## Extent"
    where = sorted({(PROTOCOLS.get(o.protocol, o.protocol), o.device) for o in finding.observations})
    partners = ", ".join(title(name) for name in finding.partners)
    told = f"{many(len(finding.cases), 'case')}" + (f" with {partners}" if partners else "")
    yield f"{told}: {', '.join(f'{protocol} on {device}' for protocol, device in where)}."
    more = f"\n- and {len(finding.cases) - _MOST_CASES} more" if len(finding.cases) > _MOST_CASES else ""
    yield "\n".join(f"- `{case}`" for case in finding.cases[:_MOST_CASES]) + more
    if REFERENCE in finding.partners:
        yield "The reference is this suite's own producer and consumer."
    spared = not_affected(finding, results)
    if spared:
        more = f"\n- and {len(spared) - _MOST_SPARED} more" if len(spared) > _MOST_SPARED else ""
        yield "Not affected, by the same checks:"
        yield "\n".join(f"- {told}" for told in spared[:_MOST_SPARED]) + more


def not_affected(finding: Finding, results: Sequence[Result]) -> list[str]:
    """Inputs with which the same invariants hold for the accused library, each with the protocols and devices.

    Of an invariant that has inputs of its own nothing is told but its name, and only where the library keeps all of it.
    """
    cases = {result.case.id: result.case for result in results}
    bad = {(observation.given, observation.protocol, observation.device) for observation in finding.observations}
    bad |= {(_input(cases[id]), *_way(cases[id])) for id in finding.cases if id in cases}
    crafted = {
        o.case.partition("/")[0]
        for o in finding.observations
        if o.given and o.case in cases and not _input(cases[o.case])
    }
    invariants = {case.partition("/")[0] for case in finding.cases}
    mine = [one for one in results if one.case.invariant in invariants and _is_accused_side(finding, one)]
    broken = {(result.case.invariant, *_way(result.case)) for result in mine if result.outcome is not Outcome.PASS}
    found: dict[str, dict[str, None]] = {}
    for case in (result.case for result in mine if result.outcome is Outcome.PASS):
        has_own = bool(_values(case))
        if {(_input(case), *_way(case)), (special(case), *_way(case))} & bad:
            continue
        if has_own and (case.invariant, *_way(case)) in broken:
            continue
        plain = "the same input" if case.invariant in crafted else "plain arrays"
        given = f"`{case.invariant}`" if has_own else special(case) or plain
        found.setdefault(given, {})[f"{PROTOCOLS.get(case.protocol, case.protocol)} on {case.device.value}"] = None
    return [f"{given}: {', '.join(places)}" for given, places in sorted(found.items())]


def _way(case: Case) -> tuple[str, str]:
    return case.protocol, case.device.value


def _input(case: Case) -> str:
    """What a case is about beside its libraries: what is special about its array, and the values that only its invariant knows."""
    return ", ".join(filter(None, (special(case), *_values(case))))


def _values(case: Case) -> list[str]:
    return [f"{name}={value}" for name, value in case.parameters if name not in _OF_THE_ARRAY]


_OF_THE_ARRAY = ("layout", "dtype", "state", VIA)
"""Parameters that :func:`special` tells, and the library of a chain."""


def _is_accused_side(finding: Finding, result: Result) -> bool:
    case = result.case
    other = {"producer": case.consumer, "consumer": case.producer}.get(finding.side)
    same = {"producer": case.producer, "consumer": case.consumer}.get(finding.side)
    return (
        same == finding.library and other == REFERENCE if finding.side in _ROLES else finding.library in case.libraries
    )


def _relatives(finding: Finding) -> Iterator[str]:
    """What is known in public trackers about the same, or about the class of bugs that the invariants were drawn from."""
    known = finding.known
    told = []
    if known is not None and known.upstream is not Upstream.UNREPORTED:
        told.append(f"- {known.note} ({known.reference})")
    keys = [key for case in finding.cases for key in catalogue()[case.partition("/")[0]].bugs]
    similar = [bug for bug in (*bugs.named(keys), *bugs.of_classes(keys)) if _is_of(finding.library, bug)]
    for bug in list(dict.fromkeys(similar))[:_MOST_RELATIVES]:
        references = ", ".join(_with_owner(reference) for reference in bug.references)
        told.append(f"- {references}: {bug.symptom} ({bug.year}, {bug.status})")
    if told:
        yield "## Known relatives"
        yield "\n".join(told)


_TRACKERS = {
    "torch": ("pytorch/pytorch",), "numpy": ("numpy/numpy",), "cupy": ("cupy/cupy",), "cvcuda": ("CVCUDA/CV-CUDA",),
    "pycuda": ("inducer/pycuda",), "cuda_python": ("NVIDIA/cuda-python",), "numba": ("numba/numba", "NVIDIA/numba-cuda"),
    "jax": ("jax-ml/jax",),
}  # fmt: skip
"""The repositories in which each library's bugs are told, with their owners: without one a tracker makes no link of a reference."""
_FULL_NAMES = {path.partition("/")[2]: path for paths in _TRACKERS.values() for path in paths}
"""By the name of the repository, as references have it."""


def _with_owner(reference: str) -> str:
    repository, mark, number = reference.partition("#")
    return f"{_FULL_NAMES.get(repository, repository)}{mark}{number}"


def _is_of(library: str, bug: bugs.Bug) -> bool:
    """Whether a thread of the library's own tracker tells this bug: another library's bug is no relative."""
    trackers = _TRACKERS.get(library, (library,))
    return any(_with_owner(reference).partition("#")[0] in trackers for reference in bug.references)


# -- running a script


def run_script(result: Result, versions: Mapping[str, str]) -> Ran:
    """Run the script of a case in a fresh interpreter of this environment."""
    with private.folder() as folder:
        path = folder / "script.py"
        path.write_text(script(result.case, result, versions=versions), encoding="utf-8")
        try:
            done = subprocess.run(
                [children.python(), str(path)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                timeout=_SECONDS, check=False, cwd=folder, env=children.environment(PYTHONUNBUFFERED="1"),
            )  # fmt: skip
        except subprocess.TimeoutExpired as slow:
            return Ran(124, last_lines((slow.stdout or b"") + f"\nno end after {_SECONDS:g} s".encode()))
        return Ran(done.returncode, last_lines(done.stdout))


def last_lines(said: bytes) -> str:
    """The end of the output, with files by their names only: their folders are of this machine."""
    text = _FOLDERS.sub("", said.decode(errors="backslashreplace"))
    return "\n".join(text.splitlines()[-_LINES:])


_FOLDERS = re.compile(r"(?<![\w/.])/(?:[\w.+@-]+/)+(?=[\w.+@-])")
