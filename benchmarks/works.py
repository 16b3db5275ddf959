"""The one-shot work that servers are compared on: what a client sends, what must come back, and how fast the graph alone is.

GAN       a class label and a seed, as JSON       -> an image, 28 × 28, as float32
denoiser  a noisy grey image, as float32           -> a clean one of its size, as float32
"""

import io
import json
import os
import threading
import time
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import onnxruntime as ort

from benchmarks.load import Answer, Request
from benchmarks.search import best
from benchmarks.stamps import SHIPPED, graphs
from contract.kernels import transpose_convolutions

NPY = "application/x-npy"
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
DIFFERENT = 64
"""Requests that go round, no two alike."""


@dataclass(frozen=True)
class Work:
    """A model's graph, asked for one image at a time."""

    name: str
    model: str
    kind: Literal["draw", "denoise"]
    side: int

    @property
    def graph(self) -> Path:
        """The ONNX file, the same for everybody."""
        return SHIPPED / self.model / "1" / ("decode.onnx" if self.kind == "draw" else "reconstruct.onnx")

    @property
    def graphs(self) -> dict[str, str]:
        """The file's name, and the first digits of its hash."""
        return graphs(self.graph.parent, self.graph.stem)

    @property
    def answer_bytes(self) -> int:
        """An answer's pixels as float32."""
        return 4 * self.side**2

    @cached_property
    def noisy(self) -> np.ndarray:
        """Images to denoise (DIFFERENT, 1, H, W) float32."""
        rng = np.random.default_rng(0)
        slope = np.add.outer(np.linspace(0, 0.5, self.side), np.linspace(0, 0.4, self.side))
        return (slope + rng.normal(0, 0.1, (DIFFERENT, 1, self.side, self.side))).astype(np.float32)

    @cached_property
    def drawings(self) -> list[tuple[int, int]]:
        """(label, seed) of each image to draw."""
        return [(i % 10, 1000 + i) for i in range(DIFFERENT)]

    def feed(self, rows: int) -> dict[str, np.ndarray]:
        """Inputs of the graph for so many rows."""
        if self.kind == "draw":
            z = np.random.default_rng(0).standard_normal((rows, 64), dtype=np.float32)
            return {"z": z, "label": np.arange(rows, dtype=np.int64) % 10}
        return {"x": np.resize(self.noisy, (rows, *self.noisy.shape[1:])), "sigma": np.full(rows, -1, np.float32)}

    def requests(self, model: str | None = None) -> list[Request]:
        """What our service is asked."""
        headers = {"accept": NPY, "content-type": "application/json" if self.kind == "draw" else NPY}
        name = model or self.model
        if self.kind == "draw":
            bodies = [json.dumps({"model": name, "label": label, "seed": seed}) for label, seed in self.drawings]
            return [Request("/v1/images/generations", body.encode(), headers) for body in bodies]
        return [Request(f"/v1/images/denoise?model={name}", _npy(image), headers) for image in self.noisy]


GAN = Work("GAN", "mnist-gan", "draw", 28)
DENOISER_64 = Work("denoiser, 64 × 64", "photo-denoiser", "denoise", 64)
DENOISER_28 = Work("denoiser, 28 × 28", "photo-denoiser", "denoise", 28)
WORKS = (GAN, DENOISER_64, DENOISER_28)


def npy_image(answer: Answer) -> np.ndarray:
    """The image in an answer of ours: (H, W)."""
    array = np.load(io.BytesIO(answer.body))
    return array.reshape(array.shape[-2:])


def check(work: Work, number: int, image: np.ndarray, drawn_with: np.ndarray | None) -> None:
    """Compare an answer with what the graph says of the same input; raises ValueError.

    `drawn_with` is the latent (64,) that the server draws for that request.
    """
    if work.kind == "draw":
        assert drawn_with is not None
        feed = {"z": drawn_with[None], "label": np.array([work.drawings[number][0]])}
    else:
        feed = {"x": work.noisy[number : number + 1], "sigma": np.full(1, -1, np.float32)}
    session = ort.InferenceSession(work.graph, providers=["CPUExecutionProvider"])
    right = session.run(None, feed)[0].reshape(work.side, work.side)
    if image.shape != right.shape or not np.allclose(image.clip(0, 1), right.clip(0, 1), atol=1e-4):
        raise ValueError(f"{work.name}: an answer is not what the graph gives: expected {right!r}, found {image!r}")


def raw_rate(work: Work, rows: int, seconds: float) -> float:
    """Rows a second of ONNX Runtime alone, with the graph as our service gives it to it: one single-threaded session for
    each core, all at once."""
    cores = len(os.sched_getaffinity(0))
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(work.graph.parent))
    model = onnx.load(work.graph, load_external_data=False)
    transpose_convolutions(model)  # faster by up to a tenth: without it the limit would be lower than it is
    blob = model.SerializeToString()
    sessions = [ort.InferenceSession(blob, options, ["CPUExecutionProvider"]) for _ in range(cores)]
    feed = work.feed(rows)
    for session in sessions:
        session.run(None, feed)
    rates = [0.0] * cores

    def run(core: int) -> None:
        runs, start = 0, time.perf_counter()
        while (passed := time.perf_counter() - start) < seconds or not runs:
            sessions[core].run(None, feed)
            runs += 1
        # Each by its own time: who ends first is not to be charged with the last run of another.
        rates[core] = rows * runs / passed

    threads = [threading.Thread(target=run, args=(core,)) for core in range(cores)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(rates)


def best_batch(work: Work, seconds: float) -> int:
    """The batch size at which ONNX Runtime alone is fastest here, by several trials of so many seconds."""
    return best({rows: partial(raw_rate, work, rows, seconds) for rows in BATCHES})


def _npy(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, image)
    return stream.getvalue()
