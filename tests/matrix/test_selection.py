"""A tier has every combination that it demands and the rules allow, and says what it leaves out."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import covertable
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.exits import UserError
from conformance.matrix.model import Axis, Demand, Excuse, Value, cell_name
from conformance.matrix.reading import read
from conformance.matrix.selection import cover, coverage, named, select, selections
from conformance.matrix.space import Clause, Space, fits

from .conftest import SMALL, Written


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    """Two to five axes of one to four values, and up to eight clauses over one to three axes."""
    axes = {
        f"a{n}": tuple(str(v) for v in range(draw(st.integers(1, 4)))) for n in range(draw(st.integers(2, 5)))
    }  # fmt: skip
    clauses = draw(st.lists(clauses_over(axes), max_size=8))
    return Space(axes, tuple(clauses))


def clauses_over(axes: dict[str, tuple[str, ...]]) -> st.SearchStrategy[Clause]:
    """A clause: some values of some axes."""
    chosen = st.lists(st.sampled_from(sorted(axes)), min_size=1, max_size=3, unique=True)
    return chosen.flatmap(
        lambda names: st.fixed_dictionaries(
            {name: st.frozensets(st.sampled_from(axes[name]), min_size=1) for name in names}
        )
    )


def brute(space: Space) -> list[dict[str, str]]:
    """Every allowed choice, by trying all."""
    rows = (dict(zip(space.axes, values)) for values in itertools.product(*space.axes.values()))
    return [row for row in rows if not any(fits(clause, row) for clause in space.clauses)]


def parts(rows: list[dict[str, str]], strength: int, over: tuple[str, ...]) -> set[tuple[tuple[str, str], ...]]:
    """Every combination of so many values that is in some row."""
    return {
        tuple((name, row[name]) for name in names) for row in rows for names in itertools.combinations(over, strength)
    }


@settings(max_examples=200, deadline=None)
@given(spaces())
def test_what_a_space_allows_is_counted_and_found_exactly(space: Space) -> None:
    """As by trying every combination."""
    allowed = brute(space)
    assert space.count() == len(allowed)
    assert space.complete({}) == (allowed[0] if allowed else None)
    for strength in (1, 2):
        found = space.allowed_combinations(strength, space.axes)
        assert {tuple(c.items()) for c in found} == parts(allowed, strength, tuple(space.axes))


@settings(max_examples=200, deadline=None)
@given(spaces(), st.integers(1, 3), st.data())
def test_a_cover_has_every_allowed_combination_in_allowed_cells(
    space: Space, strength: int, data: st.DataObject
) -> None:
    """Beside cells that are there already, over all axes or some."""
    allowed = brute(space)
    over = tuple(data.draw(st.lists(st.sampled_from(tuple(space.axes)), min_size=1, unique=True)))
    demand = Demand(min(strength, len(over)), over)
    present = data.draw(st.lists(st.sampled_from(allowed), max_size=3)) if allowed else []
    chosen = [*present, *cover(space, demand, present)]
    assert all(row in allowed for row in chosen)
    assert parts(chosen, demand.strength, over) == parts(allowed, demand.strength, over)
    assert coverage(space, demand, chosen).missing == 0


@settings(max_examples=100, deadline=None)
@given(spaces(), st.data())
def test_what_is_excused_is_left_out_and_counted(space: Space, data: st.DataObject) -> None:
    """Covered and excused make up all that is allowed."""
    excuse = Excuse(data.draw(clauses_over(dict(space.axes))), "why", 1)
    demand = Demand(2, tuple(space.axes))
    found = coverage(space, demand, cover(space, demand, [], [excuse]), [excuse])
    assert found.missing == 0
    assert found.allowed == len(parts(brute(space), 2, demand.over))


def test_what_the_library_misses_is_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check is ours, and so is the repair."""
    monkeypatch.setattr(covertable, "make", lambda *_, **__: [])
    space = Space({"a": ("0", "1"), "b": ("0", "1", "2")}, ({"a": frozenset("1"), "b": frozenset("2")},))
    demand = Demand(2, ("a", "b"))
    assert coverage(space, demand, []).missing == 5
    assert coverage(space, demand, cover(space, demand, [])).missing == 0


def test_a_cell_that_covers_nothing_new_is_not_taken(written: Written) -> None:
    """Pairs of three axes of 2, 2 and 3 values need no more than the largest product of two, and one for a gap."""
    cells = select(read(written(SMALL)), "nightly").cells
    assert len(cells) == 6
    assert cells[0].alias == "oldest"


def test_a_tier_begins_with_what_it_extends(written: Written) -> None:
    """So that a larger tier never loses a cell of a smaller one."""
    smaller, larger = selections(read(written(SMALL)))
    assert larger.cells[: len(smaller.cells)] == smaller.cells


def test_an_excuse_is_told_beside_what_is_covered(written: Written) -> None:
    """Left out on purpose is neither covered nor forgotten."""
    text = SMALL + '    without:\n      - {values: {cuda: "<13", lib: none}, reason: nothing to see}\n'
    found = select(read(written(text)), "nightly")
    assert found.coverage is not None
    assert (found.coverage.excused, found.coverage.missing) == (1, 0)
    assert not [cell for cell in found.cells if cell["cuda"] == "12.8" and cell["lib"] == "none"]


def test_the_same_file_gives_the_same_cells_whatever_the_hash_seed(written: Written) -> None:
    """Names are in file names, image tags and results."""
    command = (
        "import sys; from pathlib import Path; from conformance.matrix.reading import read;"
        "from conformance.matrix.selection import select;"
        "print([c.name for c in select(read(Path(sys.argv[1])), 'nightly').cells])"
    )
    path = str(written(SMALL))
    told = {
        subprocess.run(
            [sys.executable, "-c", command, path],
            env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }  # fmt: skip
    assert len(told) == 1


@given(st.permutations(["a", "b", "c"]), st.data())
def test_a_name_tells_the_values_and_nothing_else(order: list[str], data: st.DataObject) -> None:
    """Two cells have one name only if they are one cell, in whatever order the values were chosen."""
    versions = ("2.10", "2.1", "10", "none")
    axes = [Axis(name, name * 2, "", tuple(Value(v, 1) for v in versions), 1) for name in ("a", "b", "c")]
    one, two = (data.draw(st.fixed_dictionaries({n: st.sampled_from(versions) for n in order})) for _ in range(2))
    assert (cell_name(axes, one) == cell_name(axes, two)) == (one == two)


def test_a_cell_is_found_by_its_name_and_by_its_alias(written: Written) -> None:
    """And what is neither gets a suggestion."""
    found = tuple(selections(read(written(SMALL))))
    by_alias = named(found, ["oldest"])
    assert by_alias == named(found, ["cu12.8-py3.11-lib2.9"]) == named(found, ["oldest", "cu12.8-py3.11-lib2.9"])
    with pytest.raises(UserError, match=r"there is no cell eldest; did you mean oldest\?"):
        named(found, ["eldest"])
    with pytest.raises(UserError, match="`matrix --names` prints the names"):
        named(found, ["zzz"])


ROOT = Path(__file__).parents[2]


def test_our_own_matrix_keeps_what_it_promises() -> None:
    """Both CUDA lines in the smoke tier with every library, torch in one; two values on every axis; all pairs nightly."""
    matrix = read(ROOT / "matrix.yaml")
    smoke, _, nightly, _ = selections(matrix)
    libraries = ("numpy", "cupy", "cvcuda", "pycuda", "cuda_python")
    assert {cell.major for cell in smoke.cells} == {"12", "13"}
    assert all(cell[name] != "none" for cell in smoke.cells for name in libraries)
    assert any(cell["torch"] != "none" for cell in smoke.cells)
    assert all(len([v for v in axis.versions if v != "none"]) >= 2 for axis in matrix.axes)
    assert nightly.coverage is not None
    assert (nightly.tier.cover, nightly.coverage.missing) == (Demand(2, tuple(axis.name for axis in matrix.axes)), 0)
