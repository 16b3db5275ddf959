"""Rows of a table a second: our service over HTTP, in batches of 1,000, against PyOD's `decision_function` in process.

    python -m benchmarks.table_rows [--rounds 5] [--quick]

Tables of 1,000 to 50,000 known rows of 20 columns, which are independent, as of PyOD's own `generate_data`, or follow from six
unseen ones and noise: what a search tree is good at. The same method on both sides, the distance to five neighbours or
kernels of one bandwidth, must say the same of the same rows. PyOD gets an array and one call of all rows; we get an Arrow
stream of 1,000 rows a request, or JSON, and answer with scores and p-values.
"""

import io
import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from scipy.stats import spearmanr

from benchmarks.environments import environment, versions
from benchmarks.harness import Comparison, interleaved
from benchmarks.load import Request, ask, load
from benchmarks.models import table_model
from benchmarks.results import installed, parse, publish
from benchmarks.servers import Served, ours
from benchmarks.side import Side
from benchmarks.stamps import graphs
from service.codecs.npy import MEDIA_TYPE as NPY
from service.codecs.table import ARROW_STREAM

BAR = 3.0
COLUMNS, UNSEEN, BATCH, DIFFERENT = 20, 6, 1000, 10
NEIGHBOURS, CLIENTS = 5, 4
ALIKE = 0.998  # ranks by the root mean square of five distances and by their mean, of 1,000 known rows: 0.9983
TABLES: tuple[tuple[str, int, int | None], ...] = (
    *(("knn", known, unseen) for known in (1_000, 5_000, 20_000, 50_000) for unseen in (None, UNSEEN)),
    ("kde", 5_000, None),  # PyOD's needs a third of a millisecond for a row then
)
"""Method, known rows, and how many unseen columns theirs follow from."""
WHAT = f"""{BATCH:,} rows of {COLUMNS} columns a request from {CLIENTS} connections; PyOD scores {BATCH * DIFFERENT:,} rows at
once."""


def rows(count: int, seed: int, unseen: int | None = None) -> np.ndarray:
    """(count, COLUMNS) float32, of independent columns, or of columns that follow from `unseen` ones."""
    rng = np.random.default_rng(seed)
    if unseen is None:
        return rng.normal(size=(count, COLUMNS)).astype(np.float32)
    mix = np.random.default_rng(0).normal(size=(unseen, COLUMNS))
    return (np.tanh(rng.normal(size=(count, unseen)) @ mix) + 0.1 * rng.normal(size=(count, COLUMNS))).astype(
        np.float32
    )


def arrow(model: str, x: np.ndarray) -> Request:
    """A batch as an Arrow stream, answered with numbers."""
    stream = io.BytesIO()
    table = pa.table({f"x{i}": column for i, column in enumerate(x.T)})
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    return Request(f"/v1/score?model={model}", stream.getvalue(), {"content-type": ARROW_STREAM, "accept": NPY})


def as_json(model: str, x: np.ndarray) -> Request:
    """A batch as JSON objects by column name, answered with JSON."""
    objects = [{f"x{i}": value for i, value in enumerate(row)} for row in np.round(x.astype(float), 4).tolist()]
    body = json.dumps({"model": model, "inputs": objects}).encode()
    return Request("/v1/score", body, {"content-type": "application/json"})


def rate(served: Served, requests: list[Request], seconds: float) -> float:
    """Rows a second."""
    measured = load(served.port, served.pid, requests, CLIENTS, seconds, 8 * BATCH, warm_seconds=0.5)
    return BATCH * measured.rate


def check(served: Served, request: Request, pyod: np.ndarray) -> None:
    """Both sides order a batch's rows alike. pyod (BATCH,), higher is stranger."""
    found = np.load(io.BytesIO(ask(served.port, request).body))[:, 0]
    alike = spearmanr(-found, pyod).statistic
    if not alike > ALIKE:
        raise AssertionError(f"expected PyOD's order of the rows, found a rank correlation of {alike:.5f}")


def compare(
    side: Side, method: str, count: int, unseen: int | None, rounds: int, seconds: float
) -> tuple[list[Comparison], dict[str, str]]:
    """One method on one table of so many rows, over Arrow and over JSON; and the first digits of its graph's hash."""
    known, asked = rows(count, 1, unseen), rows(BATCH * DIFFERENT, 2, unseen)
    batches, model = np.split(asked, DIFFERENT), f"rows-{method}"
    with tempfile.TemporaryDirectory() as home:
        family = table_model(Path(home), torch.from_numpy(known), method, NEIGHBOURS)
        (digest,) = graphs(Path(home) / model / "1").values()
        file, scores = f"{home}/rows.npz", f"{home}/scores.npy"
        centre, scale = known.mean(0), known.std(0)
        np.savez(file, train=(known - centre) / scale, test=(asked - centre) / scale)
        detector, settings = {
            "knn": ("KNN", {"n_neighbors": NEIGHBOURS, "method": "mean"}),
            "kde": ("KDE", {"bandwidth": float(family.bandwidth().detach())}),
        }[method]
        asking = {"file": file, "detector": detector, "options": settings}
        side(**asking, scores=scores)
        sent = {
            "Arrow": [arrow(model, batch) for batch in batches],
            "JSON": [as_json(model, batch) for batch in batches],
        }
        with ours(sent["Arrow"][0], Path(home)) as served:
            check(served, sent["Arrow"][0], np.load(scores)[:BATCH])
            contenders: dict[str, Callable[[], float]] = {
                kind: partial(rate, served, requests, seconds) for kind, requests in sent.items()
            }
            contenders["pyod"] = lambda: len(asked) / side(**asking)["seconds"]
            figures = interleaved(contenders, rounds)
    columns = "columns that are independent" if unseen is None else f"columns of {unseen} unseen ones"
    of = f"{detector}, {count:,} known rows, {columns}"
    comparisons = [
        Comparison(f"{of}, {kind}", "Amostra", "PyOD", "rows/s", "higher", figures[kind], figures["pyod"], BAR)
        for kind in sent
    ]
    return comparisons, {of: digest}


def main() -> None:
    options = parse(__doc__, rounds=5)
    rounds, seconds = (1, 0.5) if options.quick else (options.rounds, 3.0)
    with Side(environment("pyod"), "benchmarks.peers.pyod.detectors") as side:
        measured = [compare(side, *table, rounds, seconds) for table in TABLES]
    comparisons = [compared for found, _ in measured for compared in found]
    for compared in comparisons:
        print(compared.name, f"{compared.our_figure:,.0f}", f"{compared.peer_figure:,.0f}", f"{compared.ratio:.2f}")
    if not options.quick:
        about = {**installed("onnxruntime-gpu", "bentoml", "pyarrow"), **versions("pyod", "pyod", "scikit-learn")}
        run = {of: digest for _, digests in measured for of, digest in digests.items()}
        publish("table_rows", WHAT, comparisons, about, ["PyOD's n_jobs is its default, 1."], run)


if __name__ == "__main__":
    main()
