"""Start of pytest over the suite: this copy of the suite and the installed pytest, without the user's configuration.

The controller and its workers load no library under test, so they do not use the user's path. Their path starts with a
folder that contains a link to this package and empty startup modules.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import conformance
from conformance.checks import children, environment_variables

PLUGIN = "conformance.pytest_plugin"
_TOOLS = (
    "pytest", "pytest-xdist", "execnet", "pluggy", "iniconfig", "packaging", "pygments", "exceptiongroup", "tomli",
    "typing_extensions",
)  # fmt: skip
"""Distributions that pytest and xdist consist of."""
_QUIET = ("sitecustomize.py", "usercustomize.py")
"""Empty modules that hide those of the machine. xdist workers use standard output, and other output there ends them."""
_CODE = "code"


def start(processes: int, private: Path, output: int, variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start pytest with the given number of workers.

    pytest runs in the private folder ``private``. ``output`` receives all that it prints.
    """
    code = _prepared(private)
    path = (str(code), *_folders_of_tools())
    environment = {
        **children.environment(),
        "PYTHONPATH": os.pathsep.join(path),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        **variables,
    }
    return subprocess.Popen(
        command(processes, private),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
        preexec_fn=children.die_with_parent,
        env=environment,
        cwd=code,
    )


def command(processes: int, private: Path) -> list[str]:
    """Return the pytest command line: the suite's plugin and xdist, no user configuration, and no shared folder."""
    suite = private / _CODE / "conformance" / "suite"
    return [
        children.python(), "-m", "pytest", str(suite),
        "-c", os.devnull, "--rootdir", str(suite), "--noconftest", "-q", "--capture=no",
        "--basetemp", str(private / "pytest"), "-p", "no:cacheprovider", "-p", "xdist.plugin", "-p", PLUGIN,
        "-n", str(processes), "--dist", "worksteal", "--max-worker-restart", "1000",
    ]  # fmt: skip


def _prepared(private: Path) -> Path:
    code = private / _CODE
    if not code.exists():
        code.mkdir(mode=0o700)
        (code / "conformance").symlink_to(Path(conformance.__file__).parent, target_is_directory=True)
        for name in _QUIET:
            (code / name).touch()
    return code


def _folders_of_tools() -> tuple[str, ...]:
    """Return the folders of the user's path in which pytest is installed. Other folders would shadow the interpreter's own."""
    wanted = {os.path.realpath(folder) for name in _TOOLS for folder in _folder_of(name)}
    given = environment_variables.folders(children.environment(), "PYTHONPATH")
    return tuple(folder for folder in given if os.path.realpath(folder) in wanted)


def _folder_of(distribution: str) -> tuple[str, ...]:
    try:
        return (str(metadata.distribution(distribution).locate_file("")),)
    except metadata.PackageNotFoundError:
        return ()
