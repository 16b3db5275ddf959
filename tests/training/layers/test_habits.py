"""Each number is what its name says."""

import pytest
import torch

from training.layers.habits import SIZE, Habits
from training.layers.upright import Moments


def habits(x: torch.Tensor) -> list[float]:
    side = x.shape[3]
    found = Habits(side, side)(x, (x * 255).round(), Moments(side, side)(x))
    assert found.shape == (1, SIZE)
    return found[0].tolist()


def drawing(*rows: str) -> torch.Tensor:
    """One white pixel for each #."""
    return torch.tensor([[float(pixel == "#") for pixel in row] for row in rows])[None, None]


PIECES_LESS_HOLES = {
    ("........", ".##..##.", ".##..##.", "........", "........", "..####..", "..####..", "........"): 3,
    ("........", ".#####..", ".#...#..", ".#...#..", ".#####..", "........", "........", "........"): 0,
    (".#####..", ".#...#..", ".#####..", ".#...#..", ".#####..", "........", "........", "........"): -1,
    ("#.......", ".#......", "..#.....", "...#....", "....#...", ".....#..", "......#.", ".......#"): 1,
    tuple(["........"] * 8): 0,
}


@pytest.mark.parametrize("rows", list(PIECES_LESS_HOLES), ids=["three blocks", "ring", "eight", "diagonal", "black"])
def test_pieces_less_holes(rows):
    assert habits(drawing(*rows))[-1] == PIECES_LESS_HOLES[rows]


def test_a_drawing_in_numbers():
    x = drawing("........", "........", "..##....", "..##....", "..##....", "........", "........", "........")
    ink, row, column, tall, wide, both, top, bottom, left, right, variation, *_ = habits(x)
    assert (ink, row, column, both) == pytest.approx((6, -0.5, -1, 0), abs=1e-5)
    assert (top, bottom, left, right) == (2, 4, 2, 3)
    assert tall == pytest.approx((2 / 3) ** 0.5)
    assert wide == pytest.approx(0.5)
    assert variation == pytest.approx(10)


def test_shares_of_grey_count_every_pixel_once():
    levels = torch.tensor([0, 1, 63, 64, 191, 192, 253, 254, 255]).float().repeat(9, 1)[None, None]
    counted = habits(levels / 255)[-6:-1]
    assert counted == [9, 18, 18, 18, 18]
    assert sum(counted) == 81


def test_an_empty_image_has_finite_habits():
    assert torch.isfinite(torch.tensor(habits(torch.zeros(1, 1, 12, 12)))).all()
