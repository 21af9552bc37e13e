"""The script of a case: hand-written if there is a template, or else a bundle of the check."""

from __future__ import annotations

from collections.abc import Mapping

from conformance.checks.catalogue import Case
from conformance.execution.results import Result

from . import bundle
from .head import head
from .templates import readable


def is_readable(case: Case) -> bool:
    """Return whether there is a hand-written script for this case."""
    return readable(case) is not None


def script(
    case: Case,
    result: Result | None = None,
    *,
    versions: Mapping[str, str] | None = None,
    bundled: bool = False,
) -> str:
    """Return a standalone script that reproduces the case. Pure function.

    ``result`` is the result in a run with these ``versions``, for the comment at the top. ``bundled`` requests the bundle even
    if there is a hand-written script.
    """
    found = None if bundled else readable(case)
    how, code = (found.how, found.code) if found else (bundle.how(case), bundle.body(case))
    return head(case, how, result, versions or {}, code) + code.rstrip("\n") + "\n"
