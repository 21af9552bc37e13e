"""Measured properties of the libraries in an environment, as plain data. The plan of cases depends on these data only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from conformance.adapters import calls
from conformance.adapters.base import Adapter, Device, Protocol, Trait
from conformance.adapters.special import on

REFERENCE = "reference"
NOT_TRUSTED = "adapter not to be trusted"
"""Start of the reason for a library that is not tested because its adapter makes a false declaration.

Saved results contain this text, and :func:`is_installed` compares it.
"""
INSTALLED = "installed, and"
"""Start of the reason for a library that is installed but cannot be used. Saved results contain this text, too."""


def is_installed(absent: str) -> bool:
    """Return whether a library that is absent for this reason is installed."""
    return absent.startswith((NOT_TRUSTED, INSTALLED))


@dataclass(frozen=True)
class Called:
    """The names of the public calls that import an object on a device, and of older styles of calls.

    ``stream`` are the calls with a stream argument. ``queued`` are the calls that do not wait for the device. ``dlpack`` are the calls for DLPack
    only. ``capsule_styles``, ``own_styles`` and ``array_styles`` differ in their argument: a capsule, an array of the library itself, or an array
    of another library. ``derived`` names the way to subclass the library's array class, if users do that.
    """

    calls: tuple[str, ...] = ()
    stream: tuple[str, ...] = ()
    queued: tuple[str, ...] = ()
    dlpack: tuple[str, ...] = ()
    capsule_styles: tuple[str, ...] = ()
    own_styles: tuple[str, ...] = ()
    array_styles: tuple[str, ...] = ()
    derived: tuple[str, ...] = ()

    @classmethod
    def of(cls, adapter: Adapter, device: Device) -> Called:
        """Return the names of the calls that the adapter declares for this device."""
        found, styles = on(adapter.present_calls(), device), on(adapter.styles, device)
        return cls(
            calls=tuple(one.name for one in found),
            stream=tuple(one.name for one in found if one.on_stream is not None),
            queued=tuple(one.name for one in found if one.queues),
            dlpack=tuple(one.name for one in found if one.reads == calls.DLPACK),
            capsule_styles=tuple(one.name for one in styles if one.gets is calls.Gets.CAPSULE),
            own_styles=tuple(one.name for one in styles if one.gets is calls.Gets.OWN),
            array_styles=tuple(one.name for one in styles if one.gets is calls.Gets.ARRAY),
            derived=("own-dlpack",) if adapter.subclasses else (),
        )

    def to_json(self) -> dict[str, list[str]]:
        """Return plain data."""
        return {name: list(names) for name, names in vars(self).items()}

    @classmethod
    def from_json(cls, data: dict[str, list[str]]) -> Called:
        """Return the calls for the data of :meth:`to_json`. Results of older runs have none."""
        return cls(**{name: tuple(names) for name, names in data.items()})


@dataclass(frozen=True)
class Side:
    """The capabilities of one library on one device. Missing element types and layouts are listed with the reasons.

    ``narrow``, ``foreign`` and ``states`` name the special arrays that the adapter declares. ``simple_states`` are the states of an array that
    exists without a context. ``called`` names the public calls. ``changes`` and ``donations`` name the declared calls after which an array may
    lose its memory.
    """

    dtypes: tuple[str, ...]
    layouts: tuple[str, ...]
    exports: tuple[Protocol, ...]
    imports: tuple[Protocol, ...]
    missing_dtypes: dict[str, str] = field(default_factory=dict, compare=False)
    missing_layouts: dict[str, str] = field(default_factory=dict, compare=False)
    narrow: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    simple_states: tuple[str, ...] = ()
    called: Called = Called()
    changes: tuple[str, ...] = ()
    donations: tuple[str, ...] = ()
    made: tuple[str, ...] = ()
    counted_states: tuple[str, ...] = ()

    def with_special(self, adapter: Adapter, device: Device) -> Side:
        """Return a copy with the special arrays and calls that the adapter declares."""
        states = on(adapter.states, device)
        return replace(
            self, narrow=adapter.narrow_dtypes, foreign=tuple(one.name for one in on(adapter.foreign, device)),
            states=tuple(one.name for one in states), simple_states=tuple(one.name for one in states if one.simple),
            called=Called.of(adapter, device),
            changes=tuple(one.name for one in on(adapter.changes, device)),
            donations=tuple(one.name for one in on(adapter.donations, device)),
            counted_states=tuple(one.name for one in states if one.simple and not one.slow),
            made=tuple(one.name for one in on(adapter.made, device)),
        )  # fmt: skip


_SPECIAL = ("narrow", "foreign", "states", "simple_states", "changes", "donations", "made", "counted_states")
"""Keys that are missing in the results of older runs."""


@dataclass(frozen=True)
class Library:
    """One library. ``absent`` is the reason why it cannot be used at all, and ``unusable`` the reasons for single devices.

    A library that is not installed is absent, and has no unusable device. ``untrusted`` names the false declaration of its adapter. Such a
    library is also absent.
    """

    name: str
    versions: dict[str, str] = field(compare=False)
    traits: frozenset[Trait] = frozenset()
    absent: str | None = None
    sides: dict[Device, Side] = field(default_factory=dict, compare=False)
    unusable: dict[str, str] = field(default_factory=dict, compare=False)
    untrusted: str | None = None
    files: str | None = field(default=None, compare=False)
    """Digest of the library's files (``execution/fingerprint.py``); ``None`` if unknown."""

    @classmethod
    def not_trusted(cls, name: str, versions: dict[str, str], fact: str) -> Library:
        """Return a library that cannot be tested: its adapter's false declaration would cause false accusations."""
        return cls(name, versions, absent=f"{NOT_TRUSTED}: {fact}", untrusted=fact)

    def has(self, trait: Trait) -> bool:
        """Return whether the library has this trait."""
        return trait in self.traits

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "name": self.name,
            "versions": self.versions,
            "traits": sorted(self.traits),
            "absent": self.absent,
            "untrusted": self.untrusted,
            "unusable": self.unusable,
            "files": self.files,
            "devices": {
                device.value: {
                    "dtypes": list(side.dtypes),
                    "layouts": list(side.layouts),
                    "exports": [p.value for p in side.exports],
                    "imports": [p.value for p in side.imports],
                    "missing_dtypes": side.missing_dtypes,
                    "missing_layouts": side.missing_layouts,
                    **{name: list(getattr(side, name)) for name in _SPECIAL},
                    "called": side.called.to_json(),
                }
                for device, side in self.sides.items()
            },
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Library:
        """Return the library for the data of :meth:`to_json`."""
        return cls(
            name=data["name"],
            versions=data["versions"],
            traits=frozenset(Trait(t) for t in data["traits"]),
            absent=data["absent"],
            untrusted=data.get("untrusted"),
            unusable=data["unusable"],
            files=data.get("files"),
            sides={
                Device(device): Side(
                    dtypes=tuple(side["dtypes"]),
                    layouts=tuple(side["layouts"]),
                    exports=tuple(Protocol(p) for p in side["exports"]),
                    imports=tuple(Protocol(p) for p in side["imports"]),
                    missing_dtypes=side["missing_dtypes"],
                    missing_layouts=side["missing_layouts"],
                    **{name: tuple(side.get(name, ())) for name in _SPECIAL},
                    called=Called.from_json(side.get("called", {})),
                )
                for device, side in data["devices"].items()
            },
        )


@dataclass(frozen=True)
class Pair:
    """One possible exchange: producer, consumer, protocol and device."""

    producer: Library
    consumer: Library
    protocol: Protocol
    device: Device

    @property
    def with_reference(self) -> bool:
        """True if one side is the reference. Such a pair shows the behaviour of a single library."""
        return REFERENCE in (self.producer.name, self.consumer.name)

    @property
    def source(self) -> Side:
        """The producer's capabilities on the device."""
        return self.producer.sides[self.device]

    @property
    def target(self) -> Side:
        """The consumer's capabilities on the device."""
        return self.consumer.sides[self.device]


def shows_one_library(pair: Pair) -> bool:
    """Return whether one side is the reference. The quick tier of many invariants contains only these pairs."""
    return pair.with_reference


def streaming(pairs: Iterable[Pair]) -> Iterator[Pair]:
    """Return the pairs whose libraries both have streams."""
    return (p for p in pairs if p.producer.has(Trait.STREAMS) and p.consumer.has(Trait.STREAMS))


@dataclass(frozen=True)
class Environment:
    """The libraries of an environment in a fixed order, and the number of GPUs that the driver reports."""

    libraries: tuple[Library, ...]
    gpus: int = 1

    @property
    def present(self) -> tuple[Library, ...]:
        """The libraries that work on at least one device."""
        return tuple(lib for lib in self.libraries if lib.absent is None and lib.sides)

    @property
    def untrusted(self) -> tuple[Library, ...]:
        """The installed libraries that cannot be tested, because their adapters make false declarations."""
        return tuple(lib for lib in self.libraries if lib.untrusted is not None)

    def get(self, name: str) -> Library | None:
        """Return the present library with this name, or ``None``."""
        return next((lib for lib in self.present if lib.name == name), None)

    def devices(self) -> tuple[Device, ...]:
        """Return the devices on which at least one library works."""
        return tuple(d for d in Device if any(d in lib.sides for lib in self.present))

    def pairs(self, *protocols: Protocol, on: tuple[Device, ...] = tuple(Device)) -> Iterator[Pair]:
        """Yield every producer with every consumer, for these protocols (by default all)."""
        for device in self.devices():
            if device not in on:
                continue
            for protocol in protocols or tuple(Protocol):
                for producer in self.present:
                    for consumer in self.present:
                        pair = Pair(producer, consumer, protocol, device)
                        if _possible(pair):
                            yield pair

    def exports(self, *protocols: Protocol, on: tuple[Device, ...] = tuple(Device)) -> Iterator[Pair]:
        """Return every producer with the reference as the consumer. The reference decodes each field of an export."""
        return (p for p in self.pairs(*protocols, on=on) if p.consumer.name == REFERENCE)

    def imports(self, *protocols: Protocol, on: tuple[Device, ...] = tuple(Device)) -> Iterator[Pair]:
        """Return every consumer with the reference as the producer. The reference exports crafted arrays."""
        return (p for p in self.pairs(*protocols, on=on) if p.producer.name == REFERENCE)

    def dictionaries(self) -> Iterator[Pair]:
        """Return the reference with every consumer that imports ``__cuda_array_interface__`` by a call of its own."""
        return (p for p in self.imports(Protocol.CAI) if not p.consumer.has(Trait.POINTER_ONLY))


def _possible(pair: Pair) -> bool:
    source, target = pair.producer.sides.get(pair.device), pair.consumer.sides.get(pair.device)
    return bool(source and target and pair.protocol in source.exports and pair.protocol in target.imports)
