"""Faults of the read-only flag: a read-only array is passed on as writable, or the reverse."""

from __future__ import annotations

from conformance.protocols import cai
from conformance.protocols.dlpack import DLFlags, Tensor
from conformance.reference.exporter import NEWEST, Exporter
from conformance.reference.importer import Imported, Importer
from conformance.reference.memory import BorrowedBlock

from . import fault


@fault("readonly.export", bugs="readonly-03 readonly-05")
class ReadOnlyUnsaid(Exporter):
    """Exports a read-only array without the read-only flag, by both protocols."""

    def flags(self, *, copied: bool) -> int:
        return super().flags(copied=copied) & ~DLFlags.READ_ONLY

    def cai_readonly(self) -> bool:
        return False


@fault("readonly.export")
class BitOfTheFirstExport(Exporter):
    """Caches the read-only flag at the first export."""

    _first: bool | None = None

    def flags(self, *, copied: bool) -> int:
        found = super().flags(copied=copied) & ~DLFlags.READ_ONLY
        return found | (DLFlags.READ_ONLY if self.cai_readonly() else 0)

    def cai_readonly(self) -> bool:
        if self._first is None:
            self._first = super().cai_readonly()
        return self._first


@fault("readonly.legacy-export")
class ReadOnlyInLegacyCapsule(Exporter):
    """Exports a read-only array in a legacy capsule, which has no flags."""

    def check_readonly(self, version: tuple[int, int] | None, *, copied: bool) -> None:
        """Skip the refusal."""


@fault("readonly.legacy-export", bugs="readonly-04")
class ReadOnlyRefusedByTypeError(Exporter):
    """Refuses a read-only array with ``TypeError`` in place of ``BufferError``."""

    def check_readonly(self, version: tuple[int, int] | None, *, copied: bool) -> None:
        try:
            super().check_readonly(version, copied=copied)
        except BufferError as error:
            raise TypeError(str(error)) from None


@fault("readonly.writable-export", bugs="readonly-07")
class AlwaysReadOnly(Exporter):
    """Exports every array as read-only."""

    def flags(self, *, copied: bool) -> int:
        return super().flags(copied=copied) | DLFlags.READ_ONLY

    def cai_readonly(self) -> bool:
        return True


@fault("readonly.accepted", bugs="readonly-02")
class ReadOnlyRefused(Importer):
    """Refuses read-only capsules."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        if (tensor.flags or 0) & DLFlags.READ_ONLY:
            raise BufferError("read-only arrays are not supported")
        return super().read_tensor(tensor)


@fault("readonly.import", "readonly.write", "readonly.re-export", bugs="readonly-02 readonly-03")
class ReadOnlyDropped(Importer):
    """Ignores the read-only flag of both protocols."""

    def dl_readonly(self, tensor: Tensor) -> bool:
        return False

    def cai_readonly(self, interface: cai.ArrayInterface) -> bool:
        return False


@fault("readonly.writable-import", bugs="readonly-06 readonly-07")
class EverythingLocked(Importer):
    """Makes every import read-only."""

    def dl_readonly(self, tensor: Tensor) -> bool:
        return True

    def cai_readonly(self, interface: cai.ArrayInterface) -> bool:
        return True


@fault("readonly.legacy-import", bugs="readonly-07")
class LegacyLocked(Importer):
    """Makes every import from a legacy capsule read-only."""

    def dl_readonly(self, tensor: Tensor) -> bool:
        return tensor.flags is None or super().dl_readonly(tensor)


def _is_part(exporter: Exporter) -> bool:
    """Return ``True`` if the view is smaller than its block."""
    return exporter.view.size * exporter.dtype.itemsize < exporter.block.nbytes


@fault("readonly.export", bugs="readonly-03")
class PartsUnsaid(Exporter):
    """Exports a partial view of a read-only array without the read-only flag."""

    def flags(self, *, copied: bool) -> int:
        flags = super().flags(copied=copied)
        return flags & ~DLFlags.READ_ONLY if _is_part(self) else flags

    def cai_readonly(self) -> bool:
        return super().cai_readonly() and not _is_part(self)


@fault("readonly.writable-export")
class PartsLocked(Exporter):
    """Exports a partial view of a writable array as read-only."""

    def flags(self, *, copied: bool) -> int:
        return super().flags(copied=copied) | (DLFlags.READ_ONLY if _is_part(self) else DLFlags.NONE)

    def cai_readonly(self) -> bool:
        return super().cai_readonly() or _is_part(self)


@fault("readonly.export", "readonly.writable-export")
class BitMeansWritable(Exporter):
    """Publishes ``True`` for writable memory in the array interface."""

    def cai_readonly(self) -> bool:
        return not super().cai_readonly()


@fault("readonly.import", "readonly.writable-import", "readonly.write", "readonly.re-export", bugs="readonly-02")
class BitReadAsWritable(Importer):
    """Inverts the read-only flag of the array interface."""

    def cai_readonly(self, interface: cai.ArrayInterface) -> bool:
        return not super().cai_readonly(interface)


@fault("readonly.import", "readonly.write", "readonly.re-export", bugs="readonly-03")
class AnotherBitRead(Importer):
    """Reads the flag ``IS_COPIED`` as the read-only flag."""

    def dl_readonly(self, tensor: Tensor) -> bool:
        return bool((tensor.flags or 0) & DLFlags.IS_COPIED)


@fault("readonly.accepted")
class FlagsLookedUp(Importer):
    """Raises ``KeyError`` for read-only capsules, because its table of flags lacks them."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        known = {None: "legacy", DLFlags.NONE: "shared", DLFlags.IS_COPIED: "copied"}
        known[tensor.flags if tensor.flags is None else DLFlags(tensor.flags)]
        return super().read_tensor(tensor)


@fault("readonly.legacy-import", bugs="readonly-07")
class OlderStructsLocked(Importer):
    """Makes an import read-only if its struct has an older version."""

    def dl_readonly(self, tensor: Tensor) -> bool:
        return (tensor.version or (0, 0)) < NEWEST or super().dl_readonly(tensor)


@fault("readonly.re-export", bugs="readonly-02")
class ImportsPassedOnWritable(Exporter):
    """Exports an import again as writable although it is read-only."""

    def flags(self, *, copied: bool) -> int:
        flags = super().flags(copied=copied)
        return flags & ~DLFlags.READ_ONLY if isinstance(self.block, BorrowedBlock) else flags

    def cai_readonly(self) -> bool:
        return super().cai_readonly() and not isinstance(self.block, BorrowedBlock)


@fault("readonly.export", "readonly.legacy-export", bugs="readonly-07")
class LegacyCapsulesOnly(Exporter):
    """Exports every array in a legacy capsule, also a read-only one."""

    def negotiate(self, max_version: tuple[int, int] | None) -> tuple[int, int] | None:
        return None

    def check_readonly(self, version: tuple[int, int] | None, *, copied: bool) -> None:
        """Skip the refusal."""
