"""The suite on partners that are wrong on purpose: each is caught by what has to catch it, and nobody else is accused."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from conftest import Command, mark, marked

from conformance.adapters.base import Device
from conformance.checks.catalogue import Case, catalogue
from conformance.checks.libraries import Environment
from conformance.exits import Exit
from conformance.selftest import running, trials
from conformance.selftest.model import Stage
from conformance.selftest.page import page
from conformance.selftest.running import Width
from conformance.selftest.stages import stages

ROOT = Path(__file__).parents[2]
FAULTS = [fault for stage in stages() for fault in stage.faults]
INVARIANTS = [name for name, invariant in catalogue().items() if invariant.canary is None]


@pytest.mark.parametrize(
    "width",
    [
        pytest.param(("--named-invariants",), id="named", marks=pytest.mark.seconds(60)),
        pytest.param((), id="families", marks=[pytest.mark.seconds(150), pytest.mark.again]),
    ],
)
def test_every_fault_is_caught_and_no_flawless_partner_accused(
    width: tuple[str, ...], conformance: Command, tmp_path: Path
) -> None:
    """By each invariant that has to catch it, with a sentence. Other invariants of its family may notice it as well."""
    done = conformance("selftest", *width, "--json", str(tmp_path / "all.json"))
    told = json.loads((tmp_path / "all.json").read_text())
    assert done.code == Exit.OK, done.stdout[-4000:]
    assert (told["accused"], told["toothless"], told["unpassed"], told["lost"]) == ([], [], [], {})
    assert [fault["fault"] for fault in told["faults"] if fault["escaped"]] == []
    silent = [
        (fault["fault"], trial["invariant"])
        for fault in told["faults"]
        for trial in fault["trials"]
        if trial["outcome"] == "fail" and not re.search(r".: expected .+, seen .", trial["said"], re.DOTALL)
    ]
    assert silent == []
    assert told["absent"] == {}


def test_the_page_of_faults_is_the_one_of_these_faults() -> None:
    """Otherwise `selftest --page docs/faults.md` writes it anew."""
    invariants = [invariant for invariant in catalogue().values() if invariant.canary is None]
    assert (ROOT / "docs" / "faults.md").read_text() == page(stages(), invariants)


def test_every_invariant_has_two_faults_that_it_must_catch() -> None:
    """A check that cannot fail is a defect; one fault may be caught by chance."""
    named = Counter(name for fault in FAULTS for name in fault.caught_by)
    assert {name: named[name] for name in INVARIANTS if named[name] < 2} == {}


def test_faults_name_invariants_that_exist() -> None:
    """A renamed invariant must not leave its fault behind."""
    assert [(f.name, name) for f in FAULTS for name in f.caught_by if name not in INVARIANTS] == []


def test_one_family_can_be_tried_alone(conformance: Command) -> None:
    """The exit code is of what was tried."""
    done = conformance("selftest", "state")
    assert done.code == Exit.OK, done.stdout
    assert "0 escaped" in done.stdout
    assert "0 failed or inconclusive" in done.stdout


ONCE, OFTEN = "lifetime.deleter-once", "lifetime.nothing-left"


@pytest.mark.parametrize(
    ("width", "of_once", "of_often"),
    [
        (Width.NAMED, [ONCE], [OFTEN]),
        (Width.FAMILIES, [ONCE], [ONCE, OFTEN]),
        (Width.ALL, [ONCE, OFTEN], [ONCE, OFTEN]),
    ],
)
def test_an_invariant_of_thousands_of_exchanges_is_tried_on_the_faults_that_it_has_to_catch(
    width: Width, of_once: list[str], of_often: list[str]
) -> None:
    """Other faults of its family would cost seconds each and show nothing. Flawless partners try both."""
    cases = [Case(name, "reference", "reference", "dlpack", Device.HOST) for name in (ONCE, OFTEN)]
    stage = Stage("paper", "on paper", dict, lambda _: iter(cases))
    for name, invariant in (("a", ONCE), ("b", OFTEN)):
        stage.add(name, "It is wrong.", (invariant,), lambda _: None, ())
    found = {
        job.fault: [case.invariant for case in job.cases]
        for job in running.jobs([stage], Environment(()), wanted=(), width=width)
    }
    assert found == {trials.FLAWLESS: [ONCE, OFTEN], "paper.a": of_once, "paper.b": of_often}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("selftest", "stripes"), "there is no fault, stage or family 'stripes'"),
        (("selftest", "layout", "--page", "x.md"), "--page describes all faults"),
        (("selftest", "-n", "0"), "-n: '0' is not a number of processes"),
        (("selftest", "--against", "none.json"), "--against: none.json is not a readable selftest result"),
    ],
)
def test_a_mistake_is_one_sentence(arguments: tuple[str, ...], told: str, conformance: Command) -> None:
    """And exit code 2."""
    done = conformance(*arguments)
    assert (done.code, told in done.stderr) == (Exit.USAGE, True), done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, Exit.INTERRUPTED), (signal.SIGTERM, Exit.TERMINATED)])
def test_being_asked_to_stop_loses_nothing_that_is_known(number: signal.Signals, code: Exit, tmp_path: Path) -> None:
    """What was not tried is said not to have been; it has not escaped. Neither a process nor a temporary file is left."""
    told, temporary = tmp_path / "told.json", tmp_path / "temporary"
    temporary.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "conformance", "selftest", "layout", "--json", str(told)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **mark(tmp_path), "TMPDIR": str(temporary)},
        start_new_session=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if int(line.partition("/")[0]) > 4:  # more than the flawless partners of the first stage, so faults too
            break
    os.killpg(process.pid, number)
    stdout, _ = process.communicate(timeout=60)
    assert process.returncode == code, stdout[-2000:]
    account = json.loads(told.read_text())
    assert "not tried" in stdout
    assert [fault["fault"] for fault in account["faults"] if fault["escaped"]] == []
    assert (account["toothless"], account["unpassed"], account["accused"]) == ([], [], [])
    assert any(trial["failed"] for fault in account["faults"] for trial in fault["trials"])
    assert set(account["lost"].values()) == {"the selftest was asked to stop"}
    assert marked(tmp_path) == []
    assert list(temporary.iterdir()) == []
