"""The sizes that batches of independent rows come in, ascending; what lies between two of them is padded to the larger one."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

BUCKETS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)


def padded(rows: int, sizes: Sequence[int] = BUCKETS) -> int:
    """The smallest size that holds so many rows; so many themselves, where none does."""
    at = bisect_left(sizes, rows)
    return sizes[at] if at < len(sizes) else rows


def whole(rows: int, sizes: Sequence[int] = BUCKETS) -> int:
    """The largest size of at most so many rows, which needs no padding; the smallest one where all are larger."""
    return sizes[max(0, bisect_right(sizes, rows) - 1)]
