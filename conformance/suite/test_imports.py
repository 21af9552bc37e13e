"""Family ``imports``: the order in which a process imports libraries.

Every case runs in a fresh interpreter, because a process cannot undo the effects of an import.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from conformance.adapters.base import Device, Protocol
from conformance.checks import interpreter
from conformance.checks.catalogue import Draft, Isolation, Tier, invariant
from conformance.checks.codes import BY_SLUG, Code
from conformance.checks.concurrency import BUILDS
from conformance.checks.exchange import Exchange
from conformance.checks.libraries import REFERENCE, Environment, Library
from conformance.checks.outcomes import ACCUSED, Inconclusive, Refused, Side, fail
from conformance.protocols.clauses import Level, Role

_SEPARATOR = ","


def _under_test(env: Environment) -> tuple[Library, ...]:
    return tuple(library for library in env.present if library.name != REFERENCE)


def _draft(first: Library, last: Library, tier: Tier, **parameters: str) -> Draft:
    """Return a case on the first device and protocol that both libraries share. The GPU and DLPack come first."""
    places = [d for d in (Device.CUDA, Device.HOST, Device.SIMULATED) if d in first.sides or d in last.sides]
    device = next((d for d in places if d in first.sides and d in last.sides), places[0])
    protocol = next((p.value for p in Protocol if _share(first, last, device, p)), "none")
    return Draft(first.name, last.name, protocol, device, tuple(parameters.items()), tier)


def _share(first: Library, last: Library, device: Device, protocol: Protocol) -> bool:
    giver, taker = first.sides.get(device), last.sides.get(device)
    return bool(giver and taker and protocol in giver.exports and protocol in taker.imports)


def _pairs(env: Environment) -> Iterator[Draft]:
    """Yield both orders of every two libraries with GPU arrays, or of every two libraries without a GPU.

    The rotations include the other libraries too.
    """
    libraries = _under_test(env)
    on_gpu = tuple(library for library in libraries if Device.CUDA in library.sides)
    for first in on_gpu or libraries:
        for second in on_gpu or libraries:
            if first is not second:
                yield _draft(first, second, Tier.FULL)


def _rotations(env: Environment) -> Iterator[Draft]:
    libraries = _under_test(env)
    for start in range(len(libraries) if len(libraries) > 2 else 0):
        order = libraries[start:] + libraries[:start]
        tier = Tier.FULL if start else Tier.QUICK
        yield _draft(order[0], order[-1], tier, order=_SEPARATOR.join(library.name for library in order))


@invariant(
    "imports.pair",
    producer="DLP-59 CAI-05 DLP-46",
    consumer="DLP-58 CAI-32 DLP-46",
    bugs="I30 import-01 import-02 import-04 import-06 import-07 import-08 import-10 context-12",
    level=Level.MUST,
    isolation=Isolation.FRESH,
    cases=_pairs,
)
def test_pair(exchange: Exchange) -> None:
    """Two libraries must exchange arrays in both directions, compute, and let the interpreter exit cleanly, in either import order."""
    _judge((exchange.case.producer, exchange.case.consumer))


@invariant(
    "imports.rotation",
    producer="DLP-59 CAI-05 DLP-46",
    consumer="DLP-58 CAI-32 DLP-46",
    bugs="I30 import-04 import-08 import-10 context-07 context-12",
    level=Level.MUST,
    isolation=Isolation.FRESH,
    cases=_rotations,
)
def test_rotation(exchange: Exchange) -> None:
    """All libraries must exchange arrays with their neighbours, compute, and let the interpreter exit cleanly, in each rotated import order.

    Every library is first once and last once.
    """
    case = exchange.case
    names = tuple(exchange.option("order").split(_SEPARATOR))
    _judge((case.producer, case.consumer) if REFERENCE in case.libraries else names)


def _judge(names: tuple[str, ...]) -> None:
    ended = interpreter.run("import_order", *names)
    interpreter.expect_survival(ended, interpreter.SURVIVAL)
    for record in ended.records:
        if "exchange" in record and record["outcome"] == "wrong":
            _fails_in_exchange(record)
        if "kernel" in record and record["outcome"] != "right":
            _fails_in_kernel(record)
    refused = [
        f"{record['exchange']}: {record['seen']}" for record in ended.records if record.get("outcome") == "refused"
    ]
    if refused:
        raise Refused("; ".join(refused))


def _fails_in_exchange(record: dict[str, Any]) -> None:
    """Fail as the check failed in the program. Producer and consumer are those of the exchange, not of the case."""
    guilty, role = record["guilty"], Role(record["role"])
    fail(
        BY_SLUG[record["code"]],
        record["clause"],
        role=role,
        level=Level(record["level"]),
        reason=f"{record['exchange']}: {record['reason']}",
        expected=record["expected"],
        seen=record["seen"],
        given="",
        accused=ACCUSED[role] if guilty else None,
        library=guilty,
    )


def _fails_in_kernel(record: dict[str, Any]) -> None:
    """Fail for a kernel that fails on the library's own array, if it works when the library is imported alone.

    If it also fails alone, the environment is at fault and the case is inconclusive.
    """
    library = record["library"]
    alone = interpreter.run("import_order", library)
    same = [other for other in alone.records if other.get("kernel") == record["kernel"]]
    if alone.death is not None or not same or same[0]["outcome"] != "right":
        raise Inconclusive(
            f"environment: {record['kernel']}: a kernel fails on the library's own array, also when the library is imported alone: {record['seen']}"
        )
    fail(
        Code.IMPORT_ORDER,
        interpreter.SURVIVAL,
        role=Role.CONSUMER,
        reason=f"{record['kernel']}: a kernel fails beside other libraries, and works when the library is imported alone",
        expected=record.get("expected", "no exception"),
        seen=record["seen"],
        given="a kernel of its own",
        accused=Side.CONSUMER,
        library=library,
    )


def _free_threaded(env: Environment) -> Iterator[Draft]:
    if BUILDS == ("free-threaded",):
        for library in _under_test(env):
            yield _draft(library, library, Tier.FULL)


@invariant(
    "imports.gil-stays-off",
    context="PYI-01",
    level=Level.OBSERVED,
    isolation=Isolation.FRESH,
    cases=_free_threaded,
)
def test_gil_stays_off(exchange: Exchange) -> None:
    """The suite records whether the import of a library enables the GIL on a free-threaded Python.

    Python enables the GIL for the whole process if an extension module does not declare that it works without it.
    """
    ended = interpreter.run("import_alone", exchange.case.producer)
    interpreter.expect_survival(ended, interpreter.SURVIVAL, accused=Side.CONSUMER)
    record = ended.told("gil")
    if record is None:
        raise Inconclusive(f"the fresh interpreter reported nothing after {ended.last_step}")
    if record["gil"]:
        fail(
            Code.LOCK_ENABLED, "PYI-01", role=Role.CONSUMER, level=Level.OBSERVED,
            reason="the import of the library enables the GIL", expected="off", seen="on", given="",
        )  # fmt: skip
