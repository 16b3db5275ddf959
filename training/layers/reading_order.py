"""An image as a sequence: where each pixel stands, and which pixels around it have been read before it.

Position p predicts pixel p = (channel, row, column) of D = C H W, channel by channel, in reading order; its input is the
start token for p = 0, and pixel p - 1 for the others. A plane (B, D) holds the inputs' grey levels, the start as 0: pixel
j stands at j + 1.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

NEAR = 4  # left, above left, above, above right


def coordinates(shape: tuple[int, int, int]) -> Tensor:
    """(D, 3): channel, row and column of each pixel."""
    return torch.cartesian_prod(*(torch.arange(side) for side in shape))


def neighbours(shape: tuple[int, int, int], reach: int) -> Tensor:
    """(D, K): where in the plane the pixels stand that have been read before, at most `reach` rows and columns away.

    Beside the half window of its own channel, a pixel sees the same window of the channel before it, whole. What lies
    outside of the image stands at the start, which is black. The closest come first; of its own channel, the first NEAR
    are those that touch the pixel, and the left one is the first.
    """
    rows, columns = shape[1:]
    near = [(0, 0, -1), (0, -1, -1), (0, -1, 0), (0, -1, 1)]
    own = [
        (0, row, column) for row in range(-reach, 1) for column in range(-reach, reach + 1) if (row, column) < (0, 0)
    ]
    before = [(-1, row, column) for row in range(-reach, reach + 1) for column in range(-reach, reach + 1)]
    own.sort(key=lambda offset: offset[1] ** 2 + offset[2] ** 2)
    offsets = [*near, *(o for o in own if o not in near), *(before if shape[0] > 1 else [])]
    at = coordinates(shape)[:, None] + torch.tensor(offsets)  # (D, K, 3)
    inside = ((at >= 0) & (at < torch.tensor(shape))).all(-1)
    place = (at[..., 0] * rows + at[..., 1]) * columns + at[..., 2] + 1
    return torch.where(inside, place, 0)


def axial_tables(shape: tuple[int, int, int], size: int) -> tuple[Tensor, Tensor]:
    """Rotary cosines and sines (D, size / 2): some pairs turn with the row, others with the column, the last one not.

    Wavelengths go from 6 to some 600 pixels.
    """
    pairs = size // 2 - 1
    of_rows = (pairs + 1) // 2
    _, row, column = coordinates(shape).float().unbind(-1)

    def angles(place: Tensor, count: int) -> Tensor:
        return place[:, None] * 100.0 ** (-torch.arange(count) / max(1, count))

    turned = torch.cat([angles(row, of_rows), angles(column, pairs - of_rows)], dim=1)
    turned = F.pad(turned, (0, 1))
    return turned.cos(), turned.sin()


def hats(levels: int, count: int) -> Tensor:
    """Linear interpolation's basis, (levels, count): sums of it are the functions that are linear between `count` knots."""
    place = torch.linspace(0, count - 1, levels)
    return (1 - (place[:, None] - torch.arange(count)).abs()).clamp(min=0)
