"""Options and environment variables of the user: one reader for numbers, and one list of variables.

An invalid value becomes a :class:`Mistake`, so that :func:`check` can report all of them at once.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from conformance.exits import UserError
from conformance.suggestions import meant

PREFIX = "CONFORMANCE_"
MOST_SECONDS = 1_000_000.0
"""Limit of every timeout, because some system calls take milliseconds as 32-bit numbers."""
MOST_PROCESSES = 1000
_NUMBER = re.compile(r"[0-9]{1,20}(?:\.[0-9]{0,20})?(?:[eE][+-]?[0-9]{1,3})?")
_COUNT = re.compile(r"[0-9]{1,20}")
"""Pattern of a count. ASCII only: Python also accepts digits of other scripts, and treats ``²`` as a digit."""


@dataclass(frozen=True)
class Mistake:
    """An invalid value: one sentence with the name of the option or variable."""

    text: str


Read = Callable[[str], Any]


def seconds(name: str) -> Read:
    """Return a reader of a time in seconds, for the ``type`` of an option."""

    def read(text: str) -> float | Mistake:
        found = float(text) if _NUMBER.fullmatch(text) else 0.0
        if 0 < found <= MOST_SECONDS:
            return found
        return Mistake(f"{name}: {text!r} is not a timeout; give seconds, more than 0 and at most {MOST_SECONDS:.0f}")

    return read


def count(name: str, what: str = "", *, auto: bool = False, least: int = 1, most: int = MOST_PROCESSES) -> Read:
    """Return a reader of a number (of ``what``) between two bounds, for the ``type`` of an option. With ``auto`` that word reads as ``None``."""

    def read(text: str) -> int | Mistake | None:
        if auto and text == "auto":
            return None
        found = int(text) if _COUNT.fullmatch(text) else least - 1
        if least <= found <= most:
            return found
        more, counted = ", or auto" if auto else "", f" of {what}" if what else ""
        return Mistake(f"{name}: {text!r} is not a number{counted}; give {least} to {most}{more}")

    return read


# -- environment variables


def _text(name: str) -> Read:
    return lambda text: text


def _folders(name: str) -> Read:
    def read(text: str) -> str | Mistake:
        missing = [folder for folder in text.split(os.pathsep) if folder and not os.path.isdir(folder)]
        return (
            Mistake(f"{name}: {missing[0]!r} is not a folder; unset it, or name folders with candidates")
            if missing
            else text
        )

    return read


def _switch(name: str) -> Read:
    return lambda text: text if text in ("", "1") else Mistake(f"{name}: {text!r} is not a switch; give 1, or unset it")


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
    "CONFORMANCE_CANDIDATES": _folders,
    "CONFORMANCE_DEADLINE": seconds,
    "CONFORMANCE_ENGINE": _text,
    "CONFORMANCE_SIMULATE": _switch,
}
"""Variables that a command reads from its environment, each with the reader of its value."""
OF_OURS: dict[str, str] = {
    "CONFORMANCE_ANSWERS": "",
    "CONFORMANCE_INDEX": "; --index names a package index",
    "CONFORMANCE_JOBS": "; -n sets the number of processes",
    "CONFORMANCE_REPORT": "",
    "CONFORMANCE_SEED": "; --seed changes the order of the cases",
    "CONFORMANCE_SELFTEST_SPOIL": "",
    "CONFORMANCE_SERVER": "",
    "CONFORMANCE_TURN": "",
}
"""Variables that the suite sets for its own processes, and the option that a user may have meant."""


def check(options: argparse.Namespace, around: Mapping[str, str]) -> None:
    """Raise :class:`UserError` if any option or variable is invalid, with one line for each."""
    found = [value for value in vars(options).values() if isinstance(value, Mistake)]
    read = (reader(name)(around[name]) for name, reader in OF_THE_USER.items() if name in around)
    found += [value for value in read if isinstance(value, Mistake)]
    if found:
        raise UserError("\n".join(mistake.text for mistake in found))


def not_ours(around: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence for each variable with the suite's prefix that no command reads."""
    for name in sorted(around):
        if name in OF_OURS:
            yield f"{name} is ignored: the suite sets it for its own processes{OF_OURS[name]}"
        elif name.startswith(PREFIX) and name not in OF_THE_USER:
            hint = meant(name, OF_THE_USER, f"the settings are {', '.join(OF_THE_USER)}")
            yield f"{name} is ignored: it is not a setting of the suite{hint}"


def forget_ours(around: MutableMapping[str, str] = os.environ) -> None:
    """Remove the variables that only the suite sets, so that no process uses a value from the user."""
    for name in OF_OURS:
        around.pop(name, None)
