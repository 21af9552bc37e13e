"""A thousand cells made of one real run, put through the whole chain: how long each step takes, and how much memory.

``python tests/benchmarks/many_cells.py FOLDER [CELLS [CASES]]``: the folder is one of `check` with its results. The cells differ in their
versions; in each some cases end as others of the same invariant did, and a few say something that no other cell says. Steps are run as
commands, as a user would, and measured from outside. Everything is written to a folder of its own and removed again.
"""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Any

PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
NUMPYS = ("1.26", "2.0", "2.1", "2.2", "2.3", "2.4", "2.5")
TORCHES = ("2.7", "2.8", "2.9", "2.10", "2.11", "2.12")
CUPYS = ("13.4", "13.6", "14.0", "14.1", "14.2")
FLIPPED = 0.05
OWN_WORDS = 0.002


def chosen(count: int) -> list[dict[str, str]]:
    """The versions of so many cells."""
    every = product(PYTHONS, NUMPYS, TORCHES, CUPYS)
    axes = ({"cuda": "13.0", "python": p, "numpy": n, "torch": t, "cupy": c} for p, n, t, c in every)
    return [one for one, _ in zip(axes, range(count))]


def make(source: Path, out: Path, count: int, cases: int) -> None:
    """Write a run over cells: the same files that ``conform`` writes."""
    lines = [json.loads(line) for line in (source / "results.jsonl").read_text().splitlines()][:]
    random.Random(0).shuffle(lines)
    lines = lines[:cases]
    plan = "".join(json.dumps({**_case(line), "tier": "full"}) + "\n" for line in lines)
    environment = (source / "environment.json").read_text()
    said: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        said.setdefault(line["invariant"], []).append(line)
    out.mkdir()
    cells = [_cell(axes) for axes in chosen(count)]
    for number, cell in enumerate(cells):
        rng = random.Random(number)
        folder = out / cell["name"]
        folder.mkdir()
        (folder / "plan.jsonl").write_text(plan)
        (folder / "environment.json").write_text(environment)
        with (folder / "results.jsonl").open("w") as file:
            for line in lines:
                file.write(json.dumps(_changed(line, said, rng), ensure_ascii=False) + "\n")
        (folder / "cell.json").write_text(json.dumps(_record(cell)))
    run = {
        "suite": "0", "id": "many", "tier": "all", "on": "here", "why": "made", "gpus": "none",
        "bounds": {"memory": "8g", "pids": 4096, "seconds": 3600.0}, "arguments": [], "cells": cells,
    }  # fmt: skip
    (out / "run.json").write_text(json.dumps(run))


def _case(line: dict[str, Any]) -> dict[str, Any]:
    return {key: line[key] for key in ("id", "invariant", "producer", "consumer", "protocol", "device", "parameters")}


def _changed(line: dict[str, Any], said: dict[str, list[dict[str, Any]]], rng: random.Random) -> dict[str, Any]:
    if rng.random() >= FLIPPED:
        return line
    changed = {**rng.choice(said[line["invariant"]]), **_case(line)}
    if changed["reason"] and rng.random() < OWN_WORDS / FLIPPED:
        changed["reason"] += f" at {rng.getrandbits(47):#x}"
    return changed


def _cell(axes: dict[str, str]) -> dict[str, Any]:
    name = "cu{cuda}-py{python}-numpy{numpy}-torch{torch}-cupy{cupy}".format_map(axes)
    return {
        "name": name, "alias": "", "python": axes["python"], "cuda": "13", "lock": f"locks/{name}.txt",
        "problem": "", "unresolvable": False, "axes": axes,
        "holds": {library: library for library in ("numpy", "torch", "cupy")},
    }  # fmt: skip


def _record(cell: dict[str, Any]) -> dict[str, Any]:
    start = {"at": "2026-01-01T00:00:00+00:00", "seconds": 60.0, "lifecycle": "done", "reason": ""}
    return {
        "cell": cell["name"], "alias": None, "axes": cell["axes"], "holds": cell["holds"],
        "lifecycle": "done", "reason": "", "exit": 1, "ran_in": {}, "seconds": 60.0, "starts": [start],
    }  # fmt: skip


def measured(*arguments: str) -> None:
    """Run a command of ours and tell its time and the most memory that one of its processes had."""
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "conformance", *arguments], stdout=subprocess.DEVNULL, check=False)
    seconds = time.perf_counter() - began
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"{arguments[0]:<8} exit {done.returncode}  {seconds:6.1f} s  at most {most:5.0f} MiB so far", flush=True)


def main(source: Path, count: int = 1000, cases: int = 5000) -> None:
    """Make the cells, then merge, judge and publish them."""
    with tempfile.TemporaryDirectory() as folder:
        out, run, page = Path(folder, "cells"), Path(folder, "run.json.gz"), Path(folder, "page")
        began = time.perf_counter()
        make(source, out, count, cases)
        print(f"{count} cells x {cases} cases made in {time.perf_counter() - began:.0f} s", flush=True)
        measured("merge", str(out), "--out", str(run))
        print(f"run file {run.stat().st_size / 1e6:.1f} MB")
        measured("gate", "--run", str(run), "--baseline", str(run), "--json", str(Path(folder, "gate.json")))
        measured("publish", "--run", str(run), "--baseline", str(run), "--out", str(page))
        for file in sorted(page.glob("*")) if page.exists() else ():
            print(f"{file.name} {os.path.getsize(file) / 1e6:.2f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
