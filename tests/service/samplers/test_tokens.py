"""Choosing tokens: the fast, vectorised choice against a slow, obvious one, and the laws that it must keep."""

import numpy as np
import pytest

from service.samplers.tokens import Choice, log_softmax

B, V = 64, 23


def choose(
    logits: np.ndarray, temperature: np.ndarray, top_k: np.ndarray, top_p: np.ndarray, uniform: np.ndarray
) -> np.ndarray:
    return Choice(temperature, top_k, top_p)(logits, uniform)


def slow_choice(logits: np.ndarray, temperature: float, top_k: int, top_p: float, uniform: float) -> int:
    """One row, word for word: scale, keep the k likeliest, keep the nucleus of those, invert the distribution."""
    if temperature == 0:
        return int(np.argmax(logits))
    p = np.exp(log_softmax(logits[None].astype(np.float64) / temperature)[0])
    likeliest_first = sorted(range(len(p)), key=lambda token: -p[token])
    kept = likeliest_first[: top_k or len(p)]
    mass = sum(p[token] for token in kept)
    nucleus, reached = [], 0.0
    for token in kept:
        if nucleus and reached >= top_p * mass:
            break
        nucleus.append(token)
        reached += p[token]
    total = sum(p[token] for token in nucleus)
    below = 0.0
    for token in sorted(nucleus):
        below += p[token] / total
        if uniform < below:
            return token
    return max(nucleus)


def settings(rng: np.random.Generator, rows: int = B) -> dict[str, np.ndarray]:
    return {
        "temperature": rng.choice([0.0, 0.3, 1.0, 2.5], rows),
        "top_k": rng.choice([0, 1, 2, 5, V, 10 * V], rows),
        "top_p": rng.choice([0.05, 0.5, 0.9, 1.0], rows),
        "uniform": rng.random(rows),
    }


@pytest.mark.parametrize("seed", range(20))
def test_agrees_with_the_slow_reference(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (B, V)).astype(np.float32)
    per_row = settings(rng)
    rows = [slow_choice(logits[i], **{k: v[i] for k, v in per_row.items()}) for i in range(B)]
    assert choose(logits, **per_row).tolist() == rows


@pytest.mark.parametrize("seed", range(10))
def test_a_row_does_not_depend_on_its_batch_mates(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (B, V)).astype(np.float32)
    per_row = settings(rng)
    together, log_prob = choose(logits, **per_row), log_softmax(logits)
    for size in (1, 2, 3, 7, 17):
        rows = rng.permutation(B)[:size]
        assert np.array_equal(choose(logits[rows], **{k: v[rows] for k, v in per_row.items()}), together[rows])
        assert log_softmax(logits[rows]).tobytes() == log_prob[rows].tobytes()


def frequencies(logits: np.ndarray, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> np.ndarray:
    """Shares of each token over evenly spread uniform numbers: the exact distribution, up to 1 / n."""
    n = 20_000
    tokens = choose(
        np.tile(logits, (n, 1)),
        np.full(n, temperature),
        np.full(n, top_k),
        np.full(n, top_p),
        (np.arange(n) + 0.5) / n,
    )
    return np.bincount(tokens, minlength=len(logits)) / n


LOGITS = np.array([0.0, 1.0, 2.0, -1.0, 0.5, -3.0], np.float32)


def softmax(x: np.ndarray) -> np.ndarray:
    return np.exp(x) / np.exp(x).sum()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_frequencies_are_the_softmax(temperature: float) -> None:
    assert np.abs(frequencies(LOGITS, temperature) - softmax(LOGITS / temperature)).max() < 2e-4


def test_top_k_leaves_the_k_likeliest_in_proportion() -> None:
    found = frequencies(LOGITS, top_k=3)
    expected = np.where(np.isin(np.arange(6), [1, 2, 4]), softmax(LOGITS), 0)
    assert np.abs(found - expected / expected.sum()).max() < 2e-4


def test_top_p_leaves_the_smallest_nucleus_in_proportion() -> None:
    p = softmax(LOGITS)
    top_p = p[2] + 0.5 * p[1]  # reached within the second likeliest token
    expected = np.where(np.isin(np.arange(6), [2, 1]), p, 0)
    assert np.abs(frequencies(LOGITS, top_p=top_p) - expected / expected.sum()).max() < 2e-4


def test_a_tiny_top_p_still_leaves_one_token() -> None:
    assert frequencies(LOGITS, top_p=1e-9)[2] == 1


@pytest.mark.parametrize("temperature", [0.0, 1e-3, 1e-30, 1e-300, 1e-308, 5e-324])
def test_no_temperature_takes_the_likeliest(temperature: float) -> None:
    assert frequencies(LOGITS * 100, temperature)[2] == 1


def test_greedy_takes_the_first_of_equals() -> None:
    assert frequencies(np.array([1.0, 3.0, 3.0], np.float32), temperature=0)[1] == 1


@pytest.mark.parametrize("uniform", [0.0, 1 - 2**-53])
def test_the_ends_of_the_interval_choose_tokens_that_can_be(uniform: float) -> None:
    logits = np.array([[-1e4, 0.0, 0.0, -1e4]], np.float32)
    token = choose(logits, np.ones(1), np.zeros(1, np.int64), np.ones(1), np.array([uniform]))
    assert token.tolist() == [1 if uniform == 0 else 2]


def test_log_softmax_is_normalised_and_survives_large_logits() -> None:
    logits = np.array([[1e4, 1e4 - 1, -1e4], [0, 0, 0]], np.float32)
    found = log_softmax(logits)
    assert np.allclose(np.exp(found).sum(-1), 1, atol=1e-12)
    assert np.allclose(found[1], -np.log(3))
    assert np.isclose(found[0, 0] - found[0, 1], 1)
