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


class Choice:
    """How the rows of a batch choose: temperature, top_p (B,) float64, top_k (B,) int64, 0 for all.

    Made once for rows that take many steps together, because a step has little time. Temperature 0 takes the likeliest
    token, the first one of several.
    """

    def __init__(self, temperature: np.ndarray, top_k: np.ndarray, top_p: np.ndarray) -> None:
        sampled = temperature > 0
        self.sampled = bool(sampled.any())
        """Whether randomness is used at all."""
        if not self.sampled:
            return
        self._greedy = None if sampled.all() else ~sampled
        # Bounded, so that products with differences of float32 numbers are finite.
        self._inverse = 1 / np.where(sampled, np.maximum(temperature, 1e-260), 1.0)[:, None]
        self._limited = np.flatnonzero(sampled & ((top_k > 0) | (top_p < 1)))
        self._top_k, self._top_p = top_k[self._limited], top_p[self._limited]

    def __call__(self, logits: np.ndarray, uniform: np.ndarray | None) -> np.ndarray:
        """Choose a token for each row: logits (B, V) float, uniform (B,) float64 -> ids (B,) int64."""
        if not self.sampled:
            return logits.argmax(-1)
        assert uniform is not None, "a choice that is sampled is given its randomness"
        weights = np.subtract(logits, logits.max(axis=-1, keepdims=True), dtype=np.float64)  # (B, V)
        weights *= self._inverse
        np.exp(weights, out=weights)
        if len(self._limited):
            weights[self._limited] = _keep_likeliest(weights[self._limited], self._top_k, self._top_p)
        cumulative = weights.cumsum(axis=-1)
        total = cumulative[:, -1]
        # Rounding must not carry the target to the very end, behind the last token that can be chosen.
        target = np.minimum(uniform * total, np.nextafter(total, 0.0))
        chosen = (cumulative <= target[:, None]).sum(axis=-1)
        return chosen if self._greedy is None else np.where(self._greedy, logits.argmax(axis=-1), chosen)


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
