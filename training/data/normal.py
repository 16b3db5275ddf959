"""A user's own normal items, read as the service would read them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

from contract import Manifest
from service.codecs import picture, table
from service.codecs.columns import columns_of
from service.errors import AmostraError
from service.tasks.samples import as_images, check_range
from training.data.files import MEDIA_TYPES as TABLES
from training.data.source import DataError
from training.family import Batch, Source

PICTURES = (".png", ".jpg", ".jpeg")
MAX_PIXELS = 2**26


@dataclass(frozen=True)
class Items:
    """Rows of each input, (N, …); batches hold them by name."""

    inputs: dict[str, torch.Tensor]

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def at(self, indices: torch.Tensor, generator: torch.Generator | None = None) -> Batch:
        return {name: rows[indices] for name, rows in self.inputs.items()}


def normal_items(path: Path, directory: Path, manifest: Manifest) -> Source:
    """What lies at `path` as a model takes it: a folder of pictures of one size, an array .npy (N, …), rows of a table in
    .csv, .parquet or .arrow, or a text with an item in each line.

    Raises DataError, naming what is wrong.
    """
    if not path.exists():
        raise DataError(f"data: expected a file or a folder, found no {path}")
    kind = manifest.data.kind
    try:
        if kind == "text":
            return _lines(path, directory, manifest)
        if kind == "vector" and path.suffix.lower() in TABLES:
            array = _rows(path, manifest)
        elif path.suffix == ".npy":
            array = np.load(path, allow_pickle=False)
        elif kind == "image":
            array = _pictures(path, manifest)
        else:
            raise DataError(f"data: expected .npy, {', '.join(TABLES)} for rows of a table, found {path.name}")
        if kind == "image":
            array = as_images(np.asarray(array, np.float32), manifest.data, "data")
            check_range(array, manifest.data, "data")
    except (AmostraError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: {error}") from error
    rows = np.ascontiguousarray(array, np.float32)
    if kind == "vector" and (rows.ndim != 2 or rows.shape[1:] != manifest.data.shape):
        raise DataError(f"{path}: expected rows of {manifest.data.shape[0]} numbers, found {list(rows.shape)}")
    if not np.isfinite(rows).all():
        raise DataError(f"{path}: expected finite numbers, found NaN or infinity")
    return Items({"x": torch.from_numpy(rows)})


def _rows(path: Path, manifest: Manifest) -> np.ndarray:
    """As a request's: columns by their names, in any order."""
    unbounded = 2**62
    known = columns_of(manifest.data)
    return table.decode(path.read_bytes(), TABLES[path.suffix.lower()], known, unbounded, unbounded, path.name)


def _pictures(path: Path, manifest: Manifest) -> np.ndarray:
    files = sorted(p for p in path.rglob("*") if p.suffix.lower() in PICTURES) if path.is_dir() else [path]
    if not files:
        raise DataError(f"{path}: expected PNG or JPEG pictures, found none")
    channels = manifest.data.shape[0] or 1
    images = [picture.decode(file.read_bytes(), channels, MAX_PIXELS, file.name) for file in files]
    sizes = {image.shape for image in images}
    if len(sizes) > 1:
        raise DataError(f"{path}: expected pictures of one size, found {sorted(sizes)}")
    return np.stack(images)


def _lines(path: Path, directory: Path, manifest: Manifest) -> Items:
    text = manifest.text
    assert text is not None, "the contract asks for it"
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line]
    tokenizer = Tokenizer.from_file(str(directory / text.tokenizer.file))
    unknown = tokenizer.token_to_id("<unk>")
    end = () if text.end_token is None else (text.end_token,)
    rows = []
    for encoding in tokenizer.encode_batch(lines, add_special_tokens=False):
        if unknown in encoding.ids or max(encoding.ids, default=0) >= text.vocabulary:
            raise DataError(f"{path}: a line has characters that the model has never seen: {lines[len(rows)][:60]!r}")
        rows.append([*text.start, *encoding.ids, *end])
    if not rows:
        raise DataError(f"{path}: expected an item in each line, found none")
    width = max(map(len, rows))
    input_ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    return Items({"input_ids": input_ids, "lengths": torch.tensor([len(row) for row in rows])})
