"""Family ``claim``: promises in the libraries' own documentation, tested with the calls that it shows.

The pages are CV-CUDA's on interoperability: NumPy by four methods, CuPy, PyTorch, PyCUDA, CUDA Python. The examples of a page
(plain float32 and uint8 arrays) must work. For other arrays a refusal only limits the claim. A page binds CV-CUDA, which publishes
it. The other libraries are at most expected to follow it. Each claim names the library of its call, and a failure accuses that library.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import reduce
from importlib import metadata
from typing import Any, NoReturn

from conformance.adapters.base import Adapter, Device, Protocol, View
from conformance.checks import interpreter, kernel_control
from conformance.checks.buffers import DeviceBuffer
from conformance.checks.catalogue import VIA, Draft, Isolation, Needs, Tier, dtypes, every, invariant, layouts
from conformance.checks.codes import Code
from conformance.checks.exchange import UNCLEAN, Exchange, Source, brief, collect, show
from conformance.checks.handover_record import decoded, mismatch
from conformance.checks.layouts import EMPTY, LAYOUTS, PLAIN, STRIDED, ZERO_STRIDE
from conformance.checks.libraries import REFERENCE, Environment, Library, Pair
from conformance.checks.outcomes import Failure, Inconclusive, Refused, Side, fail
from conformance.checks.patterns import pattern
from conformance.checks.steps import Doing
from conformance.protocols.clauses import Level, Role
from conformance.protocols.dtypes import dtype
from conformance.protocols.strided import gather, same_strides
from conformance.reference import managed

_SHOWN = ("float32", "uint8")
"""Element types that the pages use in their examples."""
_CLAIMS = {"cupy": "DOC-CP-2", "torch": "DOC-PT-2", "pycuda": "DOC-PC-2", "cuda_python": "DOC-CU-1"}
"""The clause which says that ``cvcuda.as_tensor`` takes this library's arrays."""

Planner = Callable[[Environment], Iterator[Draft]]


# -- planning


def _pairs(env: Environment, first: str, second: str, *also: str, device: Device = Device.CUDA) -> Iterator[Pair]:
    """Yield the two libraries of a claim if all that it needs are installed: NumPy on the host, the others on ``device``."""
    found = {name: _find(env, name, Device.HOST if name == "numpy" else device) for name in (first, second, *also)}
    giver, taker = found[first], found[second]
    if giver and taker and all(found.values()):
        yield Pair(giver, taker, Protocol.CAI, device)


def _find(env: Environment, name: str, device: Device) -> Library | None:
    library = env.get(name)
    return library if library is not None and device in library.sides else None


def _claim(first: str, second: str, *also: str, **axes: Any) -> Planner:
    """Return a planner of cases on the GPU."""
    return lambda env: every(_pairs(env, first, second, *also), **axes)


def _common(pair: Pair) -> tuple[str, ...]:
    """Return an axis: element types that both libraries have on any device; those in the examples of the pages come first."""
    sides = [lib.sides.get(pair.device) or lib.sides[Device.HOST] for lib in (pair.producer, pair.consumer)]
    names = [name for name in sides[0].dtypes if name in sides[1].dtypes]
    return tuple(sorted(names, key=lambda name: name not in _SHOWN))


# -- judging


@dataclass(frozen=True)
class Claim:
    """A page's claim about one call: the clause, the call in the page's words, and the side of the library that has the call."""

    exchange: Exchange
    cited: str
    call: str = "`cvcuda.as_tensor`"
    side: Side = Side.CONSUMER

    @property
    def library(self) -> Adapter:
        """The library that has the call."""
        case = self.exchange.case
        names = {
            Side.PRODUCER: case.producer,
            Side.CONSUMER: case.consumer,
            Side.BETWEEN: case.option(VIA, case.consumer),
        }
        return self.exchange.library(names[self.side])

    @property
    def _role(self) -> Role:
        return Role.PRODUCER if self.side is Side.PRODUCER else Role.CONSUMER

    def broken(
        self,
        reason: str,
        expected: object,
        seen: object,
        *,
        code: Code = Code.CLAIM_NOT_KEPT,
        level: Level | None = None,
    ) -> NoReturn:
        """Fail because the claim does not hold, and accuse this library."""
        fail(
            code, self.cited, role=self._role, level=level, reason=reason, expected=expected, seen=seen, given=self.call,
            accused=self.side,
        )  # fmt: skip

    def made(self, call: Callable[[], Any]) -> Any:
        """Return the result of the call. An exception breaks the claim for an array of the page's example, and limits it elsewhere."""
        try:
            with self.exchange.step(Doing.IMPORT, self._role):
                return call()
        except Exception as error:
            self.exchange.check_context(error)
            kernel_control.expect_kernels(self.exchange, self.library)
            seen = f"{self.call}: {brief(error)}"
            if _is_shown(self.exchange):
                self.broken("the documented call raises", "no exception", seen, code=Code.CLAIM_RAISED)
            if isinstance(error, UNCLEAN):
                fail(
                    Code.DEFECT_EXCEPTION, "G6", role=Role.CONSUMER, reason="the call refuses with an exception that indicates a bug",
                    expected="a refusal", seen=seen, given=type(error).__name__, accused=self.side,
                )  # fmt: skip
            raise Refused(seen) from error

    def expect(self, reason: str, expected: object, seen: object) -> None:
        """Fail unless both are equal."""
        if expected != seen:
            self.broken(reason, expected, seen)

    def expect_bytes(self, reason: str, expected: bytes, seen: bytes) -> None:
        """Fail unless both are equal bit for bit; the report begins at the first element that differs."""
        if expected == seen:
            return
        kind = self.exchange.dtype
        first = next((i for i, pair in enumerate(zip(expected, seen)) if pair[0] != pair[1]), 0) // kind.itemsize
        shown = [f"from element {first} on {show(data[first * kind.itemsize :], kind)}" for data in (expected, seen)]
        self.broken(reason, shown[0], shown[1])

    def expect_shared(self, source: Source, view: View) -> None:
        """Fail unless the result of the call has the memory of the producer's array."""
        if source.view.size and view.address != source.address:
            _expect_published(self.exchange, source)
            reason = "the call does not share the memory"
            self.broken(reason, f"element 0 at {source.address:#x}", f"element 0 at {view.address:#x}")

    def expect_form(self, source: Source, view: View) -> None:
        """Fail if the call silently changed the shape, the strides or the element type."""
        wanted = (source.view.shape, source.dtype.name)
        same = same_strides(view.shape, view.strides, source.strides) if view.shape == source.view.shape else False
        if same and (view.shape, view.dtype) == wanted:
            return
        _expect_published(self.exchange, source)
        self.expect("the call changes the shape", source.view.shape, view.shape)
        self.expect("the call changes the element type", source.dtype.name, view.dtype)
        self.broken("the call changes the strides", f"{source.strides} bytes", f"{view.strides} bytes")

    def expect_import(self, source: Source, view: View, seen: bytes) -> None:
        """Check the form, the memory and the elements of the result of the call."""
        self.expect_form(source, view)
        self.expect_shared(source, view)
        self.expect_bytes("the call changes the elements", source.values, seen)


def _is_shown(exchange: Exchange) -> bool:
    return exchange.dtype.name in _SHOWN and exchange.layout.name in PLAIN


def _expect_published(exchange: Exchange, source: Source) -> None:
    """Fail the producer if its dictionary does not describe its array: the consumer's call then has no correct input."""
    exporter = exchange.producer.exporter(source.array, Protocol.CAI)
    described = decoded(Protocol.CAI, getattr(exporter, "__cuda_array_interface__", None))
    wrong = described and mismatch(described, source.dtype, source.view, source.address)
    if wrong:
        fail(
            wrong.code, wrong.clause, role=Role.PRODUCER, reason=wrong.reason, expected=wrong.expected, seen=wrong.seen,
            accused=Side.PRODUCER,
        )  # fmt: skip


def _expect_written(writer: Claim, reader: Claim, address: int, expected: bytes, seen: bytes) -> None:
    """Fail unless one side reads the elements that the other wrote; the suite's own read of the memory decides which side is wrong."""
    arrived = writer.exchange.peek(address, len(expected)) == expected
    blamed, reason = (
        (reader, "the reader does not see a write") if arrived else (writer, "a write does not reach the memory")
    )
    blamed.expect_bytes(reason, expected, seen)


def _other(exchange: Exchange, seed: int = 1) -> bytes:
    """Return elements to write to a packed array of the case."""
    return pattern(exchange.dtype, exchange.layout.elements, seed)


def _as_tensor(claim: Claim, array: Any, *layout: str) -> Any:
    """Return the result of ``cvcuda.as_tensor``."""
    module = claim.exchange.library("cvcuda").module()
    return claim.made(lambda: module.as_tensor(array, *layout))


def _address(tensor: Any) -> int:
    """Return the address that ``tensor.cuda()`` publishes, read as the pages show it."""
    return int(tensor.cuda().__cuda_array_interface__["data"][0])


def _host_array(exchange: Exchange) -> tuple[Any, bytes]:
    """Return a NumPy array of the case's type and layout, for any device of the case, and its elements."""
    numpy, form, kind = exchange.library("numpy"), exchange.layout, exchange.dtype
    block = pattern(kind, form.elements)
    array = reduce(numpy.view, form.steps, numpy.array(kind, form.base, block, Device.HOST))
    return array, gather(block, form.view, kind.itemsize)


# -- CuPy


@invariant(
    "claim.cupy-on-gpu",
    producer="DOC-CP-1 CAI-05",
    consumer="DOC-CP-1",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=_claim("cupy", "cvcuda", dtype=_common),
)
def test_cupy_on_gpu(exchange: Exchange) -> None:
    """CuPy must allocate its arrays on the GPU, and ``cvcuda.as_tensor`` must convert one without a copy."""
    source = exchange.source()
    if exchange.device is Device.CUDA:
        from conformance.cuda import pointers

        found = pointers.query(source.address)
        own = Claim(exchange, "DOC-CP-1", "a CuPy array lies on the GPU", Side.PRODUCER)
        own.expect("the array is not in device memory", (2, 0), found and found.dlpack_device)
    claim = Claim(exchange, "DOC-CP-1")
    tensor = _as_tensor(claim, source.array)
    claim.expect_shared(source, exchange.consumer.describe(tensor))


def _converts(exchange: Exchange, cited: str) -> None:
    """Check that ``cvcuda.as_tensor`` keeps memory, elements and form, and that the tensor shows writes of the other library."""
    claim, source = Claim(exchange, cited), exchange.source()
    tensor = _as_tensor(claim, source.array)
    claim.expect_import(source, exchange.consumer.describe(tensor), exchange.consumer.read(tensor))
    if _is_shown(exchange):
        other = _other(exchange)
        exchange.producer.write(source.array, other)
        writer = Claim(exchange, cited, f"a write by {exchange.producer.name}", Side.PRODUCER)
        _expect_written(writer, claim, source.address, other, exchange.consumer.read(tensor))


_EVERY_FORM = layouts("c-order", *(name for name in LAYOUTS if name != "c-order"))


@invariant(
    "claim.cupy-converts",
    producer="CAI-05",
    consumer="DOC-CP-2",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=_claim("cupy", "cvcuda", layout=_EVERY_FORM, dtype=dtypes()),
)
def test_cupy_converts(exchange: Exchange) -> None:
    """``cvcuda.as_tensor`` must convert a CuPy array unchanged and without a copy, or refuse it."""
    _converts(exchange, "DOC-CP-2")


@invariant(
    "claim.cupy-views-tensor",
    producer="CAI-05",
    consumer="DOC-CP-3",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=_claim(
        "cvcuda", "cupy", written=("nowhere", "by-cupy", "by-cvcuda"), dtype=dtypes("float32", "uint8", "int32")
    ),
)
def test_cupy_views_tensor(exchange: Exchange) -> None:
    """``cupy.asarray(tensor.cuda())`` must return a view of the tensor's memory, and each side must see the writes of the other."""
    source = exchange.source()
    claim = Claim(exchange, "DOC-CP-3", "`cupy.asarray`")
    own = Claim(exchange, "DOC-CP-3", "a tensor shows what is written to it", Side.PRODUCER)
    cupy = exchange.consumer.module()
    array = claim.made(lambda: cupy.asarray(source.array.cuda()))
    claim.expect_import(source, exchange.consumer.describe(array), exchange.consumer.read(array))
    expected, writer = source.values, own
    if exchange.option("written") != "nowhere":
        expected = _other(exchange)
        by_cupy = exchange.option("written") == "by-cupy"
        writer, target = (claim, array) if by_cupy else (own, source.array)
        writer.library.write(target, expected)
    _expect_written(writer, claim, source.address, expected, exchange.consumer.read(array))
    _expect_written(writer, own, source.address, expected, exchange.producer.read(source.array))


@invariant(
    "claim.cupy-round-trip",
    producer="DOC-CP-4",
    consumer="DOC-CP-4",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=_claim("cupy", "cvcuda", layout=layouts(*PLAIN), dtype=_common),
)
def test_cupy_round_trip(exchange: Exchange) -> None:
    """A round trip from CuPy to CV-CUDA and back must not change the array."""
    source = exchange.source()
    there = Claim(exchange, "DOC-CP-4")
    back_again = Claim(exchange, "DOC-CP-4", "`cupy.asarray`", Side.PRODUCER)
    cupy = exchange.producer.module()
    tensor = _as_tensor(there, source.array)
    there.expect_form(source, exchange.consumer.describe(tensor))
    there.expect_bytes("the call changes the elements", source.values, exchange.consumer.read(tensor))
    back = back_again.made(lambda: cupy.asarray(tensor.cuda()))
    back_again.expect_form(source, exchange.producer.describe(back))
    back_again.expect_bytes("the call changes the elements", source.values, exchange.producer.read(back))


# -- NumPy, by four methods


@invariant(
    "claim.numpy-by-cuda-python",
    consumer="DOC-NP-1",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=_claim("numpy", "cvcuda", "cuda_python", via=("cuda_python",), layout=PLAIN, dtype=_common),
)
def test_numpy_by_cuda_python(exchange: Exchange) -> None:
    """A tensor on a ``cudaMalloc`` buffer must have the elements that ``cudaMemcpy`` copied there from a NumPy array.

    The case then copies the elements back and compares them.
    """
    claim = Claim(exchange, "DOC-NP-1")
    array, values = _host_array(exchange)
    _expect_copies(Claim(exchange, "DOC-NP-1", _MEMCPY, Side.BETWEEN))
    buffer = _buffer(exchange, array.shape)
    buffer.upload(array.tobytes())
    tensor = _as_tensor(claim, buffer)
    claim.expect("the tensor has a different address", hex(buffer.address), hex(_address(tensor)))
    _, back = _buffer(exchange, array.shape, _address(tensor)).download()
    claim.expect_bytes("the array comes back with different elements", values, back)


_MEMCPY = "`cudaMemcpy`"


def _buffer(exchange: Exchange, shape: tuple[int, ...], address: int | None = None) -> DeviceBuffer:
    runtime: Any = exchange.library("cuda_python").runtime  # type: ignore[attr-defined]
    return DeviceBuffer(runtime, exchange.dtype, shape, address)


def _expect_copies(claim: Claim) -> None:
    """Run a control: ``cudaMemcpy`` copies to an allocation and back, checked by the suite's own read of the memory."""
    exchange = claim.exchange
    buffer, values = _buffer(exchange, exchange.layout.base), _other(exchange, seed=2)
    claim.expect("a copy to a new allocation fails", 0, buffer.upload(values))
    claim.expect_bytes(
        "a copy to a new allocation does not reach the memory", values, exchange.peek(buffer.address, len(values))
    )
    code, back = buffer.download()
    claim.expect("a copy from a new allocation fails", 0, code)
    claim.expect_bytes("a copy from a new allocation returns other elements", values, back)


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
    """``torch.from_numpy`` must share the memory of the NumPy array, and each side must see the writes of the other."""
    source = exchange.source()
    claim = Claim(exchange, "DOC-NP-2", "`torch.from_numpy`")
    own = Claim(exchange, "DOC-NP-2", "a NumPy array shows what is written to it", Side.PRODUCER)
    torch = exchange.consumer.module()
    tensor = claim.made(lambda: torch.from_numpy(source.array))
    claim.expect_import(source, exchange.consumer.describe(tensor), exchange.consumer.read(tensor))
    if _is_shown(exchange):
        for seed, (writer, target) in enumerate(((own, source.array), (claim, tensor)), 1):
            other = _other(exchange, seed)
            writer.library.write(target, other)
            _expect_written(writer, own, source.address, other, exchange.producer.read(source.array))
            _expect_written(writer, claim, source.address, other, exchange.consumer.read(tensor))


@invariant(
    "claim.numpy-by-torch",
    consumer="DOC-NP-2",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=_claim("numpy", "cvcuda", "torch", via=("torch",), layout=PLAIN, dtype=_common),
)
def test_numpy_by_torch(exchange: Exchange) -> None:
    """A NumPy array must keep its elements on the way to a CV-CUDA tensor and back through PyTorch.

    ``torch.from_numpy(…).cuda()`` moves it to the GPU, and ``.clone().cpu()`` moves it back.
    """
    array, values = _host_array(exchange)
    torch = exchange.library("torch").module()
    moving = Claim(exchange, "DOC-NP-2", "`torch.from_numpy(…).cuda()`", Side.BETWEEN)
    returning = Claim(exchange, "DOC-NP-2", "`torch.as_tensor`", Side.BETWEEN)
    moved = moving.made(lambda: torch.from_numpy(array).cuda())
    tensor = _tensor_of(moving, moved, values)
    back = returning.made(lambda: torch.as_tensor(tensor.cuda()).clone())
    _expect_returned(returning, array, values, back.cpu().numpy())


def _tensor_of(moving: Claim, moved: Any, values: bytes) -> Any:
    """Return ``cvcuda.as_tensor`` of an array that a library has moved to the GPU; fail unless it shares the memory."""
    exchange = moving.exchange
    claim = Claim(exchange, moving.cited)
    address = int(moved.__cuda_array_interface__["data"][0])
    moving.expect_bytes("the call changes elements on the way to the GPU", values, exchange.peek(address, len(values)))
    tensor = _as_tensor(claim, moved)
    claim.expect("the tensor has a different address", hex(address), hex(_address(tensor)))
    view = exchange.library("cvcuda").describe(tensor)
    claim.expect("the call changes the element type", exchange.dtype.name, view.dtype)
    claim.expect("the call changes the shape", tuple(moved.shape), tuple(view.shape))
    return tensor


def _expect_returned(claim: Claim, array: Any, values: bytes, back: Any) -> None:
    """Fail unless the NumPy array comes back with the same shape, element type and elements."""
    claim.expect("the array comes back with a different shape", tuple(array.shape), tuple(back.shape))
    claim.expect("the array comes back with a different element type", array.dtype.name, back.dtype.name)
    claim.expect_bytes("the array comes back with different elements", values, back.tobytes())


@invariant(
    "claim.numpy-to-cupy",
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
    """``cupy.asarray`` must keep the shape, element type, elements and memory order (C or Fortran) of a NumPy array."""
    claim = Claim(exchange, "DOC-NP-3", "`cupy.asarray`")
    array, values = _host_array(exchange)
    cupy = exchange.consumer.module()
    moved = claim.made(lambda: cupy.asarray(array))
    back = cupy.asnumpy(moved)
    if not array.ndim and back.tobytes() != values and _loses_signs(cupy, array.dtype):
        _fill_loses_sign(claim, values, back.tobytes())
    _expect_returned(claim, array, values, back)
    if array.flags.forc:
        orders = (bool(array.flags.c_contiguous), bool(array.flags.f_contiguous))
        kept = (bool(moved.flags.c_contiguous), bool(moved.flags.f_contiguous))
        claim.expect("the memory order changes (C-contiguous, Fortran-contiguous)", orders, kept)


def _loses_signs(cupy: Any, kind: Any) -> bool:
    """Return whether CuPy's ``fill`` writes -0.0 as 0.0. The test uses an array of CuPy's own, without any exchange."""
    try:
        made = cupy.empty(1, kind)
        made.fill(-0.0)
        return not any(cupy.asnumpy(made).tobytes())
    except Exception:
        return False


def _fill_loses_sign(claim: Claim, expected: bytes, seen: bytes) -> NoReturn:
    kind = claim.exchange.dtype
    replace(claim, call="`ndarray.fill` keeps the sign of -0.0").broken(
        "`cupy.asarray` of a 0-d array calls `ndarray.fill`, which writes -0.0 as 0.0 by a memset; this is not an interop bug",
        show(expected, kind), show(seen, kind), level=Level.SHOULD,
    )  # fmt: skip


@invariant(
    "claim.numpy-by-cupy",
    consumer="DOC-NP-3",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=_claim("numpy", "cvcuda", "cupy", via=("cupy",), layout=PLAIN, dtype=_common),
)
def test_numpy_by_cupy(exchange: Exchange) -> None:
    """A NumPy array must keep its elements on the way to a CV-CUDA tensor and back through CuPy.

    ``cupy.asarray`` moves it to the GPU, and ``cupy.asnumpy`` moves it back.
    """
    array, values = _host_array(exchange)
    cupy = exchange.library("cupy").module()
    claim = Claim(exchange, "DOC-NP-3", "`cupy.asarray`", Side.BETWEEN)
    moved = claim.made(lambda: cupy.asarray(array))
    tensor = _tensor_of(claim, moved, values)
    back = claim.made(lambda: cupy.asarray(tensor.cuda()))
    _expect_returned(claim, array, values, cupy.asnumpy(back))


@invariant(
    "claim.numpy-by-pycuda",
    consumer="DOC-NP-4 DOC-PC-2 DOC-PC-3",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=_claim("numpy", "cvcuda", "pycuda", via=("pycuda",), layout=PLAIN, dtype=_common),
)
def test_numpy_by_pycuda(exchange: Exchange) -> None:
    """A NumPy array must keep its elements on the way to a CV-CUDA tensor and back through PyCUDA.

    ``gpuarray.to_gpu`` moves it to the GPU, and a ``GPUArray`` on the tensor's pointer moves it back.
    """
    array, values = _host_array(exchange)
    gpuarray = exchange.library("pycuda").module().gpuarray
    claim = Claim(exchange, "DOC-NP-4", "`gpuarray.to_gpu`", Side.BETWEEN)
    moved = claim.made(lambda: gpuarray.to_gpu(array))
    tensor = _tensor_of(claim, moved, values)
    returning = replace(claim, call=_GPUARRAY)
    _expect_returned(returning, array, values, _gpuarray_on(returning, tensor).get())


_GPUARRAY = "`GPUArray(shape=…, dtype=…, gpudata=…)`"


def _gpuarray_on(claim: Claim, tensor: Any) -> Any:
    """Return the ``GPUArray`` that the page builds by hand."""
    gpuarray = claim.exchange.library("pycuda").module().gpuarray
    return claim.made(lambda: gpuarray.GPUArray(shape=tensor.shape, dtype=tensor.dtype, gpudata=_address(tensor)))


@invariant(
    "claim.numpy-refused",
    consumer="DOC-NP-5",
    bugs="device-07 device-09",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=_claim("numpy", "cvcuda", layout=PLAIN, dtype=_SHOWN),
)
def test_numpy_refused(exchange: Exchange) -> None:
    """``cvcuda.as_tensor`` must refuse a NumPy array, which is in host memory."""
    array, _ = _host_array(exchange)
    module = exchange.consumer.module()
    exchange.expect_refusal(
        lambda: module.as_tensor(array), "DOC-NP-5", role=Role.CONSUMER, given="a NumPy array in host memory"
    )


def _installed(env: Environment) -> Iterator[Draft]:
    for name in ("torch", "cupy", "pycuda"):
        library = env.get(name)
        if library is not None and library.versions:
            device = Device.HOST if Device.HOST in library.sides else Device.CUDA
            yield Draft(name, name, "none", device, (), Tier.FULL)


@invariant("claim.installation", consumer="DOC-NP-6", level=Level.OBSERVED, cases=_installed)
def test_installation(exchange: Exchange) -> None:
    """The suite records whether CuPy and PyCUDA were built at installation, and whether PyTorch is a large download.

    The installed files show it: a wheel with the tag of a published platform was downloaded, not built.
    """
    name = next(n for n in exchange.producer.distributions if n in exchange.producer.versions())
    distribution = metadata.distribution(name)
    if exchange.case.producer == "torch":
        size = sum(file.size or 0 for file in distribution.files or ())
        if size < _LARGE:
            _observe("the download is not large", f"{_LARGE >> 20} MiB or more", f"{size >> 20} MiB of files")
        return
    tags = [line[5:] for line in (distribution.read_text("WHEEL") or "").splitlines() if line.startswith("Tag: ")]
    if not tags:
        raise Inconclusive(f"the metadata of {name} {distribution.version} does not say how it was installed")
    if any(tag.rpartition("-")[2].startswith(_PUBLISHED) for tag in tags):
        _observe(
            "the package is a prebuilt wheel",
            "built at installation",
            f"{name} {distribution.version}, a wheel tagged {tags[0]}",
        )


_LARGE = 500 << 20
_PUBLISHED = ("manylinux", "musllinux", "win", "macosx", "any")
"""Platform tags that package indexes accept. A wheel built on a Linux machine has a ``linux_…`` tag, which they do not."""


def _observe(reason: str, expected: str, seen: str) -> None:
    fail(
        Code.CLAIM_NOT_KEPT, "DOC-NP-6", role=Role.CONSUMER, level=Level.OBSERVED, reason=reason, expected=expected, seen=seen,
        given="how the library is installed",
    )  # fmt: skip


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
    """``cvcuda.as_tensor`` must refuse a PyTorch tensor on the CPU, and take it after ``.cuda()`` has moved it."""
    torch, module = exchange.producer.module(), exchange.consumer.module()
    array, values = _host_array(exchange)
    tensor = torch.from_numpy(array)
    exchange.expect_refusal(
        lambda: module.as_tensor(tensor), "DOC-PT-1", role=Role.CONSUMER, given="a PyTorch tensor in host memory"
    )
    exchange.special("")
    moving = Claim(exchange, "DOC-PT-1", "`Tensor.cuda`", Side.PRODUCER)
    on_gpu = moving.made(tensor.cuda)
    address = int(on_gpu.__cuda_array_interface__["data"][0])
    moving.expect_bytes("the call changes elements on the way to the GPU", values, exchange.peek(address, len(values)))
    claim = Claim(exchange, "DOC-PT-1")
    moved = _as_tensor(claim, on_gpu)
    claim.expect_bytes("the call changes the elements", values, exchange.consumer.read(moved))


@invariant(
    "claim.torch-shares",
    producer="CAI-05",
    consumer="DOC-PT-2",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=_claim("torch", "cvcuda", layout=_EVERY_FORM, dtype=dtypes()),
)
def test_torch_shares(exchange: Exchange) -> None:
    """``cvcuda.as_tensor`` must share the memory of a PyTorch tensor on the GPU unchanged, or refuse the tensor."""
    _converts(exchange, "DOC-PT-2")


@invariant(
    "claim.tensor-to-torch",
    producer="CAI-05",
    consumer="DOC-PT-3",
    bugs="device-06 device-19",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=_claim("cvcuda", "torch", layout=layouts(*PLAIN), dtype=_common),
)
def test_tensor_to_torch(exchange: Exchange) -> None:
    """``torch.as_tensor(tensor.cuda())`` must share the tensor's memory, and ``.clone()`` of it must not."""
    source = exchange.source()
    claim = Claim(exchange, "DOC-PT-3", "`torch.as_tensor`")
    cloning = replace(claim, call="`Tensor.clone`")
    own = Claim(exchange, "DOC-PT-3", "a tensor shows what is written to it", Side.PRODUCER)
    torch = exchange.consumer.module()
    shared = claim.made(lambda: torch.as_tensor(source.array.cuda()))
    view = exchange.consumer.describe(shared)
    claim.expect_form(source, view)
    claim.expect_shared(source, view)
    clone = shared.clone()
    exchange.consumer.write(clone, _other(exchange))
    reason = "a write to the clone reaches the tensor"
    cloning.expect_bytes(reason, source.values, exchange.producer.read(source.array))
    other = _other(exchange, 2)
    exchange.consumer.write(shared, other)
    _expect_written(claim, own, source.address, other, exchange.producer.read(source.array))


@invariant(
    "claim.as-tensor-without-device",
    producer="CAI-05",
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
    """``torch.as_tensor`` must leave a CUDA array on its GPU and share its memory when the call names no device."""
    source = exchange.source()
    claim = Claim(exchange, "DOC-PT-3", "`torch.as_tensor`")
    torch, offer = exchange.consumer.module(), exchange.offer(source)
    view = exchange.consumer.describe(claim.made(lambda: torch.as_tensor(offer)))
    claim.expect("the call moves the array to another device", (exchange.device.dlpack_type, 0), view.device)
    claim.expect_shared(source, view)


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
    """PyCUDA and CV-CUDA must exchange arrays after ``import pycuda.autoinit``, in either order of imports."""
    first, case = exchange.option("order").removesuffix("-first"), exchange.case
    ended = interpreter.run("pycuda_context", "autoinit", first, case.producer, case.consumer)
    try:
        interpreter.expect_exchange(ended)
    except (Refused, Failure) as trouble:
        side = Side.PRODUCER if ended.at_work == case.producer else Side.CONSUMER
        claim = Claim(exchange, "DOC-PC-1", "`import pycuda.autoinit` is all that an exchange needs", side)
        claim.broken("the exchange fails in the documented context", "the array is exchanged", str(trouble))


@invariant(
    "claim.gpuarray-converts",
    producer="CAI-05",
    consumer="DOC-PC-2",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=_claim("pycuda", "cvcuda", layout=_EVERY_FORM, dtype=dtypes()),
)
def test_gpuarray_converts(exchange: Exchange) -> None:
    """``cvcuda.as_tensor`` must convert a ``GPUArray`` unchanged and without a copy, or refuse it."""
    _converts(exchange, "DOC-PC-2")


@invariant(
    "claim.gpuarray-on-tensor",
    producer="CAI-05",
    consumer="DOC-PC-3",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=_claim("cvcuda", "pycuda", layout=layouts(*PLAIN), dtype=_common),
)
def test_gpuarray_on_tensor(exchange: Exchange) -> None:
    """A ``GPUArray`` on the pointer that ``tensor.cuda()`` publishes must be a view of the tensor's memory."""
    source = exchange.source()
    claim = Claim(exchange, "DOC-PC-3", _GPUARRAY)
    own = Claim(exchange, "DOC-PC-3", "a tensor shows what is written to it", Side.PRODUCER)
    array = _gpuarray_on(claim, source.array)
    claim.expect_import(source, exchange.consumer.describe(array), exchange.consumer.read(array))
    other = _other(exchange)
    exchange.consumer.write(array, other)
    _expect_written(claim, own, source.address, other, exchange.producer.read(source.array))


# -- CUDA Python


def _takers(env: Environment) -> Iterator[Pair]:
    """Yield CUDA Python with every real library that imports the CUDA Array Interface."""
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
    """A consumer must take a small class around ``cudaMalloc`` with the CUDA Array Interface, without a copy."""
    _expect_copies(Claim(exchange, "DOC-CU-1", _MEMCPY, Side.PRODUCER))
    claim = Claim(exchange, "DOC-CU-1", "an import of a class around `cudaMalloc`")
    buffer = _buffer(exchange, exchange.layout.base)
    values = pattern(exchange.dtype, exchange.layout.elements)
    buffer.upload(values)
    taken = _taken(claim, buffer)
    view = exchange.consumer.describe(taken)
    claim.expect("the memory is not shared", hex(buffer.address), hex(view.address))
    claim.expect_bytes("the import changes the elements", values, exchange.consumer.read(taken))
    buffer.upload(_other(exchange))
    claim.expect_bytes("the import does not show a `cudaMemcpy`", _other(exchange), exchange.consumer.read(taken))


def _taken(claim: Claim, buffer: DeviceBuffer) -> Any:
    exchange = claim.exchange
    return claim.made(lambda: exchange.consumer.take(buffer, Protocol.CAI, exchange.device))


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
    """A consumer must not free a buffer when its import ends. The buffer must still work, and its owner frees it once."""
    _expect_copies(Claim(exchange, "DOC-CU-2", _MEMCPY, Side.PRODUCER))
    claim = Claim(exchange, "DOC-CU-2", "an import of a class around `cudaMalloc`")
    buffer = _buffer(exchange, exchange.layout.base)
    buffer.upload(_other(exchange))
    held = [_taken(claim, buffer)]
    held.clear()
    collect()
    values = pattern(exchange.dtype, exchange.layout.elements)
    claim.expect("`cudaMemcpy` to the device fails after the end of the import", 0, buffer.upload(values))
    code, seen = buffer.download()
    claim.expect("`cudaMemcpy` to the host fails after the end of the import", 0, code)
    claim.expect_bytes("the memory changes after the end of the import", values, seen)
    claim.expect("`cudaFree` fails, because the import has freed the memory", 0, buffer.free())


def _givers(env: Environment) -> Iterator[Pair]:
    """Yield every real library that exports the CUDA Array Interface, with CUDA Python."""
    for library in env.present:
        side = library.sides.get(Device.CUDA)
        if side and Protocol.CAI in side.exports and library.name not in (REFERENCE, "cuda_python"):
            yield from _pairs(env, library.name, "cuda_python")


@invariant(
    "claim.wrapper-owns-nothing",
    producer="CAI-05",
    consumer="DOC-CU-2",
    bugs="I20",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=lambda env: every(_givers(env)),
)
def test_wrapper_owns_nothing(exchange: Exchange) -> None:
    """A buffer around a published pointer must read the producer's elements, and must leave them unchanged when it ends."""
    copying = Claim(exchange, "DOC-CU-2", _MEMCPY)
    _expect_copies(copying)
    source = exchange.source()
    address = int(exchange.dictionary_of(source)["data"][0])
    wrapper = _buffer(exchange, source.view.shape, address)
    code, seen = wrapper.download()
    _expect_published(exchange, source)
    if address != source.address:
        fail(
            Code.WRONG_ADDRESS, "CAI-05", role=Role.PRODUCER, reason="the producer publishes a different address than its array's",
            expected=f"element 0 at {source.address:#x}", seen=f"element 0 at {address:#x}", accused=Side.PRODUCER,
        )  # fmt: skip
    copying.expect("`cudaMemcpy` to the host fails", 0, code)
    copying.expect_bytes("`cudaMemcpy` reads other elements", source.values, seen)
    del wrapper
    collect()
    ending = replace(copying, call="the end of a wrapper around a published pointer")
    reason = "the array changes after the end of the wrapper"
    ending.expect_bytes(reason, source.values, exchange.producer.read(source.array))


_SHAPES = {
    "10x10x3": (10, 10, 3), "4x5x3": (4, 5, 3), "7x32x4": (7, 32, 4), "8x64x1": (8, 64, 1), "5x7": (5, 7), "8x64": (8, 64),
}  # fmt: skip
_TYPES = {"uint8": "U8", "float32": "F32"}


def _tensor_cases(env: Environment) -> Iterator[Draft]:
    """Yield cases of image shapes with and without the name of their layout."""
    pairs = tuple(_pairs(env, "cuda_python", "cvcuda"))
    yield from every(pairs, shape=tuple(_SHAPES), named=("none",), dtype=tuple(_TYPES))
    images = tuple(name for name, shape in _SHAPES.items() if len(shape) == 3)
    for draft in every(pairs, shape=images, named=("HWC",), dtype=tuple(_TYPES)):
        yield replace(draft, tier=Tier.FULL)


def _filled_tensor(exchange: Exchange) -> tuple[Any, bytes]:
    """Return a tensor from the documented call, after one flat ``cudaMemcpy`` of its elements to its pointer."""
    _expect_copies(Claim(exchange, "DOC-CU-3", _MEMCPY, Side.PRODUCER))
    claim = Claim(exchange, "DOC-CU-3", "`cvcuda.Tensor`")
    shape = _SHAPES[exchange.option("shape")]
    named = () if exchange.option("named") == "none" else (exchange.option("named"),)
    module = exchange.consumer.module()
    kind = getattr(module.Type, _TYPES[exchange.dtype.name])
    tensor = claim.made(lambda: module.Tensor(shape, kind, *named))
    buffer = _buffer(exchange, shape, _address(tensor))
    values = pattern(exchange.dtype, buffer.nbytes // exchange.dtype.itemsize)
    claim.expect("`cudaMemcpy` to the tensor's pointer fails", 0, buffer.upload(values))
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
    """A new CV-CUDA tensor must keep the bytes that ``cudaMemcpy`` copies to its pointer."""
    tensor, values = _filled_tensor(exchange)
    code, back = _buffer(exchange, _SHAPES[exchange.option("shape")], _address(tensor)).download()
    claim = Claim(exchange, "DOC-CU-3", "`Tensor.cuda`")
    claim.expect("`cudaMemcpy` from the tensor's pointer fails", 0, code)
    claim.expect_bytes("the tensor's pointer returns different elements", values, back)


@invariant(
    "claim.flat-copy",
    producer="DOC-CU-3",
    consumer="DOC-CU-3",
    level=Level.OBSERVED,
    needs=Needs.GPU,
    cases=_tensor_cases,
)
def test_flat_copy(exchange: Exchange) -> None:
    """The suite records whether a flat ``cudaMemcpy`` to a new tensor's pointer fills the tensor, as the page assumes.

    If CV-CUDA pads rows, every row after the first begins in the wrong place.
    """
    tensor, values = _filled_tensor(exchange)
    seen = exchange.consumer.read(tensor)
    if seen != values:
        Claim(exchange, "DOC-CU-3", "a flat copy fills a tensor").broken(
            "a flat copy misplaces the tensor's elements",
            f"packed rows for shape {_SHAPES[exchange.option('shape')]}",
            f"strides of {exchange.consumer.describe(tensor).strides} bytes",
            level=Level.OBSERVED,
        )


# -- best practices


def _named_layouts(env: Environment) -> Iterator[Draft]:
    for name in _CLAIMS:
        yield from every(_pairs(env, name, "cvcuda"), layout=("cube",), named=("HWC", "CHW"), dtype=_SHOWN)


@invariant(
    "claim.named-layout",
    producer="CAI-05",
    consumer="DOC-CP-2 DOC-PT-2 DOC-PC-2 DOC-CU-1",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=_named_layouts,
)
def test_named_layout(exchange: Exchange) -> None:
    """``cvcuda.as_tensor`` with the name of a layout must return a tensor of that layout on the same memory."""
    claim, named = Claim(exchange, _CLAIMS[exchange.case.producer]), exchange.option("named")
    source = exchange.source()
    tensor = _as_tensor(claim, source.array, named)
    claim.expect("the tensor has a different layout", named, str(tensor.layout))
    claim.expect_import(source, exchange.consumer.describe(tensor), exchange.consumer.read(tensor))


_WRAPPERS = 20


def _wrapping(env: Environment) -> Iterator[Draft]:
    pairs = (p for p in env.imports(on=(Device.CUDA,)) if p.consumer.name == "cvcuda")
    return every(pairs, call=("as-tensor", "as-image"), dtype=("uint8",))


@invariant(
    "claim.wrapped-is-released",
    consumer="DLP-26",
    context="CAI-27 G12",
    bugs="I19 I21 lifetime-16 lifetime-17 lifetime-19 lifetime-20",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=_wrapping,
)
def test_wrapped_is_released(exchange: Exchange) -> None:
    """CV-CUDA must release a wrapped array when the wrapper ends, without a call that clears its cache.

    The case wraps one more array at the end, because some releases happen only at the next call.
    """
    module = exchange.consumer.module()
    *wrapped, _ = [_wrap_and_drop(exchange, module, rows) for rows in range(1, _WRAPPERS + 2)]
    exchange.check_context()
    kept = _alive(wrapped)
    if not kept:
        return
    module.clear_cache()
    still = _alive(wrapped)
    by_dlpack = exchange.protocol is Protocol.DLPACK
    late = not still
    fail(
        Code.RELEASED_LATE if late else Code.NOT_RELEASED,
        "DLP-26" if by_dlpack else "CAI-27",
        role=Role.CONSUMER,
        level=Level.SHOULD if late else None,
        reason="wrapped arrays outlive their wrappers",
        expected=f"none of {_WRAPPERS} arrays alive",
        seen=f"{kept} alive, {still} of them even after `cvcuda.clear_cache()`",
        given="`cvcuda.clear_cache()`" if late else "memory",
        accused=Side.CONSUMER if by_dlpack else Side.NEITHER,
    )


def _wrap_and_drop(exchange: Exchange, module: Any, rows: int) -> weakref.ref[Any]:
    """Wrap an image with this many rows, drop the wrapper, and return a weak reference to the array."""
    kind = dtype("uint8")
    array = exchange.producer.array(kind, (rows, 8, 3), pattern(kind, rows * 24), exchange.device)
    offer = exchange.producer.offer(array, exchange.protocol)
    try:
        with exchange.step(Doing.IMPORT, Role.CONSUMER):
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
