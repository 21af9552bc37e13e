"""Installed libraries that a run did not test, derived only from the environment and the plan."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from conformance.checks.catalogue import Case, catalogue
from conformance.checks.libraries import REFERENCE, Environment, Library


class Gap(NamedTuple):
    """A library that was not tested, or not on one device, and the reason."""

    name: str
    why: str


@dataclass(frozen=True)
class Untested:
    """Libraries that were not tested.

    ``unusable`` failed where the run tests. ``elsewhere`` needs a device on which the run has no case, which is no
    fault: a laptop without a GPU may have libraries for one.
    """

    unusable: tuple[Gap, ...] = ()
    elsewhere: tuple[Gap, ...] = ()
    only_reference: bool = False
    """Whether no case involves a library."""
    only_canaries: bool = False
    """Whether the plan contains only canaries."""

    @property
    def is_incomplete(self) -> bool:
        """Whether the run must not count as a success."""
        return bool(self.unusable) or self.only_reference


NOTHING = Untested()
"""The result when every installed library was tested."""


def untested(environment: Environment, cases: Iterable[Case]) -> Untested:
    """Return the libraries that are installed in the environment and not tested by these cases."""
    planned = list(cases)
    devices = {case.device.value for case in planned}
    real = [case for case in planned if catalogue()[case.invariant].canary is None]
    is_only_reference = all(name == REFERENCE for case in real for name in case.libraries)
    return Untested(
        unusable=tuple(gap for library in environment.libraries for gap in _gaps(library, devices)),
        elsewhere=tuple(_elsewhere(environment, devices)),
        only_reference=bool(real) and is_only_reference,
        only_canaries=bool(planned) and not real,
    )


def _gaps(library: Library, devices: set[str]) -> Iterator[Gap]:
    if library.untrusted is not None:
        yield Gap(library.name, library.absent or library.untrusted)
        return
    found = {device: why for device, why in library.unusable.items() if device in devices}
    if library.absent is not None and found:
        yield Gap(library.name, library.absent)
    elif library.absent is None:
        yield from (Gap(f"{library.name} on {device}", why) for device, why in found.items())


def _elsewhere(environment: Environment, devices: set[str]) -> Iterator[Gap]:
    for library in environment.libraries:
        if library.untrusted is None and library.absent and library.unusable and not devices & library.unusable.keys():
            yield Gap(library.name, library.absent)
