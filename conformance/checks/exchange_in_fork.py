"""Part of an exchange in a forked child process. The parent reports the result."""

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
    """Run ``check`` in a forked child process, and raise its outcome in this process. ``given`` is the special input.

    No document covers forks, so a failure in the child is at most a deviation, and a crash is reported as robustness. POSIX gives no guarantees
    for a fork of a process with threads. So a hang or a crash is inconclusive then. ``in_thread`` runs the check in a new thread of the child.
    """
    threads = len(os.listdir("/proc/self/task"))
    action = partial(_told, exchange.apart(), check)
    ended = in_child(lambda: json.dumps(elsewhere(action) if in_thread else action()))
    exchange.special(given)
    if ended == UNDECIDED:
        raise Inconclusive(
            "the exchange in the forked process got too little processor time to decide whether it hangs"
        )
    try:
        told = json.loads(ended)
    except ValueError:
        if threads > 1:
            raise Inconclusive(
                f"the exchange in the forked process ended with {ended}; its parent runs {threads} threads, and POSIX guarantees nothing then"
            ) from None
        exchange.illegal(given)
        role = exchange.suspect()
        clause = exchange.describing() if role is Role.PRODUCER else exchange.reading()
        fail(
            Code.PROGRAM_HANG if ended == HANG else Code.PROGRAM_CRASH, clause, role=role,
            reason=f"the {role.value} {'hangs' if ended == HANG else 'crashes'} in a forked process", expected="an array or an exception", seen=ended,
        )  # fmt: skip
    if "undecided" in told:
        raise Inconclusive(f"in the forked process: {told['undecided']}")
    if "refused" in told:
        raise Refused(f"in the forked process: {told['refused']}")
    if "code" in told:
        level, accused = Level(told["level"]).at_most(Level.SHOULD), told["accused"]
        raise Failure(
            BY_SLUG[told["code"]], told["clause"], Role(told["role"]), level, f"in a forked process {told['reason']}", told["expected"],
            told["seen"], given=told["given"], accused=Side(accused) if accused else None, library=told["library"],
        )  # fmt: skip


def _told(exchange: Exchange, check: Callable[[Exchange], None]) -> dict[str, Any]:
    """Run the check, and return its outcome as plain data."""
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
