"""Environments that are not here: libraries that can do what the reference can, on a GPU that is made up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from conformance.adapters.base import Device, Protocol, Trait
from conformance.checks.catalogue import Case, catalogue
from conformance.checks.libraries import REFERENCE, Environment, Library

_BOTH = (Protocol.DLPACK, Protocol.CAI)


def with_gpus(here: Environment, *names: str, gpus: int = 1, traits: Iterable[Trait] = ()) -> Environment:
    """Libraries of these names on the host and on so many GPUs, with what the reference can do ``here`` and more traits."""
    return _environment(here, names, {Device.HOST: (Protocol.DLPACK,), Device.CUDA: _BOTH}, gpus, frozenset(traits))


def on_host(here: Environment, *names: str) -> Environment:
    """As :func:`with_gpus`, on the host alone."""
    return _environment(here, names, {Device.HOST: (Protocol.DLPACK,)}, 0, frozenset())


def _environment(
    here: Environment,
    names: tuple[str, ...],
    places: dict[Device, tuple[Protocol, ...]],
    gpus: int,
    traits: frozenset[Trait],
) -> Environment:
    reference = here.get(REFERENCE)
    assert reference is not None
    side = next(iter(reference.sides.values()))
    sides = {device: replace(side, exports=protocols, imports=protocols) for device, protocols in places.items()}
    return Environment(tuple(Library(name, {}, reference.traits | traits, sides=sides) for name in names), gpus)


def planned(environment: Environment, *invariants: str) -> Iterator[Case]:
    """All cases that these invariants have there."""
    for name in invariants:
        yield from catalogue()[name].cases(environment)


def first(environment: Environment, *invariants: str) -> Iterator[Case]:
    """The first case of each: what starts interpreters is dear, and one is enough to show it."""
    for name in invariants:
        yield next(iter(catalogue()[name].cases(environment)))


def shared(cases: Iterable[Case]) -> Iterator[Case]:
    """The same, those of a GPU on the simulated device: none is on a real one, which exclusive cases would have to themselves."""
    return (replace(case, device=Device.SIMULATED) if case.device is Device.CUDA else case for case in cases)
