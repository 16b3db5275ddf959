"""What the documentation says of the fields of forms and queries."""

from typing import Any

FILE = {"type": "string", "format": "binary"}
FILES = {"type": "array", "items": FILE}
MODEL = {"type": "string", "description": "Model name, or name@version; the task's default if left out."}
SIGMA = {"type": "number", "minimum": 0}
FORMAT = {"enum": ["b64_json", "png", "npy"]}
DRAWN: dict[str, Any] = {
    "prompt": {"type": "string", "description": "A class name."},
    "label": {"type": "integer", "minimum": 0},
    "n": {"type": "integer", "minimum": 1},
    "seed": {"type": "integer", "minimum": 0},
    "steps": {"type": "integer", "minimum": 1},
    "sampler": {"type": "string"},
    "guidance": {"type": "number", "minimum": 0},
    "temperature": {"type": "number", "minimum": 0},
    "response_format": FORMAT,
}
ENCODING = {"enum": ["float", "base64"]}
ALPHA = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}
SCORED: dict[str, Any] = {
    "model": MODEL,
    "alpha": ALPHA,
    "fdr": ALPHA,
    "statistic": {"type": "string"},
    "explain": {"type": "boolean"},
}
AFTER = {"type": "string", "maxLength": 64, "description": "The last id of the page before."}
