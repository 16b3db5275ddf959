"""Figures of rounds, their ratios and bars."""

import pytest

from benchmarks.harness import Comparison, interleaved


def compare(better, ours, peers, bar=None, bound=None) -> Comparison:
    return Comparison("work", "ours", "peer", "1/s", better, ours, peers, bar, bound)


def test_contenders_take_turns_in_an_order_that_alternates():
    calls = []

    def contender(name):
        def run() -> float:
            calls.append(name)
            return float(len(calls))

        return run

    figures = interleaved({"a": contender("a"), "b": contender("b")}, rounds=3)
    assert "".join(calls) == "ab" + "ab" + "ba" + "ab"
    assert figures == {"a": [3, 6, 7], "b": [4, 5, 8]}


def test_the_ratio_is_the_median_of_the_rounds_ratios_not_the_ratio_of_medians():
    compared = compare("higher", [10, 40, 90], [10, 10, 30])
    assert compared.ratios == [1, 4, 3]
    assert compared.ratio == 3
    assert compared.spread == (1, 4)
    assert (compared.our_figure, compared.peer_figure) == (40, 10)


@pytest.mark.parametrize(
    ("better", "bound", "ours", "ratio"),
    [("higher", None, 20, 2), ("lower", None, 20, 2), ("lower", "at least", 20, 0.5), ("higher", "at least", 5, 0.5)],
)
def test_which_way_a_ratio_counts(better, bound, ours, ratio):
    assert compare(better, [ours], [10], bound=bound).ratio == ratio


@pytest.mark.parametrize(
    ("better", "ours", "bar", "met"),
    [
        ("higher", 20, 2.0, True),
        ("higher", 19, 2.0, False),
        ("lower", 11, 1.1, True),
        ("lower", 12, 1.1, False),
        ("lower", 12, None, None),
    ],
)
def test_a_bar_is_met_from_the_side_that_is_better(better, ours, bar, met):
    assert compare(better, [ours], [10], bar).met is met


def test_rounds_must_be_of_both_sides():
    with pytest.raises(ValueError, match="found 2 and 1"):
        compare("higher", [1, 2], [1])


def test_at_most_is_refused_where_higher_is_better():
    with pytest.raises(ValueError, match="use 'at least'"):
        compare("higher", [1], [1], bar=1, bound="at most")
