"""What Optimum writes becomes a model that is served, or is refused with a reason."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from contract import Capability, read_manifest
from service.engine.job import Sampling
from service.loading import load_model
from service.settings import Settings
from service.tasks.complete import Request, complete, tokenize_prompt
from tests.toys import directories, graphs, optimum
from training.__main__ import main
from training.evaluation.sampling import run

LANGUAGE = graphs.Language(len(directories.CHARACTERS), directories.CONTEXT)
START = 5


def write_folder(folder: Path, *, starts: bool = False, **config: object) -> Path:
    """What optimum-cli would write for the toy; `starts` lets the tokenizer put a token before every text."""
    folder.mkdir()
    (folder / "model.onnx").write_bytes(optimum.next_token(LANGUAGE)[0].SerializeToString())
    without_unknown = json.loads(directories.character_tokenizer().to_str())
    del without_unknown["model"]["vocab"]["<unk>"]
    tokenizer = Tokenizer.from_str(json.dumps(without_unknown))
    if starts:
        start = tokenizer.id_to_token(START)
        tokenizer.post_processor = TemplateProcessing(single=f"{start} $A", special_tokens=[(start, START)])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"model_type": "toy", "max_position_embeddings": 30, "eos_token_id": 7, **config}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def adopt(folder: Path, store: Path, *more: str) -> int:
    return main(["adopt", str(folder), "--name", "my-toy", "--exported", str(store), *more])


def written(store: Path, prompt: str, tokens: int) -> tuple[list[int], str]:
    model = load_model(store / "my-toy" / "1", Settings(provider="cpu"), "cpu")
    request = Request(tokenize_prompt(model, prompt), prompt, 0, 0, tokens, Sampling(0.0, logprobs=0), logprobs=True)
    ((completion,), _) = run(model, [(complete(model, request), request.work)])
    return [token.id for _, token in completion.tokens if token], completion.finish_reason


def greedy(prompt: list[int], tokens: int, end: int = 7) -> list[int]:
    """The slow, obvious way: the whole text at every step."""
    session = ort.InferenceSession(optimum.next_token(LANGUAGE)[0].SerializeToString())
    ids = list(prompt)
    while len(ids) - len(prompt) < tokens:
        empty = {p.name: np.zeros((1, 1, 0, LANGUAGE.size), np.float32) for p in session.get_inputs() if "." in p.name}
        feed = {"input_ids": np.array([ids]), "attention_mask": np.ones((1, len(ids)), np.int64)}
        logits = session.run(["logits"], {**feed, "position_ids": np.arange(len(ids))[None], **empty})[0]
        token = int(logits[0, -1, : LANGUAGE.choices].argmax())
        if token == end:
            break
        ids.append(token)
    return ids[len(prompt) :]


@pytest.mark.parametrize("starts", [False, True])
def test_it_writes_what_the_graph_says(tmp_path: Path, starts: bool) -> None:
    store = tmp_path / "store"
    assert adopt(write_folder(tmp_path / "toy-onnx", starts=starts), store, "--licence", "MIT") == 0
    manifest = read_manifest(store / "my-toy" / "1")
    assert (manifest.family, manifest.licence, manifest.data.dataset) == ("toy", "MIT", "toy-onnx")
    assert manifest.text is not None
    assert (manifest.text.start_token, manifest.text.end_token, manifest.text.context) == (
        START if starts else None,
        7,
        30,
    )
    prompt = [directories.CHARACTERS.index(c) for c in "To be"]
    expected = greedy([START, *prompt] if starts else prompt, 20)
    assert written(store, "To be", 20)[0] == expected
    assert expected


def test_batch_invariance_is_measured(tmp_path: Path) -> None:
    adopt(write_folder(tmp_path / "toy-onnx"), tmp_path)
    measured = read_manifest(tmp_path / "my-toy" / "1").capabilities[Capability.NEXT_TOKEN].batch_invariance
    assert measured is not None
    assert measured.max_abs_diff <= measured.tolerance
    assert set(measured.batch_sizes) >= {2, 8}


def test_an_empty_prompt_needs_a_start_token(tmp_path: Path) -> None:
    adopt(write_folder(tmp_path / "toy-onnx"), tmp_path)
    with pytest.raises(Exception, match="no token that starts one"):
        written(tmp_path, "", 3)


def _no_past(folder: Path) -> None:
    proto = onnx.load(folder / "model.onnx")
    for ports in (proto.graph.input, proto.graph.output):
        kept = [port for port in ports if "." not in port.name]
        del ports[:]
        ports.extend(kept)
    for node in proto.graph.node:  # a graph that runs, but starts from nothing at every step
        if node.op_type == "Concat" and node.output[0].startswith("present."):
            node.op_type = "Identity"
            node.input[:] = [node.input[1]]
            del node.attribute[:]
    (folder / "model.onnx").write_bytes(proto.SerializeToString())


@pytest.mark.parametrize(
    ("spoil", "more", "says"),
    [
        (lambda f: (f / "tokenizer.json").unlink(), (), "expected tokenizer.json"),
        (_no_past, (), "--task text-generation-with-past"),
        (lambda f: None, ("--context", "31"), "--context: expected 2 to 30, found 31"),
        (lambda f: None, ("--version", "new"), "version: "),
        (lambda f: (f / "config.json").write_text("{}"), (), "give --context"),
        (lambda f: None, ("--train.steps", "3"), "expected no overrides"),
    ],
    ids=["no tokenizer", "no past", "context", "version", "unknown context", "override"],
)
def test_what_cannot_be_served_is_refused(tmp_path: Path, capsys, spoil, more: tuple[str, ...], says: str) -> None:
    folder, store = write_folder(tmp_path / "toy-onnx"), tmp_path / "store"
    spoil(folder)
    assert adopt(folder, store, *more) == 2
    assert says in capsys.readouterr().err
    assert not store.exists() or not list(store.iterdir())
