"""Distance to the nearest known vectors along the leading directions of the data, each in its own unit.

With the covariance C = (1 - r) S + r m I of rows (shrunk: `shrunk_gaussian.py`), and its K leading eigenvalues L and
directions V, z = L^(-1/2) V^T (x - mean). z of many rows is thinned out to P prototypes; a point's distance is the mean of
those to its k nearest. |z - z_p|^2 = |V (z - z_p)|^2, whose D values are each column's part of it.
"""

import torch
from torch import Tensor, nn

from training.layers.nearest import Nearest, prototypes


class WhitenedNearest(nn.Module):
    """x (B, D) -> minus the distance, (B,), and each column's part of the mean squared distance, (B, D)."""

    mean: Tensor
    directions: Tensor
    scale: Tensor

    def __init__(self, size: int, kept: int, points: int, k: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("directions", torch.eye(size, kept))
        self.register_buffer("scale", torch.ones(kept))
        self.nearest = Nearest(kept, points, k)

    def fit(self, x: Tensor, shrinkage: float, generator: torch.Generator) -> None:
        """To rows x (n, D), of which there must be as many as points."""
        points, kept = self.nearest.points.shape
        if len(x) < points:
            raise ValueError(f"points: expected at most as many as there are rows, {len(x)}, found {points}")
        centred = (x - x.mean(0)).double()
        covariance = centred.T @ centred / len(x)
        identity = torch.eye(len(covariance), dtype=torch.float64)
        covariance = (1 - shrinkage) * covariance + shrinkage * covariance.diagonal().mean() * identity
        eigenvalues, directions = torch.linalg.eigh(covariance)
        self.mean.copy_(x.mean(0))
        self.directions.copy_(directions[:, -kept:])
        self.scale.copy_(eigenvalues[-kept:].rsqrt())
        self.nearest.fit(prototypes(self.whitened(x), points, generator))

    def whitened(self, x: Tensor) -> Tensor:
        """z, (B, K)."""
        return ((x - self.mean) @ self.directions) * self.scale

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = self.whitened(x)
        squares, numbers = self.nearest.squares(z)
        away = (z - self.nearest.centre)[:, None] - self.nearest.points[numbers]  # (B, k, K)
        parts = away @ self.directions.T
        return -self.nearest.mean_distance(squares), (parts * parts).mean(1)
