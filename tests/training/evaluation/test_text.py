"""Nats per character count every token of the test part once, whatever the tokens and the windows are."""

import numpy as np
import pytest

from contract import Capability
from training.data import load
from training.data.texts import split_text, text
from training.evaluate import ExportedModel
from training.evaluation.text import text_nats_per_char
from training.export import export
from training.loop import train
from training.recipe import load_recipe


@pytest.mark.parametrize("tokenizer", ["characters", "pairs"])
def test_the_windows_of_a_bigram_add_up_to_the_whole_text(tokenizer, tmp_path):
    """What stands before a window makes no difference to a bigram model."""
    changes = {
        "data.dataset": "synthetic-text",
        "data.tokenizer": tokenizer,
        "data.vocabulary": 300,
        "data.context": 16,
        "train.steps": 1,
    }
    recipe = load_recipe("shakespeare-bigram", [f"--{key}={value}" for key, value in changes.items()])
    dataset = load(recipe.data, None)
    trained = train(recipe, dataset, tmp_path / "run", {"accelerator": "cpu"}, progress=False)
    model = ExportedModel.open(export(recipe, trained, dataset, tmp_path / "exported"))
    whole = split_text(text("synthetic-text", None))[1]
    tokens = [dataset.summary.start_token, *dataset.tokenizer.encode(whole).ids]
    inputs = {"input_ids": np.array([tokens]), "lengths": np.array([len(tokens)])}
    (log_prob,) = model.session(Capability.LOG_DENSITY).run(["log_prob"], inputs)[0]
    nats, perplexity, *of_token = text_nats_per_char(model, None, seed=0)
    assert nats.size == len(whole)
    assert nats.value == pytest.approx(-log_prob / len(whole), rel=1e-5)
    assert perplexity.value == pytest.approx(np.exp(nats.value))
    assert perplexity.unit == "per character"
    for figure in of_token:
        assert figure.unit == "per token"
        assert figure.value == pytest.approx(np.exp(-log_prob / (len(tokens) - 1)), rel=1e-5)
    assert len(of_token) == (tokenizer == "pairs")
    assert ("tokens over" in nats.note) == (tokenizer == "pairs")
