"""The cached graph against the plain torch model, in the three ways that a server calls it."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from contract import Capability
from training.graphs import open_session, to_onnx, write_graph
from training.half import LOGITS_TOLERANCE
from training.layers.transformer import attention_by_rows

TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}


class Cached:
    """The exported next_token graph with one cache for `rows` rows, which past and present share."""

    def __init__(self, path, context, rows):
        self.session = open_session(path, threads=1)
        self.cache = {
            i.name: np.zeros((rows, *i.shape[1:2], context, *i.shape[3:]), np.float32)
            for i in self.session.get_inputs()
            if i.name.startswith("past")
        }
        self.outputs = [o.name for o in self.session.get_outputs()]

    def step(self, input_ids, totals):
        """Logits (B, V); `totals` are the rows' tokens after this call."""
        binding = self.session.io_binding()
        small = {
            "input_ids": np.asarray(input_ids, np.int64),
            "seqlens_k": np.asarray(totals, np.int32) - 1,
            "total_sequence_length": np.asarray(max(totals), np.int32),
        }
        for name, value in small.items():
            binding.bind_cpu_input(name, value)
        for name, buffer in self.cache.items():
            shared = buffer[: len(totals)]
            binding.bind_cpu_input(name, shared)
            present = name.replace("past_key_values", "present")
            binding.bind_output(present, "cpu", 0, np.float32, shared.shape, shared.ctypes.data)
        binding.bind_output("logits")
        self.session.run_with_iobinding(binding)
        return binding.get_outputs()[-1].numpy()


@pytest.fixture(scope="module")
def graph_path(tiny_gpt, tmp_path_factory):
    path = tmp_path_factory.mktemp("gpt") / "next_token.onnx"
    to_onnx(next(g for g in tiny_gpt.graphs() if g.capability is Capability.NEXT_TOKEN), path)
    return path


def reference(gpt, row):
    """Logits after the whole row, without a cache."""
    with torch.no_grad():
        return gpt(torch.tensor(row)[None])[0, -1].numpy()


@pytest.fixture
def rows(tiny_gpt):
    generator = np.random.default_rng(0)
    return [generator.integers(tiny_gpt.data.vocabulary, size=20).tolist() for _ in range(3)]


def test_ragged_prefill_and_decode(tiny_gpt, graph_path, rows):
    cached = Cached(graph_path, tiny_gpt.config.context, 3)
    lengths = [5, 2, 7]
    padded = [row[:n] + [0] * (max(lengths) - n) for row, n in zip(rows, lengths, strict=True)]
    logits = cached.step(padded, lengths)
    for step in range(6):
        expected = np.stack([reference(tiny_gpt, row[: n + step]) for row, n in zip(rows, lengths, strict=True)])
        np.testing.assert_allclose(logits, expected, **TOLERANCE)
        logits = cached.step(
            [[row[n + step]] for row, n in zip(rows, lengths, strict=True)], [n + step + 1 for n in lengths]
        )


def test_a_prompt_in_chunks(tiny_gpt, graph_path, rows):
    cached = Cached(graph_path, tiny_gpt.config.context, 1)
    for first, last in [(0, 7), (7, 8), (8, 15), (15, 20)]:
        logits = cached.step([rows[0][first:last]], [last])
        np.testing.assert_allclose(logits[0], reference(tiny_gpt, rows[0][:last]), **TOLERANCE)


def test_a_reused_slot_does_not_remember(tiny_gpt, graph_path, rows):
    cached = Cached(graph_path, tiny_gpt.config.context, 1)
    fresh = cached.step([rows[0][:6]], [6])
    cached.step([rows[1]], [20])
    assert np.array_equal(cached.step([rows[0][:6]], [6]), fresh)


def test_the_density_sums_to_one_and_ignores_padding(tiny_gpt):
    density = next(g for g in tiny_gpt.graphs() if g.capability is Capability.LOG_DENSITY).module
    vocabulary = tiny_gpt.data.vocabulary
    pairs = torch.cartesian_prod(torch.arange(vocabulary), torch.arange(vocabulary))
    rows = torch.cat([torch.zeros(len(pairs), 1, dtype=torch.int64), pairs], dim=1)  # every text of two characters
    with torch.no_grad():
        log_prob, parts = density(rows, torch.full((len(rows),), 3))
        assert log_prob.double().exp().sum().item() == pytest.approx(1, abs=1e-4)
        assert torch.equal(parts[:, 0], torch.zeros(len(rows)))
        shorter, parts = density(rows[:5], torch.tensor([2, 3, 2, 3, 1]))
    assert parts[0, 2] == parts[4, 1] == parts[4, 2] == shorter[4] == 0
    assert shorter[0].item() == pytest.approx(density(rows[:1, :2], torch.tensor([2]))[0].item(), abs=1e-5)


def test_the_fitted_temperature_is_the_best_one_and_goes_into_the_graphs(tiny_gpt):
    gpt = copy.deepcopy(tiny_gpt)
    with torch.no_grad():
        gpt.head.weight.normal_(std=1.0)  # far too sure of itself
    tokens = torch.randint(gpt.data.vocabulary, (4, gpt.config.context + 1), generator=torch.Generator().manual_seed(0))
    graph = next(g for g in gpt.graphs() if g.capability is Capability.LOG_DENSITY)
    inputs = {"input_ids": tokens, "lengths": torch.full((4,), tokens.shape[1])}

    @torch.no_grad()
    def log_prob():
        return float(graph.module(*inputs.values())[0].sum())

    before = log_prob()
    fitted = gpt.fit([{"input_ids": tokens}])["temperature"]
    best = log_prob()
    assert best > before
    for other in (fitted - 0.02, fitted + 0.02):
        gpt.temperature.fill_(other)
        assert log_prob() <= best or fitted in (0.8, 2.0)
    step = next(g for g in gpt.graphs() if g.capability is Capability.NEXT_TOKEN)
    prompt = step.inputs({"input_ids": tokens})
    with torch.no_grad():
        cold = step.reference(*prompt.values())
        gpt.temperature.fill_(2 * float(gpt.temperature))
        torch.testing.assert_close(step.reference(*prompt.values()), cold / 2)


def test_its_attention_may_be_in_float16(tiny_gpt, tiny_data, tmp_path):
    graph = next(g for g in tiny_gpt.graphs() if g.capability is Capability.NEXT_TOKEN)
    written = write_graph(graph, tiny_data.validation, tmp_path, (1, 2, 8))
    assert written.float16.tolerance == LOGITS_TOLERANCE
    assert written.parity.max_abs_diff < written.float16.max_abs_diff < LOGITS_TOLERANCE
    assert written.float16.batch_sizes == (8,)
    assert all(port.dtype != "float16" for port in (*written.inputs, *written.outputs))  # the file is as it was


def test_an_embedding_has_length_one_and_ignores_padding(tiny_gpt, tiny_data, tmp_path):
    graph = next(g for g in tiny_gpt.graphs() if g.capability is Capability.ENCODE)
    written = write_graph(graph, tiny_data.validation, tmp_path, (1, 2, 3, 8))
    assert written.batch_invariance.max_abs_diff == 0
    session, rows = open_session(tmp_path / written.file), np.array([[0, 5, 7, 2], [3, 3, 1, 1]])

    def embedding(input_ids, lengths):
        return session.run(["embedding"], {"input_ids": input_ids, "lengths": np.array(lengths)})[0]

    whole = embedding(rows, [4, 2])
    assert np.linalg.norm(whole, axis=1) == pytest.approx([1, 1], abs=1e-5)
    np.testing.assert_allclose(embedding(rows[1:, :2], [2])[0], whole[1], atol=1e-5)
    assert not np.allclose(embedding(rows, [4, 4])[1], whole[1], atol=1e-3)


def test_the_embedding_graph_holds_half_of_the_blocks(tiny_gpt, tmp_path):
    sizes = {}
    for graph in tiny_gpt.graphs():
        to_onnx(graph, tmp_path / "graph.onnx")
        sizes[graph.capability] = (tmp_path / "graph.onnx").stat().st_size
    block = 4 * sum(p.numel() for p in tiny_gpt.blocks[1].parameters())
    assert sizes[Capability.ENCODE] < sizes[Capability.LOG_DENSITY] - 0.9 * block


def test_attention_by_rows_is_attention():
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, heads, 50, 8, generator=generator, requires_grad=True) for heads in (4, 2, 2))
    found = attention_by_rows(q, k, v, rows=16)
    shared = (k.repeat_interleave(2, dim=1), v.repeat_interleave(2, dim=1))
    expected = F.scaled_dot_product_attention(q, *shared, is_causal=True)
    torch.testing.assert_close(found, expected)
    for a, b in zip(
        torch.autograd.grad(found.square().sum(), (q, k, v)),
        torch.autograd.grad(expected.square().sum(), (q, k, v)),
        strict=True,
    ):
        torch.testing.assert_close(a, b)
