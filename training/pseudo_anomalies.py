"""Images that are almost normal, made of normal ones: what a score is chosen by, where no anomaly may be looked at.

Each kind takes x (B, C, H, W) in [0, 1] on a background of 0 and a generator, and gives as many of the same shape, in 256
grey levels. Pieces swapped between images after Li et al. 2021 (CutPaste, arXiv 2104.04015); the others break one habit of
the data each: its parts' order, its outlines, its size, its ink, its grain.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from training.layers.distortions import Distortions

Kind = Callable[[Tensor, torch.Generator], Tensor]


def _halves_of_two(x: Tensor, generator: torch.Generator) -> Tensor:
    """One side of a cut from one image, the other side from another."""
    side = x.shape[3]
    cut = torch.randint(side * 3 // 8, side * 5 // 8 + 1, (len(x), 1, 1, 1), generator=generator)
    of_other = torch.where(_upright(x, generator), torch.arange(side) < cut, torch.arange(side)[:, None] < cut)
    return torch.where(of_other, _others(x, generator), x)


def _pasted(x: Tensor, generator: torch.Generator) -> Tensor:
    """A square of a third of the side, from another image and another place of it."""
    side = x.shape[3] // 3
    top, left = torch.randint(side // 2, x.shape[3] - side * 3 // 2, (2, len(x)), generator=generator)
    given = torch.roll(_others(x, generator), (side // 2, -side // 2), (2, 3))
    rows, columns = (
        torch.arange(x.shape[2])[:, None] - top[:, None, None],
        torch.arange(x.shape[3]) - left[:, None, None],
    )
    inside = (rows >= 0) & (rows < side) & (columns >= 0) & (columns < side)
    return torch.where(inside[:, None], given, x)


def _blend(x: Tensor, generator: torch.Generator) -> Tensor:
    return (x + _others(x, generator)) / 2


def _overlay(x: Tensor, generator: torch.Generator) -> Tensor:
    return torch.maximum(x, _others(x, generator))


def _bent(x: Tensor, generator: torch.Generator) -> Tensor:
    return Distortions(bend=0.09)(x, generator)


def _stretched(x: Tensor, generator: torch.Generator) -> Tensor:
    """Longer along one side by two fifths, shorter along the other."""
    short, long = (round(side * share) for side, share in ((x.shape[2], 1.4), (x.shape[3], 0.7)))
    tall = F.interpolate(x, (short, long), mode="bilinear", antialias=True)
    margin, spare = short - x.shape[2], x.shape[3] - long
    tall = F.pad(tall[:, :, margin // 2 : margin // 2 + x.shape[2]], (spare // 2, spare - spare // 2))
    wide = F.interpolate(x, (long, short), mode="bilinear", antialias=True)
    wide = F.pad(wide[..., margin // 2 : margin // 2 + x.shape[3]], (0, 0, spare // 2, spare - spare // 2))
    return torch.where(_upright(x, generator), tall, wide)


def _mirrored(x: Tensor, generator: torch.Generator) -> Tensor:
    return torch.where(_upright(x, generator), x.flip(3), x.flip(2))


def _puzzle(x: Tensor, generator: torch.Generator) -> Tensor:
    """Each half in the other one's place."""
    return torch.where(_upright(x, generator), torch.roll(x, x.shape[3] // 2, 3), torch.roll(x, x.shape[2] // 2, 2))


def _hidden(x: Tensor, generator: torch.Generator) -> Tensor:
    """A third of the width, or of the height, left blank about the middle."""
    side = x.shape[3] // 3
    first = torch.randint(side // 2, side * 3 // 2 + 1, (len(x), 1, 1, 1), generator=generator)
    along = torch.arange(x.shape[3]) - first
    across = torch.arange(x.shape[2])[:, None] - first
    blank = torch.where(_upright(x, generator), (along >= 0) & (along < side), (across >= 0) & (across < side))
    return x.masked_fill(blank, 0.0)


def _bold(x: Tensor, generator: torch.Generator) -> Tensor:
    return F.max_pool2d(x, 5, 1, 2)


def _thin(x: Tensor, generator: torch.Generator) -> Tensor:
    return -F.max_pool2d(-x, 3, 1, 1)


def _two_levels(x: Tensor, generator: torch.Generator) -> Tensor:
    return (x > 0.5).to(x.dtype)


def _outline(x: Tensor, generator: torch.Generator) -> Tensor:
    return F.max_pool2d(x, 3, 1, 1) + F.max_pool2d(-x, 3, 1, 1)


def _coarse(x: Tensor, generator: torch.Generator) -> Tensor:
    """Pixels of twice the side."""
    return F.interpolate(F.avg_pool2d(x, 2), x.shape[2:])


def _woven(x: Tensor, generator: torch.Generator) -> Tensor:
    """Every second pixel of the ink darker, like a chessboard."""
    dark = (torch.arange(x.shape[2])[:, None] + torch.arange(x.shape[3])) % 2
    return x * (1 - 0.4 * dark)


def _scattered(x: Tensor, generator: torch.Generator) -> Tensor:
    """The pieces of a grid of 7 × 7, in another order: the same patches in no shape."""
    side = x.shape[3] // 7
    pieces = x.unfold(2, side, side).unfold(3, side, side).flatten(2, 3)  # (B, C, 49, side, side)
    order = torch.rand(len(x), pieces.shape[2], generator=generator).argsort(1)
    pieces = pieces[torch.arange(len(x))[:, None], :, order].permute(0, 2, 3, 4, 1)  # (B, C, side, side, 49)
    return F.fold(pieces.flatten(1, 3), x.shape[2:], side, stride=side)


def _lit(x: Tensor, generator: torch.Generator) -> Tensor:
    """On a ground that grows lighter to one side, up to a quarter of white."""
    ramp = torch.linspace(0, 0.25, x.shape[3])
    return torch.maximum(x, torch.where(_upright(x, generator), ramp, ramp[:, None]))


PSEUDO_ANOMALIES: dict[str, Kind] = {
    "halves_of_two": _halves_of_two,
    "pasted": _pasted,
    "blend": _blend,
    "overlay": _overlay,
    "bent": _bent,
    "stretched": _stretched,
    "mirrored": _mirrored,
    "puzzle": _puzzle,
    "hidden": _hidden,
    "bold": _bold,
    "thin": _thin,
    "two_levels": _two_levels,
    "outline": _outline,
    "coarse": _coarse,
    "woven": _woven,
    "scattered": _scattered,
    "lit": _lit,
}


def pseudo_anomalies(x: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """Every kind of them, made of the same images."""
    return {name: (kind(x, generator).clamp(0, 1) * 255).round() / 255 for name, kind in PSEUDO_ANOMALIES.items()}


def _upright(x: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(len(x), 1, 1, 1, generator=generator) < 0.5


def _others(x: Tensor, generator: torch.Generator) -> Tensor:
    """For each image another one of them, in an order that repeats none."""
    order = torch.randperm(len(x), generator=generator)
    others = torch.empty_like(order)
    others[order] = order.roll(1)
    return x[others]
