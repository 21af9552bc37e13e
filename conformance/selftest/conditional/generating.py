"""Subclasses of a fault that are wrong only under a condition, and flawless subclasses that note the levels they know."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from inspect import isfunction
from typing import Any, cast

from conformance import faults
from conformance.protocols import capsule
from conformance.reference.exporter import Exporter
from conformance.reference.importer import Importer

from . import levels
from .knowing import Life
from .levels import Level, State

_NEVER = ("__init__", "__init_subclass__", "__new__")
_INTERFACE = "__cuda_array_interface__"
_TAKES_DICTIONARY = ("take_cai", "take_argument")

Decide = Callable[[str, Callable[[], State]], bool]
"""Called with the name of a method and a function that returns the state at its call. Returns ``True`` for the faulty version."""


def overridden(broken: type, flawless: type) -> tuple[str, ...]:
    """Return the methods and properties of the flawless class that a fault overrides."""
    return tuple(
        name for name, value in _replaced(broken, flawless) if isfunction(value) or isinstance(value, property)
    )


def replaced_attributes(broken: type, flawless: type) -> tuple[str, ...]:
    """Return the overridden attributes that are not methods. They know no array, so no condition can apply to them."""
    return tuple(
        name for name, value in _replaced(broken, flawless)
        if not isfunction(value) and not isinstance(value, property)
    )  # fmt: skip


def _replaced(broken: type, flawless: type) -> list[tuple[str, Any]]:
    classes = broken.__mro__[: broken.__mro__.index(flawless)]
    found = {name: value for kind in reversed(classes) for name, value in vars(kind).items()}
    names = {name for kind in flawless.__mro__[:-1] for name in vars(kind)}
    own = ("__module__", "__doc__", "__dict__", "__weakref__", "__annotations__", "__qualname__", "__firstlineno__")
    hidden = (*own, "__static_attributes__", *_NEVER)
    return [(name, value) for name, value in found.items() if name in names and name not in hidden]


def conditional(fault: faults.Fault, condition: tuple[Level, ...]) -> faults.Fault:
    """Return a fault that is wrong under the condition and flawless otherwise. Each process that tries it generates its own."""
    wanted = frozenset(condition)

    def decide(name: str, state: Callable[[], State]) -> bool:
        return wanted <= state()

    return faults.Fault(
        f"{fault.name}@{levels.name_of(condition)}",
        f"{fault.statement} Only with {levels.in_words(condition)}.",
        fault.caught_by,
        exporter=fault.exporter if fault.exporter is Exporter else exporter(fault.exporter, decide),
        importer=fault.importer if fault.importer is Importer else importer(fault.importer, decide),
        bugs=fault.bugs,
    )


def noting(note: Callable[[str, State], None]) -> tuple[type[Exporter], type[Importer]]:
    """Return a flawless exporter and a flawless importer that note, at each call of a method, its name and the levels known there."""

    def decide(name: str, state: Callable[[], State]) -> bool:
        note(name, state())
        return False

    return exporter(Exporter, decide, _by_faults()[0]), importer(Importer, decide, _by_faults()[1])


@cache
def _by_faults() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the methods that at least one fault overrides. Notes of other methods take long and show nothing."""
    known = faults.all_faults().values()
    of_exporters = dict.fromkeys(name for fault in known for name in overridden(fault.exporter, Exporter))
    of_importers = dict.fromkeys(name for fault in known for name in overridden(fault.importer, Importer))
    return tuple(of_exporters), tuple(of_importers)


def exporter(broken: type[Exporter], decide: Decide, names: tuple[str, ...] | None = None) -> type[Exporter]:
    """Return a subclass of ``broken`` that decides at each call of these methods if it is wrong.

    The default is all methods that it overrides.
    """
    names = overridden(broken, Exporter) if names is None else names
    life = Life()

    def choose(name: str, array: Any, argument: Any) -> bool:
        return decide(name, partial(life.of_exporter, array))

    made: Any = type(broken.__name__, (broken,), _methods(broken, Exporter, names, choose))

    def exported(self: Exporter, *args: Any, **keywords: Any) -> Any:
        with life.exporting(self, keywords):
            return answer(self, *args, **keywords)

    def published(self: Exporter) -> Any:
        with life.exporting(self, None):
            return read.fget(self)

    answer, read = made.__dlpack__, getattr(made, _INTERFACE)
    made.__dlpack__ = exported
    setattr(made, _INTERFACE, property(published))
    made.life = life
    return cast(type[Exporter], made)


def importer(broken: type[Importer], decide: Decide, names: tuple[str, ...] | None = None) -> type[Importer]:
    """Like :func:`exporter`, for an importer."""
    names = overridden(broken, Importer) if names is None else names
    life = Life()

    def choose(name: str, importer: Any, argument: Any) -> bool:
        return decide(name, partial(life.of_importer, argument))

    made: Any = type(broken.__name__, (broken,), _methods(broken, Importer, names, choose))
    capsules, dictionaries, asked = made.take_capsule, made.take_cai, made.take_dlpack

    def take_dlpack(self: Importer, source: Any, **requested: Any) -> Any:
        with life.asking(requested):
            return asked(self, source, **requested)

    def take_capsule(self: Importer, offered: Any) -> Any:
        known = life.of_importer(offered)
        struct = capsule.pointer(offered) if capsule.is_capsule(offered) else 0
        with life.importing(known, struct):
            taken = capsules(self, offered)
        life.imported(taken)
        return taken

    def take_cai(self: Importer, source: Any) -> Any:
        with life.importing(frozenset(), 0):
            taken = dictionaries(self, source)
        life.imported(taken)
        return taken

    made.take_dlpack, made.take_capsule, made.take_cai = take_dlpack, take_capsule, take_cai
    made.life = life
    return cast(type[Importer], made)


class _Read:
    """An object whose dictionary is read once, so that the producer sees no additional read."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self.__cuda_array_interface__ = source.__cuda_array_interface__

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)


def _methods(
    broken: type, flawless: type, names: tuple[str, ...], choose: Callable[[str, Any, Any], bool]
) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name in names:
        wrong, right = getattr(broken, name), getattr(flawless, name)
        if isinstance(right, property):
            made[name] = property(partial(_read, choose, name, wrong.fget, right.fget))
        else:
            made[name] = _called(choose, name, wrong, right)
    return made


def _read(choose: Callable[[str, Any, Any], bool], name: str, wrong: Any, right: Any, self: Any) -> Any:
    return (wrong if choose(name, self, None) else right)(self)


def _called(choose: Callable[[str, Any, Any], bool], name: str, wrong: Any, right: Any) -> Any:
    def method(self: Any, *args: Any, **keywords: Any) -> Any:
        if name in _TAKES_DICTIONARY and not isinstance(args[0], _Read):
            args = (_Read(args[0]), *args[1:])
        argument = args[0].__cuda_array_interface__ if name in _TAKES_DICTIONARY else args[0] if args else None
        return (wrong if choose(name, self, argument) else right)(self, *args, **keywords)

    return method
