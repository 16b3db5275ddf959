"""Lines of a text, each an item of its own: of a log, of plays.

A row of tokens is [start, *line, end], and both are the line break, as if the lines stood below each other.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

from training.data.source import DataError, keyed
from training.data.texts import text
from training.family import Batch

TEST_SHARE = 0.1
MIN_LINES = 100
SPOKEN = "tinyshakespeare-lines"
WRITTEN = "synthetic-lines"
OWN = "lines"
LINES = (SPOKEN, WRITTEN, OWN)


@dataclass(frozen=True)
class Lines:
    """Rows of tokens one after another: row i is the `lengths[i]` tokens from `starts[i]` on.

    A batch is as wide as its longest row, zeros behind the others. No row has more than its first `most` tokens.
    """

    tokens: Tensor
    starts: Tensor
    lengths: Tensor
    most: int = 2**62

    def __len__(self) -> int:
        return len(self.starts)

    def at(self, indices: Tensor, generator: torch.Generator | None = None) -> Batch:
        lengths = self.lengths[indices].clamp(max=self.most)
        places = torch.arange(int(lengths.max()))
        inside = places < lengths[:, None]
        input_ids = self.tokens[torch.where(inside, self.starts[indices][:, None] + places, 0)]
        return {"input_ids": input_ids.where(inside, torch.zeros(())).long(), "lengths": lengths}  # (B, T), (B,)

    def part(self, first: int, last: int, most: int = 2**62) -> "Lines":
        """The rows from number `first` to before `last`, and of each `most` tokens."""
        return Lines(self.tokens, self.starts[first:last], self.lengths[first:last], most)


def encoded(lines: list[str], tokenizer: Tokenizer) -> Lines:
    """Lines as rows of tokens between line breaks."""
    (line_break,) = tokenizer.encode("\n").ids
    rows = [
        torch.tensor([line_break, *encoding.ids, line_break])
        for encoding in tokenizer.encode_batch(lines, add_special_tokens=False)
    ]
    lengths = torch.tensor([len(row) for row in rows])
    return Lines(torch.cat(rows), lengths.cumsum(0) - lengths, lengths)


def split_lines(name: str, path: str | None, root: Path | None, shuffled: bool = True) -> tuple[list[str], list[str]]:
    """The lines to learn from and the lines to test on, a tenth; empty ones are left out.

    They are drawn at random, so that those held out are like the others, or are the last where they are not `shuffled`.
    Raises DataError.
    """
    lines = [line for line in _whole(name, path, root).splitlines() if line.strip()]
    if len(lines) < MIN_LINES:
        raise DataError(f"data: expected {MIN_LINES} lines at least, found {len(lines)}")
    if shuffled:
        lines = [lines[i] for i in torch.randperm(len(lines), generator=keyed(len(lines)))]
    first = int(len(lines) * (1 - TEST_SHARE))
    return lines[:first], lines[first:]


def _whole(name: str, path: str | None, root: Path | None) -> str:
    if name != OWN:
        return text("tinyshakespeare" if name == SPOKEN else "synthetic-text", root)
    places = [Path(path), *([root / path] if root else [])] if path else []
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise DataError(f"data.path: expected a file of normal lines, found none at {path}: give --data.path")
    return found.read_text(encoding="utf-8", errors="replace")
