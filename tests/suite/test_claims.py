"""The documented claims on make-believe libraries: what the selftest does not show of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import pytest

from conformance.adapters.base import Device
from conformance.execution.results import Result
from conformance.execution.workbench import Workbench
from conformance.protocols.clauses import Level
from conformance.selftest.make_believe import distributions, libraries
from conformance.selftest.make_believe.distributions import MadeUp
from conformance.selftest.model import Partners, Spoil
from conformance.selftest.stages import claims, installation
from conformance.suite import interpreter
from conformance.suite.catalogue import Case, catalogue
from conformance.suite.interpreter import Ended
from conformance.suite.libraries import Environment
from conformance.suite.outcomes import Outcome


def run(name: str, found: Partners, *pair: str, protocol: str = "cai", **parameters: str) -> Result:
    """One case on the make-believe GPU."""
    case = Case(f"claim.{name}", pair[0], pair[1], protocol, Device.SIMULATED, tuple(parameters.items()))
    return Workbench(found).run(case, catalogue()[case.invariant])


def spoiled(spoil: Spoil) -> Partners:
    """The make-believe libraries with a fault."""
    found: Partners = libraries.libraries()
    spoil(found)
    return found


def outcomes(found: Partners, cases: Iterable[Case]) -> dict[str, set[Outcome]]:
    """Of all cases, by invariant."""
    bench, seen = Workbench(found), defaultdict(set)
    for case in cases:
        seen[case.invariant].add(bench.run(case, catalogue()[case.invariant]).outcome)
    return seen


def test_flawless_libraries_keep_every_claim() -> None:
    """None fails, not even as an observation, and each passes somewhere."""
    seen = outcomes(libraries.libraries(), claims.STAGE.cases(Environment(())))
    with installation.STAGE.around():
        seen |= outcomes(installation.STAGE.partners(), installation.STAGE.cases(Environment(())))
    assert {
        name: told for name, told in seen.items() if not {Outcome.PASS} <= told <= {Outcome.PASS, Outcome.REFUSED}
    } == {}
    assert {*seen, "claim.pycuda-autoinit"} == {name for name in catalogue() if name.startswith("claim.")}


@pytest.mark.parametrize("layout", ["fortran", "stepped", "reversed", "broadcast-rows", "empty"])
def test_a_layout_that_is_refused_limits_a_claim_and_does_not_break_it(layout: str) -> None:
    """The pages show packed arrays."""
    result = run("cupy-converts", libraries.libraries(), "cupy", "cvcuda", layout=layout)
    assert result.outcome is Outcome.REFUSED, result


@pytest.mark.parametrize("spoil", [claims.as_tensor_copies, claims.as_tensor_raises])
def test_a_broken_claim_is_a_violation(spoil: Spoil) -> None:
    """Documented is promised."""
    result = run("torch-shares", spoiled(spoil), "torch", "cvcuda")
    assert (result.outcome, result.level, result.clauses) == (Outcome.FAIL, Level.MUST, ("DOC-PT-2",))


def test_a_host_array_refused_by_stumbling_deviates() -> None:
    """It is refused, but not cleanly."""
    result = run("numpy-refused", spoiled(claims.as_tensor_stumbles_over_host_arrays), "numpy", "cvcuda")
    assert (result.outcome, result.level) == (Outcome.FAIL, Level.SHOULD)


def test_padded_rows_are_observed() -> None:
    """The page copies flat, and does not say that rows may be padded."""
    found = spoiled(claims.rows_are_padded)
    result = run("flat-copy", found, "cuda_python", "cvcuda", shape="4x5x3", named="none", dtype="uint8")
    assert (result.outcome, result.level) == (Outcome.FAIL, Level.OBSERVED)
    assert result.seen == "strides of (18, 3, 1) bytes"


@pytest.mark.parametrize("call", ["as-tensor", "as-image"])
@pytest.mark.parametrize(
    ("protocol", "clause", "level"), [("cai", "G12", Level.OBSERVED), ("dlpack", "DLP-26", Level.MUST)]
)
def test_wrappers_that_stay_in_the_cache_are_told(call: str, protocol: str, clause: str, level: Level) -> None:
    """Of the array interface nothing forbids it; a capsule's deleter has to be called."""
    found = spoiled(claims.wrappers_are_cached)
    result = run("wrapped-is-released", found, "reference", "cvcuda", protocol=protocol, call=call, dtype="uint8")
    assert (result.outcome, result.clauses, result.level) == (Outcome.FAIL, (clause,), level)
    assert result.seen == "20 alive, 0 of them even after clear_cache()"


@pytest.mark.parametrize(
    ("record", "outcome"),
    [
        ({"outcome": "right", "seen": ""}, Outcome.PASS),
        ({"outcome": "refused", "seen": "invalid context"}, Outcome.FAIL),
        ({"step": "import of cvcuda"}, Outcome.INCONCLUSIVE),
    ],
)
def test_autoinit_is_documented_to_work(
    record: dict[str, str], outcome: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even a refusal breaks the claim; a program that tells nothing does not."""
    asked: list[tuple[str, ...]] = []

    def program(*arguments: str) -> Ended:
        asked.append(arguments)
        return Ended(0, (record,))

    monkeypatch.setattr(interpreter, "run", program)
    result = run("pycuda-autoinit", {}, "pycuda", "cvcuda", order="cvcuda-first")
    assert result.outcome is outcome
    assert asked == [("pycuda_context", "autoinit", "cvcuda", "pycuda", "cvcuda")]
    if outcome is Outcome.FAIL:
        assert (result.clauses, result.level) == (("DOC-PC-1",), Level.MUST)


@pytest.mark.parametrize(
    ("distribution", "outcome"),
    [
        (MadeUp("pycuda", tag="py3-none-any"), Outcome.FAIL),
        (MadeUp("pycuda"), Outcome.PASS),
        (MadeUp("pycuda", tag=None), Outcome.INCONCLUSIVE),
    ],
)
def test_how_a_library_was_installed_is_observed(distribution: MadeUp, outcome: Outcome) -> None:
    """What does not tell how it was installed is not judged."""
    with distributions.installed(distribution):
        result = run("installation", installation.STAGE.partners(), "pycuda", "pycuda", protocol="none")
    assert (result.outcome, result.level) == (outcome, Level.OBSERVED)
