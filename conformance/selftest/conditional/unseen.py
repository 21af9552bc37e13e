"""Faults without conditions, each with the rule that excludes it. Tests compare each rule with the faults that it names."""

from __future__ import annotations

from collections.abc import Iterable

ILLEGAL = "it shows only where something illegal or foreign is handed over, which has cases of its own"
_TYPES = "it shows only with element types that are foreign to the exchange of numbers, which have cases of their own"
_STRIDES = "it shows only with strides or ranks that have cases of their own"
_STREAMS = "it shows only with a stream that is named, which has cases of its own"
_RACE = "it shows only where threads race or an exception is in flight, which has cases of its own"
_STATE = "it shows only with an array whose elements are not in memory"
_CHANGE = "it shows only where something is done to an array that is exchanged already, which has cases of its own"
_PAST = "it shows only with an array or with memory that has a past, which has cases of its own"

OBSERVED = "no document forbids it, so the suite only observes it"
MAY_REFUSE = "it refuses what the protocol lets a library refuse, except for a plain array or an array of its own"
OWN_CONDITION = (
    "it is wrong under a condition already: after thousands of exchanges, across a fork, or in another thread"
)

RULES: dict[str, tuple[str, ...]] = {
    OBSERVED: (
        "cai.NewestOwnerHeld",
        "cai.OwnerForgotten",
        "layout.RefusesInSilence",
        "lifetime.DictionariesKept",
        "negotiation.AnyStreamTaken",
        "negotiation.DefaultStreamsTakenOnHost",
        "negotiation.HostStreamBesideAVersion",
        "negotiation.KeywordsSwallowed",
        "negotiation.TurnAbout",
        "negotiation.ZeroTakenForLegacy",
        "pointer.ExtentOfAPackedArray",
        "pointer.ExtentOfWholeRows",
        "pointer.ExtentsSummed",
        "readonly.BitReadAsWritable",
        "readonly.LegacyCapsulesOnly",
        "readonly.LegacyLocked",
        "readonly.OlderStructsLocked",
        "readonly.ReadOnlyInLegacyCapsule",
    ),
    MAY_REFUSE: (
        "dtype.BrainFloatsRefused",
        "pointer.CopyFalseRefused",
        "pointer.CopyTrueRefused",
    ),
    OWN_CONDITION: (
        "lifetime.EveryFourThousandthExportKept",
        "lifetime.EveryFourThousandthImportKept",
        "lifetime.ExportsKeptAfterThousands",
        "lifetime.ImportsKeptAfterThousands",
        "lifetime.NewMemoryInAFork",
        "lifetime.NothingReleasedAfterAFork",
        "lifetime.ReleasesOnlyWhereItTook",
        "lifetime.WipedInAFork",
        "threads.NarrowOnlyReleasedAtHome",
        "threads.ShapeOfTheLast",
        "threads.TypeOfTheLast",
    ),
    ILLEGAL: (
        "cai.AddressJudgedByItsLooks",
        "cai.AddressUnchecked",
        "cai.LaterVersionsCopied",
        "cai.MaskBecomesNoMask",
        "cai.MaskDropped",
        "cai.MissingTypeIsDouble",
        "cai.NegativeExtentsTaken",
        "cai.OffsetKeyRead",
        "cai.UnknownKeysRefused",
        "device.ForeignKindIsNotRead",
        "layout.EmptyMustBeNull",
        "layout.ExtentsUnchecked",
        "layout.NegativeRankIsNone",
        "layout.NullShapeIsEmpty",
        "lifetime.FailedExportFreesTheArray",
        "lifetime.FreesWithoutDeleter",
        "negotiation.ForeignStructKept",
        "negotiation.HostArraysUploaded",
        "negotiation.MajorNotChecked",
        "negotiation.MinorMustMatch",
        "negotiation.MissingMethodIsRuntimeError",
        "negotiation.NewerElementsTakenForBytes",
        "negotiation.ShortDeviceIndexed",
        "negotiation.VersionsLookedUp",
        "pointer.ByteOffsetLostOnExport",
    ),
    _TYPES: (
        "dtype.ByteOrderIgnored",
        "dtype.ComplexSwappedWhole",
        "dtype.DatesTakenForIntegers",
        "dtype.LanesIgnored",
        "dtype.LanesWithoutTheirStrides",
        "dtype.NarrowFloatsAsWider",
        "dtype.NarrowFloatsInBytes",
        "dtype.NibblesTheWrongWayRound",
        "dtype.PaddedWithoutPadding",
        "dtype.RecordsAsIntegers",
        "dtype.RefusedByTypeError",
        "dtype.UnknownAsFloat",
        "dtype.PaddingIgnored",
        "dtype.UnusualWidthsNarrowed",
    ),
    _STRIDES: (
        "layout.DimensionsCutOff",
        "layout.ExtentsIn32Bits",
        "layout.PartialStridesByAttributeError",
        "layout.PartialStridesRounded",
        "layout.PartialStridesRoundedInBytes",
        "layout.PixelsFolded",
        "layout.StridesBeyondEightLost",
        "layout.StridesInWholeElements",
        "layout.UnitDimensionsDropped",
        "layout.UnitStridesChecked",
        "lifetime.SlicesKept",
    ),
    _STREAMS: (
        "negotiation.MinusOneRefused",
        "negotiation.NegativeMeansNoWait",
        "negotiation.NegativeStreamOverflows",
        "negotiation.StreamMadeAnInt",
        "negotiation.StreamsRefused",
    ),
    _RACE: (
        "capsule.BothGiveUp",
        "capsule.DestructorLosesExceptions",
        "capsule.MarkedTooLate",
        "threads.LastImportWins",
        "threads.OneExportAtATime",
        "threads.OneImportAtATime",
        "threads.RenamesLate",
    ),
    _STATE: (
        "state.LastErrorKept",
        "state.PendingIgnored",
        "state.PendingIsAnError",
        "state.RefusedArraysKept",
    ),
    _CHANGE: (
        "source.HoldsTheArrayAlone",
        "source.KeepsTheNewestMemoryAlone",
        "source.LargeArraysUnheld",
        "source.LaterExportsUnheld",
        "source.LegacyExportsUnheld",
        "source.ReadOnlyArraysUnheld",
        "source.ReusesTheOneBeside",
        "source.SmallArraysUnheld",
        "source.ViewsHoldTheirArrayAlone",
        "source.WipesWhatItLeaves",
    ),
    _PAST: (
        "past.AnyStreamForWhatItBorrowed",
        "past.FirstWriterForGood",
        "past.NoStreamForWhatItBorrowed",
        "past.WaitsForItsPast",
        "past.WaitsForWhatItBorrowed",
        "past.WorkOnImportsForgotten",
        "pointer.ShapesKnownByAddress",
        "pointer.TypesKnownByAddress",
    ),
}
"""The faults that each rule excludes."""

REFUSALS = frozenset(
    {
        "dtype.BooleansRefused",
        "layout.ExplicitStridesRefused",
        "layout.ZeroStrideRefused",
        "lifetime.ContextExpected",
        "lifetime.DeleterExpected",
        "negotiation.TwoKeywordsRefused",
        "negotiation.VersionedRefusedThoughAsked",
        "negotiation.VersionedTakenForGranted",
        "readonly.ReadOnlyRefused",
    }
)
"""Faults that refuse an array. A library may refuse unusual arrays, so these faults only get conditions that plain arrays meet."""

UNSEEN: dict[str, str] = {name: rule for rule, names in RULES.items() for name in names}
"""The rule that excludes a fault, by name. A test compares this with the witness of each fault."""

_EMPTY, _COPY, _SHARED = ("size", "empty"), ("path", "copy"), ("path", "shared")
HARMLESS: dict[tuple[str, str], dict[str, tuple[str, ...]]] = {
    _EMPTY: {
        "an array without elements has no memory to share, to keep or to copy": (
            "capsule.OwnerNotHeld",
            "dtype.BooleansCopied",
            "lifetime.ImportNotHeldByItsExport",
            "lifetime.OwnerNotHeld",
            "lifetime.ReleasedAtOnce",
            "lifetime.ReleasedOnAnotherThread",
            "negotiation.CopiesOnceRefused",
            "negotiation.CopiesVersionedOnly",
            "negotiation.CopyNotMade",
            "negotiation.LegacyReadAsVersioned",
            "negotiation.VersionedReadAsLegacy",
            "pointer.CopyNotMade",
        ),
        "the strides of an array without elements mean nothing (DLP-53)": (
            "cai.NoStridesMeansColumnMajor",
            "layout.BytesTakenForElements",
            "layout.NullStridesColumnMajor",
        ),
        "an array without elements cannot be written": ("readonly.AlwaysReadOnly", "readonly.PartsLocked"),
    },
    ("size", "one"): {"the stride of an extent of 1 means nothing (DLP-22)": ("layout.BytesTakenForElements",)},
    ("size", "large"): {
        "the suite tries element types with smaller arrays": ("dtype.BooleansRefused",),
        "the suite tries strides of 0 at an extent of 1 with smaller arrays": ("layout.ZeroStrideRefused",),
    },
    **{
        ("kind", kind): {"the array interface has no letter for the element type": ("pointer.PublishesACopy",)}
        for kind in ("bfloat", "float8")
    },
    _COPY: {
        "a producer may refuse ``copy=True``": ("negotiation.StreamRequiredOnCuda",),
        "a copy is packed": ("layout.StridesIn32Bits", "layout.StridesReadUnsigned"),
        "no document forbids a copy that is read-only": ("readonly.AlwaysReadOnly",),
        "a producer of an older edition knows no ``copy``": ("negotiation.OlderSignature",),
        "no check sees the object behind the struct of a copy": ("capsule.DeleterReleasesNothing",),
    },
    _SHARED: {
        "a consumer with ``copy=False`` may refuse a producer that does not know it": (
            "negotiation.NoFewerKeywords",
            "negotiation.OneEditionBack",
        ),
        "without ``copy`` a producer shares all the same": ("pointer.CopyNotAskedFor",),
        "a producer may refuse ``copy=False``": ("negotiation.StreamRequiredOnCuda",),
    },
    ("form", "1.0"): {"NULL strides are legal before DLPack 1.2 (DLP-21)": ("layout.StridesNull",)},
    ("form", "legacy"): {"a legacy capsule cannot say that an array may be written": ("readonly.EverythingLocked",)},
    ("layout", "stepped"): {"a library may refuse what is not packed": ("layout.UnitStridesJudged",)},
    ("access", "writable"): {"no document forbids a copy that is read-only": ("readonly.AnotherBitRead",)},
    ("access", "readonly"): {
        "a read-only array is refused to a consumer that names no version": (
            "negotiation.CopiesVersionedOnly",
            "negotiation.NoneVersionIndexed",
        )
    },
}
"""Levels at which a fault breaks no promise, or none that the suite checks: the reasons, and the faults."""


def harmless(name: str, condition: Iterable[tuple[str, str]]) -> bool:
    """Return ``True`` if a fault of the reference breaks no promise under this condition, by :data:`HARMLESS`."""
    return any(name in names for level in condition for names in HARMLESS.get(level, {}).values())
