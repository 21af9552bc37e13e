"""Patterns with one special character: ``*`` stands for any text. Brackets are brackets, as case ids and messages have them."""

from __future__ import annotations

import re
from functools import lru_cache

STAR = "*"


def fits(pattern: str, text: str) -> bool:
    """Whether the whole text is what the pattern says."""
    return _compiled(pattern).fullmatch(text) is not None


def is_in(pattern: str, text: str) -> bool:
    """Whether the pattern is found somewhere in the text."""
    return _compiled(pattern).search(text) is not None


def may_begin(pattern: str, beginning: str) -> bool:
    """Whether some text that begins so fits the pattern, as far as its part before the first ``*`` tells."""
    head, star, _ = pattern.partition(STAR)
    return head.startswith(beginning) or (bool(star) and beginning.startswith(head))


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in pattern.split(STAR)), re.DOTALL)
