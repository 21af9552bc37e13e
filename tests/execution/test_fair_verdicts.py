"""Fairness of all results of a run: each failure names the accused or a reason why not, and a clause that binds it."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from conftest import Finished, command_in
from libraries import install

from conformance.checks.codes import BY_SLUG
from conformance.checks.libraries import REFERENCE
from conformance.protocols.clauses import Level, Role, clause

pytestmark = pytest.mark.seconds(20)
SPEAKING = ("violates", "deviates", "robustness")
SCHEMA = json.loads(resources.files("conformance.findings").joinpath("schemas/findings.schema.json").read_text())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The installed libraries on host memory, and a faulty one that crashes during its import of an array."""
    path = install(tmp_path_factory.mktemp("libraries"), "dying", take="os.kill(os.getpid(), signal.SIGSEGV)")
    command = command_in(tmp_path_factory.mktemp("run"))
    families = "capsule,negotiation,state,dtype"
    return command(
        "check", "--device", "host", "--family", families, "--between", "dying,numpy,jax", "--tier", "quick", path=path
    )


def failures(run: Finished) -> list[dict[str, Any]]:
    """Results that accuse a library."""
    found = [line for line in run.results if line["verdict"] in SPEAKING]
    assert found
    return found


def test_no_clause_is_held_against_a_side_that_it_does_not_bind(run: Finished) -> None:
    """Neither above what it demands of that side; a process that dies is a violation by itself."""
    for line in failures(run):
        side, cited = line["accused"]["side"], line["clause"]
        if side in {role.value for role in Role} and cited:
            level = clause(cited).level(Role(side))
            assert clause(cited).binds(Role(side)), line
            assert line["outcome"] != "fail" or Level(line["level"]).at_most(level) is Level(line["level"]), line


def test_every_failure_has_a_code_and_all_but_robustness_a_clause(run: Finished) -> None:
    """The one that was broken."""
    for line in failures(run):
        assert line["code"] in BY_SLUG, line
        assert bool(line["clause"]) is (line["verdict"] != "robustness"), line


def test_every_failure_names_the_accused_or_says_why_it_cannot(run: Finished) -> None:
    """Never the reference."""
    for line in failures(run):
        accused = line["accused"]
        assert REFERENCE not in accused["libraries"], line
        assert accused["libraries"] or accused["why"], line
        assert accused["why"], line


def test_an_innocent_partner_of_a_library_that_dies_is_not_accused(run: Finished) -> None:
    """This holds for every producer."""
    deaths = [line for line in failures(run) if line["consumer"] == "dying" and line["outcome"] == "crash"]
    assert {line["producer"] for line in deaths} > {REFERENCE}
    assert {tuple(line["accused"]["libraries"]) for line in deaths} == {("dying",)}


def test_the_findings_of_the_run_are_few_and_each_of_one_library(run: Finished) -> None:
    """Their cases are all failures of the run, and the file is as its schema says."""
    document = json.loads(Path(run.out, "findings.json").read_text())
    jsonschema.validate(document, SCHEMA)
    of_dying = [one for one in document["findings"] if one["library"] == "dying"]
    assert [one["id"] for one in of_dying if one["code"] == "crash"] == ["dying/consumer/crash/import"]
    cases = {case for one in document["findings"] for case in one["cases"]}
    assert cases == {line["id"] for line in failures(run)}
    ids = [one["id"] for one in document["findings"]]
    assert len(ids) == len(set(ids))
