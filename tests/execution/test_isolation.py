"""Isolation: risky cases share a child until one of them loses it."""

from __future__ import annotations

from pathlib import Path

from conftest import Command
from libraries import install

CASES = tuple(
    f"layout.impossible/reference-deadly/dlpack/host/{what}"
    for what in ("negative-rank", "negative-extent", "elements-overflow", "stride-overflow")
)
SELECTED = tuple(word for case in CASES for word in ("--case", case))


def test_a_risky_case_that_kills_its_child_is_a_crash_and_the_next_has_a_new_child(
    conformance: Command, tmp_path: Path
) -> None:
    """Each crash is reported with its signal. No protocol allows this input, so no clause is violated."""
    path = install(tmp_path / "site", "deadly", take="os.kill(os.getpid(), signal.SIGSEGV)")
    done = conformance("check", "--between", "deadly", *SELECTED, "-n", "1", path=path)
    assert done.code == 0, done.stderr
    assert {r["verdict"] for r in done.results} == {"robustness"}
    assert set(done.outcomes().values()) == {"crash"}
    assert {r["reason"] for r in done.results} == {"the process crashed with SIGSEGV while deadly imported the array"}


def test_a_crash_that_comes_with_the_third_import_is_the_librarys_own(conformance: Command, tmp_path: Path) -> None:
    """It shows after the case itself as well, and not after the same exchange between references. Both attempts are told."""
    take = "Adapter.taken = getattr(Adapter, 'taken', 0) + 1; Adapter.taken < 3 or os.abort()"
    path = install(tmp_path / "site", "deadly", take=take)
    done = conformance("check", "--between", "deadly", *SELECTED, "-n", "1", path=path)
    assert sorted(done.outcomes().values())[0] == "crash"
    assert set(done.outcomes().values()) <= {"crash", "pass", "refused"}
    (told,) = [r for r in done.results if r["attempts"]]
    assert told["reason"].startswith(
        "the process is lost when the same case runs again: the process crashed with SIGABRT"
    )
    assert told["accused"]["libraries"] == ["deadly"]
    first, _ = told["attempts"]
    assert (first["where"], first["outcome"]) == ("in company", "crash")
    assert set(first["after"]) < set(CASES)


def test_a_risky_case_that_never_ends_is_a_hang(conformance: Command, tmp_path: Path) -> None:
    """The deadline also applies in a shared child, doubled for the second try, and the stack is kept."""
    path = install(tmp_path / "site", "deadly", take="time.sleep(600)")
    done = conformance("check", "--between", "deadly", "--case", CASES[0], "--deadline", "2", path=path)
    assert set(done.outcomes().values()) == {"hang"}
    assert done.results[0]["reason"] == "timeout after 4 s while deadly imported the array"
    assert "in take" in done.results[0]["attachments"]["python stack"]
    assert done.results[0]["attachments"]["native stack"]
