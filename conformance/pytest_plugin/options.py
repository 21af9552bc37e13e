"""Command-line options of the suite in pytest. They begin with ``--interop-``, so that they do not collide with those of other plugins.

The choices are plain strings: their enums are imported only in a run that collects the suite.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import pytest

TIERS = ("quick", "full")
DEVICES = ("auto", "host", "cuda")


@dataclass(frozen=True)
class Asked:
    """The user's selection, as given on the command line."""

    tier: str
    between: tuple[str, ...]
    families: tuple[str, ...]
    device: str
    canaries: bool
    in_process: bool


def add(parser: pytest.Parser) -> None:
    """Add the options, in a group of their own."""
    group = parser.getgroup("interop", "invariants of conformance.suite (cuda-interop-conformance)")
    group.addoption(
        "--interop-tier",
        choices=TIERS,
        default="full",
        help="tier to run: quick, or full for all cases (default: full)",
    )
    group.addoption(
        "--interop-between", type=_words, default=(), metavar="A,B,…",
        help="run pairs of these libraries and the reference (default: all installed libraries)",
    )  # fmt: skip
    group.addoption("--interop-family", type=_words, default=(), metavar="F,…", help="run these families of invariants")
    group.addoption(
        "--interop-device",
        choices=DEVICES,
        default="auto",
        help="device of the arrays (default: all that this machine supports)",
    )
    group.addoption(
        "--interop-canaries", action="store_true", help="also run canaries: cases that fail, crash or hang on purpose"
    )
    group.addoption(
        "--interop-in-process", action="store_true",
        help="run the cases in the process of pytest, as --pdb and --trace do; a crash of a case then ends pytest",
    )  # fmt: skip


def asked(config: pytest.Config) -> Asked:
    """Return the user's selection. ``--pdb`` and ``--trace`` need the case in the process of pytest."""
    option = config.option
    return Asked(
        option.interop_tier, option.interop_between, option.interop_family, option.interop_device, option.interop_canaries,
        in_process=bool(option.interop_in_process or config.getoption("usepdb", False) or config.getoption("trace", False)),
    )  # fmt: skip


def _words(text: str) -> tuple[str, ...]:
    found = tuple(word.strip() for word in text.split(",") if word.strip())
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} has no names; omit the option to select everything")
    return found
