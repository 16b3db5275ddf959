"""A job's answers are the service's, bit for bit: for every task, with the same seed."""

import base64
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from service.codecs import npy
from tests.jobs.command import Command
from tests.service.api.client import Api, png, read_npy
from tests.toys import directories


def table_file(path: Path, x: np.ndarray) -> Path:
    """Rows of three columns, in row groups of unequal sizes."""
    table = pa.table(dict(zip("abc", x.T, strict=True)))
    with parquet.ParquetWriter(path, table.schema) as writer:
        for start, stop in ((0, 30), (30, 31), (31, len(x))):
            writer.write_table(table.slice(start, stop - start))
    return path


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(100, 3)).astype(np.float32)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of twelve pictures of 8 × 8."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i, image in enumerate(directories.normal_images(12, seed=3)):
        (folder / f"{i:02}.png").write_bytes(png(image))
    return folder


def test_scores_of_rows(command: Command, api: Api, rows: np.ndarray) -> None:
    file = table_file(command.folder / "rows.parquet", rows)
    assert command("score", "--model", directories.TABLE, "--input", file, "--shard-rows", 40) == 0
    answer = api.post("/v1/score", json={"model": directories.TABLE, "inputs": rows.tolist()}).json()["data"]
    found = command.table().to_pylist()
    assert [row["row"] for row in found] == list(range(100))
    for name in ("score", "log_prob", "bits_per_dim"):
        assert [row[name] for row in found] == [item[name] for item in answer]


def test_scores_of_images_by_all_statistics(command: Command, api: Api, pictures: Path) -> None:
    files = [("image", (f.name, f.read_bytes(), "image/png")) for f in sorted(pictures.iterdir())]
    answer = api.post("/v1/score?alpha=0.3", files=files, data={"model": directories.DETECTOR}).json()["data"]
    assert (
        command("score", "--model", directories.DETECTOR, "--input", pictures, "--alpha", 0.3, "--shard-rows", 5) == 0
    )
    found = command.table().to_pylist()
    assert [row["file"] for row in found] == [f.name for f in sorted(pictures.iterdir())]
    for name in ("score", "p_value", "is_anomaly", "log_prob", "bits_per_dim", "scores", "p_values"):
        assert [row[name] for row in found] == [item[name] for item in answer], name


def test_scores_of_texts(command: Command, api: Api) -> None:
    texts = ["To be, or not to be", "hello", "a", "'tis the last of all the lines, longer than the model's context"]
    texts = [text for text in texts if set(text) <= set(directories.CHARACTERS)]
    file = command.folder / "lines.txt"
    file.write_text("\n".join(texts))
    assert command("score", "--model", directories.WRITER, "--input", file) == 0
    answer = api.post("/v1/score", json={"model": directories.WRITER, "input": texts}).json()["data"]
    found = command.table().to_pylist()
    assert len(found) > 2
    for name in ("score", "p_value", "is_anomaly", "log_prob", "bits_per_dim", "tokens", "perplexity"):
        assert [row[name] for row in found] == [item[name] for item in answer], name


@pytest.mark.parametrize("kind", ["parquet", "npy"])
def test_embeddings_of_rows(command: Command, api: Api, rows: np.ndarray, kind: str) -> None:
    file = command.folder / f"rows.{kind}"
    np.save(file, rows) if kind == "npy" else table_file(file, rows)
    assert command("embed", "--model", directories.TABLE, "--input", file, "--shard-rows", 30) == 0
    asked = {"model": directories.TABLE, "inputs": rows.tolist()}
    answer = read_npy(api.post("/v1/embeddings", json=asked, headers={"accept": npy.MEDIA_TYPE}))
    found = np.stack(command.table().column("embedding").to_numpy())
    assert np.array_equal(found, answer)


def test_denoised_images_of_several_sizes(command: Command, api: Api) -> None:
    folder = command.folder / "noisy"
    folder.mkdir()
    sizes = [(8, 8), (12, 10), (8, 8), (64, 32)]
    for i, size in enumerate(sizes):
        pixels = np.random.default_rng(i).integers(0, 256, size, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    asked = ("denoise", "--model", directories.DENOISER, "--input", folder, "--shard-rows", 3)
    assert command(*asked, "--image-format", "npy") == 0
    exact = [row["bytes"] for row in command.table().column("image").to_pylist()]
    assert command(*asked, output=command.folder / "pictures") == 0
    seen = [row["bytes"] for row in command.table(command.folder / "pictures").column("image").to_pylist()]
    for i in range(len(sizes)):
        body = (folder / f"{i}.png").read_bytes()
        headers = {"content-type": "image/png", "accept": npy.MEDIA_TYPE}
        path = f"/v1/images/denoise?model={directories.DENOISER}"
        assert api.post(path, content=body, headers=headers).content == exact[i]
        assert api.post(path, content=body, headers={**headers, "accept": "image/png"}).content == seen[i]


@pytest.mark.parametrize(
    ("model", "wishes"),
    [
        (directories.GENERATOR, {}),
        (directories.GENERATOR, {"label": 7}),
        (directories.DIFFUSION, {"steps": 4, "sampler": "ancestral", "guidance": 2.0}),
        (directories.PIXELS, {"temperature": 0.7}),
    ],
)
def test_drawn_images(command: Command, api: Api, model: str, wishes: dict) -> None:
    flags = [part for name, value in wishes.items() for part in (f"--{name}", value)]
    assert command("generate", "--model", model, "--rows", 12, "--shard-rows", 5, "--seed", 9, *flags) == 0
    found = command.table().to_pylist()
    assert len({row["seed"] for row in found}) == 12
    for i, row in enumerate(found):
        own = {} if model == directories.PIXELS else {"label": row["label"]}
        asked = {"model": model, "seed": row["seed"], **wishes, **own}
        answer = api.post("/v1/images/generations", json=asked).json()["data"][0]
        assert row["image"]["bytes"] == base64.b64decode(answer["b64_json"])
        if own:
            assert row["label"] == wishes.get("label", i % 10)
            assert row["class"] == answer["class"]


def test_completions_in_openai_s_shape(command: Command, api: Api) -> None:
    bodies = [
        {"prompt": "To be", "max_tokens": 12},
        {"prompt": ["hello", "a"], "n": 2, "max_tokens": 3, "seed": 5, "logprobs": 2},
        {"prompt": "", "temperature": 0, "stop": "e", "model": directories.WRITER},
    ]
    lines = [
        {"custom_id": f"r{i}", "method": "POST", "url": "/v1/completions", "body": b} for i, b in enumerate(bodies)
    ]
    file = command.folder / "asked.jsonl"
    file.write_bytes(b"\n".join(map(orjson.dumps, lines)))
    assert command("complete", "--model", directories.WRITER, "--input", file, "--shard-rows", 2) == 0
    found = command.lines()
    assert [line["custom_id"] for line in found] == ["r0", "r1", "r2"]
    assert all(line["error"] is None and line["response"]["status_code"] == 200 for line in found)
    for line, asked in zip(found, bodies, strict=True):
        said = line["response"]["body"]
        answer = api.post("/v1/completions", json={"model": directories.WRITER, "seed": said["seed"], **asked}).json()
        differs = ("id", "created")
        assert {k: v for k, v in said.items() if k not in differs} == {
            k: v for k, v in answer.items() if k not in differs
        }
    assert found[1]["response"]["body"]["seed"] == 5


def test_images_in_a_table_are_the_same_as_in_a_folder(command: Command, pictures: Path) -> None:
    blobs = [file.read_bytes() for file in sorted(pictures.iterdir())]
    structs = pa.array([{"bytes": blob, "path": None} for blob in blobs])
    table = pa.table({"image": structs, "photo": pa.array(blobs), "id": [f"i{n}" for n in range(len(blobs))]})
    parquet.write_table(table, command.folder / "images.parquet")
    kept = []
    for name, flags in (("a", ()), ("b", ("--column", "photo", "--keep", "id"))):
        output = command.folder / name
        asked = ("score", "--model", directories.DENSITY, "--input", command.folder / "images.parquet")
        assert command(*asked, *flags, output=output) == 0
        kept.append(command.table(output))
    assert command("score", "--model", directories.DENSITY, "--input", pictures) == 0
    scores = [found.column("score").to_pylist() for found in (*kept, command.table())]
    assert scores[0] == scores[1] == scores[2]
    assert kept[1].column("id").to_pylist() == [f"i{n}" for n in range(len(blobs))]
