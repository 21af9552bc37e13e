"""Family ``combination`` after thousands of exchanges in one process."""

from __future__ import annotations

from collections.abc import Iterator

from conformance.adapters.base import Protocol
from conformance.checks.catalogue import Draft, Isolation, Tier, invariant
from conformance.checks.codes import Code
from conformance.checks.exchange import Exchange
from conformance.checks.libraries import REFERENCE, Environment
from conformance.checks.outcomes import ACCUSED, Failure, Inconclusive, Refused, fail
from conformance.checks.points import Point, reach
from conformance.checks.repeated_checks import EXCHANGE, LEVELS, REPEATED, missing
from conformance.protocols.clauses import Level, Role

from .test_combination import NotMade, hand_over, make_exchange, refuse, tried

MANY = 5_120
"""Exchanges before the checks are made a second time."""
_ACCEPTING = {
    (Protocol.DLPACK, Role.PRODUCER): "DLP-59",
    (Protocol.DLPACK, Role.CONSUMER): "DLP-58",
    (Protocol.CAI, Role.PRODUCER): "CAI-05",
    (Protocol.CAI, Role.CONSUMER): "CAI-32",
}
_LOOKS = (*REPEATED, *LEVELS)
"""The checks that points repeat, and an exchange with each level that no check covers."""


def _drafts(env: Environment) -> Iterator[Draft]:
    """Yield a case for each library as producer and as consumer, for each protocol."""
    for pair in env.pairs():
        names = (pair.producer.name, pair.consumer.name)
        if REFERENCE in names:
            yield Draft(*names, pair.protocol.value, pair.device, (), Tier.QUICK, missing(_LOOKS, reach(pair)))


@invariant(
    "combination.later",
    producer="DLP-59 DLP-02 DLP-07 DLP-08 DLP-10 DLP-13 DLP-15 DLP-19 DLP-20 DLP-27 DLP-28 DLP-39 DLP-43 DLP-46 "
    "CAI-05 CAI-02 CAI-03 CAI-06 CAI-08 CAI-11 CAI-12",
    consumer="DLP-58 DLP-09 DLP-26 DLP-31 DLP-36 DLP-42 DLP-43 DLP-44 DLP-46 DLP-63 CAI-32 CAI-07 CAI-29",
    context="G2 CAI-27",
    level=Level.MUST,
    cases=_drafts,
    isolation=Isolation.CHILD,
    repeats=dict.fromkeys(one.invariant for one in REPEATED if one.invariant != EXCHANGE),
)
def test_later(exchange: Exchange) -> None:
    """A library must export and import after 5,120 exchanges and refusals in one process as it does after the first.

    The case makes each check of the points with plain arrays twice: in a new process, and after the exchanges. It reports a failure that
    appears only the second time. The case of the check itself reports a failure that appears the first time.
    """
    _exchanged(exchange)
    before = {one: failure.code for one in _LOOKS if (failure := tried(exchange, Point(), one, observed=True))}
    given = f"after {MANY:,} exchanges"
    _use(exchange, given)
    for one in _LOOKS:
        failure = tried(exchange, Point(), one)
        if failure is not None and before.get(one) is not failure.code:
            raise _later(failure, given)


def _use(exchange: Exchange, given: str) -> None:
    """Make the exchanges. A refusal after an accepted exchange is a failure."""
    exchange.special(given)
    try:
        hand_over(exchange, Point(), exchange.source(), MANY)
        refuse(exchange)
        _exchanged(exchange)
    except Refused as refusal:
        role = exchange.suspect()
        fail(
            Code.REFUSED, _ACCEPTING[exchange.protocol, role], role=role, level=Level.SHOULD,
            reason=f"the {role.value} refuses an exchange that it has accepted {MANY:,} times", expected="an accepted exchange, as the first time",
            seen=str(refusal), given=f"an array {given}", accused=ACCUSED[role],
        )  # fmt: skip


def _exchanged(exchange: Exchange) -> None:
    """Exchange one plain array."""
    try:
        make_exchange(exchange, Point())
    except NotMade as missing:
        raise Inconclusive(f"not run: {missing}") from missing


def _later(failure: Failure, given: str) -> Failure:
    """Return the failure, with the number of exchanges in front of its ``given``."""
    return Failure(
        failure.code, failure.clause, failure.role, failure.level, failure.reason, failure.expected, failure.seen,
        given=f"{given}, {failure.given}" if failure.given else given, accused=failure.accused, library=failure.library,
    )  # fmt: skip
