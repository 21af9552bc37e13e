"""How every report tells findings: which of them ended a process."""

from __future__ import annotations

from conformance.checks.codes import Code
from conformance.checks.outcomes import Side
from conformance.findings import presentation

from .samples import seen
from .test_causes import found

REVERSED = "an array with negative strides"
MEETING = seen(
    "pointer.values/cupy-torch/dlpack/cuda/r", Code.CRASH, Side.BOTH, given=REVERSED, step="import", outcome="crash"
)
"""A crash in which two mistakes meet."""
WRONG = seen("pointer.values/cupy-reference/dlpack/cuda/r", Code.STRIDES_CHANGED, Side.PRODUCER, given=REVERSED)
DIES = seen(
    "pointer.values/reference-torch/dlpack/cuda/r", Code.CRASH, given=REVERSED, step="import", outcome="crash"
)  # fmt: skip


def test_a_library_is_told_to_end_the_process_only_where_it_does_so_alone() -> None:
    """Of two mistakes that meet the other one may be what ended it."""
    told = {one.library: presentation.ended(one) for one in found(MEETING, WRONG, DIES)}
    assert told == {"cupy": "", "torch": "the process crashed"}


def test_where_there_is_no_other_case_the_meeting_tells() -> None:
    """Nobody overlooks that a process died."""
    assert {presentation.ended(one) for one in found(MEETING)} == {"the process crashed"}
