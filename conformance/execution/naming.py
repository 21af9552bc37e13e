"""From the name of a case to the case, whether or not this environment could run it."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from functools import lru_cache

from conformance.adapters import registry
from conformance.adapters.base import Adapter, Device, Trait
from conformance.suite.catalogue import Case, catalogue
from conformance.suite.layouts import LAYOUTS
from conformance.suite.libraries import Environment, Library, Side


class UnknownName(ValueError):
    """There is no such thing in this suite. The text is one sentence for the user."""


@lru_cache(maxsize=1)
def everything() -> Environment:
    """Every library with all that its adapter says it could have in any version, and two GPUs. No library is loaded."""
    return Environment(tuple(_library(name) for name in registry.names()), gpus=2)


def _library(name: str) -> Library:
    adapter = registry.create(name)
    sides = {device: _side(adapter, device) for device in (Device.HOST, Device.CUDA) if _has(adapter, device)}
    versions = dict.fromkeys(adapter.distributions, "any")
    return Library(name, versions, adapter.traits | {Trait.EXCHANGE_API}, None, sides)


def _has(adapter: Adapter, device: Device) -> bool:
    return device in adapter.exports or device in adapter.imports


def _side(adapter: Adapter, device: Device) -> Side:
    return Side(
        dtypes=adapter.candidate_dtypes,
        layouts=tuple(LAYOUTS),
        exports=adapter.exports.get(device, ()),
        imports=adapter.imports.get(device, ()),
    )


def case_named(name: str) -> Case:
    """The case of this id; :class:`UnknownName` if no environment can have it."""
    wanted = name.partition("/")[0]
    for case in _cases(wanted):
        if case.id == name:
            return case
    raise UnknownName(f"there is no case {name!r}{_meant(name, wanted)}; `list --cases` prints those that run here")


def _cases(invariant: str) -> Iterator[Case]:
    found = catalogue().get(invariant)
    return found.cases(everything()) if found else iter(())


def _meant(name: str, invariant: str) -> str:
    known = [case.id for case in _cases(invariant)]
    return meant(name, known) if known else meant(invariant, catalogue())


def meant(name: str, known: object) -> str:
    """The closest of these names, in brackets, as part of a sentence."""
    close = get_close_matches(name, list(known), n=1)  # type: ignore[call-overload]
    return f" (did you mean {close[0]}?)" if close else ""
