"""Pictures of one's own: a folder of PNG or JPEG files, or folders in it, one for each class.

A picture is turned as its camera says, cut to the square in its middle, and brought to one size: uint8 (C, side, side).
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from training.data.source import DataError, keyed
from training.recipe import DataConfig

SUFFIXES = (".png", ".jpg", ".jpeg")
MIN_PICTURES = 50


def from_folder(config: DataConfig, root: Path | None) -> tuple[str, Tensor, Tensor, tuple[str, ...]]:
    """A folder's name, its pictures uint8 (N, C, side, side) in an order drawn once, their labels (N,), and the names of
    the classes, none where the pictures lie in the folder itself.

    Raises DataError where there are too few, or one cannot be read.
    """
    folder = _found(config.path, root)
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if len(files) < MIN_PICTURES:
        raise DataError(
            f"data.path: expected {MIN_PICTURES} PNG or JPEG files at least in {folder}, found {len(files)}"
        )
    kinds = [path.relative_to(folder).parts[0] if path.parent != folder else "" for path in files]
    names = tuple(sorted(set(kinds)))
    if "" in names and len(names) > 1:
        loose = files[kinds.index("")].name
        raise DataError(
            f"data.path: expected all pictures of {folder} in folders of classes, or none; found {loose} beside"
        )
    pixels = torch.from_numpy(np.stack([_picture(path, config.side, config.colours) for path in files]))
    labels = torch.tensor([names.index(kind) for kind in kinds])
    order = torch.randperm(len(files), generator=keyed(len(files)))
    return folder.name, pixels[order], labels[order], () if names == ("",) else names


def _found(name: str | None, root: Path | None) -> Path:
    if name is None:
        raise DataError("data.path: expected a folder of pictures, found none: give --data.path")
    places = [Path(name), *([root / name] if root else [])]
    folder = next((place for place in places if place.is_dir()), None)
    if folder is None:
        raise DataError(f"data.path: expected a folder of pictures, found none at {' or '.join(map(str, places))}")
    return folder


def _picture(path: Path, side: int, colours: bool) -> np.ndarray:
    """(C, side, side)."""
    try:
        with Image.open(path) as opened:
            picture = ImageOps.exif_transpose(opened).convert("RGB" if colours else "L")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"data.path: {path} cannot be read: {error}") from error
    if picture.size != (side, side):
        picture = ImageOps.fit(picture, (side, side), Image.Resampling.LANCZOS)
    array = np.asarray(picture)
    return array.transpose(2, 0, 1) if colours else array[None]
