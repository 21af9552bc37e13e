"""Checks of the export of an array in a special state, such as a masked, lazy or meta array."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from conformance.adapters.base import Protocol
from conformance.adapters.special import State, named
from conformance.protocols.clauses import Level, Role

from .codes import Code
from .exchange import UNCLEAN, Exchange, brief
from .outcomes import Side, fail

REFUSED_STATE = "an array that DLPack cannot express"
"""The special input of a wrong refusal. It is the same for all states, because libraries refuse all of them in the same way."""


@dataclass(frozen=True)
class Answer:
    """The result of an export: an exception, or an address and the bytes in that memory."""

    error: Exception | None = None
    address: int = 0
    size: int = 0
    data: bytes = b""


def state_of(exchange: Exchange) -> State:
    """Return the state of the case's array."""
    return named(exchange.producer.states, exchange.option("state"))


def at_most(state: State, level: Level | None = None) -> Level | None:
    """Return the level of a failure. It is only observed if a private constructor makes the array: users do not have such arrays."""
    return Level.OBSERVED if state.private else level


def judge(
    exchange: Exchange, answer: Answer, elements: bytes | None, cited: str, *, accused: Side | None = None
) -> None:  # fmt: skip
    """Fail if the exception has the wrong class, or if the exported elements are wrong, which breaks the clause ``cited``.

    ``accused`` is set if it is proven which side gives wrong elements.
    """
    if answer.error is not None:
        _judge_refusal(exchange, answer.error, cited)
    elif elements is None or answer.data != elements:
        _judge_elements(exchange, answer, elements, cited, accused)


def _judge_refusal(exchange: Exchange, error: Exception, cited: str) -> None:
    exchange.check_context(error)
    state, by_dlpack = state_of(exchange), exchange.protocol is Protocol.DLPACK
    if isinstance(error, UNCLEAN):
        fail(
            Code.DEFECT_EXCEPTION, "DLP-23" if by_dlpack else "PY-01", role=Role.PRODUCER,
            level=at_most(state, Level.SHOULD),
            reason=f"the producer refuses {exchange.given} with an exception that indicates a defect",
            expected="BufferError" if by_dlpack else "AttributeError", seen=brief(error), given=type(error).__name__,
        )  # fmt: skip
    if by_dlpack and state.inexpressible and not isinstance(error, BufferError):
        fail(
            Code.WRONG_EXCEPTION, "DLX-06" if cited == "DLX-09" else "DLP-23", role=Role.PRODUCER,
            level=at_most(state, Level.SHOULD),
            reason=f"the producer refuses {exchange.given} with the wrong kind of exception",
            expected="BufferError", seen=brief(error), given=REFUSED_STATE,
        )  # fmt: skip


def _judge_elements(
    exchange: Exchange, answer: Answer, elements: bytes | None, cited: str, accused: Side | None
) -> None:  # fmt: skip
    state = state_of(exchange)
    code, level, reason = mistake(state, answer, elements)
    fail(
        code,
        cited,
        role=Role.PRODUCER,
        level=at_most(state, level),
        reason=f"the producer exports {exchange.given} {reason}",
        expected="a refusal" if elements is None else f"a refusal, or {in_values(elements)}",
        seen=f"{answer.size} elements at {answer.address:#x}" + (f": {in_values(answer.data)}" if answer.data else ""),
        accused=accused,
    )


def mistake(state: State, answer: Answer, elements: bytes | None) -> tuple[Code, Level | None, str]:
    """Return the code, the level and the end of the reason for an export with wrong elements."""
    if not answer.address:
        return Code.NULL_ADDRESS, None, "as elements at address 0"
    if state.masked:
        return Code.MASK_DROPPED, Level.OBSERVED, "without its mask"
    if state.unresolved:
        return Code.UNRESOLVED_ELEMENTS, None, "without applying its pending lazy operation"
    if elements is None:
        return Code.INEXPRESSIBLE_EXPORTED, None, "as if its elements were in memory"
    return Code.VALUES_CHANGED, None, "with wrong elements"


def in_values(data: bytes) -> str:
    """Return the bytes as float32 numbers, the type of all of these arrays, or in hexadecimal if the length does not fit."""
    count, rest = divmod(len(data), 4)
    return data.hex(" ") if rest else str(list(struct.unpack(f"={count}f", data)))
