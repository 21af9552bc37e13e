"""Lookup of a case by its id, in any environment that could run it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from itertools import chain

from conformance.adapters import registry
from conformance.adapters.base import Device
from conformance.checks.catalogue import Case, Invariant, catalogue
from conformance.checks.libraries import Environment, Library
from conformance.suggestions import meant

from . import adapter_declarations, environment
from .plan import BadSelection


class UnknownName(BadSelection):
    """The suite has no case with this id. The text is one sentence for the user."""


_PLACES = ((Device.HOST, Device.CUDA), (Device.HOST,))
"""Devices of possible environments. Some cases are planned only without a GPU."""


@lru_cache(maxsize=len(_PLACES))
def everything(devices: tuple[Device, ...]) -> Environment:
    """Return an environment with two GPUs and with every library, each with all that its adapter declares. No library is loaded."""
    return Environment(tuple(_library(name, devices) for name in registry.names()), gpus=2)


@lru_cache
def _declared(name: str) -> Library:
    """Return what an adapter declares. The module of a third-party adapter is imported in a separate process."""
    return adapter_declarations.library(name) if registry.is_ours(name) else environment.declared(name)


def _library(name: str, devices: tuple[Device, ...]) -> Library:
    found = _declared(name)
    return replace(found, sides={device: side for device, side in found.sides.items() if device in devices})


def case_named(name: str, here: Callable[[], Environment] | None = None) -> Case:
    """Return the case with this id. Raise :class:`UnknownName` if there is none.

    A few cases depend on a feature that a library lacks, so only a measured environment has them. ``here`` measures it.
    """
    invariant = catalogue().get(name.partition("/")[0])
    if invariant is None:
        raise UnknownName(f"there is no case {name!r}{meant(name.partition('/')[0], catalogue(), _LIST)}")
    for place in chain(map(everything, _PLACES), (measured() for measured in (here,) if measured)):
        for case in invariant.cases(place):
            if case.id == name:
                return case
    raise UnknownName(f"there is no case {name!r}{meant(name, cases_anywhere(invariant), _LIST)}")


def cases_anywhere(invariant: Invariant) -> dict[str, Case]:
    """Return all cases of the invariant that any environment could plan, by id."""
    return {case.id: case for devices in _PLACES for case in invariant.cases(everything(devices))}


_LIST = "`list --cases` prints the cases of this environment"
