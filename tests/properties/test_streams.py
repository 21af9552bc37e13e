"""Work on several streams is in order if nobody leaves out a wait, and seen out of order by the same reads if somebody does."""

from __future__ import annotations

from hypothesis import given

from . import streams
from .strategies import drawn, examples
from .streams import Sequence


@examples
@given(drawn(streams.draw))
def test_work_on_several_streams_is_in_order(whole: Sequence) -> None:
    """Whatever is held back: every read sees what was written last before it, and so it was foretold."""
    assert streams.foretold(whole) == streams.in_order(whole)
    streams.expect_in_order(whole)


@examples
@given(drawn(streams.draw_gapped).filter(bool))
def test_a_wait_that_is_left_out_is_seen(gapped: Sequence) -> None:
    """The control: the same reads see that the wait is missing, and just what arithmetic says that they see."""
    streams.expect_out_of_order(gapped)
