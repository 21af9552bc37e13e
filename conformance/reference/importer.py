"""Reference importer: imports from any producer, follows every rule, and records what it reads."""

from __future__ import annotations

import threading
from typing import Any, ClassVar

from conformance.protocols import cai, capsule, dlpack
from conformance.protocols.dlpack import (
    DELETER,
    LEGACY,
    USED_LEGACY,
    USED_VERSIONED,
    VERSIONED,
    DLDeviceType,
    DLFlags,
    DLManagedTensorVersioned,
    Tensor,
)
from conformance.protocols.dtypes import DType, from_dlpack, from_typestr
from conformance.protocols.strided import Step, Strided, apply, c_strides, same_strides, span

from .exporter import NEWEST
from .memory import Memory, gather_by_bytes
from .streams import LEGACY as LEGACY_STREAM
from .streams import PER_THREAD, Current, WorkStream
from .uses import Uses

_taking = threading.RLock()
"""Makes the check of a capsule's name and its renaming atomic across threads."""
CPU_TYPES = (DLDeviceType.CPU, DLDeviceType.CUDA_HOST, DLDeviceType.CUDA_MANAGED)
CUDA_TYPES = (DLDeviceType.CUDA, DLDeviceType.CUDA_HOST, DLDeviceType.CUDA_MANAGED)


class Imported:
    """An imported array: strides in **bytes**, the address of element 0, and the object that keeps the memory alive."""

    def __init__(
        self,
        importer: Importer,
        *,
        address: int,
        shape: tuple[int, ...],
        strides: tuple[int, ...],
        dtype: DType,
        device: tuple[int, int],
        readonly: bool,
        tensor: Tensor | None = None,
        interface: cai.ArrayInterface | None = None,
        holder: Any = None,
        back_to: int | None = None,
    ) -> None:
        self.importer = importer
        self.address = address
        self.shape = shape
        self.strides = strides
        self.dtype = dtype
        self.device = device
        self.readonly = readonly
        self.tensor = tensor
        self.interface = interface
        self.holder = holder
        self.back_to = back_to
        """The producer's stream, if its later work must wait for this library's work (CAI-19)."""
        self.worked_on: int | None = None
        """The stream with pending work on the import, for the case that the import is exported again."""

    @property
    def view(self) -> Strided:
        """The view in elements, relative to element 0. A stride that is not a multiple of the element size is rounded."""
        return Strided(self.shape, tuple(s // self.dtype.itemsize for s in self.strides))

    @property
    def contiguous(self) -> bool:
        """``True`` if the import is C-contiguous (CAI-13). A rounded stride of a used dimension makes it ``False``."""
        size = self.dtype.itemsize
        return self.view.contiguous and same_strides(
            self.shape, tuple(s * size for s in self.view.strides), self.strides
        )

    @property
    def view_in_bytes(self) -> Strided:
        """The view in bytes, relative to element 0, which is exact for all strides."""
        return Strided(self.shape, self.strides)

    def extent(self) -> tuple[int, int]:
        """Return the first byte of the elements' memory, and one past the last."""
        return self.importer.extent(self)

    def release(self) -> None:
        """Release the array: call the deleter, once (DLP-26)."""
        tensor, self.tensor = self.tensor, None
        self.holder = None
        if tensor is not None:
            self.importer.call_deleter(tensor)

    def __del__(self) -> None:
        try:
            self.release()
        except TypeError:
            pass  # the interpreter is shutting down, and a leak is acceptable then (DLP-29)


class Importer(Uses):
    """An importer into the device of ``memory``. ``work_stream`` is the stream on which its imports are used.

    ``current`` holds the caller's current stream, which an import never changes.
    """

    current_class: ClassVar[type[Current]] = Current
    """The class that holds the current stream of this importer's users."""

    def __init__(self, memory: Memory, work_stream: int = LEGACY_STREAM, current: Current | None = None) -> None:
        self.memory = memory
        self.work_stream = work_stream
        self.current = current

    def part(self, array: Imported, step: Step) -> Imported:
        """Return a view of part of an import. The view keeps the whole import alive."""
        view = apply(array.view_in_bytes, step)
        return Imported(
            self,
            address=array.address + view.offset,
            shape=view.shape,
            strides=view.strides,
            dtype=array.dtype,
            device=array.device,
            readonly=array.readonly,
            holder=array,
        )

    def reuse(self, taken: Imported) -> Any:
        """Overwrite the memory of a packed import with zeros if the import is an exclusive copy. Overwrite new memory otherwise (DLP-50).

        Return the object that must be kept alive.
        """
        nbytes = taken.view.size * taken.dtype.itemsize
        if self.is_own(taken):
            self.memory.write(self.reused_at(taken), bytes(nbytes))
            return taken
        block = self.memory.allocate(nbytes)
        self.memory.write(block.address, bytes(nbytes))
        return block

    def is_own(self, taken: Imported) -> bool:
        """Return ``True`` if no other library has the memory of an import (DLP-10)."""
        flags = taken.tensor.flags if taken.tensor is not None else None
        return bool((flags or 0) & DLFlags.IS_COPIED)

    def reused_at(self, taken: Imported) -> int:
        """Return the address of the memory that is reused."""
        return taken.address

    # -- streams

    def take_stream(self, source: Any) -> WorkStream:
        """Return a stream for an object with ``__cuda_stream__``. Raise ``TypeError`` for other objects (STR-04)."""
        method = getattr(source, "__cuda_stream__", None)
        if not callable(method):
            raise TypeError(f"a {type(source).__name__} has no method __cuda_stream__ (STR-01)")
        return self.foreign_stream(self.stream_handle(method()), source)

    def stream_handle(self, answer: Any) -> int:
        """Return the handle in the result of ``__cuda_stream__``. Raise ``TypeError`` for a malformed result."""
        if not isinstance(answer, tuple) or len(answer) != 2 or not all(isinstance(part, int) for part in answer):
            raise TypeError(f"__cuda_stream__ must return two ints, not {answer!r} (STR-02)")
        if answer[0] != 0:
            raise TypeError(f"version {answer[0]} of the stream protocol is unknown (STR-04)")
        return int(answer[1])

    def foreign_stream(self, handle: int, owner: Any) -> WorkStream:
        """Return a stream object that does not own the handle and keeps its owner alive (STR-05)."""
        return WorkStream(self.memory.streams(), handle or LEGACY_STREAM, owner)

    def moved(self, array: Imported, memory: Memory) -> Imported:
        """Return the import itself if it is in this memory, or a packed copy in this memory."""
        if array.device == memory.device:
            return array
        data = gather_by_bytes(self.memory, array.address, array.view_in_bytes, array.dtype.itemsize)
        block = memory.filled(data)
        return Imported(
            type(self)(memory, self.work_stream),
            address=block.address,
            shape=array.shape,
            strides=tuple(s * array.dtype.itemsize for s in c_strides(array.shape)),
            dtype=array.dtype,
            device=memory.device,
            readonly=False,
            holder=block,
        )

    # -- CUDA Array Interface

    def take_cai(self, source: Any) -> Imported:
        """Import by ``source.__cuda_array_interface__``. Raise ``ValueError`` for a malformed one, ``TypeError`` for an unsupported one."""
        interface = self.read_cai(source.__cuda_array_interface__)
        dtype = self.cai_dtype(interface)
        self.check_mask(interface)
        self.check_address(interface)
        published = self.published(interface)
        self.follow(published)
        return Imported(
            self,
            address=self.cai_address(interface),
            shape=interface.shape,
            strides=self.cai_strides(interface, dtype),
            dtype=dtype,
            device=self.cai_device(interface),
            readonly=self.cai_readonly(interface),
            interface=interface,
            holder=source,
            back_to=published,
        )

    def take_any(self, source: Any) -> Imported:
        """Import by the array interface if the object has it, or else by DLPack."""
        return self.take_cai(source) if hasattr(source, "__cuda_array_interface__") else self.take_dlpack(source)

    def take_for(self, source: Any, stream: int | None) -> Imported:
        """Import by DLPack for this stream. Raise ``BufferError`` for ``None``."""
        if stream is None:
            raise BufferError("stream=None is ambiguous: name a stream, or -1 for no wait")
        return type(self)(self.memory, stream if stream > 0 else self.work_stream, self.current).take_dlpack(source)

    def take_argument(self, source: Any) -> Imported:
        """Import a kernel argument, described and ordered like any import."""
        return self.take_cai(source)

    def published(self, interface: cai.ArrayInterface) -> int | None:
        """Return the published stream. The key has a contract only from version 3 on (CAI-30)."""
        return interface.stream if interface.version >= 3 else None

    def follow(self, published: int | None) -> None:
        """Make the work stream wait for the published stream (CAI-18).

        2 is a different stream in each thread, and the producer's thread is unknown. The legacy stream waits for all of them (CUD-03).
        """
        if published is not None and published < 0:
            raise ValueError(f"stream {published} is not a stream (CAI-16)")
        covering = LEGACY_STREAM if published == PER_THREAD else published
        if covering is not None and covering != self.work_stream:
            self.memory.streams().wait(self.work_stream, covering)

    def copy(self, into: int, taken: Imported) -> None:
        """Queue a copy of a packed import, and make the producer's stream wait for it (CAI-19)."""
        streams = self.memory.streams()
        streams.copy(into, taken.address, taken.view.size * taken.dtype.itemsize, self.work_stream)
        self.work_queued(taken)
        self.hold_back(taken)

    def fill(self, taken: Imported, value: int) -> None:
        """Queue a fill of a packed import's 32-bit elements with ``value``, and make the producer's stream wait for it."""
        self.memory.streams().fill(taken.address, taken.view.size, value, self.work_stream)
        self.work_queued(taken)
        self.hold_back(taken)

    def work_queued(self, taken: Imported) -> None:
        """Record pending work on an import, which a later export must come after."""
        taken.worked_on = self.work_stream

    def hold_back(self, taken: Imported) -> None:
        """Make later work on the producer's stream wait for this library's work (CAI-19)."""
        if taken.back_to is not None and taken.back_to != self.work_stream:
            self.memory.streams().wait(taken.back_to, self.work_stream)

    def read_cai(self, described: Any) -> cai.ArrayInterface:
        """Return the dictionary's content. Raise ``ValueError`` for a malformed one."""
        return cai.parse(described)

    def cai_dtype(self, interface: cai.ArrayInterface) -> DType:
        """Return the element type. Raise ``TypeError`` for structured types and foreign byte orders."""
        dtype = from_typestr(interface.typestr)
        if dtype is None:
            raise TypeError(f"no element type for typestr {interface.typestr!r}")
        return dtype

    def check_mask(self, interface: cai.ArrayInterface) -> None:
        """Refuse a masked array, since an import would drop the mask (CAI-15)."""
        if interface.mask is not None:
            raise TypeError("masked arrays are not supported (CAI-15)")

    def check_address(self, interface: cai.ArrayInterface) -> None:
        """Refuse elements at an address that the device cannot access (CAI-05)."""
        if 0 not in interface.shape and not self.memory.reaches(interface.address):
            raise ValueError(f"address {interface.address:#x} is not memory of the device (CAI-05)")

    def cai_device(self, interface: cai.ArrayInterface) -> tuple[int, int]:
        """Return the device of the address, because the dictionary does not name one (CAI-29)."""
        return self.memory.device_of(interface.address)

    def cai_address(self, interface: cai.ArrayInterface) -> int:
        """Return the address of element 0 (CAI-05)."""
        return interface.address

    def cai_strides(self, interface: cai.ArrayInterface, dtype: DType) -> tuple[int, ...]:
        """Return strides in bytes. A missing key or ``None`` means C-contiguous (CAI-10)."""
        if interface.strides is not None:
            return interface.strides
        return tuple(s * dtype.itemsize for s in c_strides(interface.shape))

    def cai_readonly(self, interface: cai.ArrayInterface) -> bool:
        """Return ``True`` if writing is forbidden (CAI-08)."""
        return interface.readonly

    # Both protocols

    def extent(self, taken: Imported) -> tuple[int, int]:
        """Return the first byte of the memory behind an import, and one past the last, as its strides imply."""
        low, high = span(taken.view_in_bytes)
        return taken.address + low, taken.address + (high - 1 + taken.dtype.itemsize if taken.view.size else high)

    # -- DLPack

    def take_dlpack(self, source: Any, **requested: Any) -> Imported:
        """Import through ``__dlpack_device__`` and ``__dlpack__`` (DLP-41).

        ``requested`` may hold ``copy``, ``dl_device`` and ``max_version``. Raises ``BufferError`` for an unsupported device or content.
        Exceptions of the producer propagate unchanged.
        """
        self.check_device(source.__dlpack_device__())
        return self.take_capsule(self.call_dlpack(source, requested))

    def call_dlpack(self, source: Any, requested: dict[str, Any]) -> Any:
        """Call ``__dlpack__`` by keyword, with the newest version by default.

        Retry with fewer keywords if the producer does not know them (DLP-30).
        """
        stream = self.stream()
        try:
            return source.__dlpack__(stream=stream, **{"max_version": NEWEST, **requested})
        except TypeError as error:
            if not _unknown_keyword(error):
                raise
        if requested.get("copy") or requested.get("dl_device"):
            raise BufferError("the producer is too old for copy= and dl_device=")
        return source.__dlpack__(stream=stream) if stream is not None else source.__dlpack__()

    def stream(self) -> int | None:
        """Return the stream to pass: ``None`` on the CPU (DLP-36), the work stream elsewhere (DLP-35)."""
        return None if self.memory.device[0] == DLDeviceType.CPU else self.work_stream

    def take_capsule(self, offered: Any) -> Imported:
        """Consume a capsule (DLP-25) and read it. From then on, this importer must call the deleter."""
        with _taking:
            name = self.check_name(offered)
            address = capsule.pointer(offered)
            if name == VERSIONED and not self.version_is_ours(address):
                self.rename(offered, name)
                self.call_foreign_deleter(address)
                raise BufferError("the capsule has another major version (DLP-04)")
            tensor = dlpack.decode(address, name)
            self.rename(offered, name)
        try:
            return self.read_tensor(tensor)
        except Exception:
            self.call_deleter(tensor)
            raise

    def check_name(self, offered: Any) -> bytes:
        """Return the capsule's name. Raise ``BufferError`` for a consumed capsule (DLP-25)."""
        if not capsule.is_capsule(offered) or capsule.name(offered) not in (LEGACY, VERSIONED):
            raise BufferError("not a DLPack capsule, or one that was consumed before (DLP-25)")
        return capsule.name(offered)

    def version_is_ours(self, address: int) -> bool:
        """Return ``True`` for a supported major version, whatever version was requested (DLP-03)."""
        return int(DLManagedTensorVersioned.from_address(address).version.major) == NEWEST[0]

    def rename(self, offered: Any, name: bytes) -> None:
        """Mark the capsule as consumed (DLP-25)."""
        capsule.rename(offered, USED_VERSIONED if name == VERSIONED else USED_LEGACY)

    def read_tensor(self, tensor: Tensor) -> Imported:
        """Check a decoded struct and return its import. Raise ``BufferError`` for unsupported content."""
        self.check_device(tensor.device)
        self.check_extents(tensor)
        self.check_data(tensor)
        dtype = self.dl_dtype(tensor)
        return Imported(
            self,
            address=self.dl_address(tensor),
            shape=tensor.shape,
            strides=tuple(s * dtype.itemsize for s in self.dl_strides(tensor)),
            dtype=dtype,
            device=tensor.device,
            readonly=self.dl_readonly(tensor),
            tensor=tensor,
        )

    def check_device(self, device: Any) -> None:
        """Refuse a device with memory that this importer cannot access (DLP-45)."""
        on_host = self.memory.device[0] == DLDeviceType.CPU
        if int(device[0]) not in (CPU_TYPES if on_host else CUDA_TYPES):
            raise BufferError(f"cannot import from device {tuple(device)} (DLP-45)")

    def check_extents(self, tensor: Tensor) -> None:
        """Refuse a negative extent."""
        if any(extent < 0 for extent in tensor.shape):
            raise BufferError(f"negative extent in shape {tensor.shape}")

    def check_data(self, tensor: Tensor) -> None:
        """Refuse elements at address NULL. Only an array without elements has no address (DLP-19)."""
        if not tensor.data and 0 not in tensor.shape:
            raise BufferError("elements at address NULL (DLP-19)")

    def dl_dtype(self, tensor: Tensor) -> DType:
        """Return the element type. Refuse vector types and unknown codes (DLP-05, DLP-14)."""
        dtype = from_dlpack(tensor.code, tensor.bits)
        if dtype is None or tensor.lanes != 1:
            raise BufferError(f"no element type for code {tensor.code}, bits {tensor.bits}, lanes {tensor.lanes}")
        return dtype

    def dl_address(self, tensor: Tensor) -> int:
        """Return the address of element 0 (DLP-17)."""
        return tensor.element0

    def dl_strides(self, tensor: Tensor) -> tuple[int, ...]:
        """Return strides in elements. NULL means row-major (DLP-20, DLP-21)."""
        return tensor.strides_or_packed

    def dl_readonly(self, tensor: Tensor) -> bool:
        """Return ``True`` if writing is forbidden. A legacy capsule has no flag for that (DLP-09)."""
        return bool((tensor.flags or 0) & DLFlags.READ_ONLY)

    def call_deleter(self, tensor: Tensor) -> None:
        """Call the deleter with the capsule's pointer (DLP-26)."""
        if tensor.deleter:
            DELETER(tensor.deleter)(tensor.address)

    def call_foreign_deleter(self, address: int) -> None:
        """Call the deleter of a struct with an unknown layout after ``flags`` (DLP-04)."""
        deleter = DLManagedTensorVersioned.from_address(address).deleter
        if deleter:
            DELETER(deleter)(address)


def _unknown_keyword(error: TypeError) -> bool:
    """Return ``True`` if the call itself was refused for its keywords. A ``TypeError`` from inside the producer propagates."""
    return any(dlpack.tells_unknown_keyword(part) for part in error.args if isinstance(part, str))
