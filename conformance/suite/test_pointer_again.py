"""Family ``pointer``: memory that a consumer imports a second time, as a different array."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from conformance.adapters.base import Protocol, Trait
from conformance.checks.catalogue import Draft, every, invariant
from conformance.checks.codes import Code
from conformance.checks.exchange import Exchange, Source, collect
from conformance.checks.libraries import Environment, Pair
from conformance.checks.outcomes import Side, fail
from conformance.protocols.clauses import Level, Role
from conformance.protocols.dtypes import dtype
from conformance.protocols.strided import packed
from conformance.reference.exporter import Exporter


@dataclass(frozen=True)
class _Array:
    """Another array in the same memory with the same first element. ``given`` describes it in words."""

    given: str
    dtype: str = "float32"
    shape: tuple[int, ...] = (3, 4)
    readonly: bool = False


READONLY = "readonly"
_ARRAYS = {
    "dtype": _Array("memory that was imported as another element type", dtype="int32"),
    "shape": _Array("memory that was imported in another shape", shape=(2, 6)),
    READONLY: _Array("memory that was imported as a writable array", readonly=True),
}


def _arrays(pair: Pair) -> tuple[str, ...]:
    """Return an axis: the arrays that the consumer can distinguish. No clause covers a consumer's use of a dictionary's read-only bit."""
    locks = pair.consumer.has(Trait.READONLY) and pair.protocol is Protocol.DLPACK
    return tuple(name for name in _ARRAYS if name != READONLY or locks)


def _drafts(env: Environment) -> Iterator[Draft]:
    pairs = (p for p in env.imports() if {"float32", "int32"} <= {*p.target.dtypes})
    return every(pairs, second=_arrays, first=("kept", "dropped"))


@invariant(
    "pointer.same-memory",
    consumer="DLP-58 CAI-32 DLP-09",
    bugs="I13",
    level=Level.MUST,
    cases=_drafts,
)
def test_same_memory(exchange: Exchange) -> None:
    """A consumer that imports the same memory again as a different array must use the new element type, shape and access.

    A library that caches imports by address could return the first one.
    """
    source = exchange.source()
    before = exchange.take(source)
    exchange.read(before)
    if exchange.option("first") == "dropped":
        del before
        collect()
    wanted = _ARRAYS[exchange.option("second")]
    exchange.special(wanted.given)
    again = exchange.made(_again(source, wanted))
    taken = exchange.take(again, promised="" if wanted.readonly else None)
    view = exchange.look(taken)
    exchange.expect_shape(again, view)
    exchange.expect_type(again, view)
    exchange.expect_values(again, exchange.read(taken))
    if wanted.readonly and view.readonly is False:
        _writable()


def _again(source: Source, wanted: _Array) -> Source:
    """Return the other array, which holds the memory by itself."""
    first: Exporter = source.array
    kind, form = dtype(wanted.dtype), packed(wanted.shape)
    made = type(first)(first.memory, first.block, kind, form, readonly=wanted.readonly)
    return Source(made, kind, form, source.address, source.block)


def _writable() -> NoReturn:
    fail(
        Code.READONLY_LOST, "DLP-09", role=Role.CONSUMER, reason="the consumer imports memory as writable that is now handed over as read-only",
        expected="a read-only array", seen="a writable one", accused=Side.CONSUMER,
    )  # fmt: skip
