"""A Gaussian whose covariance is shrunk towards a multiple of the identity: density of vectors, and each column's part.

With S the covariance of n rows, m its mean variance and the shrinkage r that is expected to lie nearest to the true one
(Ledoit & Wolf 2004, A well-conditioned estimator for large-dimensional covariance matrices, section 3.3),

    C = (1 - r) S + r m I,      log p(x) = -|z|^2 / 2 - log |det C| / 2 - D/2 log 2 pi,      z = (x - mean) W   [nats]

W is the whitening whose z are the nearest to the standardised columns (ZCA-cor: Kessy, Lewin & Strimmer 2018, eq. 8), so
that z_j^2 / 2 is what column j, beyond what the others say of it, takes away from log p.
"""

import math

import torch
from torch import Tensor, nn


class ShrunkGaussian(nn.Module):
    """x (B, D) -> log_prob (B,). The standard normal until `fit`."""

    mean: Tensor
    whitening: Tensor
    constant: Tensor

    def __init__(self, size: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("whitening", torch.eye(size))
        self.register_buffer("constant", torch.tensor(-0.5 * size * math.log(2 * math.pi)))

    def fit(self, x: Tensor, shrinkage: float | None = None) -> float:
        """Of rows x (n, D), in float64; returns the shrinkage r in [0, 1], Ledoit and Wolf's where none is given."""
        x = x.double()
        mean, size = x.mean(0), x.shape[1]
        centred = x - mean
        covariance = centred.T @ centred / len(x)
        if shrinkage is None:
            shrinkage = ledoit_wolf(centred, covariance)
        variance = covariance.diagonal().mean().clamp(min=torch.finfo(torch.float32).tiny)
        covariance = (1 - shrinkage) * covariance + shrinkage * variance * torch.eye(size)
        covariance = covariance.to(x.dtype)
        deviation = covariance.diagonal().clamp(min=torch.finfo(torch.float32).tiny).sqrt()
        eigenvalues, directions = torch.linalg.eigh(covariance / deviation[:, None] / deviation)
        eigenvalues = eigenvalues.clamp(min=size * torch.finfo(x.dtype).eps * eigenvalues[-1])
        self.mean.copy_(mean)
        self.whitening.copy_((directions / eigenvalues.sqrt()) @ directions.T / deviation[:, None])
        log_determinant = eigenvalues.log().sum() + 2 * deviation.log().sum()
        self.constant.copy_(-0.5 * (log_determinant + size * math.log(2 * math.pi)))
        return shrinkage

    def parts(self, x: Tensor) -> Tensor:
        """What each column takes away from the log-density's maximum, (B, D) in nats, none of them negative."""
        z = (x - self.mean) @ self.whitening  # (B, D)
        return 0.5 * z * z

    def forward(self, x: Tensor) -> Tensor:
        parts = self.parts(x)
        return self.constant - (parts @ parts.new_ones(parts.shape[1], 1)).squeeze(1)


def ledoit_wolf(centred: Tensor, covariance: Tensor) -> float:
    """The shrinkage r of rows (n, D) around their mean, with covariance S (D, D): min(b^2, d^2) / d^2, where d^2 is S's
    squared distance from m I, and b^2 the expected one from the true covariance (Lemma 3.2 to 3.4)."""
    count, size = centred.shape
    distance = (covariance - covariance.diagonal().mean() * torch.eye(size).to(covariance)).square().sum()
    error = (centred.square().sum(1).square().sum() / count - covariance.square().sum()) / count
    if distance <= 0:
        return 0.0
    return float((error / distance).clamp(0, 1))
