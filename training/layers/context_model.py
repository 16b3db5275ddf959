"""The probability of an image's grey levels, each given six neighbours that stand before it: counted, not trained.

The neighbours W, N, NW, NE are told apart in four classes (0, dark, bright, 255), WW and NN in three (0, between, 255): 2,304
contexts, as in lossless codecs (Weinberger, Rissanen & Arps 1996, Applications of universal context modeling to lossless
compression of gray-scale images). Of each, the 256 levels are counted in bins: 0 and 255 alone, those between by `WIDTH`.
A rare context leans on a coarser one, of W and N alone, and that on all pixels:

    p(bin | context) = (count(bin, context) + STRENGTH p(bin | coarser)) / (count(context) + STRENGTH)
"""

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH = 8
BINS = 2 + -(-254 // WIDTH)
STRENGTH = 4.0
CONTEXTS = 4**4 * 3**2


class ContextModel(nn.Module):
    """Grey levels (B, C, H, W), whole numbers of 0 to 255 -> log-probability of each, and how much less it is than in such a
    context on average, (B, C, H, W) in nats.

    Uniform until `fit`. The logarithms lie in a table; the graph only looks them up.
    """

    table: Tensor
    entropy: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.full((CONTEXTS * BINS,), -math.log(256)))
        self.register_buffer("entropy", torch.full((CONTEXTS,), math.log(256)))

    def fit(self, batches: Iterable[Tensor]) -> None:
        """Count in batches of images."""
        counts = torch.zeros(CONTEXTS * BINS, dtype=torch.float64)
        for levels in batches:
            counts += torch.bincount(self.entries(levels).flatten(), minlength=len(counts))
        counts = counts.view(4, 4, -1, BINS)  # W, N, the others, levels
        whole = (counts.sum((0, 1, 2)) + 1) / (counts.sum() + BINS)
        coarse = counts.sum(2, keepdim=True)
        coarse = (coarse + STRENGTH * whole) / (coarse.sum(3, keepdim=True) + STRENGTH)
        shares = (counts + STRENGTH * coarse) / (counts.sum(3, keepdim=True) + STRENGTH)
        sizes = torch.tensor([1.0, *[min(WIDTH, 254 - first) for first in range(0, 254, WIDTH)], 1.0])
        log_probs = (shares / sizes).log()
        self.table.copy_(log_probs.flatten())
        self.entropy.copy_(-(shares * log_probs).sum(3).flatten())

    def entries(self, levels: Tensor) -> Tensor:
        """Where in the table each pixel's level in its context stands, (B, C, H, W) int64."""
        height, width = levels.shape[2:]
        four = (levels > 0).to(levels.dtype) + (levels > 127).to(levels.dtype) + (levels > 254).to(levels.dtype)
        three = (levels > 0).to(levels.dtype) + (levels > 254).to(levels.dtype)
        four, three = F.pad(four, (1, 1, 1, 0)), F.pad(three, (2, 0, 2, 0))
        context = torch.zeros_like(levels)
        for down, right in ((1, 0), (0, 1), (0, 0), (0, 2)):  # W, N, NW, NE
            context = 4 * context + four[..., down : down + height, right : right + width]
        for down, right in ((2, 0), (0, 2)):  # WW, NN
            context = 3 * context + three[..., down : down + height, right : right + width]
        bins = ((levels + (WIDTH - 1)) / WIDTH).floor() + (levels > 254).to(levels.dtype)
        return (context * BINS + bins.clamp(max=BINS - 1)).long()

    def forward(self, levels: Tensor) -> tuple[Tensor, Tensor]:
        entries = self.entries(levels)
        log_prob = self.table[entries]
        return log_prob, -log_prob - self.entropy[entries // BINS]
