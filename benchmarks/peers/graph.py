"""The work as every peer does it: one ONNX Runtime session, rows in, rows out."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import onnxruntime as ort

Spin = Literal["never", "run", "always"]
"""When the threads of a session spin while they wait for each other: never, which leaves the cores to the server; while the
graph runs, and not between two runs; or whenever ONNX Runtime has them spin, which is its default."""


@dataclass(frozen=True)
class Options:
    """What to serve, and how: `batch` rows at most, waiting `wait_ms` for them, by `workers` processes or instances, with
    sessions of `threads` threads that `spin`; `inline` calls the session in the event loop."""

    port: int
    kind: str
    graph: str
    side: int
    batch: int
    wait_ms: float
    workers: int
    threads: int
    spin: Spin
    inline: bool


def options(arguments: Sequence[str] | None = None) -> Options:
    """From the command line, or these arguments."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--kind", choices=("draw", "denoise"), required=True)
    parser.add_argument("--graph", required=True)
    parser.add_argument("--side", type=int, required=True)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--wait-ms", type=float, default=0.0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--spin", choices=get_args(Spin), default="never")
    parser.add_argument("--inline", action="store_true")
    return Options(**vars(parser.parse_args(arguments)))


class Graph:
    """The loaded graph. `run` may be called from several threads."""

    def __init__(self, path: str, threads: int, spin: Spin) -> None:
        settings = ort.SessionOptions()
        settings.intra_op_num_threads = threads
        settings.inter_op_num_threads = 1
        if spin == "never":
            settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        elif spin == "run":
            settings.add_session_config_entry("session.force_spinning_stop", "1")
        self._session = ort.InferenceSession(path, settings, providers=["CPUExecutionProvider"])

    def draw(self, labels: np.ndarray, seeds: np.ndarray) -> np.ndarray:
        """Images of these classes. labels, seeds (n,) int64 -> (n, 1, 28, 28) float32."""
        z = np.stack([latent(seed) for seed in seeds.tolist()])
        return self._session.run(None, {"z": z, "label": labels})[0]

    def denoise(self, x: np.ndarray) -> np.ndarray:
        """Clean images. x (n, 1, H, W) float32 -> the same."""
        return self._session.run(None, {"x": x, "sigma": np.full(len(x), -1, np.float32)})[0]


def latent(seed: int) -> np.ndarray:
    """What a seed draws: (64,) float32."""
    return np.random.default_rng(seed).standard_normal(64, dtype=np.float32)
