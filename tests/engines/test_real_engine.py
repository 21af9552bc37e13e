"""With a real engine: what a container may not do, and every way in which one can end. A script stands in place of the suite."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from wheels import installed, make

from conformance.checks import environment_variables
from conformance.engines import containers, records
from conformance.engines.containers import Containers
from conformance.engines.model import Bounds, Candidate, Cell, Ending, Lifecycle, Placed, Prepared
from conformance.engines.records import Record, Run
from conformance.engines.running import Runner, container_name
from conformance.engines.stops import Stops
from conformance.images.process import Shell

ENGINE = os.environ.get("CONFORMANCE_ENGINE") or shutil.which("docker") or "docker"
PYTHONS = ("3.12", "3.13", "3.11", "3.10", "3.14")
SUITE = """
import json, os, pathlib, shutil, socket, sys, time

def writable(folder):
    try:
        pathlib.Path(folder, "probe").write_text("")
        return True
    except OSError:
        return False

def connects():
    try:
        socket.create_connection(("192.0.2.1", 80), 1).close()
        return True
    except OSError as error:
        return error.strerror

how = sys.argv[-1]
results = pathlib.Path("/results")
if how == "eats":
    held = []
    while True:
        held.append(bytearray(8 << 20))
if how.endswith("sleeps"):
    time.sleep(600)
if how == "looks":
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    seen = {
        "user": os.getuid(), "interfaces": sorted(os.listdir("/sys/class/net")), "capabilities": status["CapEff"].strip(),
        "gains": status["NoNewPrivs"].strip(), "connects": connects(),
        "writable": [f for f in ("/", "/opt", "/suite", "/suite/conformance", "/tmp", "/results") if writable(f)],
    }
    (results / "seen.json").write_text(json.dumps(seen))
if how == "imports":
    import stripes
    from importlib import metadata
    found = [[d.version, str(d.locate_file(""))] for d in metadata.distributions() if d.metadata["Name"] == "stripes"]
    seen = {"file": stripes.__file__, "found": found, "writable": writable(pathlib.Path(stripes.__file__).parent)}
    (results / "seen.json").write_text(json.dumps(seen))
(results / "results.jsonl").write_text("{}\\n")
"""


def engine(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What the engine says."""
    return subprocess.run([ENGINE, *arguments], capture_output=True, text=True, timeout=120, check=False)


def absent() -> str:
    """Why there is nothing to be seen here, or nothing."""
    try:
        answers = engine("info", "--format", "{{json .}}")
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"no engine: {error}"
    if answers.returncode:
        return f"no engine answers: {answers.stderr.strip()}"
    return "" if base() else f"no base python:X.Y-slim-bookworm is here, for X.Y among {', '.join(PYTHONS)}"


def base() -> str:
    """An image with Python that need not be fetched."""
    names = (f"python:{version}-slim-bookworm" for version in PYTHONS)
    return next((name for name in names if not engine("image", "inspect", name).returncode), "")


reason = absent()
pytestmark = [pytest.mark.skipif(bool(reason), reason=reason), pytest.mark.seconds(100)]


class Bare(Containers):
    """The engine, with the base as the image of each cell."""

    images: Mapping[str, str] = {}

    def prepare(self, cells: Sequence[Cell]) -> dict[str, Prepared | Ending]:
        """Nothing is built."""
        return {cell.name: Prepared(cell, self.images.get(cell.name, base())) for cell in cells}


class Bench:
    """Cells named by what they do."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.out = folder / "out"
        self.out.mkdir()
        suite = folder / "conformance"
        suite.mkdir()
        (suite / "__init__.py").touch()
        (suite / "__main__.py").write_text(SUITE)
        shutil.copytree(
            Path(environment_variables.__file__).with_name(environment_variables.STARTUP), suite / "checks" / "startup"
        )
        for path in (suite, *suite.rglob("*")):
            path.chmod(0o755)
        monkeypatch.setattr(containers, "SUITE", suite)

    def run(
        self,
        *hows: str,
        jobs: int = 1,
        images: Mapping[str, str] | None = None,
        placed: Sequence[Placed] = (),
        **bounds: object,
    ) -> dict[str, Record]:
        """Run a cell for each; the last of its arguments says what it does."""
        run = self.planned(*hows, **bounds)
        place = Bare(ENGINE, Shell(sys.stderr, os.environ), run.bounds, "none")
        place.images = images or {}
        assert place.available() is None
        found: list[Record] = []
        there = tuple(placed)
        for cell, how in zip(run.cells, hows):  # each has arguments of its own
            one = Run(run.id, "", ENGINE, "", "none", run.bounds, (how,), (cell,))
            records.write(self.out / records.RUN, one.to_json())
            found += Runner(
                one, self.out, place, jobs, print, lambda live: None, print, Stops(), lambda cell: there
            ).go()
        return {record.cell.name: record for record in found}

    def planned(self, *hows: str, **bounds: object) -> Run:
        """Cells that are called as what they do."""
        cells = tuple(Cell(how, python="3.12", cuda="13") for how in hows)
        return Run(os.urandom(4).hex(), "", ENGINE, "", "none", Bounds(**bounds), (), cells)  # type: ignore[arg-type]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A suite that is a script."""
    return Bench(tmp_path, monkeypatch)


def test_a_container_may_do_nothing_but_write_its_results(bench: Bench) -> None:
    """No root, no capabilities, no network, no other place to write than a temporary one."""
    found = bench.run("looks")["looks"]
    assert (found.ending.lifecycle, found.ending.exit) == (Lifecycle.DONE, 0)
    seen = json.loads((bench.out / "looks" / "seen.json").read_text())
    assert seen["user"] != 0
    assert (seen["interfaces"], int(seen["capabilities"], 16), seen["gains"]) == (["lo"], 0, "1")
    assert seen["writable"] == ["/tmp", "/results"]
    assert seen["connects"] is not True


def test_a_candidate_is_seen_by_a_container_and_cannot_be_changed_by_it(bench: Bench, tmp_path: Path) -> None:
    """It is imported and found, and it is the only one of its name."""
    folder = installed(tmp_path / "candidate", make(tmp_path / "dist", "stripes", "1.1"))
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755)
    candidate = Candidate("stripes", "1.1", "stripes-1.1-py3-none-any.whl", "0" * 64, "", "1.0")
    found = bench.run("imports", placed=[Placed(candidate, folder)])["imports"]
    assert (found.ending.lifecycle, found.ending.exit) == (Lifecycle.DONE, 0)
    seen = json.loads((bench.out / "imports" / "seen.json").read_text())
    assert seen["file"] == "/candidates/stripes/stripes/__init__.py"
    assert (seen["found"], seen["writable"]) == ([["1.1", "/candidates/stripes"]], False)


def test_a_container_without_memory_is_told_and_the_next_goes_on(bench: Bench) -> None:
    """By the kernel, at the limit that was given. An engine that hears of the end before its reason says that it was killed."""
    found = bench.run("eats", "looks", memory="64m")
    assert found["eats"].ending.lifecycle in (Lifecycle.KILLED, Lifecycle.OUT_OF_MEMORY)
    assert found["looks"].ending.lifecycle is Lifecycle.DONE
    assert "64m" in found["eats"].ending.reason


def test_a_container_that_is_killed_from_outside_is_told_and_the_next_goes_on(bench: Bench) -> None:
    """Whoever did it."""
    name = f"{os.urandom(4).hex()}-sleeps"

    def kill() -> None:
        """As soon as it runs."""
        for _ in range(200):
            running = engine("ps", "-q", "--filter", f"name={name}").stdout.split()
            if running:
                engine("kill", *running)
                return
            time.sleep(0.1)

    threading.Thread(target=kill, daemon=True).start()
    found = bench.run(name, "looks")
    assert [record.ending.lifecycle for record in found.values()] == [Lifecycle.KILLED, Lifecycle.DONE]


def test_a_container_that_takes_too_long_is_stopped_and_removed(bench: Bench) -> None:
    """And says so."""
    name = f"{os.urandom(4).hex()}-sleeps"
    found = bench.run(name, seconds=2.0)[name]
    assert found.ending.lifecycle is Lifecycle.DEADLINE
    assert not engine("ps", "-aq", "--filter", f"name={name}").stdout.split()


def test_an_image_that_is_not_there_is_told(bench: Bench) -> None:
    """Nothing is fetched while cells run."""
    found = bench.run("looks", images={"looks": "cuda-interop-cell:not-there"})["looks"]
    assert found.ending.lifecycle is Lifecycle.IMAGE_MISSING


def test_the_name_of_a_container_says_which_run_and_which_cell() -> None:
    """So that a person finds it, and a run that goes on too."""
    run = Run("1a2b", "", ENGINE, "", "none", Bounds(), (), ())
    assert container_name(run, Cell("cu13.2-py3.12")) == "conformance-1a2b-cu13.2-py3.12"
