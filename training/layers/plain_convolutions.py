"""A plain convolutional body for small images: convolutions, batch normalisation, ReLU, three halvings, one matrix."""

from torch import Tensor, nn


def _layer(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class PlainConvolutions(nn.Module):
    """x (B, C, H, W) in [0, 1] -> features (B, D), not activated.

    Raises ValueError where the images are no fixed size, or smaller than 8 × 8.
    """

    def __init__(self, shape: tuple[int | None, ...], widths: tuple[int, int, int], features: int):
        super().__init__()
        self.shape = tuple(side or 0 for side in shape)
        if len(self.shape) != 3 or min(self.shape[1:]) < 8:
            raise ValueError(f"data.shape: expected (C, H, W) with sides of 8 or more, found {shape}")
        channels, height, width = self.shape
        fine, middle, coarse = widths
        self.layers = nn.Sequential(
            *(_layer(channels, fine), nn.MaxPool2d(2)),  # (B, W0, H/2, W/2)
            *(_layer(fine, middle), _layer(middle, middle), nn.MaxPool2d(2)),  # (B, W1, H/4, W/4)
            *(_layer(middle, coarse), nn.MaxPool2d(2), nn.Flatten()),  # (B, W2 * H/8 * W/8)
            nn.Linear(coarse * (height // 8) * (width // 8), features),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(2 * x - 1)
