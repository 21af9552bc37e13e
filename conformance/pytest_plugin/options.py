"""The options of the suite in pytest. Names begin with ``--interop-``, so that no other plugin has them.

The choices are words here: the enums that they stand for are imported only where a run is about the suite.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import pytest

TIERS = ("quick", "full")
DEVICES = ("auto", "host", "cuda")


@dataclass(frozen=True)
class Asked:
    """The user's selection, in the user's words."""

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
        "--interop-tier", choices=TIERS, default="full", help="how much: the quick tier, or everything (default: full)"
    )
    group.addoption(
        "--interop-between", type=_words, default=(), metavar="A,B,…",
        help="pairs among these libraries and the reference (default: all that are installed)",
    )  # fmt: skip
    group.addoption("--interop-family", type=_words, default=(), metavar="F,…", help="these families of invariants")
    group.addoption(
        "--interop-device", choices=DEVICES, default="auto", help="where the arrays lie (default: wherever possible)"
    )
    group.addoption(
        "--interop-canaries", action="store_true", help="also run cases that were built to fail, crash, hang, …"
    )
    group.addoption(
        "--interop-in-process", action="store_true",
        help="run the cases in the process of pytest, as --pdb and --trace do; a crash then ends pytest",
    )  # fmt: skip


def asked(config: pytest.Config) -> Asked:
    """Return what this run was asked for. ``--pdb`` and ``--trace`` need the case in the process of pytest."""
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
