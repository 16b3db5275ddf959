"""The density over pixels is one, its chain rule holds, and the cached graph draws what the whole one scores."""

import itertools
import math

import numpy as np
import pytest
import torch

from contract import Capability
from tests.training.test_gpt import Cached
from training.data.images import Images, synthetic_images
from training.family import DataSummary, OptimizerConfig
from training.graphs import open_session, write_graph
from training.half import LOGITS_TOLERANCE
from training.layers.reading_order import NEAR, hats, neighbours
from training.models.pixel_gpt import PixelGPT

SHAPE = (1, 6, 8)
LEVELS = 4


def tiny(shape=SHAPE, levels=LEVELS, **changes) -> PixelGPT:
    """Every weight random, so that no branch is silent."""
    torch.manual_seed(0)
    config = PixelGPT.Config(layers=2, width=32, heads=2, levels=levels, reach=2, knots=3, exact=3, **changes)
    model = PixelGPT(config, DataSummary("image", shape))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def drawings(number, shape=SHAPE, levels=LEVELS, seed=0):
    """Levels (N, C, H, W) uint8, two in three of them black."""
    generator = torch.Generator().manual_seed(seed)
    ink = torch.rand(number, *shape, generator=generator) < 1 / 3
    return torch.where(ink, torch.randint(levels, ink.shape, generator=generator), 0).to(torch.uint8)


class Drawings:
    """A source of drawings in [0, 1]."""

    def __len__(self):
        return 24

    def at(self, indices, generator=None):
        return {"x": drawings(24)[indices].float() / (LEVELS - 1)}


@pytest.mark.parametrize("shape", [(1, 2, 2), (2, 1, 2)])
def test_the_probabilities_of_all_images_sum_to_one(shape):
    every = torch.tensor(list(itertools.product([0.0, 1.0], repeat=math.prod(shape)))).view(-1, *shape)
    model = tiny(shape, levels=2)
    density = next(g for g in model.graphs() if g.capability is Capability.LOG_DENSITY).module
    with torch.no_grad():
        log_prob, parts = density(every)
    assert log_prob.exp().sum().item() == pytest.approx(1, abs=1e-5)
    assert parts.shape == every.shape


def test_log_prob_is_the_chain_of_the_next_pixels():
    model, x = tiny(), drawings(3).float() / (LEVELS - 1)
    tokens, density = model.tokens(x), model.graphs()[1].module
    with torch.no_grad():
        steps = torch.stack([model(tokens[:, : t + 1])[:, -1].log_softmax(-1) for t in range(model.context)], dim=1)
        log_prob, parts = density(x)
    chain = steps.gather(-1, tokens[:, 1:, None])[..., 0]
    torch.testing.assert_close(parts.flatten(1), chain, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(log_prob, chain.sum(1), atol=1e-4, rtol=1e-5)


def test_a_pixels_window_is_what_has_been_read_around_it():
    height, width, reach = 5, 7, 2
    table, image = neighbours((1, height, width), reach), torch.arange(1, 36).view(5, 7)
    plane = torch.cat([torch.zeros(1, dtype=torch.int64), image.flatten()])
    for row, column in itertools.product(range(height), range(width)):
        expected = [
            int(image[r, c])
            for r in range(max(0, row - reach), row + 1)
            for c in range(max(0, column - reach), min(width, column + reach + 1))
            if (r, c) < (row, column)
        ]
        found = plane[table[row * width + column]]
        assert sorted(found[found > 0].tolist()) == expected
    assert plane[table[2 * width + 3, :NEAR]].tolist() == [image[2, 2], image[1, 2], image[1, 3], image[1, 4]]


def test_a_second_channel_sees_the_first_ones_window_whole():
    table = neighbours((2, 3, 3), reach=1)
    assert set(table[13].tolist()) == set(range(1, 14))  # of the middle: nine in the first channel, four in its own
    assert (table <= torch.arange(18)[:, None]).all()  # nothing that has not been read


def test_hats_are_linear_interpolation():
    values = torch.tensor([1.0, -2.0, 5.0])
    assert (hats(9, 3) @ values).tolist() == pytest.approx(np.interp(np.arange(9) / 4, [0, 1, 2], values).tolist())


def test_what_is_chosen_gives_the_loss_of_all_positions():
    """The mean over many draws is the loss that the whole sequence has; no draw leaves out what others see."""
    model, batch = tiny(), {"x": torch.zeros(8, 1, 12, 12)}
    model = tiny((1, 12, 12))
    batch["x"][:, :, 4:7, 5:8] = drawings(8, (1, 3, 3), seed=1) / (LEVELS - 1)
    tokens, generator = model.tokens(batch["x"]), torch.Generator().manual_seed(0)
    with torch.no_grad():
        chosen, counts = model._chosen(model._needed(tokens), generator)
        whole = torch.nn.functional.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
        draws = torch.stack([model.loss("model", batch, generator)[0] for _ in range(100)])
        logits = model(tokens[:, :-1], chosen)
        index = chosen[..., None].expand(-1, -1, LEVELS)
        torch.testing.assert_close(logits, model(tokens[:, :-1]).gather(1, index), atol=1e-4, rtol=1e-4)
    assert chosen.shape[1] < model.context
    assert torch.allclose(counts.sum(1), torch.tensor(float(model.context)))
    error = draws.std().item() / math.sqrt(len(draws))
    assert draws.mean().item() == pytest.approx(whole.item() / math.log(2), abs=4 * error)


def test_a_few_steps_of_training_lower_the_bits():
    torch.manual_seed(0)
    pixels, labels = synthetic_images(32, seed=0)
    model = PixelGPT(PixelGPT.Config(layers=1, width=32, heads=2, reach=2), DataSummary("image", (1, 28, 28)))
    optimizers = model.optimizers("model", OptimizerConfig(learning_rate=1e-2))
    batch, generator = Images(pixels, labels).at(torch.arange(4)), torch.Generator().manual_seed(0)
    losses = []
    for _ in range(8):
        loss, _ = model.loss("model", batch, generator)
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=False)
        losses.append(loss.item())
    assert losses[0] == pytest.approx(8, abs=1e-3)
    assert losses[-1] < losses[0] - 1
    assert all(p.grad is not None for p in model.parameters())


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The tiny model's graphs as written through the parity gate, and the folder that they are in."""
    place = tmp_path_factory.mktemp("pixel-gpt")
    return {g.capability: write_graph(g, Drawings(), place, (1, 2, 3, 8)) for g in tiny().graphs()}, place


def test_the_graphs_agree_with_torch(exported):
    graphs, _ = exported
    assert graphs[Capability.LOG_DENSITY].density == "exact"
    for graph in graphs.values():
        assert graph.parity.max_abs_diff <= graph.parity.tolerance
        assert graph.batch_invariance.max_abs_diff == 0


def test_its_attention_may_be_in_float16_though_it_reads_its_keys_itself(exported):
    graphs, _ = exported
    found = graphs[Capability.NEXT_TOKEN].float16
    assert 0 < found.max_abs_diff <= found.tolerance == LOGITS_TOLERANCE


def test_the_cached_graph_gives_every_pixels_probability(exported):
    """Prompts of different lengths in one call, then a step for all rows at once, at places of their own."""
    model, x = tiny(), drawings(3, seed=2).float() / (LEVELS - 1)
    tokens = model.tokens(x)
    cached = Cached(exported[1] / "next_token.onnx", model.context, 3)
    _, parts = open_session(exported[1] / "log_density.onnx").run(None, {"x": x.numpy()})
    with torch.no_grad():
        expected = model(tokens[:, :-1])  # (3, D, levels)
    lengths = np.array([5, 1, 20])
    logits = cached.step(tokens[:, :20].numpy(), lengths)
    rows = np.arange(3)
    for _ in range(model.context - max(lengths)):
        torch.testing.assert_close(torch.from_numpy(logits), expected[rows, lengths - 1], atol=1e-4, rtol=1e-4)
        following = tokens[rows, lengths]
        log_prob = torch.from_numpy(logits).log_softmax(-1)[rows, following]
        assert np.allclose(log_prob, parts.reshape(3, -1)[rows, lengths - 1], atol=1e-4)
        lengths = lengths + 1
        logits = cached.step(following[:, None].numpy(), lengths)


def test_a_prompt_in_chunks_where_another_row_was(exported):
    model = tiny()
    first, second = model.tokens(drawings(2, seed=3).float() / (LEVELS - 1))
    cached = Cached(exported[1] / "next_token.onnx", model.context, 1)
    cached.step(first[None, :-1].numpy(), [model.context])
    for start, stop in [(0, 7), (7, 8), (8, 30), (30, 48)]:
        logits = cached.step(second[None, start:stop].numpy(), [stop])
        with torch.no_grad():
            expected = model(second[None, :stop])[:, -1]
        torch.testing.assert_close(torch.from_numpy(logits), expected, atol=1e-4, rtol=1e-4)


def test_images_of_any_size_are_refused():
    with pytest.raises(ValueError, match="images of one fixed size"):
        PixelGPT(PixelGPT.Config(), DataSummary("image", (1, None, None)))
