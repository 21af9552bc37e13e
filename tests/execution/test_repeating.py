"""Repeats of failures in a second process, before they accuse a library."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Command
from libraries import install

from conformance.adapters.base import Device
from conformance.checks.catalogue import Case
from conformance.checks.codes import Code
from conformance.checks.outcomes import Outcome, Side
from conformance.execution import repeats
from conformance.execution.results import Accused, Attempt, Result, Where
from conformance.protocols.clauses import Level, Role


def case(*values: str, invariant: str = "pointer.values", pair: tuple[str, str] = ("numpy", "torch")) -> Case:
    """A case with these parameters."""
    parameters = tuple((f"p{number}", value) for number, value in enumerate(values))
    return Case(invariant, *pair, "dlpack", Device.HOST, parameters)


def failed(at: Case, code: Code = Code.VALUES_CHANGED, given: str = "") -> Result:
    """A failure in a shared process."""
    return Result(at, Outcome.FAIL, Level.MUST, code.value, "DLP-58", Role.CONSUMER, given=given)


def again(result: Result, alone: Outcome = Outcome.FAIL) -> Result:
    """The same once it was tried alone."""
    tries = (Attempt(Where.SHARED, result.outcome, ""), Attempt(Where.ALONE, alone, ""))
    return replace(result, outcome=alone, attempts=tries)


def left(results: Iterable[Result], *deadly: str) -> list[list[str]]:
    """Return the cases that still need a repeat, by kind."""
    return [[result.case.id for result in members] for members in repeats.unproven(results, deadly)]


def test_one_case_of_each_kind_stands_for_the_others_the_smallest() -> None:
    """It is the one that a finding has a script of."""
    large, small = failed(case("stepped", "uint8")), failed(case("rows"))
    assert left([large, small]) == [[small.case.id, large.case.id]]
    kinds = repeats.unproven([large, small])
    assert (repeats.smallest(kinds), repeats.all_of(kinds)) == ([small.case], [small.case, large.case])
    assert left([large, again(small)]) == []


@pytest.mark.parametrize(
    "other",
    [
        failed(case("rows", invariant="pointer.chain")),
        failed(case("rows", pair=("reference", "torch"))),
        failed(replace(case("rows"), protocol="cai")),
        failed(replace(case("rows"), device=Device.SIMULATED)),
        failed(case("rows"), Code.WRONG_ADDRESS),
        failed(case("rows"), given="NULL strides"),
        replace(failed(case("rows")), level=Level.SHOULD),
        replace(failed(case("rows")), accused=Accused(Side.PRODUCER)),
    ],
)
def test_what_differs_in_anything_that_a_report_tells_has_to_show_by_itself(other: Result) -> None:
    """Nothing is proven of another library, another mistake or another input."""
    assert len(left([again(failed(case("c-order"))), other])) == 1


def test_a_kind_whose_case_was_cleared_is_still_to_be_seen() -> None:
    """The others of it have to show, each by itself."""
    cleared, other = again(failed(case("rows")), Outcome.INCONCLUSIVE), failed(case("stepped"))
    assert left([cleared, other]) == [[other.case.id]]


@pytest.mark.parametrize("result", [
    replace(failed(case()), outcome=Outcome.PASS),
    replace(failed(case()), outcome=Outcome.CRASH),
    replace(failed(case()), level=Level.OBSERVED),
    failed(case(invariant="canary.fails")),
    failed(case(invariant="another.suites")),
])  # fmt: skip
def test_what_accuses_nobody_or_was_tried_again_already_is_not_repeated(result: Result) -> None:
    """A pass, a death, an observation and a canary."""
    assert left([result]) == []


def test_a_failure_of_a_risky_case_is_repeated() -> None:
    """Other risky cases have run before in its process."""
    result = failed(case(invariant="layout.impossible"))
    assert left([result]) == [[result.case.id]]


def test_what_ran_alone_from_the_start_is_not_repeated() -> None:
    """As what has killed its process before does."""
    result = failed(case())
    assert (left([result]), left([result], result.case.id)) == ([[result.case.id]], [])


def test_accusations_are_not_settled_until_each_was_alone_and_with_the_reference() -> None:
    """Both count, each case once."""
    pair, trial = failed(case()), failed(case(pair=("reference", "torch")))
    assert repeats.unsettled({pair.case.id: pair}) == {pair.case.id}
    assert repeats.unsettled({pair.case.id: again(pair)}) == {pair.case.id}
    passed = replace(failed(case(pair=("numpy", "reference"))), outcome=Outcome.PASS)
    all_three = {result.case.id: result for result in (again(pair), trial, passed)}
    assert repeats.unsettled(all_three) == {trial.case.id}
    assert repeats.unsettled(all_three | {trial.case.id: again(trial)}) == frozenset()


def on_gpu(*values: str, pair: tuple[str, str] = ("numpy", "torch")) -> Case:
    """A case on the simulated device, which stands for a GPU."""
    return replace(case(*values, pair=pair), device=Device.SIMULATED)


def test_failures_on_a_gpu_are_repeated_with_those_of_the_same_libraries() -> None:
    """A process that uses CUDA is expensive. At most a few share one; those of other libraries and those on host memory do not."""
    same = [on_gpu(f"{number}") for number in range(repeats.COMPANY + 1)]
    other = on_gpu(pair=("torch", "reference"))
    cases = [*same, other, case()]
    found = repeats.companies(cases, {each.id: 0.1 for each in cases})
    names = [found[each.id] for each in same]
    assert len(set(names[:-1])) == 1
    assert len({names[0], names[-1], found[other.id]}) == 3
    assert case().id not in found


def test_a_failure_on_a_gpu_is_repeated_alone_where_its_case_has_ended_a_process() -> None:
    """It may end this one, too."""
    assert repeats.companies([on_gpu()], {on_gpu().id: 0.1}, {on_gpu().id}) == {}


def test_long_failures_are_spread_over_processes() -> None:
    """They would wait for each other, and the run for the last of them."""
    same = [on_gpu(f"{number}") for number in range(4)]
    found = repeats.companies(same, {each.id: repeats.LONG / 2 for each in same})
    names = [found[each.id] for each in same]
    assert names[0] == names[1] != names[2] == names[3]


# -- in a run

CASES = tuple(
    f"pointer.same-address/reference-guilty/dlpack/host/{name}/float32" for name in ("vector", "cube", "c-order")
)
SELECTED = ("--between", "guilty", *(word for name in CASES for word in ("--case", name)), "-n", "1")
ON_GPU = "    exports = imports = {Device.HOST: (Protocol.DLPACK,), Device.SIMULATED: (Protocol.DLPACK,)}"
COPIES = "offer = type(offer)(offer._source.copied())"


def test_a_failure_that_shows_alone_accuses_and_one_case_of_its_kind_is_tried(
    conformance: Command, tmp_path: Path
) -> None:
    """The result has both tries and the earlier cases of the process; the other failures do not change."""
    done = conformance("check", *SELECTED, path=install(tmp_path / "site", "guilty", take=COPIES))
    assert (done.code, set(done.outcomes().values())) == (1, {"fail"})
    (told,) = [record for record in done.results if record["attempts"]]
    first, alone = told["attempts"]
    assert (first["where"], first["outcome"]) == ("in a shared process", "fail")
    assert (alone["where"], alone["outcome"]) == ("alone", "fail")
    assert set(first["after"]) < set(CASES)
    assert len([e for e in done.journal if e["event"] == "end"]) == len(CASES) + 1


def test_failures_on_a_gpu_are_repeated_in_one_process_with_no_other_case(conformance: Command, tmp_path: Path) -> None:
    """The simulated device stands for a GPU. One failure of each kind is repeated, and the result has both tries."""
    host, simulated = "reference-guilty/dlpack/host", "reference-guilty/dlpack/simulated"
    others = (f"pointer.consumer-write-seen/{simulated}/c-order", f"pointer.producer-write-seen/{simulated}/c-order")
    cases = (CASES[0].replace(host, simulated), *others)
    chosen = ("--between", "guilty", *(word for name in cases for word in ("--case", name)), "-n", "1")
    path = install(tmp_path / "site", "guilty", take=COPIES, declared=ON_GPU)
    done = conformance("check", *chosen, path=path, CONFORMANCE_SIMULATE="1")
    failed = [record for record in done.results if record["outcome"] == "fail"]
    tries = [[attempt["where"] for attempt in record["attempts"]] for record in failed]
    assert len(failed) > 1
    assert tries == [["in a shared process", "in a second process"]] * len(failed)
    ends = [event for event in done.journal if event["event"] == "end"]
    again = [event["process"] for event in ends[len(cases) :]]
    assert len(again) == len(failed)
    assert len(set(again)) == 1
    assert {event["process"] for event in ends[: len(cases)]}.isdisjoint(again)


def test_a_failure_that_does_not_show_alone_accuses_nobody(conformance: Command, tmp_path: Path) -> None:
    """An earlier case in its process may have caused it. The run reports this, and is not clean."""
    take = f"Adapter.taken = getattr(Adapter, 'taken', 0) + 1\n        if Adapter.taken > 1: {COPIES}"
    done = conformance("check", *SELECTED, path=install(tmp_path / "site", "guilty", take=take))
    assert done.code == 0
    assert sorted(done.outcomes().values()) == ["inconclusive", "inconclusive", "pass"]
    undecided = [record for record in done.results if record["outcome"] == "inconclusive"]
    words = "fail in a shared process (the import does not share the producer's memory), but pass alone"
    assert {record["reason"] for record in undecided} == {words}
    assert {record["accused"] for record in undecided} == {None}
    assert "Not decided (2)" in done.stdout


def test_what_was_seen_alone_is_not_run_again_when_a_run_goes_on(conformance: Command, tmp_path: Path) -> None:
    """Nor what did not show alone: both are in the journal."""
    path = install(tmp_path / "site", "guilty", take=COPIES)
    done = conformance("check", *SELECTED, path=path)
    before = len(done.journal)
    resumed = conformance("check", "--resume", str(done.out), path=path)
    assert (resumed.code, [e["event"] for e in resumed.journal[before:]]) == (1, ["begin", "stop"])


def test_a_run_that_was_stopped_before_its_accusations_were_settled_says_so(
    conformance: Command, tmp_path: Path
) -> None:
    """All cases have an outcome, and yet the report is not that of a whole run; going on settles the rest."""
    path = install(tmp_path / "site", "guilty", take=COPIES)
    done = conformance("check", *SELECTED, path=path)
    ends = [n for n, event in enumerate(done.journal) if event["event"] == "end"]
    lines = (done.out / "journal.jsonl").read_text().splitlines(keepends=True)
    (done.out / "journal.jsonl").write_text("".join(lines[: ends[len(CASES) - 1] + 1]))
    (done.out / "results.jsonl").unlink()
    told = conformance("report", str(done.out), path=path)
    words = " ".join(told.stdout.split())
    assert (told.code, "3 accusations are not settled" in words) == (4, True)
    assert f"`check --resume {done.out}` continues" in words
    assert conformance("check", "--resume", str(done.out), path=path).code == 1
    again = conformance("report", str(done.out), path=path)
    assert (again.code, "not settled" in again.stdout) == (1, False)
