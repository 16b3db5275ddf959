"""Everything that reads bytes from strangers. Each takes any bytes, and raises one of our errors or none."""

import io
import zlib
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

from contract.files import ManifestError, parse_manifest
from contract.manifest import Column
from service.api.parsing import parse_json
from service.codecs import compressed, npy, numbers, picture, table, tensors
from service.codecs.apart import Reader
from service.errors import AmostraError
from service.inference_schemas import InferBody
from service.schemas import CompletionBody, GenerateBody, ScoreBody

_LIMIT = 2**20
_COLUMNS = (
    Column(name="a"),
    Column(name="b", may_be_missing=True),
    Column(name="c", kind="category", categories=("x", "y")),
)
_APART = Reader()
ALLOWED = (AmostraError, ManifestError)


def _npy(blob: bytes) -> None:
    found = npy.decode(blob, _LIMIT)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    assert found.size <= _LIMIT


def _picture(blob: bytes) -> None:
    found = picture.decode(blob, 1 + 2 * (len(blob) % 2), _LIMIT)
    assert 0 <= found.min() <= found.max() <= 1


def _mask(blob: bytes) -> None:
    assert picture.decode_mask(blob, _LIMIT).dtype == bool
    picture.decode_transparency(blob, _LIMIT)


def _numbers(blob: bytes) -> None:
    found = numbers.cut_out(blob, "inputs")
    if found is not None:
        assert found[1].dtype == np.float64


def _json(blob: bytes) -> None:
    for schema in (ScoreBody, GenerateBody, CompletionBody):
        try:
            parse_json(blob, schema)
        except AmostraError:
            continue


def _table(media_type: str) -> Callable[[bytes], None]:
    def read(blob: bytes) -> None:
        rows = table.decode(blob, media_type, _COLUMNS, 1000, _LIMIT)
        assert rows.shape[1] == 5
        assert np.isfinite(rows).all()

    return read


def _parquet(blob: bytes) -> None:
    """As it is served, by a process that a file may end; and again here, where the fuzzer sees which way the reader takes."""
    rows = _APART.decode(blob, _COLUMNS, 1000, _LIMIT)
    assert np.array_equal(rows, table.decode(blob, table.PARQUET, _COLUMNS, 1000, _LIMIT))


def _tensors(blob: bytes) -> None:
    """The first two bytes say how long the JSON is, as a header does, and the third how the body is packed."""
    encoding = ("", "gzip", "deflate")[blob[2] % 3] if len(blob) > 2 else ""
    body = compressed.unpack(blob[3:], encoding, _LIMIT)
    length = int.from_bytes(blob[:2], "little")
    for json, apart in ((body[:length], []), tensors.numbers_apart(body[:length])):
        found = tensors.decode(parse_json(json, InferBody), memoryview(body)[length:], apart)
        for array in found.values():
            assert array.flags.aligned
            assert array.dtype.kind != "f" or np.isfinite(array).all()
        tensors.encode({"id": ""}, found, list(found)[::2])


def _manifest(blob: bytes) -> None:
    parse_manifest(blob)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "npy": _npy,
    "picture": _picture,
    "mask": _mask,
    "numbers": _numbers,
    "json": _json,
    "csv": _table(table.CSV),
    "arrow": _table(table.ARROW_STREAM),
    "parquet": _parquet,
    "tensors": _tensors,
    "manifest": _manifest,
}


def seeds(name: str) -> Iterator[bytes]:
    """Sound inputs to begin with."""
    array = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    if name == "npy":
        for dtype in (np.float32, np.float64, np.uint8, np.int64, np.bool_):
            stream = io.BytesIO()
            np.save(stream, array.astype(dtype))
            yield stream.getvalue()
    elif name in ("picture", "mask"):
        for mode in ("L", "RGB", "RGBA", "P", "1", "I;16", "LA"):
            for kind in ("PNG", "JPEG") if mode in ("L", "RGB") else ("PNG",):
                stream = io.BytesIO()
                Image.new(mode, (8, 8)).save(stream, kind)
                yield stream.getvalue()
    elif name in ("numbers", "json"):
        yield b'{"inputs": [[0.1, 2, -3e4], [4, 5, 6]], "alpha": 0.1}'
        yield b'{"prompt": ["a", "b"], "max_tokens": 3, "stop": "x", "logprobs": 2}'
    elif name == "tensors":
        for binary in ([], ["x"], ["x", "b"]):
            outputs = {"x": array[:2, :2], "b": array[0] > 0.1, "i": np.arange(3)}
            body, length = tensors.encode({"id": "1"}, outputs, binary)
            said = body.replace(b"outputs", b"inputs", 1)
            head = (len(said) if length is None else length - 1).to_bytes(2, "little")
            yield head + b"\0" + said
            yield head + b"\2" + zlib.compress(said)
    elif name == "manifest":
        yield b'{"name": "a", "version": "1", "capabilities": {"decode": {"file": "x.onnx", "inputs": [], "outputs": []}}}'
    else:
        yield from _tables(name)


def _tables(name: str) -> Iterator[bytes]:
    import pyarrow as pa
    import pyarrow.parquet

    rows = pa.table({"a": [1.0, 2.0], "b": [None, 3.0], "c": ["x", "y"]})
    stream = io.BytesIO()
    if name == "csv":
        yield b"a,b,c\n1,2,x\n3,,y\n"
    elif name == "parquet":
        pyarrow.parquet.write_table(rows, stream)
        yield stream.getvalue()
    else:
        with pa.ipc.new_stream(stream, rows.schema) as writer:
            writer.write_table(rows)
        yield stream.getvalue()
