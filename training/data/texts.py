"""Texts as tokens, and windows of them."""

from dataclasses import dataclass
from pathlib import Path

import torch

from training.data.source import DataError
from training.family import Batch

TEXT_URL = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
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
