"""Checks of other families that a point makes on arrays of its kind, and where each of them says something."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from conformance.adapters.base import Adapter, Device, Protocol, Trait

from .libraries import REFERENCE
from .points import Point

_DLPACK, _CAI = (Protocol.DLPACK,), (Protocol.CAI,)
_BOTH = (Protocol.DLPACK, Protocol.CAI)
_HOST, _DEVICE = (Device.HOST,), (Device.CUDA, Device.SIMULATED)
_ANYWHERE = tuple(Device)


@dataclass(frozen=True)
class Repeated:
    """An invariant with the options of a case, less layout and element type, which are those of the point.

    ``of`` is the side that it is about, ``producer``, ``consumer`` or ``either``: the reference has to stand on the other one.
    """

    invariant: str
    options: tuple[tuple[str, str], ...]
    of: str
    protocols: tuple[Protocol, ...] = _DLPACK
    devices: tuple[Device, ...] = _ANYWHERE
    needs_elements: bool = False
    is_packed: bool = False
    writes: bool = False
    """Writes the elements, each of which has to have a place of its own."""
    releases: bool = False
    """Waits until something is released."""
    access: str = ""
    size: str = ""
    producer: frozenset[Trait] = frozenset()
    consumer: frozenset[Trait] = frozenset()

    def applies(self, point: Point, producer: Adapter, consumer: Adapter, protocol: Protocol, device: Device) -> bool:
        """Whether it says something about this exchange."""
        watched = {"producer": consumer.name == REFERENCE, "consumer": producer.name == REFERENCE}
        if (
            protocol not in self.protocols
            or device not in self.devices
            or not watched.get(self.of, any(watched.values()))
        ):
            return False
        return (
            (not self.needs_elements or point.size != "empty")
            and (not self.is_packed or point.layout == "packed")
            and (not self.writes or point.layout != "broadcast")
            and not (point.form == "legacy" and ("struct", "versioned") in self.options)
            and self.access in ("", point.access)
            and self.size in ("", point.size)
            and producer.traits >= self.producer
            and consumer.traits >= self.consumer
        )


def _of(
    invariant: str, of: str, *, option: str = "", values: tuple[str, ...] = ("",), **more: object
) -> Iterator[Repeated]:
    for value in values:
        yield Repeated(invariant, ((option, value),) if option else (), of, **more)  # type: ignore[arg-type]


_WRITES = frozenset({Trait.WRITES})
_STRUCTS = ("versioned", "legacy")
REPEATED: tuple[Repeated, ...] = (
    # what a producer answers
    *_of("capsule.name", "producer", option="struct", values=_STRUCTS, access="writable"),
    *_of("negotiation.signature", "producer", option="keyword", values=("all", "stream"), needs_elements=True, access="writable"),
    *_of("negotiation.copied-flag", "producer", option="copy", values=("true", "false"), needs_elements=True),
    *_of("negotiation.version", "producer", option="asked", values=("none", "1.99")),
    *_of("negotiation.device-argument", "producer", option="asked", values=("own",), needs_elements=True, access="writable"),
    *_of("negotiation.device-argument", "producer", option="asked", values=("unknown",)),
    *_of("negotiation.device-report", "producer", access="writable"),
    *_of("negotiation.host-stream", "producer", option="stream", values=("none",), devices=_HOST, access="writable"),
    *_of("negotiation.cuda-stream", "producer", option="stream", values=("none",), devices=_DEVICE, access="writable"),
    *_of("pointer.copy-false-elsewhere", "producer"),
    *_of("cai.host-absent", "producer", devices=_HOST),
    *_of("lifetime.native-thread", "producer", option="struct", values=_STRUCTS, releases=True),
    *_of("dtype.export", "producer", option="capsule", values=("newest", "plain"), access="writable"),
    *_of("layout.capsule-strides", "producer", option="capsule", values=("newest", "legacy"), access="writable"),
    *_of(
        "cai.form", "producer", option="key", protocols=_CAI,
        values=("shape", "typestr", "data", "version", "strides", "descr", "mask", "stream"),
    ),
    *_of("cai.required-keys", "producer", protocols=_CAI),
    *_of("dtype.typestr", "producer", protocols=_CAI),
    *_of("cai.device-address", "producer", protocols=_CAI, needs_elements=True),
    *_of("readonly.legacy-export", "producer", access="readonly"),
    # what a consumer makes of it
    *_of("capsule.renamed", "consumer", option="struct", values=_STRUCTS, access="writable"),
    *_of("capsule.second-import", "consumer", option="struct", values=_STRUCTS, access="writable", releases=True),
    *_of("capsule.struct-untouched", "consumer", option="struct", values=_STRUCTS, access="writable"),
    *_of("negotiation.keyword-call", "consumer"),
    *_of("negotiation.version-request", "consumer"),
    *_of("negotiation.older-producer", "consumer", option="signature", values=("stream-only", "stream-and-version"), access="writable"),
    *_of("negotiation.producer-error", "consumer", option="error", values=("own-class", "type-error")),
    *_of("negotiation.missing-method", "consumer", option="missing", values=("dlpack",)),
    *_of("negotiation.capsule-name", "consumer", option="struct", values=_STRUCTS, access="writable"),
    *_of("negotiation.newer-minor", "consumer"),
    *_of("negotiation.unknown-device", "consumer", option="device", values=("rocm", "only-in-capsule")),
    *(
        Repeated("lifetime.failed-import", (("struct", "versioned"), ("damage", damage)), "consumer", releases=True)
        for damage in ("type-code", "device")
    ),
    *_of("readonly.accepted", "consumer", needs_elements=True),
    *_of("readonly.import", "consumer", needs_elements=True, protocols=_BOTH, consumer=frozenset({Trait.READONLY})),
    *_of("cai.versions", "consumer", option="version", values=("0", "2", "3"), protocols=_CAI),
    *_of("cai.unknown-keys", "consumer", protocols=_CAI),
    *_of("layout.stride-forms", "consumer", option="strides", values=("missing", "none", "explicit"), protocols=_CAI, is_packed=True, needs_elements=True),
    # what both do
    *_of("pointer.producer-write-seen", "either", writes=True, protocols=_BOTH, needs_elements=True, access="writable", producer=_WRITES),
    *_of("pointer.consumer-write-seen", "either", writes=True, protocols=_BOTH, needs_elements=True, access="writable", consumer=_WRITES),
    *_of("pointer.imports-apart", "either", option="first", values=("kept", "dropped"), protocols=_BOTH, needs_elements=True),
    *_of("pointer.copy-true", "either", writes=True, needs_elements=True, access="writable", consumer=frozenset({Trait.COPY_KEYWORD})),
    *_of("pointer.copy-false", "either", needs_elements=True, access="writable", consumer=frozenset({Trait.COPY_KEYWORD})),
    *_of("layout.empty-import", "either", protocols=_BOTH, size="empty"),
    *_of("layout.contiguity", "either", protocols=_BOTH, consumer=frozenset({Trait.CONTIGUITY})),
    *_of("threads.release-elsewhere", "either", option="build", values=("gil",), protocols=_BOTH, releases=True),
)  # fmt: skip
