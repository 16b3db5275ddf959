"""A decoder that Hugging Face Optimum exported becomes a model directory: its files as they are, and a manifest.

    optimum-cli export onnx --model my-llama --task text-generation-with-past my-llama-onnx
    python -m training adopt my-llama-onnx --name my-llama

The graph says its shapes, tokenizer.json its tokens and what stands before a text, config.json and generation_config.json
how long a text may be and what ends it. Whether a row's bits depend on the rows beside it is measured, on the graph as the
service runs it.
"""

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from pydantic import ValidationError
from tokenizers import Tokenizer

from contract import Capability, Manifest, TensorSpec, concatenates, mismatches, write_manifest
from contract.manifest import Agreement, Data, FileRef, Graph, Text
from service.engine.concatenating_graph import BLOCK, ConcatenatingGraph, Concatenation
from service.engine.held_rows import Rows
from training.export import replace_directory
from training.graphs import open_session, sha256, specs
from training.invariance import agreement, differences

GRAPH, TOKENIZER = "model.onnx", "tokenizer.json"
CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "n_ctx")
MAX_CONTEXT = 2048
"""Unless another is asked for: the keys and values of a sequence take memory for every place of it."""
BATCH_SIZES = (1, 2, 3, 4, 6, 8)


class AdoptionError(ValueError):
    """A folder that is no decoder of Optimum's; the message says what was expected."""


@dataclass(frozen=True)
class Adoption:
    """What the folder does not say."""

    name: str
    version: str = "1"
    description: str = ""
    licence: str = "that of the model"
    context: int | None = None


def adopt(folder: Path, asked: Adoption, exported: Path) -> Path:
    """Write `exported/<name>/<version>/` and return it; an older one of the same version is replaced.

    Raises AdoptionError, and then nothing is written.
    """
    for name in (GRAPH, TOKENIZER):
        if not (folder / name).is_file():
            raise AdoptionError(f"{folder}: expected {name}, as optimum-cli writes it, found none")
    proto = onnx.load(str(folder / GRAPH), load_external_data=False)
    beside = sorted({e.value for t in proto.graph.initializer for e in t.external_data if e.key == "location"})
    session = open_session(folder / GRAPH)
    inputs, outputs = specs(session.get_inputs()), specs(session.get_outputs())
    if not concatenates(inputs):
        found = ", ".join(t.name for t in inputs)
        raise AdoptionError(f"{GRAPH}: expected input_ids, attention_mask and past_key_values, found {found}")
    if wrong := mismatches(Capability.NEXT_TOKEN, inputs, outputs):
        hint = "export it with --task text-generation-with-past"
        raise AdoptionError(f"{GRAPH}: {'; '.join(wrong[:3])}: {hint}")
    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    vocabulary = min(tokenizer.get_vocab_size(), _logits(outputs))
    context = _context(_json(folder / "config.json"), asked.context)
    exported.mkdir(parents=True, exist_ok=True)
    working = Path(tempfile.mkdtemp(dir=exported, prefix=".adopted-"))
    try:
        for name in (GRAPH, TOKENIZER, *beside):
            shutil.copyfile(folder / name, working / name)
        graph = Graph(
            **_reference(working / GRAPH).model_dump(),
            inputs=inputs,
            outputs=outputs,
            external_data=tuple(_reference(working / name) for name in beside),
            batch_invariance=batch_invariance(session, vocabulary, context),
        )
        text = Text(
            tokenizer=_reference(working / TOKENIZER),
            vocabulary=vocabulary,
            start_token=_start_token(tokenizer),
            end_token=_end_token(folder),
            context=context,
        )
        write_manifest(working, _manifest(folder, asked, graph, text))
        os.chmod(working, 0o755)
        place = exported / asked.name / asked.version
        place.parent.mkdir(parents=True, exist_ok=True)
        replace_directory(place, working)
    finally:
        shutil.rmtree(working, ignore_errors=True)
    return place


def _manifest(folder: Path, asked: Adoption, graph: Graph, text: Text) -> Manifest:
    try:
        return Manifest(
            name=asked.name,
            version=asked.version,
            family=_json(folder / "config.json").get("model_type", "decoder"),
            description=asked.description or f"A decoder exported by Hugging Face Optimum: {folder.name}.",
            licence=asked.licence,
            capabilities={Capability.NEXT_TOKEN: graph},
            data=Data(kind="text", dataset=folder.name),
            text=text,
        )
    except ValidationError as error:
        wrong = (f"{'.'.join(map(str, e['loc']))}: {e['msg']}, found {e['input']!r:.80}" for e in error.errors())
        raise AdoptionError("; ".join(wrong)) from error


def batch_invariance(session: Any, vocabulary: int, context: int) -> Agreement:
    """Of a step of rows of different lengths."""
    most, rng = max(BATCH_SIZES), np.random.default_rng(0)
    last = min(BLOCK, context - 1)
    lengths = rng.integers(max(1, last // 2), last + 1, most)
    rows = Rows(session, 0, most, context)
    graph = ConcatenatingGraph(session, rows, Concatenation(vocabulary, together=True))
    for row, length in enumerate(lengths.tolist()):
        graph.prompt(row, rng.integers(0, vocabulary, (1, length)), length)
    ids = rng.integers(0, vocabulary, most)
    before = {name: cache.copy() for name, cache in rows.caches.items()}

    def step(numbers: np.ndarray) -> dict[str, np.ndarray]:
        for name, cache in rows.caches.items():
            cache[: len(numbers)] = before[name][numbers]
        graph.begin_steps(ids[numbers], lengths[numbers], alone=False)
        return {"logits": graph.step()}

    return agreement(differences(step, BATCH_SIZES))


def _logits(outputs: tuple[TensorSpec, ...]) -> int:
    width = next(t for t in outputs if t.name == "logits").shape[-1]
    if not isinstance(width, int):
        raise AdoptionError(f"{GRAPH}: expected logits of a fixed width, found {width}")
    return width


def _context(config: dict[str, Any], wanted: int | None) -> int:
    most = next((config[key] for key in CONTEXT_KEYS if isinstance(config.get(key), int)), None)
    if wanted is None and most is None:
        raise AdoptionError(f"config.json: expected one of {', '.join(CONTEXT_KEYS)}, found none: give --context")
    if wanted is not None and (wanted < 2 or (most is not None and wanted > most)):
        raise AdoptionError(f"--context: expected 2 to {most or 'any number'}, found {wanted}")
    return wanted or min(most or MAX_CONTEXT, MAX_CONTEXT)


def _start_token(tokenizer: Tokenizer) -> int | None:
    """What the tokenizer itself puts before a text, which for some models is nothing."""
    with_special, plain = (tokenizer.encode("a", add_special_tokens=special).ids for special in (True, False))
    before = with_special[: with_special.index(plain[0])] if plain and plain[0] in with_special else []
    if len(before) > 1:
        raise AdoptionError(f"{TOKENIZER}: expected one token before a text at most, found {before}")
    return before[0] if before else None


def _end_token(folder: Path) -> int | None:
    """What ends a text; the first one of several."""
    for name in ("generation_config.json", "config.json"):
        found = _json(folder / name).get("eos_token_id")
        if found is not None:
            return found[0] if isinstance(found, list) else found
    return None


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _reference(path: Path) -> FileRef:
    return FileRef(file=path.name, sha256=sha256(path))
