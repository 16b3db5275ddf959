"""What principal components leave of an image: (x - mean) without its part along the first K directions (Pearson 1901)."""

import torch
from torch import Tensor, nn


class PrincipalResidual(nn.Module):
    """x (B, D) -> its residual (B, D). Until `fit`, x itself."""

    mean: Tensor
    directions: Tensor

    def __init__(self, size: int, components: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("directions", torch.zeros(size, components))

    def fit(self, x: Tensor) -> None:
        """Of rows (n, D)."""
        x = x.double()
        self.mean.copy_(x.mean(0))
        _, directions = torch.linalg.eigh((x - x.mean(0)).T @ (x - x.mean(0)))
        self.directions.copy_(directions[:, -self.directions.shape[1] :])

    def forward(self, x: Tensor) -> Tensor:
        x = x - self.mean
        return x - (x @ self.directions) @ self.directions.T
