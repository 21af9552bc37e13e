"""Family ``release``: promises of a library's release notes, which hold from a version on.

``conformance/checks/expectations.py`` lists the changes. An older release of a library has no case. The reference has every change, so
that the faults of the reference test the invariant.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from conformance.adapters.base import Protocol
from conformance.checks.catalogue import every, invariant
from conformance.checks.codes import Code
from conformance.checks.exchange import Exchange, brief
from conformance.checks.expectations import Change, expectation, holds
from conformance.checks.layouts import layout
from conformance.checks.libraries import REFERENCE, Environment, Library, Pair
from conformance.checks.outcomes import Side, fail
from conformance.checks.steps import Doing
from conformance.protocols.clauses import Level, Role


def has(library: Library, change: Change) -> bool:
    """Return whether this version of the library has the change; the reference has every change."""
    is_its = expectation(change).library == library.name and holds(change, library.versions)
    return library.name == REFERENCE or is_its


def _of(env: Environment, change: Change) -> Iterator[Pair]:
    return (pair for pair in env.imports(Protocol.DLPACK) if has(pair.consumer, change))


@dataclass(frozen=True)
class _Unsupported:
    """An array that no library supports: a description, the changed fields of its capsule, and its layout."""

    given: str
    override: dict[str, Any]
    form: str = "c-order"


_UNSUPPORTED = {
    "device": _Unsupported("an array on a device that it does not support", {"device": (10, 0)}),
    "dtype": _Unsupported("elements of type code 200", {"code": 200}),
    "rank": _Unsupported("an array of 65 dimensions", {}, "rank-65"),
}


@invariant(
    "release.buffer-error",
    consumer="DLP-51",
    context="DLP-45",
    bugs="I25",
    level=Level.MUST,
    cases=lambda env: every(_of(env, Change.BUFFER_ERROR), what=tuple(_UNSUPPORTED)),
)
def test_buffer_error(exchange: Exchange) -> None:
    """A consumer must refuse an unsupported device, element type or rank with ``BufferError``.

    NumPy promises this from version 2.5 on. Earlier releases raise ``RuntimeError``, which other invariants report as a deviation. Other
    invariants also check whether a consumer accepts such an array.
    """
    unsupported = _UNSUPPORTED[exchange.option("what")]
    exchange.take(exchange.source())
    source = exchange.crafted(override=unsupported.override, form=layout(unsupported.form))
    exchange.special(unsupported.given)
    offer = exchange.offer(source)
    try:
        with exchange.step(Doing.IMPORT, Role.CONSUMER):
            exchange.consumer.take(offer, exchange.protocol, exchange.device)
    except BufferError:
        return
    except Exception as error:
        exchange.check_context(error)
        fail(
            Code.WRONG_EXCEPTION, "DLP-51", role=Role.CONSUMER, reason=f"the consumer refuses {unsupported.given} with the wrong kind of exception",
            expected="BufferError", seen=brief(error), given=unsupported.given, accused=Side.CONSUMER,
        )  # fmt: skip
