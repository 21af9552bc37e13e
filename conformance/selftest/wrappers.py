"""Faults of real libraries: each wrapper changes one detail of an export or an import."""

from __future__ import annotations

import ctypes
import weakref
from typing import Any

from conformance.protocols import capsule, dlpack
from conformance.protocols.dlpack import DLFlags
from conformance.protocols.dtypes import DLCode

from .wrapping import Opened, Wrapper

_INT, _UINT, _FLOAT, _BFLOAT, _COMPLEX, _BOOL = (
    int(code) for code in (DLCode.INT, DLCode.UINT, DLCode.FLOAT, DLCode.BFLOAT, DLCode.COMPLEX, DLCode.BOOL)
)

# Exports: memory


class ExportsACopy(Wrapper):
    """Exports a copy without a request."""

    caught_by = ("pointer.view-export", "pointer.producer-write-seen")

    def exported(self, array: Any, keywords: dict[str, Any]) -> Any:
        return super().exported(self.on.copy(array), keywords)


class SharesWhereACopyIsAskedFor(Wrapper):
    """Ignores ``copy=True`` as a producer and shares memory."""

    caught_by = ("pointer.copy-true",)

    def asked(self, keywords: dict[str, Any]) -> dict[str, Any]:
        return {**keywords, "copy": None} if keywords.get("copy") else keywords


class CopiesWhereSharingIsAskedFor(Wrapper):
    """Ignores ``copy=False`` as a producer and exports a copy."""

    caught_by = ("pointer.copy-false",)

    def exported(self, array: Any, keywords: dict[str, Any]) -> Any:
        return super().exported(self.on.copy(array) if keywords.get("copy") is False else array, keywords)


class DropsTheOffset(Wrapper):
    """Exports a view with the start of its base array's memory."""

    caught_by = ("pointer.view-export", "pointer.values")

    def outgoing(self, opened: Opened, array: Any) -> None:
        if opened.tensor.data:
            opened.tensor.data = self.on.start(array)


class CountsAnOffsetTwice(Wrapper):
    """Adds an offset of one element to ``byte_offset`` that is already in the pointer."""

    caught_by = ("pointer.view-export", "pointer.values")

    def outgoing(self, opened: Opened, array: Any) -> None:
        opened.tensor.byte_offset = opened.tensor.dtype.bits // 8


class KeepsTheFirstPointer(Wrapper):
    """Exports every array with the pointer of the first export."""

    caught_by = ("pointer.view-export",)
    first = 0

    def outgoing(self, opened: Opened, array: Any) -> None:
        self.first = self.first or opened.tensor.data
        opened.tensor.data = self.first


class ExportsWhatIsGone(Wrapper):
    """Exports a pointer to a temporary copy that is already freed."""

    caught_by = ("pointer.view-export",)

    def outgoing(self, opened: Opened, array: Any) -> None:
        opened.tensor.data = self.on.start(self.on.copy(array))


# Exports: shape and strides


class ExportsStridesAsIfPacked(Wrapper):
    """Exports packed strides, whatever the layout."""

    caught_by = ("layout.capsule-strides", "pointer.values")

    def outgoing(self, opened: Opened, array: Any) -> None:
        opened.pack()


class ExportsNoStrides(Wrapper):
    """Exports NULL strides for an array that is not packed."""

    caught_by = ("layout.capsule-strides",)

    def outgoing(self, opened: Opened, array: Any) -> None:
        opened.tensor.strides = None


class TakesStridesForUnsigned(Wrapper):
    """Exports negative strides as unsigned 32-bit numbers."""

    caught_by = ("layout.capsule-strides",)

    def outgoing(self, opened: Opened, array: Any) -> None:
        opened.strides[:] = [s & 0xFFFFFFFF if s < 0 else s for s in opened.strides]


class ExportsStridesInBytes(Wrapper):
    """Exports strides in bytes."""

    caught_by = ("layout.capsule-strides",)

    def outgoing(self, opened: Opened, array: Any) -> None:
        opened.strides[:] = [s * (opened.tensor.dtype.bits // 8) for s in opened.strides]


class ExportsTheShapeBackwards(Wrapper):
    """Exports the shape in reverse order."""

    caught_by = ("layout.capsule-strides", "pointer.values")

    def outgoing(self, opened: Opened, array: Any) -> None:
        opened.shape[:] = list(reversed(opened.shape))


# Exports: element types


class ExportsBooleansAsNumbers(Wrapper):
    """Exports bool as uint8."""

    caught_by = ("dtype.export",)

    def outgoing(self, opened: Opened, array: Any) -> None:
        if opened.tensor.dtype.code == _BOOL:
            opened.tensor.dtype.code = _UINT


class HalvesComplexNumbers(Wrapper):
    """Exports a complex type with half of its bits."""

    caught_by = ("dtype.export",)

    def outgoing(self, opened: Opened, array: Any) -> None:
        if opened.tensor.dtype.code == _COMPLEX:
            opened.tensor.dtype.bits //= 2


class TellsHalfTheSize(Wrapper):
    """Exports elements of eight bytes with a width of four."""

    caught_by = ("dtype.export", "dtype.exchange")

    def outgoing(self, opened: Opened, array: Any) -> None:
        if opened.tensor.dtype.bits == 64:
            opened.tensor.dtype.bits = 32


class LosesTheSign(Wrapper):
    """Exports signed integers as unsigned ones."""

    caught_by = ("dtype.export", "dtype.exchange")

    def outgoing(self, opened: Opened, array: Any) -> None:
        if opened.tensor.dtype.code == _INT:
            opened.tensor.dtype.code = _UINT


class ExportsBfloatAsHalf(Wrapper):
    """Exports bfloat16 as float16."""

    caught_by = ("dtype.export", "dtype.exchange")

    def outgoing(self, opened: Opened, array: Any) -> None:
        if opened.tensor.dtype.code == _BFLOAT:
            opened.tensor.dtype.code = _FLOAT


# Exports: devices, flags, versions, names


class TellsAnotherDevice(Wrapper):
    """Reports host memory as GPU memory, in the capsule and in ``__dlpack_device__``."""

    caught_by = ("device.reported",)

    def told_device(self, device: tuple[int, int]) -> tuple[int, int]:
        return 2, 0

    def outgoing(self, opened: Opened, array: Any) -> None:
        opened.tensor.device.device_type = 2


class TellsAnotherNumber(Wrapper):
    """Reports device number 1 for the host."""

    caught_by = ("device.reported",)

    def told_device(self, device: tuple[int, int]) -> tuple[int, int]:
        return device[0], 1

    def outgoing(self, opened: Opened, array: Any) -> None:
        opened.tensor.device.device_id = 1


class ContradictsTheCapsule(Wrapper):
    """Returns pinned memory from ``__dlpack_device__`` and writes host memory into the capsule."""

    caught_by = ("device.reported",)

    def told_device(self, device: tuple[int, int]) -> tuple[int, int]:
        return 3, 0


class IgnoresTheDevice(Wrapper):
    """Ignores ``dl_device`` and returns a capsule on the host for a GPU."""

    caught_by = ("pointer.copy-false-elsewhere",)

    def asked(self, keywords: dict[str, Any]) -> dict[str, Any]:
        return {**keywords, "dl_device": None}


class ForgetsReadOnly(Wrapper):
    """Exports a read-only array as writable."""

    caught_by = ("readonly.export",)

    def outgoing(self, opened: Opened, array: Any) -> None:
        opened.mark(remove=DLFlags.READ_ONLY)


class TellsEverythingReadOnly(Wrapper):
    """Exports every array as read-only."""

    caught_by = ("readonly.writable-export",)

    def outgoing(self, opened: Opened, array: Any) -> None:
        opened.mark(add=DLFlags.READ_ONLY)


class ForgetsThatItCopied(Wrapper):
    """Exports a requested copy without the flag ``IS_COPIED``."""

    caught_by = ("negotiation.copied-flag",)

    def outgoing(self, opened: Opened, array: Any) -> None:
        opened.mark(remove=DLFlags.IS_COPIED)


class SetsUndefinedFlags(Wrapper):
    """Sets flag bits that no version of DLPack defines."""

    caught_by = ("negotiation.defined-flags",)

    def outgoing(self, opened: Opened, array: Any) -> None:
        opened.mark(add=1 << 32)


class AlwaysExportsVersioned(Wrapper):
    """Returns a versioned capsule to a consumer that did not request one."""

    caught_by = ("negotiation.version",)

    def asked(self, keywords: dict[str, Any]) -> dict[str, Any]:
        return {**keywords, "max_version": (1, 0)}


class KnowsNoKeywords(Wrapper):
    """Accepts no keywords in ``__dlpack__``, not even ``stream``."""

    caught_by = ("negotiation.signature",)

    def asked(self, keywords: dict[str, Any]) -> dict[str, Any]:
        if keywords:
            raise TypeError(f"__dlpack__() got an unexpected keyword argument {next(iter(keywords))!r}")
        return keywords


class NamesCapsulesWrong(Wrapper):
    """Gives capsules an undocumented name."""

    caught_by = ("capsule.name",)

    def outgoing(self, opened: Opened, array: Any) -> None:
        capsule.rename(opened.capsule, b"tensor")


class NamesVersionedCapsulesAsLegacy(Wrapper):
    """Gives a capsule with a versioned struct the legacy name."""

    caught_by = ("capsule.name",)

    def outgoing(self, opened: Opened, array: Any) -> None:
        capsule.rename(opened.capsule, dlpack.LEGACY)


class GivesOneCapsuleTwice(Wrapper):
    """Returns the same capsule from every call of ``__dlpack__``."""

    caught_by = ("capsule.many-exports",)

    def exported(self, array: Any, keywords: dict[str, Any]) -> Any:
        if not hasattr(self, "made"):
            self.made = super().exported(array, keywords)
        return self.made


class ExportsWithoutDeleter(Wrapper):
    """Exports a struct without a deleter, so that its memory is never released."""

    caught_by = ("lifetime.owner-released",)

    def outgoing(self, opened: Opened, array: Any) -> None:
        opened.managed.deleter = None


# Imports: memory and layout


class CopiesWhatItTakes(Wrapper):
    """Copies every import without a request."""

    caught_by = ("pointer.same-address", "pointer.consumer-write-seen")

    def taken(self, take: Any, offer: Any, keywords: dict[str, Any]) -> Any:
        return self.on.copy(super().taken(take, offer, keywords))


class IgnoresByteOffset(Wrapper):
    """Ignores ``byte_offset`` on import."""

    caught_by = ("pointer.byte-offset",)

    def incoming(self, opened: Opened) -> None:
        opened.tensor.byte_offset = 0


class IgnoresStrides(Wrapper):
    """Imports every array as packed."""

    caught_by = ("layout.import-strides", "pointer.values")

    def incoming(self, opened: Opened) -> None:
        opened.pack()


class IgnoresCopy(Wrapper):
    """Ignores ``copy=True`` as a consumer and shares memory."""

    caught_by = ("pointer.copy-true",)

    def taken(self, take: Any, offer: Any, keywords: dict[str, Any]) -> Any:
        return super().taken(take, offer, {**keywords, "copy": None})


class ForgetsThatItIsReadOnly(Wrapper):
    """Imports a read-only capsule as writable."""

    caught_by = ("readonly.import",)

    def incoming(self, opened: Opened) -> None:
        opened.mark(remove=DLFlags.READ_ONLY)


class TakesEverythingAsReadOnly(Wrapper):
    """Imports a writable capsule as read-only."""

    caught_by = ("readonly.writable-import",)

    def incoming(self, opened: Opened) -> None:
        opened.mark(add=DLFlags.READ_ONLY)


# Imports: element types


class TakesUnsignedForSigned(Wrapper):
    """Imports unsigned integers as signed ones."""

    caught_by = ("dtype.exchange",)

    def incoming(self, opened: Opened) -> None:
        if opened.tensor.dtype.code == _UINT:
            opened.tensor.dtype.code = _INT


class TakesBooleansForNumbers(Wrapper):
    """Imports bool as uint8."""

    caught_by = ("dtype.exchange",)

    def incoming(self, opened: Opened) -> None:
        if opened.tensor.dtype.code == _BOOL:
            opened.tensor.dtype.code = _UINT


class TakesBfloatForHalf(Wrapper):
    """Imports bfloat16 as float16."""

    caught_by = ("dtype.exchange",)

    def incoming(self, opened: Opened) -> None:
        if opened.tensor.dtype.code == _BFLOAT:
            opened.tensor.dtype.code = _FLOAT


class IgnoresLanes(Wrapper):
    """Imports vector types as scalars."""

    caught_by = ("dtype.lanes",)

    def incoming(self, opened: Opened) -> None:
        opened.tensor.dtype.lanes = 1


# Imports: ownership


class LeavesTheNameAsItWas(Wrapper):
    """Leaves the name of a consumed capsule unchanged, so that it can be consumed again."""

    caught_by = ("capsule.renamed",)

    def request(self, offer: Any, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        made = super().request(offer, args, keywords)
        name = dlpack.VERSIONED if Opened(made).versioned else dlpack.LEGACY
        return capsule.new(capsule.pointer(made), name)


class ConsumesTwice(Wrapper):
    """Imports a capsule that was consumed before."""

    caught_by = ("capsule.second-import",)

    def incoming(self, opened: Opened) -> None:
        capsule.rename(opened.capsule, dlpack.VERSIONED if opened.versioned else dlpack.LEGACY)


class NeverReleases(Wrapper):
    """Never releases an import."""

    caught_by = ("lifetime.deleter-once", "lifetime.owner-released")

    def taken(self, take: Any, offer: Any, keywords: dict[str, Any]) -> Any:
        self.kept = [*getattr(self, "kept", []), super().taken(take, offer, keywords)]
        return self.kept[-1]


class ReleasesTwice(Wrapper):
    """Calls the deleter a second time when the import dies."""

    caught_by = ("lifetime.deleter-once",)

    def incoming(self, opened: Opened) -> None:
        self.release = opened.managed.deleter, opened.address

    def taken(self, take: Any, offer: Any, keywords: dict[str, Any]) -> Any:
        made = super().taken(take, offer, keywords)
        deleter, address = self.release
        if deleter:
            weakref.finalize(made, dlpack.DELETER(deleter), address)
        return made


class HoldsNothingByItsExports(Wrapper):
    """Releases the array of an export at once, so that the capsule's memory lives only as long as the array."""

    caught_by = ("lifetime.temporary", "lifetime.chain")

    def exported(self, array: Any, keywords: dict[str, Any]) -> Any:
        opened = Opened(super().exported(array, keywords))
        copied = type(opened.managed).from_buffer_copy(opened.managed)
        shape, strides = (_copied(numbers) for numbers in (opened.shape, opened.strides))
        copied.dl_tensor.shape = ctypes.addressof(shape)
        copied.dl_tensor.strides = ctypes.addressof(strides) if opened.tensor.strides else None
        copied.deleter = ctypes.cast(_RELEASES_NOTHING, ctypes.c_void_p).value
        self.structs = [*getattr(self, "structs", []), (copied, shape, strides)]
        return capsule.new(ctypes.addressof(copied), dlpack.VERSIONED if opened.versioned else dlpack.LEGACY)


def _copied(numbers: Any) -> Any:
    return type(numbers)(*numbers)


_RELEASES_NOTHING = dlpack.DELETER(lambda address: None)
"""A deleter that releases nothing."""


class ReleasesWhatItTakes(Wrapper):
    """Calls the deleter as soon as the import is made."""

    caught_by = ("lifetime.deleter-once", "lifetime.temporary", "lifetime.chain")

    def incoming(self, opened: Opened) -> None:
        self.release = opened.managed.deleter, opened.managed
        opened.managed.deleter = ctypes.cast(_RELEASES_NOTHING, ctypes.c_void_p).value

    def taken(self, take: Any, offer: Any, keywords: dict[str, Any]) -> Any:
        made = super().taken(take, offer, keywords)
        (deleter, managed), self.release = self.release, (None, None)
        managed.deleter = deleter
        if deleter:
            dlpack.DELETER(deleter)(ctypes.addressof(managed))
        return made


class WritesToTheStruct(Wrapper):
    """Sets a flag in the producer's struct."""

    caught_by = ("capsule.struct-untouched",)

    def incoming(self, opened: Opened) -> None:
        opened.mark(add=DLFlags.IS_COPIED)


# Imports: requests


class IgnoresTheMajorVersion(Wrapper):
    """Reads a struct with another major version as if it had a supported one."""

    caught_by = ("negotiation.foreign-major",)

    def incoming(self, opened: Opened) -> None:
        if opened.versioned:
            opened.managed.version.major = 1


class AsksForLegacy(Wrapper):
    """Never passes ``max_version``."""

    caught_by = ("negotiation.version-request",)

    def request(self, offer: Any, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        return super().request(offer, args, {k: v for k, v in keywords.items() if k != "max_version"})


class CallsByPosition(Wrapper):
    """Passes the stream by position."""

    caught_by = ("negotiation.keyword-call",)

    def request(self, offer: Any, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        rest = {k: v for k, v in keywords.items() if k != "stream"}
        return super().request(offer, (keywords.get("stream"),), rest)


class NamesAStreamOnTheHost(Wrapper):
    """Passes a stream for an array in host memory."""

    caught_by = ("negotiation.stream-request",)

    def request(self, offer: Any, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        return super().request(offer, (), {**keywords, "stream": 1})


class HidesTheProducersError(Wrapper):
    """Replaces every exception of the producer with ``KeyError``."""

    caught_by = ("negotiation.producer-error",)

    def request(self, offer: Any, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        try:
            return super().request(offer, args, keywords)
        except Exception as error:
            raise KeyError("dlpack") from error


class NeverAsksAgain(Wrapper):
    """Does not retry without a keyword that an older producer does not know."""

    caught_by = ("negotiation.older-producer",)

    def request(self, offer: Any, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        try:
            return super().request(offer, args, keywords)
        except TypeError as error:
            raise RuntimeError("the producer is too old") from error
