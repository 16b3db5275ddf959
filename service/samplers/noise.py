"""Counter-based randomness: every number is a function of (seed, sample index, step), never of shared state.

Philox 4x64-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") with the key (seed, index) and the
step in the counter's high word, so that no sample depends on its batch-mates, and no step on how the former was drawn.
"""

import secrets
import threading
from typing import Any

import numpy as np

MAX_SEED = 2**53 - 1
"""Seeds are exact in every JSON implementation, JavaScript's too."""


def generator(seed: int, index: int, step: int = 0) -> np.random.Generator:
    """The stream of one sample at one step."""
    return np.random.Generator(np.random.Philox(key=[seed, index], counter=[0, 0, 0, step]))


class _Own(threading.local):
    """Each thread's stream: setting its state takes a tenth of the time of making one."""

    def __init__(self) -> None:
        self.stream = generator(0, 0)
        self.state: Any = self.stream.bit_generator.state


_own = _Own()


def normal(seed: int, count: int, shape: tuple[int, ...], step: int = 0, first: int = 0) -> np.ndarray:
    """Standard normal float32 noise for samples first to first + count. Returns (count, *shape)."""
    noise = np.empty((count, *shape), np.float32)
    stream, state = _own.stream, _own.state
    philox = stream.bit_generator
    state["state"]["counter"][:] = 0, 0, 0, step
    state["state"]["key"][0] = seed
    for i in range(count):
        state["state"]["key"][1] = first + i
        philox.state = state
        stream.standard_normal(dtype=np.float32, out=noise[i])
    return noise


def uniform(seed: int, index: int, count: int) -> np.ndarray:
    """Uniform float64 numbers in [0, 1) for one sample's first `count` choices. Returns (count,)."""
    return generator(seed, index).random(count)


def draw_seed() -> int:
    """A seed for a request that gave none."""
    return secrets.randbelow(2**31)
