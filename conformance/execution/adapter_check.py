"""An adapter is tried against itself before anybody is accused by it: a wrong adapter would read as a wrong library.

What it says of its own library's arrays is held against our own arithmetic and our own instruments. No array changes hands, so that
nothing here depends on what is to be tested: a library that exchanges badly has an adapter that can be trusted to show it. The first
thing that is not so is told in one sentence; where the library itself may be what is wrong, it says so.
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
"""Hears what is tried next, in words that can follow "while": a process that dies of it cannot say so."""
_EASY = ("float32", "int32", "uint8", "int64", "float64")
"""Element types whose values a sentence can show best."""
_PROTOCOLS = {
    Protocol.DLPACK: ("DLPack", ("__dlpack__", "__dlpack_device__")),
    Protocol.CAI: ("the CUDA Array Interface", ("__cuda_array_interface__",)),
}
"""Of each protocol its name, and what an object that exports by it has."""


def first_look(adapter: Adapter, device: Device, tell: Tell) -> str | None:
    """What is not so of a first array, ``None`` if everything is.

    Our own instruments write nothing yet: they would write where the adapter says that memory is.
    """
    bench = Bench(adapter, device, adapter.present_traits())
    return _first_mistake([("its first array is looked at", partial(_look_at_first, bench))], tell)


def mistake(adapter: Adapter, device: Device, side: Side, tell: Tell) -> str | None:
    """What is not so of an adapter on a device, ``None`` if everything is. ``side`` is what was found of the library there."""
    bench = Bench(adapter, device, adapter.present_traits())
    if not side.dtypes:
        why = next(iter(side.missing_dtypes.values()), "it names none")
        return f"array() on {device.value} makes nothing of any of its element types: {why}{EITHER}"
    return _first_mistake(_steps(bench, replace(side, dtypes=easiest_first(side.dtypes))), tell)


def easiest_first(names: Iterable[str]) -> tuple[str, ...]:
    """Element types in the order in which they are tried."""
    return tuple(sorted(names, key=lambda name: _EASY.index(name) if name in _EASY else len(_EASY)))


def _first_mistake(steps: Iterable[tuple[str, Callable[[], None]]], tell: Tell) -> str | None:
    for doing, action in steps:
        tell(doing)
        try:
            action()
        except NotSo as found:
            return str(found)
        except Unsupported:
            continue  # nothing of the kind is made by this library
        except Exception:
            raise
        except BaseException as error:
            return f"while {doing}, it raises {brief(error)}{EITHER}"
    return None


def _steps(bench: Bench, side: Side) -> Iterator[tuple[str, Callable[[], None]]]:
    """What is tried: each step needs no more than what the ones before have shown. ``side`` names the easiest element type first."""
    main = dtype(side.dtypes[0])
    for name in side.dtypes:
        yield f"a short vector of {name} is read", partial(_holds, bench, dtype(name), SHORT.name)
    for form in (form for form in FORMS if form in side.layouts):
        yield f"{FORMS[form]} is read", partial(_holds, bench, main, form)
    if Trait.IMMUTABLE not in bench.traits:
        yield "an array is read after its memory was written", partial(_follows, bench, main)
    yield "two arrays are made", partial(_apart, bench, main)
    yield "its last element is read", partial(_last, bench, main)
    yield "its methods are looked at", partial(adapter_traits.methods, bench)
    yield "its import is looked at", partial(_takes, bench)
    for protocol in side.exports:
        yield f"an array is shown by {_PROTOCOLS[protocol][0]}", partial(_exports, bench, main, protocol)
    for trait, trial in adapter_traits.trials(bench, side):
        yield f"its trait {trait.value} is tried", trial
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
        raise NotSo(f"describe() of {made.what} leads to memory that cannot be written{EITHER}")
    data = read(bench, made)
    if data != there:
        columns = data == by_columns(there, made.kind, made.form.shape)
        why = ": read() goes column by column" if columns else ": the one or the other is wrong"
        raise NotSo(f"read() of {made.what} does not give what lies where describe() says that it is{why}")
    if Trait.WRITES in bench.traits:
        _write_first(bench, made)


def _first(bench: Bench) -> Made | None:
    """A new array as its library makes it; of libraries that make none without content, nothing."""
    for kind in map(dtype, easiest_first(bench.adapter.candidate_dtypes)):
        try:
            array = bench.adapter.empty(kind, _SHAPE, bench.device)
        except Exception:
            continue  # where none can be made at all, that is found out later
        what = f"a new array of {kind.name}"
        return Made(what, array, kind, packed(_SHAPE), description(bench, array, what).address, b"")
    return None


_SHAPE = (3, 4)


def _write_first(bench: Bench, made: Made) -> None:
    """What the library has written, and reads again, lies where its adapter says that the array is."""
    data = elements(made.kind, made.form.size)
    try:
        bench.adapter.write(made.array, data)
    except Exception:
        return  # what it writes is for later
    there = lying(bench, description(bench, made.array, made.what), made.kind, made.what)
    if there != data and read(bench, made) == data:
        raise NotSo(
            f"where describe() says that {made.what} is lies {told(there, made.kind)}; expected {told(data, made.kind)}, which write() was "
            "given and read() gives"
        )


# -- every array


def _holds(bench: Bench, kind: DType, form: str) -> None:
    """A new array is what was asked for: described so, and with these elements in memory and when it is read."""
    made = make(bench, kind, form)
    view = expect_description(bench, made)
    data, there, given = read(bench, made), lying(bench, view, kind, made.what), made.values(made.block)
    if there == data == given:
        return
    shown = partial(told, kind=kind)
    if there == given:
        columns = data == by_columns(given, kind, made.form.shape)
        why = ": it goes column by column" if columns else EITHER
        raise NotSo(f"read() of {made.what} gives {shown(data)}; expected {shown(given)}, which lie in its memory{why}")
    if data == given:
        raise NotSo(
            f"where describe() says that {made.what} is lie {shown(there)}; expected {shown(given)}, which read() gives"
        )
    if data == there:
        why = ": it goes column by column" if data == from_columns(given, kind, made.form.shape) else EITHER
        raise NotSo(f"array() makes {shown(there)} of {shown(given)} for {made.what}{why}")
    raise NotSo(
        f"array() was given {shown(given)} for {made.what}, read() gives {shown(data)}, and where describe() says that it is lie "
        f"{shown(there)}{EITHER}"
    )


def _follows(bench: Bench, kind: DType) -> None:
    """What is written to the memory that an adapter tells of is what the library reads there: it is no copy, and nothing is remembered."""
    made = make(bench, kind, "c-order")
    read(bench, made)
    other = elements(kind, made.form.size, OTHER)
    bench.memory.write(made.start, other)
    data = read(bench, made)
    if data != other:
        raise NotSo(
            f"read() of {made.what} gives {told(data, kind)} after {told(other, kind)} was written where describe() says that it is; one of "
            "them is about a copy"
        )


def _apart(bench: Bench, kind: DType) -> None:
    """An array keeps its elements when another is made."""
    one = make(bench, kind, "c-order")
    another = make(bench, kind, "c-order", OTHER)
    data = read(bench, one)
    if data != one.block:
        raise NotSo(
            f"{one.what} reads {told(data, kind)} once another was made; expected {told(one.block, kind)}: they share memory"
        )
    read(bench, another)


def _last(bench: Bench, kind: DType) -> None:
    made = make(bench, kind, "c-order")
    with answering(f"last() of {made.what}"):
        data = bench.adapter.last(made.array)
    expected = made.block[-kind.itemsize :]
    if data != expected:
        raise NotSo(f"last() of {made.what} gives {told(data, kind)}; expected {told(expected, kind)}{EITHER}")


# -- exchange, as far as it can be seen without one


def _exports(bench: Bench, kind: DType, protocol: Protocol) -> None:
    """There is an object, and it has the protocol's attributes; what they do is for the suite to find out."""
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
            raise NotSo(f"{said}, but what exporter() gives has no {attribute}{EITHER}")


def _has(thing: Any, attribute: str) -> bool:
    """An attribute that raises is there: a property may refuse."""
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
        return  # one without a signature
