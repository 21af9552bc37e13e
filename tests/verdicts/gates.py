"""Runs, waivers and what is there now, for tests of the gate: everything in order unless it is said otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

from packaging.specifiers import SpecifierSet

from conformance.gate.integrity import Present
from conformance.gate.waivers import Waiver
from conformance.runs.merge import canonical
from conformance.runs.model import Candidate, CellResult, Evidence, OwnTests, RunFile
from conformance.verdict import BY_LETTER, Verdict

TODAY = date(2026, 11, 22)
SUITE, OTHER = "5" * 64, "6" * 64
A, B, C = (f"dtype.exchange/numpy-torch/dlpack/host/{name}" for name in ("float32", "bool", "int8"))
D = "layout.null-strides/torch-numpy/dlpack/host/vector"
GPU = "layout.null-strides/torch-numpy/dlpack/cuda/vector"
CRASHES, PASSES = "canary.crashes/reference-reference/dlpack/host", "canary.passes/reference-reference/dlpack/host"
CANARIES = {"canary.crashes": "crash", "canary.passes": "pass"}
OUTCOMES = {
    "r": "refused", "o": "fail", "d": "fail", "b": "fail", "v": "fail", "u": "inconclusive", "l": "lost", "x": "crash",
    "y": "crash", "w": "fail",
}  # fmt: skip
"""By letter, beside those of the verdicts: ``x`` is a crash, ``y`` one on forbidden input, and in ``w`` both libraries are accused."""
VERDICTS = {**BY_LETTER, "x": Verdict.VIOLATES, "y": Verdict.ROBUSTNESS, "w": Verdict.VIOLATES}
MESSAGE = "the element type changed"
CODE = "dtype-changed"
FINDING, CRASH, NUMPYS = (
    "torch/consumer/dtype-changed/dlpack",
    "torch/consumer/crash",
    "numpy/producer/dtype-changed/dlpack",
)
"""What failures accuse torch of, what crashes do, and what they accuse numpy of where both are accused."""
AXES = {"cuda": "13.0", "python": "3.12", "numpy": "2.5", "torch": "2.12"}
HOLDS = {"numpy": "numpy", "torch": "torch"}
VERSIONS = {"suite": "0.1.0", "python": "3.12.4", "numpy": "2.5.2", "torch": "2.12.1+cu130", "driver_cuda": "13.1"}


def evidence(letter: str, message: str = MESSAGE, code: str = CODE) -> Evidence:
    """What a result with this letter says."""
    verdict = VERDICTS[letter]
    named = {"fail": code, "crash": "crash"}.get(OUTCOMES[letter], "")
    if letter == "w":
        side, accused, why = "both", ("numpy", "torch"), "each was tried with the reference"
    elif verdict.speaks_against:
        side, accused, why = "consumer", ("torch",), "tried with the reference"
    else:
        side, accused, why = "", (), ""
    return Evidence(
        verdict, OUTCOMES[letter], "must", named, "DLP-13" if named else "", "", "", side, accused, why, message, "bool", "int8",
        (("stderr", "words"),),
    )  # fmt: skip


def cell(name: str = "one", lifecycle: str = "done", **changes: Any) -> CellResult:
    """A cell that was run from a lock by the suite of now; ``changes`` replace what it has."""
    digests = {"suite": SUITE, "lock": f"{name}-lock", "results": f"{name}-results"}
    made = CellResult(
        name, name, lifecycle, changes.pop("reason", "as it went"), dict(AXES), dict(VERSIONS), holds=dict(HOLDS),
        digests=digests,
    )  # fmt: skip
    return replace(made, **changes)


def run(
    cells: Mapping[str, str | Mapping[str, str]], message: str = MESSAGE, code: str = CODE, **changes: Any
) -> RunFile:
    """A run: for each cell the letter of each of its cases, or the lifecycle of a cell without results.

    ``changes`` go to every cell; those of a :class:`RunFile` (``id``, ``suite``) to the run.
    """
    of_run = {key: changes.pop(key) for key in ("id", "suite", "tier", "began") if key in changes}
    plans: list[tuple[str, ...]] = [()]
    table: list[Evidence] = []
    made = []
    for name, letters in cells.items():
        if isinstance(letters, str):
            made.append(cell(name, letters, **{**changes, "digests": {}, "versions": {}}))
            continue
        plans.append(tuple(letters))
        wrong = [letter for letter in letters.values() if letter != "c"]
        states = "".join(VERDICTS[letter].letter for letter in letters.values())
        indices = tuple(range(len(table), len(table) + len(wrong)))
        table += [evidence(letter, message, code) for letter in wrong]
        made.append(replace(cell(name, **changes), plan=len(plans) - 1, states=states, evidence=indices))
    whole = RunFile("run", "2026-11-20T10:00:00+00:00", "0.1.0", "smoke", tuple(made), tuple(plans), tuple(table))
    return replace(canonical(whole), **of_run)


def present(*names: str, **changes: Any) -> Present:
    """What there is now, for cells with these names: their locks and results as they were."""
    of = names or ("one", "two")
    locks, results = ({name: f"{name}-{what}" for name in of} for what in ("lock", "results"))
    return replace(Present(TODAY, "0.1.0", SUITE, locks, {}, results, (), CANARIES), **changes)


def waiver(id: str = "w", days: int = 30, where: Mapping[str, str] | None = None, **changes: Any) -> Waiver:
    """One for the violation of ``B`` in torch 2.12, with so many days left."""
    expires = TODAY + timedelta(days)
    bounds = tuple((k, SpecifierSet(v)) for k, v in ({"torch": ">=2.10,<2.13"} if where is None else where).items())
    made = Waiver(
        id, "somebody", "it is being mended", "https://example.org/1", expires - timedelta(60), expires, bounds, (B,), ("fail",), (CODE,), line=2
    )  # fmt: skip
    return replace(made, **changes)


def of_finding(finding: str = FINDING, id: str = "w", **changes: Any) -> Waiver:
    """One for all cases that show a finding."""
    return waiver(id, **{"finding": finding, "cases": (), "outcomes": (), "codes": (), **changes})


def own_tests(**letters: str) -> OwnTests:
    """Tests beside ours: five passed, unless it is said otherwise."""
    return OwnTests(**{"passed": 5, "failed": 0, "errors": 0, "skipped": 0, "ended": "done", **letters})  # type: ignore[arg-type]


def candidate(sha256: str, version: str = "2.12.1rc1", name: str = "torch") -> tuple[Candidate, ...]:
    """One candidate."""
    return (Candidate(name, version, sha256),)
