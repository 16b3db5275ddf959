"""A small classifier of MNIST digits: the judge of what a generator was asked for, and a feature extractor.

x (B, 1, 28, 28) in [0, 1] -> features (B, 128) -> logits (B, 10). It is trained on MNIST's training set in a minute or
two and kept in the runs directory.
"""

import os
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.data import Draws, Images, images
from training.loop import RUNS

FEATURES = 128
BATCH_SIZE = 128
EPOCHS = 2
PEAK_LEARNING_RATE = 5e-3
CACHE = RUNS / "digit-classifier.pt"


def _layer(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class DigitClassifier(nn.Module):
    """A plain convolutional network with batch normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(_layer(1, 32), nn.MaxPool2d(2)),  # (B, 32, 14, 14)
            *(_layer(32, 64), _layer(64, 64), nn.MaxPool2d(2)),  # (B, 64, 7, 7)
            *(_layer(64, FEATURES), nn.MaxPool2d(2), nn.Flatten()),  # (B, 128 * 3 * 3)
            *(nn.Linear(FEATURES * 9, FEATURES), nn.ReLU()),
        )
        self.head = nn.Linear(FEATURES, 10)

    def features(self, x: Tensor) -> Tensor:
        return self.body(2 * x - 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def digit_classifier(data_root: Path | None, cache: Path = CACHE) -> DigitClassifier:
    """The trained classifier, in evaluation mode; trained now where the cache has none."""
    network = DigitClassifier()
    if cache.is_file():
        network.load_state_dict(torch.load(cache, map_location="cpu", weights_only=True))
        return network.eval()
    network = train_classifier(Images(*images("mnist", "train", data_root)))
    cache.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=cache.parent)
    os.close(handle)
    torch.save(network.state_dict(), name)
    os.replace(name, cache)
    return network


def train_classifier(source: Images, epochs: float = EPOCHS, seed: int = 0) -> DigitClassifier:
    """Adam under a one-cycle schedule, with digits moved by up to two pixels; torch's global seed is left alone."""
    steps = max(2, round(epochs * len(source) / BATCH_SIZE))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = DigitClassifier()
        optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LEARNING_RATE, total_steps=steps)
        for batch in Draws(source, BATCH_SIZE, seed, steps):
            right, down = (int(shift) for shift in torch.randint(-2, 3, (2,)))
            x = torch.roll(batch["x"], (down, right), dims=(2, 3))
            optimizer.zero_grad()
            F.cross_entropy(network(x), batch["label"]).backward()
            optimizer.step()
            schedule.step()
    return network.eval()


@torch.no_grad()
def predictions(network: DigitClassifier, x: Tensor) -> Tensor:
    """The digits it sees: x (N, 1, 28, 28) in [0, 1] -> (N,)."""
    return torch.cat([network(part).argmax(1) for part in x.split(500)])
