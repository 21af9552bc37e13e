"""Locks are made by uv from an index that is asked, say what they answer, and are stale when that is asked no more."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest

from conformance.exits import UserError
from conformance.matrix import commands, locks
from conformance.matrix.commands import Order
from conformance.matrix.lockfile import Locked, NoLock, Pin, Unresolvable, Wanted, parse, pins, strangers
from conformance.matrix.locks import State
from conformance.matrix.reading import read

from .conftest import SMALL, Written
from .package_index import Index, served

DAY = date(2026, 1, 10)
HASH = "sha256:" + "0" * 64
WANTED = Wanted("cu13.0-py3.12", ("numpy==2.5.*",), ("pytest>=7",), DAY)


def test_a_lock_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Both sections, and everything that was asked."""
    lock = Locked(WANTED, (Pin("numpy", "2.5.1", (HASH, HASH)),), (Pin("pytest", "9.0", (HASH,)),))
    assert parse(locks.write(lock, tmp_path)) == lock


def test_an_unresolvable_cell_keeps_the_sentence_in_place_of_a_lock(tmp_path: Path) -> None:
    """Never both."""
    locks.write(Locked(WANTED, (), ()), tmp_path)
    path = locks.write(Unresolvable(WANTED, "Because of this."), tmp_path)
    assert parse(path) == Unresolvable(WANTED, "Because of this.")
    assert locks.files(tmp_path) == [path]


@pytest.mark.parametrize(
    "text",
    ["numpy>=2.5", "numpy==2.5.1", "numpy @ https://example.org/n.whl --hash=sha256:00", "numpy==2.5.1 --hash=md5:00",
     "--index-url https://example.org", "numpy==2.5.1 ; python_version > '3' --hash=sha256:00"],
)  # fmt: skip
def test_what_is_no_version_with_hashes_is_no_lock(text: str) -> None:
    """No addresses, no ranges, no weak digests."""
    with pytest.raises(NoLock, match="no pinned package with hashes"):
        pins(text)


@pytest.mark.parametrize(
    ("name", "version", "stranger"),
    [
        ("cupy-cuda12x", "14.2.0", True),
        ("cupy-cuda13x", "14.2.0", False),
        ("nvidia-cublas-cu12", "12.8", True),
        ("cuda-bindings", "12.9.4", True),
        ("cuda-bindings", "13.0.3", False),
        ("cuda-core", "1.2.2", False),
        ("numpy", "2.5.1", False),
    ],
)
def test_a_package_of_another_cuda_line_is_seen(name: str, version: str, stranger: bool) -> None:
    """By its name, or by its version where that is CUDA's."""
    assert bool(strangers("13", [Pin(name, version, ())])) is stranger


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Index]:
    """An index with what the small matrix needs, which uv is told to use."""
    with served() as found:
        for version in ("13.0.1", "12.8.3"):
            found.add("cuda-toolkit", version)
        found.add("lib-cu12", "2.9.1", "shared>=1")
        found.add("lib-cu12", "2.10.0", "shared<2")
        found.add("lib-cu13", "2.9.1")
        found.add("lib-cu13", "2.10.0", "shared")
        found.add("shared", "1.5")
        found.add("shared", "2.5")
        found.add("pytest", "8.0", "shared", "pluggy")
        found.add("pluggy", "1.0")
        monkeypatch.setenv("UV_DEFAULT_INDEX", f"{found.url}/simple")
        monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
        monkeypatch.setenv("UV_HTTP_RETRIES", "0")
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.delenv(name, raising=False)
        yield found


def states(path: Path) -> dict[str, State]:
    """How each cell stands, by name."""
    return {name: standing.state for name, standing in commands.plan(path).standings.items()}


def lock_of(path: Path, name: str) -> Locked:
    """The lock of a cell."""
    lock = parse(path.parent / "locks" / f"{name}.txt")
    assert isinstance(lock, Locked)
    return lock


def versions(found: tuple[Pin, ...]) -> dict[str, str]:
    """Version by package."""
    return {pin.name: pin.version for pin in found}


def test_every_cell_is_locked_with_hashes_and_without_addresses(index: Index, written: Written) -> None:
    """From the index alone, as of a day."""
    path = written(SMALL)
    commands.lock(path, Order(as_of=DAY))
    assert set(states(path).values()) == {State.LOCKED}
    text = (path.parent / "locks" / "cu12.8-py3.11-lib2.9.txt").read_text()
    assert text.startswith("# cell: cu12.8-py3.11-lib2.9\n# as of: 2026-01-10\n# requires: cuda-toolkit==12.8.*\n")
    assert "://" not in text
    assert all(pin.hashes for pin in lock_of(path, "cu12.8-py3.11-lib2.9").pins)


def test_settings_in_the_folder_for_temporary_files_are_not_read(
    index: Index, written: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another user may have created the settings, and could name another index."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "uv.toml").write_text("no settings at all")
    path = written(SMALL)
    commands.lock(path, Order(as_of=DAY))
    assert set(states(path).values()) == {State.LOCKED}


def test_the_suite_moves_no_version_under_test(index: Index, written: Written) -> None:
    """It would take the newest of what it shares; it takes what the cell has."""
    path = written(SMALL)
    commands.lock(path, Order(as_of=DAY))
    held = lock_of(path, "cu12.8-py3.11-lib2.10")
    free = lock_of(path, "cu13.0-py3.11")
    assert versions(held.pins) == {"cuda-toolkit": "12.8.3", "lib-cu12": "2.10.0", "shared": "1.5"}
    assert versions(held.suite) == {"pytest": "8.0", "pluggy": "1.0"}
    assert versions(free.suite) == {"pytest": "8.0", "pluggy": "1.0", "shared": "2.5"}


def test_a_suite_that_would_move_a_version_is_an_outcome(index: Index, written: Written) -> None:
    """Not a quiet compromise."""
    index.files.pop("pytest")
    index.add("pytest", "8.0", "shared>=2")
    path = written(SMALL)
    commands.lock(path, Order(as_of=DAY))
    found = commands.plan(path).standings["cu12.8-py3.11-lib2.10"]
    assert found.state is State.UNRESOLVABLE
    assert found.why.startswith("The suite cannot be added without changing a version: Because")


def test_what_was_not_there_on_that_day_is_not_seen(index: Index, written: Written) -> None:
    """The date in the head is the whole truth about when."""
    index.add("shared", "1.9", uploaded=f"{DAY}T00:00:00Z")
    path = written(SMALL)
    commands.lock(path, Order(as_of=DAY))
    assert versions(lock_of(path, "cu12.8-py3.11-lib2.10").pins)["shared"] == "1.5"
    commands.lock(path, Order(as_of=DAY + timedelta(days=1), upgrade=True))
    assert versions(lock_of(path, "cu12.8-py3.11-lib2.10").pins)["shared"] == "1.9"


def test_a_cell_that_cannot_be_resolved_is_an_outcome_with_the_resolvers_sentence(
    index: Index, written: Written, capsys: pytest.CaptureFixture[str]
) -> None:
    """The other cells go on."""
    index.files["lib-cu13"].clear()
    index.add("lib-cu13", "2.11.0")
    path = written(SMALL)
    assert commands.lock(path, Order(as_of=DAY)) == 0
    found = commands.plan(path).standings
    bad = [name for name, standing in found.items() if standing.state is State.UNRESOLVABLE]
    assert bad
    assert all("cu13.0" in name and "lib" in name for name in bad)
    assert found[bad[0]].why.startswith("Because only lib-cu13")
    assert {s.state for name, s in found.items() if name not in bad} == {State.LOCKED}
    assert "unresolvable: Because only lib-cu13" in capsys.readouterr().out


def test_an_extra_that_a_package_does_not_have_makes_it_unresolvable(index: Index, written: Written) -> None:
    """The resolver only warns, and what the extra should bring is missing."""
    path = written(SMALL.replace('"13": "lib-cu13==', '"13": "lib-cu13[ctk]=='))
    commands.lock(path, Order(as_of=DAY))
    found = commands.plan(path).standings["cu13.0-py3.12-lib2.10"]
    assert (found.state, "does not have an extra named `ctk`" in found.why) == (State.UNRESOLVABLE, True)


def test_another_cuda_line_among_the_packages_makes_it_unresolvable(index: Index, written: Written) -> None:
    """The resolver puts two lines together without a word."""
    index.files.pop("lib-cu13")
    index.add("lib-cu13", "2.10.0", "lib-cu12")
    path = written(SMALL)
    commands.lock(path, Order(as_of=DAY))
    found = commands.plan(path).standings["cu13.0-py3.12-lib2.10"]
    assert found.state is State.UNRESOLVABLE
    assert found.why == "It would contain packages for another major version of CUDA: lib-cu12==2.10.0"


@pytest.mark.parametrize("status", [500, 503, 403, 401])
def test_an_index_that_fails_is_no_outcome_of_a_cell(index: Index, written: Written, status: int) -> None:
    """The user is told, and no cell is called unresolvable."""
    index.answer = status
    path = written(SMALL)
    with pytest.raises(UserError, match="uv could not resolve"):
        commands.lock(path, Order(as_of=DAY))
    assert set(states(path).values()) == {State.MISSING}


def test_an_index_that_is_not_there_is_no_outcome_of_a_cell(
    index: Index, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing listens on this port."""
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    path = written(SMALL)
    with pytest.raises(UserError, match="uv could not resolve"):
        commands.lock(path, Order(as_of=DAY))
    assert locks.files(path.parent / "locks") == []


def test_offline_is_never_taken_over(index: Index, written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline, a resolver silently takes the older versions that it happens to know."""
    monkeypatch.setenv("UV_OFFLINE", "1")
    path = written(SMALL)
    commands.lock(path, Order(as_of=DAY))
    assert set(states(path).values()) == {State.LOCKED}


def test_a_package_that_the_index_does_not_know_is_no_outcome_of_a_cell(index: Index, written: Written) -> None:
    """A name or an index is wrong; no versions clash."""
    index.files.pop("lib-cu13")
    with pytest.raises(UserError, match="lib-cu13 was not found in the package registry"):
        commands.lock(written(SMALL), Order(as_of=DAY))


def test_only_what_is_missing_or_stale_is_made(
    index: Index, written: Written, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the date that the others have, without asking for it again."""
    path = written(SMALL)
    commands.lock(path, Order(as_of=DAY))
    (path.parent / "locks" / "cu13.0-py3.11.txt").unlink()
    capsys.readouterr()
    commands.lock(path, Order())
    told = capsys.readouterr()
    assert told.out.splitlines()[0] == "[1/1] cu13.0-py3.11"
    assert len([line for line in told.err.splitlines() if line.startswith("+ ")]) == 2
    assert lock_of(path, "cu13.0-py3.11").wanted.as_of == DAY


def test_a_dry_run_prints_the_commands_and_asks_nobody(written: Written, capsys: pytest.CaptureFixture[str]) -> None:
    """Two for each cell."""
    path = written(SMALL)
    commands.lock(path, Order(as_of=DAY, dry_run=True))
    told = capsys.readouterr().out.splitlines()
    assert len([line for line in told if line.startswith("+ printf")]) == 2 * len(states(path))
    assert told[-1].endswith("nothing was done")
    assert not (path.parent / "locks").exists()


def edit(path: Path, old: str, new: str) -> None:
    """Change a lock by hand."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("lib-cu12==2.9.1", "lib-cu12==2.8.1", "its packages do not meet lib-cu12==2.9.*"),
        ("# as of: 2026-01-10", "# as of: 2026-01-09", "it is as of 2026-01-09, but others are as of 2026-01-10"),
        ("# as of: 2026-01-10", "# as of: January", "not a date: 'January'"),
        ("# requires: lib-cu12==2.9.*\n", "", "it is for fewer requirements, not for lib-cu12==2.9.*"),
        ("pytest==8.0", "pytest==6.0", "its packages do not meet pytest>=7"),
        ("# the suite's own\n", "", 'the line "# the suite\'s own" is missing'),
        ("--hash=sha256:", "--hash=md5:", "no pinned package with hashes"),
        ("cuda-toolkit==12.8.3", "cupy-cuda13x==1.0", "its packages do not meet cuda-toolkit==12.8.*"),
    ],
)
def test_a_lock_that_does_not_answer_what_is_asked_is_stale(
    index: Index, written: Written, old: str, new: str, told: str
) -> None:
    """``--check`` says which and why, and ``lock`` mends it."""
    path = written(SMALL)
    commands.lock(path, Order(as_of=DAY))
    edit(path.parent / "locks" / "cu12.8-py3.11-lib2.9.txt", old, new)
    with pytest.raises(UserError) as raised:
        commands.check_locks(path)
    assert f"cu12.8-py3.11-lib2.9: stale, {told}" in str(raised.value) or told in str(raised.value)
    assert str(raised.value).count("\n") == 1
    commands.lock(path, Order())
    assert commands.check_locks(path) == 0


def test_a_lock_that_no_cell_has_is_told_and_removed(
    index: Index, written: Written, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else old locks would look like tested versions."""
    path = written(SMALL)
    commands.lock(path, Order(as_of=DAY))
    orphan = path.parent / "locks" / "cu11.8-py3.11.txt"
    orphan.write_text((path.parent / "locks" / "cu13.0-py3.11.txt").read_text())
    with pytest.raises(UserError, match=r"cu11.8-py3.11.txt: no cell uses it"):
        commands.check_locks(path)
    commands.lock(path, Order())
    assert not orphan.exists()


def test_a_date_before_a_release_or_in_the_future_is_a_mistake_of_the_users(written: Written) -> None:
    """Such a lock would not be what it seems."""
    with pytest.raises(
        UserError, match=r"lib 2.10 was released on 2026-01-02, but the lock files are as of 2026-01-02"
    ):
        commands.lock(written(SMALL), Order(as_of=date(2026, 1, 2)))
    with pytest.raises(UserError, match="is in the future"):
        commands.lock(written(SMALL), Order(as_of=commands.today() + timedelta(days=2)))


ROOT = Path(__file__).parents[2]


def test_the_suites_packages_are_those_that_this_package_needs() -> None:
    """Two lists of one thing."""
    tomllib = pytest.importorskip("tomllib")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert list(read(ROOT / "matrix.yaml").suite) == project["dependencies"]


def test_our_own_locks_fit_our_own_matrix() -> None:
    """Every cell of every tier has an outcome."""
    assert commands.check_locks(ROOT / "matrix.yaml") == 0
