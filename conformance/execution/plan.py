"""Planning: derive the list of cases from an environment and a selection, before anything runs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from conformance.adapters.base import Device
from conformance.checks.catalogue import Case, Invariant, Tier
from conformance.checks.libraries import REFERENCE, Environment, Library
from conformance.suggestions import meant


class BadSelection(ValueError):
    """The user selected something that does not exist. The text is one sentence for the user."""


@dataclass(frozen=True)
class Selection:
    """The user's selection. An empty tuple selects everything."""

    devices: tuple[Device, ...] = tuple(Device)
    between: tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    cases: tuple[str, ...] = ()
    tier: Tier = Tier.FULL
    canaries: bool = False

    def includes(self, invariant: Invariant) -> bool:
        """Return whether cases of the invariant are selected. Canaries need ``canaries``, their family or their id in the selection."""
        if invariant.canary is not None:
            return self.canaries or invariant.family in self.families or bool(self.cases)
        return not self.families or invariant.family in self.families


def make(catalogue: dict[str, Invariant], environment: Environment, selection: Selection) -> list[Case]:
    """Return the cases in a fixed order. Raises :class:`BadSelection` for an absent library or an unknown case."""
    restricted = restrict(environment, selection)
    cases = [
        case
        for invariant in catalogue.values()
        if selection.includes(invariant)
        for case in invariant.cases(restricted)
    ]
    twice = [id for id, count in Counter(case.id for case in cases).items() if count > 1]
    assert not twice, f"two cases are called {twice[0]}"
    if selection.cases:
        return _named(cases, selection.cases)
    canaries = {name for name, invariant in catalogue.items() if invariant.canary is not None}
    return [c for c in cases if selection.tier is Tier.FULL or c.tier is Tier.QUICK or c.invariant in canaries]


def restrict(environment: Environment, selection: Selection) -> Environment:
    """Return the environment with only the selected devices and libraries. The reference always stays."""
    for name in selection.between:
        _check_library(environment, name, selection.devices)
    chosen = tuple(
        replace(library, sides={d: s for d, s in library.sides.items() if d in selection.devices})
        for library in environment.libraries
        if not selection.between or library.name in (*selection.between, REFERENCE)
    )
    return replace(environment, libraries=chosen)


def check_names(catalogue: dict[str, Invariant], libraries: tuple[str, ...], selection: Selection) -> None:
    """Raise :class:`BadSelection` for an unknown family or library."""
    families = dict.fromkeys(invariant.family for invariant in catalogue.values())
    for option, what, names, known in (
        ("--family", "family", selection.families, tuple(families)),
        ("--between", "library", selection.between, libraries),
    ):
        for name in names:
            if name not in known:
                hint = meant(name, known, f"known are {', '.join(known)}")
                raise BadSelection(f"{option}: there is no {what} {name!r}{hint}")


def _check_library(environment: Environment, name: str, devices: tuple[Device, ...]) -> None:
    """Check that a named library can be tested. Without it the run would test the other libraries or the reference alone."""
    found: Library | None = next((lib for lib in environment.libraries if lib.name == name), None)
    if found is not None and found.absent is not None:
        raise BadSelection(f"--between: {name} is unusable here: {found.absent}")
    if found is not None and not found.sides.keys() & set(devices):
        places = " or ".join(device.value for device in devices if device is not Device.SIMULATED)
        why = "; ".join(found.unusable[device.value] for device in devices if device.value in found.unusable)
        raise BadSelection(
            f"--between: {name} has no arrays on {places} here{f' ({why})' if why else ''}; "
            f"it has arrays on {' and '.join(device.value for device in found.sides)}"
        )


def _named(cases: list[Case], wanted: tuple[str, ...]) -> list[Case]:
    by_id = {case.id: case for case in cases}
    for name in wanted:
        if name not in by_id:
            raise BadSelection(
                f"--case: this environment has no case {name!r}{meant(name, by_id, '`list --cases` prints them all')}"
            )
    return [by_id[name] for name in wanted]
