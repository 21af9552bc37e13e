"""The command, as ``python -m conformance`` and the installed program start it. See that Python can run it, then run it."""

from __future__ import annotations

import os
import sys

from conformance import launcher

LAUNCHER = launcher.__file__
MODULE = "conformance.command"
OPTIMIZE = "PYTHONOPTIMIZE"
USAGE = 2
"""``Exit.USAGE``. Nothing else of the package is imported before Python is known to be able to run it."""


def main() -> int:
    """Run the command; returns its exit code."""
    if not os.path.isfile(LAUNCHER):
        print(
            f"conformance: the package is in {os.path.dirname(os.path.dirname(LAUNCHER))}, which is no folder, and no process can be "
            "started from there; install the package, or unpack it into a folder and put that into PYTHONPATH",
            file=sys.stderr,
        )
        return USAGE
    if sys.flags.optimize:
        _again_as_it_is_written()
    from conformance.cli import main as run

    return run()


def _again_as_it_is_written() -> None:
    """Start again without ``-O`` and ``PYTHONOPTIMIZE``: the catalogue is made of docstrings, and they are gone."""
    given = [flag for flag, is_given in _flags() if is_given]
    environment = {name: value for name, value in os.environ.items() if name != OPTIMIZE}
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, *given, LAUNCHER, MODULE, *sys.argv[1:]], environment)


def _flags() -> tuple[tuple[str, int], ...]:
    """The flags of the interpreter that decide what is imported."""
    return ("-I", sys.flags.isolated), ("-E", sys.flags.ignore_environment), ("-s", sys.flags.no_user_site)


if __name__ == "__main__":
    sys.exit(main())
