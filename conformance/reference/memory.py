"""Where the reference keeps its elements: host memory, CUDA memory, or host memory that claims to be CUDA.

Addresses and sizes are bytes. Blocks are aligned to 256 bytes, as DLPack nominally wants (DLP-18).
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
_NO_RESERVE: int = getattr(mmap, "MAP_NORESERVE", 0x4000)  # of Linux; Python names it since 3.13
POISON = 0xDD
"""What a released block is overwritten with, so that a reader that comes too late sees it."""


class Block(Protocol):
    """A piece of memory that stays valid until it is released."""

    address: int
    nbytes: int

    def release(self) -> None:
        """Overwrite the block with :data:`POISON`; its memory goes back when the last reference does."""


class Memory(Protocol):
    """One kind of memory. ``device`` is its DLPack (type, id)."""

    device: tuple[int, int]

    def allocate(self, nbytes: int) -> Block:
        """A block of ``nbytes`` bytes."""

    def filled(self, data: bytes) -> Block:
        """A block with these bytes."""

    def reserve(self, nbytes: int) -> Block:
        """A block of which only the parts that are touched cost anything, where the memory can do that."""

    def read(self, address: int, nbytes: int) -> bytes:
        """Host copy of ``nbytes`` bytes, after all pending work."""

    def write(self, address: int, data: bytes) -> None:
        """Overwrite memory from the host; done on return."""

    def reaches(self, address: int) -> bool:
        """Whether code on the device can use this address."""

    def device_of(self, address: int) -> tuple[int, int]:
        """The DLPack (type, id) of an address: our own type, on the GPU where it lies, which is ours for none (CAI-29)."""

    def streams(self) -> streams.Streams:
        """The streams of the device that the memory belongs to."""


class HostBlock:
    """A block of plain host memory between guard bytes. ``ordinal`` is the GPU of the simulated device that it stands for."""

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
        """The bytes before and behind."""
        return _guards(self.address, self.nbytes)

    @classmethod
    def guards_of(cls, blocks: Sequence[Guarded]) -> list[Seen | None]:
        """Those of one block after the other."""
        return [block.guards() for block in blocks]

    def release(self) -> None:
        """Poison the block."""
        ctypes.memset(self.address, POISON, self.nbytes)

    def __del__(self) -> None:
        try:
            GUARDS.retire(self)
        except (AttributeError, TypeError):
            pass  # the interpreter has taken this module apart already, or there was no memory for the block


def _guard(address: int, nbytes: int) -> None:
    """Write the guard bytes around host memory."""
    ctypes.memmove(address - guards.SIZE, guards.PATTERN, guards.SIZE)
    ctypes.memmove(address + nbytes, guards.PATTERN, guards.SIZE)


def _guards(address: int, nbytes: int) -> tuple[bytes, bytes]:
    """The guard bytes around host memory."""
    return ctypes.string_at(address - guards.SIZE, guards.SIZE), ctypes.string_at(address + nbytes, guards.SIZE)


class SimulatedBlock(HostBlock):
    """A block of the simulated device. The next one of its size gets its memory, as soon as what was pending when it went is done.

    So the memory behaves like CUDA's own, which is given back when the device has finished.
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
            pass  # the interpreter has taken this module apart already


_returned: dict[int, list[tuple[Any, Callable[[], bool]]]] = {}
"""Memory of simulated blocks that are gone, by their size in bytes, and whether what was pending then is done."""


def _given_back(nbytes: int) -> Any:
    """The memory that went last of those that nothing pending can still use."""
    of_this_size = _returned.get(nbytes, [])
    for entry in reversed(of_this_size):
        if entry[1]():
            of_this_size.remove(entry)
            return entry[0]
    return None


class ReservedBlock:
    """Address space of the host; its pages are zero, and taken when they are first touched."""

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
        """The bytes before and behind."""
        return _guards(self.address, self.nbytes)

    @classmethod
    def guards_of(cls, blocks: Sequence[Guarded]) -> list[Seen | None]:
        """Those of one block after the other."""
        return [block.guards() for block in blocks]

    def release(self) -> None:
        """Poison the first page: poisoning all of them would take the memory that was only reserved."""
        ctypes.memset(self.address, POISON, min(self.nbytes, mmap.PAGESIZE))

    def __del__(self) -> None:
        try:
            GUARDS.retire(self)
        except (AttributeError, TypeError):
            pass  # as in a host block


_host_blocks: weakref.WeakSet[HostBlock | ReservedBlock] = weakref.WeakSet()
"""Every block that there is: all that the simulated device has."""


class BorrowedBlock:
    """Somebody else's memory, kept alive by ``owner``; ``nbytes`` is unknown and therefore 0."""

    def __init__(self, address: int, owner: Any) -> None:
        self.address = address
        self.nbytes = 0
        self.owner = owner

    def release(self) -> None:
        """Nothing: the memory is not ours to overwrite."""


class HostMemory:
    """Plain host memory."""

    def __init__(self, device: tuple[int, int] = (DLDeviceType.CPU, 0)) -> None:
        self.device = device

    def allocate(self, nbytes: int) -> HostBlock:
        """A zeroed block."""
        return HostBlock(nbytes)

    def filled(self, data: bytes) -> HostBlock:
        """A block that is allocated, and then written."""
        block = self.allocate(len(data))
        self.write(block.address, data)
        return block

    def reserve(self, nbytes: int) -> ReservedBlock:
        """A mapping; ``OSError`` if there is no address space for it."""
        return ReservedBlock(nbytes)

    def read(self, address: int, nbytes: int) -> bytes:
        """The bytes at ``address``."""
        return ctypes.string_at(address, nbytes) if nbytes else b""

    def write(self, address: int, data: bytes) -> None:
        """Copy ``data`` to ``address``."""
        ctypes.memmove(address, data, len(data))

    def reaches(self, address: int) -> bool:
        """Whether the address lies in a block of ours."""
        return any(block.address <= address < block.address + block.nbytes for block in _host_blocks)

    def device_of(self, address: int) -> tuple[int, int]:
        """By the block that it lies in."""
        found = (b.ordinal for b in _host_blocks if b.address <= address < b.address + max(b.nbytes, 1))
        return self.device[0], next(found, self.device[1])

    def streams(self) -> streams.Streams:
        """Those of the simulated device: the host itself has none."""
        return streams.simulated()


class SimulatedMemory(HostMemory):
    """Host memory that claims to be a CUDA device."""

    def __init__(self, ordinal: int = 0) -> None:
        super().__init__((DLDeviceType.CUDA, ordinal))

    def allocate(self, nbytes: int) -> SimulatedBlock:
        """A zeroed block."""
        block = SimulatedBlock(nbytes)
        block.ordinal = self.device[1]
        return block


def simulated(ordinal: int = 0) -> HostMemory:
    """Host memory that claims to be a CUDA device: the reference's two sides can meet on it without a GPU."""
    return SimulatedMemory(ordinal)


class CudaBlock:
    """A block of CUDA memory between guard bytes, freed when the last reference to it goes.

    The guard bytes are written and read on a stream of their own: nothing that is queued elsewhere is waited for. One copy writes those of a
    small block with the bytes in between, and with unused bytes behind them, because a small copy waits for its turn on the GPU
    (:data:`conformance.cuda.memory.BY_ENGINE`). ``data`` are its bytes, zeros if none are given.
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
        """Write the guard bytes, and the others too; a block on which that fails has none. Return whether the block has its bytes."""
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
        """The bytes before and behind; ``None`` where the driver does not let them be read."""
        return self.guards_of([self])[0]

    @classmethod
    def guards_of(cls, blocks: Sequence[CudaBlock]) -> list[Seen | None]:
        """Those of several blocks of one GPU, for which the process waits once."""
        try:
            ordinal = blocks[0]._ordinal
            sides = [address for block in blocks for address in (block._start, block.address + block.nbytes)]
            seen = cuda_memory.read_each_behind(sides, guards.SIZE, _apart(ordinal), ordinal)
            return list(zip(seen[::2], seen[1::2]))
        except CudaError:
            return [None] if len(blocks) == 1 else [block.guards() for block in blocks]

    def release(self) -> None:
        """Poison the block. The guard bytes keep what they have."""
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
        except Exception:  # noqa: BLE001 - the context may be gone at exit; there is nobody left to tell
            pass


_ON_DEVICE = (cuda_memory.Kind.DEVICE, cuda_memory.Kind.POOL)
_ONE_COPY = 1 << 20
"""Bytes of a block that are written with its guard bytes, where nothing is to be written. To write more takes longer than to wait twice."""


@lru_cache
def _apart(ordinal: int) -> int:
    """A stream of this GPU that waits for no other, for guard bytes alone."""
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
    """CUDA memory of one kind, made on one GPU. Pinned and managed memory belong to none (DLP-15)."""

    def __init__(self, kind: cuda_memory.Kind = cuda_memory.Kind.DEVICE, ordinal: int = 0) -> None:
        self.kind = kind
        self.ordinal = ordinal
        place = _TYPE_OF_KIND[kind]
        self.device: tuple[int, int] = (place, ordinal if place is DLDeviceType.CUDA else 0)

    def allocate(self, nbytes: int) -> CudaBlock:
        """A block of this kind; a large one has undefined content."""
        return CudaBlock(nbytes, self.kind, self.ordinal)

    def filled(self, data: bytes) -> CudaBlock:
        """A block of this kind that is written with its guard bytes."""
        return CudaBlock(len(data), self.kind, self.ordinal, data)

    def reserve(self, nbytes: int) -> CudaBlock:
        """As :meth:`allocate`: device memory is taken at once."""
        return self.allocate(nbytes)

    def read(self, address: int, nbytes: int) -> bytes:
        """The bytes at ``address``, after everything that the primary context has queued."""
        return cuda_memory.read(address, nbytes)

    def write(self, address: int, data: bytes) -> None:
        """Copy ``data`` to ``address``; done on return."""
        cuda_memory.write(address, data)

    def reaches(self, address: int) -> bool:
        """Whether the driver knows the address."""
        return cuda_pointers.query(address) is not None

    def device_of(self, address: int) -> tuple[int, int]:
        """By the driver; pinned and managed memory is told as ours."""
        if self.device[0] != DLDeviceType.CUDA or not address:
            return self.device
        ordinal = cuda_pointers.ordinal_of(address)
        return self.device if ordinal is None else (self.device[0], ordinal)

    def streams(self) -> streams.Streams:
        """CUDA's, of this GPU."""
        return streams.cuda(self.ordinal)


def gather(memory: Memory, element0: int, view: Strided, itemsize: int) -> bytes:
    """The bytes of a view's elements in row-major order; ``view.offset`` is ignored, ``element0`` is in bytes."""
    return gather_by_bytes(memory, element0, Strided(view.shape, tuple(s * itemsize for s in view.strides)), itemsize)


def gather_by_bytes(memory: Memory, element0: int, view: Strided, itemsize: int) -> bytes:
    """As :func:`gather`, of a view that counts bytes: its strides need not be multiples of the element's size."""
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

    Many elements are written with the bytes between them, as they were before: on a GPU each write waits for the device.
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
"""Elements that are written one by one."""
_AT_ONCE = 1 << 28
"""Bytes from the first to the last element, above which each is read by itself: only few lie so far apart."""
