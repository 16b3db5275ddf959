"""Datasets, read once into memory by Hugging Face `datasets`, and batches drawn from them by seed and step.

A data root (`--data-root`, or AMOSTRA_DATA) is a folder with the sub-folders mnist, omniglot, tinyshakespeare, bsd400,
set12 and adbench. Without one, the hub's or the author's own address is used where there is one. Of each training set a part is
held out, never trained on: half of it chooses the checkpoint, and scores are calibrated on the other half, or of images
on all of it. Test sets are for `evaluate` alone.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer

from training.data.embedded import Embedded, Encoder
from training.data.files import from_file
from training.data.images import DIGITS, Images, Stacked, images, synthetic_images
from training.data.lines import LINES, encoded, split_lines
from training.data.pictures import from_folder
from training.data.source import DataError
from training.data.tables import FILES, Rows, table
from training.data.texts import OWN as OWN_TEXT
from training.data.texts import Windows, split_text, text
from training.data.tokenizers import BYTES, UNKNOWN, character_tokenizer, pair_tokenizer
from training.family import DataSummary, Source
from training.recipe import DataConfig

HELD_OUT_SHARE = 0.05  # of a training text
HELD_OUT_PICTURES_SHARE = 0.3  # of a folder: half of them for calibration alone
HELD_OUT_ROWS_SHARE = 0.2  # of a table, or of lines; image sets say their own number
_IMAGES = ("mnist", "stacked-mnist", "bsd400", "synthetic-images", "synthetic-colours")
_PICTURES = ("pictures",)
_TEXTS = ("tinyshakespeare", "synthetic-text", OWN_TEXT)
_TABLES = (*FILES, "synthetic-table", "table")


@dataclass(frozen=True)
class Dataset:
    """A training set with its held-out parts. `encoder` made its rows of the images of another, `encoded`."""

    name: str
    summary: DataSummary
    train: Source
    validation: Source
    calibration: Source
    tokenizer: Tokenizer | None = None
    encoder: Encoder | None = None
    encoded: "Dataset | None" = None


def load(config: DataConfig, root: Path | None, exported: Path = Path("exported")) -> Dataset:
    """The dataset of a recipe; `exported` is where its encoder lies.

    Raises DataError where it is not there.
    """
    for names, read in (
        (_TEXTS, _text),
        (LINES, _lines),
        (_TABLES, _table),
        (_IMAGES, _images),
        (_PICTURES, _pictures),
    ):
        if config.dataset in names:
            dataset = read(config, root)
            return dataset if config.encoder is None else _embedded(dataset, exported / config.encoder)
    known = ", ".join([*_IMAGES, *_PICTURES, *_TEXTS, *LINES, *_TABLES])
    raise DataError(f"data.dataset: unknown {config.dataset!r}; known: {known}")


def _images(config: DataConfig, root: Path | None) -> Dataset:
    if config.dataset.startswith("synthetic-"):
        pixels, labels = synthetic_images(600, 0)
        held_out = 100
    else:
        pixels, labels = images("mnist" if config.dataset == "stacked-mnist" else config.dataset, "train", root)
        held_out = {"mnist": 10_000, "stacked-mnist": 10_000, "bsd400": 20}[config.dataset]
    first, middle = len(pixels) - held_out, len(pixels) - held_out // 2
    if config.dataset in ("stacked-mnist", "synthetic-colours"):
        train, validation, calibration = (Stacked(p) for p in (pixels[:first], pixels[first:middle], pixels[first:]))
        summary = DataSummary("image", (3, *pixels.shape[2:]))
        return Dataset(config.dataset, summary, train, validation, calibration)
    shape = (pixels.shape[1], *((None, None) if config.dataset == "bsd400" else pixels.shape[2:]))
    train = Images(pixels[:first], labels[:first], config.crop, config.flips)
    validation = Images(pixels[first:middle], labels[first:middle])
    calibration = Images(pixels[first:], labels[first:])  # all: of MNIST's two halves one is harder
    if config.classes:
        train, validation, calibration = (part.of(config.classes) for part in (train, validation, calibration))
    return Dataset(
        name=config.dataset,
        summary=DataSummary("image", shape, class_names=() if config.dataset == "bsd400" else DIGITS),
        train=train,
        validation=validation,
        calibration=calibration,
    )


def _pictures(config: DataConfig, root: Path | None) -> Dataset:
    name, pixels, labels, classes = from_folder(config, root)
    first = int(len(pixels) * (1 - HELD_OUT_PICTURES_SHARE))
    middle = (first + len(pixels)) // 2
    return Dataset(
        name=name,
        summary=DataSummary("image", tuple(pixels.shape[1:]), class_names=classes),
        train=Images(pixels[:first], labels[:first], flips=config.flips),
        validation=Images(pixels[first:middle], labels[first:middle]),
        calibration=Images(pixels[middle:], labels[middle:]),
    )


def _table(config: DataConfig, root: Path | None) -> Dataset:
    if config.dataset == "table":
        name, values, columns = from_file(config, root)
        summary = DataSummary("vector", (values.shape[1],), columns=columns)
    else:
        rows = table(config.dataset, root)
        name, values = config.dataset, rows.train
        summary = DataSummary("vector", (values.shape[1],), column_names=rows.column_names)
    first = int(len(values) * (1 - HELD_OUT_ROWS_SHARE))
    middle = (first + len(values)) // 2
    return Dataset(name, summary, Rows(values[:first]), Rows(values[first:middle]), Rows(values[middle:]))


def _embedded(images: Dataset, model: Path) -> Dataset:
    encoder = Encoder(model, images.summary)
    train, validation, calibration = (
        Embedded(part, encoder) for part in (images.train, images.validation, images.calibration)
    )
    summary = DataSummary("vector", (encoder.size,))
    return Dataset(images.name, summary, train, validation, calibration, encoder=encoder, encoded=images)


def _text(config: DataConfig, root: Path | None) -> Dataset:
    whole = text(config.dataset, root, config.path)
    tokenizer = _tokenizer(config, whole, split_text(whole)[0])
    tokens = torch.tensor(tokenizer.encode(split_text(whole)[0]).ids)
    start, unknown = tokenizer.encode("\n").ids[0], tokenizer.token_to_id(UNKNOWN)
    context, total = config.context, len(tokens)
    size = context + 1  # the first token of a window is given, the others are predicted
    # The middle: the play that the test part begins in is only at the end of the training part.
    first, last = int(total * (1 - HELD_OUT_SHARE) / 2), int(total * (1 + HELD_OUT_SHARE) / 2)
    train = torch.cat([torch.arange(first - size + 1), torch.arange(last, total - size + 1)])
    held_out = torch.arange(first, max(first, last - size + 1), context)  # one window here, one there: both see all
    if len(held_out) < 2:
        raise DataError(f"data.context: {context} is too long to hold out two windows of {total} tokens; shorten it")
    return Dataset(
        name=Path(config.path).name if config.path else config.dataset,
        summary=DataSummary("text", vocabulary=tokenizer.get_vocab_size() - (unknown is not None), start_token=start),
        train=Windows(tokens, size, train),
        validation=Windows(tokens, size, held_out[::2]),
        calibration=Windows(tokens, size, held_out[1::2]),
        tokenizer=tokenizer,
    )


def _lines(config: DataConfig, root: Path | None) -> Dataset:
    lines, _ = split_lines(config.dataset, config.path, root, config.shuffled)
    first = int(len(lines) * (1 - HELD_OUT_ROWS_SHARE))
    middle = (first + len(lines)) // 2
    tokenizer = _tokenizer(config, "\n".join(lines), "\n".join(lines[:first]))
    rows, most = encoded(lines, tokenizer), config.context + 1
    (line_break,), unknown = tokenizer.encode("\n").ids, tokenizer.token_to_id(UNKNOWN)
    return Dataset(
        name=Path(config.path).name if config.path else config.dataset,
        summary=DataSummary(
            "text",
            vocabulary=tokenizer.get_vocab_size() - (unknown is not None),
            start_token=line_break,
            end_token=line_break,
        ),
        train=rows.part(0, first, most),
        validation=rows.part(first, middle, most),
        calibration=rows.part(middle, len(lines)),
        tokenizer=tokenizer,
    )


def _tokenizer(config: DataConfig, whole: str, learnt_from: str) -> Tokenizer:
    if config.tokenizer == "characters":
        return character_tokenizer(whole)
    return pair_tokenizer(learnt_from, BYTES if config.tokenizer == "bytes" else config.vocabulary)
