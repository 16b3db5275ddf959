"""What somebody would write in place of a batch job: `session.run` in a loop over a Parquet file.

    python -m benchmarks.jobs_loop score.onnx rows.parquet 256 1      # prints the seconds that it took

One batch size, so many threads, no check of any value, no p-values, nothing written.
"""

import sys
import time

import numpy as np
import onnxruntime as ort
from pyarrow import parquet

_READ = 65_536


def score(graph: str, file: str, size: int, threads: int) -> float:
    """Score all rows. Returns the seconds."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    start, scores = time.perf_counter(), []
    for batch in parquet.ParquetFile(file).iter_batches(_READ):
        x = np.stack([column.to_numpy() for column in batch.columns], axis=1)
        scores += [session.run(None, {"x": x[at : at + size]})[0] for at in range(0, len(x), size)]
    assert sum(map(len, scores)) == parquet.ParquetFile(file).metadata.num_rows
    return time.perf_counter() - start


if __name__ == "__main__":
    print(score(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
