"""How well an energy model of binary images fits test images that it was not trained on."""

from pathlib import Path

import numpy as np

from contract import Capability
from contract.manifest import Measurement
from training.data.images import images
from training.evaluate import ExportedModel, metric


@metric
def binary_log_likelihood(model: ExportedModel, data_root: Path | None, seed: int) -> list[Measurement]:
    """The mean log_prob of MNIST's test images, each drawn once with its grey values as probabilities."""
    grey = images("mnist", "test", data_root)[0].numpy().astype(np.float32) / np.float32(255)  # (N, 1, H, W)
    binary = (np.random.default_rng(seed).random(grey.shape, np.float32) < grey).astype(np.float32)
    log_prob = model.run(Capability.LOG_DENSITY, {"x": binary}, "log_prob").astype(np.float64)
    fitted = (model.manifest.provenance.hyper_parameters if model.manifest.provenance else {}).get("fitted", {})
    error = fitted.get("log_partition_standard_error")
    return [
        Measurement(
            metric="log-likelihood",
            value=float(log_prob.mean()),
            unit="nats/image",
            data="MNIST test, drawn binary",
            size=len(log_prob),
            seed=seed,
            note="log Z is an estimate" + (f", its standard error {error:.2g}" if error is not None else ""),
        )
    ]
