"""The command, as ``python -m conformance`` and the installed program start it. See that Python can run it, then run it."""

from __future__ import annotations

import os
import sys

from conformance import launcher

LAUNCHER = launcher.__file__
MODULE = "conformance.command"
OPTIMIZE, INSPECT = "PYTHONOPTIMIZE", "PYTHONINSPECT"
"""Variables without which the command is started again."""
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
    if sys.flags.optimize or _is_inspected():
        _again()
    from conformance.cli import main as run

    return run()


def _is_inspected() -> bool:
    """Whether Python would read commands when this one has ended, and then end with another exit code. ``-i`` asks for that."""
    return bool(os.environ.get(INSPECT)) and not sys.flags.ignore_environment


def _again() -> None:
    """Start again as it is meant: with docstrings, of which the catalogue is made, and with an exit code of our own."""
    given = [flag for flag, is_given in _flags() if is_given]
    environment = {name: value for name, value in os.environ.items() if name not in (OPTIMIZE, INSPECT)}
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, *given, LAUNCHER, MODULE, *sys.argv[1:]], environment)


def _flags() -> tuple[tuple[str, int], ...]:
    """The flags of the interpreter that decide what is imported."""
    return ("-I", sys.flags.isolated), ("-E", sys.flags.ignore_environment), ("-s", sys.flags.no_user_site)


if __name__ == "__main__":
    sys.exit(main())
