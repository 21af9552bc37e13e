"""Memory of the reference library: host memory, CUDA memory, or host memory that claims to be CUDA.

Addresses and sizes are in bytes. Blocks are aligned to 256 bytes, as DLPack's header requires (DLP-18).
"""

from __future__ import annotations

import ctypes
import mmap
import weakref
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Protocol

from conformance.cuda import context as cuda_context
from conformance.cuda import memory as cuda_memory
from conformance.cuda import pointers as cuda_pointers
from conformance.cuda import streams as cuda_streams
from conformance.cuda.driver import CudaError
from conformance.protocols import strided
from conformance.protocols.dlpack import DLDeviceType
from conformance.protocols.strided import Strided, offsets, span

from . import guards, streams
from .guards import GUARDS, Guarded, Seen

ALIGNMENT = 256
_NO_RESERVE: int = getattr(mmap, "MAP_NORESERVE", 0x4000)  # Linux only; Python has had a name for it since 3.13
POISON = 0xDD
"""The byte that overwrites a released block, so that a use-after-free shows."""


class Block(Protocol):
    """A piece of memory that is valid until its release."""

    address: int
    nbytes: int

    def release(self) -> None:
        """Overwrite the block with :data:`POISON`. The memory is freed with the last reference."""


class Memory(Protocol):
    """One kind of memory. ``device`` is its DLPack (type, id)."""

    device: tuple[int, int]

    def allocate(self, nbytes: int) -> Block:
        """Return a block of ``nbytes`` bytes."""

    def filled(self, data: bytes) -> Block:
        """Return a block with these bytes."""

    def reserve(self, nbytes: int) -> Block:
        """Return a block that only uses memory for the parts that are accessed, if this kind of memory supports it."""

    def read(self, address: int, nbytes: int) -> bytes:
        """Return a host copy of ``nbytes`` bytes, after all pending work."""

    def write(self, address: int, data: bytes) -> None:
        """Overwrite memory from the host. The write is done on return."""

    def reaches(self, address: int) -> bool:
        """Return ``True`` if code on the device can access this address."""

    def device_of(self, address: int) -> tuple[int, int]:
        """Return the DLPack (type, id) of an address: this memory's type, and the address's GPU, or this memory's GPU if unknown
        (CAI-29).
        """

    def streams(self) -> streams.Streams:
        """Return the streams of the memory's device."""


class HostBlock:
    """A block of plain host memory between guard bytes. ``ordinal`` is the GPU of the simulated device."""

    ordinal = 0

    def __init__(self, nbytes: int, buffer: Any = None) -> None:
        self._buffer = buffer or ctypes.create_string_buffer(nbytes + ALIGNMENT + 2 * guards.SIZE)
        start = ctypes.addressof(self._buffer) + guards.SIZE
        self.address = start + (-start % ALIGNMENT)
        self.nbytes = nbytes
        _guard(self.address, nbytes)
        _host_blocks.add(self)
        GUARDS.enrol(self)

    def guards(self) -> tuple[bytes, bytes]:
        """Return the guard bytes before and behind the block."""
        return _guards(self.address, self.nbytes)

    @classmethod
    def guards_of(cls, blocks: Sequence[Guarded]) -> list[Seen | None]:
        """Return the guard bytes of each block."""
        return [block.guards() for block in blocks]

    def release(self) -> None:
        """Overwrite the block with :data:`POISON`."""
        ctypes.memset(self.address, POISON, self.nbytes)

    def __del__(self) -> None:
        try:
            GUARDS.retire(self)
        except (AttributeError, TypeError):
            pass  # the interpreter is shutting down, or the allocation failed


def _guard(address: int, nbytes: int) -> None:
    """Write the guard bytes around host memory."""
    ctypes.memmove(address - guards.SIZE, guards.PATTERN, guards.SIZE)
    ctypes.memmove(address + nbytes, guards.PATTERN, guards.SIZE)


def _guards(address: int, nbytes: int) -> tuple[bytes, bytes]:
    """Return the guard bytes around host memory."""
    return ctypes.string_at(address - guards.SIZE, guards.SIZE), ctypes.string_at(address + nbytes, guards.SIZE)


class SimulatedBlock(HostBlock):
    """A block of the simulated device. A later block of its size reuses its memory once the work that was pending at its end is done.

    So the memory behaves like CUDA memory, which is freed when the device has finished.
    """

    def __init__(self, nbytes: int) -> None:
        buffer = _given_back(nbytes)
        super().__init__(nbytes, buffer)
        if buffer is not None:
            ctypes.memset(self.address, 0, nbytes)

    def __del__(self) -> None:
        super().__del__()
        try:
            done = streams.simulated().pending()
            _returned.setdefault(self.nbytes, []).append((self._buffer, done))
        except (AttributeError, TypeError):
            pass  # the interpreter is shutting down


_returned: dict[int, list[tuple[Any, Callable[[], bool]]]] = {}
"""Memory of freed simulated blocks by size in bytes, with a function that reports whether the work pending at that time is done."""


def _given_back(nbytes: int) -> Any:
    """Return the memory that was freed last among the memory that no pending work can use, or ``None``."""
    of_this_size = _returned.get(nbytes, [])
    for entry in reversed(of_this_size):
        if entry[1]():
            of_this_size.remove(entry)
            return entry[0]
    return None


class ReservedBlock:
    """Reserved address space of the host. Its pages are zero, and are allocated at first access."""

    ordinal = 0

    def __init__(self, nbytes: int) -> None:
        beside = mmap.PAGESIZE
        self._map = mmap.mmap(-1, nbytes + 2 * beside, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NO_RESERVE)
        self._start = ctypes.c_char.from_buffer(self._map)
        self.address = ctypes.addressof(self._start) + beside
        self.nbytes = nbytes
        _guard(self.address, nbytes)
        _host_blocks.add(self)
        GUARDS.enrol(self)

    def guards(self) -> tuple[bytes, bytes]:
        """Return the guard bytes before and behind the block."""
        return _guards(self.address, self.nbytes)

    @classmethod
    def guards_of(cls, blocks: Sequence[Guarded]) -> list[Seen | None]:
        """Return the guard bytes of each block."""
        return [block.guards() for block in blocks]

    def release(self) -> None:
        """Overwrite the first page with :data:`POISON`. Overwriting all pages would allocate the reserved memory."""
        ctypes.memset(self.address, POISON, min(self.nbytes, mmap.PAGESIZE))

    def __del__(self) -> None:
        try:
            GUARDS.retire(self)
        except (AttributeError, TypeError):
            pass  # the interpreter is shutting down, or the allocation failed


_host_blocks: weakref.WeakSet[HostBlock | ReservedBlock] = weakref.WeakSet()
"""Every host block that exists, which is all memory of the simulated device."""


class BorrowedBlock:
    """Memory of another owner, kept alive by ``owner``. Its size is unknown, so ``nbytes`` is 0."""

    def __init__(self, address: int, owner: Any) -> None:
        self.address = address
        self.nbytes = 0
        self.owner = owner

    def release(self) -> None:
        """Do nothing: the memory belongs to another owner."""


class HostMemory:
    """Plain host memory."""

    def __init__(self, device: tuple[int, int] = (DLDeviceType.CPU, 0)) -> None:
        self.device = device

    def allocate(self, nbytes: int) -> HostBlock:
        """Return a zeroed block."""
        return HostBlock(nbytes)

    def filled(self, data: bytes) -> HostBlock:
        """Return a block with these bytes."""
        block = self.allocate(len(data))
        self.write(block.address, data)
        return block

    def reserve(self, nbytes: int) -> ReservedBlock:
        """Return a mapping. Raise ``OSError`` if there is no address space for it."""
        return ReservedBlock(nbytes)

    def read(self, address: int, nbytes: int) -> bytes:
        return ctypes.string_at(address, nbytes) if nbytes else b""

    def write(self, address: int, data: bytes) -> None:
        ctypes.memmove(address, data, len(data))

    def reaches(self, address: int) -> bool:
        """Return ``True`` if the address lies in a block of the reference library."""
        return any(block.address <= address < block.address + block.nbytes for block in _host_blocks)

    def device_of(self, address: int) -> tuple[int, int]:
        """Return the device of the block that contains the address."""
        found = (b.ordinal for b in _host_blocks if b.address <= address < b.address + max(b.nbytes, 1))
        return self.device[0], next(found, self.device[1])

    def streams(self) -> streams.Streams:
        """Return the streams of the simulated device, since the host has none."""
        return streams.simulated()


class SimulatedMemory(HostMemory):
    """Host memory that claims to be a CUDA device."""

    def __init__(self, ordinal: int = 0) -> None:
        super().__init__((DLDeviceType.CUDA, ordinal))

    def allocate(self, nbytes: int) -> SimulatedBlock:
        """Return a zeroed block."""
        block = SimulatedBlock(nbytes)
        block.ordinal = self.device[1]
        return block


def simulated(ordinal: int = 0) -> HostMemory:
    """Return host memory that claims to be a CUDA device, so that an exchange of the reference with itself needs no GPU."""
    return SimulatedMemory(ordinal)


class CudaBlock:
    """A block of CUDA memory between guard bytes. It is freed with its last reference.

    Guard bytes are written and read on a separate stream, without a wait for work on other streams. One copy writes the guard bytes of a small
    block with the bytes in between and with unused bytes behind, because a small copy waits for its turn on the GPU
    (:data:`conformance.cuda.memory.BY_ENGINE`). ``data`` are the bytes of the block. Without them a small block is zeroed.
    """

    def __init__(self, nbytes: int, kind: cuda_memory.Kind, ordinal: int = 0, data: bytes | None = None) -> None:
        least = cuda_memory.BY_ENGINE if kind in _ON_DEVICE else 0
        self._unused = max(0, least - nbytes - 2 * guards.SIZE)
        self._start = cuda_memory.allocate(nbytes + 2 * guards.SIZE + self._unused, kind, ordinal)
        self.address = self._start + guards.SIZE
        self._ordinal = ordinal
        self.nbytes = nbytes
        self._kind = kind
        if not self._guard(data) and data:
            cuda_memory.write(self.address, data)

    def _guard(self, data: bytes | None) -> bool:
        """Write the guard bytes and ``data``, and return ``True`` if the block has its bytes.

        A block on which this fails has no guard bytes.
        """
        try:
            stream = _apart(self._ordinal)
            if data is not None or self.nbytes <= _ONE_COPY:
                between = bytes(self.nbytes) if data is None else data
                whole = b"".join((guards.PATTERN, between, guards.PATTERN, bytes(self._unused)))
                cuda_memory.write_behind(self._start, whole, stream, self._ordinal)
            else:
                cuda_memory.write_behind(self._start, guards.PATTERN, stream, self._ordinal)
                cuda_memory.write_behind(self.address + self.nbytes, guards.PATTERN, stream, self._ordinal)
        except CudaError:
            return False
        GUARDS.enrol(self)
        return True

    def guards(self) -> Seen | None:
        """Return the bytes before and behind the block, or ``None`` if the driver refuses to read them."""
        return self.guards_of([self])[0]

    @classmethod
    def guards_of(cls, blocks: Sequence[CudaBlock]) -> list[Seen | None]:
        """Return the guard bytes of several blocks of one GPU with a single wait."""
        try:
            ordinal = blocks[0]._ordinal
            sides = [address for block in blocks for address in (block._start, block.address + block.nbytes)]
            seen = cuda_memory.read_each_behind(sides, guards.SIZE, _apart(ordinal), ordinal)
            return list(zip(seen[::2], seen[1::2]))
        except CudaError:
            return [None] if len(blocks) == 1 else [block.guards() for block in blocks]

    def release(self) -> None:
        """Overwrite the block with :data:`POISON`, and keep the guard bytes."""
        if not self.nbytes:
            return
        poison = bytes([POISON]) * self.nbytes
        if not self._unused:
            cuda_memory.write(self.address, poison)
            return
        behind = self.address + self.nbytes
        cuda_memory.write(self.address, poison + cuda_memory.read(behind, guards.SIZE) + bytes(self._unused))

    def __del__(self) -> None:
        try:
            GUARDS.retire(self)
            cuda_memory.free(self._start, self._kind, self._ordinal)
        except Exception:  # noqa: BLE001 - the context may be destroyed at exit, and no caller can handle an error
            pass


_ON_DEVICE = (cuda_memory.Kind.DEVICE, cuda_memory.Kind.POOL)
_ONE_COPY = 1 << 20
"""The largest block that is zeroed together with its guard bytes. Writing more takes longer than a second wait."""


@lru_cache
def _apart(ordinal: int) -> int:
    """Return a stream of this GPU, for guard bytes only, that waits for no other stream."""
    cuda_memory.reserve(2, guards.SIZE, ordinal)
    with cuda_context.using(cuda_context.primary(ordinal)):
        return cuda_streams.Stream(cuda_streams.StreamKind.NON_BLOCKING).handle


_TYPE_OF_KIND = {
    cuda_memory.Kind.DEVICE: DLDeviceType.CUDA,
    cuda_memory.Kind.POOL: DLDeviceType.CUDA,
    cuda_memory.Kind.PINNED: DLDeviceType.CUDA_HOST,
    cuda_memory.Kind.MANAGED: DLDeviceType.CUDA_MANAGED,
}


class CudaMemory:
    """CUDA memory of one kind on one GPU. Pinned and managed memory belong to no GPU (DLP-15)."""

    def __init__(self, kind: cuda_memory.Kind = cuda_memory.Kind.DEVICE, ordinal: int = 0) -> None:
        self.kind = kind
        self.ordinal = ordinal
        place = _TYPE_OF_KIND[kind]
        self.device: tuple[int, int] = (place, ordinal if place is DLDeviceType.CUDA else 0)

    def allocate(self, nbytes: int) -> CudaBlock:
        """Return a block of this kind. A large block has undefined content."""
        return CudaBlock(nbytes, self.kind, self.ordinal)

    def filled(self, data: bytes) -> CudaBlock:
        """Return a block of this kind that is written together with its guard bytes."""
        return CudaBlock(len(data), self.kind, self.ordinal, data)

    def reserve(self, nbytes: int) -> CudaBlock:
        """Return an allocated block, since device memory cannot be reserved."""
        return self.allocate(nbytes)

    def read(self, address: int, nbytes: int) -> bytes:
        """Return the bytes at ``address``, after all work of the primary context."""
        return cuda_memory.read(address, nbytes)

    def write(self, address: int, data: bytes) -> None:
        """Copy ``data`` to ``address``. The copy is done on return."""
        cuda_memory.write(address, data)

    def reaches(self, address: int) -> bool:
        """Return ``True`` if the driver knows the address."""
        return cuda_pointers.query(address) is not None

    def device_of(self, address: int) -> tuple[int, int]:
        """Return the driver's answer for device memory. Pinned and managed memory are reported as this kind."""
        if self.device[0] != DLDeviceType.CUDA or not address:
            return self.device
        ordinal = cuda_pointers.ordinal_of(address)
        return self.device if ordinal is None else (self.device[0], ordinal)

    def streams(self) -> streams.Streams:
        """Return CUDA's streams of this GPU."""
        return streams.cuda(self.ordinal)


def gather(memory: Memory, element0: int, view: Strided, itemsize: int) -> bytes:
    """Return the bytes of a view's elements in row-major order. ``view.offset`` is ignored; ``element0`` is an address."""
    return gather_by_bytes(memory, element0, Strided(view.shape, tuple(s * itemsize for s in view.strides)), itemsize)


def gather_by_bytes(memory: Memory, element0: int, view: Strided, itemsize: int) -> bytes:
    """Like :func:`gather`, for a view that counts bytes. Its strides need not be multiples of the element size."""
    relative = Strided(view.shape, view.strides)
    if relative.size == 0:
        return b""
    low, high = span(relative)
    if high - low > _AT_ONCE:
        return b"".join(memory.read(element0 + offset, itemsize) for offset in offsets(relative))
    block = memory.read(element0 + low, high - 1 - low + itemsize)
    return strided.gather_by_bytes(block, Strided(view.shape, view.strides, -low), itemsize)


def scatter_by_bytes(memory: Memory, element0: int, view: Strided, itemsize: int, data: bytes) -> None:
    """Write elements in row-major order through a view that counts bytes.

    Many elements are written in one copy with the unchanged bytes between them, because each write to a GPU waits for the device.
    """
    relative = Strided(view.shape, view.strides)
    if relative.size == 0:
        return
    low, high = span(relative)
    if relative.size <= _FEW or high - low > _AT_ONCE:
        with cuda_memory.together():
            for number, offset in enumerate(offsets(relative)):
                memory.write(element0 + offset, data[number * itemsize : (number + 1) * itemsize])
        return
    block = bytearray(memory.read(element0 + low, high - 1 - low + itemsize))
    strided.scatter_by_bytes(block, Strided(view.shape, view.strides, -low), itemsize, data)
    memory.write(element0 + low, bytes(block))


_FEW = 64
"""The largest number of elements that are written one by one."""
_AT_ONCE = 1 << 28
"""The extent in bytes above which elements are read one by one. Only few elements lie so far apart."""
