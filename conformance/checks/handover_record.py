"""Record of a hand-over: the producer's capsule or dictionary, decoded by the suite before the consumer receives it.

If the description is wrong, the producer is at fault. If it is correct and the import is wrong, the consumer is at fault.
"""

from __future__ import annotations

import mmap
import operator
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from conformance.adapters.base import Protocol
from conformance.protocols import cai, capsule, dlpack
from conformance.protocols.dtypes import DType
from conformance.protocols.strided import Strided, gather_by_bytes, packed, same_strides, span

from .codes import Code


@dataclass(frozen=True)
class Handed:
    """A decoded capsule or dictionary. ``strides`` are in bytes. ``type`` is (code, bits, lanes) or a typestr.

    If ``are_strides_told`` is false, the producer passed no strides, and ``strides`` are those of a C-contiguous array.
    """

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    type: tuple[int, int, int] | str
    readonly: bool | None
    are_strides_told: bool = True
    elements: bytes | None = None
    """The elements before the consumer received the array, in row-major order, or ``None`` if they were not read."""
    device: tuple[int, int] | None = None
    """The device in a capsule. A dictionary contains no device."""

    @property
    def itemsize(self) -> int:
        """The size of an element in bytes, or 0 if it is not a whole number of bytes."""
        if isinstance(self.type, str):
            return cai.typestr_bytes(self.type)
        _, bits, lanes = self.type
        return 0 if bits * lanes % 8 else bits * lanes // 8


Read = Callable[[int, int], "bytes | None"]
"""A function that reads bytes at an address, and returns ``None`` if it cannot."""
_MOST_LOOKED_AT = 1 << 24
"""Maximum size in bytes of arrays that are compared. Larger arrays would take too long in every exchange."""


def looked_at(handed: Handed | None) -> Handed | None:
    """Return a copy with its elements, which are read from memory of this process. The memory must be accessible to the host."""
    return handed and replace(handed, elements=elements_at(handed, handed.address))


def elements_at(handed: Handed, address: int, read: Read | None = None) -> bytes | None:
    """Return the elements of such an array at this address in row-major order, or ``None`` if not all of them can be read.

    ``read`` reads bytes at an address. By default, it reads memory of this process.
    """
    size, bytewise = handed.itemsize, Strided(handed.shape, handed.strides)
    if not size or any(extent < 0 for extent in handed.shape) or bytewise.size * size > _MOST_LOOKED_AT:
        return None
    low, high = span(bytewise)
    if high - low > _MOST_LOOKED_AT:
        return None
    block = (read or own_memory)(address + low, high - low and high - low - 1 + size)
    if block is None:
        return None
    return gather_by_bytes(block, Strided(handed.shape, handed.strides, -low), size)


def is_mapped(handed: Handed) -> bool:
    """Return whether the described elements are in mapped memory: both ends, and the pages between unless they are many."""
    bytewise = Strided(handed.shape, handed.strides)
    if not bytewise.size or not handed.itemsize:
        return True
    low, high = span(bytewise)
    # The last element starts at high - 1 and has itemsize bytes, so its last byte is at high - 2 + itemsize.
    first, last = handed.address + low, handed.address + high - 2 + handed.itemsize
    pages = range(first, last, mmap.PAGESIZE) if last - first <= _MOST_LOOKED_AT else (first,)
    in_one_page = first // mmap.PAGESIZE == last // mmap.PAGESIZE
    return all(own_memory(address, 1) is not None for address in ((first,) if in_one_page else (*pages, last)))


def covers(handed: Handed, address: int) -> bool:
    """Return whether an address lies in the range from the first to the last described element."""
    low, high = span(Strided(handed.shape, handed.strides))
    return handed.address + low <= address < handed.address + max(high, low + 1)


def own_memory(address: int, nbytes: int) -> bytes | None:
    """Return bytes of this process's memory, or ``None`` if they are not mapped.

    The kernel reads the memory (``/proc/self/mem``), so a wrong address does not crash the process.
    """
    try:
        file = os.open("/proc/self/mem", os.O_RDONLY)
    except OSError:
        return None
    try:
        found = os.pread(file, nbytes, address)
    except (OSError, OverflowError, ValueError):
        return None
    finally:
        os.close(file)
    return found if len(found) == nbytes else None


@dataclass(frozen=True)
class Mismatch:
    """A difference between a hand-over and the producer's array, and the clause that it breaks."""

    code: Code
    clause: str
    reason: str
    expected: str
    seen: str


def decoded(protocol: Protocol, answer: Any) -> Handed | None:
    """Return a decoded capsule or dictionary, or ``None`` if it is not readable. Other invariants judge that."""
    try:
        return _of_capsule(answer) if protocol is Protocol.DLPACK else _of_dictionary(answer)
    except Exception:
        return None


def _of_capsule(made: Any) -> Handed:
    return of_tensor(dlpack.decode(capsule.pointer(made), capsule.name(made)))


def of_tensor(tensor: dlpack.Tensor) -> Handed:
    """Return the description in a decoded DLPack struct."""
    width = (tensor.bits * tensor.lanes + 7) // 8
    strides = tuple(stride * width for stride in tensor.strides_or_packed)
    readonly = None if tensor.flags is None else bool(tensor.flags & dlpack.DLFlags.READ_ONLY)
    type = (tensor.code, tensor.bits, tensor.lanes)
    told = tensor.strides is not None
    return Handed(tensor.element0, tensor.shape, strides, type, readonly, told, device=tensor.device)


def _of_dictionary(described: Any) -> Handed:
    read = cai.parse(described)
    width = cai.typestr_bytes(read.typestr)
    strides = read.strides if read.strides is not None else tuple(s * width for s in packed(read.shape).strides)
    return Handed(read.address, read.shape, strides, read.typestr, read.readonly, read.strides is not None)


def mismatch(handed: Handed, kind: DType, view: Strided, address: int, *, copied: bool = False) -> Mismatch | None:
    """Return the first difference between a hand-over and an array with this element type, view (in elements) and address.

    ``copied`` means that the hand-over may describe a copy, in other memory and in another layout.
    """
    by_dlpack = not isinstance(handed.type, str)
    wanted = (int(kind.code), kind.bits, 1) if by_dlpack else kind.typestr
    if wanted is not None and not _same_type(handed.type, wanted):
        return Mismatch(
            Code.DTYPE_CHANGED, "DLP-13" if by_dlpack else "CAI-03",
            f"the producer exports {kind.name} as another element type", str(wanted), str(handed.type),
        )  # fmt: skip
    if handed.shape != view.shape:
        return Mismatch(
            Code.SHAPE_CHANGED, "DLP-59" if by_dlpack else "CAI-02", "the producer exports a wrong shape",
            str(view.shape), str(handed.shape),
        )  # fmt: skip
    if copied:
        return None
    strides = tuple(stride * kind.itemsize for stride in view.strides)
    if not same_strides(view.shape, handed.strides, strides):
        if not handed.are_strides_told:
            return Mismatch(
                Code.STRIDES_MISSING, "DLP-20" if by_dlpack else "CAI-12",
                "the producer exports no strides although the array is not C-contiguous", f"{strides} bytes", "no strides",
            )  # fmt: skip
        return Mismatch(
            Code.STRIDES_CHANGED, "DLP-20" if by_dlpack else "CAI-11", "the producer exports wrong strides",
            f"{strides} bytes", f"{handed.strides} bytes",
        )  # fmt: skip
    if view.size and handed.address != address:
        return Mismatch(
            Code.WRONG_ADDRESS, "DLP-59" if by_dlpack else "CAI-05", "the producer exports a wrong address",
            f"element 0 at {address:#x}", f"element 0 at {handed.address:#x}",
        )  # fmt: skip
    return None


def _same_type(handed: tuple[int, int, int] | str, wanted: tuple[int, int, int] | str) -> bool:
    """Return whether two types are equal. A single byte has no byte order, so ``<i1`` equals ``|i1``."""
    if isinstance(handed, str) and isinstance(wanted, str) and wanted[2:] == "1":
        return handed[1:] == wanted[1:]
    return handed == wanted


def device_pair(told: Any) -> tuple[int, int] | None:
    """Return the result of ``__dlpack_device__`` as a pair of integers, or ``None`` if it is not one (DLP-16)."""
    if not isinstance(told, tuple) or len(told) != 2:
        return None
    try:
        kind, number = (_integer(part) for part in told)
    except (TypeError, ValueError):
        return None
    return kind, number


def _integer(part: Any) -> int:
    """Return an integer, or the integer value of an enum member."""
    return operator.index(part.value if isinstance(part, Enum) else part)
