"""Stages and faults: where an invariant is shown to be able to fail, and by which deliberate mistakes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from conformance.adapters.base import Adapter
from conformance.checks.catalogue import Case
from conformance.checks.libraries import Environment

ALL_FAULTS = "`selftest --page FILE` writes a page with all of them"
"""The next step after the name of an unknown fault."""

Partners = dict[str, Adapter]
"""The adapters that a case runs with, by name."""

Spoil = Callable[[Partners], None]
"""Changes flawless partners, or what is around them, so that they have the fault."""

Accuses = Callable[..., Iterable[Any]]
"""Called with a fault, the cases that fail with it, and what runs cases with given partners; yields accusations."""


@dataclass(frozen=True)
class Fault:
    """One deliberate way to be wrong. ``caught_by`` are the invariants that have to catch it, ``bugs`` the known bugs it is drawn from.

    ``library`` is the only one that may be accused, where the stage's other partners have no fault; empty where that is not one library.
    """

    name: str
    statement: str
    caught_by: tuple[str, ...]
    spoil: Spoil
    bugs: tuple[str, ...] = ()
    library: str = ""

    @property
    def families(self) -> frozenset[str]:
        """The families whose invariants are tried on it."""
        return frozenset(invariant.partition(".")[0] for invariant in self.caught_by)


@dataclass(frozen=True)
class Stage:
    """Flawless partners, the cases that they can show, and what is made believe meanwhile.

    ``partners`` and ``around`` are called in the process that the cases run in. ``cases`` is called before, with what the reference can
    do here; it loads no library. ``absent`` says why the stage cannot be set up here, or ``None``. ``preload`` are modules that are
    imported once, before any of those processes is forked.
    """

    name: str
    statement: str
    partners: Callable[[], Partners]
    cases: Callable[[Environment], Iterable[Case]]
    around: Callable[[], AbstractContextManager[object]] = nullcontext
    absent: Callable[[], str | None] = lambda: None
    extra: bool = False
    """Whether it only adds to what other stages show, on a library that not every machine has: a selftest is whole without it."""
    preload: tuple[str, ...] = ()
    accuses: Accuses | None = None
    """Try a fault on one side at a time. The first failing case of each invariant names the accused; the others are not run."""
    library: str = ""
    """The library that this stage's faults are of, where it is always the same."""
    faults: list[Fault] = field(default_factory=list)

    def fault(self, *caught_by: str, bugs: str = "") -> Callable[[Spoil], Spoil]:
        """Register the decorated function as a fault of this stage, called ``stage.function-name``; its docstring is the statement."""

        def register(spoil: Spoil) -> Spoil:
            self.add(spoil.__name__.replace("_", "-"), spoil.__doc__ or "", caught_by, spoil, tuple(bugs.split()))
            return spoil

        return register

    def add(self, name: str, statement: str, caught_by: tuple[str, ...], spoil: Spoil, bugs: tuple[str, ...]) -> None:
        """Register a fault that was made elsewhere. Raises ``ValueError`` without a statement and for a name that there is already."""
        told = " ".join(statement.split())
        if not told or not caught_by:
            raise ValueError(f"the fault {name} of {self.name} has no docstring, or nothing that has to catch it")
        full = f"{self.name}.{name}"
        if any(fault.name == full for fault in self.faults):
            raise ValueError(f"two faults are called {full}")
        self.faults.append(Fault(full, told, caught_by, spoil, bugs, self.library))
