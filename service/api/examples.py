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
            "default_for": ["generate"],
            "capabilities": ["decode"],
            "providers": {"decode": "CPUExecutionProvider"},
            "restores": None,
            "samplers": [],
            "sigma_range": None,
            "latent_size": 64,
            "data": {"kind": "image", "dataset": "mnist", "shape": [1, 28, 28], "class_names": ["0", "1"]},
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
SAMPLED = {
    "object": "list",
    "model": "a-table-model",
    "seed": 1,
    "data": [{"object": "row", "index": 0, "row": {"temperature": 71.3, "valve": "open", "flow": None}}],
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
CALIBRATION = {
    "object": "calibration",
    "model": "mnist-flow",
    "version": "1",
    "size": 10000,
    "data": "mnist, held out of the training set",
    "statistic": "log_prob",
    "levels": [0.0, 0.5, 1.0],
    "quantiles": {"log_prob": [-900.5, -540.25, -210.75]},
}
SERVER = {"name": "amostra", "version": "0.1.0", "extensions": ["binary_tensor_data"]}
INDEX = [{"name": "mnist-gan.decode", "version": "1", "state": "READY", "reason": ""}]
GRAPH = {
    "name": "pendigits-flow.log_density",
    "versions": ["1"],
    "platform": "onnxruntime_onnx",
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 16]}],
    "outputs": [{"name": "log_prob", "datatype": "FP32", "shape": [-1]}],
}
INFER = {
    "id": "1",
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [0.1, 0.2, 0.3]}],
    "outputs": [{"name": "log_prob"}],
}
INFERRED = {
    "model_name": "a-table-model.log_density",
    "model_version": "1",
    "id": "1",
    "outputs": [{"name": "log_prob", "datatype": "FP32", "shape": [1], "data": [-3.2]}],
}
FILE = {
    "id": "file-5f1c",
    "object": "file",
    "bytes": 1204,
    "created_at": 1700000000,
    "expires_at": 1702592000,
    "filename": "requests.jsonl",
    "purpose": "batch",
    "status": "processed",
    "status_details": None,
}
FILES = {"object": "list", "data": [FILE], "first_id": "file-5f1c", "last_id": "file-5f1c", "has_more": False}
DELETED = {"id": "file-5f1c", "object": "file", "deleted": True}
BATCH = {
    "id": "batch_9a2e",
    "object": "batch",
    "endpoint": "/v1/completions",
    "errors": None,
    "input_file_id": "file-5f1c",
    "completion_window": "24h",
    "status": "completed",
    "output_file_id": "file-7d03",
    "error_file_id": None,
    "created_at": 1700000000,
    "in_progress_at": 1700000001,
    "expires_at": 1700086400,
    "finalizing_at": 1700000300,
    "completed_at": 1700000301,
    "failed_at": None,
    "expired_at": None,
    "cancelling_at": None,
    "cancelled_at": None,
    "request_counts": {"total": 1000, "completed": 1000, "failed": 0},
    "metadata": {"night": "of the 21st"},
}
BATCHES = {"object": "list", "data": [BATCH], "first_id": "batch_9a2e", "last_id": "batch_9a2e", "has_more": False}
