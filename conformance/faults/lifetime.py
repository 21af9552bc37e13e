"""Faults of lifetime: memory that is released too early, too late, twice, never, or only in some threads or processes."""

from __future__ import annotations

import ctypes
import math
import os
import threading
from typing import Any, ClassVar
from weakref import WeakSet

from conformance.protocols.dlpack import DELETER, DLManagedTensor, DLManagedTensorVersioned, Tensor
from conformance.protocols.strided import Step
from conformance.reference.exporter import Exporter
from conformance.reference.importer import Imported, Importer
from conformance.reference.managed import Deleter, Fields, Managed
from conformance.reference.memory import POISON, BorrowedBlock, Memory

from . import fault


@fault(
    "lifetime.deleter-once", "lifetime.derived-view", "lifetime.owner-released", "lifetime.flat-counts",
    bugs="lifetime-03 lifetime-04 lifetime-27",
)  # fmt: skip
class NeverReleased(Importer):
    """Never calls the deleter and never drops the reference to the owner."""

    kept: ClassVar[list[Any]] = []

    def call_deleter(self, tensor: Tensor) -> None:
        """Skip the deleter."""

    def take_cai(self, source: Any) -> Imported:
        self.kept.append(source)
        return super().take_cai(source)


@fault("lifetime.deleter-once", "lifetime.owner-released", "lifetime.chain")
class DeleterHangsOnThePointer(Importer):
    """Never releases an array without elements, because its data pointer is NULL."""

    def call_deleter(self, tensor: Tensor) -> None:
        if tensor.data:
            super().call_deleter(tensor)


@fault("lifetime.deleter-once", "lifetime.failed-import")
class EmptyReleasedOnceMore(Importer):
    """Calls the deleter of an array without elements twice: once at the import, and once at its end or refusal."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        if 0 in tensor.shape:
            self.call_deleter(tensor)
        return super().read_tensor(tensor)


@fault("lifetime.deleter-once", bugs="capsule-10")
class ReleasedTwice(Importer):
    """Calls the deleter twice."""

    def call_deleter(self, tensor: Tensor) -> None:
        super().call_deleter(tensor)
        super().call_deleter(tensor)


@fault("lifetime.deleter-once", bugs="capsule-04")
class DeleterGetsACopy(Importer):
    """Passes the deleter a copy of the struct at another address."""

    def call_deleter(self, tensor: Tensor) -> None:
        size = ctypes.sizeof(DLManagedTensorVersioned)
        copy = ctypes.create_string_buffer(ctypes.string_at(tensor.address, size), size)
        DELETER(tensor.deleter)(ctypes.addressof(copy))


@fault("lifetime.deleter-once", "lifetime.temporary", "lifetime.chain", bugs="lifetime-26 lifetime-05")
class ReleasedAtOnce(Importer):
    """Releases the memory as soon as the import is made, and holds no reference to an owner behind the array interface."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        taken = super().read_tensor(tensor)
        taken.release()
        return taken

    def take_cai(self, source: Any) -> Imported:
        taken = super().take_cai(source)
        taken.holder = None
        return taken


@fault("lifetime.derived-view", bugs="lifetime-10")
class PartDoesNotHoldTheWhole(Importer):
    """Holds no reference from a view of an import to the import."""

    def part(self, array: Imported, step: Step) -> Imported:
        made = super().part(array, step)
        made.holder = None
        return made


@fault("lifetime.other-thread")
class ReleasedAtHomeOnly(Importer):
    """Releases an import only in the thread that made it."""

    def __init__(self, memory: Memory, *args: Any) -> None:
        super().__init__(memory, *args)
        self._home = threading.get_ident()

    def call_deleter(self, tensor: Tensor) -> None:
        if threading.get_ident() == self._home:
            super().call_deleter(tensor)


@fault("lifetime.null-deleter")
class DeleterExpected(Importer):
    """Refuses a struct with a NULL deleter."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        if not tensor.deleter:
            raise BufferError("the struct has no deleter")
        return super().read_tensor(tensor)


def _context(tensor: Tensor) -> int:
    """Return the ``manager_ctx`` of a struct that was taken over, or 0 for NULL."""
    kind = DLManagedTensor if tensor.version is None else DLManagedTensorVersioned
    return kind.from_address(tensor.address).manager_ctx or 0


@fault("lifetime.null-context")
class ContextMeansOwner(Importer):
    """Never calls the deleter of a struct with a NULL ``manager_ctx``."""

    def call_deleter(self, tensor: Tensor) -> None:
        if _context(tensor):
            super().call_deleter(tensor)


@fault("lifetime.null-context")
class ContextExpected(Importer):
    """Refuses a struct with a NULL ``manager_ctx``."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        if not _context(tensor):
            raise BufferError("the struct has no context")
        return super().read_tensor(tensor)


@fault("lifetime.deleter-once", "lifetime.derived-view", "lifetime.other-thread", "lifetime.null-context")
class ReleasedOnAnotherThread(Importer):
    """Releases the memory on a thread of its own right after the import."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        taken = super().read_tensor(tensor)
        threading.Thread(target=self.give_back, args=(tensor,)).start()
        taken.tensor = None
        return taken

    def give_back(self, tensor: Tensor) -> None:
        super().call_deleter(tensor)


@fault("lifetime.failed-import", bugs="capsule-10")
class FailureReleasesTwice(Importer):
    """Calls the deleter twice when an import fails."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        try:
            return super().read_tensor(tensor)
        except Exception:
            self.call_deleter(tensor)
            raise


@fault("lifetime.failed-import", bugs="capsule-26 strides-21")
class FailureReleasesNothing(Importer):
    """Never calls the deleter of a struct that it has taken over when the import fails."""

    _failed = False

    def read_tensor(self, tensor: Tensor) -> Imported:
        self._failed = True
        taken = super().read_tensor(tensor)
        self._failed = False
        return taken

    def call_deleter(self, tensor: Tensor) -> None:
        if not self._failed:
            super().call_deleter(tensor)


@fault("lifetime.failed-export", bugs="capsule-27")
class FailedExportsKept(Exporter):
    """Keeps a reference to the array after each failed export."""

    kept: ClassVar[list[Any]] = []

    def __dlpack__(self, *args: Any, **kwargs: Any) -> Any:
        self.kept.append(self)
        exported = super().__dlpack__(*args, **kwargs)
        self.kept.remove(self)
        return exported


def _delete_on_python_threads(address: int | None) -> None:
    managed = DeleterNeedsPython.structs[address or 0]
    if not isinstance(threading.current_thread(), threading._DummyThread):
        managed.run_deleter()


_PYTHON_THREADS_ONLY = DELETER(_delete_on_python_threads)


@fault("lifetime.native-thread", bugs="capsule-11 capsule-12 capsule-13 capsule-22")
class DeleterNeedsPython(Exporter):
    """Runs the deleter's work only on threads that Python has started."""

    structs: ClassVar[dict[int, Managed]] = {}

    def export(self, fields: Fields, owner: Any) -> Any:
        made = super().export(fields, owner)
        # Exporters with a native deleter only lend memory to the check; they stay flawless.
        if fields.deleter is not Deleter.NATIVE:
            managed = self.log.exports[-1]
            self.structs[managed.address] = managed
            managed.struct.deleter = ctypes.cast(_PYTHON_THREADS_ONLY, ctypes.c_void_p).value
        return made


@fault("lifetime.flat-counts", bugs="lifetime-20 lifetime-17")
class ExportsRemembered(Exporter):
    """Leaves an entry in a cache at each export."""

    cache: ClassVar[list[Any]] = []

    def device(self) -> tuple[int, int]:
        self.cache.append(object())
        return super().device()


@fault("lifetime.other-thread", bugs="lifetime-17")
class ReleasedWithTheNextImport(Importer):
    """Defers the release of an import that dies in another thread until the next import."""

    waiting: ClassVar[list[Tensor]] = []

    def __init__(self, memory: Memory, *args: Any) -> None:
        super().__init__(memory, *args)
        self._home = threading.get_ident()

    def take_capsule(self, offered: Any) -> Imported:
        while self.waiting:
            super().call_deleter(self.waiting.pop())
        return super().take_capsule(offered)

    def call_deleter(self, tensor: Tensor) -> None:
        if threading.get_ident() == self._home:
            super().call_deleter(tensor)
        else:
            self.waiting.append(tensor)


@fault("lifetime.null-deleter")
class FreesWithoutDeleter(Importer):
    """Overwrites memory that came without a deleter when the import dies, as if it were its own."""

    def call_deleter(self, tensor: Tensor) -> None:
        super().call_deleter(tensor)
        if not tensor.deleter:
            nbytes = math.prod(tensor.shape) * tensor.bits // 8
            self.memory.write(tensor.element0, bytes([POISON]) * nbytes)


@fault("lifetime.failed-export")
class FailedExportFreesTheArray(Exporter):
    """Drops a reference that it never took when an export fails."""

    def __dlpack__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().__dlpack__(*args, **kwargs)
        except Exception:
            if isinstance(self.block, BorrowedBlock):
                self.block.owner.release()
            raise


def _delete_later(address: int | None) -> None:
    DeletionsPutOff.waiting.append(address or 0)


_NOTE_ONLY = DELETER(_delete_later)


@fault("lifetime.native-thread", bugs="capture-04")
class DeletionsPutOff(Exporter):
    """Defers the deleter's work until the next export."""

    structs: ClassVar[dict[int, Managed]] = {}
    waiting: ClassVar[list[int]] = []

    def export(self, fields: Fields, owner: Any) -> Any:
        while self.waiting:
            self.structs.pop(self.waiting.pop()).run_deleter()
        made = super().export(fields, owner)
        # Exporters with a native deleter only lend memory to the check; they stay flawless.
        if fields.deleter is not Deleter.NATIVE:
            managed = self.log.exports[-1]
            self.structs[managed.address] = managed
            managed.struct.deleter = ctypes.cast(_NOTE_ONLY, ctypes.c_void_p).value
        return made


@fault(
    "lifetime.native-thread", "lifetime.owner-released", "lifetime.flat-counts", bugs="lifetime-04 lifetime-21"
)  # fmt: skip
class VersionedOwnersKept(Exporter):
    """Never drops the reference to the owner of a versioned capsule."""

    kept: ClassVar[list[Any]] = []

    def export(self, fields: Fields, owner: Any) -> Any:
        if fields.version is not None:
            self.kept.append(owner)
        return super().export(fields, owner)


@fault("lifetime.temporary", bugs="lifetime-15 strides-27")
class OwnerNotHeld(Exporter):
    """Holds no reference from a capsule to its array."""

    def export(self, fields: Fields, owner: Any) -> Any:
        return super().export(fields, None)


@fault("lifetime.chain", "native.keeps-memory", bugs="lifetime-13")
class ImportNotHeldByItsExport(Exporter):
    """Holds no reference from a capsule to an array that was imported."""

    def export(self, fields: Fields, owner: Any) -> Any:
        return super().export(fields, None if isinstance(self.block, BorrowedBlock) else owner)


@fault("lifetime.flat-counts", bugs="lifetime-27")
class DictionariesKept(Exporter):
    """Keeps every published dictionary with a reference to its array."""

    published: ClassVar[list[Any]] = []

    def cai_strides(self) -> tuple[int, ...] | None:
        self.published.append({"owner": self})
        return super().cai_strides()


# Faults that show only in a process that has forked


@fault("lifetime.owner-released")
class SlicesKept(Exporter):
    """Keeps every exported slice with an offset for good."""

    kept: ClassVar[list[Any]] = []

    def export(self, fields: Fields, owner: Any) -> Any:
        if self.view.offset and self.view.size:
            self.kept.append(owner)
        return super().export(fields, owner)


@fault("lifetime.across-fork")
class ReleasesOnlyWhereItTook(Importer):
    """Releases an import only in the process that made it."""

    _home: ClassVar[dict[int, int]] = {}

    def dl_address(self, tensor: Tensor) -> int:
        self._home[tensor.address] = os.getpid()
        return super().dl_address(tensor)

    def call_deleter(self, tensor: Tensor) -> None:
        if self._home.get(tensor.address, os.getpid()) == os.getpid():
            super().call_deleter(tensor)


@fault("lifetime.across-fork")
class NewMemoryInAFork(Importer):
    """Allocates new memory in place of the producer's memory in a forked process."""

    _process: ClassVar[int] = 0
    _blocks: ClassVar[list[Any]] = []

    def dl_address(self, tensor: Tensor) -> int:
        NewMemoryInAFork._process = self._process or os.getpid()
        if self._process == os.getpid():
            return super().dl_address(tensor)
        block = self.memory.allocate(1 << 16)
        self._blocks.append(block)
        self.memory.write(block.address, bytes(1 << 16))
        return block.address


_wiped: WeakSet[Exporter] = WeakSet()


def _wipe() -> None:
    for exporter in _wiped:
        exporter.memory.write(exporter.element0(), bytes(exporter.dtype.itemsize))


os.register_at_fork(after_in_child=_wipe)


@fault("lifetime.across-fork")
class WipedInAFork(Exporter):
    """Overwrites the first element of exported memory in a forked child, as ``MADV_WIPEONFORK`` does."""

    def export(self, fields: Fields, owner: Any) -> Any:
        _wiped.add(self)
        return super().export(fields, owner)


@fault("lifetime.across-fork")
class NothingReleasedAfterAFork(Importer):
    """Never releases an import that was made before the process forked."""

    _forks: ClassVar[dict[int, int]] = {}

    def dl_address(self, tensor: Tensor) -> int:
        self._forks[tensor.address] = len(_forked)
        return super().dl_address(tensor)

    def call_deleter(self, tensor: Tensor) -> None:
        if self._forks.get(tensor.address, len(_forked)) == len(_forked):
            super().call_deleter(tensor)


_forked: list[None] = []
os.register_at_fork(after_in_parent=lambda: _forked.append(None))


# Faults that show only after many exchanges


_malloc = ctypes.CDLL(None).malloc


@fault("lifetime.nothing-left")
class HeapLostByExports(Exporter):
    """Leaks 256 bytes of the C heap at each export."""

    def export(self, fields: Fields, owner: Any) -> Any:
        _malloc(256)
        return super().export(fields, owner)

    def cai_strides(self) -> tuple[int, ...] | None:
        _malloc(256)
        return super().cai_strides()


@fault("lifetime.nothing-left")
class HeapLostByPendingArrays(Exporter):
    """Leaks 256 bytes of the C heap at each refused export of an array in a lazy state."""

    def check_pending(self) -> None:
        if self.pending:
            _malloc(256)
        super().check_pending()


@fault("lifetime.nothing-left")
class PendingArraysKept(Exporter):
    """Keeps an array in a lazy state for good once an export was requested."""

    kept: ClassVar[list[Any]] = []

    def check_pending(self) -> None:
        if self.pending:
            self.kept.append(self)
        super().check_pending()


@fault("lifetime.nothing-left")
class HeapLostByRefusals(Importer):
    """Leaks 4 KiB of the C heap at each refused import."""

    def take_dlpack(self, source: Any, **requested: Any) -> Imported:
        try:
            return super().take_dlpack(source, **requested)
        except Exception:
            _malloc(4096)
            raise


@fault("lifetime.nothing-left")
class CopiesKept(Exporter):
    """Never releases the memory of a copy that ``copy=True`` makes."""

    kept: ClassVar[list[Any]] = []

    def copied(self) -> Exporter:
        made = super().copied()
        self.kept.append(made.block)
        return made


_AFTER = 5_000
"""The number of releases that work before the fault begins."""


@fault("lifetime.import-after-thousands")
class ImportsKeptAfterThousands(Importer):
    """Calls no deleter after 5,000 imports."""

    released: ClassVar[int] = 0

    def call_deleter(self, tensor: Tensor) -> None:
        cls = type(self)
        cls.released += 1
        if cls.released <= _AFTER:
            super().call_deleter(tensor)


@fault("lifetime.export-after-thousands")
class ExportsKeptAfterThousands(Exporter):
    """Keeps the array of every export after the first 5,000."""

    exported: ClassVar[int] = 0
    kept: ClassVar[list[Any]] = []

    def export(self, fields: Fields, owner: Any) -> Any:
        if isinstance(self.block, BorrowedBlock):
            cls = type(self)
            cls.exported += 1
            if cls.exported > _AFTER:
                self.kept.append(owner)
        return super().export(fields, owner)


_ROUND = 4_096
"""The size of a table in which index 0 means "none"."""


@fault("lifetime.import-after-thousands")
class EveryFourThousandthImportKept(Importer):
    """Never releases one import in 4,096, because its index 0 means "none"."""

    released: ClassVar[int] = 0

    def call_deleter(self, tensor: Tensor) -> None:
        cls = type(self)
        cls.released += 1
        if cls.released % _ROUND:
            super().call_deleter(tensor)


@fault("lifetime.export-after-thousands")
class EveryFourThousandthExportKept(Exporter):
    """Keeps the array of one export in 4,096, because its index 0 means "none"."""

    exported: ClassVar[int] = 0
    kept: ClassVar[list[Any]] = []

    def export(self, fields: Fields, owner: Any) -> Any:
        if isinstance(self.block, BorrowedBlock):
            cls = type(self)
            cls.exported += 1
            if not cls.exported % _ROUND:
                self.kept.append(owner)
        return super().export(fields, owner)
