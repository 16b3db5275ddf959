"""A monotone piecewise-linear spline from a grey level in [0, 256) to a standard normal, with heights from a network.

The conditional distribution function F of a grey level is linear between knots (Müller et al. 2019, Neural Importance
Sampling, arXiv 1808.03856, section 4.2), and z = Phi^-1(F(x)). An affine coupling cannot put four fifths of its mass on
the first of 256 grey levels and spread the rest; this one can. The network gives the heights of K bins, narrow at both
ends where digits have their mass; how a bin's mass is shared among its grey levels is learned once, for all pixels.

    log p(x) = log N(z; 0, 1) + log dz/dx = log height(bin of x) + log share(level of x)      [nats per grey level]

What float32 can tell apart in z is a share of the mass on either side: of a level with less of it than 1e-6, the inverse
may be another level. So `floor` of what the heights leave open, 1 - sum of height^2, lies evenly over the grey levels.
Where the network is sure, nearly nothing: samples have no specks.
"""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.layers.spline_flow import aligned

LEVELS = 256
EDGES = (0, 1, 3, 7, 14, 24, *range(36, 240, 12), 240, 246, 250, 251, 252, 253, 254, 255, 256)
BINS = len(EDGES) - 1
MAX_LOGIT = 8.0  # no bin has less than e^-16 / K of the mass: scores are bounded
MARGIN = (
    1e-3  # decoded grey levels keep so far away from the next one, which a picture's rounding to float32 does not reach
)


class GreySpline(nn.Module):
    """Elementwise; `raw` (..., K) are the network's outputs for grey levels x (...)."""

    def __init__(self, floor: float = 0.0):
        super().__init__()
        self.floor = floor
        bin_of_level = torch.tensor([b for b, (low, high) in enumerate(pairwise(EDGES)) for _ in range(low, high)])
        inner = torch.arange(max(high - low for low, high in pairwise(EDGES)))
        first_level, width = torch.tensor(EDGES[:-1]), torch.tensor(EDGES).diff()
        self.register_buffer("bin_of_level", bin_of_level, persistent=False)
        self.register_buffer("first_level", first_level, persistent=False)
        self.register_buffer("level_in_bin", (first_level[:, None] + inner).clamp(max=LEVELS - 1), persistent=False)
        self.register_buffer("is_in_bin", inner < width[:, None], persistent=False)
        self.register_buffer("below", torch.ones(BINS, BINS).triu(1), persistent=False)
        self.register_buffer("others", 1 - torch.eye(BINS), persistent=False)
        self.register_buffer("width", width / LEVELS, persistent=False)
        self.share_logits = nn.Parameter(torch.zeros(LEVELS))
        self.fixed_log_share: Tensor | None = None

    def log_prob(self, x: Tensor, raw: Tensor) -> Tensor:
        """The density of x per grey level, in nats."""
        level = level_of(x).long()
        bin_, log_share = self.bin_of_level[level], self._log_share()[level]
        if not self.floor:
            return _pick(F.log_softmax(_bounded(raw), dim=-1), bin_) + log_share
        heights = _bounded(raw).softmax(-1)
        even = self._even(heights).squeeze(-1)
        return _log((1 - even) * _pick(heights, bin_) + even * self.width[bin_]) + log_share

    def forward(self, x: Tensor, raw: Tensor) -> Tensor:
        """Grey levels x to standard normal z."""
        level, share = level_of(x).long(), self._log_share().exp()
        bin_, heights = self.bin_of_level[level], self._heights(raw)
        start = share.cumsum(0) - share  # of each level, (256,)
        position = start[level] - start[self.first_level][bin_] + share[level] * (x - level)  # in the bin, in [0, 1)
        height = _pick(heights, bin_)
        below = _pick(heights @ self.below, bin_) + height * position
        above = _pick(heights @ self.below.T, bin_) + height * (1 - position)  # 1 - below, without its rounding
        return torch.where(below < above, -1.0, 1.0) * _normal_tail_inverse(torch.minimum(below, above))

    def inverse(self, z: Tensor, raw: Tensor) -> Tensor:
        """Standard normal z to grey levels, not rounded."""
        heights, is_low, tail = self._heights(raw), z < 0, _normal_tail(z.abs())
        below, above = heights @ self.below, heights @ self.below.T  # of the bins on either side, (..., K)
        low, mass = is_low[..., None], tail[..., None]
        beyond = torch.where(low, mass - below[..., 1:], above[..., :-1] - mass)  # not negative: z is past that bin
        bin_ = (beyond >= 0).to(z.dtype).sum(-1).long()
        covered = (tail - torch.where(is_low, _pick(below, bin_), _pick(above, bin_))) / _pick(heights, bin_)
        position = torch.where(is_low, covered, 1 - covered).clamp(0.0, 1 - 1e-6)
        share = self._log_share().exp()[self.level_in_bin] * self.is_in_bin  # (K, widest bin)
        start = (share.cumsum(1) - share)[bin_]  # (..., widest bin)
        begun = (start <= position[..., None]) & self.is_in_bin[bin_]
        inner = begun.to(z.dtype).sum(-1).long() - 1
        fraction = (position - _pick(start, inner)) / _pick(share[bin_], inner)
        return self.first_level[bin_] + inner + fraction.clamp(MARGIN, 1 - MARGIN)

    def mean(self, raw: Tensor) -> Tensor:
        """The expected grey level, a whole number k of 0 to 255 where the mass is on one."""
        share = self._log_share().exp() * torch.arange(LEVELS, device=raw.device)
        of_bin = (share[self.level_in_bin] * self.is_in_bin).sum(1, keepdim=True)  # (K, 1)
        return (self._heights(raw) @ of_bin).squeeze(-1)

    def fused(self) -> "GreySpline":
        """Itself, with the shares computed once; for export."""
        self.fixed_log_share = self._log_share().detach()
        return self

    def _heights(self, raw: Tensor) -> Tensor:
        """The mass of each bin, (..., K)."""
        heights = _bounded(raw).softmax(-1)
        if not self.floor:
            return heights
        even = self._even(heights)
        return (1 - even) * heights + even * self.width

    def _even(self, heights: Tensor) -> Tensor:
        """How much of the mass lies evenly over the grey levels, (..., 1)."""
        # Each height times all others, for 1 - sum of height^2 has no digits left where one is nearly 1.
        return self.floor * ((heights * (heights @ self.others)) @ heights.new_ones(BINS, 1))

    def _log_share(self) -> Tensor:
        """The share that each level has of its bin, in nats."""
        if self.fixed_log_share is not None:
            return self.fixed_log_share
        mass = self.share_logits.exp()
        return self.share_logits - (mass[self.level_in_bin] * self.is_in_bin).sum(1).log()[self.bin_of_level]


def level_of(x: Tensor) -> Tensor:
    """The grey level k of k + u, a whole number."""
    return x.detach().floor().clamp(0, LEVELS - 1)


def _bounded(raw: Tensor) -> Tensor:
    return MAX_LOGIT * torch.tanh(raw / MAX_LOGIT)


def _pick(values: Tensor, index: Tensor) -> Tensor:
    return values.gather(-1, index[..., None]).squeeze(-1)


def _log(x: Tensor) -> Tensor:
    """log x (B, ...) of the same bits in any batch: a processor's vector holds numbers of one row, and none is left over."""
    flat = x.reshape(x.shape[0], -1)
    return aligned(flat).log()[:, : flat.shape[1]].reshape(x.shape)


def _normal_tail_inverse(tail: Tensor) -> Tensor:
    """z >= 0 with _normal_tail(z) = tail in (0, 1/2]: Acklam's rational approximation, then one step of Newton's."""
    tail = tail.clamp(min=1e-12)
    u, q = 0.5 - tail, torch.sqrt(-2 * _log(tail))
    centre = u * _polynomial(u * u, _CENTRE) / _polynomial(u * u, _CENTRE_BELOW)
    z = torch.where(tail < 0.02425, -_polynomial(q, _TAIL) / _polynomial(q, _TAIL_BELOW), centre)
    z = z.clamp(min=0.0)
    return z + (_normal_tail(z) - tail) * math.sqrt(2 * math.pi) * torch.exp(0.5 * z * z)


def _normal_tail(z: Tensor) -> Tensor:
    """Phi(-z) of z >= 0. Far out 1 - erf has no digits left; a Chebyshev fit of erfc has (Numerical Recipes, 6.2)."""
    x = z / math.sqrt(2)
    t = 1 / (1 + 0.5 * x)
    return torch.where(z < 1, 0.5 - 0.5 * torch.erf(x), 0.5 * t * torch.exp(_polynomial(t, _ERFC) - x * x))


def _polynomial(x: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    total = torch.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        total = total * x + coefficient
    return total


_CENTRE = (
    -39.69683028665376,
    220.9460984245205,
    -275.9285104469687,
    138.3577518672690,
    -30.66479806614716,
    2.506628277459239,
)
_CENTRE_BELOW = (-54.47609879822406, 161.5858368580409, -155.6989798598866, 66.80131188771972, -13.28068155288572, 1.0)
_TAIL = (
    -0.007784894002430293,
    -0.3223964580411365,
    -2.400758277161838,
    -2.549732539343734,
    4.374664141464968,
    2.938163982698783,
)
_TAIL_BELOW = (0.007784695709041462, 0.3224671290700398, 2.445134137142996, 3.754408661907416, 1.0)
_ERFC = (
    0.17087277,
    -0.82215223,
    1.48851587,
    -1.13520398,
    0.27886807,
    -0.18628806,
    0.09678418,
    0.37409196,
    1.00002368,
    -1.26551223,
)
