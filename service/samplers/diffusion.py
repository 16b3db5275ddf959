"""Samplers of diffusion models: from noise to a sample, with a denoiser D(x; sigma) for the only thing that is learnt.

Everything is in the variance-exploding convention x_t = x + sigma n, in the units of x. A sampler is a generator: it yields
(x, sigma), is sent D(x; sigma), and returns the sample; so it knows no graph, and the caller may mix guidance or known pixels
into what it sends. All rows stand at one sigma; x is (n, C, H, W) float32. `noises` gives fresh unit noise of x's shape at
each `next`, which makes the randomness an input too.

    euler       the probability flow ODE (Song et al. 2021, arXiv 2011.13456), first order
    heun        Karras et al. 2022 (arXiv 2206.00364), algorithm 1: second order, two evaluations a step but for the last
    dpmpp_2m    DPM-Solver++(2M) (Lu et al. 2022, arXiv 2211.01095), algorithm 2: second order, one evaluation a step
    ancestral   the reverse Markov chain (Ho et al. 2020, arXiv 2006.11239), with fresh noise in each step
    consistency Song et al. 2023 (arXiv 2303.01469), algorithm 1: D jumps to a sample at once, and noise is added anew
"""

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from itertools import pairwise

import numpy as np

from contract.manifest import Sampler

Steps = Generator[tuple[np.ndarray, float], np.ndarray, np.ndarray]
Rule = Callable[[np.ndarray, Sequence[float], Iterator[np.ndarray]], Steps]

JUMPS = 10
JUMPS_BELOW = 1.0
"""Sigma, for samples in [0, 1]: above it nothing of a sample can be seen, and there is nothing to agree on."""


def karras(steps: int, sigma_range: tuple[float, float], rho: float = 7.0) -> list[float]:
    """Noise levels of `steps` steps: Karras et al. 2022, eq. 5, then 0. Descending, steps + 1 numbers."""
    low, high = (sigma ** (1 / rho) for sigma in sigma_range)
    ramp = np.linspace(0.0, 1.0, steps)
    return [*((high + ramp * (low - high)) ** rho).tolist(), 0.0]


def schedule(sampler: Sampler, steps: int, sigma_range: tuple[float, float], rho: float = 7.0) -> list[float]:
    """The noise levels that a sampler walks down in so many steps.

    A consistency model's samples stand at the smallest sigma, so there its schedule ends, and not at 0.
    """
    return karras(steps + 1, sigma_range, rho)[:-1] if sampler == "consistency" else karras(steps, sigma_range, rho)


def euler(x: np.ndarray, sigmas: Sequence[float], noises: Iterator[np.ndarray]) -> Steps:
    """x + (sigma' - sigma) dx/dsigma with dx/dsigma = (x - D(x; sigma)) / sigma."""
    for sigma, following in pairwise(sigmas):
        x0 = yield x, sigma
        x = x0 + (following / sigma) * (x - x0)
    return x


def heun(x: np.ndarray, sigmas: Sequence[float], noises: Iterator[np.ndarray]) -> Steps:
    """Euler's step, then the mean of the slopes at both of its ends."""
    for sigma, following in pairwise(sigmas):
        x0 = yield x, sigma
        slope = (x - x0) / sigma
        ahead = x0 + (following / sigma) * (x - x0)
        if following > 0:
            x0 = yield ahead, following
            ahead = x + (0.5 * (following - sigma)) * (slope + (ahead - x0) / following)
        x = ahead
    return x


def dpmpp_2m(x: np.ndarray, sigmas: Sequence[float], noises: Iterator[np.ndarray]) -> Steps:
    """In time t = -log sigma, with x0 extrapolated to the middle of the step from its last two values.

    The last step, to sigma 0, has no end in t and is Euler's.
    """
    before: tuple[float, np.ndarray] | None = None  # the former step in t, and x0 at its beginning
    for sigma, following in pairwise(sigmas):
        x0 = yield x, sigma
        middle = x0
        if following > 0:
            h = math.log(sigma / following)
            if before is not None:
                middle = x0 + (0.5 * h / before[0]) * (x0 - before[1])
            before = h, x0
        x = middle + (following / sigma) * (x - middle)
    return x


def ancestral(x: np.ndarray, sigmas: Sequence[float], noises: Iterator[np.ndarray]) -> Steps:
    """A draw from q(x_sigma' | x_sigma, x0) with D for x0: mean x0 + (sigma'/sigma)^2 (x - x0)."""
    for sigma, following in pairwise(sigmas):
        x0 = yield x, sigma
        x = x0 + (following / sigma) ** 2 * (x - x0)
        if following > 0:
            x = x + (following * math.sqrt(1 - (following / sigma) ** 2)) * next(noises)
    return x


def consistency(x: np.ndarray, sigmas: Sequence[float], noises: Iterator[np.ndarray]) -> Steps:
    """x0 = f(x, sigma), then x0 + sqrt(sigma'^2 - sigma_min^2) n for the next; sigma_min ends the schedule."""
    for sigma, following in pairwise(sigmas):
        x = yield x, sigma
        if following > sigmas[-1]:
            x = x + math.sqrt(following**2 - sigmas[-1] ** 2) * next(noises)
    return x


SAMPLERS: dict[Sampler, Rule] = {
    "euler": euler,
    "heun": heun,
    "dpmpp_2m": dpmpp_2m,
    "ancestral": ancestral,
    "consistency": consistency,
}


def from_noise(rule: Rule, x: np.ndarray, sigmas: Sequence[float], noises: Iterator[np.ndarray]) -> Steps:
    """Walk from x = sigma n, in which there is no image yet.

    What D knows at that level is y + sigma n: without the mean of y, which is not 0 for images in [0, 1], samples come out
    darker than the data (of MNIST from sigma 20, by 0.2 to 0.4 standard deviations of an image's brightness). Where noise
    drowns the image D is that mean, so the first estimate is added to the start. It hardly depends on where in the noise it
    is asked for: no evaluation is spent on it.
    """
    x0 = yield x, sigmas[0]
    steps = rule(x + x0, sigmas, noises)
    next(steps)
    while True:
        try:
            request = steps.send(x0)
        except StopIteration as stop:
            return stop.value
        x0 = yield request


def resampled(rule: Rule, x: np.ndarray, sigmas: Sequence[float], noises: Iterator[np.ndarray]) -> Steps:
    """RePaint (Lugmayr et al. 2022, arXiv 2201.09865), algorithm 1: after a step down, back up by adding noise and down again,
    JUMPS times, so that what is drawn and what is known come to terms before the next step.

    The caller puts the known part into each x0 that it sends. A consistency model goes back to the noise in every step anyway.
    """
    if rule is consistency:
        return (yield from rule(x, sigmas, noises))
    begin = _begin_of_jumps(sigmas)
    x = yield from rule(x, sigmas[: begin + 1], noises)
    for sigma, following in pairwise(sigmas[begin:]):
        x = yield from rule(x, (sigma, following), noises)
        for _ in range(JUMPS):
            x = x + math.sqrt(sigma**2 - following**2) * next(noises)
            x = yield from rule(x, (sigma, following), noises)
    return x


def _begin_of_jumps(sigmas: Sequence[float]) -> int:
    return next((k for k, sigma in enumerate(sigmas) if sigma <= JUMPS_BELOW), len(sigmas) - 1)


def evaluations(sampler: Sampler, sigmas: Sequence[float], *, jumps: bool = False) -> int:
    """How often D is evaluated, with or without the jumps of `resampled`."""
    each = [2 if sampler == "heun" and following > 0 else 1 for following in sigmas[1:]]
    again = sum(each[_begin_of_jumps(sigmas) :]) if jumps and sampler != "consistency" else 0
    return sum(each) + JUMPS * again
