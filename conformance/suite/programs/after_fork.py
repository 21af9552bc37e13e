"""Exchange an array, fork, and try the same exchange again in the child: CUDA does not survive a fork."""

from __future__ import annotations

import json
import os
import signal
import sys

from conformance.adapters import registry
from conformance.adapters.base import Adapter, Unsupported
from conformance.suite import interpreter
from conformance.suite.catalogue import Case
from conformance.suite.exchange import Exchange, Partners, Source, brief
from conformance.suite.outcomes import Failure, Refused

from . import tell

_SHARE = 1 / 3
"""Of this program's own time limit, after which the child counts as hanging."""


def main(case: Case) -> None:
    """Exchange here, then there, then tell how the child ended."""
    tell(step="the exchange before the fork")
    exchange = Exchange(case, Partners(_load))
    source = exchange.source()
    try:
        exchange.expect_values(source, exchange.read(exchange.take(source, promised="")))
    except (Refused, Unsupported) as refusal:
        tell(before="refused", seen=str(refusal))
        return
    except Failure as failure:
        tell(before="wrong", seen=str(failure))
        return
    tell(before="right")
    tell(step="the exchange in the child")
    tell(ended=in_child(exchange, source))
    tell(step="interpreter exit")


def _load(name: str) -> Adapter:
    adapter = registry.create(name)
    adapter.load()
    return adapter


def in_child(exchange: Exchange, source: Source) -> str:
    """``right``, ``wrong``, ``raised …`` or the name of the signal that ended the child; SIGALRM for a hang."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, _SHARE * interpreter.limit())
        os.write(writer, attempt(exchange, source).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        told = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return told or f"exit code {os.WEXITSTATUS(status)}"


def attempt(exchange: Exchange, source: Source) -> str:
    """Take and read, by the adapters alone: the suite's own view of the CUDA context is lost here too."""
    try:
        offer = exchange.producer.offer(source.array, exchange.protocol)
        taken = exchange.consumer.take(offer, exchange.protocol, exchange.device)
        seen = exchange.consumer.read(taken)
    except BaseException as error:
        return f"raised {brief(error)}"
    return "right" if seen == source.values else "wrong"


if __name__ == "__main__":
    main(Case.from_json(json.loads(sys.argv[1])))
