"""An edge is counted in its own direction and place, whatever its contrast."""

import math

import pytest
import torch

from training.layers.gradient_histograms import DIRECTIONS, GradientHistograms

MODULE = GradientHistograms(28, 28)


def edge(angle: float) -> torch.Tensor:
    """Bright on the side that `angle` points to, smooth, (1, 1, 28, 28)."""
    rows, columns = torch.meshgrid(torch.arange(28) - 13.5, torch.arange(28) - 13.5, indexing="ij")
    return torch.sigmoid(math.cos(angle) * columns + math.sin(angle) * rows)[None, None]


@pytest.mark.parametrize("direction", range(DIRECTIONS))
def test_an_edge_is_counted_in_its_direction(direction):
    inner = MODULE(edge(2 * math.pi * direction / DIRECTIONS)).view(DIRECTIONS, 7, 7)[:, 2:5, 2:5]
    assert int(inner.sum((1, 2)).argmax()) == direction


def test_contrast_hardly_changes_a_histogram():
    x = edge(0.4)
    assert (MODULE(x) - MODULE(0.5 * x)).abs().max() < 0.02


def test_a_histogram_is_the_plain_sum_over_pixels():
    x = torch.rand(1, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1))[0, 0]
    blur = torch.tensor([0.25, 0.5, 0.25])
    smooth = sum(blur[i] * blur[j] * padded[i : i + 28, j : j + 28] for i in range(3) for j in range(3))
    padded = torch.nn.functional.pad(smooth, (1, 1, 1, 1))
    down, across = padded[2:, 1:-1] - padded[:-2, 1:-1], padded[1:-1, 2:] - padded[1:-1, :-2]
    plain = torch.zeros(DIRECTIONS, 7, 7)
    for k in range(DIRECTIONS):
        angle = 2 * math.pi * k / DIRECTIONS
        length = torch.hypot(down, across)
        along = ((across * math.cos(angle) + down * math.sin(angle)) / length.clamp(min=1e-6)).clamp(min=0)
        for i in range(7):
            for j in range(7):
                rows = (1 - (torch.arange(28) - (4 * i + 1.5)).abs() / 6).clamp(min=0) / 6
                columns = (1 - (torch.arange(28) - (4 * j + 1.5)).abs() / 6).clamp(min=0) / 6
                plain[k, i, j] = (length * along**3 * rows[:, None] * columns).sum()
    plain = (plain / (plain.norm() + 0.05)).sqrt()
    torch.testing.assert_close(MODULE(x)[0], plain.flatten(), rtol=1e-3, atol=1e-4)


def test_parts_go_back_to_the_pixels_of_their_cell():
    parts = torch.zeros(1, DIRECTIONS, 7, 7)
    parts[0, 3, 5, 1] = 1.0
    pixels = MODULE.to_pixels(parts.flatten(1))[0, 0]
    assert pixels.argmax() in (28 * 21 + 5, 28 * 21 + 6, 28 * 22 + 5, 28 * 22 + 6)
    assert (pixels >= 0).all()
    assert (pixels[:14] == 0).all()


def test_an_empty_image_has_no_histogram():
    assert (MODULE(torch.zeros(1, 1, 28, 28)) == 0).all()
