"""A part of an exchange in a fork of the process of the case, whose end its parent reports."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from typing import Any

from conformance.protocols.clauses import Level, Role

from .codes import BY_SLUG, Code
from .concurrency import elsewhere
from .exchange import Exchange, brief
from .forks import HANG, UNDECIDED, in_child
from .outcomes import Failure, Inconclusive, Refused, Side, fail


def in_fork(exchange: Exchange, given: str, check: Callable[[Exchange], None], *, in_thread: bool = False) -> None:
    """Run ``check`` in a fork of this process, and end here as it ends there. ``given`` is the special input.

    No document covers forks, so a failure there is at most a deviation, and an end of the process is a matter of robustness. POSIX
    promises nothing for a fork of a process with threads: there a hang or a death decides nothing. With ``in_thread`` the check
    runs in a new thread of the fork.
    """
    threads = len(os.listdir("/proc/self/task"))
    action = partial(_told, exchange.apart(), check)
    ended = in_child(lambda: json.dumps(elsewhere(action) if in_thread else action()))
    exchange.special(given)
    if ended == UNDECIDED:
        raise Inconclusive(
            "the exchange in the fork got too little time, so it is not known whether it would have ended"
        )
    try:
        told = json.loads(ended)
    except ValueError:
        if threads > 1:
            told = f"{threads} threads, of which POSIX promises nothing"
            raise Inconclusive(
                f"the exchange in the fork ended with {ended}, in a fork of a process with {told}"
            ) from None
        exchange.illegal(given)
        role = exchange.suspect()
        clause = exchange.describing() if role is Role.PRODUCER else exchange.reading()
        fail(
            Code.PROGRAM_HANG if ended == HANG else Code.PROGRAM_CRASH, clause, role=role,
            reason="the exchange in a forked process does not end well", expected="an array or an exception", seen=ended,
        )  # fmt: skip
    if "undecided" in told:
        raise Inconclusive(f"in the fork: {told['undecided']}")
    if "refused" in told:
        raise Refused(f"in the fork: {told['refused']}")
    if "code" in told:
        level, accused = Level(told["level"]).at_most(Level.SHOULD), told["accused"]
        raise Failure(
            BY_SLUG[told["code"]], told["clause"], Role(told["role"]), level, f"in a forked process {told['reason']}", told["expected"],
            told["seen"], given=told["given"], accused=Side(accused) if accused else None, library=told["library"],
        )  # fmt: skip


def _told(exchange: Exchange, check: Callable[[Exchange], None]) -> dict[str, Any]:
    """Return the end of the check as plain data."""
    exchange.alone()
    try:
        check(exchange)
    except Failure as f:
        return {
            "code": f.code.value, "clause": f.clause, "role": f.role.value, "level": f.level.value, "reason": f.reason, "expected": f.expected,
            "seen": f.seen, "accused": f.accused.value if f.accused else "", "library": f.library, "given": f.given,
        }  # fmt: skip
    except Refused as refusal:
        return {"refused": str(refusal)}
    except BaseException as error:
        return {"undecided": brief(error)}
    return {}
