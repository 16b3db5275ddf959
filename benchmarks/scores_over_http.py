"""Anomaly scores over HTTP: the shipped models with their default scores, told strange things and counted false alarms.

    AMOSTRA_DATA=… python -m benchmarks.scores_over_http [--quick]

The service runs on the shipped models. Images go to the model that answers where a request names none. AUROC, flagged shares
and false discoveries are computed from what POST /v1/score answers; none of the sets was used in training or selection.
"""

import io
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.adbench import ALPHAS, BATCH_ANOMALIES, BATCH_ROWS, BATCHES, FDR
from benchmarks.harness import Comparison
from benchmarks.load import Request, ask
from benchmarks.results import installed, parse, publish
from benchmarks.servers import ours
from benchmarks.stamps import shipped
from service.codecs import npy
from training.data.images import images
from training.data.lines import SPOKEN, split_lines
from training.data.tables import table
from training.evaluation.anomalies import auroc, standard_error
from training.evaluation.corruptions import CORRUPTIONS, corrupted
from training.evaluation.lines import STRANGE
from training.evaluation.simple_images import simple_images

OMNIGLOT_BAR, MEAN_BAR, WORST_BAR, SIMPLE_BAR = 0.99, 0.97, 0.85, 0.99
SIMPLE, SEED, AT_ONCE = 2000, 0, 1000
TABLE, LINES = "pendigits-scores", "shakespeare-lines"
WITHIN = 1.96
"""Standard errors that a share may be away from what it should be."""

Write = Callable[[Any, str, str], Request]


@dataclass(frozen=True)
class Kind:
    """Held-out normal items and strange ones, how a request is made of some of them, and what may be asked of the service."""

    name: str
    normal: Any
    strange: Any
    write: Write


def of_images(x: np.ndarray, query: str, accept: str) -> Request:
    headers = {"content-type": npy.MEDIA_TYPE, "accept": accept}
    return Request(f"/v1/score?{query}", npy.encode(np.ascontiguousarray(x, np.float32)), headers)


def of_json(model: str, field: str) -> Write:
    """Requests with a field of a JSON body; the query's numbers go into it."""

    def write(some: Any, query: str, accept: str) -> Request:
        settings = {name: float(value) for name, value in (pair.split("=") for pair in query.split("&") if pair)}
        body = {"model": model, field: some.tolist() if isinstance(some, np.ndarray) else list(some), **settings}
        headers = {"content-type": "application/json", "accept": accept}
        return Request("/v1/score", json.dumps(body).encode(), headers)

    return write


def answered(port: int, request: Request, seconds: float = 60.0) -> bytes:
    """An answer, waited for while the models are loaded. Raises RuntimeError where it is an error."""
    end = time.monotonic() + seconds
    while (answer := ask(port, request, timeout=300)).status == 503 and time.monotonic() < end:
        time.sleep(0.2)
    if answer.status != 200:
        raise RuntimeError(f"{request.path}: {answer.status} {answer.body[:300]!r}")
    return answer.body


def scores(port: int, kind: Kind, items: Any) -> np.ndarray:
    """The deciding scores, (N,)."""
    parts = (items[at : at + AT_ONCE] for at in range(0, len(items), AT_ONCE))
    bodies = (answered(port, kind.write(part, "", npy.MEDIA_TYPE)) for part in parts)
    return np.concatenate([np.load(io.BytesIO(body))[:, 0] for body in bodies])


def flagged(port: int, kind: Kind, items: Any, query: str) -> tuple[np.ndarray, int]:
    """What the service calls anomalous, (N,) bool; and how many items the model was calibrated on."""
    found, size = [], 0
    for at in range(0, len(items), AT_ONCE):
        body = json.loads(answered(port, kind.write(items[at : at + AT_ONCE], query, "application/json")))
        found += [item["is_anomaly"] for item in body["data"]]
        size = body["calibration"]["size"]
    return np.array(found), size


def told(port: int, root: Path, count: int | None) -> list[Comparison]:
    """AUROC of images by the default score of the default model."""
    digits, characters = (_grey(name, root)[:count] for name in ("mnist", "omniglot"))
    kind = Kind("images", digits, characters, of_images)
    normal = scores(port, kind, digits)
    found = {name: auroc(normal, scores(port, kind, corrupted(name, digits, SEED))) for name in CORRUPTIONS}
    print(", ".join(f"{name} {value:.4f}" for name, value in found.items()), flush=True)
    worst = min(found, key=lambda name: found[name])
    figures = {
        "AUROC, MNIST test against Omniglot": (auroc(normal, scores(port, kind, characters)), OMNIGLOT_BAR),
        f"AUROC, mean of {len(found)} corruptions": (float(np.mean(list(found.values()))), MEAN_BAR),
        f"AUROC, worst corruption ({worst})": (found[worst], WORST_BAR),
        "AUROC, simple images": (auroc(normal, scores(port, kind, simple_images(SIMPLE, 28, SEED))), SIMPLE_BAR),
    }
    return [
        Comparison(name, "default score", "the bar", "", "higher", [value], [bar], 1.0)
        for name, (value, bar) in figures.items()
    ]


def false_alarms(port: int, kind: Kind) -> list[Comparison]:
    """How far the flagged shares of normal items are from alpha."""
    found = []
    for alpha in ALPHAS:
        of_normal, calibrated = flagged(port, kind, kind.normal, f"alpha={alpha}")
        share, error = float(of_normal.mean()), standard_error(alpha, len(of_normal), calibrated)
        name = f"{kind.name}: {100 * share:.2f}% of {len(of_normal):,} normal ones flagged at alpha = {alpha}, off by"
        away = [abs(share - alpha) / error]
        found.append(Comparison(name, "measured", "allowed", "standard errors", "lower", away, [WITHIN], 1.0))
    return found


def false_discoveries(port: int, kind: Kind, batches: int) -> Comparison:
    """The mean share of normal items among those that are flagged, over batches of normal and strange items."""
    rng, shares, detected = np.random.default_rng(SEED), [], []
    few = BATCH_ANOMALIES
    for _ in range(batches):
        normal = rng.choice(len(kind.normal), BATCH_ROWS - few, replace=False)
        strange = rng.choice(len(kind.strange), few, replace=False)
        items = [*(kind.normal[i] for i in normal), *(kind.strange[i] for i in strange)]
        order = rng.permutation(BATCH_ROWS)
        batch = [items[i] for i in order]
        batch = np.stack(batch) if isinstance(kind.normal, np.ndarray) else batch
        is_flagged, _ = flagged(port, kind, batch, f"fdr={FDR}")
        is_normal = order < BATCH_ROWS - few
        shares.append((is_flagged & is_normal).sum() / max(1, is_flagged.sum()))
        detected.append((is_flagged & ~is_normal).sum() / few)
    name = f"{kind.name}: false discoveries at fdr = {FDR}, {np.mean(detected):.0%} of the strange ones found"
    return Comparison(name, "mean share", "allowed", "", "lower", [float(np.mean(shares))], [FDR], 1.0)


def kinds(root: Path, count: int | None) -> list[Kind]:
    digits, rows, lines = _grey("mnist", root), table("pendigits", root), split_lines(SPOKEN, None, root)[1]
    some = digits[: AT_ONCE // 10]
    spoilt = np.concatenate([_grey("omniglot", root)[:AT_ONCE], *(corrupted(n, some, SEED) for n in CORRUPTIONS)])
    test, anomalous = rows.test.numpy(), rows.anomalous.numpy() > 0
    strange_lines = [line for make in STRANGE.values() for line in make(lines[:200], np.random.default_rng(SEED))]
    return [
        Kind("images", digits[:count], spoilt, of_images),
        Kind("rows", test[~anomalous][:count], test[anomalous], of_json(TABLE, "inputs")),
        Kind("lines", lines[:count], [line for line in strange_lines if line.strip()], of_json(LINES, "input")),
    ]


def _grey(name: str, root: Path) -> np.ndarray:
    return images(name, "test", root)[0].numpy().astype(np.float32) / np.float32(255)


def main() -> None:
    options = parse(__doc__, rounds=1)
    root = Path(os.environ["AMOSTRA_DATA"])
    count, batches = (200, 5) if options.quick else (None, BATCHES)
    every = kinds(root, count)
    with ours(every[0].write(every[0].normal[:1], "", "application/json")) as served:
        names = [
            json.loads(answered(served.port, k.write(k.normal[:1], "", "application/json")))["model"] for k in every
        ]
        found = told(served.port, root, count)
        for kind in every:
            found += [*false_alarms(served.port, kind), false_discoveries(served.port, kind, batches)]
            print(*(f"{c.name} {c.our_figure:.4f}" for c in found[-4:]), sep="\n", flush=True)
    for compared in found[:4]:
        print(f"{compared.name} {compared.our_figure:.4f}")
    if options.quick:
        return
    what = f"""Asked over HTTP, by the default score of the shipped models: images of {names[0]}, rows of {names[1]}, lines of
{names[2]}. False discoveries are counted in {batches} batches of {BATCH_ROWS} items, {BATCH_ANOMALIES} of them strange."""
    graphs = shipped(dict.fromkeys(names, "score"))
    publish("scores_over_http", what, found, installed("onnxruntime-gpu", "bentoml"), graphs=graphs)


if __name__ == "__main__":
    main()
