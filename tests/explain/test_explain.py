"""Explanations: everything that has a name in the suite is explained, and what has none is answered with the closest."""

from __future__ import annotations

import io
import json
import re

import pytest
from conftest import Command

from conformance.adapters.base import Device
from conformance.checks import bugs
from conformance.checks.catalogue import catalogue
from conformance.checks.libraries import Environment
from conformance.console.screen import Screen
from conformance.execution.case_names import UnknownName, everything
from conformance.explain import display
from conformance.explain.explanation import Explanation, as_json, explain
from conformance.explain.subjects import Kind, find
from conformance.faults import all_faults
from conformance.protocols.clauses import Role, all_clauses
from conformance.selftest.stages import stages

KEY = re.compile(r"^[a-z]+-\d\d$")
FAULTS = [fault for stage in stages() for fault in stage.faults]
WIDTH = 60


def nowhere() -> Environment:
    """An environment without anything."""
    return Environment(())


def told(name: str) -> Explanation:
    """The explanation of a name."""
    return explain(find(name, nowhere), FAULTS)


def shown(name: str, *, everything: bool = False) -> str:
    """The explanation of a name as it is printed."""
    stream = io.StringIO()
    display.show(Screen(stream, WIDTH, colours=False), told(name), everything=everything)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("pointer.values", Kind.INVARIANT),
        ("CAI-18", Kind.CLAUSE),
        ("cai-18", Kind.CLAUSE),
        ("ordering", Kind.FAMILY),
        ("pointer.values/torch-cupy/dlpack/cuda/c-order/float32", Kind.CASE),
    ],
)
def test_a_name_is_known_for_what_it_is(name: str, kind: Kind) -> None:
    """An invariant, a clause in whatever letters, a family, a case that need not run here."""
    assert find(name, nowhere).kind is kind


@pytest.mark.parametrize(
    ("name", "closest"), [("pointer.valuse", "pointer.values"), ("CAI-188", "CAI-18"), ("ordrering", "ordering")]
)
def test_an_unknown_name_is_answered_with_the_closest(name: str, closest: str) -> None:
    """One sentence."""
    with pytest.raises(UnknownName, match=re.escape(f"did you mean {closest}?")):
        find(name, nowhere)


@pytest.mark.parametrize("name", catalogue())
def test_every_invariant_is_explained(name: str) -> None:
    """Statement, clauses in words, and every fault that has to be caught by it, folded to the width."""
    text = " ".join(shown(name, everything=True).split())
    invariant = catalogue()[name]
    assert " ".join(invariant.statement.replace("``", "`").split()) in text
    assert all(id in text for id in invariant.clauses)
    assert all(fault.name in text for fault in FAULTS if name in fault.caught_by)


def test_paragraphs_are_folded_to_the_width() -> None:
    """All but names and addresses, which are one word."""
    lines = shown("pointer.values").splitlines()
    assert [line for line in lines if len(line) > WIDTH and len(line.split()) > 3] == []


@pytest.mark.parametrize("clause", all_clauses(), ids=lambda clause: clause.id)
def test_every_clause_is_explained(clause: object) -> None:
    """With the invariants that rest on it."""
    told_of = find(clause.id, nowhere)  # type: ignore[attr-defined]
    text = shown(told_of.name)
    assert all(invariant.id in text for invariant in told_of.invariants)


@pytest.mark.parametrize(
    ("clause", "bound"),
    [
        ("DLP-20", "the producer must"),
        ("DLP-21", "the consumer must, as we infer from the text"),
        ("DLP-30", "the producer must, the consumer should"),
        ("CAI-27", "binds the user"),
        ("CAI-30", "binds no library"),
        ("LIB-33", "documented by torch"),
    ],
)
def test_a_clause_says_whom_it_binds(clause: str, bound: str) -> None:
    """Where the invariants that rest on it are told, too: a reader would take it for everybody's duty."""
    told_of = find(clause, nowhere)
    assert f"  {clause}  {bound}\n" in shown(clause)
    assert all(f"  {clause}  {bound}\n" in shown(one.id) for one in told_of.invariants)


def test_each_side_has_its_own_expectations() -> None:
    """The clauses that bind it, and no others."""
    data = as_json(told("pointer.values"), None, None)
    assert data["expected"] == {
        role.value: [id for id in catalogue()["pointer.values"].clauses if find(id, nowhere).clauses[0].binds(role)]
        for role in Role
    }
    assert "DLP-59" not in data["expected"]["consumer"]
    assert "DLP-58" in data["expected"]["consumer"]


def test_real_bugs_come_from_rows_and_from_the_faults_that_are_caught() -> None:
    """Each once, and the rest of their class apart from them."""
    found = told("device.own-memory-kind")
    assert {"device-20", "device-25", "device-28"} <= {bug.key for bug in found.bugs}
    assert not {bug.key for bug in found.bugs} & {bug.key for bug in found.similar}


def test_every_bug_that_is_named_anywhere_is_there() -> None:
    """A row or a fault that names a bug leads to its sentence."""
    rows = [key for invariant in catalogue().values() for key in invariant.bugs if KEY.match(key)]
    of_faults = [bug for fault in all_faults().values() for bug in fault.bugs]
    assert {*rows, *of_faults} - set(bugs.all_bugs()) == set()
    assert len(bugs.all_bugs()) == 185


@pytest.mark.parametrize("bug", bugs.all_bugs().values(), ids=lambda bug: bug.key)
def test_a_bug_is_told_in_a_sentence_with_a_public_reference(bug: bugs.Bug) -> None:
    """Repository and number; a symptom that ends with a full stop; no file of anybody's machine."""
    assert all(re.match(r"^[\w./-]+#\d+$", reference) for reference in bug.references)
    assert bug.references
    assert bug.symptom.endswith(".")
    assert 2010 < bug.year < 2030


def test_an_explanation_is_plain_data_for_machines() -> None:
    """It survives JSON, and says what it has not looked at."""
    data = json.loads(json.dumps(as_json(told("pointer.values"), None, None)))
    assert (data["kind"], data["cases_here"], data["invariants"][0]["id"]) == ("invariant", None, "pointer.values")
    assert [fault["name"] for fault in data["faults"]]


def test_cases_are_counted_by_producer_and_consumer() -> None:
    """One line for each producer."""
    stream = io.StringIO()
    subject = find("pointer.values", nowhere)
    cases = [case for case in subject.invariants[0].cases(everything((Device.HOST,))) if case.producer == "numpy"]
    display.show_cases(Screen(stream, 120, colours=False), subject, cases, everything=False)
    assert "numpy → reference" in stream.getvalue()


def test_the_command_explains(conformance: Command) -> None:
    """Without looking at the libraries, if that is not wanted."""
    done = conformance("explain", "CAI-18", "--no-cases")
    assert done.code == 0
    told = " ".join(done.stdout.split())
    assert "CAI-18 the consumer must A consumer must synchronise on an integer `stream`" in told


def test_the_command_tells_an_unknown_name_in_one_sentence(conformance: Command) -> None:
    """And ends with 2."""
    done = conformance("explain", "pointer.valuse")
    assert (done.code, len(done.stderr.strip().splitlines())) == (2, 1)
    assert "did you mean pointer.values?" in done.stderr
