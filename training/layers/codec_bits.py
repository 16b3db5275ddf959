"""How many bits a lossless codec needs for an image: LOCO-I's prediction and Golomb–Rice codes, as a graph.

Each grey level is predicted from its neighbours W, N and NW by the median of W, N and W + N - NW (Weinberger, Seroussi &
Sapiro 2000, The LOCO-I lossless image compression algorithm, eq. 1; outside of the image all are 0). The error, modulo 256
and folded to u = 0, -1, 1, -2 … -> 0, 1, 2, 3 …, costs floor(u / 2^k) + 1 + k bits. On flat ground, where W, N and NW are
equal, one bit more says whether there is an error at all, and without one it is the only bit. Each row of pixels has its
own k of 0 to 7, or says that all of its errors are 0: 4 bits tell which.

As a measure of complexity it corrects a likelihood: Serrà et al. 2020, Input complexity and out-of-distribution detection
with likelihood-based generative models, arXiv 1909.11480.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PARAMETERS = 8
HEADER_BITS = 4


class CodecBits(nn.Module):
    """Grey levels (B, C, H, W), whole numbers of 0 to 255 -> bits (B,), whole numbers."""

    def forward(self, levels: Tensor) -> Tensor:
        rows = self.row_bits(levels).flatten(1)  # (B, C H)
        return (rows @ rows.new_ones(rows.shape[1], 1)).squeeze(1)

    def row_bits(self, levels: Tensor) -> Tensor:
        """Bits of each row of pixels, its header included: (B, C, H)."""
        predicted, flat = self.predicted(levels)
        errors = levels - predicted  # -255 … 255
        errors = errors - 256 * (errors > 127).to(levels.dtype) + 256 * (errors < -128).to(levels.dtype)
        folded = torch.where(errors < 0, -2 * errors - 1, 2 * errors)  # (B, C, H, W), 0 … 255
        written = 1 - flat * (folded == 0).to(levels.dtype)  # what has a Golomb–Rice code
        ones = levels.new_ones(levels.shape[3], 1)
        costs = [
            (flat + written * (1 + k) + (folded / 2**k).floor()) @ ones for k in range(PARAMETERS)
        ]  # (B, C, H, 1) each
        cheapest = torch.cat(costs, dim=3).amin(3)
        return HEADER_BITS + cheapest * (folded.amax(3) > 0).to(levels.dtype)

    def predicted(self, levels: Tensor) -> tuple[Tensor, Tensor]:
        """The median prediction of each level from those above and to the left, and 1 where they are equal, else 0."""
        padded = F.pad(levels, (1, 0, 1, 0))
        west, north, corner = padded[..., 1:, :-1], padded[..., :-1, 1:], padded[..., :-1, :-1]
        least, most = torch.minimum(west, north), torch.maximum(west, north)
        flat = ((least == most) & (west == corner)).to(levels.dtype)
        return torch.minimum(torch.maximum(west + north - corner, least), most), flat
