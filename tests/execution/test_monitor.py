"""Monitors: the child for each case, repeats, and checks of the GPU. The tests use fake children."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest

from conformance.adapters.base import Device
from conformance.checks.catalogue import Case, Isolation
from conformance.checks.outcomes import Outcome
from conformance.checks.steps import Step
from conformance.execution import monitor
from conformance.execution.monitor import Monitor
from conformance.execution.results import BAD, Result
from conformance.protocols.clauses import Level


@dataclass
class Script:
    """Outcomes of each case by try (``pass`` if none is left), and the GPU's answers to probes."""

    endings: dict[str, list[Outcome]] = field(default_factory=dict)
    probes: list[str | None] = field(default_factory=list)
    kills: dict[str, list[int]] = field(default_factory=dict)
    """Outside signals that end the processes of each case, by try; 0 for none."""
    children: list[Paper] = field(default_factory=list)

    def start(self, close: Iterable[int]) -> Paper:
        """Another child."""
        self.children.append(Paper(self, 100 + len(self.children), tuple(close)))
        return self.children[-1]


@dataclass
class Paper:
    """A fake child with prepared outcomes."""

    script: Script
    pid: int
    closes: tuple[int, ...]
    done: list[Case] = field(default_factory=list)
    spent: Counter[str] = field(default_factory=Counter)
    newest: Step = field(default_factory=Step)
    died: bool = False
    probed: list[float] = field(default_factory=list)
    told_last: list[bool] = field(default_factory=list)
    ended: int = 0
    killed: int = 0
    is_own: bool = False
    watched: list[int] = field(default_factory=list)
    patience: list[float] = field(default_factory=list)

    @property
    def is_new(self) -> bool:
        return not self.done

    @property
    def descriptors(self) -> tuple[int, ...]:
        return () if self.died else (self.pid, self.pid + 1000)

    def run(self, case: Case, *, last: bool, watch: int, patience: float) -> Result:
        assert not self.died, "a case was given to a process that is gone"
        self.done.append(case)
        self.told_last.append(last)
        self.watched.append(watch)
        self.patience.append(patience)
        kills = self.script.kills.get(case.invariant, [])
        self.killed = kills.pop(0) if kills else 0
        self.is_own = bool(watch and not self.killed)
        endings = self.script.endings.get(case.invariant, [])
        outcome = endings.pop(0) if endings else Outcome.PASS
        self.died = last or outcome in (Outcome.CRASH, Outcome.HANG)
        return Result(case, outcome, Level.MUST, reason="as written")

    def trouble_with_gpu(self, case: Case, seconds: float) -> str | None:
        self.probed.append(seconds)
        return self.script.probes.pop(0) if self.script.probes else None

    def end(self) -> bool:
        self.died = True
        self.ended += 1
        return True


def case(name: str, device: Device = Device.HOST) -> Case:
    """A case of an invariant that needs not exist."""
    return Case(name, "reference", "reference", "dlpack", device)


@pytest.fixture
def pauses() -> list[float]:
    """Seconds of each pause that a monitor makes."""
    return []


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, pauses: list[float]) -> Script:
    """A monitor without waits."""
    monkeypatch.setattr(monitor.time, "sleep", pauses.append)
    return Script()


def test_ordinary_cases_share_one_process(script: Script) -> None:
    """Passes, failures and refusals alike."""
    script.endings = {"b": [Outcome.FAIL], "c": [Outcome.REFUSED]}
    watch = Monitor(script.start)
    results = [watch.run(case(name), Isolation.SHARED) for name in "abcd"]
    assert [r.outcome.value for r in results] == ["pass", "fail", "refused", "pass"]
    assert len(script.children) == 1
    assert script.children[0].told_last == [False] * 4
    assert not any(r.attempts for r in results)


def test_the_process_of_the_newest_case_is_known(script: Script) -> None:
    """By its id; before the first case there is none."""
    watch = Monitor(script.start)
    assert watch.process == 0
    watch.run(case("a"), Isolation.SHARED)
    assert watch.process == script.children[0].pid
    watch.run(case("b"), Isolation.CHILD)
    assert watch.process == script.children[1].pid


def test_a_new_process_keeps_nothing_open_of_its_living_siblings(script: Script) -> None:
    """They also close the monitor's own descriptors: otherwise the end of a sibling would go unnoticed."""
    watch = Monitor(script.start, (3, 4))
    watch.run(case("a"), Isolation.SHARED)
    watch.run(case("b"), Isolation.CHILD)
    watch.run(case("c"), Isolation.RISKY)
    watch.run(case("d"), Isolation.CHILD)
    company, risky = script.children[0].descriptors, script.children[2].descriptors
    assert company
    closed = [child.closes for child in script.children]
    assert closed == [(3, 4), (3, 4, *company), (3, 4, *company), (3, 4, *company, *risky)]


def test_closing_ends_whatever_still_lives(script: Script) -> None:
    """The child of ordinary cases, the one of risky cases, and the newest child."""
    watch = Monitor(script.start)
    watch.run(case("a"), Isolation.SHARED)
    watch.run(case("b"), Isolation.CHILD)
    watch.run(case("c"), Isolation.RISKY)
    watch.close()
    assert [child.died for child in script.children] == [True, True, True]
    assert [child.ended for child in script.children] == [1, 1, 1]


def test_all_cases_of_the_lost_process_are_told(script: Script) -> None:
    """Oldest first, and not the one that was lost."""
    script.endings = {"lost": [Outcome.CRASH, Outcome.CRASH]}
    watch = Monitor(script.start)
    before = [case(f"n{number}") for number in range(20)]
    for each in before:
        watch.run(each, Isolation.SHARED)
    result = watch.run(case("lost"), Isolation.SHARED)
    assert result.attempts[0].after == tuple(each.id for each in before)


@pytest.mark.parametrize("death", sorted(BAD))
@pytest.mark.parametrize("isolation", [Isolation.SHARED, Isolation.RISKY])
def test_who_kills_its_company_is_tried_again_in_a_new_process(
    script: Script, death: Outcome, isolation: Isolation
) -> None:
    """The result has both tries, and the next case runs in a new process."""
    script.endings = {"b": [death, death]}
    watch = Monitor(script.start)
    _, lost, after = [watch.run(case(name), isolation) for name in "abc"]
    assert (lost.outcome, after.outcome) == (death, Outcome.PASS)
    assert [(a.where.value, a.outcome) for a in lost.attempts] == [("in company", death), ("alone", death)]
    assert lost.attempts[0].after == (case("a").id,)
    assert [child.died for child in script.children] == [True, True, False]


@pytest.mark.parametrize("first", [Outcome.CRASH, Outcome.HANG, Outcome.POISONED])
def test_a_death_that_does_not_show_again_is_no_pass(script: Script, first: Outcome) -> None:
    """The cause is unknown: another case of that process may have caused it."""
    script.endings = {"b": [first]}
    watch = Monitor(script.start)
    watch.run(case("a"), Isolation.SHARED)
    result = watch.run(case("b"), Isolation.SHARED)
    assert [(child.done, child.died) for child in script.children] == [
        ([case("a"), case("b")], True),
        ([case("b")], False),
    ]
    assert script.children[1].told_last == [False]
    assert result.outcome is Outcome.INCONCLUSIVE
    assert f"{first.value} in company (as written), but pass alone" in result.reason


def test_a_failure_right_after_a_restart_is_tried_again_alone(script: Script) -> None:
    """The restart itself may be the cause; the result has both tries."""
    script.endings = {"a": [Outcome.CRASH, Outcome.CRASH], "b": [Outcome.FAIL, Outcome.FAIL], "c": [Outcome.FAIL]}
    watch = Monitor(script.start)
    _, after, later = [watch.run(case(name), Isolation.SHARED) for name in "abc"]
    assert after.outcome is Outcome.FAIL
    assert [a.where.value for a in after.attempts] == ["first after a restart", "alone"]
    assert (later.outcome, later.attempts) == (Outcome.FAIL, ())


def test_a_failure_without_a_restart_is_tried_once(script: Script) -> None:
    """Also as the first case of all."""
    script.endings = {"a": [Outcome.FAIL]}
    assert Monitor(script.start).run(case("a"), Isolation.SHARED).attempts == ()


def test_a_risky_case_without_a_decision_runs_again_without_company(script: Script) -> None:
    """An earlier case may be the reason. A failure is repeated after all other cases."""
    script.endings = {"b": [Outcome.FAIL], "c": [Outcome.INCONCLUSIVE, Outcome.PASS]}
    watch = Monitor(script.start)
    _, failed, decided = [watch.run(case(name), Isolation.RISKY) for name in "abc"]
    assert [child.done for child in script.children] == [[case("a"), case("b"), case("c")], [case("c")]]
    assert [child.died for child in script.children] == [True, False]
    assert (failed.outcome, failed.attempts) == (Outcome.FAIL, ())
    assert (decided.outcome, [a.outcome.value for a in decided.attempts]) == (Outcome.PASS, ["inconclusive", "pass"])


def test_cases_of_one_company_share_a_new_process_with_nothing_else(script: Script) -> None:
    """Also cases that would otherwise run alone. The process ends with the company."""
    watch = Monitor(script.start)
    watch.run(case("a"), Isolation.SHARED)
    for name, company in (("b", "one"), ("c", "one"), ("d", "two")):
        watch.run(case(name), Isolation.CHILD, company)
    watch.run(case("e"), Isolation.SHARED)
    assert [child.done for child in script.children] == [
        [case("a"), case("e")], [case("b"), case("c")], [case("d")],
    ]  # fmt: skip
    assert [child.died for child in script.children] == [False, True, True]


def test_a_case_that_ends_the_process_of_a_company_runs_again_as_the_first(script: Script) -> None:
    """So it is decided like any other crash, and the rest of the company still runs."""
    script.endings = {"b": [Outcome.CRASH, Outcome.CRASH]}
    watch = Monitor(script.start)
    results = [watch.run(case(name), Isolation.RISKY, "one") for name in "abc"]
    assert [result.outcome for result in results] == [Outcome.PASS, Outcome.CRASH, Outcome.PASS]
    assert [child.done for child in script.children] == [[case("a"), case("b")], [case("b")], [case("c")]]


@pytest.mark.parametrize("isolation", [Isolation.CHILD, Isolation.EXIT])
def test_who_changes_what_others_see_is_always_alone(script: Script, isolation: Isolation) -> None:
    """Each case has its own process, which ends afterwards."""
    watch = Monitor(script.start)
    for name in "ab":
        watch.run(case(name), isolation)
    assert [child.done for child in script.children] == [[case("a")], [case("b")]]
    assert [child.told_last for child in script.children] == [[True], [True]]
    assert all(child.died for child in script.children)


@pytest.mark.parametrize("isolation", [Isolation.SHARED, Isolation.RISKY])
def test_a_crash_costs_one_start_besides_the_second_try(script: Script, isolation: Isolation) -> None:
    """The second try is the first case of the next child. The GPU is checked in the process in which the next case runs."""
    script.endings = {"b": [Outcome.CRASH, Outcome.CRASH]}
    watch = Monitor(script.start)
    for name in "abc":
        watch.run(case(name, Device.CUDA), isolation)
    assert [[each.invariant for each in child.done] for child in script.children if child.done] == [
        ["a", "b"],
        ["b"],
        ["c"],
    ]
    assert [len(child.probed) for child in script.children][:3] == [0, 0, 1]
    assert len(script.children) == (3 if isolation is Isolation.SHARED else 4)


@pytest.mark.parametrize("death", [Outcome.CRASH, Outcome.POISONED])
@pytest.mark.parametrize("isolation", list(Isolation))
def test_a_crash_in_the_first_case_of_its_process_is_not_tried_again(
    script: Script, isolation: Isolation, death: Outcome
) -> None:
    """Nothing ran before it that could have caused it."""
    script.endings = {"a": [death]}
    result = Monitor(script.start).run(case("a"), isolation)
    assert (result.outcome, result.attempts, len(script.children)) == (death, (), 1)


def test_a_loss_on_host_memory_needs_no_look_at_the_gpu(script: Script) -> None:
    """Neither after the case nor before the next one."""
    script.endings = {"a": [Outcome.HANG, Outcome.HANG]}
    watch = Monitor(script.start)
    for each in (case("a"), case("b", Device.CUDA)):
        watch.run(each, Isolation.SHARED)
    assert not any(child.probed for child in script.children)


def test_living_company_looks_at_the_gpu(script: Script) -> None:
    """It needs no start: its own use of the GPU shows that the GPU works."""
    script.endings = {"b": [Outcome.CRASH]}
    watch = Monitor(script.start)
    watch.run(case("a", Device.CUDA), Isolation.SHARED)
    watch.run(case("b", Device.CUDA), Isolation.CHILD)
    assert [len(child.probed) for child in script.children] == [1, 0]


def test_a_gpu_that_comes_back_is_used_again(script: Script, pauses: list[float]) -> None:
    """It gets more than one try, in a new process each, and a pause in between."""
    script.endings = {"a": [Outcome.POISONED, Outcome.POISONED]}
    script.probes = ["busy", None]
    watch = Monitor(script.start)
    assert watch.run(case("a", Device.CUDA), Isolation.SHARED).outcome is Outcome.POISONED
    assert [child.probed for child in script.children if child.probed] == [[monitor.PROBE_SECONDS]] * 2
    assert pauses == [0, monitor.PAUSE_SECONDS]


def test_a_gpu_that_does_not_come_back_loses_its_cases_and_no_others(script: Script) -> None:
    """A case that did not run is reported so, with the case before it. The last try says nothing: the GPU may have been unusable before it."""
    script.endings = {"a": [Outcome.HANG, Outcome.HANG]}
    script.probes = ["no answer"] * 20
    watch = Monitor(script.start)
    first = watch.run(case("a", Device.CUDA), Isolation.SHARED)
    later, host = watch.run(case("b", Device.CUDA), Isolation.SHARED), watch.run(case("c"), Isolation.SHARED)
    told = f"the GPU is unusable after {case('a', Device.CUDA).id}: no answer"
    assert (first.outcome, first.attempts[1].outcome) == (Outcome.HANG, Outcome.LOST)
    assert first.attempts[1].reason == told
    assert later == Result(case("b", Device.CUDA), Outcome.LOST, Level.MUST, reason=told)
    assert sum(len(child.probed) for child in script.children) == 2 * monitor.PROBES
    assert host.outcome is Outcome.PASS


KILL, STOP = int(signal.SIGKILL), int(signal.SIGSTOP)
CRASH, HANG, PASS, FAIL = Outcome.CRASH, Outcome.HANG, Outcome.PASS, Outcome.FAIL
NO_RESULT = Outcome.INCONCLUSIVE


@pytest.mark.parametrize("isolation", [Isolation.SHARED, Isolation.RISKY, Isolation.CHILD, Isolation.EXIT])
@pytest.mark.parametrize(
    ("endings", "kills", "outcome", "watched"),
    [
        ([CRASH, PASS], [KILL, 0], NO_RESULT, [0, KILL]),
        ([CRASH, FAIL], [KILL, 0], FAIL, [0, KILL]),
        ([CRASH, CRASH], [KILL, 0], CRASH, [0, KILL]),
        ([CRASH] * 4, [KILL] * 4, NO_RESULT, [0, KILL, KILL, KILL]),
        ([HANG] * 4, [STOP] * 4, NO_RESULT, [0, STOP, STOP, STOP]),
        ([HANG, CRASH, HANG], [0, KILL, 0], HANG, [0, 0, KILL]),
        ([HANG, HANG], [0, 0], HANG, [0, 0]),
        ([HANG, PASS], [0, 0], NO_RESULT, [0, 0]),
    ],
)
def test_a_death_accuses_only_if_it_shows_again_or_is_proven_to_be_the_processs_own(
    script: Script, isolation: Isolation, endings: list[Outcome], kills: list[int], outcome: Outcome, watched: list[int]
) -> None:
    """The rule holds in every kind of process. After an outside signal the next try is under watch; every try is recorded."""
    script.endings, script.kills = {"a": list(endings)}, {"a": list(kills)}
    result = Monitor(script.start).run(case("a"), isolation)
    assert result.outcome is outcome
    assert [seen for child in script.children for seen in child.watched] == watched
    assert [attempt.outcome for attempt in result.attempts] == endings


def test_what_was_always_ended_from_outside_says_by_which_signal(script: Script) -> None:
    """The reason also has the number of tries."""
    script.endings, script.kills = {"a": [CRASH] * 4}, {"a": [KILL] * 4}
    result = Monitor(script.start).run(case("a"), Isolation.CHILD)
    assert result.reason == "the process was killed by SIGKILL from outside: as written, in 4 tries"
    assert result.accused is None


def test_a_hang_has_to_show_again_with_more_time(script: Script) -> None:
    """A crash is repeated with the same deadline."""
    script.endings, script.kills = {"a": [HANG, HANG], "b": [CRASH, CRASH]}, {"b": [KILL, KILL]}
    watch = Monitor(script.start)
    for name in "ab":
        watch.run(case(name), Isolation.CHILD)
    assert [child.patience for child in script.children] == [[1.0], [monitor.PATIENCE], [1.0], [1.0], [1.0]]
