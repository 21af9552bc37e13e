"""What a user sets by options and by environment variables: one reader for the numbers in both, and one list of the variables.

A value that cannot be used becomes a :class:`Mistake` in its place, so that :func:`check` can tell all of them at once.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from conformance.exits import UserError

PREFIX = "CONFORMANCE_"
MOST_SECONDS = 1_000_000.0
"""No timeout may be longer: the system calls behind some take 32-bit milliseconds."""
MOST_PROCESSES = 1000
_NUMBER = re.compile(r"[0-9]{1,20}(?:\.[0-9]{0,20})?(?:[eE][+-]?[0-9]{1,3})?")
_COUNT = re.compile(r"[0-9]{1,20}")
"""ASCII only: Python reads the digits of other scripts as well, and takes ``²`` for one."""


@dataclass(frozen=True)
class Mistake:
    """A value that cannot be used: one sentence with the name of the option or variable."""

    text: str


Read = Callable[[str], Any]


def seconds(name: str) -> Read:
    """Reads a time in seconds; for the ``type`` of an option."""

    def read(text: str) -> float | Mistake:
        found = float(text) if _NUMBER.fullmatch(text) else 0.0
        if 0 < found <= MOST_SECONDS:
            return found
        return Mistake(
            f"{name}: {text!r} is no time to run in; give seconds, more than 0 and at most {MOST_SECONDS:.0f}"
        )

    return read


def count(name: str, what: str, *, auto: bool = False, least: int = 1, most: int = MOST_PROCESSES) -> Read:
    """Reads how many of ``what`` there are to be, ``None`` for ``auto`` where that is allowed, between two bounds; for the ``type`` of an option."""

    def read(text: str) -> int | Mistake | None:
        if auto and text == "auto":
            return None
        found = int(text) if _COUNT.fullmatch(text) else least - 1
        if least <= found <= most:
            return found
        more = ", or auto" if auto else ""
        return Mistake(f"{name}: {text!r} is no number of {what}; give {least} to {most}{more}")

    return read


# -- environment variables


def _text(name: str) -> Read:
    return lambda text: text


def _switch(name: str) -> Read:
    return lambda text: text if text in ("", "1") else Mistake(f"{name}: {text!r} is no switch; give 1, or unset it")


def _words(name: str) -> Read:
    def read(text: str) -> list[str] | Mistake:
        try:
            return shlex.split(text)
        except ValueError as error:
            return Mistake(f"{name}: {text!r} cannot be split into words ({error}); quote it as for a shell")

    return read


OF_THE_USER: dict[str, Callable[[str], Read]] = {
    "CONFORMANCE_BUILD_NETWORK": _text,
    "CONFORMANCE_BUILD_OPTIONS": _words,
    "CONFORMANCE_CANDIDATES": _text,
    "CONFORMANCE_DEADLINE": seconds,
    "CONFORMANCE_ENGINE": _text,
    "CONFORMANCE_SIMULATE": _switch,
}
"""Variables that a command reads from its environment, each with the reader of its value."""
OF_OURS: dict[str, str] = {
    "CONFORMANCE_ANSWERS": "",
    "CONFORMANCE_INDEX": "; --index names a package index",
    "CONFORMANCE_JOBS": "; -n sets how many processes there are",
    "CONFORMANCE_REPORT": "",
    "CONFORMANCE_SEED": "; --seed mixes the cases",
    "CONFORMANCE_SELFTEST_SPOIL": "",
    "CONFORMANCE_SERVER": "",
}
"""Variables that the suite sets for the processes that it starts, and the option that a user may have meant."""


def check(options: argparse.Namespace, around: Mapping[str, str]) -> None:
    """Raise :class:`UserError` with every value of an option or of a variable that cannot be used, a line each."""
    found = [value for value in vars(options).values() if isinstance(value, Mistake)]
    read = (reader(name)(around[name]) for name, reader in OF_THE_USER.items() if name in around)
    found += [value for value in read if isinstance(value, Mistake)]
    if found:
        raise UserError("\n".join(mistake.text for mistake in found))


def not_ours(around: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each variable of our prefix that no command reads."""
    for name in sorted(around):
        if name in OF_OURS:
            yield f"{name} is ignored: the suite sets it for its own processes{OF_OURS[name]}"
        elif name.startswith(PREFIX) and name not in OF_THE_USER:
            close = get_close_matches(name, OF_THE_USER, 1)
            meant = f"; did you mean {close[0]}?" if close else f"; there are {', '.join(OF_THE_USER)}"
            yield f"{name} is ignored: it is no setting of the suite{meant}"


def forget_ours(around: MutableMapping[str, str] = os.environ) -> None:
    """Take out what only our own processes set, so that no process takes a user's value for ours."""
    for name in OF_OURS:
        around.pop(name, None)
