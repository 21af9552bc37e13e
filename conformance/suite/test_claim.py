"""Family ``claim``: what the libraries' own documents promise, tried with the calls that they show.

The pages are CV-CUDA's on interoperability: NumPy by four methods, CuPy, PyTorch, PyCUDA, CUDA Python. What a page shows in
its example (plain float32 and uint8 arrays) has to work; elsewhere a refusal says where a claim ends.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import reduce
from importlib import metadata
from typing import Any

from conformance.adapters.base import Device, Protocol, View
from conformance.protocols.clauses import Level, Role
from conformance.protocols.dtypes import dtype
from conformance.protocols.strided import gather, same_strides
from conformance.reference import managed

from . import interpreter
from .buffers import DeviceBuffer
from .catalogue import Draft, Isolation, Needs, Tier, dtypes, every, invariant, layouts
from .exchange import UNCLEAN, Exchange, Source, brief, collect, show
from .layouts import EMPTY, LAYOUTS, PLAIN, STRIDED, ZERO_STRIDE
from .libraries import REFERENCE, Environment, Library, Pair
from .outcomes import Finding, Inconclusive, Refused, fail
from .patterns import pattern

_SHOWN = ("float32", "uint8")
"""Element types that the pages use in their examples."""
_CLAIMS = {"cupy": "DOC-CP-2", "torch": "DOC-PT-2", "pycuda": "DOC-PC-2", "cuda_python": "DOC-CU-1"}
"""Where it is said that ``cvcuda.as_tensor`` takes this library's arrays."""

Planner = Callable[[Environment], Iterator[Draft]]


# -- planning


def _pairs(env: Environment, first: str, second: str, *also: str, device: Device = Device.CUDA) -> Iterator[Pair]:
    """The two libraries of a claim, if they are here with all that it needs: NumPy on the host, the rest on ``device``."""
    found = {name: _find(env, name, Device.HOST if name == "numpy" else device) for name in (first, second, *also)}
    giver, taker = found[first], found[second]
    if giver and taker and all(found.values()):
        yield Pair(giver, taker, Protocol.CAI, device)


def _find(env: Environment, name: str, device: Device) -> Library | None:
    library = env.get(name)
    return library if library is not None and device in library.sides else None


def _claim(first: str, second: str, *also: str, **axes: Any) -> Planner:
    """A planner of cases on the GPU."""
    return lambda env: every(_pairs(env, first, second, *also), **axes)


def _common(pair: Pair) -> tuple[str, ...]:
    """An axis: element types that both libraries have, wherever their arrays lie; those that the pages show come first."""
    sides = [lib.sides.get(pair.device) or lib.sides[Device.HOST] for lib in (pair.producer, pair.consumer)]
    names = [name for name in sides[0].dtypes if name in sides[1].dtypes]
    return tuple(sorted(names, key=lambda name: name not in _SHOWN))


# -- judging


def _is_shown(exchange: Exchange) -> bool:
    return exchange.dtype.name in _SHOWN and exchange.layout.name in PLAIN


def _documented(exchange: Exchange, clause: str, who: str, call: Callable[[], Any]) -> Any:
    """Make a documented call. If it raises, that breaks the claim where a page shows the call, and limits it elsewhere."""
    try:
        return call()
    except Exception as error:
        exchange.check_context(error)
        seen = f"{who}: {brief(error)}"
        if _is_shown(exchange):
            fail(clause, role=Role.CONSUMER, reason="the documented call raised", expected="that it works", seen=seen)
        if isinstance(error, UNCLEAN):
            reason = "refused with an exception that means a defect"
            fail("G6", role=Role.CONSUMER, level=Level.SHOULD, reason=reason, expected="a refusal", seen=seen)
        raise Refused(seen) from error


def _expect(clause: str, reason: str, expected: object, seen: object) -> None:
    if expected != seen:
        fail(clause, role=Role.CONSUMER, reason=reason, expected=expected, seen=seen)


def _expect_bytes(exchange: Exchange, clause: str, reason: str, expected: bytes, seen: bytes) -> None:
    """Bit for bit; what is told begins at the first element that differs."""
    if expected == seen:
        return
    size = exchange.dtype.itemsize
    first = next((i for i, pair in enumerate(zip(expected, seen)) if pair[0] != pair[1]), 0) // size
    told = [f"from element {first} on {show(data[first * size :], exchange.dtype)}" for data in (expected, seen)]
    fail(clause, role=Role.CONSUMER, reason=reason, expected=told[0], seen=told[1])


def _expect_shared(clause: str, source: Source, view: View) -> None:
    if source.view.size:
        _expect(
            clause, "the memory is not shared", f"element 0 at {source.address:#x}", f"element 0 at {view.address:#x}"
        )


def _expect_form(exchange: Exchange, clause: str, source: Source, view: View) -> None:
    """Shape, strides and element type as they were: whatever was changed was changed silently."""
    _expect(clause, "the shape changed", source.view.shape, view.shape)
    _expect(clause, "the element type changed", exchange.dtype.name, view.dtype)
    if not same_strides(view.shape, view.strides, source.strides):
        _expect(clause, "the strides changed", f"{source.strides} bytes", f"{view.strides} bytes")


def _other(exchange: Exchange, seed: int = 1) -> bytes:
    """Elements to write, for a packed array of the case."""
    return pattern(exchange.dtype, exchange.layout.elements, seed)


def _as_tensor(exchange: Exchange, clause: str, array: Any, *layout: str) -> Any:
    """``cvcuda.as_tensor``."""
    module = exchange.library("cvcuda").module()
    return _documented(exchange, clause, "cvcuda.as_tensor", lambda: module.as_tensor(array, *layout))


def _address(tensor: Any) -> int:
    """What ``tensor.cuda()`` publishes, taken from it as the pages do."""
    return int(tensor.cuda().__cuda_array_interface__["data"][0])


def _host_array(exchange: Exchange) -> tuple[Any, bytes]:
    """A NumPy array of the case's type and layout, wherever the case's own device is, and its elements."""
    numpy, form, kind = exchange.library("numpy"), exchange.layout, exchange.dtype
    block = pattern(kind, form.elements)
    array = reduce(numpy.view, form.steps, numpy.array(kind, form.base, block, Device.HOST))
    return array, gather(block, form.view, kind.itemsize)


# -- CuPy


@invariant(
    "claim.cupy-on-gpu",
    producer="DOC-CP-1",
    consumer="DOC-CP-1",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=_claim("cupy", "cvcuda", dtype=_common),
)
def test_cupy_on_gpu(exchange: Exchange) -> None:
    """A CuPy array lies on the GPU, and converting it moves nothing."""
    source = exchange.source()
    if exchange.device is Device.CUDA:
        from conformance.cuda import pointers

        found = pointers.query(source.address)
        _expect("DOC-CP-1", "the array is not in device memory", (2, 0), found and found.dlpack_device)
    tensor = _as_tensor(exchange, "DOC-CP-1", source.array)
    _expect_shared("DOC-CP-1", source, exchange.consumer.describe(tensor))


def _converts(exchange: Exchange, clause: str) -> None:
    """``cvcuda.as_tensor``: the same memory, elements and form, and the other library's writes are seen."""
    source = exchange.source()
    tensor = _as_tensor(exchange, clause, source.array)
    view = exchange.consumer.describe(tensor)
    _expect_form(exchange, clause, source, view)
    _expect_shared(clause, source, view)
    reason = "the elements changed"
    _expect_bytes(exchange, clause, reason, source.values, exchange.consumer.read(tensor))
    if _is_shown(exchange):
        other = _other(exchange)
        exchange.producer.write(source.array, other)
        reason = "a write is not seen through the tensor"
        _expect_bytes(exchange, clause, reason, other, exchange.consumer.read(tensor))


_EVERY_FORM = layouts("c-order", *(name for name in LAYOUTS if name != "c-order"))


@invariant(
    "claim.cupy-converts",
    producer="DOC-CP-2",
    consumer="DOC-CP-2",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=_claim("cupy", "cvcuda", layout=_EVERY_FORM, dtype=dtypes()),
)
def test_cupy_converts(exchange: Exchange) -> None:
    """``cvcuda.as_tensor`` converts any CuPy array as it is, or refuses it."""
    _converts(exchange, "DOC-CP-2")


@invariant(
    "claim.cupy-views-tensor",
    producer="DOC-CP-3",
    consumer="DOC-CP-3",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=_claim(
        "cvcuda", "cupy", written=("nowhere", "by-cupy", "by-cvcuda"), dtype=dtypes("float32", "uint8", "int32")
    ),
)
def test_cupy_views_tensor(exchange: Exchange) -> None:
    """``cupy.asarray(tensor.cuda())`` views the tensor's memory, and writes of either side are seen by the other."""
    source = exchange.source()
    cupy = exchange.consumer.module()
    array = _documented(exchange, "DOC-CP-3", "cupy.asarray", lambda: cupy.asarray(source.array.cuda()))
    view = exchange.consumer.describe(array)
    _expect_form(exchange, "DOC-CP-3", source, view)
    _expect_shared("DOC-CP-3", source, view)
    expected = source.values
    if exchange.option("written") != "nowhere":
        expected = _other(exchange)
        writer, target = (
            (exchange.consumer, array) if exchange.option("written") == "by-cupy" else (exchange.producer, source.array)
        )
        writer.write(target, expected)
    reason = "CuPy and CV-CUDA do not see one memory"
    _expect_bytes(exchange, "DOC-CP-3", reason, expected, exchange.consumer.read(array))
    _expect_bytes(exchange, "DOC-CP-3", reason, expected, exchange.producer.read(source.array))


@invariant(
    "claim.cupy-round-trip",
    producer="DOC-CP-4",
    consumer="DOC-CP-4",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=_claim("cupy", "cvcuda", layout=layouts(*PLAIN), dtype=_common),
)
def test_cupy_round_trip(exchange: Exchange) -> None:
    """From CuPy to CV-CUDA and back nothing changes."""
    source = exchange.source()
    cupy = exchange.producer.module()
    tensor = _as_tensor(exchange, "DOC-CP-4", source.array)
    back = _documented(exchange, "DOC-CP-4", "cupy.asarray", lambda: cupy.asarray(tensor.cuda()))
    _expect_form(exchange, "DOC-CP-4", source, exchange.producer.describe(back))
    _expect_bytes(exchange, "DOC-CP-4", "the elements changed", source.values, exchange.producer.read(back))


# -- NumPy, by four methods


@invariant(
    "claim.numpy-by-cuda-python",
    producer="DOC-NP-1",
    consumer="DOC-NP-1",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=_claim("numpy", "cvcuda", "cuda_python", layout=PLAIN, dtype=_common),
)
def test_numpy_by_cuda_python(exchange: Exchange) -> None:
    """A NumPy array copied by ``cudaMemcpy`` to a buffer around ``cudaMalloc`` is in the tensor made of it, and comes back."""
    array, values = _host_array(exchange)
    buffer = _buffer(exchange, array.shape)
    _expect("DOC-NP-1", "cudaMemcpy to the device failed", 0, buffer.upload(array.tobytes()))
    tensor = _as_tensor(exchange, "DOC-NP-1", buffer)
    _expect("DOC-NP-1", "the tensor is elsewhere", hex(buffer.address), hex(_address(tensor)))
    code, back = _buffer(exchange, array.shape, _address(tensor)).download()
    _expect("DOC-NP-1", "cudaMemcpy to the host failed", 0, code)
    _expect_bytes(exchange, "DOC-NP-1", "other elements came back", values, back)


def _buffer(exchange: Exchange, shape: tuple[int, ...], address: int | None = None) -> DeviceBuffer:
    runtime: Any = exchange.library("cuda_python").runtime  # type: ignore[attr-defined]
    return DeviceBuffer(runtime, exchange.dtype, shape, address)


def _from_numpy_cases(env: Environment) -> Iterator[Draft]:
    form = layouts("c-order", "vector", *STRIDED, "reversed", *ZERO_STRIDE, *EMPTY, "scalar")
    pairs = _pairs(env, "numpy", "torch", device=Device.HOST)
    return (replace(draft, protocol="none") for draft in every(pairs, layout=form, dtype=_common))


@invariant(
    "claim.from-numpy-shares",
    producer="DOC-NP-2",
    consumer="DOC-NP-2",
    level=Level.MUST,
    needs=Needs.HOST,
    cases=_from_numpy_cases,
)
def test_from_numpy_shares(exchange: Exchange) -> None:
    """``torch.from_numpy`` makes a tensor on the NumPy array's own memory: writes of either side are seen by the other."""
    source = exchange.source()
    torch = exchange.consumer.module()
    tensor = _documented(exchange, "DOC-NP-2", "torch.from_numpy", lambda: torch.from_numpy(source.array))
    view = exchange.consumer.describe(tensor)
    _expect_form(exchange, "DOC-NP-2", source, view)
    _expect_shared("DOC-NP-2", source, view)
    _expect_bytes(exchange, "DOC-NP-2", "the elements changed", source.values, exchange.consumer.read(tensor))
    if _is_shown(exchange):
        for seed, (writer, target) in enumerate(((exchange.producer, source.array), (exchange.consumer, tensor)), 1):
            other = _other(exchange, seed)
            writer.write(target, other)
            reason = f"a write by {writer.name} is not seen by both"
            _expect_bytes(exchange, "DOC-NP-2", reason, other, exchange.producer.read(source.array))
            _expect_bytes(exchange, "DOC-NP-2", reason, other, exchange.consumer.read(tensor))


@invariant(
    "claim.numpy-by-torch",
    producer="DOC-NP-2",
    consumer="DOC-NP-2",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=_claim("numpy", "cvcuda", "torch", layout=PLAIN, dtype=_common),
)
def test_numpy_by_torch(exchange: Exchange) -> None:
    """By ``torch.from_numpy(…).cuda()`` a NumPy array gets to the GPU and into a tensor, and back by ``.clone().cpu()``."""
    array, values = _host_array(exchange)
    torch = exchange.library("torch").module()
    moved = _documented(exchange, "DOC-NP-2", "torch.from_numpy(…).cuda()", lambda: torch.from_numpy(array).cuda())
    tensor = _as_tensor(exchange, "DOC-NP-2", moved)
    _expect("DOC-NP-2", "the tensor is elsewhere", hex(moved.data_ptr()), hex(_address(tensor)))
    back = _documented(
        exchange, "DOC-NP-2", "torch.as_tensor(tensor.cuda())", lambda: torch.as_tensor(tensor.cuda()).clone()
    )
    _expect_returned(exchange, "DOC-NP-2", array, values, back.cpu().numpy())


def _expect_returned(exchange: Exchange, clause: str, array: Any, values: bytes, back: Any) -> None:
    """A NumPy array that came back: shape, element type, elements."""
    _expect(clause, "another shape came back", tuple(array.shape), tuple(back.shape))
    _expect(clause, "another element type came back", array.dtype.name, back.dtype.name)
    _expect_bytes(exchange, clause, "other elements came back", values, back.tobytes())


@invariant(
    "claim.numpy-to-cupy",
    producer="DOC-NP-3",
    consumer="DOC-NP-3",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=lambda env: every(
        _pairs(env, "numpy", "cupy"),
        layout=lambda pair: ("c-order", *(n for n in pair.producer.sides[Device.HOST].layouts if n != "c-order")),
        dtype=_common,
    ),
)
def test_numpy_to_cupy(exchange: Exchange) -> None:
    """``cupy.asarray`` of a NumPy array keeps shape, element type, elements, and the order of rows and columns."""
    array, values = _host_array(exchange)
    cupy = exchange.consumer.module()
    moved = _documented(exchange, "DOC-NP-3", "cupy.asarray", lambda: cupy.asarray(array))
    _expect_returned(exchange, "DOC-NP-3", array, values, cupy.asnumpy(moved))
    if array.flags.forc:
        orders = (bool(array.flags.c_contiguous), bool(array.flags.f_contiguous))
        kept = (bool(moved.flags.c_contiguous), bool(moved.flags.f_contiguous))
        _expect("DOC-NP-3", "the order changed (C-contiguous, Fortran-contiguous)", orders, kept)


@invariant(
    "claim.numpy-by-cupy",
    producer="DOC-NP-3",
    consumer="DOC-NP-3",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=_claim("numpy", "cvcuda", "cupy", layout=PLAIN, dtype=_common),
)
def test_numpy_by_cupy(exchange: Exchange) -> None:
    """By ``cupy.asarray`` a NumPy array gets to the GPU and into a tensor, and back by ``cupy.asnumpy``."""
    array, values = _host_array(exchange)
    cupy = exchange.library("cupy").module()
    moved = _documented(exchange, "DOC-NP-3", "cupy.asarray", lambda: cupy.asarray(array))
    tensor = _as_tensor(exchange, "DOC-NP-3", moved)
    back = _documented(exchange, "DOC-NP-3", "cupy.asarray(tensor.cuda())", lambda: cupy.asarray(tensor.cuda()))
    _expect_returned(exchange, "DOC-NP-3", array, values, cupy.asnumpy(back))


@invariant(
    "claim.numpy-by-pycuda",
    producer="DOC-NP-4 DOC-PC-2 DOC-PC-3",
    consumer="DOC-NP-4 DOC-PC-2 DOC-PC-3",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=_claim("numpy", "cvcuda", "pycuda", layout=PLAIN, dtype=_common),
)
def test_numpy_by_pycuda(exchange: Exchange) -> None:
    """By ``gpuarray.to_gpu`` a NumPy array gets to the GPU and into a tensor, and back by a ``GPUArray`` on its pointer."""
    array, values = _host_array(exchange)
    gpuarray = exchange.library("pycuda").module().gpuarray
    moved = _documented(exchange, "DOC-NP-4", "gpuarray.to_gpu", lambda: gpuarray.to_gpu(array))
    tensor = _as_tensor(exchange, "DOC-NP-4", moved)
    back = _gpuarray_on(exchange, "DOC-NP-4", tensor)
    _expect_returned(exchange, "DOC-NP-4", array, values, back.get())


def _gpuarray_on(exchange: Exchange, clause: str, tensor: Any) -> Any:
    """The ``GPUArray`` that the page builds by hand."""
    gpuarray = exchange.library("pycuda").module().gpuarray
    return _documented(
        exchange, clause, "GPUArray(shape=…, dtype=…, gpudata=…)",
        lambda: gpuarray.GPUArray(shape=tensor.shape, dtype=tensor.dtype, gpudata=_address(tensor)),
    )  # fmt: skip


@invariant(
    "claim.numpy-refused",
    producer="DOC-NP-5",
    consumer="DOC-NP-5",
    bugs="device-07 device-09",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=_claim("numpy", "cvcuda", layout=PLAIN, dtype=_SHOWN),
)
def test_numpy_refused(exchange: Exchange) -> None:
    """A NumPy array handed to ``cvcuda.as_tensor`` as it is, on the CPU, is refused."""
    array, _ = _host_array(exchange)
    module = exchange.consumer.module()
    exchange.expect_refusal(
        lambda: module.as_tensor(array), "DOC-NP-5", role=Role.CONSUMER, reason="an array in host memory"
    )


def _installed(env: Environment) -> Iterator[Draft]:
    for name in ("torch", "cupy", "pycuda"):
        library = env.get(name)
        if library is not None and library.versions:
            device = Device.HOST if Device.HOST in library.sides else Device.CUDA
            yield Draft(name, name, "none", device, (), Tier.FULL)


@invariant("claim.installation", producer="DOC-NP-6", consumer="DOC-NP-6", level=Level.OBSERVED, cases=_installed)
def test_installation(exchange: Exchange) -> None:
    """CuPy and PyCUDA were built when they were installed, and PyTorch is a large download.

    What the installed files say: a wheel for a published platform was downloaded ready made.
    """
    name = next(n for n in exchange.producer.distributions if n in exchange.producer.versions())
    distribution = metadata.distribution(name)
    if exchange.case.producer == "torch":
        size = sum(file.size or 0 for file in distribution.files or ())
        if size < _LARGE:
            _observe("it is not large", f"{_LARGE >> 20} MiB or more", f"{size >> 20} MiB of files")
        return
    tags = [line[5:] for line in (distribution.read_text("WHEEL") or "").splitlines() if line.startswith("Tag: ")]
    if not tags:
        raise Inconclusive(f"{name} {distribution.version} does not tell how it was installed")
    if any(tag.rpartition("-")[2].startswith(_PUBLISHED) for tag in tags):
        _observe(
            "it came ready made", "built at installation", f"{name} {distribution.version}, a wheel tagged {tags[0]}"
        )


_LARGE = 500 << 20
_PUBLISHED = ("manylinux", "musllinux", "win", "macosx", "any")
"""Platforms that package indexes take wheels for; what is built on a Linux machine is for ``linux_…`` alone."""


def _observe(reason: str, expected: str, seen: str) -> None:
    fail("DOC-NP-6", role=Role.PRODUCER, level=Level.OBSERVED, reason=reason, expected=expected, seen=seen)


# -- PyTorch


@invariant(
    "claim.cpu-tensor-refused",
    producer="DOC-PT-1",
    consumer="DOC-PT-1",
    bugs="device-07 device-09",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=_claim("torch", "cvcuda", layout=PLAIN, dtype=_SHOWN),
)
def test_cpu_tensor_refused(exchange: Exchange) -> None:
    """A PyTorch tensor on the CPU is refused by ``cvcuda.as_tensor``, and taken once ``.cuda()`` has moved it."""
    torch, module = exchange.producer.module(), exchange.consumer.module()
    array, values = _host_array(exchange)
    tensor = torch.from_numpy(array)
    exchange.expect_refusal(
        lambda: module.as_tensor(tensor), "DOC-PT-1", role=Role.CONSUMER, reason="a tensor in host memory"
    )
    moved = _as_tensor(exchange, "DOC-PT-1", tensor.cuda())
    _expect_bytes(exchange, "DOC-PT-1", "the elements changed", values, exchange.consumer.read(moved))


@invariant(
    "claim.torch-shares",
    producer="DOC-PT-2",
    consumer="DOC-PT-2",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=_claim("torch", "cvcuda", layout=_EVERY_FORM, dtype=dtypes()),
)
def test_torch_shares(exchange: Exchange) -> None:
    """``cvcuda.as_tensor`` of a PyTorch tensor on the GPU shares its memory as it is, or refuses it."""
    _converts(exchange, "DOC-PT-2")


@invariant(
    "claim.tensor-to-torch",
    producer="DOC-PT-3",
    consumer="DOC-PT-3",
    bugs="device-06 device-19",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=_claim("cvcuda", "torch", layout=layouts(*PLAIN), dtype=_common),
)
def test_tensor_to_torch(exchange: Exchange) -> None:
    """``torch.as_tensor(tensor.cuda())`` is on the tensor's memory, and ``.clone()`` of it is not."""
    source = exchange.source()
    torch = exchange.consumer.module()
    shared = _documented(exchange, "DOC-PT-3", "torch.as_tensor", lambda: torch.as_tensor(source.array.cuda()))
    view = exchange.consumer.describe(shared)
    _expect_form(exchange, "DOC-PT-3", source, view)
    _expect_shared("DOC-PT-3", source, view)
    clone = shared.clone()
    exchange.consumer.write(clone, _other(exchange))
    reason = "a write to the clone reached the tensor"
    _expect_bytes(exchange, "DOC-PT-3", reason, source.values, exchange.producer.read(source.array))
    exchange.consumer.write(shared, _other(exchange, 2))
    reason = "a write is not seen through the tensor"
    _expect_bytes(exchange, "DOC-PT-3", reason, _other(exchange, 2), exchange.producer.read(source.array))


@invariant(
    "claim.as-tensor-without-device",
    producer="DOC-PT-3",
    consumer="DOC-PT-3",
    bugs="device-06 device-19",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=lambda env: every(
        (p for p in env.pairs(Protocol.CAI, on=(Device.CUDA,)) if p.consumer.name == "torch"),
        dtype=dtypes("float32", "uint8"),
    ),
)
def test_as_tensor_without_device(exchange: Exchange) -> None:
    """``torch.as_tensor`` of a CUDA array stays on the GPU and on its memory, though no device was named."""
    source = exchange.source()
    torch, offer = exchange.consumer.module(), exchange.offer(source)
    view = exchange.consumer.describe(
        _documented(exchange, "DOC-PT-3", "torch.as_tensor", lambda: torch.as_tensor(offer))
    )
    _expect("DOC-PT-3", "the array was moved to another device", (exchange.device.dlpack_type, 0), view.device)
    _expect_shared("DOC-PT-3", source, view)


# -- PyCUDA


def _autoinit_cases(env: Environment) -> Iterator[Draft]:
    for pair in (*_pairs(env, "pycuda", "cvcuda"), *_pairs(env, "cvcuda", "pycuda")):
        for draft in every((pair,), order=("pycuda-first", "cvcuda-first")):
            yield replace(draft, tier=Tier.FULL)


@invariant(
    "claim.pycuda-autoinit",
    producer="DOC-PC-1",
    consumer="DOC-PC-1",
    bugs="context-05 context-07",
    level=Level.MUST,
    needs=Needs.GPU,
    isolation=Isolation.FRESH,
    cases=_autoinit_cases,
)
def test_pycuda_autoinit(exchange: Exchange) -> None:
    """With ``import pycuda.autoinit`` PyCUDA and CV-CUDA exchange arrays, in either order of imports."""
    first, case = exchange.option("order").removesuffix("-first"), exchange.case
    ended = interpreter.run("pycuda_context", "autoinit", first, case.producer, case.consumer)
    try:
        interpreter.expect_exchange(ended)
    except (Refused, Finding) as trouble:
        seen = str(trouble)
        reason = "under the documented context the exchange does not work"
        fail("DOC-PC-1", role=Role.CONSUMER, reason=reason, expected="the array is exchanged", seen=seen)


@invariant(
    "claim.gpuarray-converts",
    producer="DOC-PC-2",
    consumer="DOC-PC-2",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=_claim("pycuda", "cvcuda", layout=_EVERY_FORM, dtype=dtypes()),
)
def test_gpuarray_converts(exchange: Exchange) -> None:
    """``cvcuda.as_tensor`` converts a ``GPUArray`` as it is, or refuses it."""
    _converts(exchange, "DOC-PC-2")


@invariant(
    "claim.gpuarray-on-tensor",
    producer="DOC-PC-3",
    consumer="DOC-PC-3",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=_claim("cvcuda", "pycuda", layout=layouts(*PLAIN), dtype=_common),
)
def test_gpuarray_on_tensor(exchange: Exchange) -> None:
    """A ``GPUArray`` built on the pointer that ``tensor.cuda()`` publishes views the tensor's memory."""
    source = exchange.source()
    array = _gpuarray_on(exchange, "DOC-PC-3", source.array)
    view = exchange.consumer.describe(array)
    _expect_form(exchange, "DOC-PC-3", source, view)
    _expect_shared("DOC-PC-3", source, view)
    _expect_bytes(exchange, "DOC-PC-3", "the elements changed", source.values, exchange.consumer.read(array))
    other = _other(exchange)
    exchange.consumer.write(array, other)
    reason = "a write is not seen through the tensor"
    _expect_bytes(exchange, "DOC-PC-3", reason, other, exchange.producer.read(source.array))


# -- CUDA Python


def _takers(env: Environment) -> Iterator[Pair]:
    """CUDA Python with every real library that takes the array interface."""
    for library in env.present:
        side = library.sides.get(Device.CUDA)
        if side and Protocol.CAI in side.imports and library.name != REFERENCE:
            yield from _pairs(env, "cuda_python", library.name)


@invariant(
    "claim.buffer-accepted",
    producer="DOC-CU-1",
    consumer="DOC-CU-1",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=lambda env: every(_takers(env), layout=PLAIN, dtype=dtypes("float32", "uint8", "complex64")),
)
def test_buffer_accepted(exchange: Exchange) -> None:
    """A small class around ``cudaMalloc`` with the array interface is taken without a copy by every library."""
    buffer = _buffer(exchange, exchange.layout.base)
    values = pattern(exchange.dtype, exchange.layout.elements)
    _expect("DOC-CU-1", "cudaMemcpy to the device failed", 0, buffer.upload(values))
    taken = _taken(exchange, buffer)
    view = exchange.consumer.describe(taken)
    _expect("DOC-CU-1", "the memory is not shared", hex(buffer.address), hex(view.address))
    _expect_bytes(exchange, "DOC-CU-1", "the elements changed", values, exchange.consumer.read(taken))
    _expect("DOC-CU-1", "cudaMemcpy to the device failed", 0, buffer.upload(_other(exchange)))
    reason = "what cudaMemcpy wrote is not seen"
    _expect_bytes(exchange, "DOC-CU-1", reason, _other(exchange), exchange.consumer.read(taken))


def _taken(exchange: Exchange, buffer: DeviceBuffer) -> Any:
    call = exchange.consumer.take
    who = f"import by {exchange.consumer.name}"
    return _documented(exchange, "DOC-CU-1", who, lambda: call(buffer, Protocol.CAI, exchange.device))


@invariant(
    "claim.import-owns-nothing",
    producer="DOC-CU-2",
    consumer="DOC-CU-2",
    bugs="I20",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=lambda env: every(_takers(env)),
)
def test_import_owns_nothing(exchange: Exchange) -> None:
    """When a library's import of a buffer ends, the memory is still the buffer's: it works, and is freed once."""
    buffer = _buffer(exchange, exchange.layout.base)
    _expect("DOC-CU-2", "cudaMemcpy to the device failed", 0, buffer.upload(_other(exchange)))
    held = [_taken(exchange, buffer)]
    held.clear()
    collect()
    values = pattern(exchange.dtype, exchange.layout.elements)
    _expect("DOC-CU-2", "after the import's end cudaMemcpy to the device failed", 0, buffer.upload(values))
    code, seen = buffer.download()
    _expect("DOC-CU-2", "after the import's end cudaMemcpy to the host failed", 0, code)
    _expect_bytes(exchange, "DOC-CU-2", "after the import's end the memory changed", values, seen)
    _expect("DOC-CU-2", "the import had freed the memory: cudaFree failed", 0, buffer.free())


def _givers(env: Environment) -> Iterator[Pair]:
    """Every real library that offers the array interface with CUDA Python."""
    for library in env.present:
        side = library.sides.get(Device.CUDA)
        if side and Protocol.CAI in side.exports and library.name not in (REFERENCE, "cuda_python"):
            yield from _pairs(env, library.name, "cuda_python")


@invariant(
    "claim.wrapper-owns-nothing",
    producer="DOC-CU-2",
    consumer="DOC-CU-2",
    bugs="I20",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=lambda env: every(_givers(env)),
)
def test_wrapper_owns_nothing(exchange: Exchange) -> None:
    """A buffer made around the pointer that a library publishes reads its elements, and leaves them when it ends."""
    source = exchange.source()
    address = int(exchange.dictionary_of(source)["data"][0])
    wrapper = _buffer(exchange, source.view.shape, address)
    code, seen = wrapper.download()
    _expect("DOC-CU-2", "cudaMemcpy to the host failed", 0, code)
    _expect_bytes(exchange, "DOC-CU-2", "the pointer leads to other elements", source.values, seen)
    del wrapper
    collect()
    reason = "after the wrapper's end the array changed"
    _expect_bytes(exchange, "DOC-CU-2", reason, source.values, exchange.producer.read(source.array))


_SHAPES = {
    "10x10x3": (10, 10, 3), "4x5x3": (4, 5, 3), "7x32x4": (7, 32, 4), "8x64x1": (8, 64, 1), "5x7": (5, 7), "8x64": (8, 64),
}  # fmt: skip
_TYPES = {"uint8": "U8", "float32": "F32"}


def _tensor_cases(env: Environment) -> Iterator[Draft]:
    """Image shapes with and without their layout's name."""
    pairs = tuple(_pairs(env, "cuda_python", "cvcuda"))
    yield from every(pairs, shape=tuple(_SHAPES), named=("none",), dtype=tuple(_TYPES))
    images = tuple(name for name, shape in _SHAPES.items() if len(shape) == 3)
    for draft in every(pairs, shape=images, named=("HWC",), dtype=tuple(_TYPES)):
        yield replace(draft, tier=Tier.FULL)


def _filled_tensor(exchange: Exchange) -> tuple[Any, bytes]:
    """A tensor by the documented call, with as many bytes as it has elements copied to its pointer in one piece."""
    shape = _SHAPES[exchange.option("shape")]
    named = () if exchange.option("named") == "none" else (exchange.option("named"),)
    module = exchange.consumer.module()
    kind = getattr(module.Type, _TYPES[exchange.dtype.name])
    tensor = _documented(exchange, "DOC-CU-3", "cvcuda.Tensor", lambda: module.Tensor(shape, kind, *named))
    buffer = _buffer(exchange, shape, _address(tensor))
    values = pattern(exchange.dtype, buffer.nbytes // exchange.dtype.itemsize)
    _expect("DOC-CU-3", "cudaMemcpy to the device failed", 0, buffer.upload(values))
    return tensor, values


@invariant(
    "claim.tensor-as-buffer",
    producer="DOC-CU-3",
    consumer="DOC-CU-3",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=_tensor_cases,
)
def test_tensor_as_buffer(exchange: Exchange) -> None:
    """What ``cudaMemcpy`` copies to the pointer of a new tensor comes back from there unchanged."""
    tensor, values = _filled_tensor(exchange)
    code, back = _buffer(exchange, _SHAPES[exchange.option("shape")], _address(tensor)).download()
    _expect("DOC-CU-3", "cudaMemcpy to the host failed", 0, code)
    _expect_bytes(exchange, "DOC-CU-3", "other elements came back", values, back)


@invariant(
    "claim.flat-copy",
    producer="DOC-CU-3",
    consumer="DOC-CU-3",
    level=Level.OBSERVED,
    needs=Needs.GPU,
    cases=_tensor_cases,
)
def test_flat_copy(exchange: Exchange) -> None:
    """A new tensor's elements are what a flat ``cudaMemcpy`` to its pointer put there: its rows have no padding.

    The page copies flat. Where CV-CUDA pads rows, every row but the first begins in the wrong place.
    """
    tensor, values = _filled_tensor(exchange)
    seen = exchange.consumer.read(tensor)
    if seen != values:
        fail(
            "DOC-CU-3",
            role=Role.CONSUMER,
            level=Level.OBSERVED,
            reason="a flat copy misplaces the tensor's elements",
            expected=f"packed rows for shape {_SHAPES[exchange.option('shape')]}",
            seen=f"strides of {exchange.consumer.describe(tensor).strides} bytes",
        )


# -- best practices


def _named_layouts(env: Environment) -> Iterator[Draft]:
    for name in _CLAIMS:
        yield from every(_pairs(env, name, "cvcuda"), layout=("cube",), named=("HWC", "CHW"), dtype=_SHOWN)


@invariant(
    "claim.named-layout",
    producer="DOC-CP-2 DOC-PT-2 DOC-PC-2 DOC-CU-1",
    consumer="DOC-CP-2 DOC-PT-2 DOC-PC-2 DOC-CU-1",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=_named_layouts,
)
def test_named_layout(exchange: Exchange) -> None:
    """``cvcuda.as_tensor`` with a layout's name makes a tensor of that layout on the same memory."""
    clause, named = _CLAIMS[exchange.case.producer], exchange.option("named")
    source = exchange.source()
    tensor = _as_tensor(exchange, clause, source.array, named)
    _expect(clause, "the tensor has another layout", named, str(tensor.layout))
    view = exchange.consumer.describe(tensor)
    _expect_form(exchange, clause, source, view)
    _expect_shared(clause, source, view)
    _expect_bytes(exchange, clause, "the elements changed", source.values, exchange.consumer.read(tensor))


_WRAPPERS = 20


def _wrapping(env: Environment) -> Iterator[Draft]:
    pairs = (p for p in env.imports(on=(Device.CUDA,)) if p.consumer.name == "cvcuda")
    return every(pairs, call=("as-tensor", "as-image"), dtype=("uint8",))


@invariant(
    "claim.wrapped-is-released",
    consumer="DLP-26",
    context="G12",
    bugs="I19 I21 lifetime-16 lifetime-17 lifetime-19 lifetime-20",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=_wrapping,
)
def test_wrapped_is_released(exchange: Exchange) -> None:
    """Arrays that CV-CUDA has wrapped are let go when the wrappers end, whether or not its cache is cleared.

    One more is wrapped after those that count, so that whatever a release waits for has happened.
    """
    module = exchange.consumer.module()
    *wrapped, _ = [_wrap_and_drop(exchange, module, rows) for rows in range(1, _WRAPPERS + 2)]
    exchange.check_context()
    kept = _alive(wrapped)
    if not kept:
        return
    module.clear_cache()
    still = _alive(wrapped)
    clause = "DLP-26" if exchange.protocol is Protocol.DLPACK else "G12"
    fail(
        clause,
        role=Role.CONSUMER,
        reason="wrapped arrays outlive their wrappers",
        expected=f"none of {_WRAPPERS} arrays alive",
        seen=f"{kept} alive, {still} of them even after clear_cache()",
    )


def _wrap_and_drop(exchange: Exchange, module: Any, rows: int) -> weakref.ref[Any]:
    """Wrap an image of this many rows and let everything go; the array is watched."""
    kind = dtype("uint8")
    array = exchange.producer.array(kind, (rows, 8, 3), pattern(kind, rows * 24), exchange.device)
    offer = exchange.producer.offer(array, exchange.protocol)
    try:
        if exchange.option("call") == "as-tensor":
            module.as_tensor(offer)
        else:
            module.as_image(offer, module.Format.RGB8)
    except Exception as error:
        exchange.check_context(error)
        raise Refused(f"cvcuda refused to wrap: {brief(error)}") from error
    return weakref.ref(array)


def _alive(wrapped: list[weakref.ref[Any]]) -> int:
    managed.settle()
    if any(ref() is not None for ref in wrapped):
        collect()
    return sum(ref() is not None for ref in wrapped)
