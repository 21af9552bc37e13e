"""What may import what: the borders that docs/architecture.md draws."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import conformance
from conformance.engines import digests

ROOT = Path(conformance.__file__).parent
MAY_IMPORT = {
    "protocols": {"verdict"},
    "cuda": set(),
    "reference": {"protocols", "cuda"},
    "adapters": {"protocols", "cuda", "reference"},
    "checks": {"launcher", "protocols", "cuda", "reference", "adapters"},
    "ordering": {"protocols", "cuda", "reference", "adapters", "checks"},
    "faults": {"protocols", "cuda", "reference"},
    "programs": {"protocols", "cuda", "reference", "adapters", "checks", "ordering"},
    "suite": {"protocols", "cuda", "reference", "faults", "adapters", "checks", "ordering"},
    "console": {"files", "verdict", "protocols", "checks"},
    "execution": {"suggestions",
        "documents", "ownership", "private", "files", "shapes", "temporary", "exits", "verdict",
        "protocols", "cuda", "reference", "adapters", "checks", "signals",
    },
    "pytest_plugin": {
        "private", "settings", "files", "temporary", "exits", "verdict", "protocols", "adapters", "checks", "suite", "execution", "console",
    },
    "findings": {"console", "exits", "files", "verdict", "wildcards", "protocols", "checks"},
    "repro": {"console", "files", "verdict", "protocols", "adapters", "checks", "ordering", "programs", "suite", "execution", "exits"},
    "explain": {"suggestions", "console", "protocols", "checks", "execution", "exits", "repro", "selftest"},
    "matrix": {"files", "exits", "console"},
    "images": {"documents", "kept", "private", "files", "settings", "shapes", "exits", "console", "matrix"},
    "engines": {"suggestions",
        "command", "documents", "kept", "links", "private", "settings", "files", "shapes", "exits", "signals", "ownership", "verdict", "console", "matrix",
        "images", "execution",
    },
    "selftest": {"suggestions",
        "documents", "private", "settings", "files", "verdict", "protocols", "cuda", "reference", "faults", "adapters", "checks", "ordering", "programs", "suite",
        "execution", "console", "exits", "signals",
    },
    "runs": {
        "documents", "console", "files", "shapes", "exits", "verdict", "matrix", "engines", "protocols", "checks", "execution", "findings",
    },
    "gate": {"suggestions",
        "documents", "console", "files", "shapes", "exits", "verdict", "wildcards", "matrix", "engines", "protocols", "checks", "findings", "runs",
    },
    "reports": {
        "private", "console", "files", "exits", "verdict", "wildcards", "protocols", "adapters", "checks", "ordering", "execution", "findings",
        "repro", "runs", "gate",
    },
}  # fmt: skip


def test_a_change_of_any_package_that_decides_results_makes_them_stale() -> None:
    """The invariants, the programs that they start and the execution of cases, with all packages that these may import."""
    found, waiting = set(), ["suite", "programs", "execution"]
    while waiting:
        package = waiting.pop()
        if package not in found:
            found.add(package)
            waiting += [name for name in MAY_IMPORT.get(package, ()) if name in MAY_IMPORT]
    assert found <= set(digests.DECIDES)


OUTSIDE = ("matrix", "images", "engines", "runs", "gate")
"""What runs outside the cells: nothing that runs inside one may need it, or what it brings."""
JUDGES = ("protocols", "cuda", "reference")
LIBRARIES = {"torch", "jax", "cupy", "cupyx", "cvcuda", "pycuda", "ml_dtypes"}


def imports(package: str) -> Iterator[tuple[str, str]]:
    """Every absolute import in a package: the file and the dotted name."""
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from ((str(path.relative_to(ROOT)), alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                yield from ((str(path.relative_to(ROOT)), f"{node.module}.{alias.name}") for alias in node.names)


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_only_what_it_may(package: str) -> None:
    """Arrows point one way."""
    allowed = MAY_IMPORT[package] | {package, "__version__", "__file__"}
    ours = [(file, name.split(".")) for file, name in imports(package) if name.startswith("conformance.")]
    assert [(file, ".".join(parts)) for file, parts in ours if parts[1] not in allowed] == []


@pytest.mark.parametrize("package", JUDGES)
def test_what_judges_shares_nothing_with_what_is_judged(package: str) -> None:
    """The standard library and ourselves, nothing else."""
    known = sys.stdlib_module_names | {"conformance", "__future__"}
    assert [(file, name) for file, name in imports(package) if name.split(".")[0] not in known] == []


def test_libraries_are_imported_by_their_adapters_alone() -> None:
    """Neither the suite nor what runs it knows a library by its module; NumPy's scalars and dtypes are in every cell."""
    others = [package for package in MAY_IMPORT if package != "adapters"]
    assert [(f, n) for p in others for f, n in imports(p) if n.split(".")[0] in LIBRARIES] == []


OUTSIDE_REPORTS = {
    "cli", "coverage", "finding_accounts", "grid", "junit", "markdown", "page", "run_call_tables", "scripts", "since_version", "subject",
    "terminal", "undecided", "words",
}  # fmt: skip
"""Reports of runs over cells. The other reports are about one environment, and run in its cell."""


def _is_outside(name: str) -> bool:
    """Whether a dotted name belongs to what runs outside the cells."""
    parts = [*name.split("."), ""]
    return parts[0] == "conformance" and (
        parts[1] in OUTSIDE or (parts[1] == "reports" and parts[2] in OUTSIDE_REPORTS)
    )


def _is_outside_file(file: str) -> bool:
    return _is_outside("conformance." + file.removesuffix(".py").replace("/", "."))


def test_what_runs_outside_the_cells_is_never_imported_inside_one() -> None:
    """The command line loads it when one of its commands is given, not before."""
    found = [(f, n) for p in MAY_IMPORT for f, n in imports(p) if not _is_outside_file(f)]
    assert [(f, n) for f, n in found if _is_outside(n)] == []
    command = "import sys, conformance.cli as c; c.parser('check'); print(list(sys.modules))"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert [name for name in ast.literal_eval(done.stdout) if _is_outside(name)] == []


def test_cells_and_their_images_print_by_the_screen_alone() -> None:
    """The wording of exchanges knows the checks, which the matrix, the images and the engines must not need."""
    ours = [
        (f, n) for p in ("matrix", "images", "engines") for f, n in imports(p) if n.startswith("conformance.console")
    ]
    assert [(f, n) for f, n in ours if not n.startswith("conformance.console.screen")] == []


ASKS_ITSELF = {
    "engines/commands.py",  # programs of podman, by constant paths
    "engines/digests.py",  # files of the suite
    "engines/gpus.py",  # folders of the system
    "engines/records.py",  # whether an entry is a link, in the folder of a run
    "engines/venv.py",  # the suite's own recipe
    "images/stages.py",  # the recipe, which is in the working folder
    "repro/bundle.py",  # files of the suite
}
ASKING = {"exists", "is_dir", "is_file", "is_symlink", "samefile"}


def test_commands_ask_about_paths_in_one_way() -> None:
    """``pathlib`` raises for a name that is too long and for a folder that may not be entered. Exceptions have a reason."""
    found = set()
    for package in (*OUTSIDE, "reports", "repro", "explain"):
        for path in (ROOT / package).rglob("*.py"):
            called = [n.func for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.Call)]
            asked = (ast.unparse(one) for one in called if isinstance(one, ast.Attribute) and one.attr in ASKING)
            if any(not one.startswith("files.") for one in asked):
                found.add(str(path.relative_to(ROOT)))
    assert found == ASKS_ITSELF


WRITES_ITSELF = {
    "execution/answers.py",  # a private file of a probe, which has its final size before the probe starts
    "execution/environment.py",  # a private file for the output of a probe
    "images/making.py",  # a build context, which each build replaces
    "matrix/locks.py",  # a file in a temporary folder
    "reports/finding_page.py",  # a file in a temporary folder
    "selftest/conditional/worker.py",  # a file in a private folder
    "selftest/make_believe/installing.py",  # a file in a temporary folder
}
WRITING = {"write_text", "write_bytes"}


def test_files_are_written_by_one_writer() -> None:
    """The writer replaces no device, follows no link in results and leaves no partial file. Exceptions have a reason."""
    found = set()
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, (ast.Attribute, ast.Name))):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
            words = [
                word.value for word in (*node.args, *(k.value for k in node.keywords)) if isinstance(word, ast.Constant)
            ]
            opens = name == "open" and any(isinstance(word, str) and word[:1] in "wax" and word for word in words[:2])
            if name in WRITING or opens:
                found.add(str(path.relative_to(ROOT)))
    assert found == WRITES_ITSELF
