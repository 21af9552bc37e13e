"""Faults of permission: what must not be written is passed on as if it might be, or the reverse."""

from __future__ import annotations

from conformance.protocols import cai
from conformance.protocols.dlpack import DLFlags, Tensor
from conformance.reference.exporter import NEWEST, Exporter
from conformance.reference.importer import Imported, Importer
from conformance.reference.memory import BorrowedBlock

from . import fault


@fault("readonly.export", bugs="readonly-03 readonly-05")
class ReadOnlyUnsaid(Exporter):
    """A read-only array is exported without the bit, by either protocol."""

    def flags(self, *, copied: bool) -> int:
        """The flags without it."""
        return super().flags(copied=copied) & ~DLFlags.READ_ONLY

    def cai_readonly(self) -> bool:
        """Never."""
        return False


@fault("readonly.export")
class BitOfTheFirstExport(Exporter):
    """The read-only bit is looked at when an array is exported for the first time, and never again."""

    _first: bool | None = None

    def flags(self, *, copied: bool) -> int:
        """With the bit as it was."""
        found = super().flags(copied=copied) & ~DLFlags.READ_ONLY
        return found | (DLFlags.READ_ONLY if self.cai_readonly() else 0)

    def cai_readonly(self) -> bool:
        """As it was."""
        if self._first is None:
            self._first = super().cai_readonly()
        return self._first


@fault("readonly.legacy-export")
class ReadOnlyInLegacyCapsule(Exporter):
    """A read-only array is exported in a legacy capsule, which cannot say so."""

    def check_readonly(self, version: tuple[int, int] | None, *, copied: bool) -> None:
        """No refusal."""


@fault("readonly.legacy-export", bugs="readonly-04")
class ReadOnlyRefusedByTypeError(Exporter):
    """A read-only array is refused with a ``TypeError``."""

    def check_readonly(self, version: tuple[int, int] | None, *, copied: bool) -> None:
        """Another class of exception."""
        try:
            super().check_readonly(version, copied=copied)
        except BufferError as error:
            raise TypeError(str(error)) from None


@fault("readonly.writable-export", bugs="readonly-07")
class AlwaysReadOnly(Exporter):
    """Every array is exported as read-only."""

    def flags(self, *, copied: bool) -> int:
        """The bit, always."""
        return super().flags(copied=copied) | DLFlags.READ_ONLY

    def cai_readonly(self) -> bool:
        """Always."""
        return True


@fault("readonly.accepted", bugs="readonly-02")
class ReadOnlyRefused(Importer):
    """The importer refuses read-only capsules."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        """``BufferError`` for the bit."""
        if (tensor.flags or 0) & DLFlags.READ_ONLY:
            raise BufferError("read-only arrays are not supported")
        return super().read_tensor(tensor)


@fault("readonly.import", "readonly.write", "readonly.re-export", bugs="readonly-02 readonly-03")
class ReadOnlyDropped(Importer):
    """The importer overlooks the read-only bit of either protocol, and so passes the array on without it."""

    def dl_readonly(self, tensor: Tensor) -> bool:
        """Never."""
        return False

    def cai_readonly(self, interface: cai.ArrayInterface) -> bool:
        """Never."""
        return False


@fault("readonly.writable-import", bugs="readonly-06 readonly-07")
class EverythingLocked(Importer):
    """The importer makes everything read-only."""

    def dl_readonly(self, tensor: Tensor) -> bool:
        """Always."""
        return True

    def cai_readonly(self, interface: cai.ArrayInterface) -> bool:
        """Always."""
        return True


@fault("readonly.legacy-import", bugs="readonly-07")
class LegacyLocked(Importer):
    """The importer makes whatever comes in a legacy capsule read-only."""

    def dl_readonly(self, tensor: Tensor) -> bool:
        """Without flags, too."""
        return tensor.flags is None or super().dl_readonly(tensor)


def _is_part(exporter: Exporter) -> bool:
    """Whether there is more in the block than the view shows."""
    return exporter.view.size * exporter.dtype.itemsize < exporter.block.nbytes


@fault("readonly.export", bugs="readonly-03")
class PartsUnsaid(Exporter):
    """The read-only bit belongs to whole arrays, and a view of a part is exported without it."""

    def flags(self, *, copied: bool) -> int:
        """The bit of a whole array."""
        flags = super().flags(copied=copied)
        return flags & ~DLFlags.READ_ONLY if _is_part(self) else flags

    def cai_readonly(self) -> bool:
        """The bit of a whole array."""
        return super().cai_readonly() and not _is_part(self)


@fault("readonly.writable-export")
class PartsLocked(Exporter):
    """A view of a part is exported as read-only, because a write could go beyond it."""

    def flags(self, *, copied: bool) -> int:
        """With the bit for every part."""
        return super().flags(copied=copied) | (DLFlags.READ_ONLY if _is_part(self) else DLFlags.NONE)

    def cai_readonly(self) -> bool:
        """With the bit for every part."""
        return super().cai_readonly() or _is_part(self)


@fault("readonly.export", "readonly.writable-export")
class BitMeansWritable(Exporter):
    """The dictionary says whether the memory may be written, where it should say whether it may not."""

    def cai_readonly(self) -> bool:
        """The reverse."""
        return not super().cai_readonly()


@fault("readonly.import", "readonly.writable-import", "readonly.write", "readonly.re-export", bugs="readonly-02")
class BitReadAsWritable(Importer):
    """The importer reads the dictionary's bit the other way round."""

    def cai_readonly(self, interface: cai.ArrayInterface) -> bool:
        """The reverse."""
        return not super().cai_readonly(interface)


@fault("readonly.import", "readonly.write", "readonly.re-export", bugs="readonly-03")
class AnotherBitRead(Importer):
    """The importer takes the bit of a copy for the read-only bit."""

    def dl_readonly(self, tensor: Tensor) -> bool:
        """The neighbour."""
        return bool((tensor.flags or 0) & DLFlags.IS_COPIED)


@fault("readonly.accepted")
class FlagsLookedUp(Importer):
    """The importer looks the flags up in a table in which no array is read-only."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        """``KeyError`` for every other."""
        known = {None: "legacy", DLFlags.NONE: "shared", DLFlags.IS_COPIED: "copied"}
        known[tensor.flags if tensor.flags is None else DLFlags(tensor.flags)]
        return super().read_tensor(tensor)


@fault("readonly.legacy-import", bugs="readonly-07")
class OlderStructsLocked(Importer):
    """The importer trusts the flags of its own version only, and makes read-only what comes in an older struct."""

    def dl_readonly(self, tensor: Tensor) -> bool:
        """Unless as new as we are."""
        return (tensor.version or (0, 0)) < NEWEST or super().dl_readonly(tensor)


@fault("readonly.re-export", bugs="readonly-02")
class ImportsPassedOnWritable(Exporter):
    """What was imported is passed on as writable, whatever was said of it."""

    def flags(self, *, copied: bool) -> int:
        """The bit of our own arrays."""
        flags = super().flags(copied=copied)
        return flags & ~DLFlags.READ_ONLY if isinstance(self.block, BorrowedBlock) else flags

    def cai_readonly(self) -> bool:
        """The bit of our own arrays."""
        return super().cai_readonly() and not isinstance(self.block, BorrowedBlock)


@fault("readonly.export", "readonly.legacy-export", bugs="readonly-07")
class LegacyCapsulesOnly(Exporter):
    """There are no versioned capsules, and what must not be written goes out in a legacy one."""

    def negotiate(self, max_version: tuple[int, int] | None) -> tuple[int, int] | None:
        """Whatever is asked for."""
        return None

    def check_readonly(self, version: tuple[int, int] | None, *, copied: bool) -> None:
        """No refusal."""
