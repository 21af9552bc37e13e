"""Invariants and cases: the decorator that makes a test function an invariant, and the plan made from all of them."""

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
    """What an invariant has to have under it."""

    ANY_MEMORY = "host memory or a GPU"
    HOST = "host memory"
    GPU = "one GPU"
    TWO_GPUS = "two GPUs"


class Isolation(str, Enum):
    """In what kind of process a case runs."""

    SHARED = "shared"
    """With others: the normal case."""
    RISKY = "risky"
    """In a child with other risky cases: it may kill its process or the CUDA context, but leaves nothing behind if not."""
    CHILD = "child"
    """Alone in a child: it changes what later cases would see."""
    FRESH = "fresh"
    """With others, but it starts interpreters of its own."""
    EXIT = "exit"
    """Alone in a child that must also end cleanly: what happens at interpreter exit belongs to the case."""

    @property
    def changes_others(self) -> bool:
        """Whether such a case must have a process to itself, whatever else is known of it."""
        return self in (Isolation.CHILD, Isolation.EXIT)

    @property
    def starts_processes(self) -> bool:
        """Whether every such case costs a process of its own, and with it seconds."""
        return self in (Isolation.CHILD, Isolation.FRESH, Isolation.EXIT)


class Tier(str, Enum):
    """How much is run: ``quick`` is a subset of ``full``."""

    QUICK = "quick"
    FULL = "full"


VIA = "via"
"""The parameter that names a library between producer and consumer."""


@dataclass(frozen=True)
class Case:
    """An invariant on one exchange with parameters. The id is all that is needed to run it alone."""

    invariant: str
    producer: str
    consumer: str
    protocol: str
    device: Device
    parameters: tuple[tuple[str, str], ...] = ()
    tier: Tier = Tier.FULL
    missing: tuple[tuple[str, str], ...] = field(default=(), compare=False)
    """Factors with levels that the probe has not found with these two libraries, for a check that tries several."""

    @property
    def id(self) -> str:
        """``family.name/producer-consumer/protocol/device[/value…]``: stable, readable, safe in a shell.

        A library between the two stands between them: whoever reads only this must not take it for an exchange of the two.
        """
        where = ("-".join(self.libraries), self.protocol, self.device.value)
        return "/".join((self.invariant, *where, *(value for name, value in self.parameters if name != VIA)))

    @property
    def libraries(self) -> tuple[str, ...]:
        """Producer and consumer, with a library between them if there is one, as the array goes through them."""
        return (self.producer, *(value for name, value in self.parameters if name == VIA), self.consumer)

    def option(self, name: str, default: str | None = None) -> str:
        """A parameter's value; ``KeyError`` if it has neither value nor default."""
        found = dict(self.parameters).get(name, default)
        if found is None:
            raise KeyError(name)
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain data, as in ``plan.jsonl``."""
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
        """The reverse of :meth:`to_json`."""
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
    """A case before it knows its invariant."""

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

    ``duties`` are the clauses that it may hold against each side, the one that it is mainly about first; ``context`` are clauses that
    explain it and bind neither side. ``bugs`` are the known bugs, or classes of bugs, that it is drawn from.
    ``exclusive`` cases have the GPU to themselves: nothing else of the run works on it meanwhile.
    ``canary`` is the outcome that its cases have been built for, if they test the run and no library.
    ``seconds`` is what one case may take, if not what every case may. ``left_out`` gives the combinations that its cases leave
    out, and why. ``company`` names the new process of a case: cases of one name may follow each other in it, and nothing else may. Cases of a ``long`` one may take many seconds, so they begin before others. ``repeats`` are the ids of other invariants whose checks it makes: it may cite their clauses.
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
        """Every clause that it cites, each once: the producer's, the consumer's, then its context."""
        return tuple(dict.fromkeys((*self.duties[Role.PRODUCER], *self.duties[Role.CONSUMER], *self.context)))

    def company_of(self, case: Case) -> str:
        """Return the name of the process that the case shares with no other invariant; empty if it has no such process."""
        return f"{self.id} {case.device.value} {self.company(case)}" if self.company else ""

    def cases(self, environment: Environment) -> Iterator[Case]:
        """Yield every case that this environment allows. Long cases, and those with a process of their own, belong to the full tier."""
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
    """Make a test function an invariant: its docstring's first paragraph is the statement, the rest says why.

    ``producer`` and ``consumer`` are ids of the clauses that a failure may hold against that side, separated by blanks; ``context`` are
    further clauses that explain the invariant. An unknown clause, and one that does not bind its side, is an error at import.
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
            raise ValueError(f"invariant {id} has no docstring, so no statement")
        if id in _registered and _registered[id].check.__qualname__ != check.__qualname__:
            raise ValueError(f"two invariants are called {id}")
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
"""The package of the invariants. It imports this one, so it is imported by its name."""


@lru_cache(maxsize=1)
def catalogue() -> dict[str, Invariant]:
    """Every invariant of the suite by id, in the order of families and of definition."""
    suite = importlib.import_module(SUITE)
    for module in sorted(m.name for m in pkgutil.iter_modules(suite.__path__) if m.name.startswith("test_")):
        importlib.import_module(f"{suite.__name__}.{module}")
    # One of these modules may have been imported before, by somebody else: what it registered stands first then.
    return dict(sorted(_registered.items(), key=lambda entry: entry[1].check.__module__))


def _always(pair: Pair) -> bool:
    return True


def every(pairs: Iterable[Pair], /, *, quick: Callable[[Pair], bool] = _always, **axes: Any) -> Iterator[Draft]:
    """Each pair with each combination of the axes' values.

    An axis is a sequence of strings or a function of the pair that returns one. A case whose values are all
    the first of their axis belongs to the quick tier, if the pair does.
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
    """An axis: those of these layouts that the producer can make."""
    return lambda pair: tuple(n for n in dict.fromkeys(names) if n in pair.source.layouts)


def dtypes(*names: str) -> Callable[[Pair], tuple[str, ...]]:
    """An axis: those of these element types that the producer has; without names, all it has."""
    return lambda pair: tuple(n for n in dict.fromkeys(names or pair.source.dtypes) if n in pair.source.dtypes)
