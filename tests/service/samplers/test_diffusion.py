"""Samplers against distributions whose denoiser is known in closed form: the samples must be theirs."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from service.samplers import diffusion
from service.samplers.diffusion import (
    SAMPLERS,
    dpmpp_2m,
    euler,
    evaluations,
    from_noise,
    heun,
    karras,
    resampled,
    schedule,
)

Denoiser = Callable[[np.ndarray, float], np.ndarray]
RANGE = (0.002, 20.0)
SHAPE = (1, 2, 2)
ODE = {"euler": euler, "heun": heun, "dpmpp_2m": dpmpp_2m}


class Gaussian:
    """N(mean, covariance) over images: D(x; s) = mean + C (C + s² I)^-1 (x - mean)."""

    def __init__(self, mean: np.ndarray, covariance: np.ndarray) -> None:
        self.mean, self.covariance = mean, covariance
        self.values, self.vectors = np.linalg.eigh(covariance)

    def _scaled(self, x: np.ndarray, factors: np.ndarray) -> np.ndarray:
        centred = x.reshape(len(x), -1).astype(np.float64) - self.mean
        moved = self.mean + (centred @ self.vectors * factors) @ self.vectors.T
        return moved.reshape(x.shape).astype(x.dtype)

    def denoise(self, x: np.ndarray, sigma: float) -> np.ndarray:
        return self._scaled(x, self.values / (self.values + sigma**2))

    def flow(self, x: np.ndarray, sigma: float, following: float = 0.0) -> np.ndarray:
        """Where the probability flow takes x from one noise level to another: the solution of the ODE."""
        return self._scaled(x, np.sqrt((self.values + following**2) / (self.values + sigma**2)))


MEAN = np.array([0.2, 0.4, 0.5, 0.8])
MIX = np.random.default_rng(7).normal(size=(4, 4))
GAUSSIAN = Gaussian(MEAN, 0.01 * MIX @ MIX.T + 0.01 * np.eye(4))


def fresh(x: np.ndarray, seed: int = 1) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(seed)
    while True:
        yield rng.standard_normal(x.shape).astype(x.dtype)


def sample(rule: Any, denoise: Denoiser, x: np.ndarray, sigmas: Sequence[float]) -> tuple[np.ndarray, int]:
    """Run a sampler. Returns the samples and how often the denoiser was asked."""
    steps, asked, x0 = rule(x, sigmas, fresh(x)), 0, None
    while True:
        try:
            at, sigma = steps.send(x0)
        except StopIteration as stop:
            return stop.value, asked
        assert at.dtype == x.dtype
        x0, asked = denoise(at, sigma), asked + 1


def start(count: int, dtype: type = np.float32, sigma: float = RANGE[1]) -> np.ndarray:
    return (sigma * np.random.default_rng(0).standard_normal((count, *SHAPE))).astype(dtype)


class TestSchedules:
    @pytest.mark.parametrize("steps", [1, 2, 18, 50])
    @pytest.mark.parametrize("rho", [1.0, 7.0])
    def test_karras_goes_down_from_the_largest_to_the_smallest_and_to_zero(self, steps: int, rho: float) -> None:
        sigmas = karras(steps, RANGE, rho)
        assert len(sigmas) == steps + 1
        assert sigmas[0] == pytest.approx(RANGE[1])
        assert sigmas[-1] == 0
        assert steps == 1 or sigmas[-2] == pytest.approx(RANGE[0])
        assert all(a > b for a, b in pairwise(sigmas))

    def test_karras_is_even_in_the_rho_th_root(self) -> None:
        roots = np.array(karras(10, RANGE, 5.0)[:-1]) ** (1 / 5)
        assert np.allclose(np.diff(roots), np.diff(roots)[0])

    def test_that_of_consistency_ends_at_the_smallest(self) -> None:
        for steps in (1, 2, 4):
            sigmas = schedule("consistency", steps, RANGE)
            assert len(sigmas) == steps + 1
            assert (sigmas[0], sigmas[-1]) == (pytest.approx(RANGE[1]), pytest.approx(RANGE[0]))

    @pytest.mark.parametrize("name", SAMPLERS)
    @pytest.mark.parametrize("steps", [1, 2, 7])
    @pytest.mark.parametrize("jumps", [False, True])
    def test_evaluations_are_counted_beforehand(self, name: Any, steps: int, jumps: bool) -> None:
        sigmas = schedule(name, steps, RANGE)
        rule = partial(resampled, SAMPLERS[name]) if jumps else SAMPLERS[name]
        _, asked = sample(rule, GAUSSIAN.denoise, start(1), sigmas)
        assert sample(partial(from_noise, rule), GAUSSIAN.denoise, start(1), sigmas)[1] == asked
        assert asked == evaluations(name, sigmas, jumps=jumps)
        if not jumps:
            assert asked == (2 * steps - 1 if name == "heun" else steps)


def error(rule: Any, steps: int) -> float:
    """Of a solver of the ODE, against the solution, for the same noise."""
    x = start(64, np.float64)
    found, _ = sample(rule, GAUSSIAN.denoise, x, karras(steps, (1e-4, RANGE[1])))
    return float(np.sqrt(np.mean((found - GAUSSIAN.flow(x, RANGE[1])) ** 2)))


class TestOrder:
    """A solver's error falls as a power of the number of its steps."""

    def test_euler_s_is_the_first(self) -> None:
        errors = [error(euler, steps) for steps in (40, 80, 160)]
        for coarse, fine in pairwise(errors):
            assert 1.7 < coarse / fine < 2.4

    @pytest.mark.parametrize("rule", [heun, dpmpp_2m])
    def test_those_of_heun_and_of_dpm_solver_are_the_second(self, rule: Any) -> None:
        errors = [error(rule, steps) for steps in (40, 80, 160)]
        for coarse, fine in pairwise(errors):
            assert 3.2 < coarse / fine < 5.5

    @pytest.mark.parametrize("steps", [8, 12, 20, 40])
    def test_dpm_solver_beats_euler_at_the_same_evaluations(self, steps: int) -> None:
        assert error(dpmpp_2m, steps) < 0.8 * error(euler, steps)

    @pytest.mark.parametrize("name", ODE)
    def test_all_of_them_come_to_the_solution(self, name: str) -> None:
        assert error(ODE[name], 1000) < 2e-3

    @pytest.mark.parametrize("rule", ODE.values())
    def test_one_step_gives_the_mean_of_all_that_may_be(self, rule: Any) -> None:
        x = start(5)
        found, _ = sample(rule, GAUSSIAN.denoise, x, karras(1, RANGE))
        assert np.array_equal(found, GAUSSIAN.denoise(x, RANGE[1]))


def moments(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    flat = samples.reshape(len(samples), -1).astype(np.float64)
    return flat.mean(axis=0), np.cov(flat.T)


@pytest.mark.parametrize(
    ("name", "steps"), [("euler", 150), ("heun", 45), ("dpmpp_2m", 60), ("ancestral", 250)], ids=lambda v: str(v)
)
class TestDistributions:
    def test_a_gaussian_has_its_mean_and_covariance(self, name: Any, steps: int) -> None:
        found, _ = sample(SAMPLERS[name], GAUSSIAN.denoise, start(20_000), karras(steps, RANGE))
        mean, covariance = moments(found)
        scale = GAUSSIAN.values.max()
        assert np.abs(mean - GAUSSIAN.mean).max() < 0.04 * np.sqrt(scale)
        assert np.abs(covariance - GAUSSIAN.covariance).max() < 0.04 * scale

    def test_a_mixture_has_its_shares_and_their_spreads(self, name: Any, steps: int) -> None:
        centres, weights, std = np.array([[0.1, 0.2, 0.3, 0.4], [0.9, 0.7, 0.5, 0.8]]), np.array([0.3, 0.7]), 0.05

        def denoise(x: np.ndarray, sigma: float) -> np.ndarray:
            flat = x.reshape(len(x), 1, -1).astype(np.float64)
            variance = std**2 + sigma**2
            log = np.log(weights) - ((flat - centres) ** 2).sum(-1) / (2 * variance)  # (n, 2)
            share = np.exp(log - log.max(axis=1, keepdims=True))
            share /= share.sum(axis=1, keepdims=True)
            means = centres + std**2 / variance * (flat - centres)  # (n, 2, 4)
            return (share[:, :, None] * means).sum(1).reshape(x.shape).astype(x.dtype)

        found, _ = sample(partial(from_noise, SAMPLERS[name]), denoise, start(10_000), karras(steps, RANGE))
        flat = found.reshape(len(found), -1)
        nearest = ((flat[:, None] - centres) ** 2).sum(-1).argmin(1)
        assert (nearest == 1).mean() == pytest.approx(0.7, abs=0.015)
        for k in (0, 1):
            mean, covariance = moments(flat[nearest == k])
            assert np.abs(mean - centres[k]).max() < 0.005
            assert np.abs(covariance - std**2 * np.eye(4)).max() < 0.1 * std**2


class TestBeginning:
    """Images are not centred: a walk from noise alone has their mean to find."""

    ALIKE = Gaussian(np.full(16, 0.5), 0.04 * (0.1 * np.eye(16) + 0.9))
    LEVELS = (0.002, 5.0)

    def darker(self, rule: Any) -> float:
        """By how many standard deviations of a pixel the samples' mean lies below the data's."""
        x = (5.0 * np.random.default_rng(0).standard_normal((4000, 1, 4, 4))).astype(np.float32)
        found, _ = sample(rule, self.ALIKE.denoise, x, karras(40, self.LEVELS))
        return float(0.5 - found.mean()) / 0.2

    @pytest.mark.parametrize("rule", [heun, dpmpp_2m])
    def test_the_first_estimate_brings_it(self, rule: Any) -> None:
        assert self.darker(rule) > 0.3
        assert abs(self.darker(partial(from_noise, rule))) < 0.03

    def test_nothing_changes_where_the_mean_is_none(self) -> None:
        centred = Gaussian(np.zeros(4), GAUSSIAN.covariance)
        x = start(100)
        plain, begun = (
            sample(rule, centred.denoise, x, karras(20, RANGE))[0] for rule in (heun, partial(from_noise, heun))
        )
        assert np.abs(plain - begun).max() < 2e-3

    def test_a_consistency_model_s_estimate_is_its_sample(self) -> None:
        sigmas, x = schedule("consistency", 3, RANGE), start(10)
        rule = SAMPLERS["consistency"]
        plain, begun = (sample(r, GAUSSIAN.denoise, x, sigmas)[0] for r in (rule, partial(from_noise, rule)))
        assert np.array_equal(plain, begun)


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_a_consistency_function_gives_its_distribution_in_any_number_of_steps(steps: int) -> None:
    def jump(x: np.ndarray, sigma: float) -> np.ndarray:
        return GAUSSIAN.flow(x, sigma, RANGE[0])

    found, asked = sample(SAMPLERS["consistency"], jump, start(20_000), schedule("consistency", steps, RANGE))
    mean, covariance = moments(found)
    assert asked == steps
    assert np.abs(mean - GAUSSIAN.mean).max() < 0.04 * np.sqrt(GAUSSIAN.values.max())
    assert np.abs(covariance - GAUSSIAN.covariance).max() < 0.04 * GAUSSIAN.values.max()


@pytest.mark.parametrize("name", SAMPLERS)
def test_float32_stays_float32_and_samples_do_not_know_of_each_other(name: Any) -> None:
    sigmas = schedule(name, 5, RANGE)
    noises = [np.random.default_rng(k).standard_normal((6, *SHAPE)).astype(np.float32) for k in range(6)]

    def run(rows: slice) -> np.ndarray:
        steps, x0 = SAMPLERS[name](start(6)[rows], sigmas, (n[rows] for n in noises)), None
        while True:
            try:
                at, sigma = steps.send(x0)  # type: ignore[arg-type]
            except StopIteration as stop:
                return stop.value
            x0 = at * np.float32(1 / (1 + sigma**2))

    together = run(slice(None))
    assert together.dtype == np.float32
    assert np.array_equal(run(slice(2, 3)), together[2:3])


class TestInpainting:
    """Half of a row of 16 pixels is known; neighbours are alike. What is drawn must follow what is known."""

    SIDES = (1, 4, 4)
    COVARIANCE = 0.04 * 0.8 ** np.abs(np.arange(16)[:, None] - np.arange(16)[None])
    ROW = Gaussian(np.full(16, 0.4), COVARIANCE)
    KNOWN = np.arange(16) < 8

    def conditional(self, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and covariance of the hole given the rest."""
        hole, known = ~self.KNOWN, self.KNOWN
        gain = self.COVARIANCE[np.ix_(hole, known)] @ np.linalg.inv(self.COVARIANCE[np.ix_(known, known)])
        mean = self.ROW.mean[hole] + gain @ (truth[known] - self.ROW.mean[known])
        return mean, self.COVARIANCE[np.ix_(hole, hole)] - gain @ self.COVARIANCE[np.ix_(known, hole)]

    def drawn(self, name: Any, truth: np.ndarray, jumps: int, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
        """The hole of 1,500 samples, (1500, 8)."""
        monkeypatch.setattr(diffusion, "JUMPS", jumps)
        image = truth.reshape(self.SIDES).astype(np.float32)
        hole = ~self.KNOWN.reshape(self.SIDES)
        x = np.float32(20.0) * np.random.default_rng(0).standard_normal((1500, *self.SIDES)).astype(np.float32)

        def denoise(at: np.ndarray, sigma: float) -> np.ndarray:
            return np.where(hole, self.ROW.denoise(at, sigma), image)

        rule = partial(from_noise, partial(resampled, SAMPLERS[name]))
        found, _ = sample(rule, denoise, x, schedule(name, 20, (0.01, 20.0)))
        assert np.abs(found[:, ~hole] - image[~hole]).max() < 1e-5, "the sampler leaves the known part alone"
        return found[:, hole].reshape(1500, -1)

    @pytest.mark.parametrize("name", ["euler", "heun", "dpmpp_2m", "ancestral"])
    def test_the_mean_is_near_the_conditional_one(self, name: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        truth = np.random.default_rng(0).multivariate_normal(self.ROW.mean, self.COVARIANCE)
        mean, covariance = self.conditional(truth)
        std = np.sqrt(np.diag(covariance))

        def off(jumps: int) -> float:
            drawn = self.drawn(name, truth, jumps, monkeypatch)
            assert (drawn.std(axis=0) / std).min() > 0.7
            assert (drawn.std(axis=0) / std).max() < 1.5
            return float(np.sqrt(np.mean(((drawn.mean(axis=0) - mean) / std) ** 2)))

        assert off(diffusion.JUMPS) < 0.15
        assert off(0) > 1.4 * off(10), "without going back the parts do not come to terms"
