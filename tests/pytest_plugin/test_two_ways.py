"""Comparison of the two ways to run the suite: ``check``, and pytest as users run it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from .running import Finished, Told, pytest_over_suite, variables

SELECTION = {"between": "numpy,faulty", "family": "capsule,dtype,illegal,negotiation,pointer,readonly"}
"""Without ``source``: what lies in memory that a change has freed depends on the cases before."""
FEW = {"between": "faulty", "family": "pointer", "tier": "quick"}
_NUMBER = re.compile(r"0x[0-9a-f]+|[0-9]+")
"""Addresses and pids differ from run to run."""

pytest.importorskip("numpy")


def _told(told: Told) -> tuple[str, ...]:
    found = [told.properties.get(name, "") for name in ("outcome", "verdict", "code", "clause", "accused")]
    return (*found, _NUMBER.sub("#", told.properties.get("reason", "")))


def _written(line: dict[str, Any]) -> tuple[str, ...]:
    accused = ", ".join(line["accused"]["libraries"]) if line["accused"] else ""
    reason = " ".join(line["reason"].split()) if "\r" in line["reason"] else line["reason"]
    return (
        line["outcome"], line["verdict"], line["code"], line["clause"], accused, _NUMBER.sub("#", reason),
    )  # fmt: skip


def _check(folder: Path, site: Path, selection: dict[str, str]) -> dict[str, tuple[str, ...]]:
    options = [word for name, value in selection.items() for word in (f"--{name}", value)]
    subprocess.run(
        [sys.executable, "-m", "conformance", "check", "-n", "2", "--out", str(folder / "out"), *options],
        cwd=folder, env=variables(site), capture_output=True, timeout=1200, check=False,
    )  # fmt: skip
    lines = map(json.loads, (folder / "out" / "results.jsonl").read_text().splitlines())
    return {line["id"]: _written(line) for line in lines}


def _pytest(folder: Path, site: Path, selection: dict[str, str], *more: str) -> Finished:
    options = [word for name, value in selection.items() for word in (f"--interop-{name}", value)]
    return pytest_over_suite(folder, "-q", "--tb=no", *options, *more, path=(site,))


def _by_pytest(done: Finished) -> dict[str, tuple[str, ...]]:
    return {id: _told(told) for id, told in done.cases.items()}


def test_pytest_with_workers_finds_what_check_finds(tmp_path: Path, site: Path) -> None:
    """The same ids, outcomes, verdicts, codes, clauses, accused and reasons, in more than a thousand cases."""
    expected = _check(tmp_path, site, SELECTION)
    done = _pytest(tmp_path, site, SELECTION, "-n", "2")
    found = _by_pytest(done)
    assert len(expected) > 1000, done.stdout
    assert found.keys() == expected.keys()
    assert {id: told for id, told in found.items() if told != expected[id]} == {}
    assert {"pass", "fail", "refused", "crash"} <= {told[0] for told in found.values()}
    assert done.code == pytest.ExitCode.TESTS_FAILED


def test_pytest_alone_finds_what_it_finds_with_workers(tmp_path: Path, site: Path) -> None:
    """The order differs, the results do not."""
    run = partial(_pytest, tmp_path, site, FEW)
    alone, together = _by_pytest(run()), _by_pytest(run("-n", "2"))
    assert alone == together
    assert len(alone) > 50


def test_pytest_collects_the_cases_that_the_catalogue_lists(tmp_path: Path, site: Path) -> None:
    """In the same environment, every tier and family, and nothing else."""
    listed = subprocess.run(
        [sys.executable, "-m", "conformance", "list", "--cases", "--between", "numpy,faulty"],
        cwd=tmp_path, env=variables(site), capture_output=True, text=True, timeout=600, check=True,
    )  # fmt: skip
    done = pytest_over_suite(
        tmp_path, "--collect-only", "-q", "--interop-between", "numpy,faulty", path=(site,)
    )  # fmt: skip
    found = [line.partition("[")[2].removesuffix("]") for line in done.stdout.splitlines() if "::" in line]
    assert sorted(found) == sorted(listed.stdout.split())
    assert len(found) > 1000


def test_a_run_by_pytest_finds_what_check_finds(tmp_path: Path, site: Path) -> None:
    """``check --runner pytest`` writes the same results."""
    (tmp_path / "other").mkdir()
    expected = _check(tmp_path, site, FEW)
    assert _check(tmp_path / "other", site, {**FEW, "runner": "pytest"}) == expected
    assert len(expected) > 50
