"""Reference exporter: an array that offers both protocols, follows every rule, and records each call.

Each small decision is a method, so that a deliberate fault is a subclass that overrides one method.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from conformance.protocols import cai
from conformance.protocols.dlpack import DLDeviceType, DLFlags
from conformance.protocols.dtypes import DLCode, DType
from conformance.protocols.strided import Strided, c_strides, packed, same_strides

from .managed import Fields, Managed
from .memory import Block, HostMemory, Memory, gather_by_bytes
from .streams import LEGACY, WorkStream

_HOST = (int(DLDeviceType.CPU), 0)
NEWEST = (1, 3)
"""The DLPack version that the reference library implements."""


@dataclass(frozen=True)
class Call:
    """One call of ``__dlpack__`` with its arguments."""

    positional: tuple[Any, ...]
    keywords: dict[str, Any]


@dataclass
class Log:
    """The calls that consumers have made on an exporter."""

    dlpack: list[Call] = field(default_factory=list)
    dlpack_device: int = 0
    cai: int = 0
    exports: list[Managed] = field(default_factory=list)
    lent: list[Managed] = field(default_factory=list)
    """Structs that a borrowed ``DLTensor`` points into (DLX-06)."""

    @property
    def deleter_calls(self) -> int:
        """The number of deleter calls over all exports."""
        return sum(m.deleter_calls for m in self.exports)


_STRIDES_REQUIRED = (1, 2)
"""The first version that requires strides in every struct (DLP-20)."""


class Exporter:
    """An array in ``block`` with an element type and a view (in elements, relative to the start of the block).

    ``override`` replaces fields of every exported struct, and ``cai_override`` replaces keys of the dictionary. The suite uses both for
    capsules and dictionaries that no library exports. ``newest`` is the highest DLPack version that is offered, or ``None`` for legacy
    capsules only. ``byte_strides`` replaces the view's strides by strides in bytes, which need not be multiples of the element size.
    ``pending`` marks an array in a lazy state: memory does not hold the elements yet, so the array is not exported. ``writer`` is the
    stream with queued work on the elements, or ``None`` if no work can be pending.
    """

    table_class: ClassVar[Any] = None
    """The class of the C exchange API's table, or ``None`` for :class:`conformance.reference.table.Table`."""
    stream_class: ClassVar[type[WorkStream]] = WorkStream
    """The class of the streams that work with this exporter."""
    library_version: ClassVar[str] = "1.0.0"
    """The version that the library of this type reports. A consumer may choose by it how to read the type."""

    def __init__(
        self,
        memory: Memory,
        block: Block,
        dtype: DType,
        view: Strided,
        *,
        readonly: bool = False,
        override: dict[str, Any] | None = None,
        cai_override: dict[str, Any] | None = None,
    ) -> None:
        self.memory = memory
        self.block = block
        self.dtype = dtype
        self.view = view
        self.readonly = readonly
        self.override = override or {}
        self.cai_override = cai_override or {}
        self.newest: tuple[int, int] | None = NEWEST
        self.pending = False
        self.writer: WorkStream | None = None
        self.byte_strides: tuple[int, ...] | None = None
        self.omits_strides = False
        """``True`` for NULL strides in capsules below DLPack 1.2 of C-contiguous arrays (DLP-21)."""
        self.byte_offset = 0
        """Bytes between the data pointer of a capsule and element 0 (DLP-17)."""
        self.log = Log()
        self._left: list[Block] = []
        """Former memory of the array that a dictionary has published. Readers of the dictionary hold only the array (CAI-27)."""

    # New memory

    def renew(self) -> None:
        """Move the array to new memory of the same size. Exports keep the old memory (DLP-49)."""
        self.move(self.view)

    def grow(self, times: int) -> None:
        """Move a packed vector to new memory with ``times`` as many elements."""
        self.move(packed((times * self.view.size,)))

    def move(self, view: Strided) -> None:
        """Move the array to new memory for this view."""
        old, self.block = self.block, self.memory.allocate(view.size * self.dtype.itemsize)
        self.view = view
        self.leave(old)

    def leave(self, block: Block) -> None:
        """Drop old memory, or keep it alive if a dictionary has published it."""
        if self.log.cai:
            self._left.append(block)

    def block_of_views(self) -> Block:
        """Return the memory that a view of the array uses: the same block."""
        return self.block

    # The place of the elements

    def element0(self) -> int:
        """Return the address of the first element, or the place where it would be."""
        return self.block.address + self.view.offset * self.dtype.itemsize

    def strides_bytes(self) -> tuple[int, ...]:
        """Return the strides in bytes."""
        if self.byte_strides is not None:
            return self.byte_strides
        return tuple(s * self.dtype.itemsize for s in self.view.strides)

    @property
    def contiguous(self) -> bool:
        """``True`` if the array is C-contiguous by its final strides (CAI-13)."""
        size = self.dtype.itemsize
        return same_strides(self.view.shape, self.strides_bytes(), tuple(s * size for s in c_strides(self.view.shape)))

    def fill(self, value: int, stream: WorkStream) -> None:
        """Queue a fill of a packed array's 32-bit elements with ``value``, and record the stream (CAI-28)."""
        self.memory.streams().fill(self.element0(), self.view.size, value, stream.handle)
        self.writer = stream

    def copy(self, into: int, stream: WorkStream) -> None:
        """Queue a copy of a packed array's elements to an address, and record the stream (CAI-28).

        Make the stream wait for pending work on another stream first, so that this stream covers all work (CAI-22).
        """
        streams = self.memory.streams()
        if self.writer is not None and self.writer.handle != stream.handle:
            streams.wait(stream.handle, self.writer.handle)
        streams.copy(into, self.element0(), self.view.size * self.dtype.itemsize, stream.handle)
        self.writer = stream

    def comes_after(self, handle: int) -> None:
        """Record the stream with pending work on an import that is exported again."""
        self.writer = self.stream_class(self.memory.streams(), handle)

    # -- CUDA Array Interface

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        self.log.cai += 1
        self.check_cai()
        self.check_pending()
        described = cai.build(
            self.view.shape,
            self.cai_typestr(),
            self.cai_address(),
            strides=self.cai_strides(),
            readonly=self.cai_readonly(),
            stream=self.cai_stream(),
        )
        return {k: v for k, v in {**described, **self.cai_override}.items() if v is not REMOVED}

    def check_cai(self) -> None:
        """Raise ``AttributeError`` for host memory, so that ``hasattr`` is false (CAI-01)."""
        if self.device()[0] == DLDeviceType.CPU:
            raise AttributeError("an array in host memory has no __cuda_array_interface__ (CAI-01)")

    def cai_typestr(self) -> str:
        """Return the ``typestr``: raw bytes (``V``) for a type without a letter (G4)."""
        return self.dtype.typestr or f"|V{self.dtype.itemsize}"

    def cai_address(self) -> int:
        """Return the pointer, which is 0 exactly if there is no element (CAI-06)."""
        return self.element0() if self.view.size else 0

    def cai_strides(self) -> tuple[int, ...] | None:
        """Return ``None`` for a C-contiguous array, and strides in bytes for others (CAI-10 to CAI-12)."""
        return None if self.view.contiguous and self.byte_strides is None else self.strides_bytes()

    def cai_readonly(self) -> bool:
        """Return the read-only flag (CAI-08)."""
        return self.readonly

    def cai_stream(self) -> int | None:
        """Return the stream that wrote the elements (CAI-22), or ``None`` if nothing is pending (CAI-23)."""
        return None if self.writer is None else self.writer.handle

    # -- DLPack

    def __dlpack_device__(self) -> tuple[int, int]:
        self.log.dlpack_device += 1
        return self.device()

    def __dlpack__(self, *args: Any, **kwargs: Any) -> Any:
        self.log.dlpack.append(Call(args, dict(kwargs)))
        return self.dlpack(*args, **kwargs)

    def dlpack(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """Return a capsule (DLP-30), or raise ``BufferError`` for an unsupported request."""
        self.check_pending()
        self.check_dtype()
        self.check_stream(stream)
        self.check_device(dl_device)
        source = self.placed(stream, dl_device, copy)
        self.order(stream)
        version = self.negotiate(max_version)
        copied = source is not self
        self.check_readonly(version, copied=copied)
        fields = source.fields(version, copied=copied)
        return self.export(replace(fields, **self.override), source)

    def to_capsule(self) -> Any:
        """Return a bare legacy capsule, as older functions named ``to_dlpack`` do."""
        return self.__dlpack__()

    def export(self, fields: Fields, owner: Any) -> Any:
        """Return a capsule around a new struct with these fields. It keeps ``owner`` and the owner's present memory alive."""
        managed = Managed(fields, (owner, self.held(owner)))
        self.log.exports.append(managed)
        return managed.capsule()

    def held(self, owner: Any) -> Any:
        """Return the memory that an export keeps alive beside its owner, since the owner may move to new memory (DLP-49)."""
        return owner.block if isinstance(owner, Exporter) else None

    def device(self) -> tuple[int, int]:
        """Return the DLPack (type, id) of the memory."""
        return (int(self.memory.device[0]), int(self.memory.device[1]))

    def table_fields(self) -> Fields:
        """Return the fields that the table's functions report, which are those of a versioned capsule (DLX-06)."""
        self.check_pending()
        return replace(self.fields(NEWEST, copied=False), **self.override)

    def check_pending(self) -> None:
        """Refuse an array if its elements are not in memory (DLP-23)."""
        if self.pending:
            raise BufferError("memory does not hold the elements (DLP-23)")

    def check_dtype(self) -> None:
        """Refuse elements without a numeric type in DLPack, such as dates (DLP-23)."""
        if self.dtype.code is DLCode.OPAQUE:
            raise BufferError(f"DLPack cannot express {self.dtype.name} (DLP-23)")

    def check_readonly(self, version: tuple[int, int] | None, *, copied: bool) -> None:
        """Refuse a legacy capsule of a read-only array, since it has no flags (DLP-08)."""
        if self.readonly and version is None and not copied:
            raise BufferError("a legacy capsule cannot say that an array is read-only (DLP-08)")

    def check_stream(self, stream: int | None) -> None:
        """Refuse invalid streams: any stream on the CPU; 0, numbers below -1 and non-integers on CUDA."""
        if self.device()[0] == DLDeviceType.CPU:
            if stream is not None:
                raise BufferError("a CPU array takes no stream (DLP-36)")
        elif stream is not None and not isinstance(stream, int):
            raise TypeError(f"a stream is an int, not a {type(stream).__name__} (DLP-31)")
        elif stream is not None and (stream == 0 or stream < -1):
            raise BufferError(f"stream {stream} is not allowed (DLP-31)")

    def order(self, stream: int | None) -> None:
        """Make the consumer's stream wait for the elements. -1 means no wait (DLP-32), and ``None`` the legacy stream (DLP-31)."""
        if self.writer is None or stream == -1:
            return
        waiter = LEGACY if stream is None else stream
        if waiter != self.writer.handle:
            self.memory.streams().wait(waiter, self.writer.handle)

    def check_device(self, dl_device: tuple[int, int] | None) -> None:
        """Refuse a device other than the array's own (DLP-38)."""
        if dl_device is not None and not self.goes_to_host(dl_device) and _plain(dl_device) != self.device():
            raise BufferError(f"cannot export to device {dl_device} (DLP-38)")

    def negotiate(self, max_version: tuple[int, int] | None) -> tuple[int, int] | None:
        """Return the version of the struct, or ``None`` for a legacy one (DLP-02)."""
        if max_version is None or max_version[0] < 1:
            return None
        return self.newest

    def fields(self, version: tuple[int, int] | None, *, copied: bool) -> Fields:
        """Return the struct's fields before any override."""
        return Fields(
            data=self.dl_data() - self.split(),
            byte_offset=self.split(),
            device=self.device(),
            code=int(self.dtype.code),
            bits=self.dtype.bits,
            shape=self.view.shape,
            strides=self.dl_strides(version),
            version=version,
            flags=self.flags(copied=copied),
        )

    def split(self) -> int:
        """Return the byte offset: 0 for an array without elements, which has no address (DLP-19)."""
        return self.byte_offset if self.view.size else 0

    def dl_data(self) -> int:
        """Return the data pointer, with all offsets added: NULL for an array without elements (DLP-19)."""
        return self.element0() if self.view.size else 0

    def dl_strides(self, version: tuple[int, int] | None) -> tuple[int, ...] | None:
        """Return strides in elements, or NULL if requested and legal (DLP-20, DLP-21).

        Raises ``BufferError`` for strides that are not multiples of the element size (DLP-23).
        """
        if self.omits_strides and self.contiguous and (version is None or version < _STRIDES_REQUIRED):
            return None
        if self.byte_strides is None:
            return self.view.strides
        return tuple(self.whole_elements(n, s) for n, s in zip(self.view.shape, self.byte_strides))

    def whole_elements(self, extent: int, stride: int) -> int:
        """Return a stride in elements. A stride that is never used may be rounded (I05), and an empty array uses none."""
        if stride % self.dtype.itemsize and extent > 1 and self.view.size:
            raise BufferError(f"a stride of {stride} bytes is not a multiple of the element size (DLP-23)")
        return stride // self.dtype.itemsize

    def flags(self, *, copied: bool) -> int:
        """Return the read-only and copied flags (DLP-08, DLP-10)."""
        flags = DLFlags.READ_ONLY if self.readonly and not copied else DLFlags.NONE
        return int(flags | (DLFlags.IS_COPIED if copied else DLFlags.NONE))

    def goes_to_host(self, dl_device: tuple[int, int] | None) -> bool:
        """Return ``True`` for a request to copy device memory to the host, which every producer should support (DLP-38)."""
        return dl_device is not None and _plain(dl_device) == _HOST != self.device()

    def placed(self, stream: int | None, dl_device: tuple[int, int] | None, copy: bool | None) -> Exporter:
        """Return the exporter for a request: this array, a copy (DLP-39), or a finished copy on the host (DLP-37)."""
        if self.goes_to_host(dl_device):
            if stream is not None:
                raise BufferError(f"the host has no streams: stream {stream} is not allowed (DLP-37)")
            if copy is False:
                raise BufferError("an array gets to the host only by a copy (DLP-39)")
            self.finish()
            return self.copied_to(HostMemory())
        if not copy:
            return self
        return self.copied() if self.writer is None else self.copied_on(self.copying_stream(stream))

    def finish(self) -> None:
        """Wait for pending work on the array."""
        if self.writer is not None:
            self.memory.streams().synchronize(self.writer.handle)

    def copied(self) -> Exporter:
        """Return a packed copy (DLP-39) of an array without pending work."""
        return self.copied_to(self.memory)

    def copied_to(self, memory: Memory) -> Exporter:
        """Return a packed copy in this memory. The copy is done on return."""
        view = Strided(self.view.shape, self.strides_bytes())
        data = gather_by_bytes(self.memory, self.element0(), view, self.dtype.itemsize)
        return self._as_copy(memory, memory.filled(data))

    def copying_stream(self, stream: int | None) -> int:
        """Return the stream of a copy: the requested one (DLP-40), or the writer's for -1."""
        if stream == -1 and self.writer is not None:
            return self.writer.handle
        return LEGACY if stream is None else stream

    def copied_on(self, stream: int) -> Exporter:
        """Return a packed copy, queued on a stream after pending work. The copy of an array with gaps is done on return."""
        if not self.contiguous:
            self.finish()
            return self.copied()
        self.order(stream)
        nbytes = self.view.size * self.dtype.itemsize
        block = self.memory.allocate(nbytes)
        self.memory.streams().copy(block.address, self.element0(), nbytes, stream)
        return self._as_copy(self.memory, block)

    def _as_copy(self, memory: Memory, block: Block) -> Exporter:
        """Return a packed array in this block that is exported with the same options as this array."""
        made = type(self)(memory, block, self.dtype, packed(self.view.shape))
        made.omits_strides, made.byte_offset = self.omits_strides, self.byte_offset
        return made


def _plain(device: tuple[int, int]) -> tuple[int, ...]:
    return tuple(int(part) for part in device)


class Removed:
    """Marks a key that an override removes from the dictionary."""


REMOVED = Removed()
