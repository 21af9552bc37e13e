"""What a person, a program and a workflow see of the plan."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from conformance import cli
from conformance.console.screen import Screen
from conformance.exits import UserError
from conformance.matrix import commands, display
from conformance.matrix import selection as selecting
from conformance.matrix.locks import Standing, State
from conformance.matrix.model import Cell, Tier
from conformance.matrix.selection import Selection

from .conftest import SMALL, Written

ROOT = Path(__file__).parents[2]


def told(capsys: pytest.CaptureFixture[str], path: Path, *options: str) -> str:
    """What ``matrix`` prints."""
    assert cli.main(["matrix", "--matrix", str(path), *options]) == 0
    return capsys.readouterr().out


def test_the_table_says_what_is_in_each_cell_and_what_is_covered(
    capsys: pytest.CaptureFixture[str], written: Written
) -> None:
    """Values, tier, alias and lock; pairs covered, and the size against all combinations."""
    text = told(capsys, written(SMALL))
    rows = [line.split() for line in text.splitlines()]
    assert rows[0] == ["lock", "cuda", "python", "lib", "from", "tier", "cell"]
    assert rows[1] == ["1", "–", "12.8", "3.11", "2.9", "smoke", "oldest"]
    assert ["2", "–", "12.8", "3.12", "·", "nightly"] in rows
    assert "nightly    6 cells  all pairs: 15 of 15 allowed pairs" in text
    assert "The product of all axes has 12 cells; the rules leave 10 of them." in text


def test_a_tier_is_shown_with_those_that_it_extends(capsys: pytest.CaptureFixture[str], written: Written) -> None:
    """And no further."""
    assert "nightly" not in told(capsys, written(SMALL), "--tier", "smoke")


@pytest.mark.parametrize(
    ("tier", "names", "shown"),
    [
        ("smoke", (), ["smoke"]),
        ("nightly", (), ["smoke", "nightly"]),
        (None, (), ["smoke", "nightly"]),
        (None, ("oldest",), ["smoke"]),
        (None, ("oldest", "cu13.0-py3.12"), ["smoke", "nightly"]),
        (None, ("newest",), ["smoke", "nightly"]),
    ],
)
def test_no_tier_is_covered_that_is_not_asked_for(
    tier: str | None, names: tuple[str, ...], shown: list[str], monkeypatch: pytest.MonkeyPatch, written: Written
) -> None:
    """A cover takes seconds; a cell of a smaller tier, or of a name that this tier has, does not wait for it."""
    demanded: list[str] = []
    cover = selecting.cover
    monkeypatch.setattr(selecting, "cover", lambda *arguments: demanded.append("nightly") or cover(*arguments))
    found = commands.plan(written(SMALL), tier, names)
    assert [one.tier.name for one in found.shown] == shown
    assert demanded == shown[1:]


def test_the_table_of_our_own_matrix_fits_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Of 120 columns."""
    assert max(len(line) for line in told(capsys, ROOT / "matrix.yaml").splitlines()) <= 120


def test_names_are_printed_one_a_line(capsys: pytest.CaptureFixture[str], written: Written) -> None:
    """For scripts."""
    assert told(capsys, written(SMALL), "--names", "--tier", "smoke") == "cu12.8-py3.11-lib2.9\n"


def test_programs_get_cells_requirements_locks_and_coverage(
    capsys: pytest.CaptureFixture[str], written: Written
) -> None:
    """What is left out is null."""
    plan = json.loads(told(capsys, written(SMALL), "--json"))
    assert (plan["product"], plan["allowed"], len(plan["cells"])) == (12, 10, 6)
    assert plan["tiers"][1]["covers"] == {
        "each": 2, "over": ["cuda", "python", "lib"], "allowed": 15, "covered": 15, "excused": 0,
    }  # fmt: skip
    assert plan["cells"][1] == {
        "name": "cu12.8-py3.12",
        "alias": None,
        "values": {"cuda": "12.8", "python": "3.12", "lib": None},
        "tier": "nightly",
        "requires": ["cuda-toolkit==12.8.*"],
        "lock": "missing",
        "reason": "it has no lock file",
    }


def test_a_workflow_gets_one_line_with_a_job_for_each_cell(
    capsys: pytest.CaptureFixture[str], written: Written
) -> None:
    """As ``$GITHUB_OUTPUT`` wants it."""
    text = told(capsys, written(SMALL), "--github", "--tier", "smoke")
    assert text.count("\n") == 1
    assert json.loads(text.removeprefix("matrix=")) == {
        "include": [{"cell": "cu12.8-py3.11-lib2.9", "cuda": "12.8", "python": "3.11", "lib": "2.9"}]
    }


def selection(count: int) -> Selection:
    """A tier of so many cells."""
    return Selection(Tier("many", "", 1), tuple(Cell(f"cell{n}", {}) for n in range(count)), None)


def standings(found: Selection, state: State) -> dict[str, Standing]:
    """All cells in one state."""
    return {cell.name: Standing(cell, state, "Because.") for cell in found.cells}


def test_a_workflow_gets_no_job_for_a_cell_that_cannot_be_resolved() -> None:
    """It is an outcome already."""
    found = selection(2)
    assert display.for_github(found, standings(found, State.UNRESOLVABLE)) == 'matrix={"include":[]}'


def test_more_jobs_than_a_workflow_can_hold_are_a_mistake_of_the_users() -> None:
    """It would silently run none."""
    found = selection(display.MOST_JOBS + 1)
    with pytest.raises(UserError, match="has 257 cells, and the matrix of a workflow is limited to 256"):
        display.for_github(found, standings(found, State.LOCKED))


def test_unresolvable_cells_are_listed_with_their_reasons(written: Written) -> None:
    """Below the table."""
    plan = commands.plan(written(SMALL))
    stream = io.StringIO()
    bad = {name: Standing(s.cell, State.UNRESOLVABLE, "Because of this.") for name, s in plan.standings.items()}
    display.show(Screen(stream, 100, colours=False), plan.matrix, plan.shown, bad)
    assert "Unresolvable (6 cells)" in stream.getvalue()
    assert "∅ cu12.8-py3.11-lib2.9\n      Because of this." in stream.getvalue()


def test_every_rule_is_shown_with_its_reason_and_what_it_removes(
    capsys: pytest.CaptureFixture[str], written: Written
) -> None:
    """And what no other rule removes."""
    text = told(capsys, written(SMALL), "--rules")
    assert text == "lib-wheels  removes 2 combinations, 2 of them alone\n  no wheels\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("matrix", "--tier", "nightli"), "--tier: there is no tier nightli; did you mean nightly?"),
        (("matrix", "--matrix", "absent.yaml"), "absent.yaml is not there"),
        (("matrix", "--json", "--names"), "not allowed with argument"),
        (("lock", "--as-of", "soon"), "--as-of: 'soon' is not a date; write it as 2026-11-20"),
        (("lock", "--check", "--matrix", "absent.yaml"), "absent.yaml is not there"),
        (("lock", "--check", "--upgrade"), "--check changes nothing"),
        (("lock", "--check"), "the lock files do not fit"),
    ],
)
def test_a_mistake_is_told_in_a_sentence_and_ends_with_2(
    capsys: pytest.CaptureFixture[str], written: Written, monkeypatch: pytest.MonkeyPatch,
    arguments: Sequence[str], sentence: str,
) -> None:  # fmt: skip
    """No traceback."""
    monkeypatch.chdir(written(SMALL).parent)
    assert cli.main(arguments) == 2
    assert sentence in capsys.readouterr().err


def test_without_the_runners_packages_the_extra_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inside a cell they are not there."""

    def absent(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name="covertable")

    monkeypatch.setattr(cli.importlib, "import_module", absent)
    assert cli.main(["matrix"]) == 2
    assert "this command needs covertable, which is not installed" in capsys.readouterr().err
