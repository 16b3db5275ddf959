"""A mixture's density is the plain one, every row's held-out score is of a mixture that has not seen it."""

import math

import pytest
import torch

from training.layers.mixtures import FOLDS, Mixtures


def clusters(number: int, seed: int = 0, size: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(4, size, generator=torch.Generator().manual_seed(9)) * 3
    return centres[torch.randint(4, (number,), generator=generator)] + 0.4 * torch.randn(
        number, size, generator=generator
    )


@pytest.fixture(scope="module")
def mixtures() -> tuple[Mixtures, torch.Tensor]:
    made = Mixtures(2, 16)
    return made, made.fit(clusters(600), rows=600)


def plain_log_prob(mixtures: Mixtures, x: torch.Tensor) -> torch.Tensor:
    """Fold by fold and component by component, in float64; (folds, B)."""
    folds = []
    for means, whitenings, constants, count in zip(
        mixtures.means.double(), mixtures.whitenings.double(), mixtures.constants.double(), mixtures.counts, strict=True
    ):
        parts = [constants[k] - 0.5 * ((x.double() - means[k]) @ whitenings[k]).square().sum(1) for k in range(count)]
        folds.append(torch.stack(parts).logsumexp(0))
    return torch.stack(folds)


def test_the_graph_is_the_plain_mixture(mixtures):
    x = clusters(50, 1)
    log_prob, parts = mixtures[0].pruned()(x)
    assert (log_prob - plain_log_prob(mixtures[0], x).mean(0)).abs().max() < 1e-3
    assert parts.shape == x.shape
    assert (parts >= 0).all()


def test_each_fold_integrates_to_one(mixtures):
    axis = torch.linspace(-12, 12, 400)
    log_prob = plain_log_prob(mixtures[0], torch.cartesian_prod(axis, axis))
    assert (log_prob.exp().sum(1) * (axis[1] - axis[0]).item() ** 2).tolist() == pytest.approx([1] * FOLDS, abs=1e-2)


def test_as_many_components_as_the_rows_have_clusters(mixtures):
    assert mixtures[0].counts == [4] * FOLDS
    assert mixtures[0].pruned().means.shape[1] == 4


def test_held_out_scores_are_those_of_new_rows(mixtures):
    new = plain_log_prob(mixtures[0], clusters(600, 2)).mean()
    assert mixtures[1].mean().item() == pytest.approx(new.item(), abs=0.1)


def test_one_gaussian_is_its_formula():
    x = torch.randn(400, 3, generator=torch.Generator().manual_seed(0))
    mixtures = Mixtures(3, 1)
    mixtures.fit(x, rows=400)
    log_prob, parts = mixtures(torch.zeros(1, 3))
    assert log_prob.item() == pytest.approx(-1.5 * math.log(2 * math.pi), abs=0.1)
    assert parts.sum().item() < 0.1


def test_few_rows_of_many_columns_are_no_reason_to_fail():
    mixtures = Mixtures(30, 8)
    held_out = mixtures.fit(torch.randn(12, 30, generator=torch.Generator().manual_seed(0)), rows=100)
    assert mixtures.counts == [1] * FOLDS
    assert held_out.isfinite().all()
