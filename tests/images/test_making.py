"""Building, with an engine that is a script: what is there is left alone, and a failure is its cell's alone."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from samples import lock

ENGINE = """\
#!/bin/sh
# An engine that knows the images in $STORE and builds what does not ask for the package "broken".
echo "$@" >>"$STORE/calls"
case "$1 $2" in
"info --format") echo 20.10 ;;
"image inspect")
    for last; do :; done
    case "$last" in
    python:*) [ "$last" != python:3.99-slim-bookworm ] || { echo "No such image: $last" >&2; exit 1; }; echo sha256:base ;;
    *) cat "$STORE/$last" 2>/dev/null || { echo "No such image: $last" >&2; exit 1; } ;;
    esac ;;
"image ls") cd "$STORE" && ls | grep : ;;
"image rm") rm "$STORE/$3" ;;
"pull "*) echo "no registry" >&2; exit 1 ;;
"build "*)
    for part; do
        case "$part" in
        KEY=*) key=${part#KEY=} ;;
        cuda-interop-*) name=$part ;;
        BELOW=* | TOOLS=* | WHEELS=*) [ -f "$STORE/${part#*=}" ] || { echo "no $part"; exit 5; } ;;
        esac
        last=$part
    done
    echo '#7 [stage 1/1] RUN install'
    [ -f "$last/Dockerfile" ] || exit 3
    if grep -qs ^slow== "$last/group/requirements.txt"; then exec sleep 60; fi
    if grep -qs ^broken== "$last/group/requirements.txt"; then
        echo '#7 0.5 no wheel of broken'; echo '#7 ERROR: exit code: 1'; exit 1
    fi
    echo "$key" >"$STORE/$name" ;;
esac
"""


@dataclass(frozen=True)
class Done:
    """A finished command, and what the engine was asked for."""

    code: int
    stdout: str
    stderr: str
    calls: list[str]

    @property
    def builds(self) -> list[str]:
        """What was built, as the recipe calls it."""
        return [re.sub(r".*--target (\w+) .*", r"\1", call) for call in self.calls if call.startswith("build ")]


@dataclass(frozen=True)
class Bench:
    """A checkout with a recipe, a plan and an engine."""

    folder: Path

    def plan(self, **locks: str) -> None:
        """Cells on Python 3.12 and CUDA 13 with these locks."""
        for cell, text in locks.items():
            (self.folder / f"{cell}.txt").write_text(text)
        self.write([self.entry(cell) for cell in locks])

    def entry(self, cell: str, **other: str) -> dict[str, str]:
        """A cell of the plan."""
        return {"cell": cell, "python": "3.12", "cuda": "13", "lock": f"{cell}.txt", **other}

    def write(self, plan: object) -> None:
        """The plan itself."""
        (self.folder / "plan.json").write_text(json.dumps(plan))

    @property
    def store(self) -> Path:
        """Where the engine keeps its images."""
        return self.folder / "store"

    def images(self, of: str = "cell") -> list[str]:
        """The names of the images that there are."""
        return sorted(path.name for path in self.store.iterdir() if path.name.startswith(f"cuda-interop-{of}:"))

    def command(self, name: str, *arguments: str) -> list[str]:
        """The command line of ``images`` or ``clean``."""
        engine = str(self.folder / "docker-script")
        return [sys.executable, "-m", "conformance", name, "--plan", "plan.json", "--engine", engine, *arguments]

    def environment(self) -> dict[str, str]:
        """Where the script finds its store."""
        return {**os.environ, "STORE": str(self.store)}

    def run(self, *arguments: str) -> Done:
        """Run it."""
        calls = self.store / "calls"
        calls.write_text("")
        done = subprocess.run(
            self.command(*arguments), cwd=self.folder, env=self.environment(),
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        return Done(done.returncode, done.stdout, done.stderr, calls.read_text().splitlines())


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """An empty store."""
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker" / "Dockerfile").write_text("FROM x\n")
    (tmp_path / "store").mkdir()
    script = tmp_path / "docker-script"
    script.write_text(ENGINE)
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return Bench(tmp_path)


def test_the_second_run_builds_nothing(bench: Bench) -> None:
    """The image's own label says that it is the one."""
    bench.plan(a=lock("numpy==1"), b=lock("numpy==2"))
    first, second = bench.run("images"), bench.run("images")
    assert (first.code, "2 built" in first.stdout) == (0, True), first.stderr
    assert sorted(first.builds) == ["cell", "cell", "environment", "tools"]
    assert (second.code, second.builds, "2 present" in second.stdout) == (0, [], True)


def test_an_image_that_does_not_carry_the_key_is_built_again(bench: Bench) -> None:
    """A name alone proves nothing."""
    bench.plan(a=lock("numpy==1"))
    bench.run("images")
    (bench.store / bench.images()[0]).write_text("another\n")
    assert bench.run("images").builds == ["cell"]


def test_cells_with_the_same_content_share_one_image(bench: Bench) -> None:
    """And one build."""
    bench.plan(a=lock("numpy==1"), b=lock("numpy==1"))
    done = bench.run("images")
    assert (done.builds.count("cell"), len(bench.images()), "2 built" in done.stdout) == (1, 1, True)


def test_what_cells_have_in_common_is_built_once_however_many_are_built_at_a_time(bench: Bench) -> None:
    """Each on top of what it needs, which is there by then."""
    torch = ("torch==2.15.0", "nvidia-cublas==13", "pycuda==2026.1")
    bench.plan(**{f"c{n}": lock(*torch, f"numpy=={n}") for n in range(6)})
    done = bench.run("images", "--jobs", "6")
    assert done.code == 0, done.stdout
    assert sorted(done.builds) == [*["cell"] * 6, "environment", "layer", "layer", "pycuda", "tools"]


def test_a_new_cell_is_built_on_top_of_what_is_there(bench: Bench) -> None:
    """Whatever became of the engine's cache meanwhile."""
    bench.plan(a=lock("torch==2.15.0", "numpy==1"))
    bench.run("images")
    bench.plan(b=lock("torch==2.15.0", "numpy==2"))
    assert bench.run("images").builds == ["cell"]


def test_a_failed_build_is_its_cells_outcome_and_the_others_go_on(bench: Bench) -> None:
    """With the words of the step that failed, and the file that has all of them."""
    bench.plan(bad=lock("broken==1"), good=lock("numpy==1"))
    done = bench.run("images", "--jobs", "1")
    assert done.code == 4
    assert "no wheel of broken" in done.stdout
    told = re.search(r"✗ bad: see (\S+)", done.stdout)
    assert told is not None
    assert "no wheel of broken" in (bench.folder / told[1]).read_text()
    assert "1 failed, 1 built" in done.stdout


def test_a_failed_layer_fails_the_cells_above_it_with_its_reason(bench: Bench) -> None:
    """It is tried once, and a cell without it goes on."""
    bench.plan(a=lock("torch==2.15.0", "numpy==1"), b=lock("torch==2.15.0", "numpy==2"), c=lock("numpy==1"))
    script = bench.folder / "docker-script"
    script.write_text(script.read_text().replace("^broken==", "^torch=="))
    done = bench.run("images")
    assert (done.code, "2 failed, 1 built" in done.stdout) == (4, True)
    assert done.stdout.count("torch: no wheel of broken") == 2


def test_a_base_that_is_not_here_and_cannot_be_fetched_fails_its_cells_only(bench: Bench) -> None:
    """It says which, and what the engine said."""
    bench.plan(a=lock("numpy==1"), b=lock("numpy==1"))
    bench.write([bench.entry("a"), bench.entry("b", python="3.99")])
    done = bench.run("images")
    assert done.code == 4
    assert "its base image python:3.99-slim-bookworm is missing: no registry" in done.stdout
    assert "1 built, 1 failed" in done.stdout


def test_a_build_that_takes_too_long_is_ended(bench: Bench) -> None:
    """Its cell says so."""
    bench.plan(a=lock("slow==1"))
    done = bench.run("images", "--deadline", "0.5")
    assert (done.code, "it took longer than" in done.stdout) == (4, True)


def test_a_dry_run_shows_the_builds_and_does_nothing(bench: Bench) -> None:
    """Not even a folder."""
    bench.plan(a=lock("numpy==1"))
    done = bench.run("images", "--dry-run")
    assert (done.code, done.builds, bench.images()) == (0, [], [])
    assert [line for line in done.stderr.splitlines() if line.startswith("+") and " build " in line]
    assert "1 to build" in done.stdout
    assert not (bench.folder / "build").exists()


def test_every_command_is_shown_before_it_runs(bench: Bench) -> None:
    """What is shown can be typed."""
    bench.plan(a=lock("numpy==1"))
    done = bench.run("images")
    assert len([line for line in done.stderr.splitlines() if line.startswith("+ ")]) == len(done.calls)


def test_an_interrupt_ends_the_builds(bench: Bench) -> None:
    """Nothing goes on behind one's back."""
    bench.plan(a=lock("slow==1"), b=lock("slow==2"), c=lock("slow==3"))
    process = subprocess.Popen(
        bench.command("images"), cwd=bench.folder, env=bench.environment(), stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # who starts tests in the background ignores it
    )  # fmt: skip
    assert process.stderr is not None
    while "the rest, and" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 130
    assert (bench.store / "calls").read_text().count("--target cell") <= 2, told


def test_clean_removes_what_no_lock_refers_to_and_nothing_else(bench: Bench) -> None:
    """Other images, and those of today's locks, stay."""
    bench.plan(a=lock("numpy==1"), b=lock("numpy==2"))
    bench.run("images")
    (bench.store / "somebody:else").write_text("")
    bench.plan(b=lock("numpy==2"))
    before = bench.images()
    shown = bench.run("clean", "--dry-run")
    assert (bench.images(), "would be removed" in shown.stdout) == (before, True)
    assert bench.run("clean").code == 0
    assert (len(bench.images()), (bench.store / "somebody:else").exists()) == (1, True)
    assert len(bench.images("tools") + bench.images("environment")) == 2
    assert bench.run("images").builds == []


def test_clean_removes_nothing_where_it_cannot_know(bench: Bench) -> None:
    """Without a base's digest no key is known."""
    bench.plan(a=lock("numpy==1"))
    bench.run("images")
    bench.write([bench.entry("a", python="3.99")])
    done = bench.run("clean")
    assert (done.code, len(bench.images())) == (2, 1)
    assert "python:3.99-slim-bookworm is missing" in done.stderr


def test_all_mistakes_of_a_plan_are_said_at_once(bench: Bench) -> None:
    """Before anything is built, with exit code 2."""
    bench.write([{"cell": "a", "python": "3.12", "lock": "a.txt", "colour": "red"}, 3])
    done = bench.run("images")
    assert (done.code, done.calls) == (2, [])
    for told in ("cell 1: has no cuda", "cell 1: has the unknown key 'colour'", "cell 2: is not an object"):
        assert told in done.stderr


def test_bad_locks_and_values_are_said_before_anything_is_built(bench: Bench) -> None:
    """All of them."""
    bench.plan(a="numpy\n", b=lock("numpy==1"))
    bench.write([bench.entry("a"), bench.entry("b", cuda="11"), bench.entry("b", python="three")])
    done = bench.run("images")
    assert (done.code, done.builds) == (2, [])
    for told in (
        "a.txt:1:",
        "'11' is not a supported CUDA major version",
        "'three' is not a minor version",
        "cell b: the name is given twice",
    ):
        assert told in done.stderr


def test_an_engine_that_does_not_answer_is_a_sentence(bench: Bench) -> None:
    """What was tried, what was said, what to do next."""
    bench.plan(a=lock("numpy==1"))
    done = bench.run("images", "--engine", "/no/such/docker")
    assert done.code == 2
    assert "/no/such/docker does not respond" in done.stderr
    assert "start an engine, or name one with --engine" in done.stderr


def test_a_name_that_is_no_cell_is_a_sentence(bench: Bench) -> None:
    """With the names that there are."""
    bench.plan(a=lock("numpy==1"))
    done = bench.run("images", "--cells", "a,z")
    assert (done.code, "there is no cell z; the cells are a" in done.stderr) == (2, True)


def test_progress_says_which_cells_wait_for_a_stage(bench: Bench) -> None:
    """Once when it begins, and once when it is over."""
    bench.plan(a=lock("torch==2"), b=lock("torch==2", "numpy==1"))
    done = bench.run("images", "--jobs", "1")
    assert done.stderr.count("  torch (a, b): ") == 2
