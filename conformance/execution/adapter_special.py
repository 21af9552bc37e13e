"""Checks of the special arrays that an adapter declares. They exchange no array.

A false declaration would accuse the library: an array that is declared as foreign but is plain is rightly exported.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from conformance.adapters import calls
from conformance.adapters.base import Device, Unsupported
from conformance.adapters.calls import Style, UserCall
from conformance.adapters.changes import Change
from conformance.adapters.making import Making
from conformance.adapters.special import NAME, Foreign, State, on, use_state
from conformance.checks.exchange import brief
from conformance.checks.patterns import first_elements, unpacked
from conformance.protocols.dtypes import NARROW, dtype
from conformance.protocols.strided import Strided
from conformance.reference.memory import gather_by_bytes

from .adapter_bench import EITHER, Bench, NotSo, description, is_memory

_FLOAT32 = 4
_CLAUSES = ("DLP-23", "DLP-12")


def trials(bench: Bench) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield a clause that can follow "while" and a check, for each declaration."""
    adapter, device = bench.adapter, bench.device
    yield "its declarations are read", partial(_well_formed, bench)
    for name in adapter.narrow_dtypes:
        yield f"a vector of {name} is made", partial(_narrow, bench, name)
    for foreign in on(adapter.foreign, device):
        yield f"an array of {foreign.name} elements is made", partial(_foreign, bench, foreign)
    for state in on(adapter.states, device):
        yield f"an array in the state {state.name} is made", partial(_state, bench, state)
    for making in on(adapter.made, device):
        yield f"an array is made by {making.name}", partial(_made, bench, making)


def _well_formed(bench: Bench) -> None:
    adapter = bench.adapter
    for where, kind, declared, form, words in (
        ("foreign", Foreign, adapter.foreign, NAME, "lower-case letters, digits, _ and -"),
        ("states", State, adapter.states, NAME, "lower-case letters, digits, _ and -"),
        ("calls", UserCall, adapter.calls, calls.NAME, "letters, digits, ., _ and -"),
        ("changes", Change, adapter.changes, NAME, "lower-case letters, digits, _ and -"),
        ("donations", Change, adapter.donations, NAME, "lower-case letters, digits, _ and -"),
        ("made", Making, adapter.made, NAME, "lower-case letters, digits, _ and -"),
        ("styles", Style, adapter.styles, calls.NAME, "letters, digits, ., _ and -"),
    ):
        names: list[str] = []
        for one in declared:
            if not isinstance(one, kind):
                raise NotSo(f"{where} contains {one!r}; expected a {kind.__name__}")
            if not form.fullmatch(one.name):
                raise NotSo(f"{where} contains the invalid name {one.name!r}; expected {words}")
            if one.name in names:
                raise NotSo(f"{where} contains the name {one.name!r} twice")
            names.append(one.name)
    for name in adapter.narrow_dtypes:
        if name not in NARROW:
            raise NotSo(f"narrow_dtypes contains {name!r}; expected some of {', '.join(NARROW)}")
    for one in adapter.foreign:
        if one.clause not in _CLAUSES:
            raise NotSo(f"foreign {one.name!r} cites {one.clause!r}; expected {' or '.join(_CLAUSES)}")
        if not all(_is_word(word) for word in one.words):
            raise NotSo(f"foreign {one.name!r} has the words {one.words!r}; expected pairs of a type code and bits")


def _is_word(word: Any) -> bool:
    return isinstance(word, tuple) and len(word) == 2 and all(isinstance(number, int) for number in word)


def _narrow(bench: Bench, name: str) -> None:
    """Check that the described memory has the elements, either packed or one in each byte."""
    kind = NARROW[name]
    data = first_elements(kind)
    array = _built(partial(bench.adapter.narrow, kind, data, bench.device))
    address = _told(bench, array, f"a vector of {name}")
    if address is None:
        return
    for wanted in (data, unpacked(data, kind.bits)):
        on_host = bench.device is not Device.CUDA
        if on_host and not is_memory(address, len(wanted)):
            raise NotSo(
                f"describe() of a vector of {name} returns addresses that are not mapped in this process{EITHER}"
            )
        if bench.memory.read(address, len(wanted)) == wanted:
            return
    raise NotSo(f"narrow() of {name} does not store the elements that it was given{EITHER}")


def _foreign(bench: Bench, declared: Foreign) -> None:
    """Check that the array has none of the element types that the library exchanges."""
    array = _built(partial(declared.build, bench.adapter))
    try:
        name = bench.adapter.describe(array).dtype
    except Exception:
        return  # an adapter need not describe such arrays
    plain = {dtype(known).name for known in bench.adapter.candidate_dtypes}
    if name in plain:
        raise NotSo(
            f"it declares {declared.name} elements as foreign, but describe() of such an array names the element type {name!r}{EITHER}"
        )


def _state(bench: Bench, declared: State) -> None:
    """Check that ``build`` passes one array to its callback, and its elements as bytes or ``None``."""
    used: list[Any] = []
    try:
        use_state(bench.adapter, declared, bench.device, lambda array, elements: used.append(elements))
    except Unsupported:
        raise
    except Exception as error:
        raise NotSo(f"creating an array in the state {declared.name} raises {brief(error)}{EITHER}") from error
    if len(used) != 1:
        raise NotSo(f"the state {declared.name} passes {len(used)} arrays to its callback; expected one")
    if not isinstance(used[0], (bytes, type(None))):
        raise NotSo(
            f"the state {declared.name} reports its elements as a {type(used[0]).__name__}; expected bytes or None"
        )


def _made(bench: Bench, declared: Making) -> None:
    """Check that the array has the declared shape, type and elements."""
    array = _built(partial(bench.adapter.make, declared, bench.device))
    view = description(bench, array, f"an array made by {declared.name}")
    if (view.shape, view.dtype) != (declared.shape, "float32"):
        raise NotSo(
            f"the array made by {declared.name} has shape {view.shape} and type {view.dtype}; expected {declared.shape}, float32"
        )
    seen = (
        gather_by_bytes(bench.memory, view.address, Strided(view.shape, view.strides), _FLOAT32)
        if declared.numbers
        else b""
    )
    if seen != struct.pack(f"={len(declared.numbers)}f", *declared.numbers):
        raise NotSo(f"the array made by {declared.name} has elements that differ from the declared ones{EITHER}")


def _built(build: Callable[[], Any]) -> Any:
    """Return the array; raise :class:`Unsupported` where this version of the library has no such array."""
    try:
        return build()
    except Exception as error:
        raise Unsupported(brief(error)) from error


def _told(bench: Bench, array: Any, what: str) -> int | None:
    try:
        bench.adapter.describe(array)
    except Exception:
        return None
    return description(bench, array, what).address
