"""What a stateless call says of its past, where keys and values grow; in place it is tested through the routes."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from service.errors import Invalid
from service.tasks.past import check

MANIFEST: Any = SimpleNamespace(context=8)
PAST = np.zeros((2, 1, 5, 4), np.float32)
SOUND = {
    "input_ids": np.ones((2, 3), np.int64),
    "attention_mask": np.array([[1] * 8, [0] * 4 + [1] * 4]),
    "position_ids": np.array([[5, 6, 7], [1, 2, 3]]),
    "past_key_values.0.key": PAST,
    "past_key_values.0.value": PAST,
}


def test_a_past_that_agrees_is_let_through() -> None:
    check(MANIFEST, SOUND)
    check(MANIFEST, {name: array for name, array in SOUND.items() if name != "position_ids"})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"attention_mask": np.ones((2, 9), np.int64)},
            "expected 8 places, those of the past and of input_ids, found 9",
        ),
        ({"attention_mask": np.full((2, 8), 2)}, "attention_mask: expected values from 0 to 1"),
        ({"attention_mask": np.full((2, 8), -1)}, "attention_mask: expected values from 0 to 1"),
        ({"position_ids": np.array([[6, 7, 8], [1, 2, 3]])}, "position_ids: expected values from 0 to 7, found 1 to 8"),
        ({"position_ids": np.array([[-1, 0, 1], [1, 2, 3]])}, "position_ids: expected values from 0 to 7"),
        ({"past_key_values.0.key": PAST[:, :, :4]}, "attention_mask: expected 8 places"),
        (
            {"input_ids": np.ones((2, 4), np.int64), "attention_mask": np.ones((2, 9), np.int64)},
            "input_ids: expected 8 tokens at most with the past, found 9",
        ),
    ],
)
def test_one_that_does_not_is_refused(changes: dict[str, np.ndarray], says: str) -> None:
    with pytest.raises(Invalid) as refused:
        check(MANIFEST, SOUND | changes)
    assert says in refused.value.detail
