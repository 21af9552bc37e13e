"""Download artifacts of earlier nights of a tier: the newest history, and the run of the last night that passed.

``python3 .github/earlier_nights.py TIER`` writes them to ``run/history.jsonl`` and ``baseline/``, if they exist. It uses the GitHub
CLI. It exits with 1 if a query or a download fails. Otherwise a network error could silently select an older baseline or start a new
history.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass

OWN = frozenset({"schedule", "workflow_dispatch"})
"""Events that only this repository can trigger. A pull request of a fork can contain a workflow of this name with any artifacts."""


@dataclass(frozen=True)
class Night:
    """A completed run of the workflow."""

    id: int
    is_green: bool


def main(tier: str) -> None:
    """Download the history and the baseline."""
    repository, branch = os.environ["GITHUB_REPOSITORY"], os.environ["GITHUB_REF_NAME"]
    nights = _ended(repository, branch)
    _fetch(f"history-{tier}", nights, "run", repository)
    _fetch(f"run-{tier}", (night for night in nights if night.is_green), "baseline", repository)


def _ended(repository: str, branch: str) -> list[Night]:
    """Return the completed nights, newest first."""
    listed = _gh(
        "run", "list", "--repo", repository, "--workflow", "nightly.yml", "--branch", branch,
        "--status", "completed", "--limit", "90", "--json", "databaseId,event,conclusion",
    )  # fmt: skip
    own = (run for run in json.loads(listed) if run["event"] in OWN)
    return [Night(run["databaseId"], run["conclusion"] == "success") for run in own]


def _fetch(name: str, nights: Iterable[Night], into: str, repository: str) -> None:
    """Download an artifact from the first of these nights that has it."""
    for night in nights:
        found = _gh("api", f"repos/{repository}/actions/runs/{night.id}/artifacts?name={name}")
        if any(not artifact["expired"] for artifact in json.loads(found)["artifacts"]):
            _gh("run", "download", str(night.id), "--repo", repository, "--name", name, "--dir", into)
            print(f"{name}: downloaded from run {night.id}")
            return
    print(f"{name}: no earlier night has this artifact")


def _gh(*arguments: str) -> str:
    asked = subprocess.run(["gh", *arguments], stdout=subprocess.PIPE, text=True, check=False)
    if asked.returncode:
        sys.exit(f"earlier_nights: gh {arguments[0]} {arguments[1]} exited with {asked.returncode}; run the job again")
    return asked.stdout


if __name__ == "__main__":
    main(sys.argv[1])
