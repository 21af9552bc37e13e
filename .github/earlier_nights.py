"""What earlier nights of a tier have left: the history up to the last of them, and the run of the last green one.

``python3 .github/earlier_nights.py TIER`` puts them into ``run/history.jsonl`` and ``baseline/``, as far as there are any. It asks the
GitHub CLI. That something could not be asked or fetched ends it with 1: a night that took an older baseline, or began its history
anew, because the network was away would say so to nobody.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass

OWN = frozenset({"schedule", "workflow_dispatch"})
"""Events that only this repository has. A fork's pull request can bring a workflow of this name, and anything as what it leaves."""


@dataclass(frozen=True)
class Night:
    """One run of the workflow that has ended."""

    id: int
    is_green: bool


def main(tier: str) -> None:
    """Fetch both."""
    repository, branch = os.environ["GITHUB_REPOSITORY"], os.environ["GITHUB_REF_NAME"]
    nights = _ended(repository, branch)
    _fetch(f"history-{tier}", nights, "run", repository)
    _fetch(f"run-{tier}", (night for night in nights if night.is_green), "baseline", repository)


def _ended(repository: str, branch: str) -> list[Night]:
    """Newest first."""
    told = _gh(
        "run", "list", "--repo", repository, "--workflow", "nightly.yml", "--branch", branch,
        "--status", "completed", "--limit", "90", "--json", "databaseId,event,conclusion",
    )  # fmt: skip
    own = (run for run in json.loads(told) if run["event"] in OWN)
    return [Night(run["databaseId"], run["conclusion"] == "success") for run in own]


def _fetch(name: str, nights: Iterable[Night], into: str, repository: str) -> None:
    """From the first of these nights that has it."""
    for night in nights:
        told = _gh("api", f"repos/{repository}/actions/runs/{night.id}/artifacts?name={name}")
        if any(not artifact["expired"] for artifact in json.loads(told)["artifacts"]):
            _gh("run", "download", str(night.id), "--repo", repository, "--name", name, "--dir", into)
            print(f"{name}: that of run {night.id}")
            return
    print(f"{name}: no earlier night has left one")


def _gh(*arguments: str) -> str:
    asked = subprocess.run(["gh", *arguments], stdout=subprocess.PIPE, text=True, check=False)
    if asked.returncode:
        sys.exit(f"earlier_nights: gh {arguments[0]} {arguments[1]} ended with {asked.returncode}; run the job again")
    return asked.stdout


if __name__ == "__main__":
    main(sys.argv[1])
