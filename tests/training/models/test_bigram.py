"""The bigram model is its counts, smoothed into probabilities; leaving one out is counting without it."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from contract import Capability
from training.data import load
from training.data.texts import Windows
from training.family import DataSummary
from training.graphs import open_session, write_graph
from training.models.bigram import Bigram
from training.recipe import DataConfig

VOCABULARY = 5


def windows(tokens: list[int]) -> Windows:
    return Windows(torch.tensor(tokens), 2, torch.arange(len(tokens) - 1))


def counted(tokens: list[int]) -> Bigram:
    model = Bigram(Bigram.Config(), DataSummary("text", vocabulary=VOCABULARY))
    model.prepare(windows(tokens))
    return model.eval()


TOKENS = [0, 1, 0, 1, 0, 2, 1, 1, 3, 0, 1, 2]  # 4 is never seen, and nothing follows 2 at the end


def test_with_discounts_of_zero_it_is_the_frequencies():
    model = counted(TOKENS)
    with torch.no_grad():
        model.discounts.fill_(-30)
        p = model.log_probs().exp()
    for v in range(4):
        after = [b for a, b in pairwise(TOKENS) if a == v]
        expected = [after.count(w) / len(after) for w in range(VOCABULARY)]
        assert p[v].tolist() == pytest.approx(expected, abs=1e-6)


def test_smoothed_it_still_sums_to_one_and_gives_all_tokens_a_chance():
    p = counted(TOKENS).log_probs().detach().exp()
    assert p.sum(1).tolist() == pytest.approx([1.0] * VOCABULARY, abs=1e-6)
    assert (p > 0).all()
    # By definition, with both discounts 1/2: three of four 0 are followed by 1; 8 kinds of pairs, 3 of them end in 1.
    lower = (3 - 0.5 + 0.5 * 4 / 5) / 8
    assert p[0, 1].item() == pytest.approx((3 - 0.5 + 0.5 * 2 * lower) / 4)


def test_leaving_one_out_is_counting_without_it():
    model = counted(TOKENS)
    v, w = torch.tensor(TOKENS[:-1]), torch.tensor(TOKENS[1:])
    found = model.left_out(v, w)
    for i in range(len(v)):
        without = counted(TOKENS)
        without.counts[v[i], w[i]] -= 1
        assert found[i].item() == pytest.approx(without.log_probs()[v[i], w[i]].item(), abs=1e-6)


def test_every_pair_of_the_training_text_is_counted_once():
    dataset = load(DataConfig(dataset="synthetic-text", context=16), None)
    model = Bigram(Bigram.Config(), dataset.summary)
    model.prepare(dataset.train)
    model.prepare(dataset.train)
    assert model.counts.sum() == len(dataset.train)
    starts, tokens = dataset.train.starts, dataset.train.tokens
    pair = (tokens[starts[0]], tokens[starts[0] + 1])
    assert model.counts[pair] == ((tokens[starts] == pair[0]) & (tokens[starts + 1] == pair[1])).sum()


def test_training_finds_discounts_that_held_out_text_likes_better():
    dataset = load(DataConfig(dataset="synthetic-text", context=16), None)
    model = Bigram(Bigram.Config(), dataset.summary)
    model.prepare(dataset.train)
    held_out = dataset.validation.at(torch.arange(len(dataset.validation)))
    optimizer, before = torch.optim.AdamW(model.parameters(), lr=0.3), model.validation(held_out, None)["loss"].item()
    for _ in range(20):
        loss, _ = model.loss("model", dataset.train.at(torch.arange(0, len(dataset.train), 16)), torch.Generator())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert model.validation(held_out, None)["loss"].item() < before


def test_the_graphs_are_the_table(tmp_path):
    model = counted(TOKENS)
    held_out = Windows(torch.tensor(TOKENS), 4, torch.arange(8))
    graphs = {g.capability: write_graph(g, held_out, tmp_path, (1, 2, 3, 8)) for g in model.graphs()}
    for graph in graphs.values():
        assert graph.batch_invariance.max_abs_diff == 0
    assert [t.name for t in graphs[Capability.NEXT_TOKEN].inputs] == ["input_ids", "seqlens_k", "total_sequence_length"]
    table = model.log_probs().detach().numpy()
    step = open_session(tmp_path / "next_token.onnx")

    def logits(rows, lengths):
        total = np.asarray(max(lengths), np.int32)
        feed = {"input_ids": np.array(rows), "seqlens_k": np.array(lengths, np.int32) - 1}
        return step.run(["logits"], feed | {"total_sequence_length": total})[0]

    assert np.array_equal(logits([[3, 1, 2], [4, 0, 0]], [3, 1]), table[[2, 4]])  # prompts of different lengths
    assert np.array_equal(logits([[3], [1]], [7, 2]), table[[3, 1]])  # one more token each
    density = open_session(tmp_path / "log_density.onnx")
    log_prob = density.run(["log_prob"], {"input_ids": np.array([TOKENS]), "lengths": np.array([12])})[0]
    assert log_prob[0] == pytest.approx(table[TOKENS[:-1], TOKENS[1:]].sum(), abs=1e-4)


def test_images_are_refused():
    with pytest.raises(ValueError, match="expected a text, found images"):
        Bigram(Bigram.Config(), DataSummary("image", (1, 4, 4)))
