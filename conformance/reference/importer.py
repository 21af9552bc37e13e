"""The reference importer: takes what any producer offers, follows every rule, and remembers what it saw."""

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
"""Between the look at a capsule's name and its renaming no other thread may take it."""
CPU_TYPES = (DLDeviceType.CPU, DLDeviceType.CUDA_HOST, DLDeviceType.CUDA_MANAGED)
CUDA_TYPES = (DLDeviceType.CUDA, DLDeviceType.CUDA_HOST, DLDeviceType.CUDA_MANAGED)


class Imported:
    """An array seen through the reference: strides in **bytes**, address of element 0, and what keeps it alive."""

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
        """The producer's stream, if its later work must not overtake ours (CAI-19)."""
        self.worked_on: int | None = None
        """The stream on which work of ours may be pending, for whoever the import is exported to again."""

    @property
    def view(self) -> Strided:
        """The view in elements, relative to element 0; a stride that is no multiple of the element's size is rounded."""
        return Strided(self.shape, tuple(s // self.dtype.itemsize for s in self.strides))

    @property
    def contiguous(self) -> bool:
        """C-contiguous (CAI-13); never with a stride that the view had to round and that is taken."""
        size = self.dtype.itemsize
        return self.view.contiguous and same_strides(
            self.shape, tuple(s * size for s in self.view.strides), self.strides
        )

    @property
    def view_in_bytes(self) -> Strided:
        """The view in bytes, relative to element 0: exact, whatever the strides."""
        return Strided(self.shape, self.strides)

    def extent(self) -> tuple[int, int]:
        """First byte of the memory that the elements lie in, and one past the last."""
        return self.importer.extent(self)

    def release(self) -> None:
        """Give the array back: calls the deleter, once (DLP-26)."""
        tensor, self.tensor = self.tensor, None
        self.holder = None
        if tensor is not None:
            self.importer.call_deleter(tensor)

    def __del__(self) -> None:
        try:
            self.release()
        except TypeError:
            pass  # the interpreter has taken this module apart already, and leaking is fine then (DLP-29)


class Importer(Uses):
    """Imports into ``memory``'s kind of device. ``work_stream`` is the stream that its imports will be used on.

    ``current`` is what the caller's current stream hangs on: an import leaves it alone.
    """

    current_class: ClassVar[type[Current]] = Current
    """What keeps the current stream of who works with this importer."""

    def __init__(self, memory: Memory, work_stream: int = LEGACY_STREAM, current: Current | None = None) -> None:
        self.memory = memory
        self.work_stream = work_stream
        self.current = current

    def part(self, array: Imported, step: Step) -> Imported:
        """A view of part of an import, which keeps the whole of it."""
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
        """Use the memory of a packed import for something else, all zeros, if it is a copy of ours alone; else other memory (DLP-50).

        Returns what has to be kept with it.
        """
        nbytes = taken.view.size * taken.dtype.itemsize
        if self.is_own(taken):
            self.memory.write(self.reused_at(taken), bytes(nbytes))
            return taken
        block = self.memory.allocate(nbytes)
        self.memory.write(block.address, bytes(nbytes))
        return block

    def is_own(self, taken: Imported) -> bool:
        """Whether nobody else has the memory of an import (DLP-10)."""
        flags = taken.tensor.flags if taken.tensor is not None else None
        return bool((flags or 0) & DLFlags.IS_COPIED)

    def reused_at(self, taken: Imported) -> int:
        """Where the memory is that is used for something else."""
        return taken.address

    # -- streams

    def take_stream(self, source: Any) -> WorkStream:
        """A stream of ours on an object with ``__cuda_stream__``; ``TypeError`` for what is none (STR-04)."""
        method = getattr(source, "__cuda_stream__", None)
        if not callable(method):
            raise TypeError(f"a {type(source).__name__} has no method __cuda_stream__ (STR-01)")
        return self.foreign_stream(self.stream_handle(method()), source)

    def stream_handle(self, answer: Any) -> int:
        """The handle in what ``__cuda_stream__`` answers; ``TypeError`` for a malformed answer."""
        if not isinstance(answer, tuple) or len(answer) != 2 or not all(isinstance(part, int) for part in answer):
            raise TypeError(f"__cuda_stream__ gives two ints, not {answer!r} (STR-02)")
        if answer[0] != 0:
            raise TypeError(f"version {answer[0]} of the stream protocol is unknown (STR-04)")
        return int(answer[1])

    def foreign_stream(self, handle: int, owner: Any) -> WorkStream:
        """It is not ours to destroy, and its owner lives as long as we use it (STR-05)."""
        return WorkStream(self.memory.streams(), handle or LEGACY_STREAM, owner)

    def moved(self, array: Imported, memory: Memory) -> Imported:
        """The same elements in this memory: the import itself if it lies there, else a packed copy."""
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
        """Read ``source.__cuda_array_interface__``; ``ValueError`` if it is malformed, ``TypeError`` for what we lack."""
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
        """By the array interface if the object has it, else by DLPack."""
        return self.take_cai(source) if hasattr(source, "__cuda_array_interface__") else self.take_dlpack(source)

    def take_for(self, source: Any, stream: int | None) -> Imported:
        """Import by DLPack for this stream; ``BufferError`` for ``None``, which names none."""
        if stream is None:
            raise BufferError("stream=None is ambiguous: name a stream, or -1 for no wait")
        return type(self)(self.memory, stream if stream > 0 else self.work_stream, self.current).take_dlpack(source)

    def take_argument(self, source: Any) -> Imported:
        """What a kernel is given in an array's place: described and ordered as any import."""
        return self.take_cai(source)

    def published(self, interface: cai.ArrayInterface) -> int | None:
        """The producer's stream; before version 3 the key carried no contract (CAI-30)."""
        return interface.stream if interface.version >= 3 else None

    def follow(self, published: int | None) -> None:
        """Have our stream wait for the producer's (CAI-18).

        2 is another stream in every thread, and whose was meant is not said: the legacy one comes after them all (CUD-03).
        """
        if published is not None and published < 0:
            raise ValueError(f"stream {published} is no stream (CAI-16)")
        covering = LEGACY_STREAM if published == PER_THREAD else published
        if covering is not None and covering != self.work_stream:
            self.memory.streams().wait(self.work_stream, covering)

    def copy(self, into: int, taken: Imported) -> None:
        """Queue a copy of a packed import on our stream, and hold back the producer's until it is done (CAI-19)."""
        streams = self.memory.streams()
        streams.copy(into, taken.address, taken.view.size * taken.dtype.itemsize, self.work_stream)
        self.work_queued(taken)
        self.hold_back(taken)

    def fill(self, taken: Imported, value: int) -> None:
        """Queue on our stream that every 32-bit element of a packed import becomes ``value``, and hold back the producer's."""
        self.memory.streams().fill(taken.address, taken.view.size, value, self.work_stream)
        self.work_queued(taken)
        self.hold_back(taken)

    def work_queued(self, taken: Imported) -> None:
        """Remember that work is pending on an import: an export of it has to come after that."""
        taken.worked_on = self.work_stream

    def hold_back(self, taken: Imported) -> None:
        """Later work of the producer's stream comes after ours (CAI-19)."""
        if taken.back_to is not None and taken.back_to != self.work_stream:
            self.memory.streams().wait(taken.back_to, self.work_stream)

    def read_cai(self, described: Any) -> cai.ArrayInterface:
        """The dictionary's content; ``ValueError`` for a malformed one."""
        return cai.parse(described)

    def cai_dtype(self, interface: cai.ArrayInterface) -> DType:
        """The element type; ``TypeError`` for structured or foreign-order types."""
        dtype = from_typestr(interface.typestr)
        if dtype is None:
            raise TypeError(f"no element type for typestr {interface.typestr!r}")
        return dtype

    def check_mask(self, interface: cai.ArrayInterface) -> None:
        """Refuse masked arrays rather than drop the mask (CAI-15)."""
        if interface.mask is not None:
            raise TypeError("masked arrays are not supported (CAI-15)")

    def check_address(self, interface: cai.ArrayInterface) -> None:
        """Refuse elements at an address that the device does not reach (CAI-05)."""
        if 0 not in interface.shape and not self.memory.reaches(interface.address):
            raise ValueError(f"address {interface.address:#x} is not memory of the device (CAI-05)")

    def cai_device(self, interface: cai.ArrayInterface) -> tuple[int, int]:
        """Where the elements lie: the dictionary does not say, so the address has to (CAI-29)."""
        return self.memory.device_of(interface.address)

    def cai_address(self, interface: cai.ArrayInterface) -> int:
        """Address of element 0 (CAI-05)."""
        return interface.address

    def cai_strides(self, interface: cai.ArrayInterface, dtype: DType) -> tuple[int, ...]:
        """Strides in bytes; missing or ``None`` means C-contiguous (CAI-10)."""
        if interface.strides is not None:
            return interface.strides
        return tuple(s * dtype.itemsize for s in c_strides(interface.shape))

    def cai_readonly(self, interface: cai.ArrayInterface) -> bool:
        """Whether writing is forbidden (CAI-08)."""
        return interface.readonly

    # -- both

    def extent(self, taken: Imported) -> tuple[int, int]:
        """First byte of the memory behind an import, and one past the last: no protocol says it, strides imply it."""
        low, high = span(taken.view_in_bytes)
        return taken.address + low, taken.address + (high - 1 + taken.dtype.itemsize if taken.view.size else high)

    # -- DLPack

    def take_dlpack(self, source: Any, **requested: Any) -> Imported:
        """Import through ``__dlpack_device__`` and ``__dlpack__`` (DLP-41).

        ``requested`` may hold ``copy``, ``dl_device`` and ``max_version``. ``BufferError`` for a device or content that cannot be
        served; exceptions of the producer propagate unchanged.
        """
        self.check_device(source.__dlpack_device__())
        return self.take_capsule(self.call_dlpack(source, requested))

    def call_dlpack(self, source: Any, requested: dict[str, Any]) -> Any:
        """Ask by keyword, for the newest version if no other is wanted; ask again with fewer keywords where they are unknown (DLP-30)."""
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
        """The consumer's stream: ``None`` on the CPU (DLP-36), the stream that it will work on elsewhere (DLP-35)."""
        return None if self.memory.device[0] == DLDeviceType.CPU else self.work_stream

    def take_capsule(self, offered: Any) -> Imported:
        """Take a capsule over (DLP-25) and read it. From then on the deleter is ours to call."""
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
        """The capsule's name; refuses one that was used before (DLP-25)."""
        if not capsule.is_capsule(offered) or capsule.name(offered) not in (LEGACY, VERSIONED):
            raise BufferError("not a DLPack capsule, or one that was consumed before (DLP-25)")
        return capsule.name(offered)

    def version_is_ours(self, address: int) -> bool:
        """Checked whatever was asked for (DLP-03)."""
        return int(DLManagedTensorVersioned.from_address(address).version.major) == NEWEST[0]

    def rename(self, offered: Any, name: bytes) -> None:
        """Mark the capsule as consumed (DLP-25)."""
        capsule.rename(offered, USED_VERSIONED if name == VERSIONED else USED_LEGACY)

    def read_tensor(self, tensor: Tensor) -> Imported:
        """Judge and keep a decoded struct; ``BufferError`` for what we cannot hold."""
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
        """Only devices whose memory we can reach (DLP-45)."""
        on_host = self.memory.device[0] == DLDeviceType.CPU
        if int(device[0]) not in (CPU_TYPES if on_host else CUDA_TYPES):
            raise BufferError(f"cannot import from device {tuple(device)} (DLP-45)")

    def check_extents(self, tensor: Tensor) -> None:
        """Refuse an extent below zero: no array has one."""
        if any(extent < 0 for extent in tensor.shape):
            raise BufferError(f"negative extent in shape {tensor.shape}")

    def check_data(self, tensor: Tensor) -> None:
        """Refuse elements at NULL: only an array without any has no address (DLP-19)."""
        if not tensor.data and 0 not in tensor.shape:
            raise BufferError("elements at address NULL (DLP-19)")

    def dl_dtype(self, tensor: Tensor) -> DType:
        """The element type; refuses vectors and unknown codes (DLP-05, DLP-14)."""
        dtype = from_dlpack(tensor.code, tensor.bits)
        if dtype is None or tensor.lanes != 1:
            raise BufferError(f"no element type for code {tensor.code}, bits {tensor.bits}, lanes {tensor.lanes}")
        return dtype

    def dl_address(self, tensor: Tensor) -> int:
        """Address of element 0 (DLP-17)."""
        return tensor.element0

    def dl_strides(self, tensor: Tensor) -> tuple[int, ...]:
        """Strides in elements; NULL means row-major (DLP-20, DLP-21)."""
        return tensor.strides_or_packed

    def dl_readonly(self, tensor: Tensor) -> bool:
        """Whether writing is forbidden; a legacy capsule cannot say (DLP-09)."""
        return bool((tensor.flags or 0) & DLFlags.READ_ONLY)

    def call_deleter(self, tensor: Tensor) -> None:
        """Call the deleter with the pointer that the capsule held (DLP-26)."""
        if tensor.deleter:
            DELETER(tensor.deleter)(tensor.address)

    def call_foreign_deleter(self, address: int) -> None:
        """The deleter of a struct whose layout behind ``flags`` is unknown (DLP-04)."""
        deleter = DLManagedTensorVersioned.from_address(address).deleter
        if deleter:
            DELETER(deleter)(address)


def _unknown_keyword(error: TypeError) -> bool:
    """Whether the call itself was refused for its keywords; a ``TypeError`` from inside stays the producer's."""
    return any(dlpack.tells_unknown_keyword(part) for part in error.args if isinstance(part, str))
