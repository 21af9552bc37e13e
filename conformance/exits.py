"""The exit codes of every command, and the one kind of error that is the user's to mend."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path


class Exit(IntEnum):
    """Exit codes; where several apply the highest counts, save that ``USAGE`` is found before anything runs.

    A run over cells (``conform``) ends with the worst of its cells: what ``check`` ended with there, ``NO_ROOM`` for a full disk, and
    ``INCOMPLETE`` for every other cell without results. Only `unresolvable` is an outcome like any other, unless no cell was run.
    """

    OK = 0
    """Everything planned has an outcome and nothing is violated."""
    VIOLATIONS = 1
    """At least one invariant is violated."""
    USAGE = 2
    """The command cannot be carried out as it was given."""
    INCOMPLETE = 4
    """An incomplete result, for one of five reasons.

    A planned case has no outcome; an installed library was not tested, because it cannot be used or its adapter is not
    to be trusted; no library was tested at all; a stopped run did not settle whom its failures accuse; or a case crashed after other
    cases only, and none of them could be found to have caused that.
    """
    VOID = 5
    """A canary did not end as it was built to: nothing of this run can be believed."""
    NO_ROOM = 6
    """Results or temporary files could not be written."""
    WAIVER = 20
    """Gate: a waiver is expired, matches nothing, overlaps another, or expects a failure that no longer happens."""
    OWN_TESTS = 21
    """Gate: the tests that were run beside ours did not all pass."""
    NEW_VIOLATION = 22
    """Gate: a case that the baseline does not have violates."""
    REGRESSION = 23
    """Gate: something conformed or was supported in the baseline, and does not or is not now."""
    SHRUNK = 24
    """Gate: a cell or a case of the baseline was not planned any more."""
    NOT_TESTED = 25
    """Gate: a cell has no results, or a case is lost or not decided."""
    STALE = 26
    """Gate: a cell was run for another lock or suite than there is now."""
    INTEGRITY = 27
    """Gate: digests of suite, lock, image, candidate or results do not match."""
    INTERRUPTED = 130
    """Stopped from the keyboard."""
    TERMINATED = 143
    """Stopped by another signal that asks to end."""


class UserError(Exception):
    """A mistake of the user's. The text is one sentence: what, where, why, what to do next."""


def why(error: OSError) -> str:
    """Return why the system or Python refuses an operation; never empty. An error without a number has only its text."""
    return error.strerror or str(error) or type(error).__name__


@contextmanager
def given_by(option: str, path: Path) -> Iterator[None]:
    """Inside, a file is written that was asked for by an option: what cannot be written is the user's to mend."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{option}: {path} cannot be written: {why(error)}; choose another place") from error
