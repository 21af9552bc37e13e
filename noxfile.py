"""The front door. ``nox -l`` lists what there is."""

from __future__ import annotations

import subprocess
import sys
from enum import IntEnum
from pathlib import Path

import nox

nox.needs_version = ">=2024.3.2"
nox.options.sessions = ["conform"]
nox.options.error_on_missing_interpreters = True


class Exit(IntEnum):
    """The exit codes of ``check`` that mean a complete run (conformance/exits.py)."""

    OK = 0
    VIOLATIONS = 1


HOST_LIBRARIES = ("numpy", "jax", "cuda-core", "cuda-bindings")
"""What the light default cell holds: real libraries whose wheels are small and work without a GPU."""


@nox.session
def conform(session: nox.Session) -> None:
    """Run the suite: the smoke cells where a GPU is, else small real libraries on host memory. After -- cells, tier, engine, …

    The session succeeds when the run is complete. What the libraries keep of their promises the table says; to judge by
    exit code, run ``python -m conformance check`` or ``conform`` itself.
    """
    session.install(".[runner]", *(HOST_LIBRARIES if not session.posargs else ()))
    session.run("cuda-interop-conformance", "conform", *session.posargs, success_codes=[Exit.OK, Exit.VIOLATIONS])
    session.log("the run is complete; what the libraries violate, if anything, stands in the table")


@nox.session(reuse_venv=True)
def shell(session: nox.Session) -> None:
    """Open a shell in a cell, as a run has it: nox -s shell -- CELL."""
    session.install(".[runner]")
    session.run("cuda-interop-conformance", "shell", *session.posargs, success_codes=range(256))


@nox.session(reuse_venv=True)
def images(session: nox.Session) -> None:
    """Build the images of cells that are missing; nothing is built twice, and an edit of the suite builds nothing."""
    session.install(".[runner]")
    session.run("cuda-interop-conformance", "images", *session.posargs)


@nox.session(reuse_venv=True)
def clean(session: nox.Session) -> None:
    """Remove the images that no lock refers to."""
    session.install(".[runner]")
    session.run("cuda-interop-conformance", "clean", *session.posargs)


@nox.session
def lock(session: nox.Session) -> None:
    """Resolve every cell of matrix.yaml to locks/<cell>.txt: what is missing or stale. See also --check and --upgrade."""
    session.install(".[runner]")
    session.run("cuda-interop-conformance", "lock", *session.posargs)


@nox.session
def selftest(session: nox.Session) -> None:
    """Try the suite on partners that are wrong on purpose: it has to catch every fault, and to accuse no other partner.

    Without arguments: all of the faults, then 2,000 that are wrong only under a condition, by a seed that is printed.
    """
    session.install(".", "numpy")
    session.run("cuda-interop-conformance", "selftest", *session.posargs)
    if not session.posargs:
        session.run("cuda-interop-conformance", "selftest", "--conditional", "2000")


@nox.session(reuse_venv=True)
def gate(session: nox.Session) -> None:
    """Judge a run beside a baseline, with waivers: nox -s gate -- --run R --baseline B. Green only if nothing speaks against it.

    nox itself ends with 1 for whatever fails; here the kind of trouble is the exit code (docs/gate.md), so it becomes nox's own.
    """
    session.install(".[runner]")
    program = Path(session.bin, "cuda-interop-conformance")
    code = subprocess.run([program, "gate", *session.posargs], check=False).returncode
    if code:
        sys.exit(code)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the project's own tests against the installed package. After -- options of pytest: -m again for those of every night."""
    session.install(".[test,runner]", "numpy", "jax")
    session.run("pytest", "-n", "auto", "--dist", "worksteal", *session.posargs)


@nox.session(reuse_venv=True)
def mutation(session: nox.Session) -> None:
    """Change the judging code in every small way; fails for a change that no test notices. After -- modules (default: all)."""
    session.install(".[test]", "numpy", "mutmut==3.8.1")
    session.run("python", "tests/mutation/survivors.py", *session.posargs)


@nox.session
def properties(session: nox.Session) -> None:
    """Exchange thousands of random arrays with a flawless partner, whom nobody may accuse: --exchanges 10000 --seed N."""
    session.install(".")
    with session.chdir("tests"):
        session.run("python", "-m", "properties", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Damage files of every kind at random: --inputs 100000 --seed N. No command may end in a traceback or wait."""
    session.install(".[test,runner]")
    with session.chdir("tests"):
        session.run("python", "-m", "fuzz", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, types and workflows."""
    session.install(".[runner]", "mypy", "ruff", "nox", "types-PyYAML", "check-jsonschema", "zizmor")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    workflows = sorted(str(path) for path in Path(".github", "workflows").glob("*.yml"))
    session.run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *workflows)
    session.run("zizmor", "--offline", "--quiet", *workflows)
