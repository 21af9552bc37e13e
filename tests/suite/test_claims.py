"""The documented claims on make-believe libraries: each passes while they are flawless and fails when one is not."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy
import pytest

from conformance.adapters.base import Adapter, Device
from conformance.execution.results import Result
from conformance.execution.workbench import Workbench
from conformance.protocols.clauses import Level
from conformance.suite import interpreter
from conformance.suite.catalogue import Case, catalogue
from conformance.suite.interpreter import Ended
from conformance.suite.outcomes import Outcome
from conformance.suite.test_claim import metadata as claim_metadata

from . import fakes
from .fakes import Array, GPUArray, Tensor, TorchTensor, copied, on

Libraries = dict[str, Adapter]


def run(name: str, found: Libraries, *pair: str, protocol: str = "cai", **parameters: str) -> Result:
    """One case on the make-believe GPU."""
    case = Case(f"claim.{name}", pair[0], pair[1], protocol, Device.SIMULATED, tuple(parameters.items()))
    return Workbench(found).run(case, catalogue()[case.invariant])


CASES: list[tuple[str, tuple[str, str], dict[str, str]]] = [
    ("cupy-on-gpu", ("cupy", "cvcuda"), {}),
    ("cupy-converts", ("cupy", "cvcuda"), {}),
    ("cupy-converts", ("cupy", "cvcuda"), {"layout": "cube", "dtype": "complex64"}),
    ("cupy-views-tensor", ("cvcuda", "cupy"), {"written": "nowhere"}),
    ("cupy-views-tensor", ("cvcuda", "cupy"), {"written": "by-cupy"}),
    ("cupy-views-tensor", ("cvcuda", "cupy"), {"written": "by-cvcuda"}),
    ("cupy-round-trip", ("cupy", "cvcuda"), {}),
    ("numpy-by-cuda-python", ("numpy", "cvcuda"), {}),
    ("from-numpy-shares", ("numpy", "torch"), {}),
    ("numpy-by-torch", ("numpy", "cvcuda"), {}),
    ("numpy-to-cupy", ("numpy", "cupy"), {}),
    ("numpy-to-cupy", ("numpy", "cupy"), {"layout": "fortran"}),
    ("numpy-to-cupy", ("numpy", "cupy"), {"layout": "stepped-permuted"}),
    ("numpy-by-cupy", ("numpy", "cvcuda"), {}),
    ("numpy-by-pycuda", ("numpy", "cvcuda"), {}),
    ("numpy-refused", ("numpy", "cvcuda"), {}),
    ("cpu-tensor-refused", ("torch", "cvcuda"), {}),
    ("torch-shares", ("torch", "cvcuda"), {}),
    ("tensor-to-torch", ("cvcuda", "torch"), {}),
    ("as-tensor-without-device", ("cupy", "torch"), {}),
    ("gpuarray-converts", ("pycuda", "cvcuda"), {}),
    ("gpuarray-on-tensor", ("cvcuda", "pycuda"), {}),
    ("buffer-accepted", ("cuda_python", "cvcuda"), {}),
    ("import-owns-nothing", ("cuda_python", "cupy"), {}),
    ("wrapper-owns-nothing", ("cupy", "cuda_python"), {}),
    ("tensor-as-buffer", ("cuda_python", "cvcuda"), {"shape": "4x5x3", "named": "HWC", "dtype": "uint8"}),
    ("flat-copy", ("cuda_python", "cvcuda"), {"shape": "4x5x3", "named": "none", "dtype": "uint8"}),
    ("flat-copy", ("cuda_python", "cvcuda"), {"shape": "7x32x4", "named": "HWC", "dtype": "uint8"}),
    ("named-layout", ("cupy", "cvcuda"), {"layout": "cube", "named": "HWC"}),
    ("wrapped-is-released", ("reference", "cvcuda"), {"call": "as-tensor", "dtype": "uint8"}),
    ("wrapped-is-released", ("reference", "cvcuda"), {"call": "as-image", "dtype": "uint8"}),
]


@pytest.mark.parametrize(("name", "pair", "parameters"), CASES)
def test_flawless_libraries_keep_every_claim(name: str, pair: tuple[str, str], parameters: dict[str, str]) -> None:
    """No claim accuses them."""
    result = run(name, fakes.libraries(), *pair, **parameters)
    assert result.outcome is Outcome.PASS, (result.reason, result.expected, result.seen, result.attachments)


@pytest.mark.parametrize("layout", ["fortran", "stepped", "reversed", "broadcast-rows", "empty"])
def test_a_layout_that_is_refused_limits_a_claim_and_does_not_break_it(layout: str) -> None:
    """The pages show packed arrays."""
    result = run("cupy-converts", fakes.libraries(), "cupy", "cvcuda", layout=layout)
    assert result.outcome is Outcome.REFUSED, result


# -- faults: each takes the libraries and spoils one call


def as_tensor_copies(found: Libraries) -> None:
    """``as_tensor`` copies."""
    real = found["cvcuda"].module().as_tensor

    def as_tensor(source: Any, *layout: str) -> Tensor:
        tensor: Tensor = real(source, *layout)
        tensor.host = copied(tensor.host)
        return tensor

    found["cvcuda"].module().as_tensor = as_tensor


def as_tensor_takes_another_type(found: Libraries) -> None:
    """``as_tensor`` takes every element for a signed number of its size (as for bool, seen in 0.19)."""
    found["cvcuda"].module().as_tensor = lambda source: Tensor(on(source).view(f"i{on(source).itemsize}"), owner=source)


def as_tensor_forgets_strides(found: Libraries) -> None:
    """``as_tensor`` takes everything as packed."""

    def as_tensor(source: Any) -> Tensor:
        told = source.__cuda_array_interface__
        return Tensor(fakes.at(told["data"][0], told["shape"], told["typestr"], None), owner=source)

    found["cvcuda"].module().as_tensor = as_tensor


def as_tensor_raises(found: Libraries) -> None:
    """``as_tensor`` takes nothing."""

    def as_tensor(source: Any, *layout: str) -> Tensor:
        raise RuntimeError("no")

    found["cvcuda"].module().as_tensor = as_tensor


def as_tensor_takes_host_arrays(found: Libraries) -> None:
    """``as_tensor`` takes an address in host memory for one on the GPU."""

    def as_tensor(source: Any) -> Tensor:
        return Tensor(source.host if isinstance(source, Array) else source)

    found["cvcuda"].module().as_tensor = as_tensor


def as_tensor_fails_on_host_arrays(found: Libraries) -> None:
    """``as_tensor`` refuses host arrays by stumbling over them."""

    def as_tensor(source: Any) -> Tensor:
        raise KeyError("__cuda_array_interface__")

    found["cvcuda"].module().as_tensor = as_tensor


def as_tensor_ignores_the_layout(found: Libraries) -> None:
    """``as_tensor`` makes a tensor without a layout."""
    real = found["cvcuda"].module().as_tensor
    found["cvcuda"].module().as_tensor = lambda source, *layout: real(source)


def wrappers_are_cached(found: Libraries) -> None:
    """Whatever was wrapped stays in the cache."""
    module, cache = found["cvcuda"].module(), []
    real = module.as_tensor

    def as_tensor(source: Any, *layout: str) -> Tensor:
        cache.append(real(source, *layout))
        return cache[-1]  # type: ignore[no-any-return]

    module.as_tensor, module.clear_cache = as_tensor, cache.clear
    module.as_image = lambda source, form: as_tensor(source)


def asarray_copies(found: Libraries) -> None:
    """``cupy.asarray`` copies everything."""
    real = found["cupy"].module().asarray
    found["cupy"].module().asarray = lambda source: Array(copied(real(source).host))


def asarray_changes(found: Libraries) -> None:
    """``cupy.asarray`` changes a byte of what it transfers."""
    real = found["cupy"].module().asarray

    def asarray(source: Any) -> Array:
        array: Array = real(source)
        flat = copied(array.host)
        flat.reshape(-1).view(numpy.uint8)[0] += 1
        return Array(flat)

    found["cupy"].module().asarray = asarray


def asarray_turns_rows_to_columns(found: Libraries) -> None:
    """``cupy.asarray`` always makes rows contiguous."""
    found["cupy"].module().asarray = lambda source: Array(numpy.array(source, order="C"))


def from_numpy_copies(found: Libraries) -> None:
    """``torch.from_numpy`` copies."""
    found["torch"].module().from_numpy = lambda array: TorchTensor(copied(array), gpu=False)


def torch_moves_to_the_host(found: Libraries) -> None:
    """``torch.as_tensor`` makes a tensor on the CPU, as it once did (device-06, device-19)."""
    found["torch"].module().as_tensor = lambda source: TorchTensor(copied(on(source)), gpu=False)


def torch_says_the_host(found: Libraries) -> None:
    """``torch.as_tensor`` says that device memory is the CPU's."""
    found["torch"].module().as_tensor = lambda source: TorchTensor(on(source), gpu=False, owner=source)


def clones_share(found: Libraries) -> None:
    """``clone`` is the same tensor."""

    class Sharing(TorchTensor):
        def clone(self) -> TorchTensor:
            return self

    found["torch"].module().as_tensor = lambda source: Sharing(on(source), owner=source)


def to_gpu_loses(found: Libraries) -> None:
    """``to_gpu`` brings zeros."""
    found["pycuda"].module().gpuarray.to_gpu = lambda array: Array(numpy.zeros_like(array))


def gpuarray_copies(found: Libraries) -> None:
    """``GPUArray`` copies what it is built on."""

    class Copying(GPUArray):
        def __init__(self, shape: tuple[int, ...], dtype: Any, gpudata: int) -> None:
            super().__init__(shape, dtype, gpudata)
            self.host = copied(self.host)

    found["pycuda"].module().gpuarray.GPUArray = Copying


def memcpy_fails(found: Libraries) -> None:
    """``cudaMemcpy`` returns an error."""
    found["cuda_python"].module().cudaMemcpy = lambda *_: (1,)


def memcpy_forgets(found: Libraries) -> None:
    """``cudaMemcpy`` does nothing and says that all is well."""
    found["cuda_python"].module().cudaMemcpy = lambda *_: (0,)


def imports_free(found: Libraries) -> None:
    """The end of an import frees what it was made of."""
    runtime: Any = found["cuda_python"].module()

    class Freeing(Array):
        def __del__(self) -> None:
            runtime.cudaFree(self.host.ctypes.data)

    found["cupy"].take = lambda offer, *_: Freeing(on(offer))  # type: ignore[method-assign]


def imports_spoil(found: Libraries) -> None:
    """A later write spoils the memory: the import goes on using it."""
    runtime: Any = found["cuda_python"].module()
    real, ended = runtime.cudaMemcpy, []

    def memcpy(to: int, source: int, nbytes: int, kind: int) -> tuple[int]:
        done: tuple[int] = real(to, source, nbytes, kind)
        if ended and kind == 1:
            ctypes.memset(to, 0, nbytes)
        return done

    runtime.cudaMemcpy = memcpy
    found["cupy"].take = lambda offer, *_: ended.append(1) or Array(on(offer))  # type: ignore[method-assign, func-returns-value]


def wrappers_free(found: Libraries) -> None:
    """``cudaFree`` is what ends every wrapper, and frees the library's own memory."""
    from conformance.suite import test_claim

    real = test_claim.DeviceBuffer.free

    def free(self: Any) -> int:
        ctypes.memset(self.address, 0, self.nbytes)
        return real(self)

    test_claim.DeviceBuffer.free = free  # type: ignore[method-assign]


def rows_are_padded(found: Libraries) -> None:
    """Every tensor of three dimensions has padded rows."""
    real = found["cvcuda"].module().Tensor
    found["cvcuda"].module().Tensor = lambda shape, kind, *layout: real(shape, kind, "HWC")


Fault = Callable[[Libraries], None]
FAULTS: list[tuple[str, tuple[str, str], dict[str, str], Fault]] = [
    ("cupy-on-gpu", ("cupy", "cvcuda"), {}, as_tensor_copies),
    ("cupy-on-gpu", ("cupy", "cvcuda"), {}, as_tensor_raises),
    ("cupy-converts", ("cupy", "cvcuda"), {}, as_tensor_copies),
    ("cupy-converts", ("cupy", "cvcuda"), {}, as_tensor_raises),
    ("cupy-converts", ("cupy", "cvcuda"), {"dtype": "bool"}, as_tensor_takes_another_type),
    ("cupy-converts", ("cupy", "cvcuda"), {"layout": "fortran"}, as_tensor_forgets_strides),
    ("cupy-views-tensor", ("cvcuda", "cupy"), {"written": "nowhere"}, asarray_copies),
    ("cupy-views-tensor", ("cvcuda", "cupy"), {"written": "by-cupy"}, asarray_copies),
    ("cupy-round-trip", ("cupy", "cvcuda"), {}, asarray_changes),
    ("numpy-by-cuda-python", ("numpy", "cvcuda"), {}, memcpy_fails),
    ("numpy-by-cuda-python", ("numpy", "cvcuda"), {}, memcpy_forgets),
    ("numpy-by-cuda-python", ("numpy", "cvcuda"), {}, as_tensor_copies),
    ("from-numpy-shares", ("numpy", "torch"), {}, from_numpy_copies),
    ("numpy-by-torch", ("numpy", "cvcuda"), {}, as_tensor_copies),
    ("numpy-to-cupy", ("numpy", "cupy"), {}, asarray_changes),
    ("numpy-to-cupy", ("numpy", "cupy"), {"layout": "fortran"}, asarray_turns_rows_to_columns),
    ("numpy-by-cupy", ("numpy", "cvcuda"), {}, asarray_changes),
    ("numpy-by-pycuda", ("numpy", "cvcuda"), {}, to_gpu_loses),
    ("numpy-refused", ("numpy", "cvcuda"), {}, as_tensor_takes_host_arrays),
    ("cpu-tensor-refused", ("torch", "cvcuda"), {}, as_tensor_takes_host_arrays),
    ("cpu-tensor-refused", ("torch", "cvcuda"), {}, as_tensor_raises),
    ("torch-shares", ("torch", "cvcuda"), {}, as_tensor_copies),
    ("tensor-to-torch", ("cvcuda", "torch"), {}, torch_moves_to_the_host),
    ("tensor-to-torch", ("cvcuda", "torch"), {}, clones_share),
    ("as-tensor-without-device", ("cupy", "torch"), {}, torch_moves_to_the_host),
    ("as-tensor-without-device", ("cupy", "torch"), {}, torch_says_the_host),
    ("gpuarray-converts", ("pycuda", "cvcuda"), {}, as_tensor_copies),
    ("gpuarray-on-tensor", ("cvcuda", "pycuda"), {}, gpuarray_copies),
    ("buffer-accepted", ("cuda_python", "cvcuda"), {}, as_tensor_copies),
    ("import-owns-nothing", ("cuda_python", "cupy"), {}, imports_free),
    ("import-owns-nothing", ("cuda_python", "cupy"), {}, imports_spoil),
    ("wrapper-owns-nothing", ("cupy", "cuda_python"), {}, wrappers_free),
    ("tensor-as-buffer", ("cuda_python", "cvcuda"), {"shape": "4x5x3", "named": "none", "dtype": "uint8"}, memcpy_forgets),
    ("named-layout", ("cupy", "cvcuda"), {"layout": "cube", "named": "HWC"}, as_tensor_ignores_the_layout),
    ("named-layout", ("cupy", "cvcuda"), {"layout": "cube", "named": "HWC"}, as_tensor_copies),
]  # fmt: skip


@pytest.mark.parametrize(("name", "pair", "parameters", "fault"), FAULTS)
def test_a_broken_claim_is_a_violation(
    name: str, pair: tuple[str, str], parameters: dict[str, str], fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Documented is promised."""
    from conformance.suite import test_claim

    monkeypatch.setattr(test_claim.DeviceBuffer, "free", test_claim.DeviceBuffer.free)
    found = fakes.libraries()
    fault(found)
    result = run(name, found, *pair, **parameters)
    assert (result.outcome, result.level) == (Outcome.FAIL, Level.MUST), (result.reason, result.attachments)
    assert result.reason
    assert result.expected != result.seen


def test_a_host_array_refused_by_stumbling_deviates() -> None:
    """It is refused, but not cleanly."""
    found = fakes.libraries()
    as_tensor_fails_on_host_arrays(found)
    result = run("numpy-refused", found, "numpy", "cvcuda")
    assert (result.outcome, result.level) == (Outcome.FAIL, Level.SHOULD)


def test_padded_rows_are_observed() -> None:
    """The page copies flat, and does not say that rows may be padded."""
    found = fakes.libraries()
    rows_are_padded(found)
    result = run("flat-copy", found, "cuda_python", "cvcuda", shape="4x5x3", named="none", dtype="uint8")
    assert (result.outcome, result.level) == (Outcome.FAIL, Level.OBSERVED)
    assert result.seen == "strides of (32, 3, 1) bytes"


@pytest.mark.parametrize("call", ["as-tensor", "as-image"])
def test_wrappers_that_stay_in_the_cache_are_told(call: str) -> None:
    """Of the array interface nothing forbids it."""
    found = fakes.libraries()
    wrappers_are_cached(found)
    result = run("wrapped-is-released", found, "reference", "cvcuda", call=call, dtype="uint8")
    assert (result.outcome, result.level) == (Outcome.FAIL, Level.OBSERVED)
    assert result.seen == "20 alive, 0 of them even after clear_cache()"


@pytest.mark.parametrize(
    ("record", "outcome"),
    [
        ({"outcome": "right", "seen": ""}, Outcome.PASS),
        ({"outcome": "refused", "seen": "invalid context"}, Outcome.FAIL),
        ({"outcome": "wrong", "seen": "zeros", "expected": "others"}, Outcome.FAIL),
        ({"outcome": "unusable", "seen": "illegal access"}, Outcome.FAIL),
        ({"step": "import of cvcuda"}, Outcome.INCONCLUSIVE),
    ],
)
def test_autoinit_is_documented_to_work(
    record: dict[str, str], outcome: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even a refusal breaks the claim."""
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
    ("library", "wheel", "size", "outcome"),
    [
        ("cupy", "Tag: cp312-cp312-manylinux2014_x86_64\n", 1, Outcome.FAIL),
        ("cupy", "Tag: cp312-cp312-linux_x86_64\n", 1, Outcome.PASS),
        ("pycuda", "Tag: cp312-cp312-linux_x86_64\n", 1, Outcome.PASS),
        ("pycuda", "", 1, Outcome.INCONCLUSIVE),
        ("torch", "", 600 << 20, Outcome.PASS),
        ("torch", "", 100 << 20, Outcome.FAIL),
    ],
)
def test_how_a_library_was_installed_is_observed(
    library: str, wheel: str, size: int, outcome: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the tags of its wheel and the sizes of its files."""
    found = fakes.libraries()
    found[library].distributions = (library,)  # type: ignore[misc]
    found[library].versions = lambda: {library: "1.0"}  # type: ignore[method-assign]
    distribution = SimpleNamespace(
        version="1.0",
        read_text=lambda name: wheel or None,
        files=[SimpleNamespace(size=size), SimpleNamespace(size=None)],
    )
    monkeypatch.setattr(claim_metadata, "distribution", lambda name: distribution)
    result = run("installation", found, library, library, protocol="none")
    assert (result.outcome, result.level) == (outcome, Level.OBSERVED)


def test_every_claim_has_been_seen_to_fail() -> None:
    """On a fault above, or in a test of its own."""
    of_their_own = {"flat-copy", "wrapped-is-released", "pycuda-autoinit", "installation"}
    tried = {name for name, *_ in FAULTS} | of_their_own
    assert {f"claim.{name}" for name in tried} == {name for name in catalogue() if name.startswith("claim.")}
