"""The manifest as a file: read strictly, written at once or not at all."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from contract.manifest import Manifest

MANIFEST_NAME = "manifest.json"
MAX_MANIFEST_BYTES = 4 * 2**20


class ManifestError(ValueError):
    """A manifest that cannot be read; the message names the key, what was expected and what was found."""


def read_manifest(directory: Path) -> Manifest:
    """Read a model directory's manifest.

    Raises ManifestError where it is missing, too large, not JSON, or not a manifest.
    """
    return parse_manifest(manifest_bytes(directory))


def manifest_bytes(directory: Path) -> bytes:
    """The manifest as it lies in a model directory. Raises ManifestError where it is missing or too large."""
    path = directory / MANIFEST_NAME
    try:
        with path.open("rb") as stream:
            text = stream.read(MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise ManifestError(f"{MANIFEST_NAME}: expected a readable file, found {error.strerror}") from error
    if len(text) > MAX_MANIFEST_BYTES:
        raise ManifestError(f"{MANIFEST_NAME}: expected at most {MAX_MANIFEST_BYTES} bytes, found more")
    return text


def parse_manifest(text: bytes) -> Manifest:
    """A manifest's bytes. Raises ManifestError where they are not JSON, or not a manifest."""
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        raise ManifestError("; ".join(_sentence(e) for e in error.errors())) from error


def _sentence(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{where}: expected no such key, found {error['input']!r:.80}"
    if error["type"] in ("value_error", "json_invalid"):
        return f"{where}: {error['msg'].removeprefix('Value error, ')}".removeprefix(": ")
    if error["type"] == "missing":
        return f"{where}: expected a value, found none"
    return f"{where}: {error['msg']}, found {error['input']!r:.80}"


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Write the manifest at once or not at all, so that a polling server never reads half of it."""
    text = json.dumps(manifest.model_dump(mode="json", exclude_none=True), indent=2, ensure_ascii=False) + "\n"
    handle, name = tempfile.mkstemp(dir=directory, prefix=".manifest-")
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(text)
    os.chmod(name, 0o644)
    os.replace(name, directory / MANIFEST_NAME)
