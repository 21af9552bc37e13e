"""Catalogue of invariants: the decorator that registers a test function, and the test cases that it plans."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from itertools import product
from typing import Any

from conformance.adapters.base import Device
from conformance.protocols.clauses import Level, NotBound, Role, clause

from .libraries import Environment, Pair
from .outcomes import Outcome


class Needs(str, Enum):
    """The hardware that an invariant needs."""

    ANY_MEMORY = "host memory or a GPU"
    HOST = "host memory"
    GPU = "one GPU"
    TWO_GPUS = "two GPUs"


class Isolation(str, Enum):
    """The kind of process in which a case runs."""

    SHARED = "shared"
    """In a process with other cases. This is the default."""
    RISKY = "risky"
    """In a child process with other risky cases. A case may crash it or corrupt the CUDA context, but has no other side effect."""
    CHILD = "child"
    """Alone in a child process, because the case changes global state that later cases depend on."""
    FRESH = "fresh"
    """In a process with other cases, but the case starts new interpreters."""
    EXIT = "exit"
    """Alone in a child process that must also exit cleanly, because the case includes the exit of the interpreter."""

    @property
    def changes_others(self) -> bool:
        """True if such a case always needs a process of its own."""
        return self in (Isolation.CHILD, Isolation.EXIT)

    @property
    def starts_processes(self) -> bool:
        """True if such a case starts a process, which takes seconds."""
        return self in (Isolation.CHILD, Isolation.FRESH, Isolation.EXIT)


class Tier(str, Enum):
    """The amount of cases that a run includes. ``quick`` is a subset of ``full``."""

    QUICK = "quick"
    FULL = "full"


VIA = "via"
"""The parameter that names the library between producer and consumer, in a chain of three."""


@dataclass(frozen=True)
class Case:
    """A test case: an invariant, one exchange and parameters. The id is enough to run it alone."""

    invariant: str
    producer: str
    consumer: str
    protocol: str
    device: Device
    parameters: tuple[tuple[str, str], ...] = ()
    tier: Tier = Tier.FULL
    missing: tuple[tuple[str, str], ...] = field(default=(), compare=False)
    """Levels of factors that the probe did not find for these two libraries. A check that tries several levels leaves them out."""

    @property
    def id(self) -> str:
        """The stable id ``family.name/producer-consumer/protocol/device[/value…]``. It needs no quotes in a shell.

        In a chain of three, the library in the middle stands between producer and consumer.
        """
        where = ("-".join(self.libraries), self.protocol, self.device.value)
        return "/".join((self.invariant, *where, *(value for name, value in self.parameters if name != VIA)))

    @property
    def libraries(self) -> tuple[str, ...]:
        """The producer, the library in the middle of a chain if there is one, and the consumer."""
        return (self.producer, *(value for name, value in self.parameters if name == VIA), self.consumer)

    def option(self, name: str, default: str | None = None) -> str:
        """Return the value of a parameter.

        Raises:
            KeyError: the parameter has neither a value nor a default.
        """
        found = dict(self.parameters).get(name, default)
        if found is None:
            raise KeyError(name)
        return found

    def to_json(self) -> dict[str, Any]:
        """Return plain data, as in ``plan.jsonl``."""
        return {
            "id": self.id,
            "invariant": self.invariant,
            "producer": self.producer,
            "consumer": self.consumer,
            "protocol": self.protocol,
            "device": self.device.value,
            "parameters": dict(self.parameters),
            "tier": self.tier.value,
            **({"missing": [list(level) for level in self.missing]} if self.missing else {}),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Case:
        """Return the case for the data of :meth:`to_json`."""
        return cls(
            invariant=data["invariant"],
            producer=data["producer"],
            consumer=data["consumer"],
            protocol=data["protocol"],
            device=Device(data["device"]),
            parameters=tuple(data["parameters"].items()),
            tier=Tier(data["tier"]),
            missing=tuple((name, level) for name, level in data.get("missing", ())),
        )


@dataclass(frozen=True)
class Draft:
    """A planned case without its invariant, as a planner yields it."""

    producer: str
    consumer: str
    protocol: str
    device: Device
    parameters: tuple[tuple[str, str], ...]
    tier: Tier
    missing: tuple[tuple[str, str], ...] = ()


Check = Callable[[Any], None]
Company = Callable[[Case], str]
Planner = Callable[[Environment], Iterable[Draft]]
LeftOut = Callable[[Environment], Iterable[tuple[str, str]]]


@dataclass(frozen=True)
class Invariant:
    """The catalogue entry of one test function.

    ``duties`` are the clauses that a failure may cite for each side, the main clause first. ``context`` are clauses that explain the invariant.
    ``bugs`` are the known bugs, or classes of bugs, that motivate it. ``exclusive`` cases use the GPU alone: no other process of the run uses it
    at the same time. ``canary`` is the outcome that its cases must have, if they test the suite and not a library. ``seconds`` is the timeout of
    a case, if it is not the default. ``left_out`` yields the combinations that its cases leave out, with the reasons. ``company`` names a new
    process for a case: the process runs only cases with the same name. ``long`` cases may take many seconds, so they start first. ``repeats``
    are the ids of other invariants whose checks it repeats. Its failures may cite their clauses.
    """

    id: str
    statement: str
    details: str
    duties: Mapping[Role, tuple[str, ...]]
    context: tuple[str, ...]
    bugs: tuple[str, ...]
    level: Level
    needs: Needs
    isolation: Isolation
    exclusive: bool
    check: Check
    plan: Planner
    canary: Outcome | None = None
    seconds: float | None = None
    left_out: LeftOut | None = None
    repeats: tuple[str, ...] = ()
    company: Company | None = None
    long: bool = False

    @property
    def family(self) -> str:
        """The part of the id before the dot."""
        return self.id.partition(".")[0]

    @property
    def clauses(self) -> tuple[str, ...]:
        """All clauses that it cites, without duplicates: the producer's, the consumer's, then the context."""
        return tuple(dict.fromkeys((*self.duties[Role.PRODUCER], *self.duties[Role.CONSUMER], *self.context)))

    def company_of(self, case: Case) -> str:
        """Return the name of the process that runs only cases of this invariant, or an empty string."""
        return f"{self.id} {case.device.value} {self.company(case)}" if self.company else ""

    def cases(self, environment: Environment) -> Iterator[Case]:
        """Yield the cases that this environment allows. Long cases, and cases with a process of their own, belong to the full tier."""
        is_slow = self.long or self.isolation.changes_others
        for d in self.plan(environment):
            tier = Tier.FULL if is_slow else d.tier
            yield Case(self.id, d.producer, d.consumer, d.protocol, d.device, d.parameters, tier, d.missing)


_registered: dict[str, Invariant] = {}


def invariant(
    id: str,
    *,
    level: Level,
    cases: Planner,
    producer: str = "",
    consumer: str = "",
    context: str = "",
    bugs: str = "",
    needs: Needs = Needs.ANY_MEMORY,
    isolation: Isolation = Isolation.SHARED,
    exclusive: bool = False,
    canary: Outcome | None = None,
    seconds: float | None = None,
    left_out: LeftOut | None = None,
    repeats: Iterable[str] = (),
    company: Company | None = None,
    long: bool = False,
) -> Callable[[Check], Check]:
    """Register a test function as an invariant. The first paragraph of its docstring is the statement, the rest is the explanation.

    ``producer`` and ``consumer`` are ids of clauses, separated by blanks, that a failure of that side may cite. ``context`` are further clauses
    that explain the invariant. An unknown clause, or a clause that does not bind its side, is an error at import.
    """
    duties = {Role.PRODUCER: tuple(producer.split()), Role.CONSUMER: tuple(consumer.split())}
    for role, ids in duties.items():
        for name in ids:
            try:
                clause(name).level(role)
            except NotBound as error:
                raise NotBound(f"invariant {id}: {error}") from error
    for name in context.split():
        clause(name)

    def register(check: Check) -> Check:
        first, _, details = inspect.cleandoc(check.__doc__ or "").partition("\n\n")
        statement = " ".join(first.split())
        if not statement:
            raise ValueError(f"invariant {id} has no docstring: its first paragraph is the statement")
        if id in _registered and _registered[id].check.__qualname__ != check.__qualname__:
            raise ValueError(f"duplicate invariant id: {id}")
        _registered[id] = Invariant(
            id,
            statement,
            " ".join(details.split()),
            duties,
            tuple(context.split()),
            tuple(bugs.split()),
            level,
            needs,
            isolation,
            exclusive,
            check,
            cases,
            canary,
            seconds,
            left_out,
            tuple(repeats),
            company,
            long,
        )
        check.__invariant__ = id  # type: ignore[attr-defined]
        return check

    return register


SUITE = "conformance.suite"
"""The package of the invariants. It imports this module, so this module imports it by name to avoid a circular import."""


@lru_cache(maxsize=1)
def catalogue() -> dict[str, Invariant]:
    """Return all invariants by id, in the order of their modules and of their definition."""
    suite = importlib.import_module(SUITE)
    for module in sorted(m.name for m in pkgutil.iter_modules(suite.__path__) if m.name.startswith("test_")):
        importlib.import_module(f"{suite.__name__}.{module}")
    # Sort, because another import of one of these modules may have registered its invariants first.
    return dict(sorted(_registered.items(), key=lambda entry: entry[1].check.__module__))


def _always(pair: Pair) -> bool:
    return True


def every(pairs: Iterable[Pair], /, *, quick: Callable[[Pair], bool] = _always, **axes: Any) -> Iterator[Draft]:
    """Yield each pair with each combination of the axes' values.

    An axis is a sequence of strings, or a function that returns one for a pair. The quick tier contains the cases in which every value is the
    first of its axis, for pairs that satisfy ``quick``.
    """
    for pair in pairs:
        values = [tuple(axis(pair)) if callable(axis) else tuple(axis) for axis in axes.values()]
        for chosen in product(*values):
            first = all(value == choices[0] for value, choices in zip(chosen, values))
            yield Draft(
                pair.producer.name,
                pair.consumer.name,
                pair.protocol.value,
                pair.device,
                tuple(zip(axes, chosen)),
                Tier.QUICK if first and quick(pair) else Tier.FULL,
            )


def layouts(*names: str) -> Callable[[Pair], tuple[str, ...]]:
    """Return an axis with the given layouts that the producer can make."""
    return lambda pair: tuple(n for n in dict.fromkeys(names) if n in pair.source.layouts)


def dtypes(*names: str) -> Callable[[Pair], tuple[str, ...]]:
    """Return an axis with the given element types that the producer has, or with all of its types."""
    return lambda pair: tuple(n for n in dict.fromkeys(names or pair.source.dtypes) if n in pair.source.dtypes)
