"""The exit codes of every command, and the one kind of error that is the user's to mend."""

from __future__ import annotations

from enum import IntEnum


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
    """Something that was planned has no outcome."""
    VOID = 5
    """A canary did not end as it was built to: nothing of this run can be believed."""
    NO_ROOM = 6
    """What was found out could not be written down."""
    INTERRUPTED = 130
    """Stopped from the keyboard."""
    TERMINATED = 143
    """Stopped by another signal that asks to end."""


class UserError(Exception):
    """A mistake of the user's. The text is one sentence: what, where, why, what to do next."""
