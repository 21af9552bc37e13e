"""Deliberate faults: small changes to the reference library that an invariant must catch. They test the suite itself.

Each module has the name of the family of invariants that catch its faults.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass

from conformance.reference.exporter import Exporter
from conformance.reference.importer import Importer


@dataclass(frozen=True)
class Fault:
    """One fault: a subclass of the exporter or of the importer, named ``family.ClassName``.

    ``statement`` is the docstring of that class. ``caught_by`` lists the invariants that must catch the fault. ``bugs`` lists the known
    bugs of real libraries that it imitates.
    """

    name: str
    statement: str
    caught_by: tuple[str, ...]
    exporter: type[Exporter] = Exporter
    importer: type[Importer] = Importer
    bugs: tuple[str, ...] = ()


_registered: dict[str, Fault] = {}


def fault(*caught_by: str, bugs: str = "") -> _Register:
    """Register the decorated exporter or importer as a fault. Its class name and its docstring describe the fault."""
    return _Register(caught_by, tuple(bugs.split()))


class _Register:
    def __init__(self, caught_by: tuple[str, ...], bugs: tuple[str, ...]) -> None:
        self.caught_by = caught_by
        self.bugs = bugs

    def __call__(self, broken: type) -> type:
        statement = (broken.__doc__ or "").strip()
        if not statement:
            raise ValueError(f"fault {broken.__name__} has no docstring")
        name = f"{broken.__module__.rpartition('.')[2]}.{broken.__name__}"
        if name in _registered:
            raise ValueError(f"two faults are called {name}")
        _registered[name] = Fault(
            name,
            statement,
            self.caught_by,
            exporter=broken if issubclass(broken, Exporter) else Exporter,
            importer=broken if issubclass(broken, Importer) else Importer,
            bugs=self.bugs,
        )
        return broken


def all_faults() -> dict[str, Fault]:
    """Return every fault by name: modules in alphabetical order, and the faults of a module in the order of its source."""
    for module in sorted(m.name for m in pkgutil.iter_modules(__path__)):
        importlib.import_module(f"{__name__}.{module}")
    return dict(sorted(_registered.items(), key=lambda registered: registered[0].partition(".")[0]))
