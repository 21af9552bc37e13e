"""Stage ``numpy-wrappers``: the real NumPy with the reference, in a wrapper with one fault.

The stage omits invariants that NumPy itself violates: an address for arrays without elements, and exceptions of other classes than the
standard names.
"""

from __future__ import annotations

from typing import Any

from conformance.selftest import real, wrappers
from conformance.selftest.wrapping import Real, Wrapper, add

_NAME = "numpy"


def _start(array: Any) -> int:
    """Return the start of the memory of an array's base."""
    while type(array.base) is type(array):
        array = array.base
    return int(array.ctypes.data)


STAGE = real.stage(_NAME, "the real NumPy with the reference")


class IgnoresTheByteOrder(Wrapper):
    """Exports foreign byte order as native."""

    caught_by = ("dtype.unsupported-export",)

    def exported(self, array: Any, keywords: dict[str, Any]) -> Any:
        if array.dtype.hasobject or array.dtype.isnative:
            return super().exported(array, keywords)
        return super().exported(array.view(array.dtype.newbyteorder("=")), keywords)


class TakesDatesForNumbers(Wrapper):
    """Exports dates as integers."""

    caught_by = ("dtype.unsupported-export",)

    def exported(self, array: Any, keywords: dict[str, Any]) -> Any:
        return super().exported(array.view("int64") if array.dtype.kind in "mM" else array, keywords)


add(
    STAGE,
    Real(_NAME, lambda array: array.copy(order="K"), _start),
    wrappers.ExportsACopy,
    wrappers.SharesWhereACopyIsAskedFor,
    wrappers.CopiesWhereSharingIsAskedFor,
    wrappers.DropsTheOffset,
    wrappers.CountsAnOffsetTwice,
    wrappers.KeepsTheFirstPointer,
    wrappers.ExportsWhatIsGone,
    wrappers.ExportsStridesAsIfPacked,
    wrappers.ExportsNoStrides,
    wrappers.TakesStridesForUnsigned,
    wrappers.ExportsStridesInBytes,
    wrappers.ExportsTheShapeBackwards,
    wrappers.ExportsBooleansAsNumbers,
    wrappers.HalvesComplexNumbers,
    wrappers.TellsHalfTheSize,
    wrappers.LosesTheSign,
    wrappers.TellsAnotherDevice,
    wrappers.TellsAnotherNumber,
    wrappers.ContradictsTheCapsule,
    wrappers.IgnoresTheDevice,
    wrappers.ForgetsReadOnly,
    wrappers.TellsEverythingReadOnly,
    wrappers.ForgetsThatItCopied,
    wrappers.SetsUndefinedFlags,
    wrappers.AlwaysExportsVersioned,
    wrappers.KnowsNoKeywords,
    wrappers.NamesCapsulesWrong,
    wrappers.NamesVersionedCapsulesAsLegacy,
    wrappers.GivesOneCapsuleTwice,
    wrappers.ExportsWithoutDeleter,
    wrappers.CopiesWhatItTakes,
    wrappers.IgnoresByteOffset,
    wrappers.IgnoresStrides,
    wrappers.IgnoresCopy,
    wrappers.ForgetsThatItIsReadOnly,
    wrappers.TakesEverythingAsReadOnly,
    wrappers.TakesUnsignedForSigned,
    wrappers.TakesBooleansForNumbers,
    wrappers.IgnoresLanes,
    wrappers.LeavesTheNameAsItWas,
    wrappers.ConsumesTwice,
    wrappers.NeverReleases,
    wrappers.ReleasesTwice,
    wrappers.HoldsNothingByItsExports,
    wrappers.ReleasesWhatItTakes,
    wrappers.WritesToTheStruct,
    wrappers.IgnoresTheMajorVersion,
    wrappers.AsksForLegacy,
    wrappers.CallsByPosition,
    wrappers.NamesAStreamOnTheHost,
    wrappers.HidesTheProducersError,
    wrappers.NeverAsksAgain,
    IgnoresTheByteOrder,
    TakesDatesForNumbers,
)
