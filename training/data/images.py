"""Sets of images: MNIST and Omniglot from parquet files, photographs from folders, stacked MNIST made of MNIST."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.data.source import DataError, keyed
from training.family import Batch

HUB = {"mnist": "ylecun/mnist"}
DIGITS = tuple(str(digit) for digit in range(10))


@dataclass(frozen=True)
class Images:
    """Images as uint8 (N, C, H, W) and labels int64 (N,); batches hold `x` in [0, 1] and `label`."""

    pixels: torch.Tensor
    labels: torch.Tensor
    crop: int | None = None
    flips: bool = False

    def __len__(self) -> int:
        return len(self.pixels)

    def at(self, indices: torch.Tensor, generator: torch.Generator | None = None) -> Batch:
        x = self.pixels[indices]  # (B, C, H, W)
        if self.crop is not None:
            x = torch.stack([self._cropped(image, generator) for image in x])
        if self.flips and generator is not None:
            x = torch.stack([_turned(image, int(torch.randint(8, (), generator=generator))) for image in x])
        return {"x": x.float() / 255, "label": self.labels[indices]}

    def of(self, classes: tuple[int, ...]) -> "Images":
        """Those with one of these labels; raises DataError where there are none."""
        kept = torch.isin(self.labels, torch.tensor(classes))
        if not kept.any():
            known = ", ".join(str(label) for label in self.labels.unique().tolist())
            raise DataError(f"data.classes: found no image of {list(classes)}; there are {known}")
        return replace(self, pixels=self.pixels[kept], labels=self.labels[kept])

    def _cropped(self, image: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        assert self.crop is not None
        height, width = (side - self.crop for side in image.shape[1:])
        if generator is None:
            top, left = height // 2, width // 2
        else:
            top = int(torch.randint(height + 1, (), generator=generator))
            left = int(torch.randint(width + 1, (), generator=generator))
        return image[:, top : top + self.crop, left : left + self.crop]


def _turned(image: torch.Tensor, symmetry: int) -> torch.Tensor:
    """One of the square's eight symmetries."""
    turned = torch.rot90(image, symmetry % 4, dims=(1, 2))
    return turned.flip(2) if symmetry >= 4 else turned


@dataclass(frozen=True)
class Stacked:
    """Stacked MNIST (Metz et al. 2017, arXiv:1611.02163): three digits in three channels, 1,000 kinds, no labels.

    pixels (N, 1, H, W) -> `x` (B, 3, H, W): the item's digit, and two that the generator draws, or fixed ones without.
    """

    pixels: torch.Tensor

    def __len__(self) -> int:
        return len(self.pixels)

    def at(self, indices: torch.Tensor, generator: torch.Generator | None = None) -> Batch:
        if generator is None:
            others = torch.stack([(indices * 7 + 1) % len(self), (indices * 13 + 5) % len(self)])
        else:
            others = torch.randint(len(self), (2, len(indices)), generator=generator)
        x = torch.cat([self.pixels[i] for i in (indices, *others)], dim=1)  # (B, 3, H, W)
        return {"x": x.float() / 255, "label": torch.zeros_like(indices)}


def images(name: str, split: str, root: Path | None) -> tuple[torch.Tensor, torch.Tensor]:
    """All images of a split as uint8 (N, 1, H, W), with labels int64 (N,) that are 0 where there are none."""
    parts = [(_grey(row["image"]), row.get("label", 0)) for row in _rows(name, split, root)]
    pixels = torch.from_numpy(np.stack([p for p, _ in parts]))[:, None]
    return pixels, torch.tensor([label for _, label in parts])


def image_list(name: str, root: Path | None) -> list[np.ndarray]:
    """The images of a folder, uint8 (H, W) of any sizes, in the order of their names."""
    return [_grey(row["image"]) for row in _rows(name, "train", root)]


def _rows(name: str, split: str, root: Path | None) -> Any:
    from datasets import load_dataset  # slow to import, and needed by no test

    folder = root / name if root else None
    if folder is not None and not folder.is_dir():
        raise DataError(f"data root: expected a folder {name!r} in {root}, found none")
    if folder is not None and any(folder.glob("*.png")):
        files = sorted(str(path) for path in folder.glob("*.png"))
        return load_dataset("imagefolder", data_files={split: files}, split=split)
    if folder is None and name not in HUB:
        raise DataError(f"{name}: not on the hub; give --data-root, or AMOSTRA_DATA, with a folder of that name")
    return load_dataset(str(folder) if folder else HUB[name], split=split)


def _grey(image: Any) -> np.ndarray:
    return np.asarray(image.convert("L"), dtype=np.uint8)


def synthetic_images(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Grey 28×28 images of a bright square each, whose place tells the class; for tests without data."""
    generator = keyed(seed)
    labels = torch.arange(count) % 10
    pixels = torch.randint(0, 40, (count, 1, 28, 28), generator=generator, dtype=torch.uint8)
    for image, label in zip(pixels, labels.tolist(), strict=True):
        top, left = 2 + 9 * (label // 4), 1 + 6 * (label % 4)
        image[:, top : top + 7, left : left + 7] += 200
    return pixels, labels
