"""Whatever is wrong, each good row is answered once and each bad one is refused alone."""

import numpy as np
import pytest

from jobs.sieve import sieve
from service.errors import Invalid


@pytest.mark.parametrize("bad", [set(), {0}, {99}, {3, 4, 50}, set(range(100))])
@pytest.mark.parametrize("suspect", [None, {3, 7, 50}])
def test_only_bad_rows_are_refused(bad: set[int], suspect: set[int] | None) -> None:
    tried = 0

    def attempt(places: np.ndarray) -> np.ndarray:
        nonlocal tried
        tried += 1
        if bad & set(places.tolist()):
            raise Invalid("no")
        return 2 * places

    def suspects(places: np.ndarray) -> np.ndarray:
        return np.isin(places, list(suspect or ()))

    answered: dict[int, int] = {}
    refused: list[int] = []
    for places, found in sieve(np.arange(100), attempt, suspects if suspect is not None else None):
        if isinstance(found, Invalid):
            refused += places.tolist()
        else:
            answered |= dict(zip(places.tolist(), found.tolist(), strict=True))
    assert sorted(refused) == sorted(bad)
    assert answered == {place: 2 * place for place in range(100) if place not in bad}
    assert tried == 1 if not bad else tried < 250


def test_what_is_no_row_s_error_is_not_tried_again() -> None:
    def attempt(places: np.ndarray) -> None:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        list(sieve(np.arange(4), attempt))
