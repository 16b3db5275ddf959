"""Datasets, read once into memory by Hugging Face `datasets`, and batches drawn from them by seed and step.

A data root (`--data-root`, or AMOSTRA_DATA) is a folder with the sub-folders mnist, omniglot, tinyshakespeare, bsd400
and set12. Without one, the hub's or the author's own address is used where there is one. Of each training set the last
part is held out, never trained on: half of it chooses the checkpoint, and scores are calibrated on the other half, or of
images on all of it. Test sets are for `evaluate` alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from tokenizers import Tokenizer

from training.family import Batch, DataSummary
from training.recipe import DataConfig
from training.tokenizer import character_tokenizer

HUB = {"mnist": "ylecun/mnist"}
TEXT_URL = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
TEST_SHARE = 0.1  # of tiny Shakespeare, by convention
HELD_OUT_SHARE = 0.05  # of a training text; image sets say their own number
DIGITS = tuple(str(digit) for digit in range(10))


class DataError(ValueError):
    """Data that is not where it was looked for; the message says where and what to do."""


class Source(Protocol):
    """A training set, or a held-out part of one."""

    def __len__(self) -> int: ...

    def at(self, indices: torch.Tensor, generator: torch.Generator | None = None) -> Batch:
        """The items of these numbers, varied by the generator where there is one."""
        ...


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
class Windows:
    """Windows of `size` tokens, every `stride` tokens, from the one at `start` on."""

    tokens: torch.Tensor
    size: int
    stride: int = 1
    start: int = 0

    def __len__(self) -> int:
        return (len(self.tokens) - self.start - self.size) // self.stride + 1

    def at(self, indices: torch.Tensor, generator: torch.Generator | None = None) -> Batch:
        return {
            "input_ids": self.tokens[self.start + indices[:, None] * self.stride + torch.arange(self.size)]
        }  # (B, size)


@dataclass(frozen=True)
class Dataset:
    """A training set with its held-out parts."""

    name: str
    summary: DataSummary
    train: Source
    validation: Source
    calibration: Source
    tokenizer: Tokenizer | None = None


@dataclass
class Draws:
    """Training batches: items drawn with replacement, by a generator keyed by (seed, rank, step) alone.

    Resumes at any step, without reading what came before.
    """

    source: Source
    batch_size: int
    seed: int
    steps: int
    rank: int = 0
    step: int = 0

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Batch]:
        while self.step < self.steps:
            generator = keyed(self.seed, self.rank, self.step)
            indices = torch.randint(len(self.source), (self.batch_size,), generator=generator)
            self.step += 1
            yield self.source.at(indices, generator)

    def state_dict(self) -> dict[str, int]:
        return {"step": self.step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.step = state["step"]


def keyed(*key: int, device: str | torch.device = "cpu") -> torch.Generator:
    """A generator that depends on these non-negative numbers alone."""
    seed = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)
    return torch.Generator(device).manual_seed(seed)


def in_order(source: Source, batch_size: int, limit: int | None = None) -> list[torch.Tensor]:
    """The numbers of the items, in batches; the last one may be smaller."""
    return list(torch.arange(min(len(source), limit or len(source))).split(batch_size))


def load(config: DataConfig, root: Path | None, seed: int = 0) -> Dataset:
    """The dataset of a recipe.

    Raises DataError where it is not there.
    """
    if config.dataset in ("tinyshakespeare", "synthetic-text"):
        return _text(config, root)
    if config.dataset == "synthetic-images":
        pixels, labels = synthetic_images(600, seed)
        held_out = 100
    else:
        pixels, labels = images(config.dataset, "train", root)
        held_out = {"mnist": 10_000, "bsd400": 20}[config.dataset]
    first, middle = len(pixels) - held_out, len(pixels) - held_out // 2
    shape = (pixels.shape[1], *((None, None) if config.dataset == "bsd400" else pixels.shape[2:]))
    return Dataset(
        name=config.dataset,
        summary=DataSummary("image", shape, class_names=() if config.dataset == "bsd400" else DIGITS),
        train=Images(pixels[:first], labels[:first], config.crop, config.flips),
        validation=Images(pixels[first:middle], labels[first:middle]),
        calibration=Images(pixels[first:], labels[first:]),  # all: of MNIST's two halves one is harder
    )


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


def text(name: str, root: Path | None) -> str:
    """The whole text of a dataset."""
    if name == "synthetic-text":
        lines = (f"line {i * 7 % 13} says: the sum of {i % 5} and {i % 7} is {i % 5 + i % 7}.\n" for i in range(600))
        return "".join(lines)
    from datasets import load_dataset

    if root and not (root / name / "input.txt").is_file():
        raise DataError(f"data root: expected {name}/input.txt in {root}, found none")
    file = str(root / name / "input.txt") if root else TEXT_URL
    return load_dataset("text", data_files=file, split="train", sample_by="document")[0]["text"]


def split_text(whole: str) -> tuple[str, str]:
    """The training part and the test part, by convention the last 10%."""
    first = int(len(whole) * (1 - TEST_SHARE))
    return whole[:first], whole[first:]


def _text(config: DataConfig, root: Path | None) -> Dataset:
    whole = text(config.dataset, root)
    tokenizer = character_tokenizer(whole)
    tokens = torch.tensor(tokenizer.encode(split_text(whole)[0]).ids)
    start = tokenizer.token_to_id("\n")
    assert start is not None
    first = int(len(tokens) * (1 - HELD_OUT_SHARE))
    context, held_out = config.context, tokens[first:]
    size = context + 1  # the first token of a window is given, the others are predicted
    return Dataset(
        name=config.dataset,
        summary=DataSummary("text", vocabulary=tokenizer.get_vocab_size() - 1, start_token=start),
        train=Windows(tokens[:first], size),
        validation=Windows(held_out, size, 2 * context),  # one window here, one there: both see all that is held out
        calibration=Windows(held_out, size, 2 * context, start=context),
        tokenizer=tokenizer,
    )


def synthetic_images(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Grey 28×28 images of a bright square each, whose place tells the class; for tests without data."""
    generator = keyed(seed)
    labels = torch.arange(count) % 10
    pixels = torch.randint(0, 40, (count, 1, 28, 28), generator=generator, dtype=torch.uint8)
    for image, label in zip(pixels, labels.tolist(), strict=True):
        top, left = 2 + 9 * (label // 4), 1 + 6 * (label % 4)
        image[:, top : top + 7, left : left + 7] += 200
    return pixels, labels
