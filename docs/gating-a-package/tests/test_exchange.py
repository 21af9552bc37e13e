"""What other libraries see of it. A cell holds some of them; what it does not hold is skipped, test by test."""

import pytest
from stripes import Stripes


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_rows_arrive_where_they_are(library: str) -> None:
    """The consumer has the same elements, and the same memory."""
    consumer = pytest.importorskip(library)
    whole = Stripes.empty((4, 2), "float32")
    whole.numpy()[...] = [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert consumer.from_dlpack(whole.rows(slice(None, None, 2))).tolist() == [[0, 1], [4, 5]]
