"""Self-check of an adapter before any exchange: a wrong adapter would look like a wrong library.

The check compares the adapter's statements about arrays of its own library with the suite's own arithmetic and memory access. No array is
exchanged. So a library with a faulty exchange still passes, and the suite can then show that fault. The check reports the first mistake in
one sentence. The sentence also says when the library itself may be wrong.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from conformance.adapters.base import Adapter, Device, Protocol, Trait, Unsupported
from conformance.checks.exchange import brief
from conformance.checks.libraries import Side
from conformance.protocols.dtypes import DType, dtype
from conformance.protocols.strided import packed

from . import adapter_special, adapter_traits
from .adapter_bench import (
    EITHER,
    FORMS,
    OTHER,
    SHORT,
    Bench,
    Made,
    NotSo,
    answering,
    by_columns,
    description,
    elements,
    expect_description,
    from_columns,
    is_memory,
    lying,
    make,
    read,
    told,
)

Tell = Callable[[str], None]
"""Receives the next step as a clause that can follow "while". A probe that crashes cannot report its step afterwards."""
_EASY = ("float32", "int32", "uint8", "int64", "float64")
"""Element types with values that are easiest to read in a message."""
_PROTOCOLS = {
    Protocol.DLPACK: ("DLPack", ("__dlpack__", "__dlpack_device__")),
    Protocol.CAI: ("the CUDA Array Interface", ("__cuda_array_interface__",)),
}
"""Name of each protocol, and the attributes of an object that exports by it."""


def first_look(adapter: Adapter, device: Device, tell: Tell) -> str | None:
    """Check a first array. Return the first mistake, or ``None``.

    Nothing is written yet: a wrong address would make the suite overwrite other memory.
    """
    bench = Bench(adapter, device, adapter.present_traits())
    return _first_mistake([("its first array is checked", partial(_look_at_first, bench))], tell)


def mistake(adapter: Adapter, device: Device, side: Side, tell: Tell) -> str | None:
    """Check an adapter on a device. Return the first mistake, or ``None``. ``side`` has the capabilities that the probe measured there."""
    bench = Bench(adapter, device, adapter.present_traits())
    if not side.dtypes:
        why = next(iter(side.missing_dtypes.values()), "it declares none")
        return f"array() on {device.value} creates no array of any declared element type: {why}{EITHER}"
    return _first_mistake(_steps(bench, replace(side, dtypes=easiest_first(side.dtypes))), tell)


def easiest_first(names: Iterable[str]) -> tuple[str, ...]:
    """Return the element types in the order in which the check uses them."""
    return tuple(sorted(names, key=lambda name: _EASY.index(name) if name in _EASY else len(_EASY)))


def _first_mistake(steps: Iterable[tuple[str, Callable[[], None]]], tell: Tell) -> str | None:
    for doing, action in steps:
        tell(doing)
        try:
            action()
        except NotSo as found:
            return str(found)
        except Unsupported:
            continue  # the library has no such arrays
        except Exception:
            raise
        except BaseException as error:
            return f"while {doing}, it raises {brief(error)}{EITHER}"
    return None


def _steps(bench: Bench, side: Side) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield the steps. Each step relies only on facts that earlier steps have shown. ``side`` lists the easiest element type first."""
    main = dtype(side.dtypes[0])
    for name in side.dtypes:
        yield f"a short vector of {name} is read", partial(_holds, bench, dtype(name), SHORT.name)
    for form in (form for form in FORMS if form in side.layouts):
        yield f"{FORMS[form]} is read", partial(_holds, bench, main, form)
    if Trait.IMMUTABLE not in bench.traits:
        yield "an array is read after its memory was written", partial(_follows, bench, main)
    yield "two arrays are made", partial(_apart, bench, main)
    yield "its last element is read", partial(_last, bench, main)
    yield "its methods are checked", partial(adapter_traits.methods, bench)
    yield "its take() signature is checked", partial(_takes, bench)
    for protocol in side.exports:
        yield f"an array is exported by {_PROTOCOLS[protocol][0]}", partial(_exports, bench, main, protocol)
    for trait, trial in adapter_traits.trials(bench, side):
        yield f"its trait {trait.value} is checked", trial
    yield from adapter_special.trials(bench)


# -- the first array


def _look_at_first(bench: Bench) -> None:
    made = _first(bench)
    if made is None:
        return
    view = expect_description(bench, made)
    there = lying(bench, view, made.kind, made.what)
    writable = bench.device is Device.CUDA or Trait.IMMUTABLE in bench.traits
    if not writable and not is_memory(view.address, len(there), writable=True):
        raise NotSo(f"describe() of {made.what} returns memory that is not writable{EITHER}")
    data = read(bench, made)
    if data != there:
        columns = data == by_columns(there, made.kind, made.form.shape)
        why = ": read() uses column-major order" if columns else ": one of the two is wrong"
        raise NotSo(f"read() of {made.what} differs from the memory that describe() reports{why}")
    if Trait.WRITES in bench.traits:
        _write_first(bench, made)


def _first(bench: Bench) -> Made | None:
    """Return a new array without content; ``None`` if the library creates none."""
    for kind in map(dtype, easiest_first(bench.adapter.candidate_dtypes)):
        try:
            array = bench.adapter.empty(kind, _SHAPE, bench.device)
        except Exception:
            continue  # a later step reports a library that creates no array at all
        what = f"a new array of {kind.name}"
        return Made(what, array, kind, packed(_SHAPE), description(bench, array, what).address, b"")
    return None


_SHAPE = (3, 4)


def _write_first(bench: Bench, made: Made) -> None:
    """Check that elements that the library writes and reads are at the address that the adapter reports."""
    data = elements(made.kind, made.form.size)
    try:
        bench.adapter.write(made.array, data)
    except Exception:
        return  # a later step checks the trait
    there = lying(bench, description(bench, made.array, made.what), made.kind, made.what)
    if there != data and read(bench, made) == data:
        raise NotSo(
            f"the memory that describe() reports for {made.what} holds {told(there, made.kind)}; expected {told(data, made.kind)}, which "
            "write() was given and read() returns"
        )


# -- every array


def _holds(bench: Bench, kind: DType, form: str) -> None:
    """Check a new array: its description, its elements in memory, and its elements as ``read()`` returns them."""
    made = make(bench, kind, form)
    view = expect_description(bench, made)
    data, there, given = read(bench, made), lying(bench, view, kind, made.what), made.values(made.block)
    if there == data == given:
        return
    shown = partial(told, kind=kind)
    if there == given:
        columns = data == by_columns(given, kind, made.form.shape)
        why = ": it uses column-major order" if columns else EITHER
        raise NotSo(
            f"read() of {made.what} returns {shown(data)}; expected {shown(given)}, which are in its memory{why}"
        )
    if data == given:
        raise NotSo(
            f"the memory that describe() reports for {made.what} holds {shown(there)}; expected {shown(given)}, which read() returns"
        )
    if data == there:
        why = ": it uses column-major order" if data == from_columns(given, kind, made.form.shape) else EITHER
        raise NotSo(f"array() stores {shown(there)} instead of {shown(given)} in {made.what}{why}")
    raise NotSo(
        f"array() was given {shown(given)} for {made.what}, read() returns {shown(data)}, and the memory that describe() reports holds "
        f"{shown(there)}{EITHER}"
    )


def _follows(bench: Bench, kind: DType) -> None:
    """Check that the library reads what the suite writes to the described memory: neither side may use a copy or a cache."""
    made = make(bench, kind, "c-order")
    read(bench, made)
    other = elements(kind, made.form.size, OTHER)
    bench.memory.write(made.start, other)
    data = read(bench, made)
    if data != other:
        raise NotSo(
            f"read() of {made.what} returns {told(data, kind)} after {told(other, kind)} was written to the memory that describe() reports; one of "
            "the two uses a copy"
        )


def _apart(bench: Bench, kind: DType) -> None:
    """Check that an array keeps its elements when another array is created."""
    one = make(bench, kind, "c-order")
    another = make(bench, kind, "c-order", OTHER)
    data = read(bench, one)
    if data != one.block:
        raise NotSo(
            f"{one.what} reads {told(data, kind)} after a second array was created; expected {told(one.block, kind)}: the two share memory"
        )
    read(bench, another)


def _last(bench: Bench, kind: DType) -> None:
    made = make(bench, kind, "c-order")
    with answering(f"last() of {made.what}"):
        data = bench.adapter.last(made.array)
    expected = made.block[-kind.itemsize :]
    if data != expected:
        raise NotSo(f"last() of {made.what} returns {told(data, kind)}; expected {told(expected, kind)}{EITHER}")


# -- exchange, as far as it can be seen without one


def _exports(bench: Bench, kind: DType, protocol: Protocol) -> None:
    """Check that there is an exporter with the attributes of the protocol. The invariants check what those attributes do."""
    name, attributes = _PROTOCOLS[protocol]
    made = make(bench, kind, "c-order")
    said = f"it declares that it exports {name} on {bench.device.value}"
    try:
        with answering(f"exporter() of {made.what}"):
            shown = bench.adapter.exporter(made.array, protocol)
    except Unsupported as error:
        raise NotSo(f"{said}, but exporter() raises Unsupported: {error}") from error
    for attribute in attributes:
        if not _has(shown, attribute):
            raise NotSo(f"{said}, but the object that exporter() returns has no {attribute}{EITHER}")


def _has(thing: Any, attribute: str) -> bool:
    """Return whether the attribute exists. A property that raises exists: it may refuse."""
    try:
        getattr(thing, attribute)
    except AttributeError:
        return inspect.getattr_static(thing, attribute, None) is not None
    except Exception:
        return True
    return True


def _takes(bench: Bench) -> None:
    try:
        inspect.signature(bench.adapter.take).bind(None, Protocol.DLPACK, bench.device)
    except TypeError as error:
        raise NotSo(f"take() cannot be called with an offer, a protocol and a device: {brief(error)}") from error
    except ValueError:
        return  # a callable without a signature
