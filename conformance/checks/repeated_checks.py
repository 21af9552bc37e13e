"""Checks that each point repeats on arrays of its kind: exchanges with a further level changed, and checks of other families."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from conformance.adapters.base import Adapter, Device, Protocol, Trait
from conformance.protocols.dtypes import DTYPES

from .libraries import REFERENCE
from .points import LAYOUTS, NO_STRIDES, OFFSETS, PATHS, RANKS, SIZES, SPLIT, Point, Reach

_DLPACK, _CAI = (Protocol.DLPACK,), (Protocol.CAI,)
_BOTH = (Protocol.DLPACK, Protocol.CAI)
_HOST, _DEVICE = (Device.HOST,), (Device.CUDA, Device.SIMULATED)
_ANYWHERE = tuple(Device)


EXCHANGE = "combination.exchange"
"""The invariant for a single exchange, without further checks."""


@dataclass(frozen=True)
class Repeated:
    """A repeated check: an invariant with the options of a case, and the levels that the point gets for it.

    Layout and element type are those of the point. ``of`` is the side that the check is about: ``producer``, ``consumer`` or ``either``. The
    reference must be on the other side. With ``any`` it does not have to be.
    """

    invariant: str
    options: tuple[tuple[str, str], ...] = ()
    of: str = "either"
    levels: tuple[tuple[str, str], ...] = ()
    protocols: tuple[Protocol, ...] = _DLPACK
    devices: tuple[Device, ...] = _ANYWHERE
    needs_elements: bool = False
    is_packed: bool = False
    is_slow: bool = False
    """True if the check needs long for each element, so that it does not run on a ``large`` array."""
    legacy: bool = False
    """True if the check requests legacy capsules, which have no read-only bit."""
    writes: bool = False
    """True if the check writes the elements. Then no two elements may share memory."""
    changes_the_array: bool = False
    """True if the check changes the producer's array. Then the array must not be an import of another array."""
    is_risky: bool = False
    """True if the check crashes the process with some libraries."""
    copies: bool = False
    """True if the check also applies to an import with ``copy=``. At such a point the consumer gets the keyword."""
    releases: bool = False
    """True if the check waits for a release."""
    producer: frozenset[Trait] = frozenset()
    consumer: frozenset[Trait] = frozenset()

    def applies(self, point: Point, producer: Adapter, consumer: Adapter, protocol: Protocol, device: Device) -> bool:
        """Return whether the check applies to this exchange. ``point`` already has the changed levels."""
        watched = {"producer": consumer.name == REFERENCE, "consumer": producer.name == REFERENCE, "any": True}
        if (
            protocol not in self.protocols
            or device not in self.devices
            or not watched.get(self.of, REFERENCE in (producer.name, consumer.name))
        ):
            return False
        return (
            (not self.needs_elements or point.size != "empty")
            and (not self.is_packed or (point.layout == "packed" and not point.is_far))
            and (not self.writes or point.access == "writable" or self.of == "consumer")
            and not (point.size == "large" and self.is_slow and (len(point.changed) > 1 or not self.writes))
            and not (point.is_far and (self.writes or "dtype" in dict(self.levels)))
            and producer.traits >= self.producer
            and consumer.traits >= self.consumer
        )

    @property
    def keeps_count(self) -> bool:
        """True if the check can run on an array after an earlier exchange. A check of releases would count both exchanges."""
        return not self.changes_the_array and (not self.releases or self.invariant == "lifetime.nothing-left")

    def at(self, point: Point, *, is_of_reference: bool) -> Point:
        """Return the nearest point at which the check can run: with its levels, and without incompatible levels."""
        return _at(self, point, is_of_reference)

    def _at(self, point: Point, *, is_of_reference: bool) -> Point:
        found = point.nearest(self.levels, is_of_reference=is_of_reference)
        fixed, is_versioned = dict(self.levels), ("struct", "versioned") in self.options
        apart = {
            "access": found.access == "readonly" and ((self.legacy and not is_versioned) or (self.writes and self.of != "consumer")),
            "path": found.path in ("reexport", "far-reexport") and self.changes_the_array,
            "layout": found.layout == "broadcast" and self.writes,
            "form": (found.is_legacy and is_versioned) or (found.form in (*NO_STRIDES, *SPLIT) and self.invariant != EXCHANGE),
            "content": self.invariant != EXCHANGE,
            "count": found.count == "hundredth" and self != PLAIN,  # the process has made a hundred exchanges already
        }  # fmt: skip
        for name, is_apart in apart.items():
            if is_apart and name not in fixed:
                found = found.without(name)
        return found


@lru_cache(maxsize=1024)
def _at(one: Repeated, point: Point, is_of_reference: bool) -> Point:
    """Return the point for a check. The results are cached, because each check needs its point several times."""
    return one._at(point, is_of_reference=is_of_reference)


def missing(checks: Iterable[Repeated], found: Reach) -> tuple[tuple[str, str], ...]:
    """Return the levels that these checks need and that the exchange cannot have."""
    return tuple(sorted({level for one in checks for level in one.levels} - found.levels))


def _of(
    invariant: str, of: str, *, option: str = "", values: tuple[str, ...] = ("",), **more: object
) -> Iterator[Repeated]:
    for value in values:
        yield Repeated(invariant, ((option, value),) if option else (), of, **more)  # type: ignore[arg-type]


PLAIN = Repeated(EXCHANGE, of="any", protocols=tuple(Protocol))
"""The exchange at the point itself."""


def one_level(name: str, level: str) -> Repeated:
    """Return an exchange with this level changed."""
    return Repeated(EXCHANGE, levels=((name, level),), protocols=_BOTH)


def _with(*levels: tuple[str, str], **more: object) -> Repeated:
    return Repeated(EXCHANGE, levels=levels, protocols=_BOTH, is_slow=True, **more)  # type: ignore[arg-type]


_WRITES = frozenset({Trait.WRITES})
_COPIES = frozenset({Trait.COPY_KEYWORD})
_READS_ONLY = frozenset({Trait.READONLY})
_STRUCTS = ("versioned", "legacy")
_WRITABLE, _FEW = ("access", "writable"), ("size", "few")
_EMPTY, _LOCKED, _LEGACY = ("size", "empty"), ("access", "readonly"), ("form", "legacy")
_SCALAR = ("rank", "rank-0")
_TYPES = (
    "bool",
    "uint8",
    "int16",
    "int32",
    "int64",
    "float16",
    "bfloat16",
    "float64",
    "complex64",
    "complex128",
    "float8_e4m3fn",
)
"""One element type of each width and each kind."""
EXCHANGES: tuple[Repeated, ...] = (
    *(_with(level) for level in (
        ("rank", "rank-2"), ("size", "few"), ("offset", "offset-0"), ("access", "writable"), ("dtype", "float32"), ("path", "own"), ("form", ""),
    )),
    one_level("layout", "packed"),
    *(_with(("dtype", name)) for name in _TYPES),
    *(_with(("layout", name)) for name in ("transposed", "padded", "stepped", "reversed", "broadcast")),
    *(_with(("rank", name)) for name in ("rank-0", "rank-1", "rank-3")),
    *(_with(("size", name)) for name in ("empty", "one", "long")),
    *(_with(("offset", name)) for name in ("offset-1", "offset-far")),
    _with(("path", "view")), _with(("path", "reexport")), _with(("count", "second")), _with(("count", "again")), _with(("count", "beside")),
    _with(_LOCKED, producer=_READS_ONLY), _with(_LOCKED, ("path", "view"), producer=_READS_ONLY), _with(_LOCKED, ("offset", "offset-1"), producer=_READS_ONLY),
    _with(_LOCKED, ("path", "reexport"), producer=_READS_ONLY), _with(("path", "shared"), ("offset", "offset-1"), consumer=_COPIES), _with(("content", "zeros")), _with(("content", "raw")), _with(_SCALAR, ("offset", "offset-1")), _with(("path", "after-refusal")),
)  # fmt: skip
"""Exchanges with a further level changed, in some cases back to its default. They detect faults that need this level and two others."""
FORMS: tuple[Repeated, ...] = (
    Repeated(EXCHANGE, levels=(_LEGACY, _WRITABLE)), Repeated(EXCHANGE, levels=(("form", "version-1.0"),)),
    Repeated(EXCHANGE, levels=(("path", "copy"),), consumer=_COPIES), Repeated(EXCHANGE, levels=(("path", "shared"),), consumer=_COPIES),
    *(Repeated(EXCHANGE, of="consumer", levels=(("form", name),)) for name in SPLIT),
    *(Repeated(EXCHANGE, of="consumer", is_risky=True, levels=(("form", name), ("layout", "packed"))) for name in NO_STRIDES),
    Repeated(EXCHANGE, levels=(_LEGACY, _WRITABLE, _FEW)), Repeated(EXCHANGE, levels=(("form", "version-1.0"), _FEW)),
    Repeated(EXCHANGE, levels=(("path", "copy"), _LEGACY, _WRITABLE), consumer=_COPIES),
    Repeated(EXCHANGE, levels=(("path", "copy"), ("layout", "transposed")), consumer=_COPIES),
)  # fmt: skip
CHECKS: tuple[Repeated, ...] = (
    # answers of a producer
    *_of("capsule.name", "producer", legacy=True, option="struct", values=_STRUCTS),
    *_of("negotiation.signature", "producer", option="keyword", values=("all", "stream")),
    *_of("negotiation.copied-flag", "producer", option="copy", values=("true", "false"), needs_elements=True),
    *_of("negotiation.version", "producer", option="asked", values=("none", "1.0", "1.99")),
    *_of("negotiation.device-argument", "producer", option="asked", values=("own",)),
    *_of("negotiation.device-argument", "producer", option="asked", values=("unknown",)),
    *_of("negotiation.device-report", "producer"),
    *_of("device.reported", "producer", legacy=True, needs_elements=True),
    *_of("negotiation.host-stream", "producer", legacy=True, option="stream", values=("none",), devices=_HOST),
    *_of("negotiation.cuda-stream", "producer", legacy=True, option="stream", values=("none", "legacy", "unsynchronised"), devices=_DEVICE),
    *_of("negotiation.defined-flags", "producer"),
    *(
        Repeated("negotiation.keywords-together", (("max_version", version), *more), "producer", needs_elements=True)
        for version in ("version-none", "version-1.0", "version-1.9")
        for more in ((("copy", "copy-true"), ("dl_device", "device-own")), (("copy", "copy-false"), ("dl_device", "device-own")))
    ),
    *_of("pointer.copy-false-elsewhere", "producer"),
    *_of("cai.host-absent", "producer", devices=_HOST),
    *_of("lifetime.native-thread", "producer", option="struct", values=_STRUCTS, releases=True),
    *_of("dtype.export", "producer", legacy=True, option="capsule", values=("newest", "plain")),
    *_of("layout.capsule-strides", "producer", legacy=True, option="capsule", values=("newest", "legacy")),
    *_of("layout.capsule-strides", "producer", legacy=True, option="capsule", values=("legacy",), levels=(("layout", "stepped"),)),
    *_of("layout.unit-strides-export", "producer", changes_the_array=True, legacy=True, option="stride", values=("zero", "odd"), levels=(("size", "one"),)),
    *_of(
        "cai.form", "producer", option="key", protocols=_CAI,
        values=("shape", "typestr", "data", "version", "strides", "descr", "mask", "stream"),
    ),
    *_of("cai.form", "producer", option="key", values=("shape", "data", "strides"), protocols=_CAI, levels=(("layout", "reversed"),)),
    *_of("cai.form", "producer", option="key", values=("data",), protocols=_CAI, levels=(_EMPTY,)),
    *_of("cai.required-keys", "producer", protocols=_CAI),
    *_of("dtype.typestr", "producer", protocols=_CAI),
    *_of("cai.device-address", "producer", protocols=_CAI, needs_elements=True),
    *_of("readonly.legacy-export", "producer", copies=True, levels=(_LOCKED,), producer=_READS_ONLY),
    *_of("readonly.export", "producer", changes_the_array=True, levels=(_LOCKED,), protocols=_BOTH, producer=_READS_ONLY),
    *_of(
        "readonly.export", "producer", changes_the_array=True, levels=(_WRITABLE,), protocols=_BOTH, producer=_READS_ONLY,
        option="after", values=("export",),
    ),
    # imports of a consumer
    *_of("capsule.renamed", "consumer", copies=True, legacy=True, option="struct", values=_STRUCTS),
    *_of("capsule.second-import", "consumer", releases=True, legacy=True, option="struct", values=_STRUCTS),
    *_of("capsule.struct-untouched", "consumer", copies=True, legacy=True, option="struct", values=_STRUCTS),
    *_of("negotiation.keyword-call", "consumer", copies=True),
    *_of("negotiation.version-request", "consumer", copies=True),
    *_of("negotiation.older-producer", "consumer", legacy=True, option="signature", values=("stream-only", "stream-and-version")),
    *_of("negotiation.producer-error", "consumer", copies=True, option="error", values=("own-class", "type-error")),
    *_of("negotiation.missing-method", "consumer", option="missing", values=("dlpack", "dlpack-device")),
    *_of("negotiation.precedence", "consumer"),
    *_of("negotiation.capsule-name", "consumer", legacy=True, option="struct", values=_STRUCTS),
    *_of("negotiation.newer-minor", "consumer"),
    *_of("negotiation.unknown-device", "consumer", copies=True, option="device", values=("rocm", "only-in-capsule")),
    *_of("layout.null-strides", "consumer", is_risky=True, option="capsule", values=("legacy", "1.0"), levels=(("layout", "packed"),), is_packed=True),
    *(
        Repeated("pointer.byte-offset", (("view", "packed"), ("offset", "aligned"), ("capsule", struct)), "consumer", needs_elements=True)
        for struct in _STRUCTS
    ),
    *_of("lifetime.null-deleter", "consumer", copies=True, releases=True, is_risky=True, legacy=True, option="struct", values=_STRUCTS),
    *_of("lifetime.null-context", "consumer", copies=True, releases=True, is_risky=True, legacy=True, option="struct", values=_STRUCTS),
    *(
        Repeated("lifetime.failed-import", (("struct", "versioned"), ("damage", damage)), "consumer", copies=True, releases=True)
        for damage in ("type-code", "device")
    ),
    *_of("layout.unit-strides-import", "consumer", option="stride", values=("zero", "odd"), levels=(("size", "one"),)),
    *_of("readonly.accepted", "consumer", needs_elements=True),
    *_of("readonly.import", "consumer", needs_elements=True, protocols=_BOTH, consumer=_READS_ONLY),
    *_of("cai.versions", "consumer", option="version", values=("0", "2", "3", "4"), protocols=_CAI),
    *_of("cai.unknown-keys", "consumer", protocols=_CAI),
    *_of("cai.mask", "consumer", protocols=_CAI),
    *(
        Repeated("cai.optional-keys", (("key", key), ("form", "absent")), "consumer", protocols=_CAI, levels=levels, is_packed=bool(levels))
        for key, levels in (("strides", (("layout", "packed"),)), ("stream", ()), ("descr", ()), ("mask", ()))
    ),
    *_of("layout.stride-forms", "consumer", needs_elements=True, option="strides", values=("missing", "none", "explicit"), protocols=_CAI, levels=(("layout", "packed"),), is_packed=True),
    # both sides
    *_of("pointer.producer-write-seen", "either", is_slow=True, writes=True, protocols=_BOTH, needs_elements=True, producer=_WRITES),
    *_of("pointer.producer-write-seen", "consumer", is_slow=True, writes=True, protocols=_BOTH, needs_elements=True, producer=_WRITES, levels=(_LOCKED,)),
    *_of("pointer.consumer-write-seen", "either", is_slow=True, writes=True, protocols=_BOTH, needs_elements=True, consumer=_WRITES),
    *_of("pointer.imports-apart", "either", option="first", values=("kept", "dropped"), protocols=_BOTH, needs_elements=True),
    *_of("pointer.copy-true", "either", is_slow=True, writes=True, needs_elements=True, consumer=_COPIES),
    *_of("pointer.copy-false", "either", needs_elements=True, consumer=_COPIES),
    *_of("pointer.copy-false", "either", needs_elements=True, consumer=_COPIES, levels=(("layout", "padded"),)),
    *_of("pointer.copy-false", "either", needs_elements=True, consumer=_COPIES, levels=(("offset", "offset-1"),)),
    *_of("layout.empty-import", "either", protocols=_BOTH, levels=(_EMPTY,)),
    *_of("layout.contiguity", "either", protocols=_BOTH, consumer=frozenset({Trait.CONTIGUITY})),
    *_of("layout.contiguity", "either", protocols=_BOTH, consumer=frozenset({Trait.CONTIGUITY}), levels=(("layout", "stepped"),)),
    *_of("lifetime.nothing-left", "either", releases=True, option="by", values=("own",), protocols=_BOTH),
    *_of("lifetime.nothing-left", "either", releases=True, option="by", values=("copy",), consumer=_COPIES),
    *_of("lifetime.nothing-left", "producer", releases=True, option="by", values=("refused-export",)),
    *_of("lifetime.nothing-left", "consumer", releases=True, option="by", values=("refused-import",), protocols=_BOTH),
    *_of("threads.release-elsewhere", "either", option="build", values=("gil",), protocols=_BOTH, copies=True, releases=True),
)  # fmt: skip
REPEATED = (*FORMS, *EXCHANGES[:-1], *CHECKS, EXCHANGES[-1])
"""All repeated checks. The exchange after a refusal comes last, because some libraries fail only before their first refusal."""


_FACTORS = {"dtype": tuple(DTYPES), "layout": LAYOUTS, "rank": RANKS, "size": SIZES, "offset": OFFSETS, "path": PATHS}
LEVELS = tuple(
    one_level(name, level)
    for name, levels in _FACTORS.items()
    for level in levels
    if ((name, level),) not in {one.levels for one in EXCHANGES}
)
"""Exchanges with each single level that is not in :data:`EXCHANGES`."""
