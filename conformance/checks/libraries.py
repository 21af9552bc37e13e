"""What was measured of the libraries in an environment, as plain data: cases are planned from this alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from conformance.adapters import calls
from conformance.adapters.base import Adapter, Device, Protocol, Trait
from conformance.adapters.special import on

REFERENCE = "reference"
NOT_TRUSTED = "adapter not to be trusted"
"""Begins the reason why a library is absent that is there, but cannot be tested."""
INSTALLED = "installed, and"
"""Start of the reason for a library that is installed but cannot be used."""


def is_installed(absent: str) -> bool:
    """Return whether a library that is absent for this reason is installed."""
    return absent.startswith((NOT_TRUSTED, INSTALLED))


@dataclass(frozen=True)
class Called:
    """The names of calls by which a library's users take objects on a device, and of older styles of calling.

    ``stream`` are the calls with a stream argument, ``queued`` those that do not wait for the device by themselves, and ``dlpack`` those for DLPack alone. ``capsule_styles``, ``own_styles`` and
    ``array_styles`` are told apart by their argument: a capsule, an array of the library itself, an array of another library.
    ``derived`` has the one way to derive a class from its arrays, if users do that.
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
        """What the adapter declares."""
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
        """Plain data."""
        return {name: list(names) for name, names in vars(self).items()}

    @classmethod
    def from_json(cls, data: dict[str, list[str]]) -> Called:
        """The reverse of :meth:`to_json`; results of older runs have none."""
        return cls(**{name: tuple(names) for name, names in data.items()})


@dataclass(frozen=True)
class Side:
    """One library on one device. The ``missing`` ones come with the reason.

    ``narrow``, ``foreign`` and ``states`` name what its adapter declares besides plain arrays; ``simple_states`` are the states of an array
    that exists by itself. ``called`` names the calls that its users know. ``changes`` and ``donations`` name the calls that it declares for
    what becomes of an array's memory.
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
        """The same, with the arrays that the adapter declares besides plain ones."""
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
"""Keys that the results of older runs lack."""


@dataclass(frozen=True)
class Library:
    """One library: ``absent`` says why it cannot be used at all, ``unusable`` why not on a device that its adapter supports.

    A library that is not installed is absent, and has no unusable device. ``untrusted`` says which declaration of its
    adapter is false; such a library is also absent.
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
        """One that cannot be tested: its adapter would accuse it of what it does not do."""
        return cls(name, versions, absent=f"{NOT_TRUSTED}: {fact}", untrusted=fact)

    def has(self, trait: Trait) -> bool:
        """Whether the library has this trait."""
        return trait in self.traits

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
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
        """The reverse of :meth:`to_json`."""
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
    """One exchange that can be tried: who gives, who takes, by which protocol, where."""

    producer: Library
    consumer: Library
    protocol: Protocol
    device: Device

    @property
    def with_reference(self) -> bool:
        """Whether one side is the reference: these pairs show what each library does by itself."""
        return REFERENCE in (self.producer.name, self.consumer.name)

    @property
    def source(self) -> Side:
        """The producer's side."""
        return self.producer.sides[self.device]

    @property
    def target(self) -> Side:
        """The consumer's side."""
        return self.consumer.sides[self.device]


def shows_one_library(pair: Pair) -> bool:
    """Whether a pair shows what one library does by itself: the quick tier of what is tried with every pair."""
    return pair.with_reference


def streaming(pairs: Iterable[Pair]) -> Iterator[Pair]:
    """Of these, the pairs of libraries that both have streams."""
    return (p for p in pairs if p.producer.has(Trait.STREAMS) and p.consumer.has(Trait.STREAMS))


@dataclass(frozen=True)
class Environment:
    """The libraries that can be used here, in a fixed order. ``gpus`` is how many GPUs the driver shows."""

    libraries: tuple[Library, ...]
    gpus: int = 1

    @property
    def present(self) -> tuple[Library, ...]:
        """Those that work on at least one device."""
        return tuple(lib for lib in self.libraries if lib.absent is None and lib.sides)

    @property
    def untrusted(self) -> tuple[Library, ...]:
        """Those that are there and cannot be tested, because their adapters are not to be trusted."""
        return tuple(lib for lib in self.libraries if lib.untrusted is not None)

    def get(self, name: str) -> Library | None:
        """The present library of this name."""
        return next((lib for lib in self.present if lib.name == name), None)

    def devices(self) -> tuple[Device, ...]:
        """Devices on which anything can be tried."""
        return tuple(d for d in Device if any(d in lib.sides for lib in self.present))

    def pairs(self, *protocols: Protocol, on: tuple[Device, ...] = tuple(Device)) -> Iterator[Pair]:
        """Every producer with every consumer, over these protocols (all, if none is named)."""
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
        """Every producer with the reference: what it says is decoded field by field."""
        return (p for p in self.pairs(*protocols, on=on) if p.consumer.name == REFERENCE)

    def imports(self, *protocols: Protocol, on: tuple[Device, ...] = tuple(Device)) -> Iterator[Pair]:
        """The reference with every consumer: what it is given is made to measure."""
        return (p for p in self.pairs(*protocols, on=on) if p.producer.name == REFERENCE)

    def dictionaries(self) -> Iterator[Pair]:
        """The reference with every consumer that reads ``__cuda_array_interface__`` by a call of its own."""
        return (p for p in self.imports(Protocol.CAI) if not p.consumer.has(Trait.POINTER_ONLY))


def _possible(pair: Pair) -> bool:
    source, target = pair.producer.sides.get(pair.device), pair.consumer.sides.get(pair.device)
    return bool(source and target and pair.protocol in source.exports and pair.protocol in target.imports)
