"""Real libraries as partners: what they can do here is measured, in processes of their own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import cache, partial
from unittest import mock

from conformance.adapters import registry
from conformance.adapters.base import Device, Trait
from conformance.checks import offers
from conformance.checks.catalogue import Case
from conformance.checks.libraries import REFERENCE, Environment
from conformance.execution.environment import measure

from .make_believe.environments import planned
from .model import Fault, Partners, Stage


@cache
def _measured(name: str) -> Environment:
    return measure((REFERENCE, name)).environment


def absent(name: str) -> str | None:
    """Why a library cannot be tried here: it is not there, or too old to be spoiled by all faults."""
    (library,) = (found for found in _measured(name).libraries if found.name == name)
    if library.absent:
        return library.absent
    return None if library.has(Trait.COPY_KEYWORD) else f"{name} is too old: its from_dlpack has no copy="


def partners(name: str) -> Partners:
    """The library and the reference."""
    loaded = {each: registry.create(each) for each in (REFERENCE, name)}
    for adapter in loaded.values():
        adapter.load()
    return loaded


def cases(name: str, faults: list[Fault]) -> Iterator[Case]:
    """Those of the invariants that have to catch these faults, between the library and the reference on host memory.

    What a real library breaks by itself no fault is tried on: its flawless partner would be accused, and rightly.
    """
    yield from between(name, dict.fromkeys(invariant for fault in faults for invariant in fault.caught_by))


def between(name: str, invariants: Iterable[str]) -> Iterator[Case]:
    """The cases of these invariants between the library and the reference on host memory."""
    for case in planned(_measured(name), *invariants):
        if case.device is Device.HOST and {case.producer, case.consumer} == {REFERENCE, name}:
            yield case


_PATIENCE = 0.02
"""Seconds that a stage waits for a release."""


def _impatient() -> AbstractContextManager[object]:
    return mock.patch.object(offers, "PATIENCE", _PATIENCE)


def stage(name: str, statement: str, *, before_forks: bool = True) -> Stage:
    """The stage ``NAME-wrappers``, still without faults. ``before_forks``: the library may be imported before a process is forked.

    Such a library has no threads that release memory later, so the stage does not wait for what a fault never releases.
    """
    made = Stage(
        f"{name}-wrappers",
        statement,
        partial(partners, name),
        lambda _: cases(name, made.faults),
        absent=partial(absent, name),
        extra=True,
        preload=(name,) if before_forks else (),
        around=_impatient if before_forks else nullcontext,
        library=name,
    )
    return made
