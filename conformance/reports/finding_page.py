"""Report on a finding for a library's tracker: Markdown, computed from a run's results. Only :func:`run_script` has side effects."""

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
"""Time limit of a script, in seconds."""
_LINES = 40
"""Maximum number of output lines of a script in a report."""
_ADDRESS = re.compile(r"https?://\S+")


@dataclass(frozen=True)
class Ran:
    """Result of a script: its exit code (negative for a signal), and the end of its output."""

    code: int
    said: str

    @property
    def end(self) -> str:
        """``ends with exit code 1``, or the signal that kills it."""
        names = {number.value: number.name for number in signal.Signals}
        died = f"is killed by {names.get(-self.code, f'signal {-self.code}')}"
        return died if self.code < 0 else f"ends with exit code {self.code}"


def page(finding: Finding, results: Sequence[Result], facts: Facts, ran: Ran | None = None) -> str:
    """Return the report. ``results`` are all results of the run, to list unaffected inputs. ``ran`` is the result of :func:`shortest`."""
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
    return ", ".join(f"{name} {version}" for name, version in versions.items()) or "unknown version"


def _machine(facts: Facts) -> str:
    told = [f"Python {facts.machine['python']}"]
    if facts.driver["available"]:
        gpus = ", ".join(dict.fromkeys(gpu["name"] for gpu in facts.driver["gpus"]))
        told += [gpus, f"driver {facts.driver['driver_version']}", f"CUDA {facts.driver['driver_cuda_version']}"]
    return ", ".join(told)


def _table(rows: Iterable[tuple[str, str]], *, linked: bool = True) -> str:
    """Return a table of two columns. Without ``linked`` no mention, issue number or address in it becomes a link."""
    return "\n".join(("| | |", "|---|---|", *(f"| {name} | {_cell(text, linked)} |" for name, text in rows)))


def _cell(text: str, linked: bool) -> str:
    return _text(text, linked=linked).replace("|", "\\|")


def _text(text: str, *, linked: bool = True) -> str:
    """Return one line in which only code in backticks is markup. Otherwise ``<class 'int'>`` in an exception would become HTML."""
    parts = _CODE.split(" ".join(text.split()))  # re.split returns the code at odd positions
    return "".join(part if number % 2 else _without_markup(part, linked) for number, part in enumerate(parts))


def _without_markup(text: str, linked: bool) -> str:
    escaped = _MARKUP.sub(_as_text, text)
    return escaped if linked else _LINKS.sub(_UNLINKED, escaped)


_CODE = re.compile(r"(`[^`|\\]+`)")
_LINKS = re.compile(r"(?<=@)(?=\w)|(?<=#)(?=\d)|(?<=:)(?=//)|(?<=www)(?=\.)")
"""Positions inside mentions, issue numbers and addresses as trackers recognize them."""
_UNLINKED = "<!-- -->"
"""An invisible comment that breaks a link: a library's message must not notify people or reference other issues."""
_MARKUP = re.compile(r"[<\\`*]|_(?=_)|(?<=_)_|(?<!\w)_|_(?!\w)|(?<=\])(?=\()")
"""Characters that begin HTML, an escape, code or emphasis, and the position between the two parts of a link."""


def _as_text(markup: re.Match[str]) -> str:
    return "&lt;" if markup[0] == "<" else f"\\{markup[0]}"


def _fenced(text: str, language: str = "") -> str:
    """Return a code block with a fence longer than any in the text."""
    ticks = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{ticks}{language}\n{text.rstrip()}\n{ticks}"


def _expected(finding: Finding) -> Iterator[str]:
    yield "## Expected"
    if not finding.clauses:
        yield (
            "No clause applies, because the protocol forbids the input. The library should raise a clean exception instead of crashing or returning wrong data."
        )
    role = _ROLES.get(finding.side)
    for id in finding.clauses:
        yield "\n\n".join(text for text in (demand(id, role), _sources(id)) if text)
    if ended(finding) and any(_is_inferred(id, role) for id in finding.clauses):
        yield "The clause is inferred from the text. The finding is still a violation, because the process ends."


def _sources(id: str) -> str:
    """Return the documents of a clause, with the place in each; empty for a clause that this version does not know."""
    found = known(id)
    if found is None:
        return ""
    return f"Clause {id} of this suite summarizes: {', '.join((found.documents, *(f'<{url}>' for url in found.urls)))}"


def _is_inferred(id: str, role: Role | None) -> bool:
    found = known(id)
    return found is not None and role is not None and found.binds(role) and found.duty(role).inferred


def _seen(finding: Finding, seen: Observation) -> Iterator[str]:
    """Yield the evidence of the case whose script the report has."""
    yield "## Seen"
    rows = [("Failure", seen.reason), ("Expected", seen.expected), ("Seen", seen.seen)]
    rows += [(label, seen.notes.get(name, "")) for name, label in _EVIDENCE.items()]
    yield _table(((label, text) for label, text in rows if text), linked=False)
    if seen.why not in ("", SEEN) and REFERENCE not in seen.libraries:
        yield f"How the accused side was determined: {seen.why}."


_EVIDENCE = {
    "terminate": "Last message of the runtime",
    "frame": "Innermost frame of a library",
    "blame": "Each side with the reference",
    "instead": "Ordered instead",
}
"""Notes of a case that help a maintainer, with their labels."""


def shortest(finding: Finding, results: Sequence[Result]) -> Result:
    """Return the case with the shortest readable script, or else the smallest case.

    A few lines with a second library are easier to read than a page that builds a capsule by hand.
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
        yield f"The script {ran.end} and prints:"
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
        yield "The same checks pass with:"
        yield "\n".join(f"- {told}" for told in spared[:_MOST_SPARED]) + more


def not_affected(finding: Finding, results: Sequence[Result]) -> list[str]:
    """Return inputs with which the same invariants hold for the accused library, with protocols and devices.

    An invariant with inputs of its own is listed by name only, and only if the library passes all of it.
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
    """Return the special input of a case: of its array, and the parameters that only its invariant defines."""
    return ", ".join(filter(None, (special(case), *_values(case))))


def _values(case: Case) -> list[str]:
    return [f"{name}={value}" for name, value in case.parameters if name not in _OF_THE_ARRAY]


_OF_THE_ARRAY = ("layout", "dtype", "state", VIA)
"""Parameters that :func:`special` covers, and the middle library of a chain."""


def _is_accused_side(finding: Finding, result: Result) -> bool:
    case = result.case
    other = {"producer": case.consumer, "consumer": case.producer}.get(finding.side)
    same = {"producer": case.producer, "consumer": case.consumer}.get(finding.side)
    return (
        same == finding.library and other == REFERENCE if finding.side in _ROLES else finding.library in case.libraries
    )


def _relatives(finding: Finding) -> Iterator[str]:
    """Yield similar bugs in public trackers: of this finding, or of the bug class that the invariant is derived from."""
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
"""Repositories of each library's tracker, with owners: a tracker links a reference only with its owner."""
_FULL_NAMES = {path.partition("/")[2]: path for paths in _TRACKERS.values() for path in paths}
"""Full names by the repository names that references use."""


def _with_owner(reference: str) -> str:
    repository, mark, number = reference.partition("#")
    return f"{_FULL_NAMES.get(repository, repository)}{mark}{number}"


def _is_of(library: str, bug: bugs.Bug) -> bool:
    """Return whether the library's own tracker has this bug. Bugs of other libraries are not listed."""
    trackers = _TRACKERS.get(library, (library,))
    return any(_with_owner(reference).partition("#")[0] in trackers for reference in bug.references)


# -- running a script


def run_script(result: Result, versions: Mapping[str, str]) -> Ran:
    """Run the script of a case in a new interpreter of this environment."""
    with private.folder() as folder:
        path = folder / "script.py"
        path.write_text(script(result.case, result, versions=versions), encoding="utf-8")
        try:
            done = subprocess.run(
                [children.python(), str(path)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                timeout=_SECONDS, check=False, cwd=folder, env=children.environment(PYTHONUNBUFFERED="1"),
            )  # fmt: skip
        except subprocess.TimeoutExpired as slow:
            return Ran(124, last_lines((slow.stdout or b"") + f"\nstopped after {_SECONDS:g} s".encode()))
        return Ran(done.returncode, last_lines(done.stdout))


def last_lines(said: bytes) -> str:
    """Return the end of the output, with file names instead of paths, because the paths are specific to this machine."""
    text = _FOLDERS.sub("", said.decode(errors="backslashreplace"))
    return "\n".join(text.splitlines()[-_LINES:])


_FOLDERS = re.compile(r"(?<![\w/.])/(?:[\w.+@-]+/)+(?=[\w.+@-])")
