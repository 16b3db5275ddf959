"""The other servers: how each is asked, how its answers are read, and the settings among which the best is kept for it."""

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.load import Answer, Request
from benchmarks.peers.graph import Spin
from benchmarks.works import Work

JSON, OCTETS = "application/json", "application/octet-stream"


@dataclass(frozen=True)
class Setting:
    """What a peer's documentation gives to be tuned: rows of a batch at most, the wait for them, processes or instances, the
    threads of each session and when they spin, and whether it is called in the event loop."""

    batch: int = 1
    wait_ms: float = 0.0
    workers: int = 1
    threads: int = 1
    spin: Spin = "never"
    inline: bool = False

    @property
    def arguments(self) -> list[str]:
        """For the peer's server.py."""
        values = {
            "batch": self.batch,
            "wait-ms": self.wait_ms,
            "workers": self.workers,
            "threads": self.threads,
            "spin": self.spin,
        }
        named = [text for name, value in values.items() for text in (f"--{name}", str(value))]
        return [*named, "--inline"] if self.inline else named

    def __str__(self) -> str:
        batching = f"batches of ≤ {self.batch}, wait ≤ {self.wait_ms:g} ms, " if self.batch > 1 else ""
        waiting = {"never": " that sleep", "run": " that spin in a run", "always": " that spin"}[self.spin]
        place = ", called in the event loop" if self.inline else ""
        threads = f"session threads {self.threads}{waiting if self.threads > 1 else ''}"
        return f"{batching}workers {self.workers}, {threads}{place}"


@dataclass(frozen=True)
class Peer:
    """A server to be compared with. `name` is its folder in peers/; one that `polls` keeps cores busy while it waits."""

    name: str
    label: str
    distributions: Sequence[str]
    settings: Sequence[Setting]
    ask: Callable[[Work, int], Request]
    pixels: Callable[[Answer], bytes]
    polls: bool = False

    def requests(self, work: Work) -> list[Request]:
        """What it is asked: the same as everybody."""
        return [self.ask(work, number) for number in range(len(work.noisy))]

    def image(self, answer: Answer, work: Work) -> np.ndarray:
        """The image of an answer: (H, W) float32."""
        return np.frombuffer(self.pixels(answer), np.float32).reshape(work.side, work.side)

    def arguments(self, work: Work, setting: Setting) -> list[str]:
        """For its server.py."""
        return ["--kind", work.kind, "--graph", str(work.graph), "--side", str(work.side), *setting.arguments]


def _raw(path: str | None) -> Callable[[Work, int], Request]:
    """A draw as JSON, an image as raw float32."""

    def ask(work: Work, number: int) -> Request:
        where = path or f"/{work.kind}"
        if work.kind == "draw":
            label, seed = work.drawings[number]
            return Request(where, json.dumps({"label": label, "seed": seed}).encode(), {"content-type": JSON})
        return Request(where, work.noisy[number].tobytes(), {"content-type": OCTETS})

    return ask


def _text(work: Work, number: int) -> str:
    return base64.b64encode(work.noisy[number].tobytes()).decode()


def _ask_litserve(work: Work, number: int) -> Request:
    label, seed = work.drawings[number]
    body = {"label": label, "seed": seed} if work.kind == "draw" else {"image": _text(work, number)}
    return Request("/predict", json.dumps(body).encode(), {"content-type": JSON})


def _ask_bentoml(work: Work, number: int) -> Request:
    body = {"asks": [work.drawings[number]]} if work.kind == "draw" else {"images": [_text(work, number)]}
    return Request(f"/{work.kind}", json.dumps(body).encode(), {"content-type": JSON})


def _ask_mlserver(work: Work, number: int) -> Request:
    if work.kind == "draw":
        pairs = zip(("label", "seed"), work.drawings[number], strict=True)
        inputs = [{"name": name, "shape": [1, 1], "datatype": "INT64", "data": [value]} for name, value in pairs]
    else:
        text = [_text(work, number)]
        base = {"content_type": "base64"}
        inputs = [{"name": "image", "shape": [1, 1], "datatype": "BYTES", "data": text, "parameters": base}]
    return Request("/v2/models/peer/infer", json.dumps({"inputs": inputs}).encode(), {"content-type": JSON})


def _ask_triton(work: Work, number: int) -> Request:
    if work.kind == "draw":
        tensors = [(n, "INT64", np.array([[v]])) for n, v in zip(("label", "seed"), work.drawings[number], strict=True)]
    else:
        tensors = [("x", "FP32", work.noisy[number : number + 1])]
    inputs = [
        {"name": name, "shape": array.shape, "datatype": kind, "parameters": {"binary_data_size": array.nbytes}}
        for name, kind, array in tensors
    ]
    asked = {"inputs": inputs, "outputs": [{"name": "image", "parameters": {"binary_data": True}}]}
    head = json.dumps(asked).encode()
    headers = {"content-type": OCTETS, "inference-header-content-length": str(len(head))}
    return Request("/v2/models/peer/infer", head + b"".join(a.tobytes() for _, _, a in tensors), headers)


def _body(answer: Answer) -> bytes:
    return answer.body


def _after_header(answer: Answer) -> bytes:
    return answer.body[int(answer.headers["inference-header-content-length"]) :]


BATCHED = (
    *(Setting(batch, wait) for batch, wait in ((16, 2.0), (32, 5.0), (64, 5.0))),
    *(Setting(batch, wait, workers=2) for batch, wait in ((4, 0.0), (8, 0.0), (16, 2.0), (32, 5.0))),
    *(Setting(batch, wait, workers=3) for batch, wait in ((8, 0.0), (16, 2.0))),
    *(Setting(16, 2.0, threads=2, spin=spin) for spin in ("never", "always")),
)
"""For servers that batch: small and eager, large and patient, in one process, in two and in three."""

FASTAPI = Peer(
    "fastapi",
    "FastAPI",
    ("fastapi", "uvicorn"),
    (
        *(Setting(workers=workers) for workers in (1, 2, 3)),
        *(Setting(workers=workers, inline=True) for workers in (1, 2, 3, 4)),
        *(Setting(threads=2, spin=spin, inline=inline) for spin in ("never", "always") for inline in (False, True)),
        Setting(workers=2, threads=2, inline=True),
    ),
    _raw(None),
    _body,
)
PEERS = (
    FASTAPI,
    Peer(
        "triton",
        "NVIDIA Triton",
        ("nvidia-pytriton",),
        BATCHED,
        _ask_triton,
        _after_header,
    ),
    Peer("litserve", "LitServe", ("litserve",), BATCHED, _ask_litserve, _body, polls=True),
    # Of each setting a cluster is up while they are tried: there are fewer of them.
    Peer(
        "ray",
        "Ray Serve",
        ("ray",),
        (
            Setting(16, 2.0),
            *(Setting(batch, wait, workers=2) for batch, wait in ((4, 0.0), (8, 0.0), (16, 2.0), (32, 5.0))),
            *(Setting(batch, wait, workers=3) for batch, wait in ((8, 0.0), (16, 2.0))),
            Setting(16, 2.0, threads=2, spin="always"),
        ),
        _raw("/"),
        _body,
        polls=True,
    ),
    Peer(
        "bentoml",
        "BentoML batchable",
        ("bentoml",),
        (
            *(Setting(batch) for batch in (8, 32)),
            *(Setting(batch, workers=2) for batch in (4, 8, 16, 32)),
            *(Setting(batch, workers=3) for batch in (8, 16)),
            *(Setting(16, threads=2, spin=spin) for spin in ("never", "always")),
        ),
        _ask_bentoml,
        lambda answer: base64.b64decode(json.loads(answer.body)[0]),
    ),
    Peer(
        "mlserver",
        "MLServer",
        ("mlserver",),
        (
            *(Setting(batch, wait, workers=0) for batch, wait in ((8, 1.0), (32, 5.0))),
            *(
                Setting(batch, wait, workers=workers)
                for workers in (1, 2)
                for batch, wait in ((4, 1.0), (8, 1.0), (16, 2.0))
            ),
            Setting(8, 1.0, workers=3),
            *(Setting(16, 2.0, workers=0, threads=2, spin=spin) for spin in ("never", "always")),
        ),
        _ask_mlserver,
        lambda answer: base64.b64decode(json.loads(answer.body)["outputs"][0]["data"][0]),
    ),
)
