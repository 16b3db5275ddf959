"""The importance-weighted bound of a latent-variable model's density (Burda et al. 2016, arXiv 1509.00519, eq. 8).

    log p(x) >= E log 1/K sum_k p(x|z_k) p(z_k) / q(z_k|x),   z_k = mean + sigma eps_k,   eps_k ~ N(0, I)

K samples of z in R^Z for each of B rows.
"""

import math

import torch
from torch import Tensor


def log_weights(log_likelihood: Tensor, z: Tensor, eps: Tensor, log_variance: Tensor) -> Tensor:
    """log p(x|z) + log p(z) - log q(z|x) of z = mean + sigma eps: (B, K) and (B, K, Z) -> (B, K).

    The normal densities' constants cancel.
    """
    return log_likelihood + 0.5 * (eps.square() - z.square() + log_variance).sum(-1)


def importance_weighted_bound(log_weight: Tensor) -> Tensor:
    """log 1/K sum_k w_k: (B, K) -> (B,); one sample gives the ELBO's estimate, and more a tighter bound of log p(x)."""
    return log_weight.logsumexp(1) - math.log(log_weight.shape[1])


def fixed_normals(number: int, size: int) -> Tensor:
    """Scrambled Sobol points, taken to standard normals: (K, Z), always the same ones, each normal by itself."""
    uniform = torch.quasirandom.SobolEngine(size, scramble=True, seed=0).draw(number, dtype=torch.float64)
    return torch.special.ndtri(uniform.clamp(1e-9, 1 - 1e-9)).float()
