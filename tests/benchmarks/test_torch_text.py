"""Torch's loops with a cache write what the network without one would: nobody is compared with a wrong peer."""

import pytest
import torch

from benchmarks.device import Step
from benchmarks.models import TextSize, random_text, text_recipe
from benchmarks.torch_text import Cached, greedy
from training.models.gpt import GPT

SIZE = TextSize(2, 64, 4, context=24, kv_heads=2)
PROMPT = [0, 5, 9, 2]


@pytest.fixture(scope="module")
def gpt() -> GPT:
    torch.manual_seed(0)
    recipe = text_recipe(SIZE)
    network = GPT(recipe.model_config_, random_text(recipe).summary).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network


def test_greedy_takes_the_likeliest_token_after_all_that_came_before(gpt: GPT) -> None:
    ids = list(PROMPT)
    with torch.no_grad():
        for _ in range(12):
            ids.append(int(gpt(torch.tensor([ids]))[0, -1].argmax()))
    assert len(set(ids)) > 4
    assert greedy(gpt, PROMPT, 12) == ids[len(PROMPT) :]


@torch.inference_mode()
def test_steps_of_fixed_shape_give_the_same_logits(gpt: GPT) -> None:
    step, cached = Step(gpt, rows=2), Cached(gpt)
    for place, token in enumerate(PROMPT):
        logits = step(torch.tensor([[token], [token]]), torch.tensor([place]))
    expected = cached.append(torch.tensor([PROMPT]))
    torch.testing.assert_close(logits, expected.expand(2, -1), rtol=1e-4, atol=1e-4)
