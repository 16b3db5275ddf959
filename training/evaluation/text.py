"""How well a language model predicts text that it was not trained on."""

import math
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from contract import Capability
from contract.manifest import Measurement
from training.data.texts import split_text, text
from training.evaluate import ExportedModel, metric

BATCH_SIZE = 32


@metric
def text_nats_per_char(model: ExportedModel, data_root: Path | None, seed: int) -> list[Measurement]:
    """The whole test part in fixed windows of the context's length, each after the token before it.

    With s = [start token, *text], window k is given s[Ck] and predicts s[Ck + 1 : Ck + C + 1] from what stands before
    it in the window; every token counts once. Their nats are divided by the text's characters, whatever the tokens are, so
    that models of any tokens compare; the perplexity of a token, as the service has it, stands beside.
    """
    settings = model.manifest.text
    assert settings is not None
    tokenizer = Tokenizer.from_file(str(model.directory / settings.tokenizer.file))
    own = model.trained_on
    whole = text(own.dataset, data_root, own.path) if own else text(model.manifest.data.dataset, data_root)
    test = split_text(whole)[1]
    tokens = [settings.start_token, *tokenizer.encode(test).ids]
    session = model.session(Capability.LOG_DENSITY)
    context, total = settings.context, 0.0
    windows = [tokens[first : first + context + 1] for first in range(0, len(tokens) - 1, context)]
    for first in range(0, len(windows), BATCH_SIZE):
        rows = windows[first : first + BATCH_SIZE]
        input_ids = np.zeros((len(rows), context + 1), np.int64)
        for row, window in zip(input_ids, rows, strict=True):
            row[: len(window)] = window
        lengths = np.array([len(window) for window in rows])
        total += float(session.run(["log_prob"], {"input_ids": input_ids, "lengths": lengths})[0].sum(dtype=np.float64))
    characters, predicted = len(test), len(tokens) - 1
    nats = -total / characters
    where = f"{model.manifest.data.dataset}, the last 10%"
    unit = "character" if predicted == characters else "token"
    note = f"fixed windows of {context} {unit}s, each after the {unit} before it"
    if unit == "token":
        note += f"; nats of all {predicted} tokens over {characters} characters"
    rest = {"data": where, "size": characters, "note": note}
    figures = [
        Measurement(metric="validation loss", value=nats, unit="nats/char", **rest),
        Measurement(metric="perplexity", value=math.exp(nats), unit="per character", **rest),
    ]
    if unit == "token":
        of_token = math.exp(-total / predicted)
        figures.append(Measurement(metric="perplexity", value=of_token, unit="per token", **rest | {"size": predicted}))
    return figures
