"""Codes of an autoencoder, taken for Gaussian after training: code = m + L z, z ~ N(0, I).

Ex-post density estimation: Ghosh et al. 2020, From Variational to Deterministic Autoencoders, arXiv 1903.12436, section 4.
"""

import torch
from torch import Tensor, nn

RIDGE = 1e-6  # of the mean variance, so that the covariance has an inverse where a code is silent


class GaussianCodes(nn.Module):
    """m (Z,) and L (Z, Z), lower triangular; zero and the identity until `fit`."""

    mean: Tensor
    scale: Tensor
    whitening: Tensor

    def __init__(self, size: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("scale", torch.eye(size))
        self.register_buffer("whitening", torch.eye(size))

    def fit(self, codes: Tensor) -> None:
        """Mean and covariance L L^T of codes (N, Z), worked out in float64."""
        size = codes.shape[1]
        covariance = codes.double().T.cov().reshape(size, size)
        covariance += RIDGE * covariance.diagonal().mean() * torch.eye(size)
        scale = torch.linalg.cholesky(covariance)
        self.mean.copy_(codes.double().mean(0))
        self.scale.copy_(scale)
        self.whitening.copy_(torch.linalg.inv(scale))

    def whiten(self, code: Tensor) -> Tensor:
        """z = L^-1 (code - m), (B, Z)."""
        return (code - self.mean) @ self.whitening.T

    def colour(self, z: Tensor) -> Tensor:
        """m + L z, (B, Z)."""
        return self.mean + z @ self.scale.T
