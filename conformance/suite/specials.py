"""What is special about a case's input, in words that end a sentence and tell one cause of failures from another."""

from __future__ import annotations

from .catalogue import Case
from .layouts import EMPTY, HIGH_RANK, NEGATIVE, OFFSET, PLAIN, SCALAR, STRIDED, UNIT, ZERO_STRIDE

PLAIN_DTYPE = "float32"
_OF_DTYPE = "an array of "
_STATE = "a tensor in the state "
_LAYOUTS = {
    **dict.fromkeys(STRIDED, "a strided view"),
    **dict.fromkeys(UNIT, "an array with dimensions of size 1"),
    **dict.fromkeys(NEGATIVE, "an array with negative strides"),
    **dict.fromkeys(ZERO_STRIDE, "a broadcast view"),
    **dict.fromkeys(EMPTY, "an array without elements"),
    **dict.fromkeys(SCALAR, "a 0-d array"),
    **dict.fromkeys((*HIGH_RANK, "rank-65"), "an array of high rank"),
    **dict.fromkeys(OFFSET, "a view with an offset"),
    "pitched": "padded rows",
    **dict.fromkeys(PLAIN, ""),
}


def special(case: Case) -> str:
    """The case's state, its class of layout or its element type, whichever is not the plain one; empty if all are."""
    state = case.option("state", "")
    if state:
        return f"{_STATE}{state}"
    return described(case.option("layout", "c-order"), case.option("dtype", PLAIN_DTYPE))


def described(layout: str = "c-order", kind: str = PLAIN_DTYPE) -> str:
    """What is special about an array of this layout and element type; empty for a plain one."""
    return _LAYOUTS.get(layout, "") or ("" if kind == PLAIN_DTYPE else f"{_OF_DTYPE}{kind}")


def is_ordinary(given: str) -> bool:
    """Whether a library could meet such input anywhere: an array of some layout, element type or state, and nothing that a check crafts."""
    return not given or given in _LAYOUTS.values() or given.startswith((_OF_DTYPE, _STATE))
