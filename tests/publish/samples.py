"""Runs to report on: small ones with a little of everything, and large ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import product

from conformance.runs.model import CellResult, Evidence, RunFile
from conformance.verdict import Verdict

HANDOVER = "ordering.handover/cupy-torch/cai/cuda/inside/stream"
HANDOVER_TOO = "ordering.handover/cupy-torch/cai/cuda/outside/stream"
BOOL = "dtype.exchange/torch-cvcuda/dlpack/cuda/bool"
STRIDES = "layout.null-strides/reference-cvcuda/dlpack/cuda/c-order/legacy"
VALUES = "pointer.values/numpy-torch/dlpack/host/c-order/float32"
MASK = "cai.mask/reference-torch/cai/cuda/none"
CLAIM = "claim.torch-from-numpy/numpy-torch/none/host"
WRAPPED = tuple(f"claim.wrapped-is-released/reference-cvcuda/{protocol}/cuda" for protocol in ("cai", "dlpack"))
CHAIN = "pointer.chain/torch-cvcuda-torch/dlpack/cuda"
RANK = "layout.impossible/reference-cupy/dlpack/cuda/negative-rank"
CASES = (HANDOVER, HANDOVER_TOO, BOOL, STRIDES, VALUES, MASK, CLAIM, RANK)

VIOLATION = Evidence(
    Verdict.VIOLATES, "fail", "must", "stale-read", "CAI-18", "", "", "consumer", ("torch",),
    "cupy to the reference: pass; torch from the reference: fail (stale-read)",
    "the consumer reads the old values", "the values that the producer had queued", "the old values",
    (("blame", "cupy with the reference: in order"),),
)  # fmt: skip
"""PyTorch does not wait for CuPy: CuPy is innocent."""
CRASH = Evidence(
    Verdict.VIOLATES, "crash", "must", "crash", "DLP-21", "NULL strides", "import", "consumer", ("cvcuda",),
    "the other side is the reference", "the process died of SIGSEGV while cvcuda imported the array", "a process that goes on", "SIGSEGV",
    (
        ("frame", "libnvcv_types.so.0: nvcv::Tensor::Tensor"),
        ("stderr", "Fatal Python error: Segmentation fault\n  File one\n  File two"),
        ("terminate", "terminate called after throwing an instance of 'std::bad_function_call'"),
    ),
)  # fmt: skip
DEVIATION = Evidence(
    Verdict.DEVIATES, "fail", "should", "dtype-changed", "DLP-13", "bool elements", "", "consumer", ("cvcuda",),
    "torch to the reference: pass; cvcuda from the reference: fail (dtype-changed)", "the element type changed", "bool", "int8",
)  # fmt: skip
ROBUSTNESS = Evidence(
    Verdict.ROBUSTNESS, "crash", "robustness", "crash", "", "a negative rank", "import", "consumer", ("cupy",),
    "the other side is the reference", "the process died of SIGABRT while cupy imported the array", "a process that goes on", "SIGABRT",
)  # fmt: skip
PLAIN = ("", "", "", "", "", (), "")
"""Code, clause, given, step, side, accused and why of a case that accuses nobody."""
REFUSAL = Evidence(Verdict.REFUSED, "refused", "must", *PLAIN, "torch refused to import: TypeError: no mask", "", "")
UNDECIDED = Evidence(Verdict.UNDECIDED, "inconclusive", "must", *PLAIN, "the control did not go wrong", "", "")
LOST = Evidence(Verdict.LOST, "lost", "must", *PLAIN, "the run has not come to it", "", "")
OBSERVED = Evidence(
    Verdict.OBSERVED, "fail", "observed", "not-shared", "G3", "", "", "neither", (), "no clause demands anything here", "it copies",
    "", "a copy",
)  # fmt: skip
NOBODY = VIOLATION._replace(
    side="not known", accused=(), why="cupy to the reference: pass; torch from the reference: not tried"
)
"""A broken promise of which nobody knows whose it is."""

HANDOVER_ID = "torch/consumer/not-ordered/cai"
CRASH_ID = "cvcuda/consumer/crash/import/null-strides"
RANK_ID = "cupy/consumer/crash/import/negative-rank"
BOOL_ID = "cvcuda/consumer/dtype-changed/dlpack/bool-elements"


@dataclass(frozen=True)
class Told:
    """A cell to be: what became of its cases that did not conform, or of itself."""

    found: Mapping[str, Evidence] = field(default_factory=dict)
    lifecycle: str = "done"
    reason: str = ""
    absent: Mapping[str, str] = field(default_factory=dict)
    libraries: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Versions by distribution, in place of those that the cell's name tells."""
    cases: tuple[str, ...] = CASES


def made(told: Mapping[str, Told]) -> RunFile:
    """A run with these cells."""
    plans: dict[tuple[str, ...], int] = {(): 0}
    evidence: dict[Evidence, int] = {}
    cells = []
    for name, one in told.items():
        tested = one.lifecycle == "done"
        found = [one.found.get(case) for case in one.cases] if tested else []
        cells.append(
            CellResult(
                name, name, one.lifecycle, one.reason, axes=axes(name), versions={axis: f"{version}.0" for axis, version in axes(name).items()},
                libraries={**_libraries(name), **{library: dict(of) for library, of in one.libraries.items()}} if tested else {}, absent=dict(one.absent), digests={"suite": "5" * 64}, ended="2026-11-22T10:00:00+00:00", seconds=12.5,
                plan=plans.setdefault(one.cases, len(plans)) if tested else 0,
                states="".join(e.verdict.letter if e else "c" for e in found),
                evidence=tuple(evidence.setdefault(e, len(evidence)) for e in found if e),
            )
        )  # fmt: skip
    return RunFile("r1", "2026-11-22T09:00:00+00:00", "0.1.0", "nightly", tuple(cells), tuple(plans), tuple(evidence))


def axes(name: str) -> dict[str, str]:
    """The versions in a name like ``cu13-torch2.11``."""
    parts = (part.rstrip("0123456789.") for part in name.split("-"))
    return {part: whole[len(part) :] for part, whole in zip(parts, name.split("-")) if len(part) < len(whole)}


def _libraries(name: str) -> dict[str, dict[str, str]]:
    """Libraries that were found in the cell: those that its name has, and two more."""
    named = {library: {library: f"{version}.0"} for library, version in axes(name).items() if library != "cu"}
    return {"cupy": {"cupy-cuda13x": "14.2.0"}, "cvcuda": {"cvcuda-cu13": "0.17.0"}, **named}


SMALL = made(
    {
        "cu12-torch2.10": Told({HANDOVER: VIOLATION, HANDOVER_TOO: VIOLATION, BOOL: DEVIATION, MASK: REFUSAL}),
        "cu12-torch2.11": Told(
            {STRIDES: CRASH, MASK: OBSERVED, RANK: ROBUSTNESS}, absent={"pycuda": "not installed (pycuda)"}
        ),
        "cu13-torch2.10": Told(lifecycle="killed", reason="ended by SIGKILL from outside"),
        "cu13-torch2.11": Told({HANDOVER: VIOLATION, VALUES: UNDECIDED, CLAIM: LOST}),
        "cu13-torch2.12": Told(lifecycle="unresolvable", reason="torch 2.12 needs another cuDNN"),
    }
)
"""Four libraries and the reference, every state, and two cells without results."""

CLEAN = made({"cu13-torch2.11": Told()})
"""One cell in which everything conforms."""

HOSTILE = "<script>window.hacked = 1; alert(1)</script></script><img src=x onerror='window.hacked = 2'>&amp;\u202eabc\x1b[31m]]>"
LONG = "x" * 100_000


def hostile() -> RunFile:
    """Every text that comes from outside is an attack."""
    evil = VIOLATION._replace(
        reason=HOSTILE, expected=HOSTILE, seen=LONG, why=HOSTILE, level=HOSTILE,
        notes=(("blame", HOSTILE), ("terminate", HOSTILE), (HOSTILE, LONG)),
    )  # fmt: skip
    changed = evil._replace(code="values-changed", clause=HOSTILE, given=HOSTILE, step=HOSTILE)
    unknown = evil._replace(verdict=Verdict.UNDECIDED, outcome=HOSTILE)
    run = made({"cu13-torch2.11": Told({HANDOVER: evil, BOOL: changed._replace(accused=("cvcuda",)), VALUES: unknown})})
    (cell,) = run.cells
    wrong = replace(
        cell, title=HOSTILE, reason=HOSTILE, versions={HOSTILE: HOSTILE, "torch": LONG},
        libraries={"torch": {HOSTILE: HOSTILE}, "cvcuda": {"cvcuda": LONG}}, absent={HOSTILE: HOSTILE}, axes={"a": HOSTILE},
        calls={f"{HOSTILE}/{HOSTILE}/{HOSTILE}": HOSTILE},
    )  # fmt: skip
    other = replace(cell, name=HOSTILE, title=LONG, lifecycle=HOSTILE, reason=LONG, plan=0, states="", evidence=())
    return replace(run, id=HOSTILE, tier=HOSTILE, suite="\ud800", cells=(wrong, other))


def large(cells: int, cases: int, share: float = 0.1) -> RunFile:
    """Many cells of many cases of which a tenth does not conform; most of that in all cells, some in one alone."""
    partners = ("reference", "torch", "cupy", "cvcuda", "pycuda", "cuda_python")
    places = [f"{p}-{c}/{way}/cuda" for p, c, way in product(partners, partners, ("dlpack", "cai"))]
    kinds = [VIOLATION, CRASH, DEVIATION, REFUSAL, OBSERVED]
    evidence = tuple(_numbered(kinds[n % 5], n, partners[1 + n % 3]) for n in range(500))
    invariants = ("dtype.exchange", "layout.null-strides", "ordering.handover", "pointer.values", "cai.mask")
    plan = tuple(f"{invariants[n % 5]}/{places[n % len(places)]}/value-{n}" for n in range(cases))
    step = round(1 / share)
    found = []
    for number in range(cells):
        wrong = {n: n // step % 500 for n in range(0, cases, step)}
        wrong |= {(number * 7919 + n * 104729) % cases: (number + n) % 500 for n in range(cases // 100)}
        states = "".join(evidence[wrong[n]].verdict.letter if n in wrong else "c" for n in range(cases))
        name = f"cu13-py3.{number % 5 + 10}-numpy2.{number % 7}-torch2.{number % 11}-cupy{number // 385}.{number % 13}-n{number}"
        told = tuple(wrong[n] for n in sorted(wrong))
        found.append(CellResult(name, name, "done", "", axes=axes(name), plan=1, states=states, evidence=told))
    return RunFile("large", "2026-11-22T09:00:00+00:00", "0.1.0", "release", tuple(found), ((), plan), evidence)


def _numbered(evidence: Evidence, number: int, library: str) -> Evidence:
    """The same in other words, against another library."""
    accused = (library,) if evidence.accused else ()
    return evidence._replace(reason=f"{evidence.reason}, {number}", accused=accused)
