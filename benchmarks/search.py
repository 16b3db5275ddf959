"""Which of many settings is the best: by the median of short trials that take turns, most of them of those that are close.

One trial a setting would choose by what else the machine did meanwhile. After each turn the worse half is left out, as in
successive halving (Jamieson and Talwalkar 2016, arXiv 1502.07943), until a few are left; these have all turns.
"""

import math
import statistics
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

TURNS, FEW = 5, 3

S = TypeVar("S", bound=Hashable)


def best(trials: Mapping[S, Callable[[], float]], turns: int = TURNS) -> S:
    """The setting of the highest median figure. `trials` run one each and return it: a rate."""
    figures: dict[S, list[float]] = {setting: [] for setting in trials}
    left = list(trials)
    for turn in range(turns):
        for setting in left if turn % 2 == 0 else left[::-1]:
            figures[setting].append(trials[setting]())
        left.sort(key=lambda setting: statistics.median(figures[setting]), reverse=True)
        if turn + 1 < turns:
            left = left[: max(FEW, math.ceil(len(left) / 2))]
    return left[0]
