"""The reference exporter: an array of ours that offers both protocols, well-behaved and fully watched.

Every small decision is a method of its own, so that a deliberate fault is a subclass that changes one.
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
"""The DLPack version that the reference implements."""


@dataclass(frozen=True)
class Call:
    """One call of ``__dlpack__`` as it arrived."""

    positional: tuple[Any, ...]
    keywords: dict[str, Any]


@dataclass
class Log:
    """What a consumer did with an exporter."""

    dlpack: list[Call] = field(default_factory=list)
    dlpack_device: int = 0
    cai: int = 0
    exports: list[Managed] = field(default_factory=list)
    lent: list[Managed] = field(default_factory=list)
    """Structs that a borrowed ``DLTensor`` points into (DLX-06)."""

    @property
    def deleter_calls(self) -> int:
        """Calls of the deleter over all exports."""
        return sum(m.deleter_calls for m in self.exports)


_STRIDES_REQUIRED = (1, 2)
"""The first version whose structs always have strides (DLP-20)."""


class Exporter:
    """An array in ``block``: element type, view (in elements, relative to the block's start), read-only or not.

    ``override`` replaces fields of every exported struct, ``cai_override`` keys of the dictionary; this is how
    the suite makes capsules and dictionaries that no library would export by itself. ``newest`` is the highest version
    of DLPack that is offered, ``None`` for legacy capsules only. ``byte_strides`` replaces the view's strides
    by others in bytes, which need not be multiples of the element's size. ``pending`` says that memory does not hold the
    elements yet but what they are still to be computed from, as lazy libraries know it: such an array is not exported.
    ``writer`` is the stream whose queued work may still write or read the elements, ``None`` if nothing can be pending.
    """

    table_class: ClassVar[Any] = None
    """Makes the table of DLPack's C exchange API; ``None`` for :class:`conformance.reference.table.Table`."""
    stream_class: ClassVar[type[WorkStream]] = WorkStream
    """What the streams of who works with this exporter are."""
    library_version: ClassVar[str] = "1.0.0"
    """The version that the library of this type tells: by it a consumer may choose how it reads the type."""

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
        """Whether capsules before DLPack 1.2 have NULL strides where the array is C-contiguous (DLP-21)."""
        self.byte_offset = 0
        """Bytes between the data pointer of a capsule and element 0 (DLP-17)."""
        self.log = Log()
        self._left: list[Block] = []
        """Memory that the array had before and that a dictionary has told: its readers hold the array alone (CAI-27)."""

    # -- other memory

    def renew(self) -> None:
        """Give the array other memory of the same size, all zeros where that is cheap; who was given the old one keeps it (DLP-49)."""
        self.move(self.view)

    def grow(self, times: int) -> None:
        """Give a packed vector so many times the elements, in other memory."""
        self.move(packed((times * self.view.size,)))

    def move(self, view: Strided) -> None:
        """Give the array other memory, for this view."""
        old, self.block = self.block, self.memory.allocate(view.size * self.dtype.itemsize)
        self.view = view
        self.leave(old)

    def leave(self, block: Block) -> None:
        """Leave memory that the array has no use for to the objects that were told of it."""
        if self.log.cai:
            self._left.append(block)

    def block_of_views(self) -> Block:
        """The memory that a view of the array has: the same block."""
        return self.block

    # -- where the elements are

    def element0(self) -> int:
        """Address of the first element in bytes; of nothing, if there is none."""
        return self.block.address + self.view.offset * self.dtype.itemsize

    def strides_bytes(self) -> tuple[int, ...]:
        """Strides in bytes."""
        if self.byte_strides is not None:
            return self.byte_strides
        return tuple(s * self.dtype.itemsize for s in self.view.strides)

    @property
    def contiguous(self) -> bool:
        """C-contiguous, by the strides that it has in the end (CAI-13)."""
        size = self.dtype.itemsize
        return same_strides(self.view.shape, self.strides_bytes(), tuple(s * size for s in c_strides(self.view.shape)))

    def fill(self, value: int, stream: WorkStream) -> None:
        """Queue on a stream that every 32-bit element of a packed array becomes ``value``, and remember the stream (CAI-28)."""
        self.memory.streams().fill(self.element0(), self.view.size, value, stream.handle)
        self.writer = stream

    def copy(self, into: int, stream: WorkStream) -> None:
        """Queue on a stream a copy of a packed array's elements to an address, and remember the stream (CAI-28).

        What is pending on another stream comes first, so that this one covers it all (CAI-22).
        """
        streams = self.memory.streams()
        if self.writer is not None and self.writer.handle != stream.handle:
            streams.wait(stream.handle, self.writer.handle)
        streams.copy(into, self.element0(), self.view.size * self.dtype.itemsize, stream.handle)
        self.writer = stream

    def comes_after(self, handle: int) -> None:
        """Remember the stream on which work on the import that is exported again may be pending."""
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
        """Host memory has no array interface: ``AttributeError``, so that nobody finds the attribute (CAI-01)."""
        if self.device()[0] == DLDeviceType.CPU:
            raise AttributeError("an array in host memory has no __cuda_array_interface__ (CAI-01)")

    def cai_typestr(self) -> str:
        """The ``typestr``; raw bytes (``V``) for a type that the grammar has no letter for (G4)."""
        return self.dtype.typestr or f"|V{self.dtype.itemsize}"

    def cai_address(self) -> int:
        """The pointer: 0 exactly if there is no element (CAI-06)."""
        return self.element0() if self.view.size else 0

    def cai_strides(self) -> tuple[int, ...] | None:
        """``None`` for C-contiguous, else strides in bytes (CAI-10 to CAI-12)."""
        return None if self.view.contiguous and self.byte_strides is None else self.strides_bytes()

    def cai_readonly(self) -> bool:
        """The read-only bit (CAI-08)."""
        return self.readonly

    def cai_stream(self) -> int | None:
        """The stream that the elements were written on (CAI-22), ``None`` if nothing is pending (CAI-23)."""
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
        """The protocol's method (DLP-30): a capsule, or ``BufferError`` for what cannot be served."""
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
        """A bare legacy capsule, as older functions called ``to_dlpack`` give it."""
        return self.__dlpack__()

    def export(self, fields: Fields, owner: Any) -> Any:
        """A capsule around a new struct with these fields, which keeps ``owner`` alive, and the memory that it has now."""
        managed = Managed(fields, (owner, self.held(owner)))
        self.log.exports.append(managed)
        return managed.capsule()

    def held(self, owner: Any) -> Any:
        """The memory that an export keeps beside its owner, which may get another (DLP-49)."""
        return owner.block if isinstance(owner, Exporter) else None

    def device(self) -> tuple[int, int]:
        """The DLPack (type, id) of the memory."""
        return (int(self.memory.device[0]), int(self.memory.device[1]))

    def table_fields(self) -> Fields:
        """What the functions of the table tell of this array: the same as a versioned capsule (DLX-06)."""
        self.check_pending()
        return replace(self.fields(NEWEST, copied=False), **self.override)

    def check_pending(self) -> None:
        """Refuse an array whose elements are not in memory (DLP-23)."""
        if self.pending:
            raise BufferError("memory does not hold the elements (DLP-23)")

    def check_dtype(self) -> None:
        """Refuse elements that DLPack has no number type for, such as dates (DLP-23)."""
        if self.dtype.code is DLCode.OPAQUE:
            raise BufferError(f"DLPack cannot express {self.dtype.name} (DLP-23)")

    def check_readonly(self, version: tuple[int, int] | None, *, copied: bool) -> None:
        """Refuse a legacy capsule of a read-only array: it could not say so (DLP-08)."""
        if self.readonly and version is None and not copied:
            raise BufferError("a legacy capsule cannot say that an array is read-only (DLP-08)")

    def check_stream(self, stream: int | None) -> None:
        """Refuse what the protocol forbids: anything but ``None`` on the CPU, 0, below -1 and what is no int on CUDA."""
        if self.device()[0] == DLDeviceType.CPU:
            if stream is not None:
                raise BufferError("a CPU array takes no stream (DLP-36)")
        elif stream is not None and not isinstance(stream, int):
            raise TypeError(f"a stream is an int, not a {type(stream).__name__} (DLP-31)")
        elif stream is not None and (stream == 0 or stream < -1):
            raise BufferError(f"stream {stream} is not allowed (DLP-31)")

    def order(self, stream: int | None) -> None:
        """Have the consumer's stream wait for the elements: not for -1 (DLP-32), the legacy stream for ``None`` (DLP-31)."""
        if self.writer is None or stream == -1:
            return
        waiter = LEGACY if stream is None else stream
        if waiter != self.writer.handle:
            self.memory.streams().wait(waiter, self.writer.handle)

    def check_device(self, dl_device: tuple[int, int] | None) -> None:
        """Refuse another device than the array's own (DLP-38)."""
        if dl_device is not None and not self.goes_to_host(dl_device) and _plain(dl_device) != self.device():
            raise BufferError(f"cannot export to device {dl_device} (DLP-38)")

    def negotiate(self, max_version: tuple[int, int] | None) -> tuple[int, int] | None:
        """The struct's version, ``None`` for legacy (DLP-02)."""
        if max_version is None or max_version[0] < 1:
            return None
        return self.newest

    def fields(self, version: tuple[int, int] | None, *, copied: bool) -> Fields:
        """The struct's content before any override."""
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
        """The byte offset; 0 for no elements, which have no address (DLP-19)."""
        return self.byte_offset if self.view.size else 0

    def dl_data(self) -> int:
        """The data pointer: NULL for no elements (DLP-19); offsets are already in it."""
        return self.element0() if self.view.size else 0

    def dl_strides(self, version: tuple[int, int] | None) -> tuple[int, ...] | None:
        """Strides in elements; NULL only if asked for, where that is legal (DLP-20, DLP-21).

        Raises ``BufferError`` for strides that are not whole elements (DLP-23).
        """
        if self.omits_strides and self.contiguous and (version is None or version < _STRIDES_REQUIRED):
            return None
        if self.byte_strides is None:
            return self.view.strides
        return tuple(self.whole_elements(n, s) for n, s in zip(self.view.shape, self.byte_strides))

    def whole_elements(self, extent: int, stride: int) -> int:
        """A stride in bytes as a number of elements; one that is never taken may be rounded (I05), as all of an empty array are."""
        if stride % self.dtype.itemsize and extent > 1 and self.view.size:
            raise BufferError(f"a stride of {stride} bytes is no number of elements (DLP-23)")
        return stride // self.dtype.itemsize

    def flags(self, *, copied: bool) -> int:
        """The read-only and copied bits (DLP-08, DLP-10)."""
        flags = DLFlags.READ_ONLY if self.readonly and not copied else DLFlags.NONE
        return int(flags | (DLFlags.IS_COPIED if copied else DLFlags.NONE))

    def goes_to_host(self, dl_device: tuple[int, int] | None) -> bool:
        """Whether an array that is not in host memory is asked for there, which every producer should serve (DLP-38)."""
        return dl_device is not None and _plain(dl_device) == _HOST != self.device()

    def placed(self, stream: int | None, dl_device: tuple[int, int] | None, copy: bool | None) -> Exporter:
        """What is exported: this array, a copy of it (DLP-39), or a copy on the host, which is done on return (DLP-37)."""
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
        """Wait for what is pending."""
        if self.writer is not None:
            self.memory.streams().synchronize(self.writer.handle)

    def copied(self) -> Exporter:
        """A packed copy in memory of its own (DLP-39), of an array that nothing is pending on."""
        return self.copied_to(self.memory)

    def copied_to(self, memory: Memory) -> Exporter:
        """A packed copy in this memory, done on return."""
        view = Strided(self.view.shape, self.strides_bytes())
        data = gather_by_bytes(self.memory, self.element0(), view, self.dtype.itemsize)
        return self._as_copy(memory, memory.filled(data))

    def copying_stream(self, stream: int | None) -> int:
        """Where a copy is made: on the stream that was named (DLP-40), on that of the pending work for -1."""
        if stream == -1 and self.writer is not None:
            return self.writer.handle
        return LEGACY if stream is None else stream

    def copied_on(self, stream: int) -> Exporter:
        """A packed copy, queued on a stream behind what is pending; of an array with gaps it is done on return."""
        if not self.contiguous:
            self.finish()
            return self.copied()
        self.order(stream)
        nbytes = self.view.size * self.dtype.itemsize
        block = self.memory.allocate(nbytes)
        self.memory.streams().copy(block.address, self.element0(), nbytes, stream)
        return self._as_copy(self.memory, block)

    def _as_copy(self, memory: Memory, block: Block) -> Exporter:
        """The packed array in this block, which is exported in the form that this array is exported in."""
        made = type(self)(memory, block, self.dtype, packed(self.view.shape))
        made.omits_strides, made.byte_offset = self.omits_strides, self.byte_offset
        return made


def _plain(device: tuple[int, int]) -> tuple[int, ...]:
    return tuple(int(part) for part in device)


class Removed:
    """Marks a key that an override takes out of the dictionary."""


REMOVED = Removed()
