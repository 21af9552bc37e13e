"""Asking an index for a candidate, and unpacking what it answers, by uv: with an index on this machine."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from matrix import package_index
from wheels import make

from conformance.engines.candidates import wheels
from conformance.engines.candidates.index import File, Index, choose
from conformance.engines.candidates.placement import Placing
from conformance.engines.candidates.requests import read
from conformance.engines.candidates.unpacking import Unpacking
from conformance.engines.model import Candidate, Cell, Ending, Lifecycle
from conformance.exits import UserError
from conformance.images.process import Shell

LOCK = """\
# cell: a
# as of: 2026-01-02

numpy==2.0.2 \\
    --hash=sha256:aa
stripes-cu13==1.0 \\
    --hash=sha256:bb

# the suite's own
pytest==9.0.0 \\
    --hash=sha256:cc
"""


@pytest.fixture
def offered(tmp_path: Path) -> Iterator[package_index.Index]:
    """An index with a release and a release candidate of ``stripes-cu13``."""
    with package_index.served() as index:
        for version, requires in (("1.0", ()), ("1.1rc1", ()), ("1.2rc1", ("numpy>=2.1",))):
            wheel = make(tmp_path / "upload", "stripes-cu13", version, {"stripes.py": ""}, requires=requires)
            index.files.setdefault("stripes-cu13", {})[wheel.name] = (wheel.read_bytes(), package_index.UPLOADED)
        yield index


@pytest.fixture
def shell(offered: package_index.Index, tmp_path: Path) -> Shell:
    """By which uv finds that index."""
    found = {"UV_DEFAULT_INDEX": f"{offered.url}/simple", "UV_CACHE_DIR": str(tmp_path / "cache")}
    return Shell(io.StringIO(), {**os.environ, **found})


@pytest.fixture
def cell(tmp_path: Path) -> Cell:
    """A cell that holds the release."""
    (tmp_path / "a.txt").write_text(LOCK)
    return Cell("a", "", "3.12", "13", str(tmp_path / "a.txt"))


def placed(cell: Cell, shell: Shell, *texts: str) -> Cell:
    """The cell with what was asked for."""
    found, mistakes = read(texts)
    (one,) = Placing(found, Index(shell.environment, lambda text: None).best, mistakes).all([cell])
    return one


def test_a_requirement_becomes_a_wheel_with_its_digest(cell: Cell, shell: Shell, tmp_path: Path) -> None:
    """By the distribution that the cell holds, also where it was called without its CUDA line, and it is unpacked by that digest."""
    (one,) = placed(cell, shell, "stripes==1.1rc1").candidates
    upload = tmp_path / "upload" / "stripes_cu13-1.1rc1-py3-none-any.whl"
    expected = ("stripes-cu13", "1.1rc1", upload.name, wheels.digest(upload), "stripes-cu13==1.1rc1", "1.0")
    assert tuple(one.to_json().values()) == expected
    there = Unpacking(tmp_path / "out", shell).prepare(replace(cell, candidates=(one,)))
    assert isinstance(there, tuple)
    assert (there[0].folder / "stripes.py").is_file()
    assert there[0].folder == tmp_path / "out" / "candidates" / one.sha256


def test_what_an_index_has_since_changed_is_not_taken(cell: Cell, shell: Shell, tmp_path: Path) -> None:
    """Another file under the same name is not what the run was planned with."""
    other = placed(cell, shell, "stripes==1.1rc1").candidates[0]
    there = Unpacking(tmp_path / "out", shell).prepare(replace(cell, candidates=(replace(other, sha256="0" * 64),)))
    assert isinstance(there, Ending)
    assert there.lifecycle is Lifecycle.BUILD_FAILED


def test_a_version_that_there_is_none_of_does_not_fit(cell: Cell, shell: Shell) -> None:
    """In the resolver's words."""
    one = placed(cell, shell, "stripes-cu13==7")
    assert one.candidates == ()
    assert "no version of stripes-cu13==7" in one.unfit


def test_what_the_lock_does_not_allow_is_told(cell: Cell, shell: Shell, tmp_path: Path) -> None:
    """By what the candidate requires, once that is known."""
    there = Unpacking(tmp_path / "out", shell).prepare(placed(cell, shell, "stripes==1.2rc1"))
    assert isinstance(there, Ending)
    assert (there.lifecycle, "requires numpy>=2.1, and the cell has 2.0.2" in there.reason) == (Lifecycle.UNFIT, True)


def test_an_index_that_does_not_answer_is_nobodys_version(
    cell: Cell, shell: Shell, offered: package_index.Index
) -> None:
    """Nothing is run then."""
    offered.answer = 500
    with pytest.raises(UserError, match="the package index could not be queried"):
        placed(cell, shell, "stripes==1.1rc1")


def test_a_wheel_needs_no_index_and_has_to_stay_what_it_was(cell: Cell, shell: Shell, tmp_path: Path) -> None:
    """Its digest is looked at again before it is unpacked."""
    wheel = make(tmp_path / "dist", "stripes-cu13", "1.3", {"stripes.py": ""})
    shell.environment["UV_DEFAULT_INDEX"] = "http://127.0.0.1:9/"
    one = placed(cell, shell, f"stripes={wheel}")
    assert isinstance(Unpacking(tmp_path / "out", shell).prepare(one), tuple)
    make(tmp_path / "dist", "stripes-cu13", "1.3", {"stripes.py": "import os"})
    there = Unpacking(tmp_path / "out", shell).prepare(one)
    assert isinstance(there, Ending)
    assert "has changed since this run was planned" in there.reason


def test_two_candidates_are_measured_against_each_other(cell: Cell, shell: Shell, tmp_path: Path) -> None:
    """What one of them requires may be the other."""
    numpy = make(tmp_path / "dist", "numpy", "2.1.0", {"numpy.py": ""})
    one = placed(cell, shell, "stripes==1.2rc1", f"numpy={numpy}")
    assert isinstance(Unpacking(tmp_path / "out", shell).prepare(one), tuple)


def test_of_several_wheels_the_cells_best_is_taken() -> None:
    """As an installer would; an answer that names none is told."""
    line = '{{ url = "https://x/{name}", size = 1, hashes = {{ sha256 = "{digest}" }} }}'
    names = ("n-1-py3-none-any.whl", "n-1-cp312-cp312-manylinux_2_28_x86_64.whl", "n-1-cp313-cp313-linux_x86_64.whl")
    answer = ", ".join(line.format(name=name, digest=str(place) * 64) for place, name in enumerate(names))
    assert choose(answer, "3.12") == File("n", "1", names[1], "1" * 64)
    with pytest.raises(UserError, match="names no usable wheel"):
        choose("something else", "3.12")


def test_a_cell_without_the_distribution_stays_as_it_is_or_is_left_out(cell: Cell, tmp_path: Path) -> None:
    """So does one that cannot be run anyway; with ``only`` a wheel's Python counts too."""
    (tmp_path / "b.txt").write_text(LOCK.replace("stripes-cu13", "other"))
    other, old = Cell("b", "", "3.12", "13", str(tmp_path / "b.txt")), replace(cell, name="c", python="3.11")
    wheel = make(tmp_path, "stripes-cu13", "1.1", {"stripes.py": ""}, tag="cp312-cp312-linux_x86_64")
    found, _ = read([f"stripes={wheel}"])
    cells = [cell, other, old, Cell("d", problem="no solution", unresolvable=True)]

    def find(requirement: str, python: str) -> File:
        raise AssertionError("a wheel needs no index")

    everywhere = Placing(found, find).all(cells)
    assert [len(one.candidates) for one in everywhere] == [1, 0, 1, 0]
    assert [bool(one.unfit) for one in everywhere] == [False, False, True, False]
    assert [one.name for one in Placing(found, find).all(cells, only=True)] == ["a"]


def test_a_name_that_means_two_distributions_or_none_is_a_mistake(cell: Cell, tmp_path: Path) -> None:
    """All of them at once."""
    (tmp_path / "b.txt").write_text(LOCK.replace("numpy==2.0.2", "stripes-cu12==1.0"))
    other = Cell("b", "", "3.12", "13", str(tmp_path / "b.txt"))
    found, mistakes = read(["stripes==2", "nompy==1", "stripes-cu13==3"])
    with pytest.raises(UserError) as told:
        Placing(found, lambda requirement, python: "none", mistakes).all([cell, other])
    for sentence in (
        "fits stripes-cu12 and stripes-cu13; name one of them",
        "did you mean numpy?",
        "and so does stripes==2",
    ):
        assert sentence in str(told.value)


def test_candidates_are_read_as_they_were_written() -> None:
    """A run that goes on has those that it was planned with."""
    one = Cell("a", candidates=(Candidate("numpy", "2", "n.whl", "0" * 64, "numpy==2", "1"),), unfit="no")
    assert Cell.from_json(one.to_json()) == one
