"""Where the reference keeps its elements: host memory, CUDA memory, or host memory that claims to be CUDA.

Addresses and sizes are bytes. Blocks are aligned to 256 bytes, as DLPack nominally wants (DLP-18).
"""

from __future__ import annotations

import ctypes
import mmap
import weakref
from typing import Any, Protocol

from conformance.cuda import memory as cuda_memory
from conformance.cuda import pointers as cuda_pointers
from conformance.protocols.dlpack import DLDeviceType
from conformance.protocols.strided import Strided, offsets, span

from . import streams

ALIGNMENT = 256
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

    def reserve(self, nbytes: int) -> Block:
        """A block of which only the parts that are touched cost anything, where the memory can do that."""

    def read(self, address: int, nbytes: int) -> bytes:
        """Host copy of ``nbytes`` bytes, after all pending work."""

    def write(self, address: int, data: bytes) -> None:
        """Overwrite memory from the host; done on return."""

    def reaches(self, address: int) -> bool:
        """Whether code on the device can use this address."""

    def streams(self) -> streams.Streams:
        """The streams of the device that the memory belongs to."""


class HostBlock:
    """A block of plain host memory."""

    def __init__(self, nbytes: int) -> None:
        self._buffer = ctypes.create_string_buffer(nbytes + ALIGNMENT)
        start = ctypes.addressof(self._buffer)
        self.address = start + (-start % ALIGNMENT)
        self.nbytes = nbytes
        _host_blocks.add(self)

    def release(self) -> None:
        """Poison the block."""
        ctypes.memset(self.address, POISON, self.nbytes)


class ReservedBlock:
    """Address space of the host; its pages are zero, and taken when they are first touched."""

    def __init__(self, nbytes: int) -> None:
        self._map = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._start = ctypes.c_char.from_buffer(self._map)
        self.address = ctypes.addressof(self._start)
        self.nbytes = nbytes
        _host_blocks.add(self)

    def release(self) -> None:
        """Poison the first page: poisoning all of them would take the memory that was only reserved."""
        ctypes.memset(self.address, POISON, min(self.nbytes, mmap.PAGESIZE))


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

    def streams(self) -> streams.Streams:
        """Those of the simulated device: the host itself has none."""
        return streams.simulated()


def simulated() -> HostMemory:
    """Host memory that claims to be CUDA device 0: the reference's two sides can meet on it without a GPU."""
    return HostMemory((DLDeviceType.CUDA, 0))


class CudaBlock:
    """A block of CUDA memory, freed when the last reference to it goes."""

    def __init__(self, nbytes: int, kind: cuda_memory.Kind) -> None:
        self.address = cuda_memory.allocate(nbytes, kind)
        self.nbytes = nbytes
        self._kind = kind

    def release(self) -> None:
        """Poison the block."""
        cuda_memory.write(self.address, bytes([POISON]) * self.nbytes)

    def __del__(self) -> None:
        try:
            cuda_memory.free(self.address, self._kind)
        except Exception:  # noqa: BLE001 - the context may be gone at exit; there is nobody left to tell
            pass


_DEVICE_OF_KIND = {
    cuda_memory.Kind.DEVICE: (DLDeviceType.CUDA, 0),
    cuda_memory.Kind.POOL: (DLDeviceType.CUDA, 0),
    cuda_memory.Kind.PINNED: (DLDeviceType.CUDA_HOST, 0),
    cuda_memory.Kind.MANAGED: (DLDeviceType.CUDA_MANAGED, 0),
}


class CudaMemory:
    """CUDA memory of one kind on device 0."""

    def __init__(self, kind: cuda_memory.Kind = cuda_memory.Kind.DEVICE) -> None:
        self.kind = kind
        self.device: tuple[int, int] = _DEVICE_OF_KIND[kind]

    def allocate(self, nbytes: int) -> CudaBlock:
        """A block of this kind; its content is undefined."""
        return CudaBlock(nbytes, self.kind)

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

    def streams(self) -> streams.Streams:
        """CUDA's."""
        return streams.cuda()


def gather(memory: Memory, element0: int, view: Strided, itemsize: int) -> bytes:
    """The bytes of a view's elements in row-major order; ``view.offset`` is ignored, ``element0`` is in bytes."""
    relative = Strided(view.shape, view.strides)
    if relative.size == 0:
        return b""
    low, high = span(relative)
    block = memory.read(element0 + low * itemsize, (high - low) * itemsize)
    return b"".join(block[(o - low) * itemsize : (o - low + 1) * itemsize] for o in offsets(relative))
