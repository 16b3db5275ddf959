"""What calls return: plain records with NumPy arrays in them, made of the service's answers."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import httpx
import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Model:
    """A model of the service's store."""

    id: str
    version: str
    state: str
    """ready, unloaded, loading or refused."""
    problem: str | None
    """Why it is refused."""
    family: str | None
    description: str | None
    tasks: tuple[str, ...]
    capabilities: tuple[str, ...]
    samplers: tuple[str, ...]
    restores: str | None
    """What it undoes."""
    sigma_range: tuple[float, float] | None
    latent_size: int | None
    default_for: tuple[str, ...] = ()
    """The tasks that it does where a request names no model."""
    manifest: Mapping[str, Any] | None = None
    """All that is known of it, where one model was asked for."""


@dataclass(frozen=True, eq=False)
class Images:
    """Images, and what has to be known to draw them again."""

    images: Floats
    """(N, C, H, W) in [0, 1]."""
    model: str
    seed: int | None = None
    seeds: tuple[int, ...] = ()


@dataclass(frozen=True)
class Rows:
    """Rows of a table, and what has to be known to draw them again."""

    rows: Sequence[Mapping[str, Any]]
    """By column; None where a value is missing. They can be scored and embedded."""
    model: str
    seed: int | None = None
    seeds: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Preview:
    """One image of a stream: on its way, or finished."""

    image: Floats
    """(C, H, W) in [0, 1], in 256 levels."""
    index: int
    """Which of the images that were asked for."""
    step: int | None
    """Which of its previews; None where it is finished."""
    model: str
    seed: int | None


@dataclass(frozen=True, eq=False)
class Scores:
    """How normal items are, and how unusual that is. Arrays have one place for each item (N,)."""

    model: str
    statistic: str
    """The one that decides."""
    alpha: float | None
    fdr: float | None
    score: Doubles
    """The higher the more normal."""
    p_value: Doubles | None
    """The share of normal items that are at least as unusual; None without calibration."""
    is_anomaly: NDArray[np.bool_] | None
    log_prob: Doubles | None
    """Nats, of models with a density."""
    scores: Mapping[str, Doubles]
    """By statistic, of models with several."""
    p_values: Mapping[str, Doubles]
    calibration: Mapping[str, Any] | None
    items: Sequence[Mapping[str, Any]]
    """Each item as the service describes it; with `explain` its `surprise` too."""

    @property
    def surprise(self) -> "Floats | list[Any]":
        """With `explain`: of images (N, C, H, W), of rows one mapping by column each, of texts one list of (token,
        surprise) each. Raises ValueError without."""
        if "surprise" not in self.items[0]:
            raise ValueError("surprise: expected scores with explain=True, found ones without: ask for it")
        found = [item["surprise"] for item in self.items]
        if isinstance(found[0], Mapping):
            return found
        if found[0] and isinstance(found[0][0], Mapping):
            return [[(part["token"], part["surprise"]) for part in text] for text in found]
        return np.asarray(found, np.float32)


@dataclass(frozen=True, eq=False)
class Drift:
    """How far the p-values that a model gave of late are from those of normal data."""

    model: str
    version: str
    calibration_size: int
    window: int
    size: int
    """Items looked at, at most `window`."""
    ks: float | None
    """Kolmogorov and Smirnov's distance from uniform, in [0, 1]."""
    significance: float | None
    mean_p_value: float | None
    flagged: Mapping[str, float] | None
    """The share of items with a p-value of at most so much."""
    histogram: Sequence[int] | None


@dataclass(frozen=True, eq=False)
class Calibration:
    """How the scores of normal items are spread."""

    model: str
    version: str
    size: int
    data: str
    statistic: str
    """The one that decides."""
    levels: Doubles
    """(L,) in [0, 1]."""
    quantiles: Mapping[str, Doubles]
    """By statistic: the scores (L,) below which such shares of normal items lie."""


@dataclass(frozen=True, eq=False)
class Embeddings:
    """One vector for each item."""

    vectors: Floats
    """(N, E)"""
    model: str


@dataclass(frozen=True)
class LogProbs:
    """Parallel lists, a place for each token; None where a token has no value."""

    tokens: Sequence[str]
    token_logprobs: Sequence[float | None]
    top_logprobs: Sequence[Mapping[str, float] | None]
    text_offset: Sequence[int]


@dataclass(frozen=True)
class Choice:
    """One completion of one prompt; in a stream a piece of it."""

    index: int
    text: str
    finish_reason: str | None
    """stop or length; None where there is more to come."""
    logprobs: LogProbs | None


@dataclass(frozen=True)
class Completion:
    """The completions of one request: n of the first prompt, n of the second …"""

    choices: Sequence[Choice]
    model: str
    seed: int
    prompt_tokens: int
    completion_tokens: int

    @property
    def text(self) -> str:
        """That of the first."""
        return self.choices[0].text


def json_of(response: httpx.Response) -> Any:
    """A JSON answer."""
    return json.loads(response.content)


def array_of(response: httpx.Response) -> Any:
    """A .npy answer."""
    return np.lib.format.read_array(io.BytesIO(response.content), allow_pickle=False)


def record(kind: type[T], values: Mapping[str, Any]) -> T:
    """A record of the values that it knows: a newer service may say more."""
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    return kind(**{name: _frozen(values[name]) for name in names if name in values})


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def models_of(response: httpx.Response) -> list[Model]:
    return [record(Model, entry) for entry in json_of(response)["data"]]


def model_of(response: httpx.Response) -> Model:
    return record(Model, json_of(response))


def drift_of(response: httpx.Response) -> Drift:
    return record(Drift, json_of(response))


def calibration_of(response: httpx.Response) -> Calibration:
    answer = json_of(response)
    quantiles = {name: np.array(values) for name, values in answer["quantiles"].items()}
    return record(Calibration, {**answer, "levels": np.array(answer["levels"]), "quantiles": quantiles})


def images_of(response: httpx.Response) -> Images:
    headers = response.headers
    return Images(
        array_of(response),
        headers["x-amostra-model"],
        seed=int(headers["x-amostra-seed"]) if "x-amostra-seed" in headers else None,
        seeds=tuple(json.loads(headers.get("x-amostra-seeds", "[]"))),
    )


def rows_of(response: httpx.Response) -> Rows:
    answer = json_of(response)
    return record(Rows, {**answer, "rows": [item["row"] for item in answer["data"]]})


def embeddings_of(response: httpx.Response) -> Embeddings:
    return Embeddings(array_of(response), response.headers["x-amostra-model"])


def scores_of(response: httpx.Response) -> Scores:
    answer = json_of(response)
    items = answer["data"]

    def column(name: str) -> Any:
        values = [item.get(name) for item in items]
        return None if None in values else np.array(values)

    def columns(name: str) -> dict[str, Doubles]:
        return {key: np.array([item[name][key] for item in items]) for key in items[0].get(name, {})}

    return Scores(
        answer["model"],
        answer["statistic"],
        answer["alpha"],
        answer["fdr"],
        score=column("score"),
        p_value=column("p_value"),
        is_anomaly=column("is_anomaly"),
        log_prob=column("log_prob"),
        scores=columns("scores"),
        p_values=columns("p_values"),
        calibration=answer["calibration"],
        items=items,
    )


def completion_of(response: httpx.Response) -> Completion:
    answer = json_of(response)
    choices = [choice_of(choice) for choice in answer["choices"]]
    usage = answer["usage"]
    return Completion(choices, answer["model"], answer["seed"], usage["prompt_tokens"], usage["completion_tokens"])


def choice_of(choice: Mapping[str, Any]) -> Choice:
    logprobs = choice["logprobs"]
    return Choice(
        choice["index"],
        choice["text"],
        choice["finish_reason"],
        None if logprobs is None else LogProbs(**logprobs),
    )
