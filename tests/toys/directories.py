"""Model directories of toy models: graph, manifest with hashes, and what else the contract asks for.

store/<name>/<version>/manifest.json, *.onnx, tokenizer.json, calibration.npy
"""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tokenizers import Regex, Tokenizer
from tokenizers.decoders import Fuse
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split

from contract import Capability, Manifest, write_manifest
from contract.manifest import (
    Agreement,
    Calibration,
    Column,
    Data,
    Density,
    FileRef,
    Graph,
    Latent,
    Pixels,
    Restoration,
    Sampling,
    Scoring,
    Text,
)
from tests.toys import graphs

CHARACTERS = "\n !',.?abcdefghijklmnopqrstuvwxyzABEHIJLMORTU:"
START = CHARACTERS.index("\n")
CONTEXT = 32
DIGITS = tuple("0123456789")
GENERATOR, DENOISER, DENSITY, WRITER, EMBEDDER, DIFFUSION, RESTORER = (
    "mnist-gan",
    "photo-denoiser",
    "mnist-flow",
    "shakespeare-gpt",
    "mnist-contrastive",
    "mnist-diffusion",
    "mnist-restorer",
)
"""The service's default models go by the names of the real ones, so that its defaults resolve."""
DETECTOR, SENSORS, SAMPLER = "mnist-scores", "toy-valves", "pendigits-flow"
TABLE, PIXELS, BIGRAM, TEXT_EMBEDDER = "toy-table", "toy-pixels", "toy-bigram", "toy-text-embedder"
LINES = "toy-lines"
INPAINTER, COLOURIST = "toy-inpainter", "toy-colourist"
LEVELS = 4
"""Grey levels of the toy of pixels."""

EXACT = Agreement(max_abs_diff=0.0, tolerance=0.0, batch_sizes=(1, 2, 4))
"""Says that rows do not depend on their batch, so that the service may use batches of any size."""


def reference(directory: Path, name: str) -> FileRef:
    """The file with the hash that it has now."""
    return FileRef(file=name, sha256=hashlib.sha256((directory / name).read_bytes()).hexdigest())


def write_model(
    store: Path,
    name: str,
    parts: Mapping[Capability, graphs.Parts],
    version: str = "1",
    density: str | None = None,
    invariant: bool = False,
    **fields: Any,
) -> Path:
    """Write `<store>/<name>/<version>/`; files that are already there can be named in `fields`."""
    directory = store / name / version
    directory.mkdir(parents=True, exist_ok=True)
    capabilities = {}
    for capability, (proto, inputs, outputs) in parts.items():
        file = f"{capability}.onnx"
        (directory / file).write_bytes(proto.SerializeToString())
        capabilities[capability] = Graph(
            **reference(directory, file).model_dump(),
            inputs=inputs,
            outputs=outputs,
            batch_invariance=EXACT if invariant else None,
            density=density if capability is Capability.LOG_DENSITY else None,
        )
    manifest = Manifest(
        name=name,
        version=version,
        family=fields.pop("family", "toy"),
        description=fields.pop("description", f"A toy called {name}."),
        licence="Apache-2.0",
        capabilities=capabilities,
        **fields,
    )
    write_manifest(directory, manifest)
    return directory


def write_generator(store: Path, name: str = GENERATOR, version: str = "1", seed: int = 0) -> Path:
    """Draws 8 × 8 images of ten classes; its rows are not known to be independent of their batch."""
    data = Data(kind="image", dataset="toy", shape=(1, 8, 8), value_range=(0.0, 1.0), class_names=DIGITS)
    parts = {Capability.DECODE: graphs.decode(seed=seed)}
    return write_model(store, name, parts, version, data=data, latent=Latent(size=4))


def write_denoiser(store: Path, name: str = DENOISER, version: str = "1") -> Path:
    """Blurs images whose sides are multiples of 2."""
    data = Data(kind="image", dataset="toy", shape=(1, None, None), value_range=(0.0, 1.0), side_multiple=2)
    parts = {Capability.RECONSTRUCT: graphs.reconstruct()}
    return write_model(
        store,
        name,
        parts,
        version,
        data=data,
        invariant=True,
        sigma_range=(0.0, 55 / 255),
        restoration=Restoration(degradation="noise"),
    )


def write_calibration(directory: Path, scores: np.ndarray, statistic: str) -> Calibration:
    """Store held-out scores."""
    directory.mkdir(parents=True, exist_ok=True)
    np.save(directory / "calibration.npy", np.sort(scores.astype(np.float64)))
    ref = reference(directory, "calibration.npy")
    return Calibration(scores=ref, size=scores.shape[-1], statistic=statistic, data="toy, held out", surprise=10.0)


def normal_images(count: int, seed: int) -> np.ndarray:
    """Images that the toy density calls normal. Returns (count, 1, 8, 8) float32."""
    noise = np.random.default_rng(seed).normal(graphs.GAUSSIAN_MEAN, graphs.GAUSSIAN_STD, (count, 1, 8, 8))
    return noise.clip(0, 1).astype(np.float32)


def write_density(
    store: Path, name: str = DENSITY, version: str = "1", calibrated: bool = True, density: Density = "exact"
) -> Path:
    """The log-density of 8 × 8 images under independent normal pixels."""
    directory = store / name / version
    scores = graphs.gaussian_log_prob(normal_images(499, seed=1))
    calibration = write_calibration(directory, scores, "log_prob") if calibrated else None
    data = Data(kind="image", dataset="toy", shape=(1, 8, 8), value_range=(0.0, 1.0))
    parts = {Capability.LOG_DENSITY: graphs.gaussian((1, 8, 8))}
    return write_model(store, name, parts, version, density=density, data=data, calibration=calibration)


def write_detector(store: Path, name: str = DETECTOR, version: str = "1") -> Path:
    """Scores 8 × 8 images by two statistics, and says where they are strange."""
    scores = graphs.normality_of(normal_images(499, seed=1)).T
    return write_model(
        store,
        name,
        {Capability.SCORE: graphs.scores((1, 8, 8))},
        version,
        data=Data(kind="image", dataset="toy", shape=(1, 8, 8), value_range=(0.0, 1.0)),
        scoring=Scoring(statistics=("log_prob", "farthest"), default="farthest", chosen_by="a toy's whim"),
        calibration=write_calibration(store / name / version, scores, "normality"),
        invariant=True,
    )


VALVES = (
    Column(name="pressure"),
    Column(name="flow", may_be_missing=True, fill=0.5),
    Column(name="valve", kind="category", categories=("open", "shut")),
)
"""A number, one that may be missing, and a category of two."""


def write_sampler(store: Path, name: str = SAMPLER, version: str = "1") -> Path:
    """Draws rows of such a table, and has their latents; its rows are not known to be independent of their batch."""
    parts = {Capability.DECODE: graphs.affine_decode(5), Capability.ENCODE: graphs.affine_encode(5)}
    data = Data(kind="vector", dataset="toy", shape=(5,), columns=VALVES)
    return write_model(store, name, parts, version, data=data, latent=Latent(size=5))


def write_sensors(store: Path, name: str = SENSORS, version: str = "1") -> Path:
    """Scores rows of a table."""
    return write_model(
        store,
        name,
        {Capability.SCORE: graphs.scores((5,))},
        version,
        data=Data(kind="vector", dataset="toy", shape=(5,), columns=VALVES),
        scoring=Scoring(statistics=("log_prob", "farthest"), default="log_prob"),
        invariant=True,
    )


def write_table(store: Path, name: str = TABLE, version: str = "1") -> Path:
    """The log-density of rows of three numbers, without calibration, and an embedding of them."""
    data = Data(kind="vector", dataset="toy", shape=(3,), column_names=("a", "b", "c"))
    parts = {Capability.LOG_DENSITY: graphs.gaussian((3,)), Capability.ENCODE: graphs.encode((3,))}
    return write_model(store, name, parts, version, density="exact", data=data)


def character_tokenizer() -> Tokenizer:
    """One token for each character; what is unknown gets the id that follows the last one's."""
    vocabulary = {token: i for i, token in enumerate([*CHARACTERS, "<unk>"])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Split(Regex(r"[\s\S]"), behavior="isolated")
    tokenizer.decoder = Fuse()
    return tokenizer


def write_text(directory: Path) -> Text:
    """Store the tokenizer."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "tokenizer.json").write_text(character_tokenizer().to_str(), encoding="utf-8")
    return Text(
        tokenizer=reference(directory, "tokenizer.json"),
        vocabulary=len(CHARACTERS),
        start_token=START,
        context=CONTEXT,
    )


def write_writer(store: Path, name: str = WRITER, version: str = "1") -> Path:
    """A random language model over characters, with the log-density of its texts."""
    directory = store / name / version
    language = graphs.Language(len(CHARACTERS), CONTEXT)
    scores = np.random.default_rng(2).normal(-3.8, 0.3, 199)
    parts = {
        Capability.NEXT_TOKEN: graphs.next_token(language),
        Capability.LOG_DENSITY: graphs.text_log_density(language),
    }
    return write_model(
        store,
        name,
        parts,
        version,
        density="exact",
        data=Data(kind="text", dataset="toy"),
        text=write_text(directory),
        calibration=write_calibration(directory, scores, "log_prob_per_token"),
    )


def write_lines(store: Path, name: str = LINES, version: str = "1") -> Path:
    """Scores lines by two statistics of the same language model; a line break ends each."""
    directory = store / name / version
    return write_model(
        store,
        name,
        {Capability.SCORE: graphs.text_scores(graphs.Language(len(CHARACTERS), CONTEXT))},
        version,
        data=Data(kind="text", dataset="toy"),
        text=write_text(directory).model_copy(update={"end_token": START}),
        scoring=Scoring(statistics=("log_prob", "rarest_token"), default="rarest_token"),
    )


def write_bigram(store: Path, name: str = BIGRAM, version: str = "1") -> Path:
    """A language model that looks at one character only: it has no cache."""
    parts = {Capability.NEXT_TOKEN: graphs.bigram(len(CHARACTERS))}
    text = write_text(store / name / version)
    return write_model(store, name, parts, version, data=Data(kind="text", dataset="toy"), text=text)


def write_pixels(store: Path, name: str = PIXELS, version: str = "1") -> Path:
    """Draws 8 × 8 images pixel by pixel, in four grey levels."""
    language = graphs.Language(LEVELS + 1, 64, choices=LEVELS)
    data = Data(kind="image", dataset="toy", shape=(1, 8, 8), value_range=(0.0, 1.0))
    parts = {Capability.NEXT_TOKEN: graphs.next_token(language)}
    return write_model(
        store, name, parts, version, data=data, pixels=Pixels(levels=LEVELS, start_token=LEVELS), invariant=True
    )


def write_sheet(directory: Path) -> FileRef:
    """Store a picture."""
    directory.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(directory / "sheet.png")
    return reference(directory, "sheet.png")


def write_embedder(store: Path, name: str = EMBEDDER, version: str = "1") -> Path:
    """Six numbers of an 8 × 8 image, with a sheet."""
    data = Data(kind="image", dataset="toy", shape=(1, 8, 8), value_range=(0.0, 1.0))
    parts = {Capability.ENCODE: graphs.encode((1, 8, 8))}
    return write_model(store, name, parts, version, data=data, sheet=write_sheet(store / name / version))


def write_text_embedder(store: Path, name: str = TEXT_EMBEDDER, version: str = "1") -> Path:
    """Six numbers of a text."""
    parts = {Capability.ENCODE: graphs.text_encode(len(CHARACTERS))}
    text = write_text(store / name / version)
    return write_model(store, name, parts, version, data=Data(kind="text", dataset="toy"), text=text)


def write_diffusion(store: Path, name: str = DIFFUSION, version: str = "1", **sampling: Any) -> Path:
    """Draws and denoises 8 × 8 images of ten classes in several steps."""
    data = Data(kind="image", dataset="toy", shape=(1, 8, 8), value_range=(0.0, 1.0), class_names=DIGITS)
    parts = {Capability.DENOISE_STEP: graphs.denoise_step()}
    own = {"samplers": ("dpmpp_2m", "heun", "euler", "ancestral"), "steps": 6, "max_steps": 20, "guidance": 1.5}
    return write_model(
        store,
        name,
        parts,
        version,
        data=data,
        invariant=True,
        sigma_range=(0.01, 20.0),
        sampling=Sampling(**{**own, **sampling}),
    )


def write_restorer(store: Path, name: str = RESTORER, version: str = "1") -> Path:
    """Doubles the sides of images, of any size."""
    data = Data(kind="image", dataset="toy", shape=(1, None, None), value_range=(0.0, 1.0))
    parts = {Capability.RECONSTRUCT: graphs.convolved(np.ones((4, 1, 1, 1)), 2, ("height", "width"))}
    restoration = Restoration(degradation="downscale", factor=2)
    return write_model(store, name, parts, version, data=data, invariant=True, restoration=restoration)


def write_inpainter(store: Path, name: str = INPAINTER, version: str = "1") -> Path:
    """Fills holes of 8 × 8 images with a blur of what is around them and of the grey that stands in them."""
    data = Data(kind="image", dataset="toy", shape=(1, 8, 8), value_range=(0.0, 1.0))
    parts = {Capability.RECONSTRUCT: graphs.convolved(np.full((1, 1, 3, 3), 1 / 9))}
    restoration = Restoration(degradation="mask", fill=0.5)
    return write_model(store, name, parts, version, data=data, invariant=True, restoration=restoration)


def write_colourist(store: Path, name: str = COLOURIST, version: str = "1") -> Path:
    """Gives grey 8 × 8 images a colour: all of red, half of green, no blue."""
    data = Data(kind="image", dataset="toy", shape=(3, 8, 8), value_range=(0.0, 1.0))
    parts = {Capability.RECONSTRUCT: graphs.convolved(np.array([1.0, 0.5, 0.0]).reshape(3, 1, 1, 1))}
    return write_model(
        store, name, parts, version, data=data, invariant=True, restoration=Restoration(degradation="grey")
    )


TOYS: dict[str, Callable[[Path], Path]] = {
    GENERATOR: write_generator,
    DENOISER: write_denoiser,
    DENSITY: write_density,
    WRITER: write_writer,
    EMBEDDER: write_embedder,
    TABLE: write_table,
    DETECTOR: write_detector,
    SENSORS: write_sensors,
    SAMPLER: write_sampler,
    PIXELS: write_pixels,
    BIGRAM: write_bigram,
    TEXT_EMBEDDER: write_text_embedder,
    DIFFUSION: write_diffusion,
    RESTORER: write_restorer,
    INPAINTER: write_inpainter,
    COLOURIST: write_colourist,
}
"""Every toy by its name; the default models of all tasks are among them."""


def write_store(store: Path) -> Path:
    """All toys."""
    for write in TOYS.values():
        write(store)
    return store
