"""Checks of the traits that an adapter declares: each must be implemented and must work. Sizes and strides are in bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from conformance.adapters.base import Adapter, Device, Trait, Unsupported
from conformance.checks.exchange import brief
from conformance.checks.libraries import Side
from conformance.cuda.memory import Kind
from conformance.cuda.streams import LEGACY, PER_THREAD
from conformance.protocols.dtypes import dtype
from conformance.protocols.strided import c_strides

from . import adapter_operations
from .adapter_bench import (
    EITHER,
    OTHER,
    Bench,
    Made,
    NotSo,
    answering,
    description,
    elements,
    from_columns,
    lying,
    make,
    read,
    told,
    unchanged,
    usual_layout,
)

_METHODS: dict[Trait, tuple[str, ...]] = {
    Trait.WRITES: ("write",),
    Trait.KERNEL: ("kernel_increment",),
    Trait.KERNEL_ARGUMENTS: ("take_argument", "argument_address"),
    Trait.ADDS: ("add",),
    Trait.STACKS: ("stack",),
    Trait.COPIES: ("copied",),
    Trait.DEVICE_ATTRIBUTE: ("device_of",),
    Trait.READONLY: ("freeze",),
    Trait.CAPSULES: ("take_capsule",),
    Trait.PITCHED: ("pitched",),
    Trait.STRIDES: ("restride",),
    Trait.BYTE_STRIDES: ("restride",),
    Trait.CONTIGUITY: ("contiguous",),
    Trait.EXTENT: ("extent",),
    Trait.PINNED: ("empty_in",),
    Trait.MANAGED: ("empty_in",),
    Trait.POOL: ("empty_in",),
    Trait.STREAMS: ("stream", "default_stream", "handle", "using", "fill", "copy"),
    Trait.PER_THREAD_STREAM: ("per_thread_stream", "handle"),
    Trait.FOREIGN_STREAM: ("foreign_stream", "handle"),
    Trait.STREAM_PROTOCOL: ("import_stream",),
    Trait.CHOOSES_STREAM: ("choose",),
    Trait.DEFAULT_TOKEN: ("recorded",),
    Trait.GPUS: ("on_gpu",),
    Trait.JOINS: ("joined",),
}
"""Methods that an adapter with a trait must override."""
_BY_ITSELF = {Trait.READONLY: Trait.IMMUTABLE}
"""Traits that need no methods if the adapter has the other trait."""


def methods(bench: Bench) -> None:
    """Check that the adapter overrides every method that its traits need. The methods of the base class only raise ``Unsupported``."""
    for trait in sorted(bench.traits & _METHODS.keys()):
        if _BY_ITSELF.get(trait) in bench.traits:
            continue
        for name in _METHODS[trait]:
            if getattr(getattr(bench.adapter, name), "__func__", None) is getattr(Adapter, name):
                raise NotSo(f"it declares the trait {trait.value}, but does not override {name}()")


def trials(bench: Bench, side: Side) -> Iterator[tuple[Trait, Callable[[], None]]]:
    """Yield the check of each trait that the adapter declares for this device."""
    for trait, trial in _TRIALS.items():
        if trait in bench.traits and (trait not in _ON_GPUS or bench.device is not Device.HOST):
            yield trait, partial(trial, bench, side)


@contextmanager
def _declared(trait: Trait, what: str, *, strictly: bool = True) -> Iterator[None]:
    """Check that the adapter does not deny a declared trait inside the block.

    ``Unsupported`` with a cause means that the library lacks the feature here, which is no mistake of the adapter. With ``strictly`` any other
    exception is a mistake. Without it the library is blamed: a compiler, a driver or a GPU may be missing.
    """
    try:
        yield
    except NotSo:
        raise
    except Unsupported as error:
        if error.__cause__ is None:
            raise NotSo(f"it declares the trait {trait.value}, but {what} raises Unsupported: {error}") from error
        raise
    except Exception as error:
        if strictly:
            raise NotSo(f"{what} raises {brief(error)}{EITHER}") from error
        raise Unsupported(what) from error


# -- writing


def _writes(bench: Bench, side: Side) -> None:
    """Check writes to a packed array in the first writable element type, then to views as far as the library writes them."""
    name = next((name for name in side.dtypes if _is_written(bench, side, name)), None)
    if name is None:
        made = make(bench, dtype(side.dtypes[0]), usual_layout(side))
        with _declared(Trait.WRITES, "write()"):
            _write(bench, made)
        return
    for form in ("fortran", "rows", "stepped"):
        if form in side.layouts:
            _write_if_possible(bench, make(bench, dtype(name), form))


def _is_written(bench: Bench, side: Side, name: str) -> bool:
    try:
        with answering(f"write() to a packed array of {name}"):
            _write(bench, make(bench, dtype(name), usual_layout(side)))
    except Unsupported:
        return False
    return True


def _write_if_possible(bench: Bench, made: Made) -> None:
    try:
        _write(bench, made)
    except NotSo:
        raise
    except Exception:
        return  # a library need not write such a view


def _write(bench: Bench, made: Made) -> None:
    """Check that a write stores the elements in row-major order, and changes no other bytes."""
    data = elements(made.kind, made.form.size, OTHER)
    bench.adapter.write(made.array, data)
    block = bench.memory.read(made.start, len(made.block))
    if block == made.block_with(data):
        return
    seen, said = made.values(block), f"write() of {told(data, made.kind)} to {made.what} and shape {made.form.shape}"
    if seen == data:
        raise NotSo(f"{said} also changes bytes outside its elements{EITHER}")
    columns = seen == from_columns(data, made.kind, made.form.shape)
    raise NotSo(f"{said} stores {told(seen, made.kind)}" + (": it uses column-major order" if columns else EITHER))


def _kernel(bench: Bench, side: Side) -> None:
    if "int32" not in side.dtypes:
        return
    made = make(bench, dtype("int32"), "vector")
    with _declared(Trait.KERNEL, "kernel_increment()", strictly=False):
        bench.adapter.kernel_increment(made.array)
    seen, wanted = bench.memory.read(made.start, len(made.block)), elements(made.kind, made.form.size, 2)
    if seen != wanted:
        raise NotSo(
            f"kernel_increment() changes {told(made.block, made.kind)} to {told(seen, made.kind)}; expected "
            f"{told(wanted, made.kind)}{EITHER}"
        )


def _readonly(bench: Bench, side: Side) -> None:
    if Trait.IMMUTABLE in bench.traits:
        return
    made = make(bench, dtype(side.dtypes[0]), usual_layout(side))
    before = description(bench, made.array, made.what)
    with _declared(Trait.READONLY, "freeze()"):
        bench.adapter.freeze(made.array)
    after = description(bench, made.array, made.what)
    if (after.address, after.shape, after.strides) != (before.address, before.shape, before.strides):
        raise NotSo(
            f"freeze() changes the address, shape or strides of {made.what}; expected that it makes the array read-only in place"
        )
    if after.readonly is False:
        raise NotSo(f"describe() of {made.what} reports it as writable after freeze(){EITHER}")


# -- layouts


def _contiguity(bench: Bench, side: Side) -> None:
    kind = dtype(side.dtypes[0])
    for form in ("c-order", "fortran", "columns", "stepped"):
        if form not in side.layouts:
            continue
        made = make(bench, kind, form)
        with unchanged(bench, made, "contiguous()"), _declared(Trait.CONTIGUITY, f"contiguous() of {made.what}"):
            answer = bench.adapter.contiguous(made.array)
        if answer is not made.form.contiguous:
            raise NotSo(f"contiguous() of {made.what} returns {answer!r}; expected {made.form.contiguous}{EITHER}")


def _extent(bench: Bench, side: Side) -> None:
    """Check the extent of an array of the library itself. The suite checks the extent of imports later."""
    made = make(bench, dtype(side.dtypes[0]), usual_layout(side))
    try:
        with unchanged(bench, made, "extent()"), _declared(Trait.EXTENT, "extent()", strictly=False):
            first, end = bench.adapter.extent(made.array)
    except Unsupported:
        return
    if not first <= made.start < made.start + len(made.block) <= end:
        raise NotSo(f"extent() of {made.what} does not cover all of its elements{EITHER}")


def _strides(bench: Bench, side: Side) -> None:
    """Check overlapping rows, which stay within the block."""
    made = make(bench, dtype(side.dtypes[0]), "c-order")
    size = made.kind.itemsize
    again = _restrided(bench, made, Trait.STRIDES, (2 * size, size))
    if read(bench, again) != lying(bench, description(bench, again.array, again.what), made.kind, again.what):
        raise NotSo(f"read() of {again.what} does not give what lies there{EITHER}")


def _byte_strides(bench: Bench, side: Side) -> None:
    name = next((name for name in side.dtypes if dtype(name).itemsize > 1), None)
    if name is not None:
        made = make(bench, dtype(name), "vector")
        _restrided(bench, made, Trait.BYTE_STRIDES, (made.kind.itemsize // 2,))


def _restrided(bench: Bench, made: Made, trait: Trait, strides: tuple[int, ...]) -> Made:
    with unchanged(bench, made, "restride()"), _declared(trait, f"restride() to {strides} bytes"):
        array = bench.adapter.restride(made.array, strides)
    what = f"{made.what} with strides of one's choice"
    view = description(bench, array, what)
    if view.strides != strides or view.shape != made.form.shape:
        told_ = f"the shape {view.shape} and the strides {view.strides}"
        raise NotSo(
            f"restride() of {made.what} to {strides} bytes returns {told_}; expected {made.form.shape} and {strides}{EITHER}"
        )
    if view.address != made.address:
        raise NotSo(f"restride() of {made.what} moves element 0; expected the same address{EITHER}")
    return Made(what, array, made.kind, made.form, made.start, made.block)


_IMAGE = (4, 5, 3)
"""Height, width and channels."""


def _pitched(bench: Bench, side: Side) -> None:
    kind = dtype("uint8" if "uint8" in side.dtypes else side.dtypes[0])
    with _declared(Trait.PITCHED, f"pitched() of shape {_IMAGE}"):
        array = bench.adapter.pitched(kind, _IMAGE, bench.device)
    view = description(bench, array, "an array with padded rows")
    packed = tuple(stride * kind.itemsize for stride in c_strides(_IMAGE))
    if view.shape != _IMAGE or view.strides[1:] != packed[1:] or view.strides[0] < packed[0]:
        raise NotSo(
            f"pitched() of shape {_IMAGE} and {kind.name} returns the shape {view.shape} and the strides {view.strides}; expected packed "
            f"rows at least {packed[0]} bytes apart{EITHER}"
        )


# -- memory, streams and GPUs


def _empty_in(memory: Kind, trait: Trait, bench: Bench, side: Side) -> None:
    if bench.device is Device.CUDA:
        with _declared(trait, f"empty_in() for {memory.value} memory", strictly=False):
            bench.adapter.empty_in(memory, dtype(side.dtypes[0]), (3, 4))


def _streams(bench: Bench, side: Side) -> None:
    """Check a new stream, the default stream, and work on the new stream."""
    adapter, trait = bench.adapter, Trait.STREAMS
    with _declared(trait, "stream()", strictly=False):
        stream = adapter.stream(bench.device)
        default = adapter.handle(adapter.default_stream(bench.device))
        handle = adapter.handle(stream)
        with adapter.using(stream):
            pass
    if handle in (0, LEGACY, PER_THREAD):
        raise NotSo(f"handle() of a new stream is {handle}; expected a new stream, not a default stream{EITHER}")
    if default not in (LEGACY, PER_THREAD):
        raise NotSo(f"handle() of the default stream is {default}; expected {LEGACY} or {PER_THREAD}")
    if "int32" in side.dtypes:
        _work(bench, stream)


def _work(bench: Bench, stream: object) -> None:
    kind, count, value = dtype("int32"), 12, 7
    wanted = elements(kind, 1, value) * count
    with _declared(Trait.STREAMS, "operand(), fill() or copy()", strictly=False):
        source, target = (bench.adapter.operand(kind, (1, count, 1), bench.device) for _ in range(2))
        bench.adapter.fill(source, value, stream)
        bench.adapter.copy(target, source, stream)
    for name, array in (("fill()", source), ("copy()", target)):
        view = description(bench, array, "an operand of int32")
        seen = lying(bench, view, kind, "an operand of int32")
        if seen != wanted:
            raise NotSo(f"{name} on a stream leaves {told(seen, kind)}; expected {told(wanted, kind)}{EITHER}")


def _per_thread(bench: Bench, side: Side) -> None:
    with _declared(Trait.PER_THREAD_STREAM, "per_thread_stream()", strictly=False):
        handle = bench.adapter.handle(bench.adapter.per_thread_stream(bench.device))
    if handle != PER_THREAD:
        raise NotSo(f"handle() of the per-thread default stream is {handle}; expected {PER_THREAD}{EITHER}")


def _foreign(bench: Bench, side: Side) -> None:
    streams = bench.memory.streams()
    given = streams.create()
    try:
        with _declared(Trait.FOREIGN_STREAM, "foreign_stream()", strictly=False):
            handle = bench.adapter.handle(bench.adapter.foreign_stream(given, bench.device))
    finally:
        streams.destroy(given)
    if handle != given:
        raise NotSo(f"handle() of foreign_stream() returns another handle than the given one{EITHER}")


def _gpus(bench: Bench, side: Side) -> None:
    with _declared(Trait.GPUS, "on_gpu()", strictly=False), bench.adapter.on_gpu(0, bench.device):
        pass


_TRIALS: dict[Trait, Callable[[Bench, Side], None]] = {
    Trait.CONTIGUITY: _contiguity,
    Trait.EXTENT: _extent,
    Trait.STRIDES: _strides,
    Trait.BYTE_STRIDES: _byte_strides,
    Trait.PITCHED: _pitched,
    Trait.WRITES: _writes,
    Trait.READONLY: _readonly,
    Trait.KERNEL: _kernel,
    Trait.ADDS: adapter_operations.adds,
    Trait.STACKS: adapter_operations.stacks,
    Trait.COPIES: adapter_operations.copies,
    Trait.DEVICE_ATTRIBUTE: adapter_operations.tells_devices,
    Trait.PINNED: partial(_empty_in, Kind.PINNED, Trait.PINNED),
    Trait.MANAGED: partial(_empty_in, Kind.MANAGED, Trait.MANAGED),
    Trait.POOL: partial(_empty_in, Kind.POOL, Trait.POOL),
    Trait.STREAMS: _streams,
    Trait.PER_THREAD_STREAM: _per_thread,
    Trait.FOREIGN_STREAM: _foreign,
    Trait.GPUS: _gpus,
}
_ON_GPUS = frozenset(
    {
        Trait.PINNED, Trait.MANAGED, Trait.POOL, Trait.STREAMS, Trait.PER_THREAD_STREAM, Trait.FOREIGN_STREAM, Trait.GPUS,
    }
)  # fmt: skip
"""Traits without a meaning on host memory."""
