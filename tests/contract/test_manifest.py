"""The manifest: what is written is what is read, and nothing else is."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from contract import Manifest, ManifestError, read_manifest, write_manifest
from contract.files import MANIFEST_NAME, MAX_MANIFEST_BYTES
from contract.manifest import Measurement, Provenance, Sampling
from tests.toys import directories
from tests.toys.broken import edit_manifest

PROVENANCE = Provenance(
    recipe="toy",
    hyper_parameters={"width": 32, "betas": [0.9, 0.99], "nested": {"ema": None}},
    seed=1,
    versions={"numpy": "2"},
    hardware="two cores",
    wall_time_seconds=1.5,
    steps=10,
    parameters=1000,
    created="2025-01-01T00:00:00Z",
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return directories.write_generator(tmp_path)


def test_round_trip_keeps_everything(store: Path, tmp_path: Path) -> None:
    for directory in store.glob("*/*"):
        manifest = read_manifest(directory).model_copy(
            update={
                "provenance": PROVENANCE,
                "evaluation": (Measurement(metric="FID", value=3.25, data="toy", size=100, seed=0),),
                "sampling": Sampling(steps=20, max_steps=50, temperature=0.8, samplers=("heun",)),
            }
        )
        write_manifest(tmp_path, manifest)
        assert read_manifest(tmp_path) == manifest


def test_writing_twice_gives_the_same_bytes_and_leaves_nothing_else(directory: Path) -> None:
    before = {p.name: p.read_bytes() for p in directory.iterdir()}
    write_manifest(directory, read_manifest(directory))
    assert {p.name: p.read_bytes() for p in directory.iterdir()} == before


def test_a_manifest_is_readable_by_everybody(directory: Path) -> None:
    assert (directory / MANIFEST_NAME).stat().st_mode & 0o777 == 0o644


def test_files_lists_every_file_of_the_directory(store: Path) -> None:
    for directory in store.glob("*/*"):
        listed = {ref.file for ref in read_manifest(directory).files()}
        assert listed == {p.name for p in directory.iterdir()} - {MANIFEST_NAME}


def _set(*path: Any, to: Any) -> Any:
    def change(manifest: dict[str, Any]) -> None:
        node: Any = manifest
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] = to

    return change


def _drop(key: str) -> Any:
    return lambda manifest: manifest.pop(key)


WRONG = {
    "unknown key": (_set("flavour", to="sweet"), ("flavour", "expected no such key", "'sweet'")),
    "unknown key inside": (_set("data", "color", to=1), ("data.color", "expected no such key")),
    "unknown key in a tensor": (
        _set("capabilities", "decode", "inputs", 0, "unit", to="m"),
        ("capabilities.decode.inputs.0.unit", "expected no such key"),
    ),
    "missing key": (_drop("licence"), ("licence", "expected a value, found none")),
    "unknown capability": (_set("capabilities", "dream", to={}), ("capabilities.dream", "found 'dream'")),
    "no capability": (_set("capabilities", to={}), ("capabilities", "found {}")),
    "file in another directory": (
        _set("capabilities", "decode", "file", to="../x.onnx"),
        ("capabilities.decode.file", "'../x.onnx'"),
    ),
    "absolute file": (_set("capabilities", "decode", "file", to="/etc/passwd"), ("capabilities.decode.file", "passwd")),
    "hidden file": (_set("capabilities", "decode", "file", to=".x"), ("capabilities.decode.file", "'.x'")),
    "short hash": (_set("capabilities", "decode", "sha256", to="abc"), ("capabilities.decode.sha256", "'abc'")),
    "name with a slash": (_set("name", to="a/b"), ("name", "'a/b'")),
    "name in capitals": (_set("name", to="Abc"), ("name", "'Abc'")),
    "version of words": (_set("version", to="latest"), ("version", "'latest'")),
    "schema of the future": (_set("schema_version", to=2), ("schema_version", "found 2")),
    "other kind of data": (_set("data", "kind", to="sound"), ("data.kind", "'sound'")),
    "another prior": (_set("latent", "prior", to="uniform"), ("latent.prior", "found 'uniform'")),
    "latent missing": (_drop("latent"), ("latent: expected the prior of decode's z, found none",)),
    "text missing": (_set("data", "kind", to="text"), ("text: expected the tokenizer",)),
    "shape missing": (_set("data", "shape", to=[]), ("data.shape: expected the dimensions of one image, found none",)),
    "image of two dimensions": (_set("data", "shape", to=[28, 28]), ("data.shape: expected", "found [28, 28]")),
    "image of another size": (
        _set("data", "shape", to=[1, 28, 28]),
        ("capabilities.decode.x: expected a sample of shape [1, 28, 28], found x: float32[batch, 1, 8, 8]",),
    ),
    "signature": (
        _set("capabilities", "decode", "inputs", 0, "dtype", to="float16"),
        ("capabilities.decode.input: expected z: float32[B, Z], found z: float16[batch, 4]",),
    ),
    "name of another type": (_set("name", to=7), ("name", "found 7")),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_key_is_named_with_expected_and_found(directory: Path, case: str) -> None:
    change, says = WRONG[case]
    edit_manifest(directory, change)
    with pytest.raises(ManifestError) as caught:
        read_manifest(directory)
    for part in says:
        assert part in str(caught.value)
    assert "Value error" not in str(caught.value), "pydantic's own words tell a reader nothing"


SCORES_WRONG = {
    "names missing": (_drop("scoring"), "scoring: expected the names of score's statistics, found none"),
    "graph missing": (
        _set("capabilities", to={}),
        "scoring: expected a score graph for log_prob, farthest, found none",
    ),
    "a name too many": (
        _set("scoring", "statistics", to=["log_prob", "farthest", "luck"]),
        "scoring.statistics: expected 2 for normality's columns, found 3",
    ),
    "a default of another name": (_set("scoring", "default", to="luck"), "scoring: default: expected one of"),
    "a name twice": (_set("scoring", "statistics", to=["farthest", "farthest"]), "expected one of different"),
    "calibrated on something else": (
        _set("calibration", "statistic", to="log_prob"),
        "calibration.statistic: expected normality, found log_prob",
    ),
}


@pytest.mark.parametrize("case", SCORES_WRONG)
def test_a_model_of_scores_says_what_they_are(tmp_path: Path, case: str) -> None:
    directory = directories.write_detector(tmp_path)
    change, says = SCORES_WRONG[case]
    if case == "graph missing":
        other = json.loads((directories.write_generator(tmp_path) / MANIFEST_NAME).read_text())
        change = _set("capabilities", to=other["capabilities"])
    edit_manifest(directory, change)
    with pytest.raises(ManifestError, match=re.escape(says)):
        read_manifest(directory)


def test_columns_make_the_vector_that_the_data_say(tmp_path: Path) -> None:
    directory = directories.write_sensors(tmp_path)
    assert [column.width for column in read_manifest(directory).data.columns] == [1, 2, 2]
    edit_manifest(directory, _set("data", "columns", 1, "may_be_missing", to=False))
    with pytest.raises(ManifestError, match=re.escape("data.columns: expected a vector of their 4 values")):
        read_manifest(directory)


def test_several_wrong_keys_are_all_named(directory: Path) -> None:
    edit_manifest(directory, _set("flavour", to=1))
    edit_manifest(directory, _set("version", to="x"))
    with pytest.raises(ManifestError) as caught:
        read_manifest(directory)
    assert "flavour" in str(caught.value)
    assert "version" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "JSON"),
        (b"{", "JSON"),
        (b"\xff\xfe", "JSON"),
        (b"[]", "found []"),
        (b"null", "found None"),
        (b"{" * 100_000, "JSON"),
        (b" " * (MAX_MANIFEST_BYTES + 1), f"expected at most {MAX_MANIFEST_BYTES} bytes"),
    ],
    ids=["empty", "cut off", "not UTF-8", "list", "null", "deep", "too large"],
)
def test_what_is_no_manifest_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / MANIFEST_NAME).write_bytes(content)
    with pytest.raises(ManifestError) as caught:
        read_manifest(tmp_path)
    assert says in str(caught.value)


def test_no_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"manifest.json: expected a readable file, found No such file"):
        read_manifest(tmp_path)


def test_a_manifest_cannot_be_changed(directory: Path) -> None:
    manifest = read_manifest(directory)
    with pytest.raises(ValueError, match="frozen"):
        manifest.name = "other"  # type: ignore[misc]


def test_the_file_is_plain_json_with_names_as_they_are(directory: Path) -> None:
    write_manifest(directory, read_manifest(directory).model_copy(update={"description": "größer"}))
    text = (directory / MANIFEST_NAME).read_text(encoding="utf-8")
    assert "größer" in text
    assert Manifest.model_validate(json.loads(text)).description == "größer"


PIXELS_WRONG = {
    "no pixels": (_drop("pixels"), ("pixels: expected how the image becomes tokens, found none",)),
    "a free side": (
        _set("data", "shape", to=[1, None, 8]),
        ("pixels: expected data that are images of one size, found image [1, None, 8]",),
    ),
    "other levels": (_set("pixels", "levels", to=16), ("capabilities.next_token.logits: expected 16 logits, found",)),
    "more levels than a picture has": (_set("pixels", "levels", to=257), ("pixels.levels", "found 257")),
}


@pytest.mark.parametrize("case", PIXELS_WRONG)
def test_a_model_of_pixels_says_how_they_become_tokens(tmp_path: Path, case: str) -> None:
    change, says = PIXELS_WRONG[case]
    directory = directories.write_pixels(tmp_path)
    assert read_manifest(directory).context == 64
    edit_manifest(directory, change)
    with pytest.raises(ManifestError) as caught:
        read_manifest(directory)
    for part in says:
        assert part in str(caught.value)
