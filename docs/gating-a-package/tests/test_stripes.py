"""What the package promises its users, without any other library."""

from stripes import Stripes


def test_a_new_array_is_packed() -> None:
    """In row-major order."""
    assert Stripes.empty((2, 3), "int32").strides == (3, 1)


def test_each_second_row_shares_the_memory() -> None:
    """What is written through the one is read through the other."""
    whole = Stripes.empty((4, 2), "int32")
    whole.numpy()[...] = 0
    whole.rows(slice(1, None, 2)).numpy()[...] = 7
    assert whole.numpy()[:, 0].tolist() == [0, 7, 0, 7]
