"""Made images keep shape, range and grey levels, differ from what they are made of, and are the seed's alone."""

import pytest
import torch
import torch.nn.functional as F

from training.pseudo_anomalies import PSEUDO_ANOMALIES, pseudo_anomalies


@pytest.fixture(scope="module")
def drawn() -> torch.Tensor:
    """Soft strokes, each image its own, (40, 1, 28, 28)."""
    generator = torch.Generator().manual_seed(0)
    x = torch.zeros(40, 1, 28, 28)
    for image in x[:, 0]:
        row, column = torch.randint(6, 16, (2,), generator=generator).tolist()
        image[row : row + 3, 5:20] = 1
        image[6:22, column : column + 3] = 1
    return F.avg_pool2d(x, 3, 1, 1)


def test_every_kind_changes_images_and_keeps_their_form(drawn):
    made = pseudo_anomalies(drawn, torch.Generator().manual_seed(1))
    assert made.keys() == PSEUDO_ANOMALIES.keys()
    for name, x in made.items():
        assert x.shape == drawn.shape, name
        assert 0 <= x.min() <= x.max() <= 1, name
        torch.testing.assert_close((x * 255).round() / 255, x, rtol=0, atol=1e-6)
        changed = (x - drawn).abs().flatten(1).amax(1) > 0.02
        assert changed.float().mean() > 0.8, name


def test_the_seed_alone_decides(drawn):
    first, again, other = (pseudo_anomalies(drawn, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("name", ["scattered", "puzzle", "mirrored"])
def test_moving_pieces_moves_all_of_them(drawn, name):
    x = PSEUDO_ANOMALIES[name](drawn, torch.Generator().manual_seed(0))
    torch.testing.assert_close(x.flatten(1).sort(1).values, drawn.flatten(1).sort(1).values)


def test_another_image_is_another_one(drawn):
    blended = PSEUDO_ANOMALIES["blend"](drawn[:2], torch.Generator().manual_seed(0))
    torch.testing.assert_close(blended, drawn[:2].mean(0, keepdim=True).expand_as(drawn[:2]))
