"""Arrays from a client made into a batch of the model's samples, or refused with what was expected and found."""

from functools import lru_cache

import numpy as np

from contract.manifest import Data
from service.errors import Invalid


def expected(data: Data) -> str:
    """A sample's shape for people: `1 × 28 × 28`, `1 × H × W`."""
    names = ("C", "H", "W") if data.kind == "image" else tuple(f"D{i}" for i in range(len(data.shape)))
    return " × ".join(name if side is None else str(side) for side, name in zip(data.shape, names, strict=True))


def as_images(array: np.ndarray, data: Data, field: str) -> np.ndarray:
    """Read (H, W), (C, H, W), (H, W, C), (N, H, W) or (N, C, H, W) as a batch of images (N, C, H, W).

    An axis of channels is recognised by its length; (N, H, W) is meant where the model is grey and no axis is.
    """
    channels = data.shape[0]
    shape = array.shape
    if array.ndim == 2 and channels == 1:
        batch = array[None, None]
    elif array.ndim == 3 and shape[0] == channels:
        batch = array[None]
    elif array.ndim == 3 and shape[2] == channels:
        batch = array.transpose(2, 0, 1)[None]
    elif array.ndim == 3 and channels == 1:
        batch = array[:, None]
    elif array.ndim == 4 and shape[1] == channels:
        batch = array
    elif array.ndim == 4 and shape[3] == channels:
        batch = array.transpose(0, 3, 1, 2)
    else:
        raise Invalid(f"{field}: expected an image of {expected(data)}, found an array {list(shape)}", field=field)
    check_sides(batch, data, field)
    return np.ascontiguousarray(batch)


def check_sides(batch: np.ndarray, data: Data, field: str) -> None:
    """Refuse images whose sides the model cannot take. batch (N, C, H, W)."""
    if not _fit(batch.shape, data.shape):
        found = " × ".join(map(str, batch.shape[1:]))
        raise Invalid(f"{field}: expected an image of {expected(data)}, found {found}: resize it", field=field)


@lru_cache(256)
def _fit(found: tuple[int, ...], sample: tuple[int | None, ...]) -> bool:
    """Whether a batch of this shape has some such samples: clients send the same shapes again and again."""
    return 0 not in found and all(want in (None, side) for want, side in zip(sample, found[1:], strict=True))


def check_range(batch: np.ndarray, data: Data, field: str) -> None:
    """Refuse samples outside of the model's range of values, for models whose density means something in it only."""
    if data.value_range is None:
        return
    low, high = data.value_range
    least, most = float(batch.min()), float(batch.max())
    if least < low or most > high:
        raise Invalid(
            f"{field}: expected values in [{low:g}, {high:g}], found [{least:g}, {most:g}]: rescale them", field=field
        )


def check_values(name: str, array: np.ndarray, low: float, high: float) -> None:
    """Refuse an input that has values outside of these bounds."""
    if array.size and not low <= array.min() <= array.max() <= high:
        found = f"{array.min():g} to {array.max():g}"
        raise Invalid(f"{name}: expected values from {low:g} to {high:g}, found {found}", field=name)


def work(batch: np.ndarray, data: Data) -> float:
    """The work of one evaluation: rows, or pixels where a row may be of any size. batch (N, C, H, W)."""
    return float(batch.size if None in data.shape else len(batch))
