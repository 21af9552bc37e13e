"""Family ``device``: where an array lies, and who says so."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from conformance.adapters.base import Device, Protocol, Trait, Unsupported
from conformance.adapters.reference import ReferenceAdapter
from conformance.cuda import driver, ipc, pointers
from conformance.cuda import memory as cuda_memory
from conformance.cuda.memory import Kind
from conformance.protocols.clauses import Level, Role
from conformance.protocols.strided import packed
from conformance.reference.memory import CudaMemory, HostMemory, Memory

from . import interpreter
from .catalogue import Draft, Isolation, Needs, Tier, dtypes, every, invariant, layouts
from .exchange import Exchange, Source, brief, show
from .layouts import EMPTY
from .libraries import REFERENCE, Environment, Pair
from .outcomes import Inconclusive, Refused, fail
from .patterns import pattern

_KINDS = (Kind.PINNED, Kind.MANAGED, Kind.POOL)


def _said(exchange: Exchange, offer: Any) -> tuple[int, int]:
    """What ``__dlpack_device__`` answers, once it is seen to be a pair of integers."""
    expected = "a tuple of two ints"
    try:
        answer = offer.__dlpack_device__()
        kind, number = answer
        said = operator.index(kind), operator.index(number)
    except Exception as error:
        exchange.check_context(error)
        reason = "__dlpack_device__ does not tell a device"
        fail("DLP-16", role=Role.PRODUCER, reason=reason, expected=expected, seen=brief(error))
    if not isinstance(answer, tuple):
        fail("DLP-16", role=Role.PRODUCER, reason="not a tuple", expected=expected, seen=type(answer).__name__)
    return said


def _place(exchange: Exchange, address: int, role: Role) -> tuple[int, int]:
    """The DLPack device of an address that this side tells: on CUDA by the driver, else that of the case."""
    if exchange.device is not Device.CUDA:
        return exchange.device.dlpack_type, 0
    found = pointers.query(address)
    if found is None:
        fail(
            "CAI-05" if exchange.protocol is Protocol.CAI else "DLP-43",
            role=role,
            reason="the driver does not know the address",
            expected="an address of CUDA memory",
            seen=hex(address),
        )
    return found.dlpack_device


def _expect_device(seen: tuple[int, int], expected: tuple[int, int], who: str, *clauses: str, role: Role) -> None:
    if tuple(seen) != expected:
        fail(*clauses, role=role, reason=f"{who} tells another device", expected=expected, seen=tuple(seen))


@invariant(
    "device.reported",
    producer="DLP-15 DLP-16",
    bugs="I26 device-05 device-20 device-23",
    level=Level.MUST,
    cases=lambda env: every(env.exports(Protocol.DLPACK), dtype=dtypes()),
)
def test_reported(exchange: Exchange) -> None:
    """``__dlpack_device__``, the capsule and the memory itself name one device, whatever the element type."""
    source = exchange.source()
    tensor = exchange.decode(exchange.capsule_of(source))
    said = _said(exchange, exchange.offer(source))
    _expect_device(tensor.device, said, "the capsule", "DLP-16", role=Role.PRODUCER)
    real = _place(exchange, tensor.element0, Role.PRODUCER)
    _expect_device(said, real, "__dlpack_device__", "DLP-15", "DLP-16", role=Role.PRODUCER)


@invariant(
    "device.reported-empty",
    producer="DLP-15 DLP-16",
    bugs="I03 device-02",
    level=Level.MUST,
    cases=lambda env: every(env.exports(Protocol.DLPACK), layout=layouts(*EMPTY)),
)
def test_reported_empty(exchange: Exchange) -> None:
    """An array without elements lies on the device that it was made on, though it has no address."""
    source = exchange.source()
    tensor = exchange.decode(exchange.capsule_of(source))
    said = _said(exchange, exchange.offer(source))
    _expect_device(tensor.device, said, "the capsule", "DLP-16", role=Role.PRODUCER)
    home = (exchange.device.dlpack_type, 0)
    _expect_device(said, home, "__dlpack_device__", "DLP-15", "DLP-16", role=Role.PRODUCER)


def _forms(pair: Pair) -> tuple[str, ...]:
    """Arrays without elements only for consumers that know devices: nothing else would tell theirs."""
    names = ("c-order",) if pair.consumer.has(Trait.POINTER_ONLY) else ("c-order", *EMPTY)
    return layouts(*names)(pair)


@invariant(
    "device.kept",
    producer="DLP-43 CAI-05",
    consumer="DLP-42 DLP-43 CAI-07",
    bugs="I03 device-02 device-06 device-19 device-21",
    level=Level.MUST,
    cases=lambda env: every(env.pairs(), layout=_forms, dtype=dtypes("float32", "int32", "bool")),
)
def test_kept(exchange: Exchange) -> None:
    """What comes in lies on the device where the producer's array lies, and the consumer says so."""
    source = exchange.source()
    view = exchange.look(exchange.take(source))
    if source.view.size:
        home = _place(exchange, source.address, Role.PRODUCER)
        clauses = ("DLP-42",) if exchange.protocol is Protocol.DLPACK else exchange.sharing()
        real = _place(exchange, view.address, Role.CONSUMER)
        _expect_device(real, home, "the import's address", *clauses, role=Role.CONSUMER)
    else:
        home = (exchange.device.dlpack_type, 0)
        clauses = ("DLP-42",) if exchange.protocol is Protocol.DLPACK else ("CAI-07",)
    if view.device is not None:
        _expect_device(view.device, home, "the consumer", *clauses, role=Role.CONSUMER)


def _kind_of(exchange: Exchange) -> Kind:
    return Kind(exchange.option("kind"))


def _source_in(exchange: Exchange, memory: Memory) -> Source:
    """A plain float32 array of the reference in this memory."""
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
    producer="DLP-43 CAI-05",
    consumer="DLP-43",
    bugs="I26 device-07 device-25 device-29",
    level=Level.MUST,
    cases=_kinds_for_devices,
)
def test_memory_kind(exchange: Exchange) -> None:
    """Pinned, managed and pool memory are read as they are, or refused, by who imports on the device."""
    named = CudaMemory(_kind_of(exchange))
    memory = named if exchange.device is Device.CUDA else HostMemory(named.device)
    source = _source_in(exchange, memory)
    taken = exchange.take(source, promised="")
    exchange.expect_values(source, exchange.read(taken))


def _kinds_for_hosts(env: Environment) -> Iterator[Draft]:
    if Device.CUDA in env.devices():
        yield from every(env.imports(Protocol.DLPACK, on=(Device.HOST,)), kind=(Kind.PINNED.value, Kind.MANAGED.value))


@invariant(
    "device.pinned-on-host",
    producer="DLP-43",
    consumer="DLP-43",
    bugs="I13 device-28 readonly-06",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=_kinds_for_hosts,
)
def test_pinned_on_host(exchange: Exchange) -> None:
    """Pinned and managed memory that is imported on the host shows its elements, and takes writes if it is shared.

    A versioned capsule without the read-only bit gives no ground for a read-only import.
    """
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
    """A library's own memory of each kind: pinned memory is the host's, the rest the device's."""
    for library in env.present:
        side = library.sides.get(Device.CUDA)
        for kind in _KINDS if side and Protocol.DLPACK in side.exports else ():
            if library.has(Trait(kind.value)):
                device = Device.HOST if kind is Kind.PINNED else Device.CUDA
                parameters = (("kind", kind.value),)
                yield Draft(library.name, REFERENCE, Protocol.DLPACK.value, device, parameters, Tier.FULL)


@invariant(
    "device.own-memory-kind",
    producer="DLP-15 DLP-16 DLP-43",
    consumer="DLP-43",
    bugs="I26 device-20 device-25 device-28",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=_own_kinds,
)
def test_own_memory_kind(exchange: Exchange) -> None:
    """Of its own pinned, managed or pool memory a library tells the device that the driver tells, and shares it."""
    kind, view = _kind_of(exchange), packed(exchange.layout.base)
    data = pattern(exchange.dtype, view.size)
    try:
        array = exchange.producer.empty_in(kind, exchange.dtype, view.shape)
    except Unsupported as lacking:
        raise Refused(str(lacking)) from lacking
    source = Source(array, exchange.dtype, view, 0, data)
    tensor = exchange.decode(exchange.capsule_of(source))
    cuda_memory.write(tensor.element0, data)
    _judge_own(_said(exchange, exchange.offer(source)), tensor.device, tensor.element0)
    taken = exchange.take(source, promised="")
    exchange.expect_values(source, exchange.read(taken))


def _judge_own(said: tuple[int, int], in_capsule: tuple[int, int], address: int) -> None:
    _expect_device(in_capsule, said, "the capsule", "DLP-16", role=Role.PRODUCER)
    found = pointers.query(address)
    if found is None:
        raise Inconclusive(f"the driver does not know {address:#x}, which was asked for as CUDA memory")
    if said == (1, 0) and found.dlpack_device == (3, 0):
        # Page-locked memory is the host's all the same: who sees it as plain host memory is not wrong, only less precise.
        reason = "pinned memory is told as plain host memory"
        fail("DLP-15", role=Role.PRODUCER, level=Level.OBSERVED, reason=reason, expected=(3, 0), seen=said)
    _expect_device(said, found.dlpack_device, "__dlpack_device__", "DLP-15", role=Role.PRODUCER)


def _one_a_process(drafts: Callable[[Environment], Iterator[Draft]]) -> Callable[[Environment], Iterator[Draft]]:
    return lambda env: (replace(draft, tier=Tier.FULL) for draft in drafts(env))


@invariant(
    "device.ipc",
    producer="DLP-43 CAI-05",
    consumer="DLP-43",
    bugs="pointer-14 device-31",
    level=Level.MUST,
    needs=Needs.GPU,
    isolation=Isolation.FRESH,
    cases=_one_a_process(lambda env: every(env.exports(on=(Device.CUDA,)))),
)
def test_ipc(exchange: Exchange) -> None:
    """A published address, opened in another process as allocation and offset, shows the elements there.

    The handle names the allocation only: two arrays in one pool block have the same. Pools and virtual memory have none.
    """
    _in_front, source = exchange.source(seed=1), exchange.source()
    address = _published(exchange, source)
    try:
        handle, offset = ipc.export(address)
    except driver.CudaError as error:
        raise Refused(f"the driver gives no handle for this memory of {exchange.producer.name}: {error}") from error
    ended = interpreter.run("ipc_read", handle.hex(), str(offset), str(len(source.block)))
    interpreter.expect_survival(ended, "DLP-43", "CAI-05")
    refused = ended.told("error")
    if refused is not None:
        raise Refused(f"the other process could not open the handle: {refused['error']}")
    told = ended.told("data")
    _expect_opened(source, bytes.fromhex(told["data"] if told else ""), offset)


def _published(exchange: Exchange, source: Source) -> int:
    """The address that the producer tells by the case's protocol."""
    if exchange.protocol is Protocol.CAI:
        return int(exchange.dictionary_of(source)["data"][0])
    return exchange.decode(exchange.capsule_of(source)).element0


def _expect_opened(source: Source, seen: bytes, offset: int) -> None:
    if seen != source.block:
        fail(
            "DLP-43",
            "CAI-05",
            role=Role.PRODUCER,
            reason=f"at offset {offset} of the opened allocation lie other elements",
            expected=show(source.block, source.dtype),
            seen=show(seen, source.dtype),
        )
