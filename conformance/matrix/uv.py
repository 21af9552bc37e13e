"""Asking uv: the command, the environment it runs in, and what its answer means. Nothing here runs anything."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path

from conformance.exits import UserError

PLATFORM = "x86_64-manylinux_2_28"
NEUTRAL = "/"
"""Working folder of uv.

uv reads uv.toml and pyproject.toml from its working folder and all parents. In a shared folder for temporary files
another user could provide them.
"""
KEPT = ("INDEX", "DEFAULT_INDEX", "EXTRA_INDEX", "CACHE_DIR", "HTTP", "INSECURE_HOST", "KEYRING", "CONCURRENT", "NATIVE_TLS",
        "SYSTEM_CERTS")  # fmt: skip
"""Settings of the user's that say how to reach an index; others would change what comes out."""


def compile_command(
    uv: str, python: str, as_of: date, source_only: Iterable[str] = (), constraints: Path | None = None
) -> tuple[str, ...]:
    """Resolve the requirements on standard input for CPython ``python`` on Linux, with wheels alone, by metadata alone.

    ``as_of``: what was uploaded on that day or later does not exist. ``constraints``: versions that may not move. The interpreter
    named is the one at hand: it is not asked anything, and naming it saves uv the search for another.
    """
    return (
        uv, "pip", "compile", "-",
        "--python", sys.executable, "--python-version", python, "--python-platform", PLATFORM,
        "--only-binary", ":all:", *(word for name in source_only for word in ("--no-binary", name)),
        "--exclude-newer", f"{as_of}T00:00:00Z",
        "--resolution", "highest", "--prerelease", "if-necessary-or-explicit", "--index-strategy", "first-index",
        *(("--constraints", str(constraints)) if constraints else ()),
        "--generate-hashes", "--no-header", "--no-annotate", "--no-python-downloads", "--color", "never",
    )  # fmt: skip


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables without those by which uv would resolve something else, such as ``UV_OFFLINE`` and ``UV_PRERELEASE``."""
    return {
        name: value
        for name, value in variables.items()
        if not name.startswith("UV_") or name.removeprefix("UV_").startswith(KEPT)
    }


def shown(command: Iterable[str], requirements: Iterable[str]) -> str:
    """The command as a person would type it."""
    return f"printf '%s\\n' {shlex.join(requirements)} | {shlex.join(command)}"


NO_SOLUTION = "No solution found when resolving dependencies"
NO_EXTRA = re.compile(r"The package `(?P<package>[^`]+)` does not have an extra named `(?P<extra>[^`]+)`")
NOT_ANSWERED = re.compile(r"was not found in the (package registry|provided package locations)|network was disabled")
"""An index that does not know a package at all: that is a name or an index, not versions that do not fit."""


def verdict(code: int, stderr: str) -> str | None:
    """Why there is no solution, in uv's words; ``None`` where there is one.

    Raises:
        UserError: uv could not find out.
    """
    if code == 0:
        missing = NO_EXTRA.search(stderr)
        return missing and f"{missing[0]}, so that what it should bring would be missing without a word"
    told = no_solution(stderr)
    if told:
        return told
    raise UserError(f"uv could not resolve ({trouble(stderr)}); locks made so far are kept, mend it and run again")


def no_solution(stderr: str) -> str:
    """Why versions cannot be put together, in uv's words; empty where that is not what it says."""
    if NO_SOLUTION not in stderr or NOT_ANSWERED.search(stderr):
        return ""
    return _sentence(stderr.partition(NO_SOLUTION)[2])


def _sentence(text: str) -> str:
    return " ".join(text.replace("cause:", " ", 1).replace("╰─▶", " ").split()).lstrip(": ")


def trouble(stderr: str) -> str:
    """What uv complains of, in a line."""
    lines = [" ".join(line.split()) for line in stderr.splitlines() if not line.startswith("warning:")]
    told = [line for line in lines if line]
    return "; ".join([*told[:2], *(told[2:][-1:])])[:500] or "it said nothing"
