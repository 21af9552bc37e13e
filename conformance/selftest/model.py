"""Stages and faults. A stage is a set of partners and cases, in which deliberate faults show that an invariant can fail."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from conformance.adapters.base import Adapter
from conformance.checks.catalogue import Case
from conformance.checks.libraries import Environment

ALL_FAULTS = "`selftest --page FILE` writes a page with all of them"
"""The hint that follows the name of an unknown fault."""

Partners = dict[str, Adapter]
"""The adapters that a case runs with, by name."""

Spoil = Callable[[Partners], None]
"""A function that puts the fault into flawless partners or their environment."""

Accuses = Callable[..., Iterable[Any]]
"""Called with a fault, the cases that fail with it, and a function that runs cases with given partners. Yields accusations."""


@dataclass(frozen=True)
class Fault:
    """One deliberate fault. ``caught_by`` lists the invariants that must catch it, ``bugs`` the known bugs that it imitates.

    ``library`` is the only library that may be accused, if the stage's other partners are flawless. It is empty if no single library has the
    fault.
    """

    name: str
    statement: str
    caught_by: tuple[str, ...]
    spoil: Spoil
    bugs: tuple[str, ...] = ()
    library: str = ""

    @property
    def families(self) -> frozenset[str]:
        """The families of the invariants that are tried on the fault."""
        return frozenset(invariant.partition(".")[0] for invariant in self.caught_by)


@dataclass(frozen=True)
class Stage:
    """Flawless partners, the cases that they can run, and the environment that is simulated meanwhile.

    ``partners`` and ``around`` are called in the process of the cases. ``cases`` is called before that with the measured reference, and loads
    no library. ``absent`` returns the reason why the stage cannot be set up here, or ``None``. ``preload`` are modules that are imported once,
    before any of those processes is forked.
    """

    name: str
    statement: str
    partners: Callable[[], Partners]
    cases: Callable[[Environment], Iterable[Case]]
    around: Callable[[], AbstractContextManager[object]] = nullcontext
    absent: Callable[[], str | None] = lambda: None
    extra: bool = False
    """``True`` for an optional stage, with a library that some machines lack. A self-test is complete without it."""
    preload: tuple[str, ...] = ()
    accuses: Accuses | None = None
    """Tries a fault on one side at a time. The first failing case of each invariant names the accused; the others are not run."""
    library: str = ""
    """The library that has the stage's faults, if it is always the same."""
    faults: list[Fault] = field(default_factory=list)

    def fault(self, *caught_by: str, bugs: str = "") -> Callable[[Spoil], Spoil]:
        """Register the decorated function as a fault of this stage, named ``stage.function-name``. Its docstring is the statement."""

        def register(spoil: Spoil) -> Spoil:
            self.add(spoil.__name__.replace("_", "-"), spoil.__doc__ or "", caught_by, spoil, tuple(bugs.split()))
            return spoil

        return register

    def add(self, name: str, statement: str, caught_by: tuple[str, ...], spoil: Spoil, bugs: tuple[str, ...]) -> None:
        """Register a fault. Raise ``ValueError`` without a statement or for a name that exists."""
        text = " ".join(statement.split())
        if not text or not caught_by:
            raise ValueError(f"the fault {name} of {self.name} has no docstring, or nothing that must catch it")
        full = f"{self.name}.{name}"
        if any(fault.name == full for fault in self.faults):
            raise ValueError(f"two faults are called {full}")
        self.faults.append(Fault(full, text, caught_by, spoil, bugs, self.library))
