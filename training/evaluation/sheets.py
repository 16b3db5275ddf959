"""A picture of what a model does, `sheet.png` beside its manifest: one panel for each thing that can be shown."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from sklearn.decomposition import PCA

from contract import Capability, write_manifest
from contract.manifest import FileRef
from service.engine.job import Sampling
from service.loading import load_model
from service.settings import Settings
from service.tasks.complete import Request, complete, tokenize_prompt
from training.data.images import Stacked, image_list, images, synthetic_images
from training.data.source import keyed
from training.degradation import degraded
from training.evaluate import ExportedModel
from training.evaluation.lines import STRANGE, test_lines
from training.evaluation.own import dataset_of
from training.evaluation.sampling import draw, run
from training.evaluation.surprise_sheets import coloured_lines, explained
from training.evaluation.tables import scored_rows
from training.graphs import sha256

SHEET_NAME = "sheet.png"
WIDTH = 600  # pixels
COLUMNS = 10
RANKED = 500  # held-out images, of which the extremes are shown
SCATTERED = 1500
SHOWN_LINES, SHORT = 6, 25
PHOTOGRAPH = 120  # the side of a crop
CHARACTERS = 400
SIGMA = 0.5
COLOURS = ("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#ff8ab7", "#a463f2", "#97bbf5", "#9c6b4e", "#9498a0")

Array = NDArray[np.float32]
Panel = tuple[str, Image.Image]


def write_sheet(directory: Path, data_root: Path | None, seed: int) -> Path | None:
    """Write the sheet and name it in the manifest; None where there is nothing to show."""
    model = ExportedModel.open(directory)
    panels = [(caption, panel(model, data_root, seed)) for caption, panel in _panels(model)]
    if not panels:
        return None
    path = directory / SHEET_NAME
    _stacked(panels).quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)
    reference = FileRef(file=path.name, sha256=sha256(path))
    write_manifest(directory, model.manifest.model_copy(update={"sheet": reference}))
    return path


def _panels(model: ExportedModel) -> Iterator[tuple[str, Callable[[ExportedModel, Path | None, int], Image.Image]]]:
    can, kind = set(model.manifest.capabilities), model.manifest.data.kind
    drawn = can & {Capability.DECODE, Capability.DENOISE_STEP, Capability.NEXT_TOKEN} if kind == "image" else set()
    if Capability.DENOISE_STEP in drawn and not model.manifest.sampling.samplers:
        yield f"true, with noise of {SIGMA}, denoised", _denoised
    elif drawn:
        inputs = {tensor.name for capability in drawn for tensor in model.manifest.capabilities[capability].inputs}
        yield ("drawn, a row for each class" if "label" in inputs else "drawn"), _drawn
    if kind == "image" and Capability.RECONSTRUCT in can:
        yield ("true, given, restored" if model.manifest.restoration else "true, reconstructed"), _restored
    if kind == "image" and Capability.LOG_DENSITY in can:
        yield f"highest and lowest log_prob of {RANKED} held-out images", _ranked
    if kind == "image" and Capability.ENCODE in can and not drawn:
        yield f"two principal components of the embeddings of {SCATTERED} held-out images, by class", _scattered
    if kind == "vector" and can & {Capability.LOG_DENSITY, Capability.SCORE} and not model.manifest.data.columns:
        default = model.manifest.scoring.default if model.manifest.scoring else "log_prob"
        yield f"{default} of held-out rows: normal above, anomalous below", _scores
    if kind == "image" and Capability.SCORE in can and _says_where(model):
        yield f"normal ones and the strangest of {RANKED} held-out images, and where their surprise lies", _explained
    if kind == "text" and Capability.SCORE in can and _says_where(model):
        yield f"the surprise of {SHOWN_LINES} held-out lines, and of lines that were spoilt", _lines
    if kind == "text" and Capability.NEXT_TOKEN in can:
        yield "written at temperature 0.8", _written


def _drawn(model: ExportedModel, data_root: Path | None, seed: int) -> Image.Image:
    classes = len(model.manifest.data.class_names)
    labels = np.arange(COLUMNS**2) // COLUMNS % max(classes, 1)
    return _grid(draw(model, COLUMNS**2, seed, labels).x, COLUMNS)


def _restored(model: ExportedModel, data_root: Path | None, seed: int) -> Image.Image:
    manifest = model.manifest
    columns = 4 if None in manifest.data.shape else COLUMNS
    truth = _held_out(model, data_root, columns)[0]
    inputs = {"x": truth}
    if manifest.restoration is not None:
        given = degraded(torch.from_numpy(truth), manifest.restoration, manifest.sigma_range, keyed(seed))
        inputs = {name: tensor.numpy() for name, tensor in given.items()}
    x_hat = model.run(Capability.RECONSTRUCT, inputs, "x_hat")
    rows = [truth, x_hat] if manifest.restoration is None else [truth, _enlarged(inputs["x"], truth), x_hat]
    return _grid(np.concatenate(rows), columns)


def _denoised(model: ExportedModel, data_root: Path | None, seed: int) -> Image.Image:
    truth = _held_out(model, data_root, COLUMNS)[0]
    noisy = truth + SIGMA * np.random.default_rng(seed).standard_normal(truth.shape, np.float32)
    x0 = model.run(Capability.DENOISE_STEP, {"x_t": noisy, "sigma": np.full(len(noisy), SIGMA, np.float32)}, "x0")
    return _grid(np.concatenate([truth, noisy, x0]), COLUMNS)


def _enlarged(given: Array, truth: Array) -> Array:
    """Of the truth's size and channels, to be shown beside it."""
    factor = truth.shape[2] // given.shape[2]
    return np.broadcast_to(given.repeat(factor, 2).repeat(factor, 3), truth.shape)


def _ranked(model: ExportedModel, data_root: Path | None, seed: int) -> Image.Image:
    x = _held_out(model, data_root, RANKED)[0]
    order = model.run(Capability.LOG_DENSITY, {"x": x}, "log_prob").argsort()[::-1]
    return _grid(x[np.concatenate([order[:COLUMNS], order[-COLUMNS:]])], COLUMNS)


def _says_where(model: ExportedModel) -> bool:
    return any(output.name == "surprise" for output in model.manifest.capabilities[Capability.SCORE].outputs)


def _explained(model: ExportedModel, data_root: Path | None, seed: int) -> Image.Image:
    return _grid(explained(model, _held_out(model, data_root, RANKED)[0], COLUMNS), COLUMNS)


def _lines(model: ExportedModel, data_root: Path | None, seed: int) -> Image.Image:
    lines = [line for line in test_lines(model, data_root) if len(line) > SHORT][: SHOWN_LINES + len(STRANGE)]
    strange = zip(STRANGE.values(), lines[SHOWN_LINES:], strict=True)
    spoilt = [make([line], np.random.default_rng(seed))[0] for make, line in strange]
    return coloured_lines(model, [*lines[:SHOWN_LINES], *spoilt], WIDTH)


def _scattered(model: ExportedModel, data_root: Path | None, seed: int) -> Image.Image:
    x, labels = _held_out(model, data_root, SCATTERED)
    points = PCA(2, random_state=seed).fit_transform(model.run(Capability.ENCODE, {"x": x}, "embedding"))
    low, high = np.percentile(points, [0.5, 99.5], axis=0)
    places = ((points - low) / (high - low)).clip(0, 1) * (WIDTH - 30) + 15
    picture = Image.new("RGB", (WIDTH, WIDTH), "white")
    pen = ImageDraw.Draw(picture)
    for (right, up), label in zip(places, labels, strict=True):
        pen.text((right, up), str(label), COLOURS[label % len(COLOURS)], ImageFont.load_default(11), anchor="mm")
    return picture


def _scores(model: ExportedModel, data_root: Path | None, seed: int) -> Image.Image:
    rows, scores, _ = scored_rows(model, data_root)
    low, high = np.percentile(scores, [2, 100])
    height, bins = 140, 60
    picture = Image.new("RGB", (WIDTH, 2 * height), "white")
    pen = ImageDraw.Draw(picture)
    for part, colour in enumerate(COLOURS[:2]):
        own = scores[rows.anomalous.numpy() == part].clip(low, high)
        counts, _ = np.histogram(own, bins, (low, high))
        for i, share in enumerate(counts / max(counts.max(), 1)):
            left, floor = i * WIDTH / bins, height * (part + 1) - 14
            pen.rectangle((left, floor - share * (height - 24), left + WIDTH / bins - 2, floor), colour)
    pen.text((2, 2 * height), f"{low:.4g}, and less", "black", anchor="ld")
    pen.text((WIDTH - 2, 2 * height), f"{high:.4g}", "black", anchor="rd")
    return picture


def _written(model: ExportedModel, data_root: Path | None, seed: int) -> Image.Image:
    loaded = load_model(model.directory.resolve(), Settings(provider="cpu"), "cpu")
    request = Request(tokenize_prompt(loaded, ""), "", 0, seed, CHARACTERS, Sampling(temperature=0.8))
    (completion,), _ = run(loaded, [(complete(loaded, request), request.work)])
    lines = completion.text[:CHARACTERS].splitlines()[:16]
    picture = Image.new("RGB", (WIDTH, 18 * len(lines) + 8), "white")
    font = ImageFont.load_default(13)
    ImageDraw.Draw(picture).multiline_text((8, 4), "\n".join(lines), "black", font, spacing=4)
    return picture


def _held_out(model: ExportedModel, data_root: Path | None, n: int) -> tuple[Array, NDArray[np.int64]]:
    """The first n test images of the model's dataset, (n, C, H, W), and their labels, 0 where they have none; of pictures of
    one's own, those that were held out, again and again where they are few."""
    name = model.manifest.data.dataset
    if model.trained_on is not None and model.trained_on.dataset == "pictures":
        held_out = dataset_of(model, data_root).calibration
        batch = held_out.at(torch.arange(n) % len(held_out))
        return batch["x"].numpy(), batch["label"].numpy()
    if name == "bsd400":
        crops = [photograph[:PHOTOGRAPH, :PHOTOGRAPH] for photograph in image_list("set12", data_root)[:n]]
        return np.stack(crops)[:, None].astype(np.float32) / 255, np.zeros(n, np.int64)
    if name.startswith("synthetic-"):
        pixels, labels = synthetic_images(n, seed=1)
    else:
        pixels, labels = images("mnist", "test", data_root)
    if model.manifest.data.shape[0] == 3:
        return Stacked(pixels).at(torch.arange(n))["x"].numpy(), np.zeros(n, np.int64)
    return (pixels[:n].float() / 255).numpy(), labels[:n].numpy()


def _grid(x: Array, columns: int) -> Image.Image:
    """x (rows * columns, C, H, W) in [0, 1], in reading order, enlarged to the sheet's width without smoothing."""
    count, channels, height, width = x.shape
    x = x.reshape(count // columns, columns, channels, height, width).transpose(
        0, 3, 1, 4, 2
    )  # (rows, H, columns, W, C)
    pixels = (x.clip(0, 1) * 255).round().astype(np.uint8).reshape(count // columns * height, columns * width, channels)
    picture = Image.fromarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))
    factor = max(1, WIDTH // picture.width)
    return picture.resize((factor * picture.width, factor * picture.height), Image.Resampling.NEAREST)


def _stacked(panels: list[Panel]) -> Image.Image:
    """One below the other, each under its caption."""
    caption_height = 20
    width = max(picture.width for _, picture in panels)
    height = sum(picture.height + caption_height for _, picture in panels)
    whole, top = Image.new("RGB", (width, height), "white"), 0
    for caption, picture in panels:
        ImageDraw.Draw(whole).text((4, top + 3), caption, "black", ImageFont.load_default(12))
        whole.paste(picture, (0, top + caption_height))
        top += picture.height + caption_height
    return whole
