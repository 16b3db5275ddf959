"""Mixtures of Gaussians, one for each fold of the rows, averaged: density of vectors with a held-out score of every row.

Each mixture is fitted by EM (Dempster et al. 1977; scikit-learn's) to all rows but a fold, with as many components as give
that fold the highest likelihood; components of about unit variance get `FLOOR` on top of their variances. With weights w_k,
means m_k and z_k = (x - m_k) C_k^(-1/2),

    log p(x) = logsumexp_k(log w_k - |z_k|^2 / 2 - log |det C_k| / 2 - D/2 log 2 pi),   averaged over the folds   [nats]

As C_k^(-1/2) is symmetric, z_kj belongs to column j: sum_k p(k | x) z_kj^2 / 2 is what column j takes away.
"""

import math

import numpy as np
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn

FLOOR = 1e-2
FOLDS = 5
ROWS_PER_VALUE = 1.5
"""A component has this many rows for each column, at least."""
PATIENCE = 2
_NEVER = -1e4


class Mixtures(nn.Module):
    """x (B, D) -> log_prob (B,), the mean of the folds' log-densities. At most `components` in each."""

    means: Tensor
    whitenings: Tensor
    constants: Tensor

    def __init__(self, size: int, components: int, folds: int = FOLDS):
        super().__init__()
        self.register_buffer("means", torch.zeros(folds, components, size))
        self.register_buffer("whitenings", torch.eye(size).repeat(folds, components, 1, 1))
        self.register_buffer("constants", torch.full((folds, components), _NEVER))

    def fit(self, x: Tensor, rows: int, seed: int = 0) -> Tensor:
        """To rows (n, D), at most `rows` of them a fold. Returns each row's log_prob by the mixture that has not seen
        it, (n,)."""
        folds, most, size = self.means.shape
        rng, values = np.random.default_rng(seed), x.double().numpy()
        fold = rng.permutation(len(values)) % folds
        held_out = np.empty(len(values))
        self.constants.fill_(_NEVER)
        for number in range(folds):
            known = rng.permutation(np.flatnonzero(fold != number))[:rows]
            counts = [k for k in _powers_of_two(most) if k == 1 or len(known) >= ROWS_PER_VALUE * k * size]
            mixture = _best(values[known], values[fold == number], counts, number)
            held_out[fold == number] = mixture.score_samples(values[fold == number])
            self._keep(number, mixture)
        return torch.from_numpy(held_out).float()

    def _keep(self, fold: int, mixture: GaussianMixture) -> None:
        variances, directions = torch.linalg.eigh(torch.from_numpy(mixture.covariances_))  # (K, D), (K, D, D)
        whitenings = (directions / variances.sqrt()[:, None]) @ directions.mT
        constants = torch.from_numpy(mixture.weights_).log() - 0.5 * variances.log().sum(1)
        count, size = mixture.means_.shape
        self.means[fold, :count] = torch.from_numpy(mixture.means_).float()
        self.whitenings[fold, :count] = whitenings.float()
        self.constants[fold, :count] = (constants - 0.5 * size * math.log(2 * math.pi)).float()

    @property
    def counts(self) -> list[int]:
        """The components of each fold."""
        return (self.constants > _NEVER).sum(1).tolist()

    def pruned(self) -> "Mixtures":
        """The same without places that are not used."""
        folds, _, size = self.means.shape
        count = max(self.counts)
        small = Mixtures(size, count, folds)
        small.means, small.whitenings = self.means[:, :count].clone(), self.whitenings[:, :count].clone()
        small.constants = self.constants[:, :count].clone()
        return small

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """log_prob (B,), and what each column takes away, (B, D)."""
        folds, count, size = self.means.shape
        # Every component's whitening side by side: one matrix product.
        together = self.whitenings.permute(2, 0, 1, 3).reshape(size, -1)
        offsets = (self.means[:, :, None] @ self.whitenings).reshape(1, -1)
        z = (x @ together - offsets).reshape(-1, folds * count, size)
        squares = 0.5 * z * z
        of_component = (self.constants.reshape(-1) - (squares @ squares.new_ones(size, 1)).squeeze(2)).reshape(
            -1, folds, count
        )
        likely = of_component.log_softmax(2)
        log_prob = (of_component.amax(2) - likely.amax(2)) @ x.new_full((folds, 1), 1 / folds)  # logsumexp, row by row
        weights = likely.exp().reshape(-1, 1, folds * count) / folds
        return log_prob.squeeze(1), (weights @ squares).squeeze(1)


def _best(x: np.ndarray, held_out: np.ndarray, counts: list[int], seed: int) -> GaussianMixture:
    """The likeliest of a growing number of components; given up where it twice brings nothing."""
    best, best_score, worse = None, -math.inf, 0
    for count in counts:
        mixture = GaussianMixture(count, reg_covar=FLOOR, max_iter=60, tol=3e-3, random_state=seed).fit(x)
        score = mixture.score(held_out)
        if best is None or score > best_score:
            best, best_score, worse = mixture, score, 0
        else:
            worse += 1
        if worse == PATIENCE:
            break
    assert best is not None
    return best


def _powers_of_two(most: int) -> list[int]:
    return [2**i for i in range(most.bit_length()) if 2**i <= most]
