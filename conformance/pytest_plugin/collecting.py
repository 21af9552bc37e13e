"""Collection: one test item for each case of the plan. The brackets of its node id contain the id of the case."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest

from conformance.checks.catalogue import Case, Invariant, Isolation, Tier, catalogue
from conformance.execution.schedule import place

_ARGUMENT = "exchange"
_XDIST = "xdist"
EXCLUSIVE, QUICK, ISOLATED, ISOLATION = "exclusive", "quick", "isolated", "isolation"
_MARKERS = {
    EXCLUSIVE: "the case needs the GPU alone",
    QUICK: "the case belongs to the quick tier",
    ISOLATED: "the case runs in a separate process, or starts one",
    f"{ISOLATION}(kind)": "kind of process in which the case runs: "
    + ", ".join(f"{kind.value!r}" for kind in Isolation),
}


def case_of(item: pytest.Item) -> Case | None:
    """Return the case of an item; ``None`` for a test outside the suite."""
    found = item.callspec.params.get(_ARGUMENT) if hasattr(item, "callspec") else None
    return found if isinstance(found, Case) else None


class Collecting:
    """Creates the items of cases. ``isolations`` has the kind of process for each case.

    ``workers`` is the number of workers of xdist, 0 without xdist. ``seed`` shuffles the cases.
    """

    def __init__(self, isolations: Mapping[Case, Isolation], workers: int, *, seed: str = "") -> None:
        self._isolations = {case.id: isolation for case, isolation in isolations.items()}
        self._workers = workers
        self._seed = seed
        self._cases: dict[str, list[Case]] = defaultdict(list)
        for case in isolations:
            self._cases[case.invariant].append(case)

    def pytest_configure(self, config: pytest.Config) -> None:
        """Register the markers: those of cases, and one for each family."""
        families = dict.fromkeys(invariant.family for invariant in catalogue().values())
        markers = {**_MARKERS, **dict.fromkeys(families, "a family of invariants")}
        for name, told in markers.items():
            config.addinivalue_line("markers", f"{name}: {told}")

    @pytest.hookimpl(tryfirst=True)
    def pytest_pycollect_makeitem(self, name: str, obj: object) -> list[pytest.Item] | None:
        """Collect no item for an invariant without a case."""
        invariant = getattr(obj, "__invariant__", None)
        return [] if invariant is not None and invariant not in self._cases else None

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Create one item for each planned case of an invariant."""
        name = getattr(metafunc.function, "__invariant__", None)
        if name is None:
            return
        has_xdist = metafunc.config.pluginmanager.hasplugin(_XDIST)
        marks = _Marks(catalogue()[name], has_xdist)
        metafunc.parametrize(
            _ARGUMENT,
            [
                pytest.param(case, id=case.id, marks=marks.of(case, self._isolations[case.id]))
                for case in self._cases[name]
            ],
        )

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Put exclusive cases last. With xdist the others are shuffled; without it they keep the order of the plan."""
        others = [item for item in items if case_of(item) is None]
        ours = [item for item in items if case_of(item) is not None]
        ordered = self._mixed(ours) if self._workers else ours
        items[:] = [*others, *sorted(ordered, key=_is_exclusive)]

    def _mixed(self, items: Iterable[pytest.Item]) -> list[pytest.Item]:
        """Shuffle the items, and split them into one part for each worker. Each part begins with its share of the cases that start processes.

        Slow cases are neighbours in the plan and would all fall to one worker. The shuffle also keeps cases independent of the
        one before. The order follows only from the ids and the seed, so it is the same in every worker, as xdist requires.
        xdist distributes such parts first.
        """
        mixed = sorted(items, key=lambda item: place(self._seed, _id(item)))
        slow = [item for item in mixed if self._isolations[_id(item)].starts_processes]
        quick = [item for item in mixed if not self._isolations[_id(item)].starts_processes]
        return [i for part in range(self._workers) for i in slow[part :: self._workers] + quick[part :: self._workers]]


class _Marks:
    """The marks of the cases of one invariant."""

    def __init__(self, invariant: Invariant, has_xdist: bool) -> None:
        self._of_all: list[pytest.MarkDecorator] = [getattr(pytest.mark, invariant.family)]
        if invariant.exclusive:
            self._of_all.append(getattr(pytest.mark, EXCLUSIVE))
            if has_xdist:
                # With --dist loadgroup one worker runs them all, so one process starts CUDA for them. The lock in turns.py
                # keeps the other workers off the GPU.
                self._of_all.append(pytest.mark.xdist_group(EXCLUSIVE))
        self._known: dict[tuple[Tier, Isolation], Sequence[Any]] = {}

    def of(self, case: Case, isolation: Isolation) -> Sequence[Any]:
        """Return the marks of a case. Cases share them, because a plan has tens of thousands."""
        key = case.tier, isolation
        if key not in self._known:
            quick = [getattr(pytest.mark, QUICK)] if case.tier is Tier.QUICK else []
            isolated = [getattr(pytest.mark, ISOLATED)] if isolation.starts_processes else []
            kind = getattr(pytest.mark, ISOLATION)(kind=isolation.value)
            self._known[key] = (*self._of_all, *quick, *isolated, kind)
        return self._known[key]


def _id(item: pytest.Item) -> str:
    case = case_of(item)
    assert case is not None
    return case.id


def _is_exclusive(item: pytest.Item) -> bool:
    case = case_of(item)
    return case is not None and catalogue()[case.invariant].exclusive
