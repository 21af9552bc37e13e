"""Risky cases share a child for as long as all goes well in it."""

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
    """Every one of them is told with its signal."""
    path = install(tmp_path / "site", "deadly", take="os.kill(os.getpid(), signal.SIGSEGV)")
    done = conformance("check", "--between", "deadly", *SELECTED, "-n", "1", path=path)
    assert done.code == 1, done.stderr
    assert set(done.outcomes().values()) == {"crash"}
    assert all("SIGSEGV" in r["reason"] for r in done.results)


def test_a_crash_that_does_not_show_in_a_new_child_is_not_held_against_the_case(
    conformance: Command, tmp_path: Path
) -> None:
    """What was seen in company stays beside the result."""
    take = "Adapter.taken = getattr(Adapter, 'taken', 0) + 1; Adapter.taken < 3 or os.abort()"
    path = install(tmp_path / "site", "deadly", take=take)
    done = conformance("check", "--between", "deadly", *SELECTED, "-n", "1", path=path)
    assert done.code == 0, done.stderr
    assert set(done.outcomes().values()) <= {"pass", "refused"}
    told = [r["attachments"]["in company"] for r in done.results if "in company" in r["attachments"]]
    assert len(told) == 1
    assert told[0].startswith("crash: SIGABRT")


def test_a_risky_case_that_never_ends_is_a_hang(conformance: Command, tmp_path: Path) -> None:
    """The deadline holds in a shared child too, and the stack is kept."""
    path = install(tmp_path / "site", "deadly", take="time.sleep(600)")
    done = conformance("check", "--between", "deadly", "--case", CASES[0], "--deadline", "2", path=path)
    assert set(done.outcomes().values()) == {"hang"}
    assert (
        "time.sleep" in done.results[0]["attachments"]["stderr"] or "take" in done.results[0]["attachments"]["stderr"]
    )
