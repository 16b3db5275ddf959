"""Scores of held-out training data, against which a server turns a score into a conformal p-value.

They are computed through the exported graph, so that they are what the server would have answered.
"""

from typing import Literal

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from training.data import Dataset
from training.data.source import in_order

STATISTIC: dict[str, Literal["log_prob", "log_prob_per_token"]] = {
    "image": "log_prob",
    "vector": "log_prob",
    "text": "log_prob_per_token",
}
BATCH_SIZE = 64


def held_out_scores(session: onnxruntime.InferenceSession, dataset: Dataset, size: int) -> NDArray[np.float64]:
    """At most `size` scores in nats, ascending, (N,) float64; of text, per predicted token of a window."""
    scores = []
    for indices in in_order(dataset.calibration, BATCH_SIZE, size):
        batch = dataset.calibration.at(indices)
        if dataset.summary.kind == "text":
            input_ids = batch["input_ids"].numpy()  # (B, T)
            lengths = np.full(len(input_ids), input_ids.shape[1], np.int64)
            log_prob = session.run(["log_prob"], {"input_ids": input_ids, "lengths": lengths})[0]
            scores.append(log_prob.astype(np.float64) / (input_ids.shape[1] - 1))
        else:
            scores.append(session.run(["log_prob"], {"x": batch["x"].numpy()})[0].astype(np.float64))
    return np.sort(np.concatenate(scores))
