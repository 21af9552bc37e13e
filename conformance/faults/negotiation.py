"""Faults of negotiation: misread arguments, and answers in another form than the consumer requested."""

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
    """Returns a versioned capsule to a consumer that did not request one."""

    def negotiate(self, max_version: tuple[int, int] | None) -> tuple[int, int] | None:
        return NEWEST


@fault("negotiation.version")
class NewerConsumersGetLess(Exporter):
    """Returns a legacy capsule to a consumer that knows a newer version than the exporter."""

    def negotiate(self, max_version: tuple[int, int] | None) -> tuple[int, int] | None:
        return None if max_version is None or max_version > NEWEST else super().negotiate(max_version)


@fault("negotiation.copied-flag")
class CopyNotFlagged(Exporter):
    """Exports a copy without the flag that marks it as a copy."""

    def flags(self, *, copied: bool) -> int:
        return super().flags(copied=False)


@fault("negotiation.copied-flag")
class CopyNotMade(Exporter):
    """Accepts ``copy=True`` but makes no copy."""

    def copied(self) -> Exporter:
        return self


@fault("negotiation.defined-flags")
class FlagsFromElsewhere(Exporter):
    """Sets a flag bit that DLPack does not define."""

    def flags(self, *, copied: bool) -> int:
        return super().flags(copied=copied) | 1 << 8


@fault("negotiation.signature", bugs="capsule-18")
class OlderSignature(Exporter):
    """Does not accept ``dl_device`` and ``copy``."""

    def dlpack(self, *, stream: Any = None, max_version: Any = None) -> Any:  # type: ignore[override]
        return super().dlpack(stream=stream, max_version=max_version)


@fault("negotiation.device-argument")
class OwnDeviceRefused(Exporter):
    """Refuses any ``dl_device``, even the array's own."""

    def check_device(self, dl_device: tuple[int, int] | None) -> None:
        if dl_device is not None:
            raise BufferError("dl_device is not supported")


@fault("negotiation.device-argument")
class DeviceArgumentIgnored(Exporter):
    """Ignores ``dl_device``."""

    def check_device(self, dl_device: tuple[int, int] | None) -> None:
        """Skip the check."""


@fault("negotiation.bad-arguments")
class KeywordsSwallowed(Exporter):
    """Accepts unknown keywords silently."""

    def __dlpack__(self, *args: Any, **kwargs: Any) -> Any:
        known = ("stream", "max_version", "dl_device", "copy")
        return super().__dlpack__(*args, **{k: v for k, v in kwargs.items() if k in known})


@fault("negotiation.host-stream", "negotiation.ambiguous-stream", "negotiation.negative-stream", bugs="stream-17")
class AnyStreamTaken(Exporter):
    """Ignores the stream."""

    def check_stream(self, stream: int | None) -> None:
        """Skip the check."""


@fault("negotiation.cuda-stream", bugs="stream-06 stream-17")
class StreamsRefused(Exporter):
    """Refuses every stream, even the legacy default stream."""

    def check_stream(self, stream: int | None) -> None:
        if stream is not None:
            raise BufferError("streams are not supported")


@fault("negotiation.device-report", bugs="device-20 device-23")
class DeviceToldTwoWays(Exporter):
    """Reports different device numbers in ``__dlpack_device__`` and in the capsule."""

    def __dlpack_device__(self) -> tuple[int, int]:
        kind, number = super().__dlpack_device__()
        return kind, number + 1


@fault("negotiation.device-report", "negotiation.device-argument", bugs="device-05")
class DeviceNumberIsNone(Exporter):
    """Returns ``None`` as the device number from ``__dlpack_device__``."""

    def __dlpack_device__(self) -> Any:
        kind, _ = super().__dlpack_device__()
        return kind, None


@fault("negotiation.device-report", "negotiation.device-argument", "pointer.values", bugs="device-05")
class DeviceIsOneNumber(Exporter):
    """Returns only the device type from ``__dlpack_device__``."""

    def __dlpack_device__(self) -> Any:
        return super().__dlpack_device__()[0]


@fault("negotiation.device-report", bugs="device-05")
class DeviceIsAnObject(Exporter):
    """Returns strings in place of integers from ``__dlpack_device__``."""

    def __dlpack_device__(self) -> Any:
        kind, number = super().__dlpack_device__()
        return str(kind), str(number)


@fault("negotiation.defined-flags")
class PaddedFlagOfBool(Exporter):
    """Sets the flag for padded sub-byte elements on arrays of bool."""

    def flags(self, *, copied: bool) -> int:
        padded = DLFlags.SUBBYTE_PADDED if self.dtype.code is DLCode.BOOL else DLFlags.NONE
        return super().flags(copied=copied) | padded


@fault("negotiation.signature")
class NoneVersionIndexed(Exporter):
    """Fails on ``max_version=None``, which it indexes like a tuple."""

    def dlpack(self, **asked: Any) -> Any:
        if "max_version" in asked and asked["max_version"] is None:
            raise TypeError("'NoneType' object is not subscriptable")
        return super().dlpack(**asked)


@fault("negotiation.bad-arguments")
class ShortDeviceIndexed(Exporter):
    """Raises ``IndexError`` for a ``dl_device`` that is not a pair."""

    def check_device(self, dl_device: tuple[int, int] | None) -> None:
        super().check_device(dl_device and (dl_device[0], dl_device[1]))


@fault("negotiation.bad-arguments")
class CopiesOnceRefused(Exporter):
    """Exports copies after an export that it refused."""

    refused = False

    def __dlpack__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().__dlpack__(*args, **kwargs)
        except Exception:
            self.refused = True
            raise

    def placed(self, stream: int | None, dl_device: tuple[int, int] | None, copy: bool | None) -> Exporter:
        return super().placed(stream, dl_device, copy or self.refused)


@fault("negotiation.host-stream", bugs="stream-19")
class StreamRequiredOnHost(Exporter):
    """Requires ``stream=-1`` for an array in host memory."""

    def check_stream(self, stream: int | None) -> None:
        if self.device()[0] != DLDeviceType.CPU:
            super().check_stream(stream)
        elif stream != -1:
            raise BufferError("name a stream, -1 if there is none")


@fault("negotiation.host-stream", bugs="stream-17")
class DefaultStreamsTakenOnHost(Exporter):
    """Accepts CUDA's default streams for an array in host memory."""

    def check_stream(self, stream: int | None) -> None:
        if stream not in (LEGACY_STREAM, PER_THREAD):
            super().check_stream(stream)


@fault("negotiation.cuda-stream", bugs="stream-17")
class StreamRequiredOnCuda(Exporter):
    """Refuses an export to a consumer that passes no stream."""

    def check_stream(self, stream: int | None) -> None:
        if stream is None and self.device()[0] == DLDeviceType.CUDA:
            raise TypeError("a stream is an int")
        super().check_stream(stream)


@fault("negotiation.cuda-stream", bugs="stream-17")
class MinusOneRefused(Exporter):
    """Refuses stream -1."""

    def check_stream(self, stream: int | None) -> None:
        if stream == -1:
            raise BufferError("stream -1 is not allowed")
        super().check_stream(stream)


@fault("negotiation.ambiguous-stream", bugs="stream-06")
class ZeroTakenForLegacy(Exporter):
    """Treats stream 0 as the legacy default stream."""

    def check_stream(self, stream: int | None) -> None:
        super().check_stream(LEGACY_STREAM if stream == 0 else stream)


@fault("negotiation.ambiguous-stream")
class StreamMadeAnInt(Exporter):
    """Converts a stream that is not an int, so that 1.5 becomes the legacy default stream."""

    def check_stream(self, stream: int | None) -> None:
        super().check_stream(None if stream is None else int(stream))


@fault("negotiation.negative-stream", bugs="stream-17")
class NegativeMeansNoWait(Exporter):
    """Treats every negative stream as -1."""

    def check_stream(self, stream: int | None) -> None:
        super().check_stream(stream if stream is None else max(stream, -1))


@fault("negotiation.negative-stream")
class NegativeStreamOverflows(Exporter):
    """Raises ``OverflowError`` for stream -2, because it converts the stream to an unsigned integer first."""

    def check_stream(self, stream: int | None) -> None:
        if stream is not None and stream < -1:
            raise OverflowError("can't convert negative value to size_t")
        super().check_stream(stream)


@fault("negotiation.keyword-call")
class StreamByPosition(Importer):
    """Passes the stream by position."""

    def call_dlpack(self, source: Any, requested: dict[str, Any]) -> Any:
        return source.__dlpack__(self.stream(), max_version=NEWEST)


@fault("negotiation.version-request", bugs="readonly-03")
class LegacyAskedFor(Importer):
    """Never passes ``max_version``, so it cannot learn that an array is read-only."""

    def call_dlpack(self, source: Any, requested: dict[str, Any]) -> Any:
        return source.__dlpack__(stream=self.stream())


@fault("negotiation.stream-request", bugs="stream-08 stream-06")
class DefaultStreamAsZero(Importer):
    """Passes the default stream as 0, which the protocol forbids."""

    def stream(self) -> int | None:
        return 0


@fault("negotiation.stream-request", bugs="stream-27 stream-20")
class NoStreamNamed(Importer):
    """Passes no stream, whatever the device."""

    def stream(self) -> int | None:
        return None


@fault("negotiation.older-producer", bugs="capsule-18")
class NoFewerKeywords(Importer):
    """Refuses a producer with an older signature, and does not retry with fewer keywords."""

    def call_dlpack(self, source: Any, requested: dict[str, Any]) -> Any:
        return source.__dlpack__(stream=self.stream(), max_version=NEWEST, dl_device=None, copy=None)


@fault("negotiation.producer-error", bugs="capsule-24")
class ErrorsReplaced(Importer):
    """Replaces every exception of the producer with ``RuntimeError``."""

    def call_dlpack(self, source: Any, requested: dict[str, Any]) -> Any:
        try:
            return super().call_dlpack(source, requested)
        except Exception as error:
            raise RuntimeError("the producer failed") from error


@fault("negotiation.missing-method")
class DeviceNotAskedFor(Importer):
    """Never calls ``__dlpack_device__``, and so accepts a producer that lacks it."""

    def take_dlpack(self, source: Any, **requested: Any) -> Imported:
        return self.take_capsule(self.call_dlpack(source, requested))


@fault("negotiation.capsule-name", bugs="capsule-16 capsule-25")
class VersionedTakenForGranted(Importer):
    """Refuses a legacy capsule because it requested a versioned one."""

    def check_name(self, offered: object) -> bytes:
        name = super().check_name(offered)
        if name == LEGACY:
            raise BufferError("the capsule is not versioned")
        return name


@fault("negotiation.newer-minor")
class MinorMustMatch(Importer):
    """Refuses a struct with a newer minor version."""

    def version_is_ours(self, address: int) -> bool:
        version = DLManagedTensorVersioned.from_address(address).version
        return (int(version.major), int(version.minor)) <= NEWEST


@fault("negotiation.foreign-major")
class MajorNotChecked(Importer):
    """Reads a struct with another major version as if it had a supported one."""

    def version_is_ours(self, address: int) -> bool:
        """Return ``True`` after setting the field in the struct, so that the decoder agrees."""
        DLManagedTensorVersioned.from_address(address).version.major = NEWEST[0]
        return True


@fault("negotiation.foreign-major")
class ForeignStructKept(Importer):
    """Refuses a struct with another major version without calling its deleter."""

    def call_foreign_deleter(self, address: int) -> None:
        """Skip the deleter."""


@fault("negotiation.unknown-device", "negotiation.host-array", bugs="device-07")
class AnyDeviceTaken(Importer):
    """Ignores the device and reads any pointer as memory of its own device."""

    def check_device(self, device: Any) -> None:
        """Skip the check."""

    def stream(self) -> int | None:
        """Return ``None``, which every producer accepts."""
        return None


@fault("negotiation.precedence")
class TurnAbout(Importer):
    """Alternates between DLPack and the array interface from import to import."""

    calls: ClassVar[Any] = itertools.count()

    def take_cai(self, source: Any) -> Imported:
        return super().take_cai(source) if next(self.calls) % 2 else self.take_dlpack(source)


@fault("negotiation.keyword-call")
class OwnKeywordsPassed(Importer):
    """Passes a private keyword to the producer first, and retries without it."""

    def call_dlpack(self, source: Any, requested: dict[str, Any]) -> Any:
        try:
            return source.__dlpack__(stream=self.stream(), max_version=NEWEST, borrowed=True)
        except TypeError:
            return super().call_dlpack(source, requested)


@fault("negotiation.version-request", bugs="readonly-03")
class LegacyAskedForFirst(Importer):
    """Requests a versioned capsule only if it gets no legacy one."""

    def call_dlpack(self, source: Any, requested: dict[str, Any]) -> Any:
        try:
            return source.__dlpack__(stream=self.stream())
        except BufferError:
            return super().call_dlpack(source, requested)


@fault("negotiation.version-request")
class OldVersionNamed(Importer):
    """Passes ``max_version=(0, 8)``, from before version 1.0."""

    def call_dlpack(self, source: Any, requested: dict[str, Any]) -> Any:
        return source.__dlpack__(stream=self.stream(), max_version=(0, 8))


@fault("negotiation.older-producer", bugs="capsule-18")
class OneEditionBack(Importer):
    """Retries with the signature of one edition before, but never with the oldest."""

    def call_dlpack(self, source: Any, requested: dict[str, Any]) -> Any:
        try:
            return source.__dlpack__(stream=self.stream(), max_version=NEWEST, dl_device=None, copy=None)
        except TypeError:
            return source.__dlpack__(stream=self.stream(), max_version=NEWEST)


@fault("negotiation.producer-error")
class TypeErrorMeansTooOld(Importer):
    """Treats every ``TypeError`` of the producer as a sign of an older signature."""

    def call_dlpack(self, source: Any, requested: dict[str, Any]) -> Any:
        try:
            return super().call_dlpack(source, requested)
        except TypeError as error:
            raise BufferError("the producer is too old") from error


@fault("negotiation.producer-error", bugs="dtype-10")
class RefusalMadeAnEmptyArray(Importer):
    """Returns an array without elements when the producer refuses."""

    def take_dlpack(self, source: Any, **requested: Any) -> Imported:
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
    """Refuses an object without the protocol's methods with ``RuntimeError``."""

    def take_dlpack(self, source: Any, **requested: Any) -> Imported:
        if not (hasattr(source, "__dlpack__") and hasattr(source, "__dlpack_device__")):
            raise RuntimeError("not a DLPack producer")
        return super().take_dlpack(source, **requested)


@fault("negotiation.capsule-name", bugs="capsule-25")
class VersionedReadAsLegacy(Importer):
    """Reads the data pointer of a versioned struct at the offset of a legacy one."""

    def dl_address(self, tensor: Tensor) -> int:
        return _word(tensor, DLManagedTensor)


@fault("negotiation.capsule-name", bugs="capsule-16")
class LegacyReadAsVersioned(Importer):
    """Reads the data pointer of a legacy struct at the offset of a versioned one."""

    def dl_address(self, tensor: Tensor) -> int:
        return _word(tensor, DLManagedTensorVersioned)


def _word(tensor: Tensor, layout: type[DLManagedTensor] | type[DLManagedTensorVersioned]) -> int:
    """Return the 64-bit word of a struct at the offset at which this layout has its tensor."""
    return ctypes.c_uint64.from_address(tensor.address + layout.dl_tensor.offset).value


@fault("negotiation.capsule-name", bugs="capsule-25")
class VersionedRefusedThoughAsked(Importer):
    """Requests a versioned capsule and then refuses it, because it only knows the legacy name."""

    def check_name(self, offered: object) -> bytes:
        name = super().check_name(offered)
        if name != LEGACY:
            raise BufferError(f"expected a capsule named dltensor, got {name.decode()}")
        return name


@fault("negotiation.newer-minor")
class VersionsLookedUp(Importer):
    """Looks the struct's version up in a table of released versions, and raises ``KeyError`` for others."""

    def version_is_ours(self, address: int) -> bool:
        version = DLManagedTensorVersioned.from_address(address).version
        return {(major, minor): major == NEWEST[0] for major in (0, 1) for minor in range(NEWEST[1] + 1)}[
            int(version.major), int(version.minor)
        ]


@fault("negotiation.newer-minor")
class NewerElementsTakenForBytes(Importer):
    """Imports a struct with a newer minor version as bytes."""

    def dl_dtype(self, tensor: Tensor) -> DType:
        return dtype("uint8") if (tensor.version or NEWEST) > NEWEST else super().dl_dtype(tensor)


@fault("negotiation.unknown-device", bugs="device-07 device-30")
class DeviceOfTheCapsuleNotRead(Importer):
    """Ignores the device in the capsule and only calls ``__dlpack_device__``."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        return super().read_tensor(replace(tensor, device=self.memory.device))


@fault("negotiation.unknown-device", "negotiation.host-array", bugs="device-09")
class DeviceRefusedByValueError(Importer):
    """Refuses an unsupported device with ``ValueError`` in place of ``BufferError``."""

    def check_device(self, device: Any) -> None:
        try:
            super().check_device(device)
        except BufferError as error:
            raise ValueError(str(error)) from error


@fault("negotiation.host-array")
class HostArraysUploaded(Importer):
    """Copies an array in host memory to the GPU without a request."""

    def take_dlpack(self, source: Any, **requested: Any) -> Imported:
        if self.memory.device[0] == DLDeviceType.CPU or source.__dlpack_device__()[0] != DLDeviceType.CPU:
            return super().take_dlpack(source, **requested)
        host = type(self)(HostMemory())
        return host.moved(host.take_dlpack(source, **requested), self.memory)


@fault("negotiation.precedence")
class InterfaceOfKnownObjects(Importer):
    """Reads an object that it has imported before through the array interface, whichever protocol was requested."""

    known: ClassVar[WeakSet[Any]] = WeakSet()

    def take_dlpack(self, source: Any, **requested: Any) -> Imported:
        if source in self.known:
            return self.take_cai(source)
        self.known.add(source)
        return super().take_dlpack(source, **requested)


# Faults that show only when keywords come together


@fault("negotiation.keywords-together")
class CopiesVersionedOnly(Exporter):
    """Makes no copy for ``copy=True`` if ``max_version`` is absent."""

    def dlpack(
        self, *, stream: int | None = None, max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None, copy: bool | None = None,
    ) -> Any:  # fmt: skip
        kept = copy if max_version is not None or copy is False else None
        return super().dlpack(stream=stream, max_version=max_version, dl_device=dl_device, copy=kept)


@fault("negotiation.keywords-together")
class LegacyForMinorVersions(Exporter):
    """Returns a legacy capsule for a ``max_version`` with a minor version other than 0."""

    def negotiate(self, max_version: tuple[int, int] | None) -> tuple[int, int] | None:
        return super().negotiate(None if max_version is not None and max_version[1] else max_version)


@fault("negotiation.keywords-together")
class HostStreamBesideAVersion(Exporter):
    """Accepts a stream for host memory if ``max_version`` is given."""

    def dlpack(
        self, *, stream: int | None = None, max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None, copy: bool | None = None,
    ) -> Any:  # fmt: skip
        on_host = self.device()[0] == DLDeviceType.CPU and max_version is not None
        return super().dlpack(
            stream=None if on_host else stream, max_version=max_version, dl_device=dl_device, copy=copy
        )


@fault("negotiation.keywords-together")
class DeviceIgnoredBesideACopy(Exporter):
    """Ignores ``dl_device`` if ``copy`` is given."""

    def dlpack(
        self, *, stream: int | None = None, max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None, copy: bool | None = None,
    ) -> Any:  # fmt: skip
        return super().dlpack(
            stream=stream, max_version=max_version, dl_device=dl_device if copy is None else None, copy=copy
        )


@fault("negotiation.keywords-together")
class NoCopyBesideItsDevice(Exporter):
    """Makes no copy for ``copy=True`` if ``dl_device`` names the array's own device."""

    def placed(self, stream: int | None, dl_device: tuple[int, int] | None, copy: bool | None) -> Exporter:
        return super().placed(stream, dl_device, None if copy and dl_device is not None else copy)


@fault("negotiation.keywords-together")
class TwoKeywordsRefused(Exporter):
    """Refuses ``copy=False`` together with ``max_version``."""

    def dlpack(
        self, *, stream: int | None = None, max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None, copy: bool | None = None,
    ) -> Any:  # fmt: skip
        if copy is False and max_version is not None:
            raise BufferError("a versioned capsule needs a copy")
        return super().dlpack(stream=stream, max_version=max_version, dl_device=dl_device, copy=copy)
