"""Entry point of ``python -m conformance`` and of the installed program: check the interpreter, then run the command."""

from __future__ import annotations

import os
import sys

from conformance import launcher

LAUNCHER = launcher.__file__
MODULE = "conformance.command"
OPTIMIZE, INSPECT = "PYTHONOPTIMIZE", "PYTHONINSPECT"
"""Variables that make the command start itself again without them."""
USAGE = 2
"""Value of ``Exit.USAGE``. This module imports nothing else of the package until it has checked the interpreter."""


def main() -> int:
    """Run the command and return its exit code."""
    if not os.path.isfile(LAUNCHER):
        print(
            f"conformance: the package is in {os.path.dirname(os.path.dirname(LAUNCHER))}, which is not a folder, so no process can be "
            "started from there; install the package, or unpack it into a folder and put that into PYTHONPATH",
            file=sys.stderr,
        )
        return USAGE
    if sys.flags.optimize or _is_inspected():
        _again()
    from conformance.cli import main as run

    return run()


def _is_inspected() -> bool:
    """Return whether Python would read commands after this one ends and then replace its exit code.

    The option ``-i`` requests this mode explicitly and does not count.
    """
    return bool(os.environ.get(INSPECT)) and not sys.flags.ignore_environment


def _again() -> None:
    """Restart the interpreter with docstrings, which the catalogue needs, and without interactive inspection."""
    given = [flag for flag, is_given in _flags() if is_given]
    environment = {name: value for name, value in os.environ.items() if name not in (OPTIMIZE, INSPECT)}
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, *given, LAUNCHER, MODULE, *sys.argv[1:]], environment)


def _flags() -> tuple[tuple[str, int], ...]:
    """Return the interpreter flags that decide which modules are imported."""
    return ("-I", sys.flags.isolated), ("-E", sys.flags.ignore_environment), ("-s", sys.flags.no_user_site)


if __name__ == "__main__":
    sys.exit(main())
