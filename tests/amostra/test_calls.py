"""Every method of both clients, against the application itself."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from amostra import AsyncClient, Client, batches, calls
from service.api.routes import ROUTES
from tests.amostra.conftest import Ask
from tests.service.api.client import npy, png, read_png
from tests.toys import directories
from tests.toys.directories import (
    DENSITY,
    DETECTOR,
    DIFFUSION,
    EMBEDDER,
    INPAINTER,
    PIXELS,
    SENSORS,
    TABLE,
    TEXT_EMBEDDER,
    WRITER,
    normal_images,
)

IMAGES = normal_images(3, seed=1)  # (3, 1, 8, 8)
TAGS = ("models", "images", "score", "embeddings", "text", "batches")
ROWS = [{"pressure": 0.1, "flow": None, "valve": "open"}, {"pressure": -2.0, "flow": 1.5, "valve": "shut"}]


def test_models_are_listed_and_described(ask: Ask) -> None:
    models = {model.id: model for model in ask("models")}
    assert set(models) == set(directories.TOYS)
    assert models[DIFFUSION].tasks == ("generate", "denoise", "edit")
    assert models[DIFFUSION].samplers[0] == "dpmpp_2m"
    assert models[DIFFUSION].sigma_range == (0.01, 20.0)
    assert models[DIFFUSION].default_for == ("edit",)
    one = ask("model", f"{DIFFUSION}@1")
    assert (one.id, one.state, one.problem) == (DIFFUSION, "ready", None)
    assert one.manifest["data"]["class_names"] == list(directories.DIGITS)
    assert [model.id for model in ask("models", "all")] == sorted(models)


def test_a_sheet_is_a_picture(ask: Ask) -> None:
    assert read_png(ask("sheet", EMBEDDER)).shape == (8, 8)


def test_drift_tells_of_what_was_scored(ask: Ask) -> None:
    ask("score", IMAGES, model=DENSITY)
    drift = ask("drift", DENSITY)
    assert drift.model == DENSITY
    assert drift.size >= 3
    assert sum(drift.histogram) == drift.size
    assert 0 <= drift.ks <= 1


def test_calibration_tells_what_is_normal(ask: Ask) -> None:
    calibration = ask("calibration", DETECTOR)
    assert (calibration.model, calibration.size, calibration.statistic) == (DETECTOR, 499, "farthest")
    assert set(calibration.quantiles) == {"log_prob", "farthest"}
    for quantiles in calibration.quantiles.values():
        assert quantiles.shape == calibration.levels.shape
        assert (np.diff(quantiles) >= 0).all()


def test_images_are_drawn_and_drawn_again_by_their_seed(ask: Ask) -> None:
    first = ask("generate", "7", n=2)
    assert first.images.shape == (2, 1, 8, 8)
    assert first.images.dtype == np.float32
    again = ask("generate", label=7, n=2, seed=np.int64(first.seed), model=first.model)
    np.testing.assert_array_equal(again.images, first.images)


def test_the_way_from_seed_to_seed_and_latents(ask: Ask) -> None:
    way = ask("generate", "3", n=4, seeds=[1, 2])
    assert way.seeds == (1, 2)
    assert way.seed is None
    np.testing.assert_array_equal(way.images[0], ask("generate", "3", seed=1).images[0])
    latents = np.zeros((2, 4), np.float32)
    drawn = ask("generate", "3", n=2, latents=latents).images
    np.testing.assert_array_equal(drawn[0], drawn[1])


def test_rows_are_drawn_scored_and_drawn_again_by_their_seed(ask: Ask) -> None:
    first = ask("sample", n=3)
    assert [set(row) for row in first.rows] == [{"pressure", "flow", "valve"}] * 3
    assert ask("sample", n=3, seed=first.seed, model=first.model) == first
    assert len(ask("score", first.rows, model=SENSORS).score) == 3
    way = ask("sample", n=4, seeds=[1, 2])
    assert (way.seeds, way.seed) == ((1, 2), None)
    assert way.rows[0] == ask("sample", seed=1).rows[0]
    vectors = ask("embed", way.rows[:1], model=way.model).vectors
    assert ask("sample", latents=vectors).rows[0]["pressure"] == pytest.approx(way.rows[0]["pressure"], abs=1e-4)


def test_what_a_sampler_takes_reaches_it(ask: Ask) -> None:
    wishes: dict[str, Any] = {"model": DIFFUSION, "seed": 1, "steps": 4, "sampler": "heun", "guidance": 2.0}
    drawn = ask("generate", "3", **wishes).images
    for other in ({"steps": 5}, {"sampler": "euler"}, {"guidance": 1.0}):
        assert not np.array_equal(ask("generate", "3", **{**wishes, **other}).images, drawn)
    cold = [ask("generate", model=PIXELS, seed=seed, temperature=0.0).images for seed in (1, 2)]
    np.testing.assert_array_equal(*cold)


def test_previews_come_before_the_image(ask: Ask) -> None:
    previews = ask("generate_stream", "7", model=DIFFUSION, n=2, seed=3, partial_images=2)
    assert [(p.step, p.index) for p in previews] == [(0, 0), (0, 1), (1, 0), (1, 1), (None, 0), (None, 1)]
    whole = ask("generate", "7", model=DIFFUSION, n=2, seed=3).images
    finished = np.stack([p.image for p in previews[-2:]])
    np.testing.assert_allclose(finished, whole.clip(0, 1), atol=0.5 / 255 + 1e-6)
    assert {(p.model, p.seed) for p in previews} == {(DIFFUSION, 3)}


@pytest.mark.parametrize("as_files", [False, True])
def test_a_part_is_drawn_anew(ask: Ask, as_files: bool) -> None:
    image = np.rint(IMAGES[0] * 255) / 255
    mask = np.zeros((8, 8), bool)
    mask[4:] = True
    sent = (png(image), png(mask[None].astype(float))) if as_files else (image, mask)
    edited = ask("edit", *sent, n=2, seed=1, model=DIFFUSION)
    assert edited.images.shape == (2, 1, 8, 8)
    np.testing.assert_allclose(edited.images[:, :, :4], np.stack([image[:, :4]] * 2), atol=1e-6)
    filled = ask("edit", *sent, model=INPAINTER).images
    assert not np.array_equal(filled[0, :, 4:], image[:, 4:])


FORMS: dict[str, Callable[[Path], Any]] = {
    "(N, C, H, W)": lambda _: IMAGES,
    "(N, H, W)": lambda _: IMAGES[:, 0],
    "float64": lambda _: IMAGES.astype(float),
    "a list of arrays": lambda _: list(IMAGES),
    "nested lists": lambda _: IMAGES[:, 0].tolist(),
    "the bytes of a .npy file": lambda _: npy(IMAGES),
    "several files": lambda folder: [saved(folder, i, image) for i, image in enumerate(IMAGES)],
}


def saved(folder: Path, i: int, image: np.ndarray) -> Path:
    path = folder / f"{i}.npy"
    path.write_bytes(npy(image))
    return path


@pytest.mark.parametrize("form", FORMS)
def test_images_in_any_form_are_the_same_images(client: Client, form: str, tmp_path: Path) -> None:
    given = FORMS[form](tmp_path)
    np.testing.assert_array_equal(client.denoise(given, sigma=0.1).images, client.denoise(IMAGES, sigma=0.1).images)
    assert client.restore(given).images.shape == (3, 1, 16, 16)
    np.testing.assert_array_equal(client.score(given, model=DENSITY).score, client.score(IMAGES, model=DENSITY).score)
    np.testing.assert_array_equal(client.embed(given).vectors, client.embed(IMAGES).vectors)


def test_picture_files_are_images(client: Client) -> None:
    image = IMAGES[:1]
    (found,) = client.denoise(png(image[0]), sigma=0.0).images
    np.testing.assert_allclose(found, image[0], atol=0.5 / 255 + 1e-6)
    assert client.denoise(png(image[0], "JPEG")).images.shape == (1, 1, 8, 8)
    assert client.denoise([png(image[0])] * 2).images.shape == (2, 1, 8, 8)


def test_noise_is_removed_and_what_was_done_is_undone(ask: Ask) -> None:
    clean = ask("denoise", IMAGES, sigma=0.2)
    assert clean.images.std() < IMAGES.std()
    assert clean.seed is None
    assert ask("restore", IMAGES, model=clean.model, sigma=0.2).images.shape == IMAGES.shape


def test_scores_have_a_meaning(ask: Ask) -> None:
    strange = np.stack([*IMAGES, np.zeros((1, 8, 8), np.float32)])
    scores = ask("score", strange, model=DENSITY, alpha=0.01)
    assert (scores.model, scores.statistic, scores.alpha) == (DENSITY, "log_prob", 0.01)
    assert scores.score.shape == scores.p_value.shape == (4,)
    np.testing.assert_array_equal(scores.log_prob, scores.score)
    np.testing.assert_array_equal(scores.is_anomaly, scores.p_value <= 0.01)
    assert scores.is_anomaly.tolist() == [False, False, False, True]
    assert scores.calibration["size"] == 499
    with pytest.raises(ValueError, match="explain=True"):
        _ = scores.surprise


def test_several_statistics_and_where_the_surprise_lies(ask: Ask) -> None:
    scores = ask("score", IMAGES, model=DETECTOR, fdr=0.1, statistic="log_prob", explain=True)
    assert (scores.statistic, scores.alpha, scores.fdr) == ("log_prob", None, 0.1)
    assert set(scores.scores) == set(scores.p_values) == {"log_prob", "farthest"}
    np.testing.assert_array_equal(scores.p_values["log_prob"], scores.p_value)
    assert scores.surprise.shape == IMAGES.shape
    assert read_png(ask("overlay", IMAGES[:1], model=DETECTOR)).shape == (8, 8, 3)


def test_texts_are_scored_and_explained_token_by_token(ask: Ask) -> None:
    scores = ask("score", ["To be", "or not"], explain=True)
    assert scores.model == WRITER
    assert ["".join(token for token, _ in text) for text in scores.surprise] == ["To be", "or not"]
    np.testing.assert_allclose(sum(s for _, s in scores.surprise[0]), -scores.log_prob[0], rtol=1e-4)
    assert ask("score", "To be").score[0] == scores.score[0]


TABLES: dict[str, Callable[[], Any]] = {
    "mappings": lambda: ROWS,
    "mappings with NaN": lambda: [{**row, "flow": np.nan if row["flow"] is None else row["flow"]} for row in ROWS],
    "lists": lambda: [list(row.values()) for row in ROWS],
    "CSV": lambda: b"valve,pressure,flow\nopen,0.1,\nshut,-2.0,1.5\n",
    "Arrow": lambda: pa.Table.from_pylist(ROWS),
    "an Arrow batch": lambda: pa.RecordBatch.from_pylist(ROWS),
    "Parquet": lambda: parquet(),
    "pandas": lambda: pytest.importorskip("pandas").DataFrame(ROWS, index=[7, 9]),
}


def parquet() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(ROWS), sink)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("form", TABLES)
def test_rows_in_any_form_are_the_same_rows(client: Client, form: str) -> None:
    scores = client.score(TABLES[form](), model=SENSORS, explain=True)
    np.testing.assert_array_equal(scores.score, client.score(ROWS, model=SENSORS).score)
    assert scores.p_value is None
    assert scores.is_anomaly is None
    assert [set(row) for row in scores.surprise] == [{"pressure", "flow", "valve"}] * 2


def test_rows_of_numbers_may_be_an_array(ask: Ask) -> None:
    rows = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
    scores = ask("score", rows, model=TABLE).score
    np.testing.assert_array_equal(ask("score", rows.tolist(), model=TABLE).score, scores)
    np.testing.assert_array_equal(ask("score", rows[0], model=TABLE).score, scores[:1])
    assert ask("embed", rows, model=TABLE).vectors.shape == (4, 6)


def test_texts_are_embedded(ask: Ask) -> None:
    found = ask("embed", ["To be", "or not"], model=TEXT_EMBEDDER)
    assert found.vectors.shape == (2, 6)
    assert found.model == TEXT_EMBEDDER
    np.testing.assert_array_equal(ask("embed", "or not", model=TEXT_EMBEDDER).vectors, found.vectors[1:])


def test_texts_are_completed(ask: Ask) -> None:
    done = ask("complete", ["To be", "or"], n=2, max_tokens=5, seed=3, logprobs=2, stop=["\n\n\n"])
    assert [choice.index for choice in done.choices] == [0, 1, 2, 3]
    assert done.text == done.choices[0].text
    assert {choice.finish_reason for choice in done.choices} == {"length"}
    assert all(len(c.logprobs.tokens) == len(c.logprobs.token_logprobs) == 5 for c in done.choices)
    assert all(len(top) >= 2 for top in done.choices[0].logprobs.top_logprobs)
    assert (done.model, done.seed, done.completion_tokens) == (WRITER, 3, 20)
    echoed = ask("complete", "To be", max_tokens=5, seed=3, echo=True)
    assert echoed.text == "To be" + done.text


def test_pieces_of_a_text_make_the_text(ask: Ask) -> None:
    wishes: dict[str, Any] = {"max_tokens": 20, "seed": 3, "n": 2, "temperature": 0.7, "top_k": 5, "top_p": 0.9}
    whole = ask("complete", "To be", **wishes)
    pieces = ask("complete_stream", "To be", **wishes)
    assert len(pieces) > 2
    for choice in whole.choices:
        mine = [piece for piece in pieces if piece.index == choice.index]
        assert "".join(piece.text for piece in mine) == choice.text
        assert [piece.finish_reason for piece in mine if piece.finish_reason] == [choice.finish_reason]


def test_many_threads_may_share_a_client(client: Client) -> None:
    with ThreadPoolExecutor(8) as pool:
        drawn = list(pool.map(lambda seed: client.generate("7", seed=seed % 4).images.tobytes(), range(32)))
    assert len(set(drawn)) == 4


def test_both_clients_have_the_same_methods() -> None:
    def public(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")} - {"close", "aclose"}

    assert public(Client) == public(AsyncClient)
    with Client() as client:
        assert (client.generate.__name__, client.generate.__doc__) == ("generate", calls.generate.__doc__)


def test_every_route_of_models_has_a_method() -> None:
    """What a route is for is tested above; here none is forgotten."""
    made = [
        calls.models(),
        *(build("a") for build in (calls.model, calls.sheet, calls.drift, calls.calibration)),
        *(build("a") for build in (calls.embed, calls.score, calls.complete)),
        calls.generate(),
        *(build(IMAGES) for build in (calls.edit, calls.denoise, calls.restore)),
        batches.upload(b""),
        batches.files(),
        *(build("a") for build in (batches.file, batches.content, batches.delete_file)),
        batches.create_batch("a", "/v1/score"),
        batches.batches(),
        *(build("a") for build in (batches.batch, batches.cancel_batch)),
    ]
    served = {(r.method, r.path) for r in ROUTES if r.handler and r.tag in TAGS}
    assert {(call.method, call.path.replace("/a", "/{id}")) for call in made} == served
