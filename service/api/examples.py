"""Answers as the documentation shows them."""

MODELS = {
    "object": "list",
    "data": [
        {
            "id": "mnist-gan",
            "object": "model",
            "created": 1700000000,
            "owned_by": "amostra",
            "version": "1",
            "state": "ready",
            "problem": None,
            "family": "gan",
            "description": "Draws handwritten digits.",
            "tasks": ["generate"],
            "capabilities": ["decode"],
            "providers": {"decode": "CPUExecutionProvider"},
            "restores": None,
            "samplers": [],
            "sigma_range": None,
            "latent_size": 64,
        }
    ],
}
MODEL = {**MODELS["data"][0], "manifest": {"name": "mnist-gan", "version": "1"}}  # type: ignore[dict-item]
GENERATED = {
    "created": 1700000000,
    "model": "mnist-gan",
    "seed": 1,
    "data": [{"b64_json": "iVBORw0KGgo…", "index": 0, "label": 7, "class": "7"}],
}
DENOISED = {"created": 1700000000, "model": "photo-denoiser", "data": [{"b64_json": "iVBORw0KGgo…", "index": 0}]}
EDITED = {
    "created": 1700000000,
    "model": "mnist-diffusion",
    "seed": 1,
    "data": [{"b64_json": "iVBORw0KGgo…", "index": 0}],
}
RESTORED = {"created": 1700000000, "model": "mnist-restorer", "data": [{"b64_json": "iVBORw0KGgo…", "index": 0}]}
SCORED = {
    "object": "list",
    "model": "mnist-flow",
    "alpha": 0.05,
    "fdr": None,
    "statistic": "log_prob",
    "density": "exact",
    "calibration": {
        "size": 5000,
        "statistic": "log_prob",
        "data": "MNIST, held out of the training set",
        "smallest_p_value": 0.0002,
    },
    "data": [
        {
            "index": 0,
            "score": -598.2,
            "p_value": 0.42,
            "is_anomaly": False,
            "log_prob": -598.2,
            "bits_per_dim": 1.1,
        }
    ],
}
DRIFT = {
    "object": "drift",
    "model": "mnist-flow",
    "version": "1",
    "calibration_size": 10000,
    "window": 1000,
    "size": 1000,
    "ks": 0.021,
    "significance": 0.81,
    "mean_p_value": 0.503,
    "flagged": {"0.01": 0.009, "0.05": 0.052, "0.1": 0.11},
    "histogram": [52, 47, 50, 49, 51, 48, 53, 50, 47, 52, 49, 51, 50, 48, 52, 50, 51, 49, 50, 51],
}
EMBEDDED = {
    "object": "list",
    "model": "mnist-contrastive",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.31, -1.2, 0.05]}],
    "usage": {"prompt_tokens": 0, "total_tokens": 0},
}
COMPLETED = {
    "id": "cmpl-5f1c",
    "object": "text_completion",
    "created": 1700000000,
    "model": "shakespeare-gpt",
    "system_fingerprint": "shakespeare-gpt@1",
    "seed": 1,
    "choices": [{"index": 0, "text": "\nWhat says my lord?", "finish_reason": "length", "logprobs": None}],
    "usage": {"prompt_tokens": 6, "completion_tokens": 19, "total_tokens": 25},
}
