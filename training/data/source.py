"""What is drawn from: numbered items, and training batches drawn from them by seed and step."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from training.family import Batch, Source


class DataError(ValueError):
    """Data that is not where it was looked for; the message says where and what to do."""


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
