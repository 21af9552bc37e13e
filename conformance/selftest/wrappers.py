"""What can be wrong with a real library, each a wrapper that changes one thing."""

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

# -- on the way out: memory


class ExportsACopy(Wrapper):
    """Every export is a copy, which nobody asked for."""

    caught_by = ("pointer.view-export", "pointer.producer-write-seen")

    def exported(self, array: Any, keywords: dict[str, Any]) -> Any:
        """Of a copy."""
        return super().exported(self.on.copy(array), keywords)


class SharesWhereACopyIsAskedFor(Wrapper):
    """``copy=True`` is ignored by the producer: the memory is shared."""

    caught_by = ("pointer.copy-true",)

    def asked(self, keywords: dict[str, Any]) -> dict[str, Any]:
        """Without it."""
        return {**keywords, "copy": None} if keywords.get("copy") else keywords


class CopiesWhereSharingIsAskedFor(Wrapper):
    """``copy=False`` is ignored by the producer: a copy is exported."""

    caught_by = ("pointer.copy-false",)

    def exported(self, array: Any, keywords: dict[str, Any]) -> Any:
        """Of a copy."""
        return super().exported(self.on.copy(array) if keywords.get("copy") is False else array, keywords)


class DropsTheOffset(Wrapper):
    """A capsule leads to the start of the memory that the array is a view of."""

    caught_by = ("pointer.view-export", "pointer.values")

    def outgoing(self, opened: Opened, array: Any) -> None:
        """Another pointer."""
        if opened.tensor.data:
            opened.tensor.data = self.on.start(array)


class CountsAnOffsetTwice(Wrapper):
    """The pointer has an element's offset in it, and so has ``byte_offset``."""

    caught_by = ("pointer.view-export", "pointer.values")

    def outgoing(self, opened: Opened, array: Any) -> None:
        """An element further on."""
        opened.tensor.byte_offset = opened.tensor.dtype.bits // 8


class KeepsTheFirstPointer(Wrapper):
    """The pointer is kept from the first export that there was, as if no array ever moved."""

    caught_by = ("pointer.view-export",)
    first = 0

    def outgoing(self, opened: Opened, array: Any) -> None:
        """That of the first."""
        self.first = self.first or opened.tensor.data
        opened.tensor.data = self.first


class ExportsWhatIsGone(Wrapper):
    """A capsule leads to a temporary copy that is released before anybody reads it."""

    caught_by = ("pointer.view-export",)

    def outgoing(self, opened: Opened, array: Any) -> None:
        """Its address alone is kept."""
        opened.tensor.data = self.on.start(self.on.copy(array))


# -- on the way out: shape and strides


class ExportsStridesAsIfPacked(Wrapper):
    """Strides are told as if the array were packed."""

    caught_by = ("layout.capsule-strides", "pointer.values")

    def outgoing(self, opened: Opened, array: Any) -> None:
        """Others."""
        opened.pack()


class ExportsNoStrides(Wrapper):
    """Strides are told to be NULL, though the array is not packed."""

    caught_by = ("layout.capsule-strides",)

    def outgoing(self, opened: Opened, array: Any) -> None:
        """None."""
        opened.tensor.strides = None


class TakesStridesForUnsigned(Wrapper):
    """Negative strides are told as unsigned numbers of 32 bits."""

    caught_by = ("layout.capsule-strides",)

    def outgoing(self, opened: Opened, array: Any) -> None:
        """Large instead of negative."""
        opened.strides[:] = [s & 0xFFFFFFFF if s < 0 else s for s in opened.strides]


class ExportsStridesInBytes(Wrapper):
    """Strides are told in bytes."""

    caught_by = ("layout.capsule-strides",)

    def outgoing(self, opened: Opened, array: Any) -> None:
        """Too large."""
        opened.strides[:] = [s * (opened.tensor.dtype.bits // 8) for s in opened.strides]


class ExportsTheShapeBackwards(Wrapper):
    """The extents come in the order of Fortran."""

    caught_by = ("layout.capsule-strides", "pointer.values")

    def outgoing(self, opened: Opened, array: Any) -> None:
        """Backwards."""
        opened.shape[:] = list(reversed(opened.shape))


# -- on the way out: element types


class ExportsBooleansAsNumbers(Wrapper):
    """Booleans are told to be unsigned integers."""

    caught_by = ("dtype.export",)

    def outgoing(self, opened: Opened, array: Any) -> None:
        """uint8."""
        if opened.tensor.dtype.code == _BOOL:
            opened.tensor.dtype.code = _UINT


class HalvesComplexNumbers(Wrapper):
    """The size of a complex number is told as that of its real part."""

    caught_by = ("dtype.export",)

    def outgoing(self, opened: Opened, array: Any) -> None:
        """Half the bits."""
        if opened.tensor.dtype.code == _COMPLEX:
            opened.tensor.dtype.bits //= 2


class TellsHalfTheSize(Wrapper):
    """Elements of eight bytes are told to have four."""

    caught_by = ("dtype.export", "dtype.exchange")

    def outgoing(self, opened: Opened, array: Any) -> None:
        """32 bits."""
        if opened.tensor.dtype.bits == 64:
            opened.tensor.dtype.bits = 32


class LosesTheSign(Wrapper):
    """Signed integers are told to be unsigned."""

    caught_by = ("dtype.export", "dtype.exchange")

    def outgoing(self, opened: Opened, array: Any) -> None:
        """Unsigned."""
        if opened.tensor.dtype.code == _INT:
            opened.tensor.dtype.code = _UINT


class ExportsBfloatAsHalf(Wrapper):
    """bfloat16 is told to be float16."""

    caught_by = ("dtype.export", "dtype.exchange")

    def outgoing(self, opened: Opened, array: Any) -> None:
        """Another code."""
        if opened.tensor.dtype.code == _BFLOAT:
            opened.tensor.dtype.code = _FLOAT


# -- on the way out: devices, flags, versions, names


class TellsAnotherDevice(Wrapper):
    """Host memory is told to be a GPU's, by the capsule and by ``__dlpack_device__``."""

    caught_by = ("device.reported",)

    def told_device(self, device: tuple[int, int]) -> tuple[int, int]:
        """A GPU."""
        return 2, 0

    def outgoing(self, opened: Opened, array: Any) -> None:
        """A GPU."""
        opened.tensor.device.device_type = 2


class TellsAnotherNumber(Wrapper):
    """The host is told to have the number 1."""

    caught_by = ("device.reported",)

    def told_device(self, device: tuple[int, int]) -> tuple[int, int]:
        """1."""
        return device[0], 1

    def outgoing(self, opened: Opened, array: Any) -> None:
        """1."""
        opened.tensor.device.device_id = 1


class ContradictsTheCapsule(Wrapper):
    """``__dlpack_device__`` names pinned memory, the capsule the host's."""

    caught_by = ("device.reported",)

    def told_device(self, device: tuple[int, int]) -> tuple[int, int]:
        """Pinned."""
        return 3, 0


class IgnoresTheDevice(Wrapper):
    """``dl_device`` is ignored: a capsule of the host is given for a GPU."""

    caught_by = ("pointer.copy-false-elsewhere",)

    def asked(self, keywords: dict[str, Any]) -> dict[str, Any]:
        """Without it."""
        return {**keywords, "dl_device": None}


class ForgetsReadOnly(Wrapper):
    """A read-only array is exported as writable."""

    caught_by = ("readonly.export",)

    def outgoing(self, opened: Opened, array: Any) -> None:
        """Without the bit."""
        opened.mark(remove=DLFlags.READ_ONLY)


class TellsEverythingReadOnly(Wrapper):
    """Every array is exported as read-only."""

    caught_by = ("readonly.writable-export",)

    def outgoing(self, opened: Opened, array: Any) -> None:
        """With the bit."""
        opened.mark(add=DLFlags.READ_ONLY)


class ForgetsThatItCopied(Wrapper):
    """A copy that was asked for does not say that it is one."""

    caught_by = ("negotiation.copied-flag",)

    def outgoing(self, opened: Opened, array: Any) -> None:
        """Without the bit."""
        opened.mark(remove=DLFlags.IS_COPIED)


class SetsUndefinedFlags(Wrapper):
    """Bits are set that no version of DLPack defines."""

    caught_by = ("negotiation.defined-flags",)

    def outgoing(self, opened: Opened, array: Any) -> None:
        """Bit 32."""
        opened.mark(add=1 << 32)


class AlwaysExportsVersioned(Wrapper):
    """A consumer that knows legacy capsules alone gets a versioned one."""

    caught_by = ("negotiation.version",)

    def asked(self, keywords: dict[str, Any]) -> dict[str, Any]:
        """With 1.0."""
        return {**keywords, "max_version": (1, 0)}


class KnowsNoKeywords(Wrapper):
    """``__dlpack__`` takes no keywords at all, ``stream`` included."""

    caught_by = ("negotiation.signature",)

    def asked(self, keywords: dict[str, Any]) -> dict[str, Any]:
        """``TypeError`` for any."""
        if keywords:
            raise TypeError(f"__dlpack__() got an unexpected keyword argument {next(iter(keywords))!r}")
        return keywords


class NamesCapsulesWrong(Wrapper):
    """Capsules have a name that no document knows."""

    caught_by = ("capsule.name",)

    def outgoing(self, opened: Opened, array: Any) -> None:
        """Another one."""
        capsule.rename(opened.capsule, b"tensor")


class NamesVersionedCapsulesAsLegacy(Wrapper):
    """A capsule with the versioned struct has the name of the legacy one."""

    caught_by = ("capsule.name",)

    def outgoing(self, opened: Opened, array: Any) -> None:
        """The older name."""
        capsule.rename(opened.capsule, dlpack.LEGACY)


class GivesOneCapsuleTwice(Wrapper):
    """Every call of ``__dlpack__`` gives the same capsule."""

    caught_by = ("capsule.many-exports",)

    def exported(self, array: Any, keywords: dict[str, Any]) -> Any:
        """That of the first call."""
        if not hasattr(self, "made"):
            self.made = super().exported(array, keywords)
        return self.made


class ExportsWithoutDeleter(Wrapper):
    """The struct has no deleter: what it holds is never released."""

    caught_by = ("lifetime.owner-released",)

    def outgoing(self, opened: Opened, array: Any) -> None:
        """NULL."""
        opened.managed.deleter = None


# -- on the way in: memory and layout


class CopiesWhatItTakes(Wrapper):
    """Every import is a copy, which nobody asked for."""

    caught_by = ("pointer.same-address", "pointer.consumer-write-seen")

    def taken(self, take: Any, offer: Any, keywords: dict[str, Any]) -> Any:
        """A copy."""
        return self.on.copy(super().taken(take, offer, keywords))


class IgnoresByteOffset(Wrapper):
    """``byte_offset`` is ignored: an import begins where the block does."""

    caught_by = ("pointer.byte-offset",)

    def incoming(self, opened: Opened) -> None:
        """0."""
        opened.tensor.byte_offset = 0


class IgnoresStrides(Wrapper):
    """Strides are ignored: every import is packed."""

    caught_by = ("layout.import-strides", "pointer.values")

    def incoming(self, opened: Opened) -> None:
        """Packed."""
        opened.pack()


class IgnoresCopy(Wrapper):
    """``copy=True`` is ignored by the consumer: the memory is shared."""

    caught_by = ("pointer.copy-true",)

    def taken(self, take: Any, offer: Any, keywords: dict[str, Any]) -> Any:
        """Without it."""
        return super().taken(take, offer, {**keywords, "copy": None})


class ForgetsThatItIsReadOnly(Wrapper):
    """A read-only capsule becomes an array that can be written."""

    caught_by = ("readonly.import",)

    def incoming(self, opened: Opened) -> None:
        """Without the bit."""
        opened.mark(remove=DLFlags.READ_ONLY)


class TakesEverythingAsReadOnly(Wrapper):
    """A writable capsule becomes an array that cannot be written."""

    caught_by = ("readonly.writable-import",)

    def incoming(self, opened: Opened) -> None:
        """With the bit."""
        opened.mark(add=DLFlags.READ_ONLY)


# -- on the way in: element types


class TakesUnsignedForSigned(Wrapper):
    """Unsigned integers come in as signed ones."""

    caught_by = ("dtype.exchange",)

    def incoming(self, opened: Opened) -> None:
        """Signed."""
        if opened.tensor.dtype.code == _UINT:
            opened.tensor.dtype.code = _INT


class TakesBooleansForNumbers(Wrapper):
    """Booleans come in as unsigned integers."""

    caught_by = ("dtype.exchange",)

    def incoming(self, opened: Opened) -> None:
        """uint8."""
        if opened.tensor.dtype.code == _BOOL:
            opened.tensor.dtype.code = _UINT


class TakesBfloatForHalf(Wrapper):
    """bfloat16 comes in as float16."""

    caught_by = ("dtype.exchange",)

    def incoming(self, opened: Opened) -> None:
        """Another code."""
        if opened.tensor.dtype.code == _BFLOAT:
            opened.tensor.dtype.code = _FLOAT


class IgnoresLanes(Wrapper):
    """Vectors come in as single numbers."""

    caught_by = ("dtype.lanes",)

    def incoming(self, opened: Opened) -> None:
        """1."""
        opened.tensor.dtype.lanes = 1


# -- on the way in: ownership


class LeavesTheNameAsItWas(Wrapper):
    """A capsule that was consumed has its name still: whoever finds it may consume it again."""

    caught_by = ("capsule.renamed",)

    def request(self, offer: Any, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """Another capsule around the same struct, in the place of the one that has to be marked."""
        made = super().request(offer, args, keywords)
        name = dlpack.VERSIONED if Opened(made).versioned else dlpack.LEGACY
        return capsule.new(capsule.pointer(made), name)


class ConsumesTwice(Wrapper):
    """A capsule that was consumed before is consumed again."""

    caught_by = ("capsule.second-import",)

    def incoming(self, opened: Opened) -> None:
        """Its name as it was."""
        capsule.rename(opened.capsule, dlpack.VERSIONED if opened.versioned else dlpack.LEGACY)


class NeverReleases(Wrapper):
    """Imports are kept for good."""

    caught_by = ("lifetime.deleter-once", "lifetime.owner-released")

    def taken(self, take: Any, offer: Any, keywords: dict[str, Any]) -> Any:
        """And remembered."""
        self.kept = [*getattr(self, "kept", []), super().taken(take, offer, keywords)]
        return self.kept[-1]


class ReleasesTwice(Wrapper):
    """The deleter is called a second time when the import is gone."""

    caught_by = ("lifetime.deleter-once",)

    def incoming(self, opened: Opened) -> None:
        """Remember both."""
        self.release = opened.managed.deleter, opened.address

    def taken(self, take: Any, offer: Any, keywords: dict[str, Any]) -> Any:
        """With an end of its own."""
        made = super().taken(take, offer, keywords)
        deleter, address = self.release
        if deleter:
            weakref.finalize(made, dlpack.DELETER(deleter), address)
        return made


class HoldsNothingByItsExports(Wrapper):
    """An export lets go of its array at once: the capsule leads to memory that lives only as long as the array does."""

    caught_by = ("lifetime.temporary", "lifetime.chain")

    def exported(self, array: Any, keywords: dict[str, Any]) -> Any:
        """The same struct again, whose deleter releases nothing; the capsule of the library goes without a consumer."""
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
"""A deleter that lets go of nothing."""


class ReleasesWhatItTakes(Wrapper):
    """The deleter is called as soon as the import is made, and never again."""

    caught_by = ("lifetime.deleter-once", "lifetime.temporary", "lifetime.chain")

    def incoming(self, opened: Opened) -> None:
        """Keep the deleter from the library."""
        self.release = opened.managed.deleter, opened.managed
        opened.managed.deleter = ctypes.cast(_RELEASES_NOTHING, ctypes.c_void_p).value

    def taken(self, take: Any, offer: Any, keywords: dict[str, Any]) -> Any:
        """Too early."""
        made = super().taken(take, offer, keywords)
        (deleter, managed), self.release = self.release, (None, None)
        managed.deleter = deleter
        if deleter:
            dlpack.DELETER(deleter)(ctypes.addressof(managed))
        return made


class WritesToTheStruct(Wrapper):
    """The consumer sets a flag in the producer's struct."""

    caught_by = ("capsule.struct-untouched",)

    def incoming(self, opened: Opened) -> None:
        """That of a copy."""
        opened.mark(add=DLFlags.IS_COPIED)


# -- on the way in: asking


class IgnoresTheMajorVersion(Wrapper):
    """A struct of another major version is read as if it were known."""

    caught_by = ("negotiation.foreign-major",)

    def incoming(self, opened: Opened) -> None:
        """1."""
        if opened.versioned:
            opened.managed.version.major = 1


class AsksForLegacy(Wrapper):
    """The consumer never says which version it understands."""

    caught_by = ("negotiation.version-request",)

    def request(self, offer: Any, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """Without ``max_version``."""
        return super().request(offer, args, {k: v for k, v in keywords.items() if k != "max_version"})


class CallsByPosition(Wrapper):
    """The stream is passed by position."""

    caught_by = ("negotiation.keyword-call",)

    def request(self, offer: Any, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """In front."""
        rest = {k: v for k, v in keywords.items() if k != "stream"}
        return super().request(offer, (keywords.get("stream"),), rest)


class NamesAStreamOnTheHost(Wrapper):
    """A stream is named for an array in host memory."""

    caught_by = ("negotiation.stream-request",)

    def request(self, offer: Any, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """1."""
        return super().request(offer, (), {**keywords, "stream": 1})


class HidesTheProducersError(Wrapper):
    """Whatever the producer raises comes out as ``KeyError``."""

    caught_by = ("negotiation.producer-error",)

    def request(self, offer: Any, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """Another exception."""
        try:
            return super().request(offer, args, keywords)
        except Exception as error:
            raise KeyError("dlpack") from error


class NeverAsksAgain(Wrapper):
    """An older producer, which does not know a keyword, is not asked again without it."""

    caught_by = ("negotiation.older-producer",)

    def request(self, offer: Any, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """For good."""
        try:
            return super().request(offer, args, keywords)
        except TypeError as error:
            raise RuntimeError("the producer is too old") from error
