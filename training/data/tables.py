"""Tables of numbers: sets of ADBench (Han et al. 2022, arXiv:2206.09426), whose training rows are all normal."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from training.data.source import DataError, keyed
from training.family import Batch

FILES = {
    "annthyroid": "2_annthyroid",
    "breastw": "4_breastw",
    "cardio": "6_cardio",
    "ionosphere": "18_Ionosphere",
    "letter": "20_letter",
    "mammography": "23_mammography",
    "pageblocks": "27_PageBlocks",
    "pendigits": "28_pendigits",
    "satellite": "30_satellite",
    "shuttle": "32_shuttle",
    "thyroid": "38_thyroid",
    "vowels": "40_vowels",
    "wdbc": "43_WDBC",
    "wine": "45_wine",
}
TEST_SHARE = 0.2  # of the normal rows; all anomalies are for the test too


@dataclass(frozen=True)
class Rows:
    """Rows of numbers (N, D), float32; batches hold `x`."""

    values: torch.Tensor

    def __len__(self) -> int:
        return len(self.values)

    def at(self, indices: torch.Tensor, generator: torch.Generator | None = None) -> Batch:
        return {"x": self.values[indices]}


@dataclass(frozen=True)
class Table:
    """Normal rows to learn from (N, D), and rows to test on (M, D) with 1 for an anomaly (M,); float32 and int64."""

    train: torch.Tensor
    test: torch.Tensor
    anomalous: torch.Tensor

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(f"x{i}" for i in range(self.train.shape[1]))


def table(name: str, root: Path | None) -> Table:
    """A table by its name; which normal rows are held back for the test is fixed.

    Raises DataError where it is not there.
    """
    if name == "synthetic-table":
        x, anomalous = _synthetic_rows()
    else:
        path = root / "adbench" / f"{FILES[name]}.npz" if root else None
        if path is None or not path.is_file():
            raise DataError(f"{name}: expected adbench/{FILES[name]}.npz in --data-root or AMOSTRA_DATA, found none")
        with np.load(path, allow_pickle=False) as file:
            x, anomalous = torch.from_numpy(file["X"].astype(np.float32)), torch.from_numpy(file["y"].astype(np.int64))
    normal = x[anomalous == 0]
    normal = normal[torch.randperm(len(normal), generator=keyed(2206, 9426))]
    first = int(len(normal) * (1 - TEST_SHARE))
    test = torch.cat([normal[first:], x[anomalous == 1]])
    is_anomaly = (torch.arange(len(test)) >= len(normal) - first).long()
    return Table(normal[:first], test, is_anomaly)


def _synthetic_rows() -> tuple[torch.Tensor, torch.Tensor]:
    """A ring in two of four columns, and anomalies in its middle; for tests without data."""
    generator = keyed(4)
    angle = torch.rand(2000, generator=generator) * 2 * torch.pi
    noise = torch.randn(2000, 4, generator=generator) * 0.1
    ring = torch.stack([angle.cos(), angle.sin(), angle.sin() * 2, torch.ones(2000)], dim=1) + noise
    middle = torch.randn(50, 4, generator=generator) * 0.1
    return torch.cat([ring, middle]), torch.cat([torch.zeros(2000), torch.ones(50)]).long()
