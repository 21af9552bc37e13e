"""Import libraries in the given order, exchange arrays between neighbours in both directions, and run a kernel of each library."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from conformance.adapters import registry
from conformance.adapters.base import Adapter, Device, Protocol, Trait, Unsupported
from conformance.checks.catalogue import Case
from conformance.checks.children import EXITING
from conformance.checks.exchange import Exchange, Partners, brief
from conformance.checks.outcomes import Failure, Refused, Side
from conformance.protocols.dtypes import dtype

from . import importing, tell

_WORDS = b"".join(word.to_bytes(4, sys.byteorder) for word in (7, 300, 70_000, 9_000_001))
"""Four int32 numbers below 2**24, so that a kernel that computes in float32 gives exact results."""


def main(names: tuple[str, ...]) -> None:
    """Import, exchange and compute. Each step is reported before it begins, so that it is known after a crash."""
    loaded: dict[str, Adapter] = {}
    for name in names:
        tell(step=f"the import of {name}")
        loaded[name] = registry.create(name)
        with importing(name):
            loaded[name].load()
    devices = {name: usable(adapter) for name, adapter in loaded.items()}
    for giver, taker in neighbours(names):
        for device in devices[giver]:
            if device in devices[taker]:
                for protocol in shared(loaded[giver], loaded[taker], device):
                    exchange(Case("imports.child", giver, taker, protocol.value, device), loaded)
    for name, adapter in loaded.items():
        for device in devices[name]:
            compute(adapter, device)
    tell(step=EXITING)


def neighbours(names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield each library with the next one, and the last with the first, in both directions, without duplicates."""
    seen = set()
    for first, second in zip(names, (*names[1:], names[0])):
        for pair in ((first, second), (second, first)):
            if first != second and pair not in seen:
                seen.add(pair)
                yield pair


def usable(adapter: Adapter) -> tuple[Device, ...]:
    """Return the devices on which the library works here, without the simulated device."""
    places = [d for d in (Device.HOST, Device.CUDA) if d in adapter.exports or d in adapter.imports]
    return tuple(d for d in places if (d is Device.HOST or _driver()) and adapter.usable(d) is None)


def _driver() -> bool:
    from conformance.cuda import driver

    try:
        return driver.device_count() > 0
    except (driver.DriverUnavailable, driver.CudaError):
        return False


def shared(giver: Adapter, taker: Adapter, device: Device) -> tuple[Protocol, ...]:
    """Return the protocols that both libraries support on this device."""
    exports, imports = giver.protocols(device)[0], taker.protocols(device)[1]
    return tuple(p for p in exports if p in imports)


def exchange(case: Case, loaded: dict[str, Adapter]) -> None:
    """Exchange a plain float32 array, and report the result."""
    name = f"{case.producer}-{case.consumer}/{case.protocol}/{case.device.value}"
    tell(step=f"the exchange {name}")
    tried = Exchange(case, Partners(loaded.__getitem__))
    source = tried.source()
    try:
        tried.expect_values(source, tried.read(tried.take(source)))
    except (Refused, Unsupported) as refusal:
        tell(exchange=name, outcome="refused", seen=str(refusal))
    except Failure as failure:
        tell(
            exchange=name, outcome="wrong", code=failure.code.value, clause=failure.clause, role=failure.role.value,
            level=failure.level.value, reason=failure.reason, expected=failure.expected, seen=failure.seen,
            guilty=_guilty(case, failure.accused),
        )  # fmt: skip
    else:
        tell(exchange=name, outcome="right")


def _guilty(case: Case, accused: Side | None) -> str:
    """Return the library that the check has proven to be at fault, or an empty string."""
    return {Side.PRODUCER: case.producer, Side.CONSUMER: case.consumer}.get(accused, "") if accused else ""


def compute(adapter: Adapter, device: Device) -> None:
    """Increment four numbers by a kernel of the library, on an array of the library, and report the result."""
    if Trait.KERNEL not in adapter.traits:
        return
    name = f"{adapter.name}/{device.value}"
    tell(step=f"a kernel of {name}")
    array = adapter.array(dtype("int32"), (4,), _WORDS, device)
    try:
        adapter.kernel_increment(array)
    except Exception as error:
        tell(kernel=name, library=adapter.name, outcome="raised", seen=brief(error))
        return
    seen = adapter.read(array)
    outcome = "right" if seen == incremented(_WORDS) else "wrong"
    tell(kernel=name, library=adapter.name, outcome=outcome, seen=numbers(seen), expected=numbers(incremented(_WORDS)))


def incremented(words: bytes) -> bytes:
    """Return the 32-bit words, each incremented by 1."""
    return b"".join(
        (int.from_bytes(words[i : i + 4], sys.byteorder) + 1).to_bytes(4, sys.byteorder)
        for i in range(0, len(words), 4)
    )


def numbers(words: bytes) -> str:
    """Return 32-bit words as decimal numbers."""
    return " ".join(str(int.from_bytes(words[i : i + 4], sys.byteorder)) for i in range(0, len(words), 4))


if __name__ == "__main__":
    main(tuple(sys.argv[1:]))
