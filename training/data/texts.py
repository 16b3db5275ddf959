"""Texts as tokens, and windows of them."""

from dataclasses import dataclass
from pathlib import Path

import torch

from training.data.source import DataError
from training.family import Batch

TEXT_URL = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
OWN = "text"
TEST_SHARE = 0.1  # of tiny Shakespeare, by convention


@dataclass(frozen=True)
class Windows:
    """Windows of `size` tokens, one at each of `starts`."""

    tokens: torch.Tensor
    size: int
    starts: torch.Tensor

    def __len__(self) -> int:
        return len(self.starts)

    def at(self, indices: torch.Tensor, generator: torch.Generator | None = None) -> Batch:
        return {"input_ids": self.tokens[self.starts[indices][:, None] + torch.arange(self.size)]}  # (B, size)


def text(name: str, root: Path | None, path: str | None = None) -> str:
    """The whole text of a dataset, or of the file at `path`. Raises DataError where it is not there, or no UTF-8."""
    if name == OWN:
        return _own(path, root)
    if name == "synthetic-text":
        lines = (f"line {i * 7 % 13} says: the sum of {i % 5} and {i % 7} is {i % 5 + i % 7}.\n" for i in range(600))
        return "".join(lines)
    from datasets import load_dataset

    if root and not (root / name / "input.txt").is_file():
        raise DataError(f"data root: expected {name}/input.txt in {root}, found none")
    file = str(root / name / "input.txt") if root else TEXT_URL
    return load_dataset("text", data_files=file, split="train", sample_by="document")[0]["text"]


def _own(path: str | None, root: Path | None) -> str:
    if path is None:
        raise DataError("data.path: expected a text file, found none: give --data.path")
    places = [Path(path), *([root / path] if root else [])]
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        raise DataError(f"data.path: expected a text file, found none at {' or '.join(map(str, places))}")
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"data.path: expected UTF-8 in {file}, found {error.reason} at byte {error.start}") from error


def split_text(whole: str) -> tuple[str, str]:
    """The training part and the test part, by convention the last 10%."""
    first = int(len(whole) * (1 - TEST_SHARE))
    return whole[:first], whole[first:]
