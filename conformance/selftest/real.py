"""Real libraries as partners. Subprocesses measure what the installed versions can do."""

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
    """Return the reason why a library cannot be tried here: it is not installed, or too old for all faults."""
    (library,) = (found for found in _measured(name).libraries if found.name == name)
    if library.absent:
        return library.absent
    return None if library.has(Trait.COPY_KEYWORD) else f"{name} is too old: its from_dlpack has no copy="


def partners(name: str) -> Partners:
    """Return the library and the reference, loaded."""
    loaded = {each: registry.create(each) for each in (REFERENCE, name)}
    for adapter in loaded.values():
        adapter.load()
    return loaded


def cases(name: str, faults: list[Fault]) -> Iterator[Case]:
    """Yield the cases of the invariants that must catch these faults, between the library and the reference on host memory.

    No fault may be tried on an invariant that the real library itself violates, since the flawless partner would be accused.
    """
    yield from between(name, dict.fromkeys(invariant for fault in faults for invariant in fault.caught_by))


def between(name: str, invariants: Iterable[str]) -> Iterator[Case]:
    """Yield the cases of these invariants between the library and the reference on host memory."""
    for case in planned(_measured(name), *invariants):
        if case.device is Device.HOST and {case.producer, case.consumer} == {REFERENCE, name}:
            yield case


_PATIENCE = 0.02
"""The seconds that a stage waits for a release."""


def _impatient() -> AbstractContextManager[object]:
    return mock.patch.object(offers, "PATIENCE", _PATIENCE)


def stage(name: str, statement: str, *, before_forks: bool = True) -> Stage:
    """Return the stage ``NAME-wrappers`` without faults. ``before_forks``: the library can be imported before a fork.

    Such a library has no threads that release memory later, so the stage waits only briefly for a release.
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
