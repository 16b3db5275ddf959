"""Two ways to do the same work, side by side: measured in turn, compared round by round, held against a bar.

    figures = interleaved({"ours": ours, "peer": peer}, rounds=5)
    compared = Comparison("decode, one row", "ours", "peer", "rows/s", "higher", figures["ours"], figures["peer"], bar=2)
    compared.ratio, compared.spread, compared.met

Other load on the machine hits both sides of a round alike, so the ratios of rounds are compared, never two medians.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Bound = Literal["at least", "at most"]


def interleaved(contenders: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Run the contenders in turn, in reverse order every second round, after one warm-up of each.

    A contender returns its own figure: seconds, a rate. Returns the figures of each by round.
    """
    for run in contenders.values():
        run()
    figures: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds):
        for name in list(contenders) if number % 2 == 0 else reversed(list(contenders)):
            figures[name].append(contenders[name]())
    return figures


@dataclass(frozen=True)
class Comparison:
    """Figures of both sides, in order of rounds, and the bar on their ratio.

    `ratio` "at least" says how many times as good ours is, whichever way is better; "at most" is ours over the peer's, of
    figures that are better when lower. Left out, it is "at least" where higher is better and "at most" where lower is.
    """

    name: str
    ours: str
    peer: str
    unit: str
    better: Literal["higher", "lower"]
    our_figures: Sequence[float]
    peer_figures: Sequence[float]
    bar: float | None = None
    bound: Bound | None = None

    def __post_init__(self) -> None:
        if not self.our_figures or len(self.our_figures) != len(self.peer_figures):
            raise ValueError(
                f"{self.name}: expected a figure of both sides for each round, found "
                f"{len(self.our_figures)} and {len(self.peer_figures)}"
            )
        if self.bound is None:
            object.__setattr__(self, "bound", "at least" if self.better == "higher" else "at most")
        if self.bound == "at most" and self.better == "higher":
            raise ValueError(f"{self.name}: bound: 'at most' is for figures that are better when lower: use 'at least'")

    @property
    def ratios(self) -> list[float]:
        """One of each round."""
        turned = self.bound == "at least" and self.better == "lower"
        pairs = zip(self.our_figures, self.peer_figures, strict=True)
        return [peer / ours if turned else ours / peer for ours, peer in pairs]

    @property
    def ratio(self) -> float:
        """The median of all rounds."""
        return statistics.median(self.ratios)

    @property
    def spread(self) -> tuple[float, float]:
        """The least and the greatest ratio."""
        return min(self.ratios), max(self.ratios)

    @property
    def met(self) -> bool | None:
        """Whether the median ratio meets the bar; None where there is no bar."""
        if self.bar is None:
            return None
        return self.ratio >= self.bar if self.bound == "at least" else self.ratio <= self.bar

    @property
    def our_figure(self) -> float:
        """Our median."""
        return statistics.median(self.our_figures)

    @property
    def peer_figure(self) -> float:
        """The peer's median."""
        return statistics.median(self.peer_figures)
