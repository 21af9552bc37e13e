"""Family ``style``: older and library-specific ways to call an import or export. Libraries add and drop them, so the suite records each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from conformance.adapters.base import Protocol
from conformance.adapters.calls import Style
from conformance.adapters.special import named
from conformance.checks.call_table import NOTE
from conformance.checks.catalogue import every, invariant
from conformance.checks.codes import Code
from conformance.checks.exchange import Exchange, Source, brief
from conformance.checks.libraries import Pair
from conformance.checks.native_handover import Gives, gives, got, memory_of, native
from conformance.checks.outcomes import fail
from conformance.checks.steps import Doing
from conformance.protocols import capsule
from conformance.protocols.clauses import Level, Role

from .test_native import objects


def _capsule_styles(pair: Pair) -> tuple[str, ...]:
    return pair.target.called.capsule_styles


def _own_styles(pair: Pair) -> tuple[str, ...]:
    return pair.source.called.own_styles


def _array_styles(pair: Pair) -> tuple[str, ...]:
    return pair.target.called.array_styles


def _layouts(pair: Pair) -> tuple[str, ...]:
    return tuple(name for name in ("c-order", "stepped") if name in pair.source.layouts)


@invariant(
    "style.bare-capsule",
    consumer="DLP-58",
    bugs="I23",
    level=Level.OBSERVED,
    cases=lambda env: every(env.imports(Protocol.DLPACK), style=_capsule_styles),
)
def test_bare_capsule(exchange: Exchange) -> None:
    """The suite records whether a function that imports DLPack accepts a bare capsule, which older code passes.

    No document requires it: the standard passes an object to ``from_dlpack``.
    """
    style = named(exchange.consumer.styles, exchange.option("style"))
    source = exchange.source()
    given = exchange.offer(source).__dlpack__()
    _judge(exchange, style, source, lambda: style.run(exchange.consumer, given))


@invariant(
    "style.constructor",
    consumer="DLP-44",
    level=Level.OBSERVED,
    cases=lambda env: every(
        (pair for pair in objects(env) if pair.protocol is Protocol.DLPACK), style=_array_styles, layout=_layouts
    ),
)
def test_constructor(exchange: Exchange) -> None:
    """The suite records whether a constructor with ``copy=False`` or a similar option shares the memory of an object passed directly.

    The result depends on the version of the library: it may share, copy or raise an exception.
    """
    style = named(exchange.consumer.styles, exchange.option("style"))
    source = exchange.source()
    thing = native(exchange, source.array)
    _judge(exchange, style, source, lambda: style.run(exchange.consumer, thing))


def _judge(exchange: Exchange, style: Style, source: Source, take: Callable[[], Any]) -> None:
    """Record the result of a call: a refusal, a copy or other elements are observed failures."""
    result = got(exchange, take)
    given = gives(result, memory_of(source), exchange.device)
    exchange.notes[NOTE] = given.value if result.view is not None else f"{given.value}: {type(result.error).__name__}"
    cited = "DLP-44" if exchange.case.invariant == "style.constructor" else "DLP-58"
    if result.view is None:
        fail(
            Code.STYLE_REFUSED, cited, role=Role.CONSUMER, level=Level.OBSERVED, reason=f"{style.name} refuses the array",
            expected=f"{Gives.SHARES.value} the memory", seen=brief(result.error), given=style.name,
        )  # fmt: skip
    if given is not Gives.SHARES or result.values != source.values:
        fail(
            Code.STYLE_DIFFERS, cited, role=Role.CONSUMER, level=Level.OBSERVED,
            reason=f"{style.name} returns other memory or other elements",
            expected=f"{Gives.SHARES.value} the memory", seen=f"{given.value}; {result}", given=style.name,
        )  # fmt: skip


@invariant(
    "style.to-capsule",
    producer="DLP-01",
    bugs="I23",
    level=Level.OBSERVED,
    cases=lambda env: every(env.exports(Protocol.DLPACK), style=_own_styles),
)
def test_to_capsule(exchange: Exchange) -> None:
    """The suite records whether a library has a function that returns a bare capsule of an array, usually named ``to_dlpack``.

    No document requires such a function.
    """
    style = named(exchange.producer.styles, exchange.option("style"))
    source = exchange.source()
    try:
        with exchange.step(Doing.EXPORT, Role.PRODUCER):
            given = style.run(exchange.producer, source.array)
    except Exception as error:
        exchange.check_context(error)
        exchange.notes[NOTE] = f"{Gives.REFUSES.value}: {type(error).__name__}"
        seen = brief(error)
    else:
        exchange.notes[NOTE] = capsule.name(given).decode() if capsule.is_capsule(given) else type(given).__name__
        if not capsule.is_capsule(given):
            seen = f"a {type(given).__name__}"
        elif exchange.decode(given).element0 == source.address:
            return
        else:
            seen = f"a capsule of other memory than {source.address:#x}"
    fail(
        Code.STYLE_REFUSED, "DLP-01", role=Role.PRODUCER, level=Level.OBSERVED, reason=f"{style.name} returns no capsule of the array",
        expected="a capsule", seen=seen, given=style.name,
    )  # fmt: skip
