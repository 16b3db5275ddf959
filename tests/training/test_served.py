"""Every family from its recipe to what a client is told: trained for a few steps on small data, exported, served by the
application, and asked over HTTP for all that it can do. The answers are what torch makes of the trained weights."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch

from contract import Capability
from service.samplers import diffusion, noise
from tests.service.api.client import Api, b64, npy, read_npy
from tests.service.api.test_inference import infer, read
from tests.training.small_recipes import RECIPES, trained, write_pictures
from training.data import Dataset
from training.export import export
from training.family import Family, GraphExport
from training.recipe import FAMILIES, Recipe, load_recipe

SEED, SIGMA, STEPS = 5, 0.1, 3
TEXTS = ("line 7 says: 3.\n", "the sum of 5 is 6")


@dataclass(frozen=True)
class Served:
    """A trained family, and the application that serves it and nothing else."""

    recipe: Recipe
    dataset: Dataset
    family: Family
    api: Api

    @cached_property
    def graphs(self) -> dict[Capability, GraphExport]:
        return {graph.capability: graph for graph in self.family.eval().graphs()}

    @torch.no_grad()
    def by_torch(self, capability: Capability, *inputs: Any) -> dict[str, np.ndarray]:
        """The outputs of a graph's module, by name."""
        graph = self.graphs[capability]
        outputs = (graph.reference or graph.module).eval()(*map(torch.as_tensor, inputs))
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        return {n: t.numpy() for n, t in zip(graph.compare or graph.outputs, outputs, strict=True)}

    def assert_same(self, capability: Capability, found: Any, expected: Any) -> None:
        """Within the graph's tolerance."""
        np.testing.assert_allclose(found, expected, rtol=0, atol=self.graphs[capability].tolerance)

    def ask(self, path: str, body: dict[str, Any], accept: str = "application/json") -> httpx.Response:
        answer = self.api.post(path, json={"model": self.recipe.name, **body}, headers={"accept": accept})
        assert answer.status_code == 200, answer.text
        return answer

    def images(self, path: str, **body: Any) -> np.ndarray:
        return read_npy(self.ask(f"/v1/images/{path}", body, "application/x-npy"))

    def held_out(self, number: int) -> dict[str, torch.Tensor]:
        return self.dataset.validation.at(torch.arange(number))

    def items(self, capability: Capability) -> tuple[dict[str, Any], list[tuple]]:
        """What to score or embed, as a request says it and, item by item, as the graph takes it."""
        summary, tokenizer = self.dataset.summary, self.dataset.tokenizer
        if tokenizer is not None:
            end = [summary.end_token] if capability is Capability.SCORE and summary.end_token is not None else []
            rows = [[summary.start_token, *tokenizer.encode(text).ids, *end] for text in TEXTS]
            return {"input": TEXTS}, [([row], [len(row)]) for row in rows]
        x = self.held_out(3)["x"]
        body = {"image": b64(npy(x.numpy()))} if summary.kind == "image" else {"inputs": x.tolist()}
        return body, [(row[None],) for row in x]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def served(request: pytest.FixtureRequest, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    place = tmp_path_factory.mktemp(request.param)
    recipe, dataset, result = trained(request.param, folder, place)
    export(recipe, result, dataset, place / "store")
    api = Api(place / "store", max_body_bytes=2**22)
    yield Served(recipe, dataset, result.family, api)
    api.close()


def test_no_family_is_left_out() -> None:
    families = {path.stem for path in FAMILIES.glob("*.py")} - {"__init__"}
    assert {load_recipe(name).family for name in RECIPES} == families


@pytest.mark.parametrize("served", RECIPES, indirect=True)
def test_its_row_says_what_it_can_do(served: Served) -> None:
    (row,) = served.api.get("/v1/models", params={"state": "all"}).json()["data"]
    assert (row["id"], row["state"], row["problem"]) == (served.recipe.name, "ready", None)
    assert row["family"] == served.recipe.family
    assert row["capabilities"] == sorted(served.graphs)
    assert row["tasks"] == RECIPES[served.recipe.name].tasks.split()


@pytest.mark.parametrize("served", RECIPES, indirect=True)
def test_every_graph_answers_as_torch(served: Served) -> None:
    for capability, graph in served.graphs.items():
        inputs = graph.inputs(served.held_out(5))
        tensors = {name: tensor.numpy() for name, tensor in inputs.items()}
        found = read(
            infer(served.api, f"{served.recipe.name}.{capability}", tensors, parameters={"binary_data_output": True})
        )
        assert tuple(found) == graph.outputs
        for name, expected in served.by_torch(capability, *inputs.values()).items():
            served.assert_same(capability, found[name], expected)


@pytest.mark.parametrize("served", RECIPES, indirect=True)
def test_every_task_answers_as_torch(served: Served) -> None:
    for task in RECIPES[served.recipe.name].tasks.split():
        TASKS[task](served)


def generate(served: Served) -> None:
    """From latents of ours; of pixels, by the numbers that the seed gives."""
    if Capability.NEXT_TOKEN in served.graphs:
        drawn = served.images("generations", n=2, seed=SEED)
        return assert_chosen(served, drawn, np.ones(drawn.shape[2:], bool))
    if Capability.DECODE in served.graphs:
        graph = served.graphs[Capability.DECODE]
        z = noise.normal(SEED, 3, graph.example["z"].shape[1:])
        inputs = (z, [1, 1, 1]) if "label" in graph.example else (z,)
        drawn = served.images("generations", n=3, latents=z.tolist(), **({"label": 1} if len(inputs) > 1 else {}))
        expected = served.by_torch(Capability.DECODE, *inputs)["x"]
        return served.assert_same(Capability.DECODE, drawn, expected.clip(0, 1))
    z = noise.normal(SEED, 2, served.dataset.summary.shape)
    told = {"label": 1, "guidance": 2, "steps": STEPS, "seed": SEED, "n": 2, "latents": z.reshape(2, -1).tolist()}
    for sampler in samplers(served):
        drawn = served.images("generations", sampler=sampler, **told)
        served.assert_same(Capability.DENOISE_STEP, drawn, walked(served, sampler, z, guided=True).clip(0, 1))
    return None


def sample(served: Served) -> None:
    """From latents of ours, by the columns' names."""
    z = noise.normal(SEED, 3, served.graphs[Capability.DECODE].example["z"].shape[1:])
    drawn = served.ask("/v1/rows/generations", {"n": 3, "latents": z.tolist()}).json()["data"]
    assert [list(item["row"]) for item in drawn] == [list(served.dataset.summary.column_names)] * 3
    found = [list(item["row"].values()) for item in drawn]
    served.assert_same(Capability.DECODE, found, served.by_torch(Capability.DECODE, z)["x"])


def edit(served: Served) -> None:
    """The lower half of a picture."""
    image = served.held_out(1)["x"].numpy()
    hole = np.arange(image.shape[2])[:, None].repeat(image.shape[3], 1) >= image.shape[2] // 2
    body = {"image": b64(npy(image)), "mask": b64(npy(hole.astype(np.float32)))}
    if Capability.RECONSTRUCT in served.graphs:
        fill = served.recipe.model_config_.fill
        x_hat = served.by_torch(Capability.RECONSTRUCT, np.where(hole, np.float32(fill), image))["x_hat"]
        return served.assert_same(Capability.RECONSTRUCT, served.images("edits", **body), np.where(hole, x_hat, image))
    if Capability.NEXT_TOKEN in served.graphs:
        drawn = served.images("edits", **body, n=2, seed=SEED)
        np.testing.assert_array_equal(drawn[:, :, ~hole], image.repeat(2, 0)[:, :, ~hole])
        return assert_chosen(served, drawn, hole)
    z = noise.normal(SEED, 2, image.shape[1:])
    for sampler in samplers(served):
        drawn = served.images("edits", **body, n=2, seed=SEED, sampler=sampler, steps=STEPS)
        expected = walked(served, sampler, z, known=lambda x0: np.where(hole, x0, image))
        served.assert_same(Capability.DENOISE_STEP, drawn, np.where(hole, expected.clip(0, 1), image))
    return None


def denoise(served: Served) -> None:
    """Told the level; where a side is free, of a size that nobody was trained on."""
    sides = (8, 8) if Capability.DENOISE_STEP in served.graphs else (13, 18)
    x = 0.5 + SIGMA * noise.normal(SEED, 2, (1, *sides))
    clean = served.images("denoise", image=b64(npy(x)), sigma=SIGMA)
    if Capability.RECONSTRUCT in served.graphs:
        x_hat = served.by_torch(Capability.RECONSTRUCT, x, [SIGMA, SIGMA])["x_hat"]
        return served.assert_same(Capability.RECONSTRUCT, clean, x_hat)
    x0 = denoised(served, x, SIGMA, served.family.data.classes)
    return served.assert_same(Capability.DENOISE_STEP, clean, x0.clip(0, 1))


def restore(served: Served) -> None:
    """What was spoilt as in training; of noise, without its level."""
    given = served.graphs[Capability.RECONSTRUCT].inputs(served.held_out(3))
    x_hat = served.images("restore", image=b64(npy(given["x"].numpy())))
    blind = {"x": given["x"]} | ({"sigma": -torch.ones(3)} if "sigma" in given else {})
    expected = served.by_torch(Capability.RECONSTRUCT, *blind.values())["x_hat"]
    served.assert_same(Capability.RECONSTRUCT, x_hat, expected)


def embed(served: Served) -> None:
    body, items = served.items(Capability.ENCODE)
    found = read_npy(served.ask("/v1/embeddings", body, "application/x-npy"))
    expected = [served.by_torch(Capability.ENCODE, *item)["embedding"] for item in items]
    served.assert_same(Capability.ENCODE, found, np.concatenate(expected))


def score(served: Served) -> None:
    """Every statistic, and where the surprise lies."""
    capability = Capability.SCORE if Capability.SCORE in served.graphs else Capability.LOG_DENSITY
    body, items = served.items(capability)
    explains = len(served.graphs[capability].outputs) == 2
    found = served.ask("/v1/score", {**body, "explain": explains}).json()["data"]
    for told, item in zip(found, items, strict=True):
        values, *parts = served.by_torch(capability, *item).values()
        statistics = list(told["scores"].values()) if capability is Capability.SCORE else [told["log_prob"]]
        served.assert_same(capability, statistics, values.reshape(-1))
        if explains:
            surprise = parts[0][0] if capability is Capability.SCORE else -parts[0][0]
            served.assert_same(capability, *surprises(told["surprise"], surprise))


def surprises(told: Any, expected: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As arrays of one shape: columns have names; of tokens the first is given, and an end belongs to the last."""
    if isinstance(told, dict):
        return np.array(list(told.values())), expected
    if not isinstance(told[0], dict):
        return np.array(told), expected
    found, expected = np.array([token["surprise"] for token in told]), expected[1:]
    return found, np.append(expected[: len(found) - 1], expected[len(found) - 1 :].sum())


def complete(served: Served) -> None:
    """Every token has torch's probability, the prompt's too, and is the one that the seed chooses by it."""
    assert served.dataset.tokenizer is not None
    told = {"prompt": "line 7", "max_tokens": 12, "seed": SEED, "logprobs": 3, "echo": True}
    (choice,) = served.ask("/v1/completions", told).json()["choices"]
    tokens = torch.tensor([served.dataset.summary.start_token, *served.dataset.tokenizer.encode(choice["text"]).ids])
    with torch.no_grad():
        log_probs = served.family(tokens[None, :-1])[0].log_softmax(-1)  # (T, V)
    found, drawn = choice["logprobs"], len(tokens) - 1 - 12
    of_tokens = log_probs.gather(1, tokens[1:, None])[:, 0]
    served.assert_same(Capability.NEXT_TOKEN, found["token_logprobs"], of_tokens)
    for told_of_it, expected in zip(found["top_logprobs"][drawn:], log_probs[drawn:].topk(3).values, strict=True):
        served.assert_same(Capability.NEXT_TOKEN, sorted(told_of_it.values(), reverse=True)[:3], expected)
    assert_inverted(served, log_probs[drawn:], tokens[1 + drawn :], noise.uniform(SEED, 0, 12))


TASKS = {
    "generate": generate,
    "sample": sample,
    "edit": edit,
    "denoise": denoise,
    "restore": restore,
    "embed": embed,
    "score": score,
    "complete": complete,
}


def samplers(served: Served) -> list[str]:
    (row,) = served.api.get("/v1/models").json()["data"]
    return row["samplers"]


def denoised(served: Served, x: np.ndarray, sigma: float, label: int) -> np.ndarray:
    """D(x; sigma, label)."""
    levels = np.full(len(x), sigma, np.float32)
    return served.by_torch(Capability.DENOISE_STEP, x, levels, np.full(len(x), label))["x0"]


def walked(served: Served, sampler: str, z: np.ndarray, guided: bool = False, known: Any = None) -> np.ndarray:
    """A sampler's walk from noise z with torch for D, to the class 1 with guidance 2, or around what is known."""
    config, no_class = served.recipe.model_config_, served.family.data.classes
    rule = diffusion.SAMPLERS[sampler]
    sigmas = diffusion.schedule(sampler, STEPS, (config.sigma_min, config.sigma_max))
    noises = (noise.normal(SEED, len(z), z.shape[1:], step) for step in itertools.count(1))
    rule = partial(diffusion.resampled, rule) if known else rule
    steps = diffusion.from_noise(rule, sigmas[0] * z, sigmas, noises)
    x, sigma = next(steps)
    while True:
        x0 = denoised(served, x, sigma, no_class)
        if guided:
            x0 = x0 + 2 * (denoised(served, x, sigma, 1) - x0)
        try:
            x, sigma = steps.send(known(x0) if known else x0)
        except StopIteration as stop:
            return stop.value


def assert_chosen(served: Served, images: np.ndarray, hole: np.ndarray) -> None:
    """Every pixel of the hole is the level that the image's numbers choose by torch's probabilities."""
    for i, image in enumerate(torch.from_numpy(images)):
        tokens = served.family.tokens(image[None])
        with torch.no_grad():
            log_probs = served.family(tokens[:, :-1])[0].log_softmax(-1)  # (D, levels)
        drawn = np.broadcast_to(hole, image.shape).ravel()
        assert_inverted(served, log_probs[drawn], tokens[0, 1:][drawn], noise.uniform(SEED, i, drawn.size)[drawn])


def assert_inverted(served: Served, log_probs: torch.Tensor, tokens: torch.Tensor, uniform: np.ndarray) -> None:
    """Each token (T,) is where the cumulative distribution, by log_probs (T, V), passes its uniform number (T,)."""
    upto = log_probs.double().exp().cumsum(1).gather(1, tokens[:, None])[:, 0].numpy()
    before = upto - log_probs.double().exp().gather(1, tokens[:, None])[:, 0].numpy()
    slack = served.graphs[Capability.NEXT_TOKEN].tolerance
    assert (before - slack <= uniform).all()
    assert (uniform <= upto + slack).all()
