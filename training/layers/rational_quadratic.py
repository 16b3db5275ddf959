"""Monotone rational-quadratic splines (Durkan et al. 2019, Neural Spline Flows, arXiv 1906.04032, section 3.1).

Between K + 1 knots (x_k, y_k) with slopes d_k the spline is a ratio of two quadratics, whose inverse and derivative are
closed forms; beyond [-bound, bound] it is the identity. Everything is elementwise: x (...), knots (..., K + 1).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

MIN_SHARE = 1e-3  # of the interval, for a bin's width and height
MAX_LOG_SLOPE = 5.0
MAX_LOGIT = 8.0


class Knots(NamedTuple):
    """x and y ascend from -bound to bound; slopes are positive, and 1 at both ends."""

    x: Tensor
    y: Tensor
    slope: Tensor


def outputs(bins: int) -> int:
    """How many numbers a network has to give for one spline: K widths, K heights, K - 1 slopes."""
    return 3 * bins - 1


def knots(raw: Tensor, bins: int, bound: float) -> Knots:
    """(..., 3K - 1) unbounded -> knots; zeros give the identity."""
    widths, heights, slopes = raw.split([bins, bins, bins - 1], dim=-1)
    slope = torch.exp(MAX_LOG_SLOPE * torch.tanh(slopes / MAX_LOG_SLOPE))
    return Knots(_ascending(widths, bound), _ascending(heights, bound), F.pad(slope, (1, 1), value=1.0))


def _ascending(logits: Tensor, bound: float) -> Tensor:
    shares = (MAX_LOGIT * torch.tanh(logits / MAX_LOGIT)).softmax(-1)
    shares = MIN_SHARE + (1 - MIN_SHARE * logits.shape[-1]) * shares
    inner = 2 * bound * shares[..., :-1].cumsum(-1) - bound
    return F.pad(F.pad(inner, (1, 0), value=-bound), (0, 1), value=bound)


def forward(x: Tensor, at: Knots) -> tuple[Tensor, Tensor]:
    """y and the slope dy/dx > 0 (eq. 4 and 5)."""
    bin_ = _bin(x, at.x)
    x_k, width, y_k, height, d, d_next = _at(bin_, at)
    xi = ((x - x_k) / width).clamp(0, 1)
    s, mixed = height / width, xi * (1 - xi)
    bottom = s + (d_next + d - 2 * s) * mixed
    y = y_k + height * (s * xi * xi + d * mixed) / bottom
    slope = s * s * (d_next * xi * xi + 2 * s * mixed + d * (1 - xi) * (1 - xi)) / (bottom * bottom)
    inside = (x > at.x[..., 0]) & (x < at.x[..., -1])
    return torch.where(inside, y, x), torch.where(inside, slope, 1.0)


def inverse(y: Tensor, at: Knots) -> Tensor:
    """x with forward(x) = y: the root of a quadratic that lies in the bin (eq. 6 to 8)."""
    bin_ = _bin(y, at.y)
    x_k, width, y_k, height, d, d_next = _at(bin_, at)
    s, rise = height / width, (y - y_k).clamp(min=0)
    bend = rise * (d_next + d - 2 * s)
    a, b, c = height * (s - d) + bend, height * d - bend, -s * rise
    xi = 2 * c / (-b - (b * b - 4 * a * c).clamp(min=0).sqrt())
    inside = (y > at.y[..., 0]) & (y < at.y[..., -1])
    return torch.where(inside, x_k + width * xi.clamp(0, 1), y)


def _bin(value: Tensor, edges: Tensor) -> Tensor:
    return (value[..., None] >= edges[..., 1:-1]).to(value.dtype).sum(-1).long()


def _at(bin_: Tensor, at: Knots) -> tuple[Tensor, ...]:
    """x_k, width, y_k, height, d_k and d_(k+1) of the bin."""
    x_k, x_next, y_k, y_next, d, d_next = (
        values.gather(-1, (bin_ + step)[..., None]).squeeze(-1) for values in at for step in (0, 1)
    )
    return x_k, x_next - x_k, y_k, y_next - y_k, d, d_next
