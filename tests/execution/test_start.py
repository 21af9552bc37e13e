"""Start of a run's processes: this copy of the suite runs on the user's libraries, without code of other users."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import zipfile
from collections import ChainMap
from pathlib import Path

import pytest
from conftest import Finished
from libraries import install

import conformance
from conformance.checks import children, environment_variables
from conformance.exits import Exit

PACKAGE = Path(conformance.__file__).parent
LAUNCHED = (str(PACKAGE / "launcher.py"), "conformance.command")
"""Start of the command by an installed program: by its path, without the current folder."""
BY_NAME = ("-m", "conformance")
ONE_FAMILY = ("check", "--between", "mine", "--family", "pointer", "-n", "1")
WITH_PROGRAMS = ("check", "--between", "mine,other", "--family", "imports,pointer", "-n", "1")
INTRUDER = "import pathlib; pathlib.Path({mark!r}).touch()\n"


def run(
    folder: Path, *arguments: str, path: list[Path], start: tuple[str, ...] = BY_NAME, **variables: str | bytes
) -> Finished:
    """Run the command in a folder, with this path."""
    around: dict[bytes, bytes] = {
        os.fsencode(name): os.fsencode(value)
        for name, value in {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path)), **variables}.items()
        if name in variables or not name.startswith(("CONFORMANCE_", "PYTEST_"))
    }
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, *start, *arguments], cwd=folder, env=around, stdin=subprocess.DEVNULL, capture_output=True,
        timeout=600, check=False,
    )  # fmt: skip
    said = (done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))
    return Finished(done.returncode, *said, folder / "conform-results")


def expect_a_whole_run(done: Finished) -> None:
    """Check that every planned case has passed, or was refused where the protocol permits it."""
    assert done.code == Exit.OK, (done.stdout[-2000:], done.stderr[-2000:])
    assert len(done.results) == len(done.plan) > 0
    assert {result["outcome"] for result in done.results} <= {"pass", "refused"}


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Return a folder with two libraries, so that fresh interpreters import one after the other."""
    install(tmp_path / "site", "other")
    return install(tmp_path / "site", "mine")


@pytest.fixture
def intruder(tmp_path: Path) -> tuple[Path, Path]:
    """Return a folder of modules with common names, and the file that any of them creates when it runs."""
    folder, mark = tmp_path / "intruder", tmp_path / "an-intruder-ran"
    (folder / "conformance").mkdir(parents=True)
    for name in (
        "conformance.py",
        "conformance/__init__.py",
        "pytest.py",
        "xdist.py",
        "json.py",
        "runpy.py",
        "typing.py",
    ):
        (folder / name).write_text(INTRUDER.format(mark=str(mark)))
    return folder, mark


# -- code of other users


def test_what_another_user_puts_into_the_folder_for_temporary_files_does_not_run(
    tmp_path: Path, site: Path, intruder: tuple[Path, Path]
) -> None:
    """The name of the folder for processes is unpredictable."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    folder, mark = intruder
    for name in ("conformance-children", "conformance-"):
        (shared / name).symlink_to(folder)
    for module in folder.glob("*.py"):
        (shared / module.name).write_text(module.read_text())
    expect_a_whole_run(run(tmp_path / "here", *WITH_PROGRAMS, path=[site, PACKAGE.parent], TMPDIR=str(shared)))
    assert not mark.exists()
    assert {path.name for path in shared.iterdir() if path.is_dir()} == {"conformance-children", "conformance-"}


def test_a_folder_for_temporary_files_in_which_others_can_exchange_things_is_not_used(
    tmp_path: Path, site: Path
) -> None:
    """The kernel protects the entries of a folder from other users only if the folder is sticky."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    program = f"from conformance import private\nwith private.folder() as made: print({str(shared)!r} in str(made))"
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "TMPDIR": str(shared)}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert done.stdout == "False\n"


def test_modules_in_the_current_folder_are_not_ours_to_run(
    tmp_path: Path, site: Path, intruder: tuple[Path, Path]
) -> None:
    """Python itself puts the current folder first. It also finds a ``conformance`` there; this test leaves that name out."""
    folder, mark = intruder
    here = tmp_path / "here"
    here.mkdir()
    for name in ("pytest.py", "xdist.py", "json.py", "typing.py", "conftest.py"):
        (here / name).write_text((folder / "json.py").read_text())
    (here / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option\n")
    expect_a_whole_run(run(here, *ONE_FAMILY, path=[site, PACKAGE.parent]))
    assert not mark.exists()


def test_modules_in_the_path_stand_in_neither_for_the_suite_nor_for_pytest(
    tmp_path: Path, site: Path, intruder: tuple[Path, Path]
) -> None:
    """The installed program also ignores a ``conformance`` in the current folder."""
    folder, mark = intruder
    for name in ("json.py", "runpy.py", "typing.py"):
        (folder / name).unlink()  # the user's Python itself uses these modules
    expect_a_whole_run(run(folder, *ONE_FAMILY, start=LAUNCHED, path=[folder, site]))
    assert not mark.exists()


# -- libraries of the user


def test_the_library_that_comes_first_in_the_path_is_what_is_tested(tmp_path: Path) -> None:
    """The library that is installed beside the suite is not tested."""
    installed, developed = install(tmp_path / "installed", "mine"), install(tmp_path / "developed", "mine")
    (installed / "conformance").symlink_to(PACKAGE)
    module = developed / "mine_module.py"
    module.write_text(module.read_text() + "\n    def versions(self):\n        return {'mine-library': '2.0.dev1'}\n")
    done = run(tmp_path / "here", *ONE_FAMILY, path=[developed, installed])
    expect_a_whole_run(done)
    environment = json.loads((done.out / "environment.json").read_text())
    (told,) = (library for library in environment["libraries"] if library["name"] == "mine")
    assert told["versions"] == {"mine-library": "2.0.dev1"}


def test_the_order_of_the_path_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Relative folders are resolved for processes in other folders, and the suite puts nothing in front."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "tree::/b:/a:tree")
    monkeypatch.delenv(environment_variables.CANDIDATES, raising=False)
    assert children.environment()["PYTHONPATH"].split(":") == [str(tmp_path / "tree"), "/b", "/a"]
    monkeypatch.setenv("PYTHONPATH", "")
    assert "PYTHONPATH" not in children.environment()


def test_candidates_stand_in_front_of_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """The module that hides the replaced distributions comes first."""
    monkeypatch.setenv("PYTHONPATH", "/a")
    monkeypatch.setenv(environment_variables.CANDIDATES, "/c")
    assert children.environment()["PYTHONPATH"].split(":") == [str(PACKAGE / "checks" / "startup"), "/c", "/a"]


def test_what_decides_about_libraries_is_kept_and_what_is_about_processes_is_not() -> None:
    """The table of variables decides."""
    around = {"LD_LIBRARY_PATH": "/l", "CUDA_VISIBLE_DEVICES": "1", "PYTHONHASHSEED": "7", "PYTHONNOUSERSITE": "1"}
    disturbing = dict.fromkeys([*environment_variables.TAKEN_OUT, "PYTEST_PLUGINS", "PYTEST_ADDOPTS"], "1")
    assert environment_variables.variables({**around, **disturbing}) == around


# -- ordinary surroundings


VARIABLES = (
    {"PYTHONOPTIMIZE": "2"},
    {"PYTHONINSPECT": "1"},
    {"PYTHONIOENCODING": "utf-16", "PYTHONUTF8": "0", "LC_ALL": "C"},
    {
        "PYTEST_PLUGINS": "no_such_plugin",
        "PYTEST_ADDOPTS": "--no-such-option",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "",
    },
    {"PYTHONWARNINGS": "error", "PYTHONDEVMODE": "1"},
    {"PYTHONVERBOSE": "1", "PYTHONPROFILEIMPORTTIME": "1", "PYTHONDUMPREFS": "1", "PYTHONSTARTUP": "/none"},
    {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONNOUSERSITE": "1", "PYTHONHASHSEED": "1", "PYTHONBREAKPOINT": "0"},
    {"PYTHONSAFEPATH": "1"},
)
"""Variables that belong together. None undoes what another one does, so each change of an outcome also shows among others."""
TOGETHER = (dict(ChainMap(*VARIABLES[:4])), dict(ChainMap(*VARIABLES[4:])))


def _first(variables: dict[str, str]) -> str:
    return next(iter(variables))


@pytest.mark.parametrize(
    "variables",
    [
        *(pytest.param(some, id=f"{_first(some)} and others") for some in TOGETHER),
        *(pytest.param(few, id=_first(few), marks=pytest.mark.again) for few in VARIABLES),
    ],
)
def test_variables_of_python_and_pytest_change_no_outcome(
    variables: dict[str, str], tmp_path: Path, site: Path
) -> None:
    """The selection includes fresh interpreters."""
    expect_a_whole_run(run(tmp_path / "here", *WITH_PROGRAMS, path=[site, PACKAGE.parent], **variables))


def test_the_folder_for_temporary_files_may_have_any_name(tmp_path: Path, site: Path) -> None:
    """A long one, with a space, and not in UTF-8. A socket's name is limited to 107 bytes."""
    folder = os.path.join(os.fsencode(tmp_path), b"x" * 120 + b" not-utf-8-\xff")
    os.mkdir(folder)
    expect_a_whole_run(run(tmp_path / "here", *WITH_PROGRAMS, path=[site, PACKAGE.parent], TMPDIR=folder))
    assert os.listdir(folder) == []


def test_the_folder_for_temporary_files_may_be_relative(tmp_path: Path, site: Path) -> None:
    """Processes in other folders use the same folder."""
    here = tmp_path / "here"
    (here / "temporary").mkdir(parents=True)
    expect_a_whole_run(run(here, *WITH_PROGRAMS, path=[site, PACKAGE.parent], TMPDIR="temporary"))
    assert environment_variables.variables({"TMPDIR": "temporary"})["TMPDIR"] == os.path.abspath("temporary")


def test_what_is_printed_when_python_starts_disturbs_nobody(tmp_path: Path, site: Path) -> None:
    """Answers have a separate descriptor, and pytest's workers do not load the printing module."""
    told = json.dumps({"name": "mine", "available": False, "step": "none", "outcome": "wrong"})
    (site / "sitecustomize.py").write_text(f"print('''hello\n{told}\n@conformance {told}''', flush=True)\n")
    done = run(tmp_path / "here", *WITH_PROGRAMS, path=[site, PACKAGE.parent])
    expect_a_whole_run(done)


def test_a_suite_in_a_zip_says_that_it_cannot_start_anything(tmp_path: Path) -> None:
    """The message is one sentence: the interpreter of a child needs files."""
    archive = tmp_path / "suite.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in PACKAGE.rglob("*.py"):
            file.write(path, path.relative_to(PACKAGE.parent))
    done = run(tmp_path / "here", "check", path=[archive])
    assert (done.code, done.stdout) == (Exit.USAGE, "")
    assert done.stderr.startswith(f"conformance: the package is in {archive}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("given", "kept"), [(resource.RLIM_INFINITY, children.MOST_FILE_BYTES), (1 << 20, 1 << 20)])
def test_a_child_leaves_no_core_file_and_no_endless_file(given: int, kept: int) -> None:
    """A library that crashes in hundreds of cases must not fill the disk. A lower limit of the user stays."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (min(given, hard) if hard != resource.RLIM_INFINITY else given, hard))
    try:
        child = children.start("timeit", "-n1", "import time; time.sleep(60)")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    try:
        limits = Path(f"/proc/{child.pid}/limits").read_text().splitlines()
    finally:
        child.kill()
        child.wait()
    first = {line[:25].strip(): line[25:].split()[0] for line in limits}
    assert first["Max core file size"] == "0"
    assert first["Max file size"] == str(kept)
