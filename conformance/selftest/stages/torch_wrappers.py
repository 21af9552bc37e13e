"""Stage ``torch-wrappers``: the real PyTorch with the reference on host memory, in a wrapper with one fault.

The stage omits invariants that PyTorch itself violates: negative strides end the process, a copy is not flagged, and exceptions are of
other classes than the standard names. PyTorch has no read-only tensors.
"""

from __future__ import annotations

from conformance.selftest import real, wrappers
from conformance.selftest.wrapping import Real, add

_NAME = "torch"


STAGE = real.stage(_NAME, "the real PyTorch with the reference, on host memory")
add(
    STAGE,
    Real(_NAME, lambda array: array.clone(), lambda array: int(array.untyped_storage().data_ptr())),
    wrappers.ExportsACopy,
    wrappers.SharesWhereACopyIsAskedFor,
    wrappers.CopiesWhereSharingIsAskedFor,
    wrappers.DropsTheOffset,
    wrappers.CountsAnOffsetTwice,
    wrappers.KeepsTheFirstPointer,
    wrappers.ExportsWhatIsGone,
    wrappers.ExportsStridesAsIfPacked,
    wrappers.ExportsNoStrides,
    wrappers.ExportsStridesInBytes,
    wrappers.ExportsTheShapeBackwards,
    wrappers.ExportsBooleansAsNumbers,
    wrappers.HalvesComplexNumbers,
    wrappers.LosesTheSign,
    wrappers.ExportsBfloatAsHalf,
    wrappers.TellsAnotherDevice,
    wrappers.ContradictsTheCapsule,
    wrappers.TellsEverythingReadOnly,
    wrappers.SetsUndefinedFlags,
    wrappers.AlwaysExportsVersioned,
    wrappers.KnowsNoKeywords,
    wrappers.NamesCapsulesWrong,
    wrappers.GivesOneCapsuleTwice,
    wrappers.ExportsWithoutDeleter,
    wrappers.CopiesWhatItTakes,
    wrappers.IgnoresByteOffset,
    wrappers.TakesUnsignedForSigned,
    wrappers.TakesBfloatForHalf,
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
    without=("pointer.values",),
)
