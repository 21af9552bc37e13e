"""Faults of permission: what must not be written is passed on as if it might be, or the reverse."""

from __future__ import annotations

from conformance.protocols import cai
from conformance.protocols.dlpack import DLFlags, Tensor
from conformance.reference.exporter import Exporter
from conformance.reference.importer import Imported, Importer

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
