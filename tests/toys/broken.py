"""Ways to break a model directory, each with what the refusal must say was expected and found."""

import json
import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from contract.files import MANIFEST_NAME
from tests.toys import directories, graphs


def edit_manifest(directory: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest's JSON, past the checks that a writer would go through."""
    path = directory / MANIFEST_NAME
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def rehash(directory: Path) -> None:
    """Make every sha256 of the manifest true again."""

    def true_hashes(node: Any) -> None:
        if isinstance(node, dict):
            if "sha256" in node:
                node["sha256"] = directories.reference(directory, node["file"]).sha256
            for value in node.values():
                true_hashes(value)

    edit_manifest(directory, true_hashes)


def edit_graph(directory: Path, file: str, change: Callable[[onnx.ModelProto], None]) -> None:
    """Change a graph and hash it anew."""
    proto = onnx.load_model(directory / file, load_external_data=False)
    change(proto)
    (directory / file).write_bytes(proto.SerializeToString())
    rehash(directory)


@dataclass(frozen=True)
class Breakage:
    """`write` makes a sound model, `spoil` breaks it; the refusal holds every one of `says`."""

    write: Callable[..., Path]
    spoil: Callable[[Path], None]
    says: tuple[str, ...]


def _missing_file(directory: Path) -> None:
    (directory / "decode.onnx").unlink()


def _wrong_hash(directory: Path) -> None:
    with (directory / "decode.onnx").open("ab") as stream:
        stream.write(b"\0")


def _truncated(directory: Path) -> None:
    path = directory / "decode.onnx"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    rehash(directory)


def _no_onnx(directory: Path) -> None:
    (directory / "decode.onnx").write_bytes(b"\xff" * 100)
    rehash(directory)


def _graph_of_another_dtype(directory: Path) -> None:
    def change(proto: onnx.ModelProto) -> None:
        old = proto.graph.input[1]
        old.type.tensor_type.elem_type = TensorProto.INT32

    edit_graph(directory, "decode.onnx", change)


def _manifest_of_another_dtype(directory: Path) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["capabilities"]["decode"]["inputs"][0]["dtype"] = "float16"

    edit_manifest(directory, change)


def _graph_of_another_shape(directory: Path) -> None:
    proto, _, _ = graphs.decode(latent=6)
    (directory / "decode.onnx").write_bytes(proto.SerializeToString())
    rehash(directory)


def _graph_without_an_input(directory: Path) -> None:
    proto, _, _ = graphs.decode(classes=0)
    (directory / "decode.onnx").write_bytes(proto.SerializeToString())
    rehash(directory)


def _data_outside(directory: Path) -> None:
    secret = directory.parent.parent / "secret.bin"
    secret.write_bytes(bytes(4 * 64 * 4))

    def change(proto: onnx.ModelProto) -> None:
        weight = next(w for w in proto.graph.initializer if list(w.dims) == [4, 64])
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        entry = weight.external_data.add()
        entry.key, entry.value = "location", f"../../{secret.name}"

    edit_graph(directory, "decode.onnx", change)


def _link_outside(directory: Path) -> None:
    outside = directory.parent.parent / "outside.onnx"
    os.replace(directory / "decode.onnx", outside)
    (directory / "decode.onnx").symlink_to(outside)


def _path_outside(directory: Path) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["capabilities"]["decode"]["file"] = "../decode.onnx"

    edit_manifest(directory, change)


def _unknown_key(directory: Path) -> None:
    edit_manifest(directory, lambda manifest: manifest.update(flavour="sweet"))


def _other_name(directory: Path) -> None:
    edit_manifest(directory, lambda manifest: manifest.update(name="somebody-else"))


def _no_manifest(directory: Path) -> None:
    (directory / MANIFEST_NAME).unlink()


def _no_json(directory: Path) -> None:
    (directory / MANIFEST_NAME).write_text("{")


def _foreign_operator(directory: Path) -> None:
    def change(proto: onnx.ModelProto) -> None:
        proto.graph.node.append(helper.make_node("Steal", ["z"], ["stolen"], domain="evil.corp"))
        proto.opset_import.append(helper.make_opsetid("evil.corp", 1))

    edit_graph(directory, "decode.onnx", change)


def _calibrate(directory: Path, scores: np.ndarray) -> None:
    np.save(directory / "calibration.npy", scores)
    rehash(directory)


def _pickled_calibration(directory: Path) -> None:
    (directory / "calibration.npy").write_bytes(pickle.dumps(np.zeros(499)))
    rehash(directory)


def _unsorted_calibration(directory: Path) -> None:
    _calibrate(directory, np.load(directory / "calibration.npy")[::-1].copy())


def _object_calibration(directory: Path) -> None:
    _calibrate(directory, np.array([{"a": 1}] * 499, object))


def _short_calibration(directory: Path) -> None:
    _calibrate(directory, np.load(directory / "calibration.npy")[:-1])


def _empty_calibration(directory: Path) -> None:
    (directory / "calibration.npy").write_bytes(b"")
    rehash(directory)


def _zipped_calibration(directory: Path) -> None:
    with (directory / "calibration.npy").open("wb") as stream:
        np.savez(stream, scores=np.zeros(499))
    rehash(directory)


def _nan_calibration(directory: Path) -> None:
    _calibrate(directory, np.full(499, np.nan))


def _no_tokenizer(directory: Path) -> None:
    (directory / "tokenizer.json").write_text("{}")
    rehash(directory)


def _sheet_that_is_none(directory: Path) -> None:
    (directory / "sheet.png").write_bytes(b"GIF89a")
    rehash(directory)


def _other_sheet(directory: Path) -> None:
    with (directory / "sheet.png").open("ab") as stream:
        stream.write(b"\0")


def _graph_that_fails(directory: Path) -> None:
    def change(proto: onnx.ModelProto) -> None:
        for node in proto.graph.node[:2]:  # to depth and back
            node.attribute[0].i = 7

    edit_graph(directory, "reconstruct.onnx", change)


_generator, _density = directories.write_generator, directories.write_density

BROKEN: dict[str, Breakage] = {
    "missing file": Breakage(_generator, _missing_file, ("decode.onnx", "expected a readable file", "No such file")),
    "wrong hash": Breakage(_generator, _wrong_hash, ("decode.onnx", "expected sha256", "found")),
    "truncated graph": Breakage(_generator, _truncated, ("decode.onnx", "expected", "found")),
    "no graph": Breakage(_generator, _no_onnx, ("decode.onnx", "expected an ONNX model", "found")),
    "graph of another dtype": Breakage(
        _generator, _graph_of_another_dtype, ("decode.onnx", "expected input label: int64", "int32")
    ),
    "manifest of another dtype": Breakage(
        _generator, _manifest_of_another_dtype, ("capabilities.decode.input", "expected z: float32", "float16")
    ),
    "graph of another shape": Breakage(
        _generator, _graph_of_another_shape, ("decode.onnx", "expected input z: float32[batch, 4]", "6")
    ),
    "graph without an input": Breakage(
        _generator, _graph_without_an_input, ("decode.onnx", "expected input label", "found none")
    ),
    "external data outside": Breakage(
        _generator, _data_outside, ("decode.onnx", "expected the data of", "found '../../secret.bin'")
    ),
    "link outside": Breakage(_generator, _link_outside, ("decode.onnx", "expected a file inside", "found a link")),
    "path outside": Breakage(_generator, _path_outside, ("capabilities.decode.file", "found '../decode.onnx'")),
    "unknown key": Breakage(_generator, _unknown_key, ("flavour", "expected no such key", "found 'sweet'")),
    "other name": Breakage(_generator, _other_name, ("directory", "expected somebody-else/", "found mnist-gan/")),
    "no manifest": Breakage(_generator, _no_manifest, ("manifest.json", "expected a readable file", "found")),
    "no json": Breakage(_generator, _no_json, ("JSON",)),
    "foreign operator": Breakage(_generator, _foreign_operator, ("decode.onnx", "expected operators", "evil.corp")),
    "graph that fails": Breakage(
        directories.write_denoiser, _graph_that_fails, ("reconstruct.onnx", "expected a graph that runs", "found")
    ),
    "pickled calibration": Breakage(
        _density, _pickled_calibration, ("calibration.npy", "expected a .npy array without objects", "found")
    ),
    "object calibration": Breakage(_density, _object_calibration, ("calibration.npy", "without objects", "found")),
    "unsorted calibration": Breakage(_density, _unsorted_calibration, ("calibration.npy", "ascending", "found")),
    "short calibration": Breakage(_density, _short_calibration, ("calibration.npy", "expected 499", "(498,)")),
    "empty calibration": Breakage(_density, _empty_calibration, ("calibration.npy", "expected a .npy array", "found")),
    "zipped calibration": Breakage(_density, _zipped_calibration, ("calibration.npy", "expected", "found")),
    "nan calibration": Breakage(_density, _nan_calibration, ("calibration.npy", "expected 499 finite", "found")),
    "sheet that is none": Breakage(
        directories.write_embedder, _sheet_that_is_none, ("sheet.png", "expected a PNG", "found")
    ),
    "other sheet": Breakage(directories.write_embedder, _other_sheet, ("sheet.png", "expected sha256", "found")),
    "no tokenizer": Breakage(
        directories.write_writer, _no_tokenizer, ("tokenizer.json", "expected a tokenizer.json", "found")
    ),
}
