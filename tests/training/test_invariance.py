"""How far a row is from itself in other batches, of functions that are known to depend on them, or not."""

import numpy as np
import pytest

from contract.manifest import Agreement
from service.engine.limits import Limits
from service.engine.sizes import BUCKETS
from training.invariance import FAR, TOLERANCE, agreement, difference, differences, served

ROWS = np.random.default_rng(0).standard_normal((8, 3)).astype(np.float32)
SIZES = (1, 2, 3, 8)


def test_rows_of_their_own_have_the_same_bits_in_any_batch() -> None:
    assert differences(lambda numbers: {"y": 2 * ROWS[numbers]}, SIZES) == dict.fromkeys(SIZES, 0.0)


def test_every_row_is_in_a_batch_of_every_size() -> None:
    seen: dict[int, set[int]] = {size: set() for size in SIZES}

    def run(numbers: np.ndarray) -> dict[str, np.ndarray]:
        seen[len(numbers)] |= set(numbers.tolist())
        return {"y": ROWS[numbers]}

    differences(run, SIZES)
    assert all(rows == set(range(8)) for rows in seen.values())


def test_what_a_batch_s_size_adds_is_found() -> None:
    found = differences(lambda numbers: {"x": ROWS[numbers], "y": ROWS[numbers] + (len(numbers) == 3) / 4}, SIZES)
    assert found == {1: 0.0, 2: 0.0, 3: pytest.approx(0.25), 8: 0.0}


def test_what_a_place_in_the_batch_adds_is_found_in_the_largest_too() -> None:
    found = differences(lambda numbers: {"y": ROWS[numbers] + np.arange(len(numbers))[:, None]}, SIZES)
    assert found[8] == pytest.approx(7)


def test_other_bits_are_no_zero_and_what_is_no_number_is_far() -> None:
    zero, nan = np.zeros(1, np.float32), np.full(1, np.nan, np.float32)
    assert difference(zero, zero) == difference(nan, nan) == 0
    assert difference(zero, -zero) > 0
    assert difference(zero, nan) == FAR
    assert difference(np.array([1, 2]), np.array([1, 5])) == 3


@pytest.mark.parametrize(
    ("worst", "said", "sizes"),
    [
        ({1: 0.0, 2: 0.0, 8: 0.0}, 0.0, (1, 2, 8)),
        ({1: 1e-7, 2: 0.0, 8: 0.0}, 0.0, (2, 8)),
        ({1: 1e-7, 2: 1e-8, 8: 0.0}, 1e-7, (1, 2, 8)),
        ({2: 0.0, 8: 1e-8}, 1e-8, (2, 8)),
        ({1: 1e-7}, 1e-7, (1,)),
    ],
)
def test_one_is_left_out_where_only_a_row_alone_differs(
    worst: dict[int, float], said: float, sizes: tuple[int, ...]
) -> None:
    assert agreement(worst) == Agreement(max_abs_diff=said, tolerance=TOLERANCE, batch_sizes=sizes)


def test_the_sizes_are_those_that_the_service_takes() -> None:
    bounds = Limits()
    assert served(1, lambda rows: 0.1) == BUCKETS
    assert served(1, lambda rows: 2.0) == tuple(b for b in BUCKETS if b <= bounds.rows)
    assert served(bounds.elements // 12, lambda rows: 0.1)[-1] == 12
    assert served(2 * bounds.elements, lambda rows: 0.1) == (1, 2)  # one size would agree with itself
