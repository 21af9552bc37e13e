"""The documented claims on make-believe libraries: what the selftest does not show of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest

from conformance.adapters.base import Device, Trait
from conformance.checks import interpreter
from conformance.checks.catalogue import Case, catalogue
from conformance.checks.interpreter import Ended
from conformance.checks.libraries import Environment
from conformance.checks.outcomes import Outcome, Side
from conformance.execution.accusations import accused
from conformance.execution.results import Result
from conformance.execution.workbench import Workbench
from conformance.protocols.clauses import Level
from conformance.selftest.make_believe import distributions, libraries, memory
from conformance.selftest.make_believe.cvcuda import CvcudaTensor
from conformance.selftest.make_believe.distributions import MadeUp
from conformance.selftest.model import Partners, Spoil
from conformance.selftest.stages import claims, installation


@pytest.fixture(autouse=True)
def unspoiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a fault replaces in a class is put back."""
    monkeypatch.setattr(CvcudaTensor, "cuda", CvcudaTensor.cuda)


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
    assert (result.outcome, result.level, result.clause) == (Outcome.FAIL, Level.MUST, "DOC-PT-2")
    assert result.accused is not None
    assert result.accused.side is Side.CONSUMER


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
    ("protocol", "clause", "level"), [("cai", "CAI-27", Level.OBSERVED), ("dlpack", "DLP-26", Level.SHOULD)]
)
def test_wrappers_that_stay_in_the_cache_are_told(call: str, protocol: str, clause: str, level: Level) -> None:
    """Of the array interface nothing forbids it; a capsule's deleter is called late, by the call that is documented for it."""
    found = spoiled(claims.wrappers_are_cached)
    result = run("wrapped-is-released", found, "reference", "cvcuda", protocol=protocol, call=call, dtype="uint8")
    assert (result.outcome, result.code, result.clause, result.level) == (Outcome.FAIL, "released-late", clause, level)
    assert result.seen == "20 alive, 0 of them even after `cvcuda.clear_cache()`"


@pytest.mark.parametrize(
    ("spoil", "name", "pair", "parameters", "side", "library"),
    [
        (claims.asarray_changes_a_byte, "cupy-round-trip", ("cupy", "cvcuda"), {}, Side.PRODUCER, "cupy"),
        (claims.as_tensor_takes_another_type, "cupy-round-trip", ("cupy", "cvcuda"), {}, Side.CONSUMER, "cvcuda"),
        (claims.moves_lose_the_elements, "numpy-by-torch", ("numpy", "cvcuda"), {"via": "torch"}, Side.BETWEEN, "torch"),
        (claims.as_tensor_copies, "numpy-by-torch", ("numpy", "cvcuda"), {"via": "torch"}, Side.CONSUMER, "cvcuda"),
        (claims.to_gpu_loses_the_elements, "numpy-by-pycuda", ("numpy", "cvcuda"), {"via": "pycuda"}, Side.BETWEEN, "pycuda"),
        (claims.memcpy_does_nothing, "numpy-by-cuda-python", ("numpy", "cvcuda"), {"via": "cuda_python"}, Side.BETWEEN, "cuda_python"),
        (claims.memcpy_fails, "tensor-as-buffer", ("cuda_python", "cvcuda"), {"shape": "5x7", "named": "none", "dtype": "uint8"}, Side.PRODUCER, "cuda_python"),
        (claims.cuda_gives_a_copy, "cupy-views-tensor", ("cvcuda", "cupy"), {"written": "nowhere"}, Side.PRODUCER, "cvcuda"),
        (claims.asarray_copies, "cupy-views-tensor", ("cvcuda", "cupy"), {"written": "nowhere"}, Side.CONSUMER, "cupy"),
        (claims.imports_free, "import-owns-nothing", ("cuda_python", "cupy"), {}, Side.CONSUMER, "cupy"),
    ],
)  # fmt: skip
def test_the_library_is_accused_whose_call_it_is(
    spoil: Spoil, name: str, pair: tuple[str, str], parameters: dict[str, str], side: Side, library: str
) -> None:
    """Also where it stands between the two of the case."""
    result = accused(run(name, spoiled(spoil), *pair, **parameters), dict[str, Result]().get)
    assert result.outcome is Outcome.FAIL, result
    assert result.accused is not None
    assert (result.accused.side, result.accused.libraries) == (side, (library,))


def test_a_page_is_at_most_a_recommendation_to_others_than_its_publisher() -> None:
    """CV-CUDA's pages bind CV-CUDA; CuPy is only expected to do what they say of it."""
    of_cvcuda = run("cupy-converts", spoiled(claims.as_tensor_copies), "cupy", "cvcuda")
    of_cupy = run("numpy-to-cupy", spoiled(claims.asarray_changes_a_byte), "numpy", "cupy")
    levels = [accused(result, dict[str, Result]().get).level for result in (of_cvcuda, of_cupy)]
    assert levels == [Level.MUST, Level.SHOULD]


def test_a_lost_sign_is_told_as_what_it_is() -> None:
    """A fill of CuPy's own array loses it, so this is no interop, and the method is named."""
    found = libraries.libraries()
    cupy: Any = found["cupy"].module()
    right = cupy.asarray

    def asarray(source: Any) -> Any:
        array = right(source)
        array.host[...] = array.host + 0.0  # -0.0 becomes 0.0, and nothing else changes
        return array

    cupy.asarray = asarray
    cupy.empty = lambda count, kind: SimpleNamespace(host=memory.zeros((count,), kind), fill=lambda value: None)
    result = run("numpy-to-cupy", found, "numpy", "cupy", layout="scalar")
    assert (result.outcome, result.level) == (Outcome.FAIL, Level.SHOULD), result
    assert "`ndarray.fill`" in result.given
    assert "`ndarray.fill`" in result.reason
    assert "not an interop bug" in result.reason


def test_a_library_whose_kernels_fail_on_its_own_arrays_is_not_accused() -> None:
    """The driver may be older than the compiler of its kernels: that is the environment's fault."""
    found = spoiled(claims.as_tensor_raises)

    def fails(array: Any) -> None:
        raise RuntimeError("no kernel image is available for execution on the device")

    found["cvcuda"].traits = found["cvcuda"].traits | {Trait.KERNEL}  # type: ignore[misc]
    found["cvcuda"].kernel_increment = fails  # type: ignore[method-assign]
    result = run("torch-shares", found, "torch", "cvcuda")
    assert result.outcome is Outcome.INCONCLUSIVE
    assert result.reason.startswith(
        "environment: a kernel of cvcuda fails on the library's own array: RuntimeError: no kernel"
    )


@pytest.mark.parametrize(
    ("record", "outcome"),
    [
        ({"outcome": "right", "seen": ""}, Outcome.PASS),
        ({"outcome": "refused", "seen": "invalid context"}, Outcome.FAIL),
        ({"step": "the import of cvcuda"}, Outcome.INCONCLUSIVE),
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
        assert (result.clause, result.level) == ("DOC-PC-1", Level.MUST)


@pytest.mark.parametrize(
    ("distribution", "outcome"),
    [
        (MadeUp("pycuda", tag="py3-none-any"), Outcome.FAIL),
        (MadeUp("pycuda"), Outcome.PASS),
        (MadeUp("pycuda", tag=None), Outcome.INCONCLUSIVE),
    ],
)
def test_how_a_library_was_installed_is_observed(distribution: MadeUp, outcome: Outcome) -> None:
    """The check does not judge a distribution without a record of its installation."""
    with distributions.installed(distribution):
        result = run("installation", installation.STAGE.partners(), "pycuda", "pycuda", protocol="none")
    assert (result.outcome, result.level) == (outcome, Level.OBSERVED)
