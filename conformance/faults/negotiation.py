"""Faults of negotiation: arguments misread, answers in another form than was asked for."""

from __future__ import annotations

import ctypes
import itertools
from dataclasses import replace
from typing import Any, ClassVar
from weakref import WeakSet

from conformance.protocols.dlpack import (
    LEGACY,
    DLDeviceType,
    DLFlags,
    DLManagedTensor,
    DLManagedTensorVersioned,
    Tensor,
)
from conformance.protocols.dtypes import DLCode, DType, dtype
from conformance.reference.exporter import NEWEST, Exporter
from conformance.reference.importer import Imported, Importer
from conformance.reference.memory import HostMemory
from conformance.reference.streams import LEGACY as LEGACY_STREAM
from conformance.reference.streams import PER_THREAD

from . import fault


@fault("negotiation.version", bugs="readonly-07")
class VersionedUnasked(Exporter):
    """Every consumer gets a versioned capsule, also one that never said that it knows them."""

    def negotiate(self, max_version: tuple[int, int] | None) -> tuple[int, int] | None:
        """Always the newest."""
        return NEWEST


@fault("negotiation.version")
class NewerConsumersGetLess(Exporter):
    """A consumer that knows a newer version than the exporter's own gets a legacy capsule."""

    def negotiate(self, max_version: tuple[int, int] | None) -> tuple[int, int] | None:
        """An exact match or nothing."""
        return None if max_version is None or max_version > NEWEST else super().negotiate(max_version)


@fault("negotiation.copied-flag")
class CopyNotFlagged(Exporter):
    """A copy is exported as if it were the array's own memory."""

    def flags(self, *, copied: bool) -> int:
        """Never copied."""
        return super().flags(copied=False)


@fault("negotiation.copied-flag")
class CopyNotMade(Exporter):
    """``copy=True`` is understood and not obeyed."""

    def copied(self) -> Exporter:
        """The array itself."""
        return self


@fault("negotiation.defined-flags")
class FlagsFromElsewhere(Exporter):
    """A bit of the exporter's own is left in the flags."""

    def flags(self, *, copied: bool) -> int:
        """With a bit that DLPack does not define."""
        return super().flags(copied=copied) | 1 << 8


@fault("negotiation.signature", bugs="capsule-18")
class OlderSignature(Exporter):
    """``dl_device`` and ``copy`` are unknown."""

    def dlpack(self, *, stream: Any = None, max_version: Any = None) -> Any:  # type: ignore[override]
        """As it was before 2023.12."""
        return super().dlpack(stream=stream, max_version=max_version)


@fault("negotiation.device-argument")
class OwnDeviceRefused(Exporter):
    """Any ``dl_device`` is refused, even the array's own."""

    def check_device(self, dl_device: tuple[int, int] | None) -> None:
        """Only ``None``."""
        if dl_device is not None:
            raise BufferError("dl_device is not supported")


@fault("negotiation.device-argument")
class DeviceArgumentIgnored(Exporter):
    """``dl_device`` is taken and not looked at."""

    def check_device(self, dl_device: tuple[int, int] | None) -> None:
        """Anything goes."""


@fault("negotiation.bad-arguments")
class KeywordsSwallowed(Exporter):
    """Keywords that nobody knows are accepted in silence."""

    def __dlpack__(self, *args: Any, **kwargs: Any) -> Any:
        known = ("stream", "max_version", "dl_device", "copy")
        return super().__dlpack__(*args, **{k: v for k, v in kwargs.items() if k in known})


@fault("negotiation.host-stream", "negotiation.ambiguous-stream", "negotiation.negative-stream", bugs="stream-17")
class AnyStreamTaken(Exporter):
    """The stream is not looked at."""

    def check_stream(self, stream: int | None) -> None:
        """Anything goes."""


@fault("negotiation.cuda-stream", bugs="stream-06 stream-17")
class StreamsRefused(Exporter):
    """No stream is taken, not even the legacy default stream under its own number."""

    def check_stream(self, stream: int | None) -> None:
        """Only ``None``."""
        if stream is not None:
            raise BufferError("streams are not supported")


@fault("negotiation.device-report", bugs="device-20 device-23")
class DeviceToldTwoWays(Exporter):
    """``__dlpack_device__`` and the capsule disagree about the device's number."""

    def __dlpack_device__(self) -> tuple[int, int]:
        kind, number = super().__dlpack_device__()
        return kind, number + 1


@fault("negotiation.device-report", "negotiation.device-argument", bugs="device-05")
class DeviceNumberIsNone(Exporter):
    """``__dlpack_device__`` gives no number for a device of which there is one only."""

    def __dlpack_device__(self) -> Any:
        kind, _ = super().__dlpack_device__()
        return kind, None


@fault("negotiation.device-report", "negotiation.device-argument", "pointer.values", bugs="device-05")
class DeviceIsOneNumber(Exporter):
    """``__dlpack_device__`` gives the type of the device alone."""

    def __dlpack_device__(self) -> Any:
        return super().__dlpack_device__()[0]


@fault("negotiation.device-report", bugs="device-05")
class DeviceIsAnObject(Exporter):
    """``__dlpack_device__`` gives names instead of integers."""

    def __dlpack_device__(self) -> Any:
        kind, number = super().__dlpack_device__()
        return str(kind), str(number)


@fault("negotiation.defined-flags")
class PaddedFlagOfBool(Exporter):
    """Booleans are called padded, because a bit would do for each: the flag is for elements of fewer bits than a byte."""

    def flags(self, *, copied: bool) -> int:
        """With the flag for one element type."""
        padded = DLFlags.SUBBYTE_PADDED if self.dtype.code is DLCode.BOOL else DLFlags.NONE
        return super().flags(copied=copied) | padded


@fault("negotiation.signature")
class NoneVersionIndexed(Exporter):
    """``max_version`` may be left out, but ``None`` for it is looked into as if it were a pair."""

    def dlpack(self, **asked: Any) -> Any:
        """Only a pair, if anything."""
        if "max_version" in asked and asked["max_version"] is None:
            raise TypeError("'NoneType' object is not subscriptable")
        return super().dlpack(**asked)


@fault("negotiation.bad-arguments")
class ShortDeviceIndexed(Exporter):
    """A ``dl_device`` that is no pair ends in an ``IndexError``."""

    def check_device(self, dl_device: tuple[int, int] | None) -> None:
        """Believes what it gets."""
        super().check_device(dl_device and (dl_device[0], dl_device[1]))


@fault("negotiation.bad-arguments")
class CopiesOnceRefused(Exporter):
    """After an export that was refused the array is exported by copies."""

    refused = False

    def __dlpack__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().__dlpack__(*args, **kwargs)
        except Exception:
            self.refused = True
            raise

    def placed(self, stream: int | None, dl_device: tuple[int, int] | None, copy: bool | None) -> Exporter:
        """A copy, as if the refusal had said that sharing does not work."""
        return super().placed(stream, dl_device, copy or self.refused)


@fault("negotiation.host-stream", bugs="stream-19")
class StreamRequiredOnHost(Exporter):
    """A stream has to be named to an array in host memory too: -1, because it has none."""

    def check_stream(self, stream: int | None) -> None:
        """The reverse of what the protocol says."""
        if self.device()[0] != DLDeviceType.CPU:
            super().check_stream(stream)
        elif stream != -1:
            raise BufferError("name a stream, -1 if there is none")


@fault("negotiation.host-stream", bugs="stream-17")
class DefaultStreamsTakenOnHost(Exporter):
    """An array in host memory takes the default streams of CUDA, and refuses every other."""

    def check_stream(self, stream: int | None) -> None:
        """1 and 2 are always fine."""
        if stream not in (LEGACY_STREAM, PER_THREAD):
            super().check_stream(stream)


@fault("negotiation.cuda-stream", bugs="stream-17")
class StreamRequiredOnCuda(Exporter):
    """A consumer that names no stream gets nothing."""

    def check_stream(self, stream: int | None) -> None:
        """An int."""
        if stream is None and self.device()[0] == DLDeviceType.CUDA:
            raise TypeError("a stream is an int")
        super().check_stream(stream)


@fault("negotiation.cuda-stream", bugs="stream-17")
class MinusOneRefused(Exporter):
    """-1 is refused as a number that is no stream's."""

    def check_stream(self, stream: int | None) -> None:
        """No number below 1."""
        if stream == -1:
            raise BufferError("stream -1 is not allowed")
        super().check_stream(stream)


@fault("negotiation.ambiguous-stream", bugs="stream-06")
class ZeroTakenForLegacy(Exporter):
    """0 is taken for the legacy default stream."""

    def check_stream(self, stream: int | None) -> None:
        """As the runtime has it."""
        super().check_stream(LEGACY_STREAM if stream == 0 else stream)


@fault("negotiation.ambiguous-stream")
class StreamMadeAnInt(Exporter):
    """A stream that is no int is made one: 1.5 becomes the legacy default stream."""

    def check_stream(self, stream: int | None) -> None:
        """``int`` of anything."""
        super().check_stream(None if stream is None else int(stream))


@fault("negotiation.negative-stream", bugs="stream-17")
class NegativeMeansNoWait(Exporter):
    """Every number below zero is taken for -1."""

    def check_stream(self, stream: int | None) -> None:
        """-1 for all of them."""
        super().check_stream(stream if stream is None else max(stream, -1))


@fault("negotiation.negative-stream")
class NegativeStreamOverflows(Exporter):
    """A stream goes into an unsigned number before it is looked at, and -2 has no place there."""

    def check_stream(self, stream: int | None) -> None:
        """As a wrapper in C does."""
        if stream is not None and stream < -1:
            raise OverflowError("can't convert negative value to size_t")
        super().check_stream(stream)


@fault("negotiation.keyword-call")
class StreamByPosition(Importer):
    """The stream is passed by position."""

    def call_dlpack(self, source: Any, requested: dict[str, Any]) -> Any:
        """As the first argument."""
        return source.__dlpack__(self.stream(), max_version=NEWEST)


@fault("negotiation.version-request", bugs="readonly-03")
class LegacyAskedFor(Importer):
    """The importer never says which version it knows, and so never learns that an array is read-only."""

    def call_dlpack(self, source: Any, requested: dict[str, Any]) -> Any:
        """Without ``max_version``."""
        return source.__dlpack__(stream=self.stream())


@fault("negotiation.stream-request", bugs="stream-08 stream-06")
class DefaultStreamAsZero(Importer):
    """The default stream is passed by its raw handle, which the protocol does not allow."""

    def stream(self) -> int | None:
        """0."""
        return 0


@fault("negotiation.stream-request", bugs="stream-27 stream-20")
class NoStreamNamed(Importer):
    """The importer passes no stream, whatever the device."""

    def stream(self) -> int | None:
        """None at all."""
        return None


@fault("negotiation.older-producer", bugs="capsule-18")
class NoFewerKeywords(Importer):
    """A producer of an older edition is refused: there is no second call with fewer keywords."""

    def call_dlpack(self, source: Any, requested: dict[str, Any]) -> Any:
        """Once, with everything."""
        return source.__dlpack__(stream=self.stream(), max_version=NEWEST, dl_device=None, copy=None)


@fault("negotiation.producer-error", bugs="capsule-24")
class ErrorsReplaced(Importer):
    """Whatever the producer raises becomes a ``RuntimeError``."""

    def call_dlpack(self, source: Any, requested: dict[str, Any]) -> Any:
        """With a class of its own for every failure."""
        try:
            return super().call_dlpack(source, requested)
        except Exception as error:
            raise RuntimeError("the producer failed") from error


@fault("negotiation.missing-method")
class DeviceNotAskedFor(Importer):
    """The importer never asks for the device, so it does not notice that nobody would tell."""

    def take_dlpack(self, source: Any, **requested: Any) -> Imported:
        """Straight to the capsule."""
        return self.take_capsule(self.call_dlpack(source, requested))


@fault("negotiation.capsule-name", bugs="capsule-16 capsule-25")
class VersionedTakenForGranted(Importer):
    """A capsule is expected to be versioned because that was asked for."""

    def check_name(self, offered: object) -> bytes:
        """Legacy capsules are not expected any more."""
        name = super().check_name(offered)
        if name == LEGACY:
            raise BufferError("the capsule is not versioned")
        return name


@fault("negotiation.newer-minor")
class MinorMustMatch(Importer):
    """A struct of a newer minor version is refused."""

    def version_is_ours(self, address: int) -> bool:
        """Up to our own version."""
        version = DLManagedTensorVersioned.from_address(address).version
        return (int(version.major), int(version.minor)) <= NEWEST


@fault("negotiation.foreign-major")
class MajorNotChecked(Importer):
    """A struct of another major version is read as if it were of ours."""

    def version_is_ours(self, address: int) -> bool:
        """Always; the field is changed so that the decoder agrees."""
        DLManagedTensorVersioned.from_address(address).version.major = NEWEST[0]
        return True


@fault("negotiation.foreign-major")
class ForeignStructKept(Importer):
    """A struct of another major version is refused and never released."""

    def call_foreign_deleter(self, address: int) -> None:
        """Not called."""


@fault("negotiation.unknown-device", "negotiation.host-array", bugs="device-07")
class AnyDeviceTaken(Importer):
    """The device is not looked at: any pointer is taken for one of ours."""

    def check_device(self, device: Any) -> None:
        """Anything goes."""

    def stream(self) -> int | None:
        """None, so that no producer objects."""
        return None


@fault("negotiation.precedence")
class TurnAbout(Importer):
    """Of two protocols the importer takes the one and the other in turn."""

    calls: ClassVar[Any] = itertools.count()

    def take_cai(self, source: Any) -> Imported:
        """Every other time by DLPack."""
        return super().take_cai(source) if next(self.calls) % 2 else self.take_dlpack(source)


@fault("negotiation.keyword-call")
class OwnKeywordsPassed(Importer):
    """The producer is asked with a keyword that only the importer's own arrays know, and again without it."""

    def call_dlpack(self, source: Any, requested: dict[str, Any]) -> Any:
        """First among friends."""
        try:
            return source.__dlpack__(stream=self.stream(), max_version=NEWEST, borrowed=True)
        except TypeError:
            return super().call_dlpack(source, requested)


@fault("negotiation.version-request", bugs="readonly-03")
class LegacyAskedForFirst(Importer):
    """The importer asks for a versioned capsule only where it gets no legacy one."""

    def call_dlpack(self, source: Any, requested: dict[str, Any]) -> Any:
        """The old way first."""
        try:
            return source.__dlpack__(stream=self.stream())
        except BufferError:
            return super().call_dlpack(source, requested)


@fault("negotiation.version-request")
class OldVersionNamed(Importer):
    """The importer names the version of the header that it was once built with, which is before 1.0."""

    def call_dlpack(self, source: Any, requested: dict[str, Any]) -> Any:
        """0.8."""
        return source.__dlpack__(stream=self.stream(), max_version=(0, 8))


@fault("negotiation.older-producer", bugs="capsule-18")
class OneEditionBack(Importer):
    """The importer knows how to ask a producer of the edition before, and none that is older."""

    def call_dlpack(self, source: Any, requested: dict[str, Any]) -> Any:
        """Twice, and never without ``max_version``."""
        try:
            return source.__dlpack__(stream=self.stream(), max_version=NEWEST, dl_device=None, copy=None)
        except TypeError:
            return source.__dlpack__(stream=self.stream(), max_version=NEWEST)


@fault("negotiation.producer-error")
class TypeErrorMeansTooOld(Importer):
    """Every ``TypeError`` of the producer is taken for that of an older signature."""

    def call_dlpack(self, source: Any, requested: dict[str, Any]) -> Any:
        """Also one from inside."""
        try:
            return super().call_dlpack(source, requested)
        except TypeError as error:
            raise BufferError("the producer is too old") from error


@fault("negotiation.producer-error", bugs="dtype-10")
class RefusalMadeAnEmptyArray(Importer):
    """Where the producer refuses, the import is an array without elements."""

    def take_dlpack(self, source: Any, **requested: Any) -> Imported:
        """Something, in any case."""
        try:
            return super().take_dlpack(source, **requested)
        except BufferError:
            return Imported(
                self,
                address=0,
                shape=(0,),
                strides=(1,),
                dtype=dtype("uint8"),
                device=self.memory.device,
                readonly=False,
            )


@fault("negotiation.missing-method", bugs="capsule-24")
class MissingMethodIsRuntimeError(Importer):
    """What is no producer is refused with a ``RuntimeError``."""

    def take_dlpack(self, source: Any, **requested: Any) -> Imported:
        """Looks first, and speaks of it in the wrong words."""
        if not (hasattr(source, "__dlpack__") and hasattr(source, "__dlpack_device__")):
            raise RuntimeError("not a DLPack producer")
        return super().take_dlpack(source, **requested)


@fault("negotiation.capsule-name", bugs="capsule-25")
class VersionedReadAsLegacy(Importer):
    """The data pointer of a versioned struct is read where a legacy one has it."""

    def dl_address(self, tensor: Tensor) -> int:
        """Whatever lies at the legacy struct's place."""
        return _word(tensor, DLManagedTensor)


@fault("negotiation.capsule-name", bugs="capsule-16")
class LegacyReadAsVersioned(Importer):
    """The data pointer of a legacy struct is read where a versioned one has it, because a versioned one was asked for."""

    def dl_address(self, tensor: Tensor) -> int:
        """Whatever lies at the versioned struct's place."""
        return _word(tensor, DLManagedTensorVersioned)


def _word(tensor: Tensor, layout: type[DLManagedTensor] | type[DLManagedTensorVersioned]) -> int:
    """The pointer that a struct has where one of this layout begins to describe its tensor."""
    return ctypes.c_uint64.from_address(tensor.address + layout.dl_tensor.offset).value


@fault("negotiation.capsule-name", bugs="capsule-25")
class VersionedRefusedThoughAsked(Importer):
    """A versioned capsule is asked for and then refused, because only the legacy name is known."""

    def check_name(self, offered: object) -> bytes:
        """The old one."""
        name = super().check_name(offered)
        if name != LEGACY:
            raise BufferError(f"expected a capsule named dltensor, got {name.decode()}")
        return name


@fault("negotiation.newer-minor")
class VersionsLookedUp(Importer):
    """A struct's version is looked up in a table of those that there were."""

    def version_is_ours(self, address: int) -> bool:
        """``KeyError`` for any other."""
        version = DLManagedTensorVersioned.from_address(address).version
        return {(major, minor): major == NEWEST[0] for major in (0, 1) for minor in range(NEWEST[1] + 1)}[
            int(version.major), int(version.minor)
        ]


@fault("negotiation.newer-minor")
class NewerElementsTakenForBytes(Importer):
    """The element types of a newer minor version are not trusted: what comes in is bytes."""

    def dl_dtype(self, tensor: Tensor) -> DType:
        """Opaque, if newer than the importer."""
        return dtype("uint8") if (tensor.version or NEWEST) > NEWEST else super().dl_dtype(tensor)


@fault("negotiation.unknown-device", bugs="device-07 device-30")
class DeviceOfTheCapsuleNotRead(Importer):
    """Only ``__dlpack_device__`` is asked: whatever the capsule says, its memory is taken for the importer's own."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        """As if it said what it should."""
        return super().read_tensor(replace(tensor, device=self.memory.device))


@fault("negotiation.unknown-device", "negotiation.host-array", bugs="device-09")
class DeviceRefusedByValueError(Importer):
    """A device that cannot be used is refused with a ``ValueError``."""

    def check_device(self, device: Any) -> None:
        """The right answer in the wrong words."""
        try:
            super().check_device(device)
        except BufferError as error:
            raise ValueError(str(error)) from error


@fault("negotiation.host-array")
class HostArraysUploaded(Importer):
    """An array in host memory is copied to the device, though nobody has asked for that."""

    def take_dlpack(self, source: Any, **requested: Any) -> Imported:
        """Taken on the host, then moved."""
        if self.memory.device[0] == DLDeviceType.CPU or source.__dlpack_device__()[0] != DLDeviceType.CPU:
            return super().take_dlpack(source, **requested)
        host = type(self)(HostMemory())
        return host.moved(host.take_dlpack(source, **requested), self.memory)


@fault("negotiation.precedence")
class InterfaceOfKnownObjects(Importer):
    """An object that was imported before is read through the array interface, whatever was read the first time."""

    known: ClassVar[WeakSet[Any]] = WeakSet()

    def take_dlpack(self, source: Any, **requested: Any) -> Imported:
        """The protocol that was asked for, once."""
        if source in self.known:
            return self.take_cai(source)
        self.known.add(source)
        return super().take_dlpack(source, **requested)


# -- wrong only if keywords come together


@fault("negotiation.keywords-together")
class CopiesVersionedOnly(Exporter):
    """``copy=True`` makes no copy if no version is named."""

    def dlpack(
        self, *, stream: int | None = None, max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None, copy: bool | None = None,
    ) -> Any:  # fmt: skip
        """A legacy export makes no copies."""
        kept = copy if max_version is not None or copy is False else None
        return super().dlpack(stream=stream, max_version=max_version, dl_device=dl_device, copy=kept)


@fault("negotiation.keywords-together")
class LegacyForMinorVersions(Exporter):
    """A consumer that asks for 1.1 to 1.9 gets a legacy capsule."""

    def negotiate(self, max_version: tuple[int, int] | None) -> tuple[int, int] | None:
        """Compares with 1.0 and whole numbers above alone."""
        return super().negotiate(None if max_version is not None and max_version[1] else max_version)


@fault("negotiation.keywords-together")
class HostStreamBesideAVersion(Exporter):
    """A stream for host memory is accepted if a version is named."""

    def dlpack(
        self, *, stream: int | None = None, max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None, copy: bool | None = None,
    ) -> Any:  # fmt: skip
        """The stream is dropped."""
        on_host = self.device()[0] == DLDeviceType.CPU and max_version is not None
        return super().dlpack(
            stream=None if on_host else stream, max_version=max_version, dl_device=dl_device, copy=copy
        )


@fault("negotiation.keywords-together")
class DeviceIgnoredBesideACopy(Exporter):
    """``dl_device`` is ignored if ``copy`` is given."""

    def dlpack(
        self, *, stream: int | None = None, max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None, copy: bool | None = None,
    ) -> Any:  # fmt: skip
        """A copy is made where the array is."""
        return super().dlpack(
            stream=stream, max_version=max_version, dl_device=dl_device if copy is None else None, copy=copy
        )


@fault("negotiation.keywords-together")
class NoCopyBesideItsDevice(Exporter):
    """``copy=True`` makes no copy if the array's own device is named."""

    def placed(self, stream: int | None, dl_device: tuple[int, int] | None, copy: bool | None) -> Exporter:
        """It is there already."""
        return super().placed(stream, dl_device, None if copy and dl_device is not None else copy)


@fault("negotiation.keywords-together")
class TwoKeywordsRefused(Exporter):
    """``copy=False`` beside a version is refused, as if each versioned capsule were of a copy."""

    def dlpack(
        self, *, stream: int | None = None, max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None, copy: bool | None = None,
    ) -> Any:  # fmt: skip
        """``BufferError``."""
        if copy is False and max_version is not None:
            raise BufferError("a versioned capsule needs a copy")
        return super().dlpack(stream=stream, max_version=max_version, dl_device=dl_device, copy=copy)
