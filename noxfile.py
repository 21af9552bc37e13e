"""Tasks of the project. ``nox -l`` lists them."""

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
    """Exit codes of ``check`` for a complete run (conformance/exits.py)."""

    OK = 0
    VIOLATIONS = 1


HOST_LIBRARIES = ("numpy", "jax", "cuda-core", "cuda-bindings")
"""Libraries of the default run without a GPU. Their wheels are small and work on host memory."""


@nox.session
def conform(session: nox.Session) -> None:
    """Run the suite: the smoke cells if there is a GPU, or else small libraries on host memory. Options of conform follow after --.

    The session succeeds when the run is complete, even if the table shows violations. Run ``python -m conformance check`` or
    ``conform`` directly to get an exit code for violations.
    """
    session.install(".[runner]", *(HOST_LIBRARIES if not session.posargs else ()))
    session.run("cuda-interop-conformance", "conform", *session.posargs, success_codes=[Exit.OK, Exit.VIOLATIONS])
    session.log("the run is complete; the table shows the violations, if there are any")


@nox.session(reuse_venv=True)
def shell(session: nox.Session) -> None:
    """Open a shell in the environment of a cell: nox -s shell -- CELL."""
    session.install(".[runner]")
    session.run("cuda-interop-conformance", "shell", *session.posargs, success_codes=range(256))


@nox.session(reuse_venv=True)
def images(session: nox.Session) -> None:
    """Build the missing images of cells. Existing images are kept, and a change of the suite needs no new image."""
    session.install(".[runner]")
    session.run("cuda-interop-conformance", "images", *session.posargs)


@nox.session(reuse_venv=True)
def clean(session: nox.Session) -> None:
    """Remove the images that no lock file refers to."""
    session.install(".[runner]")
    session.run("cuda-interop-conformance", "clean", *session.posargs)


@nox.session
def lock(session: nox.Session) -> None:
    """Create the missing and stale lock files locks/<cell>.txt of matrix.yaml. See also --check and --upgrade."""
    session.install(".[runner]")
    session.run("cuda-interop-conformance", "lock", *session.posargs)


@nox.session
def selftest(session: nox.Session) -> None:
    """Test the suite with deliberate faults: it must catch every fault and accuse no other library.

    Without arguments, this runs all faults, then a sample of 2,000 conditional faults. The output names the seed of the sample.
    """
    session.install(".", "numpy")
    session.run("cuda-interop-conformance", "selftest", *session.posargs)
    if not session.posargs:
        session.run("cuda-interop-conformance", "selftest", "--conditional", "2000")


@nox.session(reuse_venv=True)
def gate(session: nox.Session) -> None:
    """Compare a run with a baseline and apply waivers: nox -s gate -- --run R --baseline B. Passes only without new findings.

    nox exits with 1 for every failure. This session exits with the code of the gate instead, which shows the reason (docs/gate.md).
    """
    session.install(".[runner]")
    program = Path(session.bin, "cuda-interop-conformance")
    code = subprocess.run([program, "gate", *session.posargs], check=False).returncode
    if code:
        sys.exit(code)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the project's own tests against the installed package. Options of pytest follow after --; -m again selects the nightly tests."""
    session.install(".[test,runner]", "numpy", "jax")
    session.run("pytest", "-n", "auto", "--dist", "worksteal", *session.posargs)


@nox.session(reuse_venv=True)
def mutation(session: nox.Session) -> None:
    """Run mutation tests of the judging code; fails if a mutant survives. Modules follow after -- (default: all)."""
    session.install(".[test]", "numpy", "mutmut==3.8.1")
    session.run("python", "tests/mutation/survivors.py", *session.posargs)


@nox.session
def properties(session: nox.Session) -> None:
    """Exchange thousands of random arrays with a flawless partner, which must not be accused: --exchanges 10000 --seed N."""
    session.install(".")
    with session.chdir("tests"):
        session.run("python", "-m", "properties", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Fuzz every kind of input file: --inputs 100000 --seed N. No command may print a traceback or block."""
    session.install(".[test,runner]")
    with session.chdir("tests"):
        session.run("python", "-m", "fuzz", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, types and GitHub workflows."""
    session.install(".[runner]", "mypy", "ruff", "nox", "types-PyYAML", "check-jsonschema", "zizmor")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    workflows = sorted(str(path) for path in Path(".github", "workflows").glob("*.yml"))
    session.run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *workflows)
    session.run("zizmor", "--offline", "--quiet", *workflows)
