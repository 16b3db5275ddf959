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
    "density": "exact",
    "calibration": {
        "size": 5000,
        "statistic": "log_prob",
        "data": "MNIST, held out of the training set",
        "smallest_p_value": 0.0002,
    },
    "data": [{"index": 0, "log_prob": -598.2, "bits_per_dim": 1.1, "p_value": 0.42, "is_anomaly": False}],
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
