"""The script of a case: a readable one where there is a template, else the check itself in a bundle."""

from __future__ import annotations

from collections.abc import Mapping

from conformance.checks.catalogue import Case
from conformance.execution.results import Result

from . import bundle
from .head import head
from .templates import readable


def is_readable(case: Case) -> bool:
    """Whether there is a hand-written script for this case."""
    return readable(case) is not None


def script(
    case: Case,
    result: Result | None = None,
    *,
    versions: Mapping[str, str] | None = None,
    bundled: bool = False,
) -> str:
    """A standalone script that shows what the case is about; pure.

    ``result`` is what was seen in a run with these ``versions``, for the comment at the top. ``bundled`` asks for the check itself
    where there is a readable script too.
    """
    found = None if bundled else readable(case)
    how, code = (found.how, found.code) if found else (bundle.how(case), bundle.body(case))
    return head(case, how, result, versions or {}, code) + code.rstrip("\n") + "\n"
