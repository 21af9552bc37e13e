"""The command line of uv, its environment, and the interpretation of its output. This module runs no command."""

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
"""Prefixes of uv settings that configure access to a package index. Other settings would change the result."""


def compile_command(
    uv: str, python: str, as_of: date, source_only: Iterable[str] = (), constraints: Path | None = None
) -> tuple[str, ...]:
    """Return the command that resolves the requirements on standard input for CPython ``python`` on Linux, from the metadata of wheels.

    Uploads on the day ``as_of`` or later are ignored. ``constraints`` is a file with versions that must not change. ``--python`` names
    the current interpreter only to save uv the search for one.
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
    """Return the environment without variables that would change uv's result, such as ``UV_OFFLINE`` and ``UV_PRERELEASE``."""
    return {
        name: value
        for name, value in variables.items()
        if not name.startswith("UV_") or name.removeprefix("UV_").startswith(KEPT)
    }


def shown(command: Iterable[str], requirements: Iterable[str]) -> str:
    """Return the command as a user would type it in a shell."""
    return f"printf '%s\\n' {shlex.join(requirements)} | {shlex.join(command)}"


NO_SOLUTION = "No solution found when resolving dependencies"
NO_EXTRA = re.compile(r"The package `(?P<package>[^`]+)` does not have an extra named `(?P<extra>[^`]+)`")
NOT_ANSWERED = re.compile(r"was not found in the (package registry|provided package locations)|network was disabled")
"""Messages about a package that the index does not have at all. Then a name or the index is wrong, not a version."""


def verdict(code: int, stderr: str) -> str | None:
    """Return why there is no solution, in uv's words; ``None`` if there is one.

    Raises:
        UserError: uv failed for another reason.
    """
    if code == 0:
        missing = NO_EXTRA.search(stderr)
        return missing and f"{missing[0]}, so its packages would be missing without an error"
    reason = no_solution(stderr)
    if reason:
        return reason
    raise UserError(
        f"uv could not resolve ({trouble(stderr)}); the lock files so far are kept; correct the problem and run the command again"
    )


def no_solution(stderr: str) -> str:
    """Return uv's explanation of a version conflict; empty if uv reports another problem."""
    if NO_SOLUTION not in stderr or NOT_ANSWERED.search(stderr):
        return ""
    return _sentence(stderr.partition(NO_SOLUTION)[2])


def _sentence(text: str) -> str:
    return " ".join(text.replace("cause:", " ", 1).replace("╰─▶", " ").split()).lstrip(": ")


def trouble(stderr: str) -> str:
    """Return uv's error message in one line."""
    lines = [" ".join(line.split()) for line in stderr.splitlines() if not line.startswith("warning:")]
    shown = [line for line in lines if line]
    return "; ".join([*shown[:2], *(shown[2:][-1:])])[:500] or "it printed nothing"
