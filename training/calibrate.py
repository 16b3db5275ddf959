"""Scores of normal data, against which a server turns a score into a conformal p-value.

They are computed through the exported graph, so that they are what the server would have answered.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from contract import Capability, Manifest, read_manifest, write_manifest
from contract.manifest import Calibration, FileRef
from training.data.normal import normal_items
from training.data.source import in_order
from training.family import Batch, Source
from training.graphs import open_session, sha256
from training.scored_lines import scored_lines

BATCH_SIZE = 64
_USUAL = 0.999
_KEPT_VALUES = 2_000_000


class CalibrationError(ValueError):
    """Data that a model cannot be calibrated on; the message says what was expected."""


def calibration(directory: Path, manifest: Manifest, source: Source, size: int, data: str) -> Calibration:
    """Score at most `size` items of normal data with the model in a directory, and store the scores there.

    Raises CalibrationError where there is nothing to score with or on, or a score is no number.
    """
    batches = (source.at(indices) for indices in in_order(source, BATCH_SIZE, size))
    if manifest.data.kind == "text" and _are_lines(source):
        scores, surprise = _of_lines(directory, manifest, batches)
    elif Capability.SCORE in manifest.capabilities:
        scores, surprise = _normality(directory, manifest, batches)
    else:
        scores, surprise = _log_prob(directory, manifest, batches)
    if not scores.shape[-1]:
        raise CalibrationError("data: expected normal items to calibrate on, found none")
    if not np.isfinite(scores).all():
        raise CalibrationError(
            "data: expected items whose scores are numbers, found one whose score is infinite or NaN"
        )
    return Calibration(
        scores=_store(directory, np.sort(scores)),
        size=scores.shape[-1],
        statistic=statistic_of(manifest),
        data=data,
        surprise=surprise,
    )


def renew(directory: Path, path: Path, size: int) -> Calibration:
    """Calibrate a model directory on a user's own normal data; a server that has it loads it again.

    Raises CalibrationError, DataError, and then nothing is changed.
    """
    manifest = read_manifest(directory)
    items = normal_items(path, directory, manifest)
    before = manifest.calibration
    after = calibration(directory, manifest, items, size, f"{path.name}, given by the user")
    write_manifest(directory, manifest.model_copy(update={"calibration": after}))
    if before is not None and before.scores.file != after.scores.file:
        (directory / before.scores.file).unlink(missing_ok=True)
    return after


def _store(directory: Path, scores: NDArray[np.float64]) -> FileRef:
    """Under a name of its own, so that a server never finds the new scores with the old manifest."""
    working = directory / f".calibration-{os.getpid()}.npy"
    np.save(working, scores)
    digest = sha256(working)
    file = f"calibration-{digest[:12]}.npy"
    os.replace(working, directory / file)
    return FileRef(file=file, sha256=digest)


def statistic_of(manifest: Manifest) -> Literal["log_prob", "log_prob_per_token", "normality"]:
    """What is stored of a model's items."""
    if manifest.scoring is not None:
        return "normality"
    return "log_prob_per_token" if manifest.data.kind == "text" else "log_prob"


def _are_lines(source: Source) -> bool:
    """Whether its items are whole texts of any length, rather than windows of one text."""
    return len(source) > 0 and "lengths" in source.at(torch.zeros(1, dtype=torch.int64))


def _of_lines(
    directory: Path, manifest: Manifest, batches: Iterator[Batch]
) -> tuple[NDArray[np.float64], float | None]:
    """By the server's own code: (N, n) of a `score` graph, else (n,)."""
    text = manifest.text
    assert text is not None, "the contract asks for it"
    if not manifest.capabilities.keys() & {Capability.SCORE, Capability.LOG_DENSITY}:
        raise CalibrationError(_cannot(manifest))
    start, ended = len(text.start), text.end_token is not None
    lines = (
        [row[start : n - ended] for row, n in zip(batch["input_ids"].numpy(), batch["lengths"].tolist(), strict=True)]
        for batch in batches
    )
    found = list(scored_lines(directory, manifest, lines))
    normality = np.concatenate([scores.normality for scores in found]).T
    surprise = [line for scores in found for line in scores.surprise or ()]
    return (normality if manifest.scoring is not None else normality[0]), _rare(surprise)


def _cannot(manifest: Manifest) -> str:
    return f"{manifest.name}: expected a model that scores, found {', '.join(manifest.capabilities)}"


def _normality(
    directory: Path, manifest: Manifest, batches: Iterator[Batch]
) -> tuple[NDArray[np.float64], float | None]:
    """By each statistic, (N, n); and the surprise that is rare."""
    graph = manifest.capabilities[Capability.SCORE]
    session = open_session(directory / graph.file)
    names = [t.name for t in graph.outputs]
    scores, surprises = [], []
    for batch in batches:
        outputs = dict(zip(names, session.run(names, {"x": batch["x"].numpy()}), strict=True))
        scores.append(outputs["normality"].astype(np.float64).T)
        surprises.append(outputs.get("surprise", np.zeros(0)))
    assert manifest.scoring is not None, "the contract asks for it"
    empty = np.zeros((len(manifest.scoring.statistics), 0))
    return np.concatenate([empty, *scores], axis=1), _rare(surprises)


def _log_prob(
    directory: Path, manifest: Manifest, batches: Iterator[Batch]
) -> tuple[NDArray[np.float64], float | None]:
    """Of an item, (n,); of text, per predicted token of a window. And the surprise that is rare."""
    if Capability.LOG_DENSITY not in manifest.capabilities:
        raise CalibrationError(_cannot(manifest))
    graph = manifest.capabilities[Capability.LOG_DENSITY]
    session = open_session(directory / graph.file)
    names = [t.name for t in graph.outputs]
    scores, surprises = [np.zeros(0)], []
    for batch in batches:
        if manifest.data.kind == "text":
            input_ids = batch["input_ids"].numpy()  # (B, T)
            feed = {"input_ids": input_ids, "lengths": np.full(len(input_ids), input_ids.shape[1], np.int64)}
            predicted = feed["lengths"] - 1
        else:
            feed, predicted = {"x": batch["x"].numpy()}, 1
        outputs = dict(zip(names, session.run(names, feed), strict=True))
        log_prob = outputs["log_prob"].astype(np.float64)
        if manifest.data.kind == "text" and "log_prob_map" in outputs:  # as the server has it: exact sums
            log_prob = outputs["log_prob_map"].astype(np.float64).sum(axis=-1)
        scores.append(log_prob / predicted)
        surprises.append(-outputs.get("log_prob_map", np.zeros(0)))
    return np.concatenate(scores), _rare(surprises)


def _rare(surprises: list[np.ndarray]) -> float | None:
    """What a value's surprise exceeds once in a thousand times, of the positive ones; None without any."""
    values = np.concatenate([np.ravel(s) for s in surprises] or [np.zeros(0)])
    positive = values[values > 0]
    if not len(positive):
        return None
    return float(np.quantile(positive[:: len(positive) // _KEPT_VALUES + 1], _USUAL))
