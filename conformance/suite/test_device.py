"""Family ``device``: the device that holds an array, and the device that each side reports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Any

from conformance.adapters.base import Device, Protocol, Trait, Unsupported
from conformance.adapters.reference import ReferenceAdapter
from conformance.checks import interpreter
from conformance.checks.catalogue import Draft, Isolation, Needs, Tier, dtypes, every, invariant, layouts
from conformance.checks.codes import Code
from conformance.checks.device_checks import Told, expect_home, place
from conformance.checks.exchange import Exchange, Source, show
from conformance.checks.layouts import EMPTY
from conformance.checks.libraries import REFERENCE, Environment, Pair, shows_one_library
from conformance.checks.outcomes import Inconclusive, Refused, Side, fail
from conformance.checks.patterns import pattern
from conformance.cuda import driver, ipc, pointers
from conformance.cuda import memory as cuda_memory
from conformance.cuda.memory import Kind
from conformance.protocols.clauses import Level, Role
from conformance.protocols.strided import packed
from conformance.reference.memory import CudaMemory, HostMemory, Memory

_KINDS = (Kind.PINNED, Kind.MANAGED, Kind.POOL)


_PINNED = {(1, 0), (3, 0)}
"""The device types that pinned memory may be reported as. It is host memory, so the plain host type is less precise but not wrong."""


def _expect_told(said: Told, in_capsule: Told, real: Told, given: str | None = None) -> None:
    """Raise unless ``__dlpack_device__`` and the capsule name the device of the memory, and the same one."""
    for told, who in ((in_capsule, "the capsule"), (said, "`__dlpack_device__`")):
        if told != real and not {told, real} <= _PINNED:
            _wrong_device(f"{who} names another device than the memory's", real, told, given)
    if said != in_capsule:
        fail(
            Code.DEVICES_DISAGREE, "DLP-60", role=Role.PRODUCER, level=Level.SHOULD,
            reason="`__dlpack_device__` and the capsule name different devices", expected=f"{said} in both",
            seen=f"{said} by `__dlpack_device__`, {in_capsule} in the capsule", given=given, accused=Side.PRODUCER,
        )  # fmt: skip
    if said != real:
        _wrong_device("the producer reports pinned memory as plain host memory", real, said, given, Level.OBSERVED)


def _wrong_device(reason: str, real: Told, told: Told, given: str | None = None, level: Level | None = None) -> None:
    fail(
        Code.WRONG_DEVICE, "DLP-15", role=Role.PRODUCER, level=level, reason=reason, expected=real, seen=told, given=given,
        accused=Side.PRODUCER,
    )  # fmt: skip


@invariant(
    "device.reported",
    producer="DLP-15 DLP-16 DLP-60 DLP-59",
    bugs="I26 device-05 device-20 device-23",
    level=Level.MUST,
    cases=lambda env: every(env.exports(Protocol.DLPACK), dtype=dtypes()),
)
def test_reported(exchange: Exchange) -> None:
    """A producer must report the device of the memory in ``__dlpack_device__`` and in the capsule, for every element type."""
    source = exchange.source()
    tensor = exchange.decode(exchange.capsule_of(source))
    said = exchange.told_device(exchange.offer(source))
    _expect_told(said, tensor.device, place(exchange, tensor.element0, Role.PRODUCER))


@invariant(
    "device.reported-empty",
    producer="DLP-15 DLP-16 DLP-60",
    bugs="I03 device-02",
    level=Level.MUST,
    cases=lambda env: every(env.exports(Protocol.DLPACK), layout=layouts(*EMPTY)),
)
def test_reported_empty(exchange: Exchange) -> None:
    """A producer must report the device on which an empty array was made, although the array has no address."""
    source = exchange.source()
    tensor = exchange.decode(exchange.capsule_of(source))
    said = exchange.told_device(exchange.offer(source))
    _expect_told(said, tensor.device, (exchange.device.dlpack_type, 0))


def _forms(pair: Pair) -> tuple[str, ...]:
    """Return the layouts. Empty arrays are only for consumers that report devices: no address shows their device."""
    names = ("c-order",) if pair.consumer.has(Trait.POINTER_ONLY) else ("c-order", *EMPTY)
    return layouts(*names)(pair)


@invariant(
    "device.kept",
    producer="DLP-59 DLP-15 CAI-05",
    consumer="DLP-42 DLP-58 CAI-32 CAI-29 CAI-07",
    bugs="I03 device-02 device-06 device-19 device-21",
    level=Level.MUST,
    cases=lambda env: chain(
        every(env.pairs(), layout=_forms, dtype=dtypes("float32")),
        every(filter(shows_one_library, env.pairs()), layout=("c-order",), dtype=dtypes("int32", "bool")),
    ),
)
def test_kept(exchange: Exchange) -> None:
    """A consumer must keep an import on the device of the producer's array, and report that device."""
    source = exchange.source()
    view = exchange.look(exchange.take(source))
    expect_home(exchange, source, view)


def _kind_of(exchange: Exchange) -> Kind:
    return Kind(exchange.option("kind"))


def _memory_of(exchange: Exchange) -> str:
    """Return the case's kind of memory, for the end of a sentence."""
    return f"{_kind_of(exchange).value} memory"


def _source_in(exchange: Exchange, memory: Memory) -> Source:
    """Return a plain float32 array of the reference in this memory."""
    assert isinstance(exchange.producer, ReferenceAdapter)
    view = packed(exchange.layout.base)
    data = pattern(exchange.dtype, view.size)
    block = memory.allocate(len(data))
    memory.write(block.address, data)
    exporter = exchange.producer.exporter_class(memory, block, exchange.dtype, view)
    return Source(exporter, exchange.dtype, view, block.address, data)


def _kinds_for_devices(env: Environment) -> Iterator[Draft]:
    pairs = env.imports(on=(Device.CUDA, Device.SIMULATED))
    return every(pairs, kind=tuple(kind.value for kind in _KINDS))


@invariant(
    "device.memory-kind",
    producer="DLP-59 CAI-05",
    consumer="DLP-58 CAI-32",
    bugs="I26 device-07 device-25 device-29",
    level=Level.MUST,
    cases=_kinds_for_devices,
)
def test_memory_kind(exchange: Exchange) -> None:
    """A consumer on the device must read the elements of pinned, managed and pool memory correctly, or refuse the array."""
    named = CudaMemory(_kind_of(exchange))
    memory = named if exchange.device is Device.CUDA else HostMemory(named.device)
    exchange.special(_memory_of(exchange))
    source = _source_in(exchange, memory)
    taken = exchange.take(source, promised="")
    exchange.expect_values(source, exchange.read(taken))


def _kinds_for_hosts(env: Environment) -> Iterator[Draft]:
    if Device.CUDA in env.devices():
        yield from every(env.imports(Protocol.DLPACK, on=(Device.HOST,)), kind=(Kind.PINNED.value, Kind.MANAGED.value))


@invariant(
    "device.pinned-on-host",
    producer="DLP-59",
    consumer="DLP-58",
    bugs="I13 device-28 readonly-06",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=_kinds_for_hosts,
)
def test_pinned_on_host(exchange: Exchange) -> None:
    """A consumer on the host must read pinned and managed memory correctly or refuse it, and must write to a shared import.

    A versioned capsule without the read-only flag gives no reason for a read-only import.
    """
    exchange.special(_memory_of(exchange))
    source = _source_in(exchange, CudaMemory(_kind_of(exchange)))
    taken = exchange.take(source, promised="")
    exchange.expect_values(source, exchange.read(taken))
    versioned = all(managed.fields.version is not None for managed in source.array.log.exports)
    shared = exchange.look(taken).address == source.address
    if Trait.WRITES in exchange.consumer.traits and versioned and shared:
        other = pattern(source.dtype, source.view.size, seed=1)
        exchange.using(lambda: exchange.consumer.write(taken, other), "writing the import")
        exchange.expect_values(source, cuda_memory.read(source.address, len(other)), expected=other)


def _own_kinds(env: Environment) -> Iterator[Draft]:
    """Yield cases of a library's own memory of each kind. Pinned memory belongs to the host, the other kinds to the device."""
    for library in env.present:
        side = library.sides.get(Device.CUDA)
        for kind in _KINDS if side and Protocol.DLPACK in side.exports else ():
            if library.has(Trait(kind.value)):
                device = Device.HOST if kind is Kind.PINNED else Device.CUDA
                parameters = (("kind", kind.value),)
                yield Draft(library.name, REFERENCE, Protocol.DLPACK.value, device, parameters, Tier.FULL)


@invariant(
    "device.own-memory-kind",
    producer="DLP-15 DLP-16 DLP-60 DLP-43 DLP-59",
    consumer="DLP-58",
    bugs="I26 device-20 device-25 device-28",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=_own_kinds,
)
def test_own_memory_kind(exchange: Exchange) -> None:
    """A library must report the driver's device type for its pinned, managed and pool memory, and share it without a copy."""
    kind, view = _kind_of(exchange), packed(exchange.layout.base)
    exchange.special(_memory_of(exchange))
    data = pattern(exchange.dtype, view.size)
    try:
        array = exchange.producer.empty_in(kind, exchange.dtype, view.shape)
    except Unsupported as lacking:
        raise Refused(str(lacking)) from lacking
    tensor = exchange.decode(exchange.capsule_of(Source(array, exchange.dtype, view, 0, data)))
    source = Source(array, exchange.dtype, view, _address_of(exchange, array, tensor.element0), data)
    cuda_memory.write(tensor.element0, data)
    said = exchange.told_device(exchange.offer(source))
    found = pointers.query(tensor.element0)
    if found is None:
        raise Inconclusive(f"the driver does not know {tensor.element0:#x}, which was allocated as CUDA memory")
    _expect_told(said, tensor.device, found.dlpack_device, exchange.given)
    if tensor.element0 != source.address:
        inside = 0 < tensor.element0 - source.address < len(data)
        fail(
            Code.WRONG_ADDRESS if inside else Code.NOT_SHARED,
            "DLP-59" if inside else "DLP-43",
            role=Role.PRODUCER,
            reason="the capsule has another address than the array",
            expected=f"element 0 at {source.address:#x}",
            seen=f"element 0 at {tensor.element0:#x}",
            accused=Side.PRODUCER,
        )
    taken = exchange.take(source, promised="")
    exchange.expect_values(source, exchange.read(taken))


def _address_of(exchange: Exchange, array: Any, unknown: int) -> int:
    """Return the address that the library gives for an array, or ``unknown`` if it cannot describe memory of this kind."""
    try:
        return exchange.producer.describe(array).address
    except Exception:
        return unknown


def _one_a_process(drafts: Callable[[Environment], Iterator[Draft]]) -> Callable[[Environment], Iterator[Draft]]:
    return lambda env: (replace(draft, tier=Tier.FULL) for draft in drafts(env))


@invariant(
    "device.ipc",
    producer="DLP-59 CAI-05",
    bugs="pointer-14 device-31",
    level=Level.MUST,
    needs=Needs.GPU,
    isolation=Isolation.FRESH,
    cases=_one_a_process(lambda env: every(env.exports(on=(Device.CUDA,)))),
)
def test_ipc(exchange: Exchange) -> None:
    """A producer must publish an address that shows its elements in another process, opened as allocation and offset.

    The IPC handle names the allocation only: two arrays in one block have the same handle. Memory pools and virtual memory have none.
    """
    _in_front, source = exchange.source(seed=1), exchange.source()
    address = _published(exchange, source)
    try:
        handle, offset = ipc.export(address)
    except driver.CudaError as error:
        raise Refused(f"the driver gives no IPC handle for this memory of {exchange.producer.name}: {error}") from error
    ended = interpreter.run("ipc_read", handle.hex(), str(offset), str(len(source.block)))
    cited = "DLP-59" if exchange.protocol is Protocol.DLPACK else "CAI-05"
    interpreter.expect_survival(ended, cited, role=Role.PRODUCER, accused=Side.PRODUCER)
    refused = ended.told("error")
    if refused is not None:
        raise Refused(f"the other process could not open the handle: {refused['error']}")
    told = ended.told("data")
    _expect_opened(source, bytes.fromhex(told["data"] if told else ""), offset, cited)


def _published(exchange: Exchange, source: Source) -> int:
    """Return the address that the producer gives by the case's protocol."""
    if exchange.protocol is Protocol.CAI:
        return int(exchange.dictionary_of(source)["data"][0])
    return exchange.decode(exchange.capsule_of(source)).element0


def _expect_opened(source: Source, seen: bytes, offset: int, cited: str) -> None:
    if seen != source.block:
        fail(
            Code.WRONG_ADDRESS,
            cited,
            role=Role.PRODUCER,
            reason=f"another process reads other elements at offset {offset} of the allocation",
            expected=show(source.block, source.dtype),
            seen=show(seen, source.dtype),
            accused=Side.PRODUCER,
        )
