"""Faults of negotiation: arguments misread, answers in another form than was asked for."""

from __future__ import annotations

import itertools
from typing import Any, ClassVar

from conformance.protocols.dlpack import LEGACY, DLManagedTensorVersioned
from conformance.reference.exporter import NEWEST, Exporter
from conformance.reference.importer import Imported, Importer

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


@fault("negotiation.device-report", bugs="device-05")
class DeviceIsAnObject(Exporter):
    """``__dlpack_device__`` gives names instead of integers."""

    def __dlpack_device__(self) -> Any:
        kind, number = super().__dlpack_device__()
        return str(kind), str(number)


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
