"""Trace of a crash to an earlier case: suspect and victim run again in one process. The tests use prepared outcomes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Command
from libraries import install

from conformance.adapters.base import Device
from conformance.checks.catalogue import Case
from conformance.checks.outcomes import Outcome, Side
from conformance.checks.steps import Doing, Step
from conformance.cli import exit_code
from conformance.execution import tracing
from conformance.execution.results import Attempt, Result, Where
from conformance.execution.supervisor import Run
from conformance.execution.tracing import Lost, Traced, Tracer
from conformance.exits import Exit
from conformance.protocols.clauses import Level, Role

PLAIN = Case("pointer.same-address", "reference", "reference", "dlpack", Device.HOST)
CULPRIT = replace(PLAIN, invariant="lifetime.temporary", producer="one", consumer="two")
VICTIM = replace(PLAIN, producer="three")


def innocents(many: int) -> list[Case]:
    """Cases that leave nothing behind."""
    return [replace(PLAIN, parameters=(("layout", f"n{number}"),)) for number in range(many)]


Dies = Callable[[Sequence[Case]], bool]
"""Whether a process that runs these cases crashes in the last of them."""


@dataclass
class World:
    """Processes that die as written; ``ran`` are the cases of each."""

    dies: Dies
    step: Step = field(default_factory=Step)
    ran: list[tuple[Case, ...]] = field(default_factory=list)

    def together(self, cases: Sequence[Case]) -> Lost | None:
        """Run them in a new process."""
        self.ran.append(tuple(cases))
        for place, case in enumerate(cases):
            if self.dies(cases[: place + 1]):
                return Lost(place, Result(case, Outcome.CRASH, Level.MUST, reason="died", seen="SIGSEGV"), self.step)
        return None


def left_by(library: str, side: str = "consumer") -> Dies:
    """A library on one side of a hand-over for a while leaves something behind that ends the process in the next case of ``three``."""

    def dies(cases: Sequence[Case]) -> bool:
        *before, last = cases
        left = any(case.invariant == CULPRIT.invariant and getattr(case, side) == library for case in before)
        return left and last.producer == "three"

    return dies


@pytest.mark.parametrize("place", [0, 1, 7, 30])
def test_the_culprit_is_named_wherever_it_stands_in_the_record(place: int) -> None:
    """Of all cases that the process had run before, with few processes."""
    before = innocents(30)
    before.insert(place, CULPRIT)
    world = World(left_by("two"))
    found = Tracer(world.together).culprit(VICTIM, before)
    assert found is not None
    assert (found.case, found.outcome, found.step) == (CULPRIT, Outcome.CRASH, Doing.LATER.value)
    assert found.accused is not None
    assert (found.accused.side, found.accused.libraries) == (Side.CONSUMER, ("two",))
    assert (found.role, found.clause) == (Role.CONSUMER, "DLP-26")
    assert VICTIM.id in found.reason
    assert len(world.ran) < 25


@pytest.mark.parametrize("runs", [1, 2, 4])
def test_damage_that_shows_some_exchanges_later_is_traced(runs: int) -> None:
    """The suspect needs no third case between it and the victim: the victim itself runs several times."""

    def dies(cases: Sequence[Case]) -> bool:
        return cases[-1].producer == "three" and CULPRIT in cases[: max(0, len(cases) - runs)]

    before = [*innocents(5), CULPRIT, *innocents(9)[5:]]
    found = Tracer(World(dies).together).culprit(VICTIM, before)
    assert found is not None
    assert found.case == CULPRIT


def test_the_producer_is_accused_where_it_is_the_one() -> None:
    """Each library of the culprit is tried with the reference, before the same victim."""
    found = Tracer(World(left_by("one", "producer")).together).culprit(VICTIM, [CULPRIT])
    assert found is not None
    assert found.accused is not None
    assert (found.accused.side, found.accused.libraries, found.clause) == (Side.PRODUCER, ("one",), "DLP-27")


def test_a_victim_that_dies_after_itself_accuses_no_other_case() -> None:
    """It crashes whenever it is not the first case of its process, also after the reference."""
    world = World(lambda cases: len(cases) > 1 and cases[-1] == VICTIM)
    assert Tracer(world.together).culprit(VICTIM, [CULPRIT]) is None


def test_a_victim_that_only_its_own_libraries_end_is_the_culprit_itself() -> None:
    """It crashes after itself and after other cases of its library, but not after the same exchange between references."""
    world = World(lambda cases: cases[-1] == VICTIM and any(case != PLAIN for case in cases[:-1]))
    found = Tracer(world.together).culprit(VICTIM, [CULPRIT])
    assert found is not None
    assert found.accused is not None
    assert (found.case, found.accused.libraries) == (VICTIM, ("three",))
    assert "when the same case runs again" in found.reason


def test_what_happens_after_the_reference_as_well_accuses_nobody() -> None:
    """Any exchange of that kind uses memory: the libraries of the suspect have nothing to do with it."""
    world = World(lambda cases: cases[-1] == VICTIM and any(c.invariant == CULPRIT.invariant for c in cases[:-1]))
    assert Tracer(world.together).culprit(VICTIM, [CULPRIT]) is None


def test_what_does_not_show_twice_accuses_nobody() -> None:
    """A single repeat may be chance."""
    deaths = iter([True, False])

    def dies(cases: Sequence[Case]) -> bool:
        return len(cases) == 2 and left_by("two")(cases) and next(deaths)

    assert Tracer(World(dies).together).culprit(VICTIM, [CULPRIT]) is None


def test_two_cases_that_only_together_do_it_are_not_named() -> None:
    """Neither of them is the culprit by itself."""
    before = [*innocents(2), CULPRIT, replace(CULPRIT, invariant="lifetime.chain")]
    world = World(
        lambda cases: (
            cases[-1] == VICTIM and {"lifetime.temporary", "lifetime.chain"} <= {case.invariant for case in cases[:-1]}
        )
    )
    assert Tracer(world.together).culprit(VICTIM, before) is None


def test_a_known_culprit_is_tried_first() -> None:
    """The next victim of the same mistake needs no search."""
    world = World(left_by("two"))
    tracer = Tracer(world.together)
    assert tracer.culprit(VICTIM, [*innocents(20), CULPRIT, *innocents(20)])
    again = replace(CULPRIT, parameters=(("dtype", "uint8"),))
    world.ran.clear()
    found = tracer.culprit(VICTIM, [again, *innocents(40)])
    assert found is not None
    assert found.case == again
    assert len(world.ran) == 5


def test_forbidden_input_is_a_matter_of_robustness_later_as_well() -> None:
    """The suite itself had created the illegal input."""
    found = Tracer(World(left_by("two"), Step(illegal=True)).together).culprit(VICTIM, [CULPRIT])
    assert found is not None
    assert (found.level, found.clause) == (Level.ROBUSTNESS, "")


def test_a_death_in_a_later_case_is_the_doing_of_the_one_that_has_caused_it(
    conformance: Command, tmp_path: Path
) -> None:
    """A library frees memory too early, in a way that shows in the next case only: that case is decided, and the library named."""
    take = """if sys.modules.pop("_conformance_damage", None): os.kill(os.getpid(), signal.SIGSEGV)
        if offer._source.view.ndim == 3: sys.modules["_conformance_damage"] = sys"""
    path = install(tmp_path / "site", "later", take=take)
    selection = ("--between", "later", "--family", "pointer", "--tier", "full", "-n", "1", "--deadline", "5")
    done = conformance("check", *selection, path=path)
    assert done.code == 1, done.stderr
    assert len(done.results) == len(done.plan)
    victims = [result for result in done.results if "traced to" in result["attachments"]]
    assert victims
    named = {result["attachments"]["traced to"] for result in victims}
    results = {result["id"]: result for result in done.results}
    assert {results[id]["step"] for id in named} == {"later"}
    assert {tuple(results[id]["accused"]["libraries"]) for id in named} == {("later",)}
    assert not [result["id"] for result in done.results if result["outcome"] == "inconclusive"]


@pytest.mark.parametrize("cleared", ["a collection", "a call"])
def test_what_is_freed_when_caches_are_cleared_is_the_doing_of_its_own_case(
    conformance: Command, tmp_path: Path, cleared: str
) -> None:
    """A library keeps an import, and crashes when it is released: at the next collection, or by its own call."""
    keep = "self.kept.append(trap)" if cleared == "a call" else "trap.itself = trap"
    take = f"""if offer._source.view.ndim == 3:
            class Trap:
                def __del__(self): os.kill(os.getpid(), signal.SIGSEGV)
            trap = Trap()
            {keep}"""
    declared = """
    kept = []

    def let_go(self):
        self.kept.clear()
        return "later.clear()"
"""
    path = install(tmp_path / "site", "later", take=take, declared=declared)
    selection = ("--between", "later", "--family", "pointer", "--tier", "full", "-n", "1", "--deadline", "5")
    done = conformance("check", *selection, path=path)
    lost = [result for result in done.results if result["outcome"] == "crash"]
    assert lost
    assert {result["step"] for result in lost} == {"settle"}
    told = "after the exchange, during garbage collection and the clearing of caches; the check had ended as pass"
    assert all(told in result["reason"] for result in lost)
    assert {tuple(result["accused"]["libraries"]) for result in lost} == {("later",)}
    assert not [result["id"] for result in done.results if result["outcome"] == "inconclusive"]


@pytest.mark.parametrize(
    ("change", "is_victim"),
    [
        ({}, True),
        ({"outside": True}, False),
        ({"after": ()}, False),
        ({"outcome": Outcome.FAIL}, False),
    ],
)
def test_a_death_in_company_that_does_not_show_alone_is_to_be_traced(change: dict[str, Any], is_victim: bool) -> None:
    """A signal of another process says nothing of the cases before, and a first case has none."""
    first = replace(Attempt(Where.COMPANY, Outcome.CRASH, "died", (CULPRIT.id,)), **change)
    alone = Attempt(Where.ALONE, Outcome.PASS, "")
    result = Result(VICTIM, Outcome.INCONCLUSIVE, Level.MUST, attempts=(first, alone))
    assert tracing.is_victim(result) is is_victim
    run = Run((result,), 1.0)
    hang = replace(result, attempts=(replace(first, outcome=Outcome.HANG), alone))
    assert Run((hang,), 1.0).unexplained == ()
    assert run.unexplained == ((VICTIM.id,) if is_victim else ())
    assert exit_code(run) is (Exit.INCOMPLETE if is_victim else Exit.OK)


def test_a_traced_victim_is_what_it_is_alone() -> None:
    """Its tries stay, and a note names the culprit."""
    tries = (Attempt(Where.COMPANY, Outcome.CRASH, "died", (CULPRIT.id,)), Attempt(Where.ALONE, Outcome.PASS, ""))
    victim = Result(VICTIM, Outcome.INCONCLUSIVE, Level.MUST, attempts=tries, duration=3.0)
    culprit = Result(CULPRIT, Outcome.CRASH, Level.MUST)
    cleared, guilty = tracing.settled(victim, Traced(culprit, Result(VICTIM, Outcome.PASS, Level.MUST)))
    assert (cleared.outcome, cleared.attempts, cleared.attachments) == (Outcome.PASS, tries, {tracing.NOTE: CULPRIT.id})
    assert guilty == culprit
    assert not tracing.is_victim(cleared)
    assert tracing.settled(victim, Traced(None, None)) == ()
