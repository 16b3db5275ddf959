"""Choosing tokens for all rows of a batch at once, each row with its own settings.

The choice inverts the cumulative distribution at a uniform number that comes from the request's seed, so a row's token
depends on nothing but its own logits, settings and number. Top-k and nucleus sampling (Holtzman et al. 2020,
arXiv:1904.09751) keep the fewest likeliest tokens whose probability reaches `top_p`.
"""

import numpy as np


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Log-probabilities in nats, float64. logits (B, V) -> (B, V)."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def choose(
    logits: np.ndarray,
    temperature: np.ndarray,
    top_k: np.ndarray,
    top_p: np.ndarray,
    uniform: np.ndarray,
) -> np.ndarray:
    """Choose a token for each row.

    logits (B, V) float; temperature, top_p, uniform (B,) float64; top_k (B,) int64, 0 for all. Returns ids (B,) int64.
    Temperature 0 takes the likeliest token, the first one of several.
    """
    greedy = logits.argmax(axis=-1)
    if not (temperature > 0).any():
        return greedy
    scaled = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)  # (B, V)
    with np.errstate(over="ignore"):  # the smallest temperatures leave nothing but the likeliest
        scaled /= np.where(temperature > 0, temperature, 1.0)[:, None]
    weights = np.exp(scaled)
    vocabulary = logits.shape[-1]
    limited = (temperature > 0) & (((top_k > 0) & (top_k < vocabulary)) | (top_p < 1))
    if limited.any():
        rows = np.flatnonzero(limited)
        weights[rows] = _keep_likeliest(weights[rows], top_k[rows], top_p[rows])
    cumulative = weights.cumsum(axis=-1)
    target = uniform[:, None] * cumulative[:, -1:]
    chosen = (cumulative <= target).sum(axis=-1)
    # Rounding may leave the target at the very end: the last token that can be chosen.
    last = vocabulary - 1 - (weights[:, ::-1] > 0).argmax(axis=-1)
    return np.where(temperature > 0, np.minimum(chosen, last), greedy)


def _keep_likeliest(weights: np.ndarray, top_k: np.ndarray, top_p: np.ndarray) -> np.ndarray:
    """Zero the weights of tokens outside of top-k and of the nucleus. Shapes as in choose."""
    order = np.argsort(-weights, axis=-1, kind="stable")  # (B, V)
    ranked = np.take_along_axis(weights, order, axis=-1)
    total = ranked.cumsum(axis=-1)
    k = np.where(top_k > 0, top_k, weights.shape[-1])[:, None]
    kept = np.arange(weights.shape[-1])[None, :] < k
    # The nucleus is taken among the top k, renormalised; a token stays while those before it fall short of top_p.
    mass = np.take_along_axis(total, np.minimum(k, weights.shape[-1]) - 1, axis=-1)
    kept &= (total - ranked) < top_p[:, None] * mass
    kept[:, 0] = True
    out = np.zeros_like(weights)
    np.put_along_axis(out, order, np.where(kept, ranked, 0.0), axis=-1)
    return out
