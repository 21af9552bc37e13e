"""Simulated environments: libraries with the abilities of the reference, on simulated GPUs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from conformance.adapters.base import Device, Protocol, Trait
from conformance.checks.catalogue import Case, catalogue
from conformance.checks.libraries import REFERENCE, Environment, Library

_BOTH = (Protocol.DLPACK, Protocol.CAI)


def with_gpus(here: Environment, *names: str, gpus: int = 1, traits: Iterable[Trait] = ()) -> Environment:
    """Return libraries of these names on the host and on GPUs, with the reference's abilities ``here`` and further traits."""
    return _environment(here, names, {Device.HOST: (Protocol.DLPACK,), Device.CUDA: _BOTH}, gpus, frozenset(traits))


def on_host(here: Environment, *names: str) -> Environment:
    """Return libraries of these names on the host only."""
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
    """Yield all cases of these invariants in the environment."""
    for name in invariants:
        yield from catalogue()[name].cases(environment)


def first(environment: Environment, *invariants: str) -> Iterator[Case]:
    """Yield the first case of each invariant. Cases that start interpreters are slow, and one is enough."""
    for name in invariants:
        yield next(iter(catalogue()[name].cases(environment)))


def shared(cases: Iterable[Case]) -> Iterator[Case]:
    """Move GPU cases to the simulated device, because exclusive cases would have a real GPU to themselves."""
    return (replace(case, device=Device.SIMULATED) if case.device is Device.CUDA else case for case in cases)
