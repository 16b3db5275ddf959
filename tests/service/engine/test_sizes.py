"""The sizes of batches: the next that holds the rows, the last that they fill."""

from service.engine.sizes import BUCKETS, padded, whole


def test_rows_are_padded_to_the_smallest_size_that_holds_them() -> None:
    for rows in range(1, 300):
        size = padded(rows)
        assert size >= rows
        assert size in BUCKETS or (rows > BUCKETS[-1] and size == rows)
        assert size == rows or not any(rows <= b < size for b in BUCKETS)


def test_a_whole_batch_needs_no_padding() -> None:
    for rows in range(1, 300):
        assert whole(rows) in BUCKETS
        assert whole(rows) <= rows
        assert not any(whole(rows) < size <= rows for size in BUCKETS)


def test_where_all_sizes_are_larger_or_none_is_known() -> None:
    assert whole(3, (16,)) == padded(3, (16,)) == 16
    assert padded(3, ()) == 3
