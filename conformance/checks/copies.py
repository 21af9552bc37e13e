"""Checks of ``copy=True`` and ``copy=False``: is the memory shared, and which side is responsible?"""

from __future__ import annotations

from typing import NoReturn

from conformance.adapters.base import View
from conformance.protocols.clauses import Role

from .codes import Code
from .exchange import Exchange, Source, show
from .outcomes import Side, fail


def expect_copied(exchange: Exchange, source: Source, seen: bytes) -> None:
    """Fail if a copy has wrong elements. The producer is accused if they were already wrong at the hand-over."""
    if seen == source.values:
        return
    exchange.expect_handed(source)
    side = exchange.changed_by(source, source.values)
    role = exchange.suspect(side)
    fail(
        Code.VALUES_CHANGED,
        exchange.describing() if role is Role.PRODUCER else exchange.reading(),
        role=role,
        reason="the producer makes a copy with wrong elements"
        if side is Side.PRODUCER
        else "the consumer reads wrong elements from the copy",
        expected=show(source.values, source.dtype),
        seen=show(seen, source.dtype),
        given="`copy=True`",
        accused=side,
    )


def copy_is_shared(exchange: Exchange, source: Source, *, expected: str, seen: str) -> NoReturn:
    """Fail because ``copy=True`` gave no copy. The producer is accused if it received the request and exported its own memory."""
    side, reason = _who_shares(exchange, source)
    role = exchange.suspect(side)
    fail(
        Code.COPY_SHARED, "DLP-39" if role is Role.PRODUCER else "DLP-44", role=role, reason=reason, expected=expected, seen=seen,
        accused=side,
    )  # fmt: skip


def _who_shares(exchange: Exchange, source: Source) -> tuple[Side | None, str]:
    """Return the side that ignored the request for a copy, as far as the capsules show it, and the reason for the failure."""
    copies = [answer for answer in exchange.answers if answer.keywords.get("copy")]
    if not copies:
        return Side.CONSUMER, "the consumer shares the producer's memory and does not request a copy from the producer"
    if any(answer.handed is not None and not exchange.is_elsewhere(source, answer.handed.address) for answer in copies):
        return Side.PRODUCER, "the producer shares its memory although the consumer requests a copy"
    if not exchange.answers[-1].keywords.get("copy"):
        return Side.CONSUMER, "the consumer requests a copy, but then imports another capsule"
    return None, "the import shares the producer's memory although the consumer requests a copy"


def expect_no_copy(exchange: Exchange, source: Source, view: View) -> None:
    """Fail if an import with ``copy=False`` does not share the producer's memory. The side that copied is accused."""
    if source.view.size and view.address != source.address:
        by_producer = any(
            answer.keywords.get("copy") is False
            and answer.handed is not None
            and exchange.is_elsewhere(source, answer.handed.address)
            for answer in exchange.answers
        )
        fail(
            Code.COPY_MADE,
            "DLP-39" if by_producer else "DLP-44",
            role=Role.PRODUCER if by_producer else Role.CONSUMER,
            reason=f"the {'producer' if by_producer else 'consumer'} copies although copy=False forbids it",
            expected=f"element 0 at {source.address:#x}",
            seen=f"element 0 at {view.address:#x}",
            accused=Side.PRODUCER if by_producer else Side.CONSUMER,
        )
