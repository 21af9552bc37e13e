"""Faults without conditions, each with the rule that leaves it out. Tests compare each rule with the faults that it names."""

from __future__ import annotations

_ILLEGAL = "it shows only where something illegal or foreign is handed over, which has cases of its own"
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
    _ILLEGAL: (
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
        "source.ReusesTheOneBeside",
        "source.WipesWhatItLeaves",
    ),
    _PAST: (
        "past.AnyStreamForWhatItBorrowed",
        "past.FirstWriterForGood",
        "past.NoStreamForWhatItBorrowed",
        "past.WaitsForItsPast",
        "past.WaitsForWhatItBorrowed",
        "past.WorkOnImportsForgotten",
    ),
}
"""Each rule with the names of the faults that it leaves out."""

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
"""Faults that refuse an array. A library may refuse what is not plain, so they are wrong only under conditions that plain arrays meet."""

UNSEEN: dict[str, str] = {name: rule for rule, names in RULES.items() for name in names}
"""Name of a fault to the rule that leaves it out. A test holds this list against the witness of each fault."""
