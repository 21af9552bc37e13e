"""Exit codes of every command, and the exception for mistakes that the user can correct."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path


class Exit(IntEnum):
    """Exit codes. If several apply, the highest one counts. ``USAGE`` is the exception: it is found before anything runs.

    A run over cells (``conform``) ends with the worst code of its cells. The code of a cell is that of ``check`` in it, ``NO_ROOM`` for
    a full disk, and ``INCOMPLETE`` for every other cell without results. An `unresolvable` cell does not raise the code, unless no cell
    was run.
    """

    OK = 0
    """Every planned case has an outcome, and no invariant is violated."""
    VIOLATIONS = 1
    """At least one invariant is violated."""
    USAGE = 2
    """The command line is invalid, or the command cannot be executed in this environment."""
    INCOMPLETE = 4
    """The result is incomplete, for one of five reasons.

    * A planned case has no outcome.
    * An installed library was not tested, because it cannot be used or its adapter cannot be trusted.
    * No library was tested at all.
    * The run was stopped before it settled which library its failures accuse.
    * A case crashed only after other cases, and the suite could not find the case that caused the crash.
    """
    VOID = 5
    """A canary had an unexpected result, so no result of this run can be trusted."""
    NO_ROOM = 6
    """Results or temporary files could not be written."""
    WAIVER = 20
    """Gate: a waiver is expired, matches nothing, overlaps another, or expects a failure that no longer happens."""
    OWN_TESTS = 21
    """Gate: a test of the package's own tests (``--with-tests``) did not pass."""
    NEW_VIOLATION = 22
    """Gate: a case violates an invariant, and the baseline does not contain this case."""
    REGRESSION = 23
    """Gate: something conformed or was supported in the baseline, and no longer does or is."""
    SHRUNK = 24
    """Gate: the run did not plan a cell or a case that the baseline has."""
    NOT_TESTED = 25
    """Gate: a cell has no results, or a case has no outcome or is inconclusive."""
    STALE = 26
    """Gate: a cell was run with another lock file or another version of the suite than the current one."""
    INTEGRITY = 27
    """Gate: digests of suite, lock, image, candidate or results do not match."""
    INTERRUPTED = 130
    """Stopped by SIGINT, such as Ctrl-C."""
    TERMINATED = 143
    """Stopped by SIGTERM or SIGHUP."""


class UserError(Exception):
    """A mistake that the user can correct. The text is one sentence: the problem, its place, its cause and the next step."""


def why(error: OSError) -> str:
    """Return the reason of a failed operation, never empty. An error without ``errno`` has only its text."""
    return error.strerror or str(error) or type(error).__name__


@contextmanager
def given_by(option: str, path: Path) -> Iterator[None]:
    """Raise UserError, with the name of the option, if the context cannot write the file that the option names."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{option}: {path} cannot be written: {why(error)}; choose another place") from error
