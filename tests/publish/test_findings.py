"""How findings are told: the headline, the order, the status, and since which version."""

from __future__ import annotations

from dataclasses import replace

import pytest

from conformance.findings.model import UNKNOWN, Finding, Known, Status, Upstream
from conformance.findings.presentation import by_library, ended, headline, status
from conformance.reports.finding_accounts import heading
from conformance.reports.since_version import Since, since
from conformance.reports.subject import Subject
from conformance.runs.model import Evidence, RunFile
from conformance.verdict import Verdict

from .samples import (
    CRASH,
    DEVIATION,
    HANDOVER,
    HANDOVER_TOO,
    LOST,
    NOBODY,
    OBSERVED,
    RANK,
    REFUSAL,
    ROBUSTNESS,
    SMALL,
    STRIDES,
    UNDECIDED,
    VALUES,
    VIOLATION,
    Told,
    made,
)


def found(*told: tuple[str, Evidence]) -> list[Finding]:
    """The findings of a run of one cell."""
    return Subject(made({"cu13-torch2.11": Told(dict(told))})).findings


# -- the headline


def test_the_headline_counts_findings_by_status() -> None:
    """Broken promises first; robustness and deviations beside them, never among them."""
    whole = Subject(SMALL).findings
    assert headline(whole) == "2 findings in 2 libraries: 2 new; 1 about robustness; 1 deviation"
    known = [replace(one, status=Status.KNOWN) if one.library == "torch" else one for one in whole]
    assert headline(known) == "2 findings in 2 libraries: 1 new, 1 known; 1 about robustness; 1 deviation"


def test_without_a_broken_promise_the_headline_says_so() -> None:
    """Robustness and deviations change nothing of it."""
    assert headline([]) == "no violations"
    assert headline(found((RANK, ROBUSTNESS))) == "no violations; 1 about robustness"


def test_a_finding_of_nobody_known_is_no_library() -> None:
    """It counts, and no library is counted for it."""
    told = headline(found((HANDOVER, NOBODY), (STRIDES, CRASH)))
    assert told == "2 findings in 1 library: 2 new; 1 of them accuses no known library"


# -- the order


def test_libraries_that_break_a_promise_come_first() -> None:
    """Those that nobody knows last, whatever they break."""
    groups = by_library(found((HANDOVER, NOBODY), (STRIDES, CRASH), (RANK, ROBUSTNESS)))
    assert [library for library, _ in groups] == ["cvcuda", "cupy", UNKNOWN]
    assert [heading(library) for library, _ in groups] == ["CV-CUDA", "CuPy", "Unknown library"]


def test_crashes_come_first_among_findings_of_one_verdict() -> None:
    """However many cases another finding has."""
    wrong = ROBUSTNESS._replace(outcome="fail", code="values-changed", given="")
    against = {HANDOVER: wrong, HANDOVER_TOO: wrong, RANK: ROBUSTNESS}
    ((_, members),) = by_library(found(*against.items()))
    assert [one.code for one in members] == ["crash", "values-changed"]
    assert [bool(ended(one)) for one in members] == [True, False]


# -- the status

KNOWN = Known("*", Upstream.OPEN, "https://example.org/7", "it is known")


@pytest.mark.parametrize(
    ("state", "known", "told"),
    [
        (Status.NEW, None, "new"),
        (Status.KNOWN, KNOWN, "known: https://example.org/7"),
        (Status.FIXED, replace(KNOWN, upstream=Upstream.FIXED, fixed_in="2.15"), "fixed in 2.15: upgrade"),
        (Status.INTENDED, replace(KNOWN, upstream=Upstream.INTENDED), "the library documents or intends it"),
        (Status.NEW, replace(KNOWN, upstream=Upstream.UNREPORTED), "new: not found in a public tracker"),
    ],
)
def test_the_status_says_what_to_do(state: Status, known: Known | None, told: str) -> None:
    """Report it, follow it, upgrade, or live with it."""
    (finding,) = found((HANDOVER, VIOLATION))
    assert status(replace(finding, status=state, known=known)) == told


# -- since which version


def versions(**cells: Evidence | None) -> RunFile:
    """A run in which the same two cases end like this with each version of PyTorch; ``v2_10`` is 2.10."""
    return made(
        {
            f"cu13-torch{name[1:].replace('_', '.')}": Told({HANDOVER: evidence} if evidence else {})
            for name, evidence in cells.items()
        }
    )


def of_torch(run: RunFile) -> Since:
    """The versions that tell of the one finding against PyTorch."""
    (finding,) = (one for one in Subject(run).findings if one.library == "torch" and one.code == VIOLATION.code)
    return since(run, finding)


def test_versions_that_show_it_and_versions_that_do_not_are_told() -> None:
    """In the order of versions, not of texts."""
    told = of_torch(versions(v2_10=VIOLATION, v2_9=VIOLATION, v2_11=None))
    assert told == Since(("2.9.0", "2.10.0"), ("2.11.0",))
    assert str(told) == "seen in 2.9.0, 2.10.0, not in 2.11.0"


def test_one_version_alone_tells_nothing() -> None:
    """Several that all show it are named."""
    assert str(of_torch(versions(v2_10=VIOLATION))) == ""
    assert str(of_torch(versions(v2_10=VIOLATION, v2_11=VIOLATION))) == "seen in 2.10.0, 2.11.0"


@pytest.mark.parametrize(
    ("evidence", "is_free"),
    [
        (None, True),
        (REFUSAL, True),
        (UNDECIDED, False),
        (LOST, False),
        (OBSERVED, False),
        (DEVIATION, False),
        (CRASH._replace(accused=("torch",)), False),
        (ROBUSTNESS, False),
    ],
)
def test_only_cases_that_end_well_say_that_it_is_gone(evidence: Evidence | None, is_free: bool) -> None:
    """A crash, a lost case or an undecided one may hide it."""
    assert of_torch(versions(v2_10=VIOLATION, v2_11=evidence)).not_seen == (("2.11.0",) if is_free else ())


def test_another_deviation_beside_good_ends_hides_nothing() -> None:
    """One of its cases ends well, and none breaks a promise."""
    run = made(
        {
            "cu13-torch2.10": Told({HANDOVER: VIOLATION, HANDOVER_TOO: VIOLATION}),
            "cu13-torch2.11": Told({HANDOVER: DEVIATION}),
        }
    )
    assert of_torch(run).not_seen == ("2.11.0",)


def test_a_version_in_cells_of_both_kinds_is_seen() -> None:
    """Another partner or another driver makes the difference there."""
    run = made({"cu12-torch2.10": Told({HANDOVER: VIOLATION}), "cu13-torch2.10": Told()})
    assert of_torch(run) == Since(("2.10.0",), ())


def test_a_cell_without_its_cases_says_nothing() -> None:
    """It was not tried there."""
    run = made({"cu13-torch2.10": Told({HANDOVER: VIOLATION}), "cu13-torch2.11": Told(cases=(VALUES,))})
    assert of_torch(run).not_seen == ()


def test_of_several_distributions_those_that_differ_are_named() -> None:
    """A library may come in parts."""
    parts = [{"torch": {"torch-core": "1.0", "torch-bindings": version}} for version in ("13.1", "13.3")]
    run = made(
        {"cu13-a1": Told({HANDOVER: VIOLATION}, libraries=parts[0]), "cu13-a2": Told(libraries=parts[1])},
    )
    assert str(of_torch(run)) == "seen in torch-bindings 13.1, not in torch-bindings 13.3"


def test_a_finding_of_nobody_has_no_versions() -> None:
    """There is no library whose they could be."""
    run = made({"cu13-torch2.10": Told({HANDOVER: NOBODY}), "cu13-torch2.11": Told()})
    (finding,) = Subject(run).findings
    assert (since(run, finding), finding.verdict) == (Since(), Verdict.VIOLATES)
